/** Starts wgmon as its users do, a process of its own, and follows its log. */

import { join } from "node:path";

import { ownFolders } from "./state.ts";
import { REPORT_MS } from "./until.ts";

const ROOT = join(import.meta.dir, "../..");

/** A line of the log; `msg` is the message, the rest its fields. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: unknown };

export interface WgmonOptions {
  /** Left out: the binary that build.ts makes; "source": src/main.ts under Bun. */
  readonly binary?: string;
  /** The whole environment but PATH and, if it has none, STATE_DIRECTORY and RUNTIME_DIRECTORY: folders of its own. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export class Wgmon implements AsyncDisposable {
  /** The line that says "ready"; fails when the program ends before. */
  readonly ready: Promise<LogLine>;
  readonly log: LogLine[] = [];
  readonly exited: Promise<number>;
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #watchers = new Set<(line: LogLine | null) => void>();
  /** What was written to standard error and is no JSON. */
  #otherText = "";

  constructor(args: readonly string[], options: WgmonOptions = {}) {
    const { binary = join(ROOT, "wgmon"), environment = {}, cwd } = options;
    const program = binary === "source" ? [process.execPath, join(ROOT, "src/main.ts")] : [binary];
    this.#process = Bun.spawn([...program, ...args, "--log-format", "json"], {
      ...(cwd === undefined ? {} : { cwd }),
      env: {
        PATH: process.env["PATH"],
        ...ownFolders(),
        ...environment,
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.exited = this.#follow();
    this.ready = this.waitForLog((line) => line.msg === "ready");
    // A test that is about the failure does not ask for it.
    this.ready.catch(() => undefined);
  }

  get pid(): number {
    return this.#process.pid;
  }

  async stdout(): Promise<string> {
    return await new Response(this.#process.stdout).text();
  }

  /** All that was logged so far, for the message of a failing test. */
  get logText(): string {
    return this.log.map((line) => JSON.stringify(line)).join("\n") + this.#otherText;
  }

  /** The first line that fits, of those that were logged already or will be. */
  async waitForLog(fits: (line: LogLine) => boolean, timeoutMs = REPORT_MS): Promise<LogLine> {
    const known = this.log.find(fits);
    if (known !== undefined) return known;
    const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
    const fail = (what: string): void => reject(new Error(`${what}; it logged:\n${this.logText}`));
    const watch = (line: LogLine | null): void => {
      if (line === null) fail("wgmon ended");
      else if (fits(line)) resolve(line);
    };
    const timer = setTimeout(() => fail(`no such line in ${timeoutMs} ms`), timeoutMs);
    this.#watchers.add(watch);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(watch);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Answers the exit code; 128 and the signal's number where a signal ended it. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    this.signal(signal);
    return await this.exited;
  }

  async #follow(): Promise<number> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of this.#process.stderr) {
      const texts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = texts.pop()!;
      for (const text of texts) this.#logged(text);
    }
    if (rest !== "") this.#logged(rest);
    const exitCode = await this.#process.exited;
    for (const watch of this.#watchers) watch(null);
    return exitCode;
  }

  #logged(text: string): void {
    let line: LogLine;
    try {
      line = JSON.parse(text) as LogLine;
    } catch {
      this.#otherText += `\n${text}`;
      return;
    }
    this.log.push(line);
    for (const watch of this.#watchers) watch(line);
  }

  /** Not asked kindly: a test that wants to see it stop calls stop(). */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.exited;
  }
}

export function startWgmon(args: readonly string[], options: WgmonOptions = {}): Wgmon {
  return new Wgmon(args, options);
}

/**
 * A warning or an error. But that a webhook's connection was closed just as it was used again, or the
 * test too busy to read the log, is none. Nor is that no rule logs a port: devices of tests get theirs
 * one after the other, and on a busy machine wgmon sees what is between.
 */
export function isComplaint({ level, msg }: LogLine): boolean {
  const isExpected = /^(webhook|lines lost|packets may not wake wgmon)/.test(String(msg));
  return /warn|error/.test(String(level)) && !isExpected;
}
