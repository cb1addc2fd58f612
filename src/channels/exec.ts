/**
 * Delivers one message to a user-defined program: one attempt, and its result from the exit code.
 *
 * Standard input is the JSON that a webhook with format json gets, and a newline. The environment is PATH
 * and HOME of wgmon, LANG=C.UTF-8, and the following variables, which are always set; a variable without a
 * value is empty:
 *
 *     WGMON_EVENT_ID    the same in every attempt
 *     WGMON_EVENT_TYPE  peer.connected, ...; digest for several events at once
 *     WGMON_TIMESTAMP   the event's timestamp; for several events, that of the last one
 *     WGMON_HOST        the gateway's name
 *     WGMON_DEVICE      wg0; like the next three variables, empty for several events
 *     WGMON_PEER        the peer's public key
 *     WGMON_PEER_NAME   the peer's name
 *     WGMON_ENDPOINT    address:port
 *     WGMON_TEXT        a line for people, one for each event
 *     WGMON_COUNT       number of events
 *
 * Exit code 0 means delivered, and 65 (EX_DATAERR in sysexits.h) drops the message. After any other
 * code, or a signal, the message is retried. Standard output is discarded. The last line of standard error is
 * the reason, so a program should not write secrets there. The program gets none of wgmon's
 * capabilities, unless both run as root. Bun makes standard error a socket, as systemd does: `>&2`
 * works, but /dev/stderr cannot be opened.
 */

import { redactUrl } from "../base/redact.ts";
import { sanitize, truncate } from "../base/text.ts";
import type { Channel, DeliveryResult, Message } from "../delivery/target.ts";
import { deviceOf } from "../events/event.ts";
import { withoutAmbientCapabilities } from "../platform/process.ts";
import { Deadline } from "./deadline.ts";
import { json } from "./formats/json.ts";
import { formatLines, truncateLines } from "./formats/message-text.ts";

/** sysexits.h: the input is wrong. A retry would send the same input. */
const EX_DATAERR = 65;

/** Debian's PATH for root, used if wgmon has no PATH. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** UTF-16 units. The kernel refuses a variable of more than 128 KiB (MAX_ARG_STRLEN). */
const TEXT_MAX = 30_000;

/** Bytes kept from the end of standard error. They contain the last line. */
const STDERR_MAX = 4096;
/** Maximum length of the last line in a reason, in UTF-16 units. */
const LINE_MAX = 200;

/**
 * How long to wait for the end of standard error after the program's exit. The program's output has already
 * arrived, but a child process that still runs may keep the stream open.
 */
const STDERR_END_MS = 100;

const READ_PAUSE_MS = 1;

/** A format needs a URL; json only copies it to the request, which is not used here. */
const UNUSED_URL = new URL("exec:");

export interface ExecOptions {
  /** The program's absolute path and its arguments. No shell interprets them. */
  readonly command: readonly [string, ...string[]];
  /** The channel's name. Without the arguments, which may be secrets. */
  readonly label: string;
  readonly timeoutMs: number;
}

export function createExec({ command, label, timeoutMs }: ExecOptions): Channel {
  return {
    name: label,
    async attempt(message, signal) {
      const env = environment(message);
      // Bun puts this in a file in memory, memfd_create(2), so it does not matter whether the program reads it. The
      // file is closed when Bun collects garbage, after some seconds or a few hundred programs.
      const stdin = new TextEncoder().encode(`${json.request(message, UNUSED_URL).body}\n`);
      if (signal.aborted) return retry("aborted");
      using deadline = new Deadline(signal, timeoutMs);
      let child: Child;
      try {
        // Detached: the program gets a new session and process group, so that it has no terminal and the whole group
        // can be killed.
        const pipes = { stdin, stdout: "ignore", stderr: "pipe" } as const;
        const options = { ...pipes, env, cwd: "/", detached: true };
        child = withoutAmbientCapabilities(() => Bun.spawn([...command], options));
      } catch (error) {
        return retry(startReason(error));
      }
      using stderr = new Tail(child.stderr);
      await waitForEnd(child, deadline.signal);
      if (!hasEnded(child))
        return retry(deadline.hasExpired ? "timeout" : "aborted", stderr.lastLine());
      await stderr.waitForEnd();
      return resultOf(child, stderr.lastLine());
    },
  };
}

type Child = Bun.Subprocess<Uint8Array, "ignore", "pipe">;

function hasEnded({ exitCode, signalCode }: Child): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Resolves when the program has ended. When `signal` aborts, kills the program and resolves. */
async function waitForEnd(child: Child, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  void child.exited.then(() => resolve());
  signal.addEventListener("abort", () => {
    // After the program has ended, its process id may belong to another process group.
    if (!hasEnded(child)) killGroup(child.pid);
    // Do not wait for the end: a process that hangs in the kernel does not end even after SIGKILL.
    resolve();
  });
  await promise;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The program has just ended, or runs as another user.
  }
}

function resultOf({ exitCode, signalCode }: Child, line: string): DeliveryResult {
  if (exitCode === 0) return { type: "delivered" };
  if (exitCode === null) return retry(`killed by ${signalCode}`, line);
  const reason = withLine(`exit code ${exitCode}`, line);
  return exitCode === EX_DATAERR
    ? { type: "drop", reason }
    : { type: "retry", reason, afterMs: null };
}

function retry(cause: string, line = ""): DeliveryResult {
  return { type: "retry", reason: withLine(cause, line), afterMs: null };
}

function withLine(cause: string, line: string): string {
  return line === "" ? cause : `${cause}: ${line}`;
}

/** The errors of execve(2), explained for the author of the settings. */
const startReasons: Readonly<Record<string, string>> = {
  ENOENT: "the program does not exist, or the interpreter in its first line does not",
  EACCES: "the program is not executable, check its mode",
  ENOEXEC:
    "the program is neither a binary for this machine nor a script whose first line is like #!/bin/sh",
};

/** Does not use the message of Bun's error, which may quote an argument. */
function startReason(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (Object.hasOwn(startReasons, code)) return `${startReasons[code]!} (${code})`;
  return `the program cannot be started${/^E[A-Z0-9]+$/.test(code) ? ` (${code})` : ""}`;
}

function environment(message: Message): Record<string, string> {
  const { id, events } = message;
  const last = events.at(-1)!;
  const data = events.length === 1 ? last.data : null;
  const peer = data !== null && "peer" in data ? data.peer : null;
  const endpoint = data !== null && "session" in data ? data.peer.endpoint : null;
  const alert = data !== null && "alerts" in data ? data : null;
  const variables = {
    WGMON_EVENT_ID: id,
    WGMON_EVENT_TYPE: data === null ? "digest" : last.type,
    WGMON_TIMESTAMP: last.timestamp,
    WGMON_HOST: last.host,
    WGMON_DEVICE: (events.length === 1 ? deviceOf(last) : null) ?? "",
    WGMON_PEER: peer?.publicKey ?? "",
    WGMON_PEER_NAME: peer?.name ?? "",
    WGMON_ENDPOINT: endpoint ?? "",
    WGMON_SEVERITY: alert?.severity ?? "",
    WGMON_RULE: alert?.rule ?? "",
    WGMON_TEXT: truncateLines(formatLines(message), { max: TEXT_MAX }).join("\n"),
    WGMON_COUNT: String(events.length),
  };
  const { PATH, HOME } = process.env;
  return {
    PATH: PATH === undefined || PATH === "" ? DEFAULT_PATH : PATH,
    ...(HOME === undefined ? {} : { HOME }),
    LANG: "C.UTF-8",
    // NUL would end a variable, so Bun rejects it.
    ...Object.fromEntries(
      Object.entries(variables).map(([key, text]) => [key, text.replaceAll("\0", "")]),
    ),
  };
}

/** Reads a stream to its end, and keeps the last STDERR_MAX bytes. */
class Tail implements Disposable {
  readonly #reader;
  readonly #end: Promise<void>;
  #kept = new Uint8Array(0);

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.#end = this.#read().catch(() => {}); // keep what was read before the error
  }

  /** Waits for the end of the stream, at most STDERR_END_MS. */
  async waitForEnd(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, STDERR_END_MS);
    await Promise.race([this.#end, promise]);
    clearTimeout(timer);
  }

  /** The last line that is not blank, cleaned for the log; empty: all lines are blank. */
  lastLine(): string {
    const lines = new TextDecoder().decode(this.#kept).split(/[\r\n]+/);
    // oxlint-disable-next-line no-control-regex
    const texts = lines.map((line) => sanitize(line.replace(/\x1b\[[\d;?]*[A-Za-z]/g, "")));
    const last = texts.findLast((text) => text !== "") ?? "";
    return truncate(
      last.replace(/https?:\/\/\S+/gi, (url) => redactUrl(url)),
      LINE_MAX,
    );
  }

  [Symbol.dispose](): void {
    this.#reader.cancel().catch(() => {});
  }

  async #read(): Promise<void> {
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) return;
      this.#kept = Buffer.concat([this.#kept, value.subarray(-STDERR_MAX)]).slice(-STDERR_MAX);
      // Limits the rate of reading. Otherwise, a program that writes endlessly would make wgmon use a core and 50 MB.
      await Bun.sleep(READ_PAUSE_MS);
    }
  }
}
