/** Starts wgmon as a separate process and reads its log. */

import { join } from "node:path";

import { ownFolders } from "./state.ts";
import { REPORT_MS } from "./until.ts";

const ROOT = join(import.meta.dir, "../..");

/** A line of the log; `msg` is the message, the rest its fields. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: unknown };

export interface WgmonOptions {
  /** Default: the binary that build.ts makes; "source": src/main.ts under Bun. */
  readonly binary?: string;
  /** Added to PATH, and to STATE_DIRECTORY and RUNTIME_DIRECTORY with new folders. Nothing else is inherited. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export class Wgmon implements AsyncDisposable {
  /** The log line "ready"; rejects if the program ends first. */
  readonly ready: Promise<LogLine>;
  readonly log: LogLine[] = [];
  readonly exited: Promise<number>;
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #watchers = new Set<(line: LogLine | null) => void>();
  /** Lines of standard error that are not JSON. */
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
    // No unhandled rejection in tests of failures, which do not await `ready`.
    this.ready.catch(() => undefined);
  }

  get pid(): number {
    return this.#process.pid;
  }

  async stdout(): Promise<string> {
    return await new Response(this.#process.stdout).text();
  }

  /** The log so far, for error messages of tests. */
  get logText(): string {
    return this.log.map((line) => JSON.stringify(line)).join("\n") + this.#otherText;
  }

  /** Resolves with the first log line, past or future, for which `fits` is true. */
  async waitForLog(fits: (line: LogLine) => boolean, timeoutMs = REPORT_MS): Promise<LogLine> {
    const known = this.log.find(fits);
    if (known !== undefined) return known;
    const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
    const fail = (what: string): void => reject(new Error(`${what}; it logged:\n${this.logText}`));
    const watch = (line: LogLine | null): void => {
      if (line === null) fail("wgmon exited");
      else if (fits(line)) resolve(line);
    };
    const timer = setTimeout(() => fail(`no such line within ${timeoutMs} ms`), timeoutMs);
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

  /** Sends a signal; resolves with the exit code, or 128 + the signal's number if a signal ended the process. */
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

  /** Kills the process. Tests of an orderly stop call stop(). */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.exited;
  }
}

export function startWgmon(args: readonly string[], options: WgmonOptions = {}): Wgmon {
  return new Wgmon(args, options);
}

/**
 * Whether the line is an unexpected warning or error. Expected on a busy machine are: a reused webhook connection that
 * the receiver has just closed; a test that reads the log too slowly; and a port that no rule logs, because tests
 * create devices and rules one after the other.
 */
export function isComplaint({ level, msg }: LogLine): boolean {
  const isExpected = /^(webhook|lines lost|packets may not wake wgmon)/.test(String(msg));
  return /warn|error/.test(String(level)) && !isExpected;
}
