/**
 * The log: one line per entry on standard error. Text for people, JSON for machines, and level prefixes for the journal
 * (sd-daemon(3)) under systemd.
 */

import { counted } from "../base/text.ts";
import { visible } from "../base/visible.ts";
import { writeToStderr } from "./standard-streams.ts";

export type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/** A log whose level can be changed, for main.ts. The rest of the program uses Log. */
export interface LeveledLog extends Log {
  setLevel(level: Level): void;
}

type Level = keyof Log;
type Format = "text" | "terminal" | "json" | "journal";

interface Line {
  readonly level: Level;
  readonly message: string;
  readonly fields: Fields;
}

const levels: readonly Level[] = ["debug", "info", "warn", "error"];

/** Repetitions of the last warning or error are not written but counted; the count is written at this interval. */
const REPEATS_MS = 60_000;

/**
 * How long a write waits for room in a full pipe, in case its reader is only slow. After a timeout, later writes do not
 * wait until one succeeds.
 */
const WRITE_WAIT_MS = 100;

export interface LogOptions {
  readonly format: Format;
  /** The lowest level that is written. */
  readonly level: Level;
  /** Receives each line without its line end. If it throws, the line counts as lost. */
  readonly write?: (line: string) => void;
  readonly now?: () => number;
}

export function createLog(options: LogOptions): LeveledLog {
  const { format, write = stderrWriter(), now = Date.now } = options;
  let minLevel = options.level;
  const render = renderers[format];
  /** The last line, if it was a warning or an error; `key` identifies its repetitions. */
  let last: { readonly line: Line; readonly key: string; repeats: number } | null = null;
  let timer: NodeJS.Timeout | undefined;
  let lost = 0;

  function writeLine(line: Line): void {
    try {
      if (lost > 0) {
        const message = `log lines were lost here, because standard error did not accept them`;
        write(render({ level: "warn", message, fields: { lines: lost } }, now()));
        lost = 0;
      }
      write(render(line, now()));
    } catch {
      lost++;
    }
  }

  function writeRepeats(): void {
    clearTimeout(timer);
    timer = undefined;
    if (last === null || last.repeats === 0) return;
    const { line, repeats } = last;
    last.repeats = 0;
    writeLine({
      ...line,
      message: `${line.message} (repeated ${counted(repeats, "time")})`,
    });
  }

  function log(level: Level, message: string, fields: Fields = {}): void {
    if (levels.indexOf(level) < levels.indexOf(minLevel)) return;
    const line = { level, message, fields };
    const key = level === "warn" || level === "error" ? `${level} ${sentence(line)}` : null;
    if (key !== null && key === last?.key) {
      last.repeats++;
      timer ??= setTimeout(writeRepeats, REPEATS_MS).unref();
      return;
    }
    writeRepeats();
    last = key === null ? null : { line, key, repeats: 0 };
    writeLine(line);
  }

  return {
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
    setLevel(level) {
      minLevel = level;
    },
  };
}

/** Chooses the format; for `auto`, by what standard error is connected to. */
export function chooseFormat(
  setting: "auto" | "text" | "json" | "journal",
  {
    env,
    isTerminal,
  }: {
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly isTerminal: boolean;
  },
): Format {
  if (setting !== "auto") return setting;
  if (isTerminal) return "terminal";
  return isJournalStream(env.JOURNAL_STREAM) ? "journal" : "text";
}

/**
 * Whether standard error is the journal's stream, which systemd identifies by `device:inode` (systemd.exec(5),
 * JOURNAL_STREAM). A process inherits the variable even if its standard error was redirected, so compare it with
 * standard error.
 */
function isJournalStream(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    // Loaded here, because only services need it and it takes a millisecond.
    const { fstatSync } = process.getBuiltinModule("node:fs");
    const { dev, ino } = fstatSync(2, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false; // standard error is closed
  }
}

/**
 * Writes each line with one write(2). A reader cannot block the daemon: if a pipe stays full (EAGAIN) or has no reader
 * (EPIPE), the line is lost.
 */
function stderrWriter(): (line: string) => void {
  let isLineIncomplete = false;
  let nextWaitMs = WRITE_WAIT_MS;
  return (line) => {
    const bytes = Buffer.from(`${isLineIncomplete ? "\n" : ""}${line}\n`);
    const waitMs = nextWaitMs;
    nextWaitMs = 0;
    isLineIncomplete = writeToStderr(bytes, waitMs) < bytes.length;
    if (!isLineIncomplete) nextWaitMs = WRITE_WAIT_MS;
  };
}

const renderers: Readonly<Record<Format, (line: Line, atMs: number) => string>> = {
  text({ level, message, fields }, atMs) {
    const time = new Date(atMs).toISOString();
    return pairs({ time, level, msg: message, ...fields });
  },
  terminal(line, atMs) {
    const colour = { debug: 90, info: 32, warn: 33, error: 31 }[line.level];
    const plain = (process.env.NO_COLOR ?? "") !== "";
    const level = line.level.padEnd(5);
    const time = new Date(atMs).toTimeString().slice(0, 8);
    // The message of an event contains everything people need.
    const text = "event" in line.fields ? visible(line.message) : sentence(line);
    return `${time} ${plain ? level : `\x1b[${colour}m${level}\x1b[0m`} ${text}`;
  },
  json({ level, message, fields }, atMs) {
    const time = new Date(atMs).toISOString();
    const members = Object.entries<unknown>({ time, level, msg: message, ...fields })
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => `${JSON.stringify(key)}:${toJson(value)}`);
    return visible(`{${members.join(",")}}`);
  },
  journal(line) {
    const priority = { debug: 7, info: 6, warn: 4, error: 3 }[line.level];
    return `<${priority}>${sentence(line)}`;
  },
};

/** `message key=value key="two words"` */
function sentence({ message, fields }: Line): string {
  return [visible(message.toWellFormed()), pairs(fields)].filter((part) => part !== "").join(" ");
}

function pairs(fields: Fields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${visible(key)}=${logfmt(value)}`)
    .join(" ");
}

function logfmt(value: unknown): string {
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) {
    return value.length === 0 ? "none" : logfmt(value.join(","));
  }
  const json = toJson(value);
  const text = json.startsWith('"') ? String(JSON.parse(json)) : json;
  const isPlain = /^[^\s"=\\]+$/.test(text) && text.isWellFormed() && visible(text) === text;
  return isPlain ? text : visible(JSON.stringify(text));
}

/** Returns JSON for any value; a value that JSON cannot represent becomes a string. */
function toJson(value: unknown): string {
  try {
    // JSON.stringify returns undefined for a function or a symbol, although its type does not say so.
    const json = JSON.stringify(value, replacer) as string | undefined;
    return json ?? JSON.stringify(String(value));
  } catch {
    return '"(unprintable)"'; // a circular value, or a toJSON that throws
  }
}

/** Writes bigints as digits and errors as their message. */
function replacer(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (!(value instanceof Error)) return value;
  const message = value.message || value.name;
  return value.cause instanceof Error ? `${message}: ${value.cause.message}` : message;
}
