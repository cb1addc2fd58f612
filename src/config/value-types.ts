/**
 * The types of values: how each is written, parsed and checked; more than 400 lines because all types are in one list.
 * Pure.
 */

import { formatDuration, parseDuration } from "../base/duration.ts";
import { formatList, quoteSafely } from "../base/redact.ts";
import { formatSize, parseSize } from "../base/size.ts";
import { didYouMean } from "../base/suggest.ts";
import { type FormatName, formats } from "../channels/formats/index.ts";
import { EVENT_PATTERNS, type EventPattern } from "../events/event-filter.ts";
import { isGatewayName, splitDevice } from "../fleet/gateway-name.ts";
import { type NatsAddress, parseNatsUrl } from "../fleet/nats-url.ts";

export interface ValueType<Value> {
  /** Stands for the value in the help text; null: a switch, which needs no value. */
  readonly placeholder: string | null;
  readonly example: string;
  /** The types allowed in the settings file; the first is the recommended one. */
  readonly tomlTypes: readonly ("string" | "number" | "boolean")[];
  /** What a JSON Schema says of a value, apart from its type. */
  readonly schema?: Readonly<Record<string, unknown>>;
  /** Separates several values in one text. Absent: only one value is allowed. */
  readonly separator?: RegExp;
  /** The candidates of shell completion: words, the machine's files, folders or network interfaces, or the rules of alerts. */
  readonly suggests?: readonly string[] | "file" | "folder" | "interface" | "rule";
  /** The value is never shown, not even when it is invalid. */
  readonly secret?: true;
  /** `problem` is worded to follow the text: `is not ...`. */
  readonly parse: (text: string) => ParseResult<Value>;
}

type ParseResult<Value> = { readonly value: Value } | { readonly problem: string };

/** The URL of a webhook, and the format that may precede it: `slack:https://...`. */
export interface Webhook {
  readonly url: string;
  /** null: no format is given. */
  readonly format: FormatChoice | null;
}

/** auto: the format that the URL selects. */
export type FormatChoice = FormatName | "auto";

export const FORMAT_CHOICES: readonly FormatChoice[] = [
  "auto",
  ...(Object.keys(formats) as FormatName[]),
];

export function choice<const Word extends string>(...words: readonly Word[]): ValueType<Word> {
  return {
    placeholder: words.join("|"),
    example: words[0]!,
    suggests: words,
    schema: { enum: words },
    tomlTypes: ["string"],
    parse(text) {
      const word = words.find((candidate) => candidate === text);
      if (word !== undefined) return { value: word };
      return { problem: `is not ${formatList(words, "or")}${didYouMean(text, words)}` };
    },
  };
}

export function boolean(): ValueType<boolean> {
  const { parse } = choice("true", "false");
  return {
    placeholder: null,
    example: "true",
    tomlTypes: ["boolean"],
    parse(text) {
      const result = parse(text);
      return "value" in result ? { value: result.value === "true" } : result;
    },
  };
}

export function integer(min: number, max: number): ValueType<number> {
  return {
    placeholder: "NUMBER",
    example: "1",
    schema: { type: "integer", minimum: min, maximum: max },
    tomlTypes: ["number"],
    parse(text) {
      const value = Number(text);
      if (/^\d+$/.test(text) && value >= min && value <= max) return { value };
      return { problem: `is not a whole number from ${min} to ${max}` };
    },
  };
}

export function duration(minMs: number, max: string): ValueType<number> {
  return {
    placeholder: "DURATION",
    example: "90s",
    schema: {
      type: "string",
      pattern: "^(0|([0-9]+(ms|[dhms]))+)$",
    },
    // Numbers are allowed only because the error of `parse` is more helpful than that of a wrong type.
    tomlTypes: ["string", "number"],
    parse(text) {
      const value = parseDuration(text);
      if (value === null) {
        return /^\d+$/.test(text)
          ? { problem: `has no unit; write ${quoteSafely(`${text}s`)} for seconds` }
          : {
              problem: `is not a duration; write ${meantDuration(text) ?? "it like 250ms, 90s or 1m30s"}`,
            };
      }
      if (value < minMs)
        return { problem: `is too short; the minimum is ${formatDuration(minMs)}` };
      if (value > parseDuration(max)!) return { problem: `is too long; the maximum is ${max}` };
      return { value };
    },
  };
}

const UNIT_WORDS: readonly (readonly [RegExp, string])[] = [
  [/^(ms|msecs?|millis|milliseconds?)$/, "ms"],
  [/^(s|secs?|seconds?)$/, "s"],
  [/^(m|mins?|minutes?)$/, "m"],
  [/^(h|hrs?|hours?)$/, "h"],
  [/^(d|days?)$/, "d"],
];

/** `"2m"` for `2 min`; null: unknown. */
function meantDuration(text: string): string | null {
  const parts = text.toLowerCase().match(/\d{1,9}|[a-z]+/g) ?? [];
  const isPlain = /^(\d{1,9} *[a-z]+[ ,]*)+$/i.test(text);
  if (!isPlain || parts.length > 10) return null;
  const meant = parts
    .map((part) =>
      /^\d/.test(part) ? part : (UNIT_WORDS.find(([words]) => words.test(part))?.[1] ?? "?"),
    )
    .join("");
  return parseDuration(meant) === null ? null : quoteSafely(meant);
}

/** `"50GB"` for `50 GB` and `50G`; null: unknown. */
function meantSize(text: string): string | null {
  const [, count, prefix, binary] = /^(\d{1,15}) *([kmgt]?)(i?)b?$/i.exec(text) ?? [];
  if (prefix === undefined) return null;
  const scale = prefix.toUpperCase();
  const meant = `${count}${scale === "K" && binary === "" ? "k" : scale}${binary === "" ? "" : "i"}B`;
  return parseSize(meant) === null ? null : quoteSafely(meant);
}

/** A time: absolute (Unix time in ms), or relative to now. `daysAgo` counts local days back from today. */
export type Time =
  | { readonly atMs: number }
  | { readonly agoMs: number }
  | { readonly daysAgo: number; readonly clock: readonly [h: number, min: number, s: number] };

const DAYS: Readonly<Record<string, number>> = { today: 0, yesterday: 1 };
const TIME_FORMS = `write 2h or 7d for that long ago, today, yesterday, 16:30, 2026-11-22, "2026-11-22 16:30" or 2026-11-22T16:30:00Z`;

/** A time as journalctl takes it. A date or time without Z or an offset is in local time; a date alone is its start. */
export function time(): ValueType<Time> {
  const ago = duration(0, "3650d");
  return {
    placeholder: "TIME",
    example: "7d",
    suggests: ["today", "yesterday", "1h", "24h", "7d", "30d"],
    tomlTypes: ["string"],
    parse(text) {
      if (text === "now") return { value: { agoMs: 0 } };
      const daysAgo = Object.hasOwn(DAYS, text) ? DAYS[text]! : null;
      if (daysAgo !== null) return { value: { daysAgo, clock: [0, 0, 0] } };
      const date = /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\S+))?$/.exec(text);
      if (date !== null) return parseDate(date);
      const clock = parseClock(text);
      if (clock !== null) return { value: { daysAgo: 0, clock } };
      const result = ago.parse(text);
      if ("value" in result) return { value: { agoMs: result.value } };
      if (parseDuration(text) !== null) return result;
      return { problem: `is not a time; ${TIME_FORMS}` };
    },
  };
}

function parseDate([text, ...parts]: RegExpExecArray): ParseResult<Time> {
  const [year, month, day] = parts.slice(0, 3).map(Number) as [number, number, number];
  const lastDay = new Date(Date.UTC(year, month, 0)).getUTCDate();
  if (month < 1 || month > 12) return { problem: `has no valid month; ${TIME_FORMS}` };
  if (day < 1 || day > lastDay) return { problem: `is not a date: that month has ${lastDay} days` };
  const [, local = "", zone] =
    /^(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|z|[+-]\d\d:\d\d)?$/.exec(parts[3] ?? "00:00") ?? [];
  const clock = parseClock(local.replace(/\..*/, ""));
  if (clock === null) return { problem: `has no valid time of day; ${TIME_FORMS}` };
  const atMs =
    zone === undefined
      ? new Date(year, month - 1, day, ...clock, milliseconds(local)).getTime()
      : Date.parse(text.replace(" ", "T"));
  // An offset such as +99:00.
  return Number.isNaN(atMs)
    ? { problem: `has no valid offset; ${TIME_FORMS}` }
    : { value: { atMs } };
}

function milliseconds(clock: string): number {
  return Math.trunc(Number(`0.${clock.split(".")[1] ?? "0"}`) * 1000);
}

/** `16:30`, `16:30:05` */
function parseClock(text: string): [number, number, number] | null {
  if (!/^\d\d:\d\d(:\d\d)?$/.test(text)) return null;
  const [hours = 0, minutes = 0, seconds = 0] = text.split(":").map(Number);
  return hours < 24 && minutes < 60 && seconds < 60 ? [hours, minutes, seconds] : null;
}

export function size(minBytes: number, maxBytes: number): ValueType<number> {
  return {
    placeholder: "SIZE",
    example: "256MB",
    schema: { type: "string", pattern: "^[0-9]+([kMGT]?B|[KMGT]iB)$" },
    tomlTypes: ["string", "number"],
    parse(text) {
      const value = parseSize(text);
      if (value === null) {
        return /^\d+$/.test(text)
          ? { problem: `has no unit; write ${quoteSafely(`${text}MB`)} for megabytes` }
          : { problem: `is not a size; write ${meantSize(text) ?? "it like 256MB or 1GiB"}` };
      }
      if (value < minBytes)
        return { problem: `is too small; the minimum is ${formatSize(minBytes)}` };
      if (value > maxBytes)
        return { problem: `is too large; the maximum is ${formatSize(maxBytes)}` };
      return { value };
    },
  };
}

/** Not \p{Cc} in the patterns below: compiling a Unicode class takes longer than all other work in this file. */
function hasControlCharacter(text: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return /[\u0000-\u001f\u007f-\u009f]/.test(text);
}

/** The name of a WireGuard device; on a hub, with that of its gateway: `berlin/wg0`. */
export function deviceOfFleet(example: string): ValueType<string> {
  const own = deviceName(example);
  return {
    ...own,
    parse(text) {
      const { gateway, device } = splitDevice(text);
      if (gateway === null || !isGatewayName(gateway)) return own.parse(text);
      const parsed = own.parse(device);
      return "value" in parsed ? { value: text } : parsed;
    },
  };
}

/** The names of network interfaces that the kernel accepts: dev_valid_name(), net/core/dev.c. */
export function deviceName(example: string): ValueType<string> {
  return {
    placeholder: "NAME",
    example,
    suggests: "interface",
    tomlTypes: ["string"],
    parse(text) {
      const valid =
        /^[^\s/:]+$/.test(text) && !hasControlCharacter(text) && text !== "." && text !== "..";
      if (valid && Buffer.byteLength(text) <= 15) return { value: text };
      return { problem: "is not the name of a network interface (1 to 15 bytes, no / : or space)" };
    },
  };
}

export function hostName(): ValueType<string> {
  return {
    placeholder: "NAME",
    example: "gw1",
    tomlTypes: ["string"],
    parse(text) {
      if (/^[^\s/]{1,253}$/.test(text) && !hasControlCharacter(text)) return { value: text };
      return { problem: "is not a host name (1 to 253 characters, no / or space)" };
    },
  };
}

/** A peer's name. A public key is also accepted. */
export function peerName(): ValueType<string> {
  return {
    placeholder: "NAME",
    example: "alice",
    tomlTypes: ["string"],
    parse(text) {
      if (/^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]{1,64}$/u.test(text)) return { value: text };
      return { problem: "is not a name (1 to 64 printable characters)" };
    },
  };
}

/** One of a peer's tags. */
export function peerTag(): ValueType<string> {
  return {
    placeholder: "TAG",
    example: "phone",
    tomlTypes: ["string"],
    separator: /,/,
    parse(text) {
      if (/^[^\p{C}\p{Zl}\p{Zp},]{1,32}$/u.test(text)) return { value: text };
      return { problem: "is not a tag (1 to 32 printable characters, no comma)" };
    },
  };
}

/** A target's name, usable on the command line and distinct from a number and from a flag. */
export function targetName(): ValueType<string> {
  return {
    placeholder: "NAME",
    example: "ops",
    tomlTypes: ["string"],
    parse(text) {
      if (/^[A-Za-z0-9][\w.-]{0,31}$/.test(text)) return { value: text };
      return { problem: "is not a name (1 to 32 letters, digits and - _ . after the first)" };
    },
  };
}

/** The name of a rule of alerts, for the commands that select alerts. */
export function ruleName(): ValueType<string> {
  return {
    placeholder: "RULE",
    example: "office-down",
    suggests: "rule",
    tomlTypes: ["string"],
    parse(text) {
      if (/^[^\p{Cc}\p{Cs}\p{Zl}\p{Zp}]{1,64}$/u.test(text)) return { value: text };
      return { problem: "is not a name (1 to 64 printable characters)" };
    },
  };
}

/** The id of a message or an event. */
export function messageId(): ValueType<string> {
  return {
    placeholder: "ID",
    example: "evt_01a20411f5a57c1e9b0d6a1f0c3e4b52",
    tomlTypes: ["string"],
    parse(text) {
      if (/^[\w.-]{1,64}$/.test(text)) return { value: text };
      return { problem: "is not an id, as wgmon outbox list prints it" };
    },
  };
}

export function listenAddress(): ValueType<string> {
  return {
    placeholder: "ADDRESS",
    example: "127.0.0.1",
    tomlTypes: ["string"],
    parse(text) {
      if (/^[A-Za-z0-9.:-]{1,253}(?:%[\w.-]{1,15})?$/.test(text)) return { value: text };
      return { problem: "is not an address, such as 127.0.0.1, :: or a host name" };
    },
  };
}

/** An address and a TCP port to listen on. An IPv6 address is written in brackets. */
export function addressAndPort(): ValueType<{ readonly address: string; readonly port: number }> {
  return {
    placeholder: "ADDRESS:PORT",
    example: "127.0.0.1:9587",
    tomlTypes: ["string"],
    parse(text) {
      const [, ipv6, other, digits] =
        /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w.-]{1,253})):(\d{1,5})$/.exec(text) ?? [];
      const address = ipv6 ?? other;
      const port = Number(digits);
      if (address !== undefined && port >= 1 && port <= 65_535) return { value: { address, port } };
      return { problem: "is not an address and a port, such as 127.0.0.1:9587 or [::1]:9587" };
    },
  };
}

export function eventPattern(): ValueType<EventPattern> {
  return { ...choice(...EVENT_PATTERNS), placeholder: "TYPE", separator: /[\s,]+/ };
}

/** Text that is passed to the kernel or to a C library, where it would end at the first NUL. */
export function string(placeholder: string, example: string): ValueType<string> {
  return {
    placeholder,
    example,
    ...(placeholder === "FILE" ? { suggests: "file" } : {}),
    tomlTypes: ["string"],
    parse: (text) =>
      text.includes("\0") ? { problem: "contains a NUL character" } : { value: text },
  };
}

/** An absolute path, which does not depend on the folder that wgmon was started in. */
export function absolutePath(
  placeholder: "FILE" | "FOLDER" | "PATH",
  example: string,
): ValueType<string> {
  return {
    placeholder,
    example,
    suggests: placeholder === "FOLDER" ? "folder" : "file",
    tomlTypes: ["string"],
    parse: (text) =>
      text.startsWith("/") && !hasControlCharacter(text)
        ? { value: text }
        : { problem: `is not an absolute path, such as ${example}` },
  };
}

/** The path of files with names of peers, as `PeerNames` accepts it, or "off". */
export function namesPath(): ValueType<string> {
  const type = absolutePath("PATH", "/etc/wireguard/%i.conf");
  return {
    ...type,
    separator: /[\s,]+/,
    parse(text) {
      if (text === "off") return { value: text };
      if (/[*?].*\//.test(text)) return { problem: "has a * or ? before its last /" };
      const result = type.parse(text);
      return "value" in result ? result : { problem: `${result.problem}, or off` };
    },
  };
}

/** A file that may contain secrets. The value is not shown: users may write a secret instead of its file's path. */
/** The address of NATS servers, which may contain a password. */
export function natsServers(): ValueType<NatsAddress> {
  return {
    placeholder: "URL",
    example: "nats://wgmon_hub:PASSWORD@nats.example.net",
    tomlTypes: ["string"],
    secret: true,
    parse(text) {
      const address = parseNatsUrl(text);
      return "error" in address
        ? { problem: `is not an address: ${address.error}` }
        : { value: address };
    },
  };
}

export function secretFile(example: string): ValueType<string> {
  return { ...absolutePath("FILE", example), secret: true };
}

/** A tcpdump expression, which libpcap checks and quotes in its error. So refuse a URL here: it may be a secret. */
export function captureFilter(): ValueType<string> {
  const type = string("EXPRESSION", "udp dst port 51820");
  return {
    ...type,
    parse: (text) =>
      text.includes("://") ? { problem: "is a URL, not a tcpdump expression" } : type.parse(text),
  };
}

export function webhookUrl(): ValueType<Webhook> {
  return {
    placeholder: "URL",
    example: "https://hooks.example.net/wgmon",
    tomlTypes: ["string"],
    secret: true,
    parse(text) {
      const [, prefix, url] = /^(?:([a-zA-Z][\w-]*):)?(https?:\/\/[^\s/\\]\S*)$/.exec(text) ?? [];
      if (url === undefined || !URL.canParse(url)) {
        return { problem: "is not a URL that starts with http:// or https://" };
      }
      if (prefix === undefined) return { value: { url, format: null } };
      const format = FORMAT_CHOICES.find((candidate) => candidate === prefix);
      if (format !== undefined) return { value: { url, format } };
      // Do not quote the prefix: it may be part of a secret.
      const guess =
        didYouMean(prefix, FORMAT_CHOICES) || `; there are ${formatList(FORMAT_CHOICES, "and")}`;
      return { problem: `has an unknown format before its URL${guess}` };
    },
  };
}

/** The URL of a hub, with the name and the secret of this gateway. */
export interface HubUrl {
  /** Without user name and password. */
  readonly url: string;
  readonly gateway: string;
  /** `whsec_...`, not checked. */
  readonly secret: string;
}

/** Over HTTPS, or over NATS. */
export function hubUrl(): ValueType<HubUrl | NatsAddress> {
  return {
    placeholder: "URL",
    example: "https://berlin:whsec_...@hub.example.net",
    tomlTypes: ["string"],
    secret: true,
    parse(text) {
      if (/^(nats|tls):/.test(text)) return natsServers().parse(text);
      // By hand, because base64 may contain a slash, which would end the password of a URL.
      const [, scheme, user, password, rest] =
        /^(https?):\/\/([^\s:@/]+):([^\s@]+)@([^\s@?#]+)$/.exec(text) ?? [];
      const url = rest === undefined ? null : URL.parse(`${scheme}://${rest}`);
      if (url === null || user === undefined || password === undefined) {
        return { problem: "is not the URL that wgmon hub enroll prints" };
      }
      // The secret may be in base64 or base64url, and with escapes.
      const secret = password.replaceAll("%2B", "+").replaceAll("%2F", "/").replaceAll("%3D", "=");
      const key = secret
        .replace(/^whsec_/, "")
        .replaceAll("-", "+")
        .replaceAll("_", "/");
      const value = { url: url.href.replace(/\/$/, ""), gateway: user, secret: `whsec_${key}` };
      return { value };
    },
  };
}

/** The absolute path of a program. An invalid one is not shown: it may be a whole command line with secrets. */
export function executablePath(): ValueType<string> {
  return {
    placeholder: "PROGRAM",
    example: "/usr/local/bin/notify",
    tomlTypes: ["string"],
    secret: true,
    parse(text) {
      // A text with a space is probably a whole command line, whose arguments may be secrets.
      if (/^\/[^\s]+$/.test(text) && !hasControlCharacter(text)) return { value: text };
      return {
        problem:
          "is not the absolute path of a program, without spaces; its arguments follow, each a string of its own",
      };
    },
  };
}
