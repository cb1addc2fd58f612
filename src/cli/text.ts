/**
 * The text output of the commands: names, times, sizes, colours, and tables that fit the terminal. A name may contain
 * any characters; only printable ones are printed, on one line. Pure.
 */

import { showBytes } from "../base/size.ts";
import { longestPrefix, shortName } from "../base/text.ts";
import { STYLES, visible } from "../base/visible.ts";
import { shortKey } from "../base/wireguard.ts";
import { duration } from "../events/event.ts";

/** Separates the columns of a table. */
const GAP = "  ";

/** `alice`; the beginning of the key if the peer has no name. */
export function peerName(peer: {
  readonly name: string | null;
  readonly publicKey: string;
}): string {
  return shortName(peer.name ?? "") || shortName(shortKey(peer.publicKey));
}

/** `3m 5s`: the time since an RFC 3339 timestamp; `?` if the timestamp is null. */
export function since(time: string | null, nowMs: number): string {
  return time === null ? "?" : duration(Math.max(0, nowMs - Date.parse(time)));
}

/** `2026-11-22 16:19:04`, in local time. */
export function localTime(time: string): string {
  const date = new Date(time);
  const parts = [
    [date.getFullYear(), date.getMonth() + 1, date.getDate()],
    [date.getHours(), date.getMinutes(), date.getSeconds()],
  ] as const;
  const [day, hour] = parts.map((numbers) => numbers.map((number) => `${number}`.padStart(2, "0")));
  return `${day!.join("-")} ${hour!.join(":")}`;
}

/** `1.2 MiB`; `?` if the count is null. */
export function bytes(count: number | null): string {
  return count === null ? "?" : showBytes(count);
}

/** `1.2 MiB/s` */
export function rate(bytesPerSecond: number | null): string {
  return bytesPerSecond === null ? "?" : `${bytes(bytesPerSecond)}/s`;
}

/**
 * JSON on one line, safe for a terminal: characters that move the cursor or change the text direction are
 * escaped.
 */
export function json(value: unknown): string {
  return visible(JSON.stringify(value));
}

/** The output of a command. */
export interface Output {
  /** Prints to standard output. Returns false if it is closed. */
  readonly print: (text: string) => boolean;
  /** Prints a line to standard error. */
  readonly warn: (line: string) => void;
  readonly paint: Paint;
  /** Number of columns of the terminal; null: standard output is not a terminal. */
  readonly maxWidth: number | null;
}

// ---- Colours ----

export type Style = keyof typeof STYLES;
export type Paint = (style: Style, text: string) => string;

export const plain: Paint = (_style, text) => text;
export const coloured: Paint = (style, text) => `\x1b[${STYLES[style]}m${text}\x1b[0m`;

/** https://no-color.org */
export function paintFor(env: Readonly<Record<string, string | undefined>>, isTerminal: boolean) {
  return isTerminal && (env["NO_COLOR"] ?? "") === "" ? coloured : plain;
}

// ---- Tables ----

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  /** Absent: no style. */
  readonly style?: (row: Row) => Style | null;
  /** Numbers are aligned right. */
  readonly isNumber?: true;
  /** If the table is too wide, the columns with the highest numbers are left out. */
  readonly priority: number;
  /** Minimum width, so that the columns do not move when a value gets longer. */
  readonly minWidth?: number;
  /** The width to which the column may be cut. Absent: it is not cut. */
  readonly shrinkTo?: number;
}

export interface Table<Row> {
  readonly header: string;
  readonly line: (row: Row) => string;
}

/**
 * A table with as many columns as fit. Cells are made visible on one line.
 *
 * @param sample rows that determine the widths of the columns.
 * @param maxWidth columns of the terminal; null: no limit, and no cell is cut.
 */
export function tableOf<Row>(
  wanted: readonly Column<Row>[],
  sample: readonly Row[],
  { maxWidth, paint }: { readonly maxWidth: number | null; readonly paint: Paint },
): Table<Row> {
  const columns = wanted.map((column) => ({
    ...column,
    cell: (row: Row) => visible(column.cell(row)),
  }));
  const natural = columns.map(({ title, minWidth = 0, cell }) =>
    sample.reduce(
      (max, row) => Math.max(max, widthOf(cell(row))),
      Math.max(minWidth, title.length),
    ),
  );
  const widths = maxWidth === null ? natural : fitWidths(columns, natural, maxWidth);
  const shown = columns.flatMap((column, index) =>
    widths[index]! > 0 ? [{ ...column, width: widths[index]! }] : [],
  );
  const write = (
    cell: (column: Column<Row>) => string,
    style: (column: Column<Row>) => Style | null,
  ) =>
    shown
      .map((column) => {
        const text = cell(column);
        const part = maxWidth === null ? text : cutTo(text, column.width);
        const pad = column.isNumber === true ? padStart : padEnd;
        const cellStyle = style(column);
        const padded = pad(part, column.width);
        return cellStyle === null ? padded : paint(cellStyle, padded);
      })
      .join(GAP)
      .trimEnd();
  return {
    header: write(
      ({ title }) => title,
      () => null,
    ),
    line: (row) =>
      write(
        ({ cell }) => cell(row),
        (column) => column.style?.(row) ?? null,
      ),
  };
}

/** The width of each column; 0: the column is left out. */
function fitWidths<Row>(
  columns: readonly Column<Row>[],
  natural: readonly number[],
  maxWidth: number,
): number[] {
  const widths = columns.map(() => 0);
  const byPriority = columns
    .map((_, index) => index)
    .toSorted((a, b) => columns[a]!.priority - columns[b]!.priority);
  let left = maxWidth;
  for (const index of byPriority) {
    const isFirst = left === maxWidth;
    const minimum = Math.min(natural[index]!, columns[index]!.shrinkTo ?? Infinity);
    const width = isFirst ? Math.min(minimum, maxWidth) : minimum;
    const needed = width + (isFirst ? 0 : GAP.length);
    if (needed > left) continue;
    widths[index] = width;
    left -= needed;
  }
  for (const index of byPriority) {
    if (widths[index] === 0) continue;
    const more = Math.min(left, natural[index]! - widths[index]!);
    widths[index]! += more;
    left -= more;
  }
  return widths;
}

/** The number of terminal columns that a text takes. */
export function widthOf(text: string): number {
  return /^[ -~]*$/.test(text) ? text.length : Bun.stringWidth(text);
}

/** Cuts a text to a number of columns, with `…` if something was cut off. */
export function cutTo(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  if (columns < 1) return "";
  // Not Bun.sliceAnsi, which lets a wide character exceed the limit (1.4.5).
  return `${longestPrefix(text, (start) => widthOf(start) < columns)}…`;
}

function padEnd(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - widthOf(text)));
}

function padStart(text: string, columns: number): string {
  return " ".repeat(Math.max(0, columns - widthOf(text))) + text;
}
