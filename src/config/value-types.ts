/** How the values of each kind are written, and what is wrong with an invalid one. Pure. */

import { formatDuration, parseDuration } from "../base/duration.ts";
import { formatList, quoteSafely } from "../base/redact.ts";
import { formatSize, parseSize } from "../base/size.ts";
import { didYouMean } from "../base/suggest.ts";
import { type FormatName, formats } from "../channels/formats/index.ts";
import { EVENT_PATTERNS, type EventPattern } from "../events/event-filter.ts";

export interface ValueType<Value> {
  /** Represents the value in the help text; null: a switch, which needs no value. */
  readonly placeholder: string | null;
  readonly example: string;
  /** The types allowed in TOML; the first is the recommended one. */
  readonly tomlTypes: readonly ("string" | "number" | "boolean")[];
  /** If present, several values are allowed, separated by this in one text. */
  readonly separator?: RegExp;
  /** How a shell completes the value: with one of some words, or with what is on the machine. */
  readonly suggests?: readonly string[] | "file" | "folder" | "interface";
  /** The value is never shown, not even when it is invalid. */
  readonly secret?: true;
  /** `problem` continues a sentence that begins with the text: `is not ...`. */
  readonly read: (text: string) => Reading<Value>;
}

type Reading<Value> = { readonly value: Value } | { readonly problem: string };

/** The address of a webhook as one text gives it. */
export interface Webhook {
  readonly url: string;
  /** The format before the URL; null: no format is given. */
  readonly format: FormatChoice | null;
}

/** auto: the format that matches the URL. */
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
    tomlTypes: ["string"],
    read(text) {
      const word = words.find((candidate) => candidate === text);
      if (word !== undefined) return { value: word };
      return { problem: `is not ${formatList(words, "or")}${didYouMean(text, words)}` };
    },
  };
}

export function boolean(): ValueType<boolean> {
  const { read } = choice("true", "false");
  return {
    placeholder: null,
    example: "true",
    tomlTypes: ["boolean"],
    read(text) {
      const reading = read(text);
      return "value" in reading ? { value: reading.value === "true" } : reading;
    },
  };
}

export function integer(least: number, most: number): ValueType<number> {
  return {
    placeholder: "NUMBER",
    example: "1",
    tomlTypes: ["number"],
    read(text) {
      const value = Number(text);
      if (/^\d+$/.test(text) && value >= least && value <= most) return { value };
      return { problem: `is not a whole number from ${least} to ${most}` };
    },
  };
}

export function duration(leastMs: number, most: string): ValueType<number> {
  return {
    placeholder: "DURATION",
    example: "90s",
    // `read` refuses a number with better advice than a type error.
    tomlTypes: ["string", "number"],
    read(text) {
      const value = parseDuration(text);
      if (value === null) {
        return /^\d+$/.test(text)
          ? { problem: `has no unit; write ${quoteSafely(`${text}s`)} for seconds` }
          : { problem: "is not a duration; write it like 250ms, 90s or 1m30s" };
      }
      if (value < leastMs)
        return { problem: `is too short; the minimum is ${formatDuration(leastMs)}` };
      if (value > parseDuration(most)!) return { problem: `is too long; the maximum is ${most}` };
      return { value };
    },
  };
}

/** A moment: absolute, or relative to now. */
export type Since = { readonly atMs: number } | { readonly agoMs: number };

export function since(): ValueType<Since> {
  const ago = duration(0, "3650d");
  return {
    placeholder: "TIME",
    example: "7d",
    tomlTypes: ["string"],
    read(text) {
      const isTime = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(text);
      const atMs = isTime ? Date.parse(text) : NaN;
      if (!Number.isNaN(atMs)) return { value: { atMs } };
      const reading = ago.read(text);
      if ("value" in reading) return { value: { agoMs: reading.value } };
      if (parseDuration(text) !== null) return reading;
      return {
        problem: "is not a time; write 7d or 90m for that long ago, or 2026-11-22T16:00:00Z",
      };
    },
  };
}

export function size(leastBytes: number, mostBytes: number): ValueType<number> {
  return {
    placeholder: "SIZE",
    example: "256MB",
    tomlTypes: ["string", "number"],
    read(text) {
      const value = parseSize(text);
      if (value === null) {
        return /^\d+$/.test(text)
          ? { problem: `has no unit; write ${quoteSafely(`${text}MB`)} for megabytes` }
          : { problem: "is not a size; write it like 256MB or 1GiB" };
      }
      if (value < leastBytes)
        return { problem: `is too small; the minimum is ${formatSize(leastBytes)}` };
      if (value > mostBytes)
        return { problem: `is too large; the maximum is ${formatSize(mostBytes)}` };
      return { value };
    },
  };
}

/** Not a Unicode class in each pattern: compiling that takes longer than everything else here. */
function hasControl(text: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return /[\u0000-\u001f\u007f-\u009f]/.test(text);
}

/** What the kernel accepts as the name of a network interface: dev_valid_name(), net/core/dev.c. */
export function deviceName(example: string): ValueType<string> {
  return {
    placeholder: "NAME",
    example,
    suggests: "interface",
    tomlTypes: ["string"],
    read(text) {
      const valid = /^[^\s/:]+$/.test(text) && !hasControl(text) && text !== "." && text !== "..";
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
    read(text) {
      if (/^[^\s/]{1,253}$/.test(text) && !hasControl(text)) return { value: text };
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
    read(text) {
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
    read(text) {
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
    read(text) {
      if (/^[A-Za-z0-9][\w.-]{0,31}$/.test(text)) return { value: text };
      return { problem: "is not a name (1 to 32 letters, digits and - _ . after the first)" };
    },
  };
}

/** The id of a message or an event. */
export function messageId(): ValueType<string> {
  return {
    placeholder: "ID",
    example: "evt_01a20411f5a57c1e9b0d6a1f0c3e4b52",
    tomlTypes: ["string"],
    read(text) {
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
    read(text) {
      if (/^[A-Za-z0-9.:-]{1,253}(?:%[\w.-]{1,15})?$/.test(text)) return { value: text };
      return { problem: "is not an address, such as 127.0.0.1, :: or a host name" };
    },
  };
}

/** Where to listen. An IPv6 address is written in brackets. */
export function listenPlace(): ValueType<{ readonly address: string; readonly port: number }> {
  return {
    placeholder: "ADDRESS:PORT",
    example: "127.0.0.1:9587",
    tomlTypes: ["string"],
    read(text) {
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

/** Text that other software interprets: libpcap, the file system. C ends it at the first NUL. */
export function string(placeholder: string, example: string): ValueType<string> {
  return {
    placeholder,
    example,
    ...(placeholder === "FILE" ? { suggests: "file" } : {}),
    tomlTypes: ["string"],
    read: (text) =>
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
    read: (text) =>
      text.startsWith("/") && !hasControl(text)
        ? { value: text }
        : { problem: `is not an absolute path, such as ${example}` },
  };
}

/** The path of the peer names, or "off": what `PeerNames` accepts. */
export function namesPath(): ValueType<string> {
  const kind = absolutePath("PATH", "/etc/wireguard/%i.conf");
  return {
    ...kind,
    separator: /[\s,]+/,
    read(text) {
      if (text === "off") return { value: text };
      if (/[*?].*\//.test(text)) return { problem: "has a * or ? before its last /" };
      const reading = kind.read(text);
      return "value" in reading ? reading : { problem: `${reading.problem}, or off` };
    },
  };
}

/** A file that may contain secrets. The value is not shown: users may write a secret instead of its file's path. */
export function secretFile(example: string): ValueType<string> {
  return { ...absolutePath("FILE", example), secret: true };
}

/** libpcap checks the expression and quotes it in its message. So refuse a URL here: it may be a secret. */
export function captureFilter(): ValueType<string> {
  const kind = string("EXPRESSION", "udp dst port 51820");
  return {
    ...kind,
    read: (text) =>
      text.includes("://") ? { problem: "is a URL, not a tcpdump expression" } : kind.read(text),
  };
}

export function webhookUrl(): ValueType<Webhook> {
  return {
    placeholder: "URL",
    example: "https://hooks.example.net/wgmon",
    tomlTypes: ["string"],
    secret: true,
    read(text) {
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

/** The program of a command. Its arguments may be secrets. */
export function executablePath(): ValueType<string> {
  return {
    placeholder: "PROGRAM",
    example: "/usr/local/bin/notify",
    tomlTypes: ["string"],
    secret: true,
    read(text) {
      // A space suggests that the text is a whole command line, whose rest may be a secret.
      if (/^\/[^\s]+$/.test(text) && !hasControl(text)) return { value: text };
      return {
        problem:
          "is not the absolute path of a program, without spaces; its arguments follow, each a string of its own",
      };
    },
  };
}
