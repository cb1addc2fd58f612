/** Text that people read: cleaned of control characters, cut to a length, numbers with their nouns or units. Pure. */

/**
 * Maximum length of a name, in UTF-16 units: the settings allow 64 characters, of two units each. So one line of a
 * message is within the limit of every service.
 */
const NAME_MAX = 128;

/**
 * Returns the text on one line, without invisible characters and bidirectional controls. Characters that join
 * others (emoji, Persian) are kept between them.
 */
export function sanitize(text: string): string {
  // Most names match this. Compiling Unicode classes is slow.
  if (/^[!-~]+( [!-~]+)*$/.test(text)) return text;
  // The lookbehind lets the last pattern match only at the start of a run. Without it, the time is quadratic: seconds
  // for a long run that is not at the end.
  return text
    .toWellFormed()
    .replace(
      /[[\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]--[\p{Join_Control}\p{Variation_Selector}]]/gv,
      "",
    )
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, " ")
    .replace(/^[ \p{Join_Control}\p{Variation_Selector}]+/u, "")
    .replace(/(?<![ \p{Join_Control}])[ \p{Join_Control}]+$/u, "");
}

let graphemes: Intl.Segmenter | undefined;

/**
 * The longest prefix of the text that fits and ends between two graphemes; empty if the first grapheme does not fit.
 */
export function longestPrefix(text: string, fits: (prefix: string) => boolean): string {
  // Created on first use, because that takes a millisecond or two.
  graphemes ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  let prefix = "";
  for (const { index, segment } of graphemes.segment(text)) {
    const next = text.slice(0, index + segment.length);
    if (!fits(next)) break;
    prefix = next;
  }
  return prefix;
}

/** Cuts a text to `max` UTF-16 units, with `…` as one character if something was cut off. */
export function truncate(text: string, max: number): string {
  if (text.length <= max) return text;
  // If the first grapheme alone is too long, for example a letter with a hundred accents, cut it.
  const prefix = longestPrefix(text, ({ length }) => length < max) || text.slice(0, max - 1);
  return `${prefix.replace(/[\ud800-\udbff]$/, "")}\u2026`;
}

/** Longest text that a search of peers takes, in UTF-16 units. */
export const SEARCH_MAX = 100;

/** The first `max` items, and `3 more` if there are three more. */
export function firstOf(items: readonly string[], max: number): string[] {
  const more = items.length - max;
  return [...items.slice(0, max), ...(more > 0 ? [`${more} more`] : [])];
}

/** `1 peer`, `2 peers` */
export function counted(
  number: number,
  noun: string,
  format: (number: number) => string = String,
): string {
  return `${format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** `99.7 %`; `0 %` only for exactly 0, `100 %` only for exactly 1. */
export function percent(fraction: number): string {
  if (fraction <= 0) return "0 %";
  if (fraction >= 1) return "100 %";
  return `${Math.min(99.9, Math.max(0.1, fraction * 100)).toFixed(1)} %`;
}

/** Shortens a name and keeps it on one line; empty if it has no visible character. */
export function shortName(name: string): string {
  return truncate(sanitize(name), NAME_MAX);
}

/** Whether two lists have the same texts in the same order. */
export function areEqual(a: readonly string[], b: readonly string[]): boolean {
  // A loop, because it is called for each of 10,000 peers.
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}
