/**
 * One attempt to hand one message to a program of the user's, and the verdict on its exit.
 *
 * It gets on standard input the JSON that a webhook of the format json would get, and a newline. Its
 * environment is PATH and HOME as wgmon has them, LANG=C.UTF-8, and these, which are always there and
 * empty where they do not apply:
 *
 *     WGMON_EVENT_ID    the same in every attempt
 *     WGMON_EVENT_TYPE  peer.connected, ...; digest for several events at once
 *     WGMON_TIMESTAMP   when it happened, as in the event; for several events the last one's
 *     WGMON_HOST        the gateway's name
 *     WGMON_DEVICE      wg0; empty for several events, and so are the next three
 *     WGMON_PEER        its public key
 *     WGMON_PEER_NAME   its name in the settings
 *     WGMON_ENDPOINT    address:port
 *     WGMON_TEXT        a line for people, one for each event
 *     WGMON_COUNT       how many events
 *
 * Exit codes: 0 delivered; 65 (EX_DATAERR in sysexits.h) drops the message; any other, and a signal,
 * asks for another attempt. Standard output goes nowhere; the last line of standard error is the
 * reason, so a program should keep secrets out of it. It gets none of wgmon's capabilities, unless both run as
 * root. Bun makes standard error a socket, as systemd
 * does: `>&2` writes to it, /dev/stderr cannot be opened.
 */

import { redactUrl } from "../config.ts";
import { withoutAmbientCapabilities } from "../system.ts";
import type { Channel, Message, Verdict } from "./channel.ts";
import { json } from "./json.ts";
import { clean, cut, fitting, linesOf } from "./text.ts";
import { Limit } from "./webhook.ts";

/** sysexits.h: there is something wrong with the input. Another attempt would have the same. */
const EX_DATAERR = 65;

/** What Debian gives to root, where wgmon itself has none. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** UTF-16 units. The kernel refuses a variable of more than 128 KiB (MAX_ARG_STRLEN). */
const TEXT_MAX = 30_000;

/** How many bytes of the end of standard error are kept: the last line is in there. */
const STDERR_MAX = 4096;
/** How much of that line is shown. */
const LINE_MAX = 200;

/**
 * What a program wrote before its exit arrives at once. That nothing comes any more may never be
 * known: something that it has left running may still write.
 */
const STDERR_END_MS = 100;

const READ_PAUSE_MS = 1;

/** Formats want to know where to; this goes nowhere. */
const NOWHERE = new URL("exec:");

export interface ExecOptions {
  /** The program, by its absolute path, and its arguments. No shell reads them. */
  readonly command: readonly [string, ...string[]];
  /** The channel's name. Not the arguments, which may be secrets. */
  readonly label: string;
  readonly timeoutMs: number;
}

export function createExec({ command, label, timeoutMs }: ExecOptions): Channel {
  return {
    name: label,
    async attempt(message, signal) {
      const env = environment(message);
      // Bun makes a file in memory of it, memfd_create(2): it does not matter whether it is read. It
      // is closed when Bun collects garbage, after some seconds or a few hundred programs.
      const stdin = new TextEncoder().encode(`${json.request(message, NOWHERE).body}\n`);
      if (signal.aborted) return retry("aborted");
      using limit = new Limit(signal, timeoutMs);
      let child: Child;
      try {
        // Detached: in a process group of its own, which can be killed as a whole, without a terminal.
        const pipes = { stdin, stdout: "ignore", stderr: "pipe" } as const;
        const options = { ...pipes, env, cwd: "/", detached: true };
        child = withoutAmbientCapabilities(() => Bun.spawn([...command], options));
      } catch (error) {
        return retry(startReason(error));
      }
      using stderr = new Tail(child.stderr);
      await endOf(child, limit.signal);
      if (!hasEnded(child)) return retry(limit.isTimeUp ? "timeout" : "aborted", stderr.lastLine());
      await stderr.settle();
      return verdictOn(child, stderr.lastLine());
    },
  };
}

type Child = Bun.Subprocess<Uint8Array, "ignore", "pipe">;

function hasEnded({ exitCode, signalCode }: Child): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Resolves when the program has ended, or when it was killed because the limit is reached. */
async function endOf(child: Child, limit: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  void child.exited.then(() => resolve());
  limit.addEventListener("abort", () => {
    // Afterwards the number may be another group's.
    if (!hasEnded(child)) killGroup(child.pid);
    // Its end is not waited for: what hangs in the kernel does not even die of SIGKILL.
    resolve();
  });
  await promise;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended this moment, or was allowed to become another user's.
  }
}

function verdictOn({ exitCode, signalCode }: Child, line: string): Verdict {
  if (exitCode === 0) return { type: "delivered" };
  if (exitCode === null) return retry(`killed by ${signalCode}`, line);
  const reason = withLine(`exit code ${exitCode}`, line);
  return exitCode === EX_DATAERR
    ? { type: "drop", reason }
    : { type: "retry", reason, afterMs: null };
}

function retry(what: string, line = ""): Verdict {
  return { type: "retry", reason: withLine(what, line), afterMs: null };
}

function withLine(what: string, line: string): string {
  return line === "" ? what : `${what}: ${line}`;
}

/** What execve(2) says, in words for whoever wrote the settings. */
const startReasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such program, or not the interpreter that its first line names",
  EACCES: "the program may not be executed, check its mode",
  ENOEXEC: "the program is neither a binary of this machine nor has it a first line like #!/bin/sh",
};

/** In words of our own: what Bun throws may quote an argument. */
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
  const about = {
    WGMON_EVENT_ID: id,
    WGMON_EVENT_TYPE: data === null ? "digest" : last.type,
    WGMON_TIMESTAMP: last.timestamp,
    WGMON_HOST: last.host,
    WGMON_DEVICE: data?.device ?? "",
    WGMON_PEER: peer?.publicKey ?? "",
    WGMON_PEER_NAME: peer?.name ?? "",
    WGMON_ENDPOINT: peer?.endpoint ?? "",
    WGMON_TEXT: fitting(linesOf(message), { max: TEXT_MAX }).join("\n"),
    WGMON_COUNT: String(events.length),
  };
  const { PATH, HOME } = process.env;
  return {
    PATH: PATH === undefined || PATH === "" ? DEFAULT_PATH : PATH,
    ...(HOME === undefined ? {} : { HOME }),
    LANG: "C.UTF-8",
    // A variable ends at a NUL, and Bun refuses it.
    ...Object.fromEntries(
      Object.entries(about).map(([key, text]) => [key, text.replaceAll("\0", "")]),
    ),
  };
}

/** Reads a stream to its end, however long it is, and keeps the last of it. */
class Tail implements Disposable {
  readonly #reader;
  readonly #end: Promise<void>;
  #kept = new Uint8Array(0);

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.#end = this.#read().catch(() => {}); // what has come is all that we want
  }

  /** Waits until everything has come, or so it seems. */
  async settle(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, STDERR_END_MS);
    await Promise.race([this.#end, promise]);
    clearTimeout(timer);
  }

  /** The last that is not blank, made fit for a log; empty: there is none. */
  lastLine(): string {
    const lines = new TextDecoder().decode(this.#kept).split(/[\r\n]+/);
    // oxlint-disable-next-line no-control-regex
    const texts = lines.map((line) => clean(line.replace(/\x1b\[[\d;?]*[A-Za-z]/g, "")));
    const last = texts.findLast((text) => text !== "") ?? "";
    return cut(
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
      // Whoever writes without end waits for us then; else it would cost a core and 50 MB.
      await Bun.sleep(READ_PAUSE_MS);
    }
  }
}
