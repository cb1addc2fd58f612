/** Text that people read: cleaned of control characters, and cut to a length. Pure. */

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

export let graphemes: Intl.Segmenter | undefined;

/** Cuts a text to `max` UTF-16 units, with `…` as one character if something was cut off. */
export function truncate(text: string, max: number): string {
  if (text.length <= max) return text;
  // Created for the first long name: it takes a millisecond or two.
  graphemes ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  let end = 0;
  for (const { index, segment } of graphemes.segment(text)) {
    if (index + segment.length >= max) break;
    end = index + segment.length;
  }
  // A letter with a hundred accents is one grapheme, so it must be cut.
  if (end === 0) end = max - 1;
  return `${text.slice(0, end).replace(/[\ud800-\udbff]$/, "")}\u2026`;
}
