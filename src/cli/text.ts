/**
 * How the commands write for people: names, times, sizes, colours, and tables that fit a terminal. A
 * name may hold anything; nothing of it reaches the terminal but letters that stay on their line. Pure.
 */

import { shortName } from "../channel/text.ts";
import { duration } from "../event.ts";
import { STYLES, visible } from "../visible.ts";
import { shortKey } from "../wireguard.ts";

/** Between the columns of a table. */
const GAP = "  ";
const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `alice`; of a peer without a name the beginning of its key. */
export function peerName(peer: {
  readonly name: string | null;
  readonly publicKey: string;
}): string {
  return shortName(peer.name ?? "") || shortName(shortKey(peer.publicKey));
}

/** `3m 5s` since a time as RFC 3339 has it; `?` when it is not known. */
export function since(time: string | null, nowMs: number): string {
  return time === null ? "?" : duration(Math.max(0, nowMs - Date.parse(time)));
}

/** `2026-11-22 16:19:04`, by the clock on the wall. */
export function localTime(time: string): string {
  const date = new Date(time);
  const parts = [
    [date.getFullYear(), date.getMonth() + 1, date.getDate()],
    [date.getHours(), date.getMinutes(), date.getSeconds()],
  ] as const;
  const [day, hour] = parts.map((numbers) => numbers.map((number) => `${number}`.padStart(2, "0")));
  return `${day!.join("-")} ${hour!.join(":")}`;
}

/** `1.2 MiB`; `?`: nobody knows. */
export function bytes(count: number | null): string {
  if (count === null) return "?";
  let value = count;
  let unit = 0;
  // What is rounded up to 1024 is one of the next.
  while (value >= 1023.5 && unit < SIZES.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? value.toFixed(1) : String(Math.round(value));
  return `${digits} ${SIZES[unit]}`;
}

/** `1.2 MiB/s` */
export function rate(bytesPerSecond: number | null): string {
  return bytesPerSecond === null ? "?" : `${bytes(bytesPerSecond)}/s`;
}

/** `1 peer`, `2 peers` */
export function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

/** JSON on one line, which a terminal may show: what moves its cursor or turns its text is escaped. */
export function json(value: unknown): string {
  return visible(JSON.stringify(value));
}

/** Where a command's words go. */
export interface Output {
  /** To standard output. Whether anybody still reads. */
  readonly print: (text: string) => boolean;
  /** A line to standard error. */
  readonly complain: (line: string) => void;
  readonly paint: Paint;
  /** Columns of the terminal; null: it is none. */
  readonly room: number | null;
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
  /** Left out: none. */
  readonly style?: (row: Row) => Style | null;
  /** Numbers stand on the right. */
  readonly isNumber?: true;
  /** Those with the highest go first where there is no room for all. */
  readonly rank: number;
  /** At least so wide, so that nothing moves when a value grows. */
  readonly min?: number;
  /** May be cut to this. */
  readonly least?: number;
}

export interface Table<Row> {
  readonly header: string;
  readonly line: (row: Row) => string;
}

/**
 * A table with the columns that there is room for. A cell stays on its line, whatever is in it.
 *
 * @param sample rows that tell how wide the columns are.
 * @param room columns of the terminal; null: as many as it takes, and nothing is cut.
 */
export function tableOf<Row>(
  wanted: readonly Column<Row>[],
  sample: readonly Row[],
  { room, paint }: { readonly room: number | null; readonly paint: Paint },
): Table<Row> {
  const columns = wanted.map((column) => ({
    ...column,
    cell: (row: Row) => visible(column.cell(row)),
  }));
  const natural = columns.map(({ title, min = 0, cell }) =>
    sample.reduce((most, row) => Math.max(most, widthOf(cell(row))), Math.max(min, title.length)),
  );
  const widths = room === null ? natural : fitted(columns, natural, room);
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
        const part = room === null ? text : cutTo(text, column.width);
        const pad = column.isNumber === true ? padStart : padEnd;
        const wanted = style(column);
        return wanted === null ? pad(part, column.width) : paint(wanted, pad(part, column.width));
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

/** The width of each column; 0: it is left out. */
function fitted<Row>(
  columns: readonly Column<Row>[],
  natural: readonly number[],
  room: number,
): number[] {
  const widths = columns.map(() => 0);
  const byRank = columns
    .map((_, index) => index)
    .toSorted((a, b) => columns[a]!.rank - columns[b]!.rank);
  let left = room;
  for (const index of byRank) {
    const isFirst = left === room;
    const least = Math.min(natural[index]!, columns[index]!.least ?? Infinity);
    const width = isFirst ? Math.min(least, room) : least;
    const needed = width + (isFirst ? 0 : GAP.length);
    if (needed > left) continue;
    widths[index] = width;
    left -= needed;
  }
  for (const index of byRank) {
    if (widths[index] === 0) continue;
    const more = Math.min(left, natural[index]! - widths[index]!);
    widths[index]! += more;
    left -= more;
  }
  return widths;
}

/** How many columns of a terminal it takes. */
export function widthOf(text: string): number {
  return /^[ -~]*$/.test(text) ? text.length : Bun.stringWidth(text);
}

let graphemes: Intl.Segmenter | undefined;

/** At most so many columns, with `…` where something was cut off. */
export function cutTo(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  if (columns < 1) return "";
  graphemes ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  let end = 0;
  for (const { index, segment } of graphemes.segment(text)) {
    // Not Bun.sliceAnsi, which lets a wide letter stand out (1.4.5).
    if (widthOf(text.slice(0, index + segment.length)) > columns - 1) break;
    end = index + segment.length;
  }
  return `${text.slice(0, end)}…`;
}

function padEnd(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - widthOf(text)));
}

function padStart(text: string, columns: number): string {
  return " ".repeat(Math.max(0, columns - widthOf(text))) + text;
}
