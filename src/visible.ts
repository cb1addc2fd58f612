/**
 * Text that others chose, made harmless for a terminal: no character of it ends a line, moves the cursor,
 * changes the terminal or turns the direction of writing. Pure.
 */

/** Select Graphic Rendition of ECMA-48, 8.3.117: what wgmon itself writes in colours. */
export const STYLES = {
  bold: "1",
  dim: "2",
  inverse: "7",
  red: "31",
  green: "32",
  yellow: "33",
} as const;

const [OWN, CONTROL] = [
  `\\u001b\\[(?:0|${Object.values(STYLES).join("|")})m`,
  // Control characters (C0, DEL, C1), controls of direction, line ends of Unicode. By number: the classes
  // of Unicode take a millisecond to compile.
  "[\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]",
];
const ANY = new RegExp(CONTROL, "g");
const IN_LINE = new RegExp(`(${OWN})|${CONTROL}`, "g");
const IN_TEXT = new RegExp(`(${OWN}|\\t|\\r?\\n)|${CONTROL}`, "g");

/**
 * The text with each such character written as JSON escapes it: `\u001b`. In a JSON text these characters
 * stand in strings only, so it stays the same JSON.
 */
export function visible(text: string): string {
  return text.replace(ANY, escaped);
}

/** The same for a line that wgmon wrote: its own colours stay. */
export function printableLine(line: string): string {
  return line.replace(IN_LINE, (found, own?: string) => own ?? escaped(found));
}

/** The same for several lines; tabs stay, too. */
export function printable(text: string): string {
  return text.replace(IN_TEXT, (found, own?: string) => own ?? escaped(found));
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
