/**
 * The log: one line for one happening, on standard error. For people on a terminal, JSON for
 * machines, and with the journal's level prefixes (sd-daemon(3)) under systemd.
 */

import { writeToStderr } from "./system.ts";
import { visible } from "./visible.ts";

export type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/** What `createLog` makes; the rest of the program needs no more than a Log. */
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

/** A warning or error that goes on repeating itself is counted, and the count written this often. */
const REPEATS_MS = 60_000;

/** How long a full pipe's reader may keep everything waiting, once; it may be merely slow. */
const PATIENCE_MS = 100;

export interface LogOptions {
  readonly format: Format;
  /** The least level that is written. */
  readonly level: Level;
  /** Gets each line without its end. What it throws is counted as a lost line. */
  readonly write?: (line: string) => void;
  readonly now?: () => number;
}

export function createLog(options: LogOptions): LeveledLog {
  const { format, write = stderrWriter(), now = Date.now } = options;
  let least = options.level;
  const render = renderers[format];
  /** The last line, if it was a warning or an error. */
  let last: { readonly line: Line; readonly key: string; repeats: number } | null = null;
  let timer: NodeJS.Timeout | undefined;
  let lost = 0;

  function put(line: Line): void {
    try {
      if (lost > 0) {
        const message = `lines lost here, standard error did not take them`;
        write(render({ level: "warn", message, fields: { lines: lost } }, now()));
        lost = 0;
      }
      write(render(line, now()));
    } catch {
      lost++;
    }
  }

  function putRepeats(): void {
    clearTimeout(timer);
    timer = undefined;
    if (last === null || last.repeats === 0) return;
    const { line, repeats } = last;
    last.repeats = 0;
    put({
      ...line,
      message: `${line.message} (repeated ${repeats} time${repeats === 1 ? "" : "s"})`,
    });
  }

  function log(level: Level, message: string, fields: Fields = {}): void {
    if (levels.indexOf(level) < levels.indexOf(least)) return;
    const line = { level, message, fields };
    const key = level === "warn" || level === "error" ? `${level} ${sentence(line)}` : null;
    if (key !== null && key === last?.key) {
      last.repeats++;
      timer ??= setTimeout(putRepeats, REPEATS_MS).unref();
      return;
    }
    putRepeats();
    last = key === null ? null : { line, key, repeats: 0 };
    put(line);
  }

  return {
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
    setLevel(level) {
      least = level;
    },
  };
}

/** `auto`: what standard error leads to. */
export function chooseFormat(
  setting: "auto" | "text" | "json" | "journal",
  where: {
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly isTerminal: boolean;
  },
): Format {
  if (setting !== "auto") return setting;
  if (where.isTerminal) return "terminal";
  return leadsToJournal(where.env.JOURNAL_STREAM) ? "journal" : "text";
}

/**
 * systemd names the journal's stream by `device:inode` (systemd.exec(5), JOURNAL_STREAM). A child
 * inherits the variable even where its standard error was led elsewhere, so the two must agree.
 */
function leadsToJournal(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    // Loaded here, because only services need it: it takes a millisecond.
    const { fstatSync } = process.getBuiltinModule("node:fs");
    const { dev, ino } = fstatSync(2, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false; // no standard error at all
  }
}

/**
 * One write(2) for each line. Where nobody reads, the daemon goes on: a pipe that is full (EAGAIN) or
 * has no reader (EPIPE) costs the line.
 */
function stderrWriter(): (line: string) => void {
  let torn = false;
  let patienceMs = PATIENCE_MS;
  return (line) => {
    const bytes = Buffer.from(`${torn ? "\n" : ""}${line}\n`);
    const waitMs = patienceMs;
    patienceMs = 0;
    torn = writeToStderr(bytes, waitMs) < bytes.length;
    if (!torn) patienceMs = PATIENCE_MS;
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
    // The sentence of an event says all that people want to know.
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

/** JSON of anything at all; what has none becomes a string. */
function toJson(value: unknown): string {
  try {
    // undefined for a function or a symbol, whatever its type says.
    const json = JSON.stringify(value, speakable) as string | undefined;
    return json ?? JSON.stringify(String(value));
  } catch {
    return '"(unprintable)"'; // a circle, or a toJSON that throws
  }
}

/** Counters as their digits, errors as what they say. */
function speakable(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (!(value instanceof Error)) return value;
  const message = value.message || value.name;
  return value.cause instanceof Error ? `${message}: ${value.cause.message}` : message;
}
