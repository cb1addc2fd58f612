/** Words for messages about settings: short, on one line, and never a secret. Pure. */

import { didYouMean } from "../suggest.ts";

/** So many names fit into a message. */
const NAMES_MAX = 5;

/** Scheme, host and port of an http URL, and `/...` for all the rest. Anything else is hidden. */
export function redactUrl(url: string): string {
  // The second test refuses `https:///secret`, which URL would read as `https://secret`.
  if (!URL.canParse(url) || !/^https?:\/\/[^/\\]/i.test(url)) return "(hidden)";
  const { origin, href } = new URL(url);
  return href === `${origin}/` ? origin : `${origin}/...`;
}

/** A webhook's URL or a signing secret may have got into the wrong place. */
export function withoutSecrets(text: string): string {
  if (text.includes("whsec_")) return "(hidden)";
  return /:\/|https?:/i.test(text) ? redactUrl(text) : text;
}

/** A value for a message: short, on one line, and harmless to a terminal. */
export function quoted(text: string): string {
  const safe = withoutSecrets(text);
  if (safe !== text) return safe;
  const short = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return JSON.stringify(short).replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** A word that is not ours, as far as it can hold no secret: `https` of a URL in the wrong place. */
export function beginning(word: string): string {
  if (word.includes("whsec_")) return "(hidden)";
  const plain = /^[\w-]{0,30}/.exec(word)![0];
  return plain === word ? word : `${plain}...`;
}

/** The name of the settings file. */
export function fileName(path: string): string {
  return /^[\w./+-]+$/.test(withoutSecrets(path)) ? path : quoted(path);
}

/** `nflog, bpf or poll` */
export function listed(words: readonly string[], and: string): string {
  return words.length < 2
    ? words.join("")
    : `${words.slice(0, -1).join(", ")} ${and} ${words.at(-1)}`;
}

/** Whether there is a URL outside of comments, which may hold a secret. */
export function hasUrl(text: string): boolean {
  return /^[^#\n]*https?:\/\//m.test(text);
}

/**
 * `--peer: there is no peer "alcie"; did you mean alice?`: of each flag that takes a name, when nothing
 * has it.
 */
export function noSuch(
  { flag, what, word }: { readonly flag: string; readonly what: string; readonly word: string },
  known: readonly string[],
): string {
  const few = known.length > 0 && known.length <= NAMES_MAX;
  const there = few ? `; there ${known.length === 1 ? "is" : "are"} ${listed(known, "and")}` : "";
  // Each number is near any other.
  const guess = didYouMean(
    word,
    known.filter((name) => !/^\d+$/.test(name)),
  );
  return `--${flag}: there is no ${what} ${quoted(word)}${guess || there}`;
}
