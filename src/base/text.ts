/** Text that people read: cleaned of control characters, cut to a length, numbers with their nouns. Pure. */

/**
 * Returns the text on one line, without invisible characters and bidirectional controls. Characters that join
 * others (emoji, Persian) are kept between them.
 */
export function sanitize(text: string): string {
  // Most names match this. Compiling Unicode classes is slow.
  if (/^[!-~]+( [!-~]+)*$/.test(text)) return text;
  // The last pattern is tried only where a run begins: tried at each position of a long run, it takes seconds.
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

/** The longest start of the text that fits and ends between two graphemes; empty if the first one does not fit. */
export function startThatFits(text: string, fits: (start: string) => boolean): string {
  // Created for the first long text: it takes a millisecond or two.
  graphemes ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  let start = "";
  for (const { index, segment } of graphemes.segment(text)) {
    const next = text.slice(0, index + segment.length);
    if (!fits(next)) break;
    start = next;
  }
  return start;
}

/** Cuts a text to `max` UTF-16 units, with `…` as one character if something was cut off. */
export function truncate(text: string, max: number): string {
  if (text.length <= max) return text;
  // A letter with a hundred accents is one grapheme, so it must be cut.
  const start = startThatFits(text, ({ length }) => length < max) || text.slice(0, max - 1);
  return `${start.replace(/[\ud800-\udbff]$/, "")}\u2026`;
}

/** `1 peer`, `2 peers` */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
