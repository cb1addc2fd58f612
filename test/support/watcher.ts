/** One wgmon process for kernel tests, and the events that it sends. Several watchers can share a receiver. */

import type { Event } from "../../src/events/event-schema.ts";
import type { Client } from "./lab.ts";
import type { Receiver } from "./receiver.ts";
import { REPORT_MS, untilStopped } from "./until.ts";
import { cpuTimes } from "./usage.ts";
import { type LogLine, startWgmon, type Wgmon } from "./wgmon.ts";

type Of<Type extends Event["type"]> = Extract<Event, { readonly type: Type }>;

/** Each watcher has a different path at the receiver. */
let runs = 0;

export class Watcher implements AsyncDisposable {
  readonly wgmon: Wgmon;
  readonly #receiver: Receiver;
  readonly #path = `/${runs++}`;

  constructor(receiver: Receiver, ...args: readonly string[]) {
    this.#receiver = receiver;
    const target = ["--webhook", receiver.url(this.#path)];
    this.wgmon = startWgmon([...args, ...target, "--log-level", "debug"]);
  }

  /** The events that were received; a repeated event only once. */
  get events(): Event[] {
    const events = this.#receiver.requests
      .filter(({ path }) => path === this.#path)
      .map(({ event }) => event!);
    return [...new Map(events.map((event) => [event.id, event])).values()];
  }

  /** Events of a client, or of the device with this name. */
  eventsOf(about: Client | string): Event[] {
    return this.events.filter(({ data }) =>
      typeof about === "string"
        ? !("session" in data) && "device" in data && data.device === about
        : "session" in data && data.peer.publicKey === about.publicKey,
    );
  }

  typesOf(about: Client | string): string[] {
    return this.eventsOf(about).map(({ type }) => type);
  }

  async waitFor(what: string, predicate: () => boolean): Promise<void> {
    await this.#receiver.waitFor(predicate, REPORT_MS).catch((error: Error) => {
      throw new Error(`${what}: ${error.message}; it logged:\n${this.wgmon.logText}`);
    });
  }

  /** Resolves with the `count`th event of the type. */
  async reports<Type extends Event["type"]>(
    type: Type,
    about: Client | string,
    count = 1,
  ): Promise<Of<Type>> {
    const found = () => this.eventsOf(about).filter((event) => event.type === type);
    const name = typeof about === "string" ? about : about.name;
    await this.waitFor(`${type} of ${name}, number ${count}`, () => found().length >= count);
    return found()[count - 1] as Of<Type>;
  }

  /** Waits until `count` log lines contain `message`. */
  async logs(message: string, count = 1): Promise<void> {
    await this.#logged(({ msg }) => String(msg).includes(message), count);
  }

  /** Number of scans so far with this reason. */
  scans(reason: string): number {
    return this.wgmon.log.filter((line) => isScan(line, reason)).length;
  }

  /** Waits until there have been `count` scans with this reason since the start. */
  async scannedFor(reason: string, count = 1): Promise<void> {
    await this.#logged((line) => isScan(line, reason), count);
  }

  async #logged(fits: (line: LogLine) => boolean, count: number): Promise<void> {
    let seen = 0;
    await this.wgmon.waitForLog((line) => fits(line) && ++seen >= count, REPORT_MS);
  }

  /** Stops the process until `resume`. */
  async freeze(): Promise<void> {
    this.wgmon.signal("SIGSTOP");
    await untilStopped(this.wgmon.pid);
  }

  resume(): void {
    this.wgmon.signal("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.wgmon[Symbol.asyncDispose]();
  }
}

function isScan(line: LogLine, reason: string): boolean {
  return line.msg === "scan" && line["reason"] === reason;
}

/** Processor time of a process, with a resolution of 10 ms. */
export async function processorMs(pid: number): Promise<number> {
  const { user, system } = await cpuTimes(pid);
  return (user + system) * 1000;
}
