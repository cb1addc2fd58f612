/** Wording of messages about settings: short, on one line, and without secrets. Pure. */

import { didYouMean } from "./suggest.ts";

/** Maximum number of names in a message. */
const NAMES_MAX = 5;

/** Scheme, host and port of an http URL, and `/...` for the rest. Any other text is hidden. */
export function redactUrl(url: string): string {
  // The second test refuses `https:///secret`, which URL would parse as `https://secret`.
  if (!URL.canParse(url) || !/^https?:\/\/[^/\\]/i.test(url)) return "(hidden)";
  const { origin, href } = new URL(url);
  return href === `${origin}/` ? origin : `${origin}/...`;
}

/**
 * Hides secrets in a value for a message: the user may have put a webhook's URL or a signing secret in the wrong place.
 */
export function redact(text: string): string {
  if (text.includes("whsec_")) return "(hidden)";
  return /:\/|https?:/i.test(text) ? redactUrl(text) : text;
}

/** A value for a message: short, on one line, and safe for a terminal. */
export function quoteSafely(text: string): string {
  const safe = redact(text);
  if (safe !== text) return safe;
  const short = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return JSON.stringify(short).replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/**
 * The start of an unknown word up to the first character that may begin a secret: `https...` for a URL in the wrong
 * place.
 */
export function safePrefix(word: string): string {
  if (word.includes("whsec_")) return "(hidden)";
  const plain = /^[\w-]{0,30}/.exec(word)![0];
  return plain === word ? word : `${plain}...`;
}

/** The path of a file for a message: quoted if it has unusual characters, hidden if it may contain a secret. */
export function fileName(path: string): string {
  return /^[\w./+-]+$/.test(redact(path)) ? path : quoteSafely(path);
}

/** `nflog, bpf or poll` */
export function formatList(words: readonly string[], conjunction: string): string {
  return words.length < 2
    ? words.join("")
    : `${words.slice(0, -1).join(", ")} ${conjunction} ${words.at(-1)}`;
}

/** Whether the text contains an http URL, which may contain a secret, outside of # comments. */
export function hasUrl(text: string): boolean {
  return /^[^#\n]*https?:\/\//m.test(text);
}

/**
 * `--peer: there is no peer "alcie"; did you mean alice?`: the error for a name that does not exist.
 *
 * @param flag null: the name is not the value of a flag.
 */
export function noSuch(
  {
    flag,
    what,
    word,
  }: { readonly flag: string | null; readonly what: string; readonly word: string },
  known: readonly string[],
): string {
  const areFew = known.length > 0 && known.length <= NAMES_MAX;
  const existing = areFew
    ? `; there ${known.length === 1 ? "is" : "are"} ${formatList(known, "and")}`
    : "";
  // Suggest no numbers, because all numbers are similar.
  const suggestion = didYouMean(
    word,
    known.filter((name) => !/^\d+$/.test(name)),
  );
  const where = flag === null ? "" : `--${flag}: `;
  return `${where}there is no ${what} ${quoteSafely(word)}${suggestion || existing}`;
}

/** Whether the text is a certificate in PEM, which is public, without a private key. */
export function isCertificate(text: string): boolean {
  return text.includes("-----BEGIN CERTIFICATE-----") && !text.includes("PRIVATE KEY-----");
}
