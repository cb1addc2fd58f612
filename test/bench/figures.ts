/** Results of benchmarks with their required bounds, and how they are printed. */

/** Required bounds, inclusive. */
export interface Wanted {
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Figure {
  readonly what: string;
  readonly values: readonly number[];
  /** "s", "ms", "MB", "%", "/s"; "" for a count. */
  readonly unit: string;
  /** The value that counts: the median of equal measurements, or the last of a series. */
  readonly kind: "median" | "series";
  readonly wanted: Wanted | null;
}

export type Note = (figure: Figure) => void;

/** A figure from one measurement, or from several equal ones. */
export function figure(
  what: string,
  unit: string,
  values: number | readonly number[],
  wanted: Wanted | null = null,
): Figure {
  return { what, unit, values: [values].flat(), kind: "median", wanted };
}

export function series(
  what: string,
  unit: string,
  values: readonly number[],
  wanted: Wanted | null = null,
): Figure {
  return { what, unit, values, kind: "series", wanted };
}

/** For an even number of values, the larger of the two in the middle. NaN (no result) sorts last. */
export function median(values: readonly number[]): number {
  const order = (value: number) => (Number.isNaN(value) ? Infinity : value);
  return values.toSorted((a, b) => order(a) - order(b))[values.length >> 1] ?? NaN;
}

/** The value that is compared with the bounds. */
export function judged({ kind, values }: Figure): number {
  return kind === "median" ? median(values) : (values.at(-1) ?? NaN);
}

/** Whether the value is within the bounds. NaN (no result) is not. */
export function isReached(figure: Figure): boolean {
  if (figure.wanted === null) return true;
  const { atLeast = -Infinity, atMost = Infinity } = figure.wanted;
  const value = judged(figure);
  return value >= atLeast && value <= atMost;
}

export function figureText(figure: Figure): string {
  const { kind, values, unit } = figure;
  const suffix = unit === "" || unit.startsWith("/") ? unit : ` ${unit}`;
  if (kind === "series") return values.map(numberText).join(", ") + suffix;
  const middle = numberText(judged(figure)) + suffix;
  if (values.length <= 1) return middle;
  const missing = values.filter((value) => Number.isNaN(value)).length;
  const present = values.filter((value) => !Number.isNaN(value));
  const spread = `${numberText(Math.min(...present))} to ${numberText(Math.max(...present))}`;
  const never = missing === 0 ? "" : `, ${missing} of ${values.length} never`;
  return `${middle} (${spread}${never})`;
}

export function wantedText(figure: Figure): string {
  if (figure.wanted === null) return "";
  const { atLeast, atMost } = figure.wanted;
  const verdict = isReached(figure) ? "" : "  MISSED";
  if (atLeast === atMost) return `${numberText(atLeast!)}${verdict}`;
  const bounds = [
    atLeast === undefined ? [] : `>= ${numberText(atLeast)}`,
    atMost === undefined ? [] : `<= ${numberText(atMost)}`,
  ];
  return bounds.flat().join(", ") + verdict;
}

/** Rounds to about three significant digits. */
function numberText(value: number): string {
  if (Number.isNaN(value)) return "never";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  const digits =
    Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 4;
  return String(Number(value.toFixed(digits)));
}
