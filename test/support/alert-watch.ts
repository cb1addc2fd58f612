/** One wgmon with a settings file, for kernel tests of alerts: what its target receives, its commands, and its API. */

import { join } from "node:path";

import type { AlertEvent, Event } from "../../src/events/event-schema.ts";
import { isAlert } from "../../src/events/event.ts";
import type { AlertApiView } from "../../src/http/alert-schemas.ts";
import { socketPath } from "../../src/platform/socket-path.ts";
import type { Receiver } from "./receiver.ts";
import { newStateFolder, ownFolders } from "./state.ts";
import { REPORT_MS, until } from "./until.ts";
import { startWgmon, type Wgmon } from "./wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");

export class AlertWatch implements AsyncDisposable {
  readonly #receiver: Receiver;
  readonly #path: string;
  readonly #file = join(newStateFolder(), "wgmon.toml");
  readonly #environment = ownFolders();
  #wgmon: Wgmon | null = null;

  /** @param name of the path at the receiver. */
  constructor(receiver: Receiver, name: string) {
    this.#receiver = receiver;
    this.#path = `/${name}`;
  }

  /** Writes the settings, with a target `pager` that receives all events. @param tables those of lists come last. */
  async configure(keys: string, tables: string): Promise<void> {
    const pager = `[[target]]\nname = "pager"\nurl = "${this.#receiver.url(this.#path)}"\n`;
    await Bun.write(this.#file, `${keys}\n${pager}\n${tables}\n`, { mode: 0o600 });
  }

  /** Starts wgmon, again with the same store. */
  async start(): Promise<void> {
    this.#wgmon = startWgmon(["--config", this.#file, "--log-level", "debug"], {
      environment: this.#environment,
    });
    await this.#wgmon.ready;
    const isListening = async () => (await this.#request("/v1/alerts").catch(() => null)) !== null;
    await until("wgmon answers", isListening);
  }

  /** Ends wgmon as a crash does. */
  async kill(): Promise<void> {
    await this.wgmon.stop("SIGKILL");
  }

  get wgmon(): Wgmon {
    return this.#wgmon!;
  }

  /** Bodies of all requests of the target. */
  get bodies(): string[] {
    return this.#receiver.requests
      .filter(({ path }) => path === this.#path)
      .map(({ body }) => body);
  }

  /** The events that were received; a repeated event only once. */
  get events(): Event[] {
    const events = this.#receiver.requests
      .filter(({ path }) => path === this.#path)
      .map(({ event }) => event!);
    return [...new Map(events.map((event) => [event.id, event])).values()];
  }

  /** The events about alerts, of one rule or of all. */
  alerts(rule: string | null = null): AlertEvent[] {
    return this.events.filter(isAlert).filter(({ data }) => rule === null || data.rule === rule);
  }

  /** Returns the sentences of all events about alerts if the number of each rule's is not the expected one; otherwise []. */
  unexpected(expected: Readonly<Record<string, number>>): string[] {
    const byRule = Object.groupBy(this.alerts(), ({ data }) => data.rule);
    const names = new Set([...Object.keys(expected), ...Object.keys(byRule)]);
    return [...names].flatMap((name) => {
      const events = byRule[name] ?? [];
      const wanted = expected[name] ?? 0;
      if (events.length === wanted) return [];
      const sentences = events.map((event) => `${wordOf(event)}: ${event.data.sentence}`);
      return [`rule ${name}: ${events.length} instead of ${wanted}`, ...sentences];
    });
  }

  /** `firing`, `reminder` and `resolved`, in the order of arrival. */
  told(rule: string): string[] {
    return this.alerts(rule).map(wordOf);
  }

  /** Resolves with the `count`th event of the rule that is a `word`. */
  async tells(rule: string, word: Word, count = 1): Promise<AlertEvent> {
    const found = () => this.alerts(rule).filter((event) => wordOf(event) === word);
    await this.#waitFor(`${word} of rule ${rule}, number ${count}`, () => found().length >= count);
    return found()[count - 1]!;
  }

  /** Waits for the `count`th event of this type about a peer. */
  async reports(type: Event["type"], publicKey: string, count = 1): Promise<void> {
    const found = () =>
      this.events.filter(
        (event) =>
          event.type === type && "session" in event.data && event.data.peer.publicKey === publicKey,
      );
    await this.#waitFor(`${type}, number ${count}`, () => found().length >= count);
  }

  /** When the target first received the event, on the clock of performance.now(). */
  receivedMs({ id }: Event): number {
    const isIt = ({ path, event }: Receiver["requests"][number]) =>
      path === this.#path && event?.id === id;
    return this.#receiver.requests.find(isIt)!.atMs - performance.timeOrigin;
  }

  /** Runs a command of wgmon; resolves with its standard output. @throws if it fails. */
  async command(...words: readonly string[]): Promise<string> {
    const child = Bun.spawn([BINARY, ...words, "--config", this.#file], {
      env: { PATH: process.env["PATH"], TZ: "UTC", ...this.#environment },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [output, complaint, exitCode] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ]);
    if (exitCode !== 0) throw new Error(`wgmon ${words.join(" ")}: ${complaint}`);
    return output;
  }

  /** Waits until wgmon has an alert of the rule that `fits`. */
  async has(rule: string, fits: (alert: AlertApiView) => boolean): Promise<AlertApiView> {
    let found: AlertApiView | undefined;
    await until(`an alert of rule ${rule}`, async () => {
      const answer = await this.#request("/v1/alerts?state=current&limit=1000");
      const { items } = (await answer.json()) as { items: AlertApiView[] };
      found = items.find((alert) => alert.rule === rule && fits(alert));
      return found !== undefined;
    });
    return found!;
  }

  /** Number of scans so far with this reason. */
  scans(reason: string): number {
    return this.wgmon.log.filter((line) => line.msg === "scan" && line["reason"] === reason).length;
  }

  /** Makes wgmon read its settings again. */
  async reload(): Promise<unknown> {
    const answer = await this.#request("/v1/reload", { method: "POST" });
    if (!answer.ok) throw new Error(`POST /v1/reload: ${answer.status} ${await answer.text()}`);
    return await answer.json();
  }

  async #request(path: string, options: RequestInit = {}): Promise<Response> {
    const unix = socketPath(this.#environment.RUNTIME_DIRECTORY);
    return await fetch(`http://localhost${path}`, { ...options, unix });
  }

  async #waitFor(what: string, predicate: () => boolean): Promise<void> {
    await this.#receiver.waitFor(predicate, REPORT_MS).catch((error: Error) => {
      throw new Error(`${what}: ${error.message}; it logged:\n${this.wgmon.logText}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#wgmon?.[Symbol.asyncDispose]();
  }
}

/** The times from faults to their alerts, for the output of a test. */
export class Delays {
  readonly #seconds = new Map<string, string>();

  /** Returns the milliseconds from a fault to the first time that the event was received. */
  add(what: string, watch: AlertWatch, event: Event, faultMs: number): number {
    const ms = watch.receivedMs(event) - faultMs;
    this.#seconds.set(what, (ms / 1000).toFixed(1));
    return ms;
  }

  print(): void {
    const lines = [...this.#seconds].map(([what, seconds]) => `\n  ${what}: ${seconds} s`);
    console.log(`from the fault to the alert:${lines.join("")}`);
  }
}

type Word = "firing" | "reminder" | "resolved";

function wordOf(event: AlertEvent): Word {
  if (event.type === "alert.resolved") return "resolved";
  return event.data.reminder ? "reminder" : "firing";
}

/** A table of a settings file. */
export function rule(
  name: string,
  kind: string,
  values: Readonly<Record<string, string | number | boolean | readonly number[]>>,
): string {
  const lines = Object.entries({ name, kind, ...values }).map(
    ([key, value]) => `${key} = ${JSON.stringify(value)}`,
  );
  return `[[alert]]\n${lines.join("\n")}\n`;
}
