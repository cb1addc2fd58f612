/**
 * Makes text from other sources safe for a terminal: no character can end a line, move the cursor, change the terminal
 * or change the writing direction. Pure.
 */

/** Select Graphic Rendition codes (ECMA-48, 8.3.117) that wgmon itself writes. */
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
  // Control characters (C0, DEL, C1), direction controls and Unicode line ends, as code points: Unicode character
  // classes take a millisecond to compile.
  "[\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]",
];
const ANY = new RegExp(CONTROL, "g");
const IN_LINE = new RegExp(`(${OWN})|${CONTROL}`, "g");
const IN_TEXT = new RegExp(`(${OWN}|\\t|\\r?\\n)|${CONTROL}`, "g");

/**
 * Escapes each control and direction character as in JSON: `\u001b`. In JSON these characters occur only within
 * strings, so a JSON text stays equivalent.
 */
export function visible(text: string): string {
  return text.replace(ANY, escaped);
}

/** Like `visible`, for a line of output: keeps wgmon's own styles. */
export function printableLine(line: string): string {
  return line.replace(IN_LINE, (found, own?: string) => own ?? escaped(found));
}

/** Like `printableLine`, for several lines: keeps line ends and tabs too. */
export function printable(text: string): string {
  return text.replace(IN_TEXT, (found, own?: string) => own ?? escaped(found));
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
