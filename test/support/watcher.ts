/** One run of wgmon for kernel tests, and what it reports to a receiver that it shares with others. */

import type { Event } from "../../src/events/event-schema.ts";
import type { Client } from "./lab.ts";
import type { Receiver } from "./receiver.ts";
import { REPORT_MS, untilStopped } from "./until.ts";
import { cpuTimes } from "./usage.ts";
import { type LogLine, startWgmon, type Wgmon } from "./wgmon.ts";

type Of<Type extends Event["type"]> = Extract<Event, { readonly type: Type }>;

/** Each run has a path of its own at the receiver. */
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

  /** What was sent again counts once. */
  get events(): Event[] {
    const events = this.#receiver.requests
      .filter(({ path }) => path === this.#path)
      .map(({ event }) => event!);
    return [...new Map(events.map((event) => [event.id, event])).values()];
  }

  /** All about the client, or about the device itself. */
  eventsOf(about: Client | string): Event[] {
    return this.events.filter(({ data }) =>
      typeof about === "string"
        ? !("peer" in data) && data.device === about
        : "peer" in data && data.peer.publicKey === about.publicKey,
    );
  }

  typesOf(about: Client | string): string[] {
    return this.eventsOf(about).map(({ type }) => type);
  }

  async waitFor(what: string, isThere: () => boolean): Promise<void> {
    await this.#receiver.waitFor(isThere, REPORT_MS).catch((error: Error) => {
      throw new Error(`${what}: ${error.message}; it logged:\n${this.wgmon.logText}`);
    });
  }

  /** Waits for the `count`th event of the type, and answers it. */
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

  /** Waits until `count` lines were logged that have this in their message. */
  async logs(message: string, count = 1): Promise<void> {
    await this.#logged(({ msg }) => String(msg).includes(message), count);
  }

  /** How many scans there were so far, and for what reason. */
  scans(reason: string): number {
    return this.wgmon.log.filter((line) => isScan(line, reason)).length;
  }

  /** Waits until there were `count` looks for the reason since the start. */
  async scannedFor(reason: string, count = 1): Promise<void> {
    await this.#logged((line) => isScan(line, reason), count);
  }

  async #logged(fits: (line: LogLine) => boolean, count: number): Promise<void> {
    let seen = 0;
    await this.wgmon.waitForLog((line) => fits(line) && ++seen >= count, REPORT_MS);
  }

  /** It does not notice anything until `resume`. */
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

/** Processor time of the process so far, in steps of 10 ms. */
export async function processorMs(pid: number): Promise<number> {
  const { user, system } = await cpuTimes(pid);
  return (user + system) * 1000;
}
