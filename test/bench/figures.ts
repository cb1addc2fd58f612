/** What a benchmark found, beside what is wanted, and how both are printed. */

/** Bounds that count themselves as reached. */
export interface Wanted {
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Figure {
  readonly what: string;
  readonly values: readonly number[];
  /** "s", "ms", "MB", "%", "/s"; "": a number of things. */
  readonly unit: string;
  /** median: of equal measurements; series: one after the other, of which the last counts. */
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

/** Of an even number the larger of the two in the middle. NaN, which never came, is the largest. */
export function median(values: readonly number[]): number {
  const order = (value: number) => (Number.isNaN(value) ? Infinity : value);
  return values.toSorted((a, b) => order(a) - order(b))[values.length >> 1] ?? NaN;
}

/** The value that is held against what is wanted. */
export function judged({ kind, values }: Figure): number {
  return kind === "median" ? median(values) : (values.at(-1) ?? NaN);
}

/** NaN, which stands for what never came, reaches nothing. */
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
  const came = values.filter((value) => !Number.isNaN(value));
  const spread = `${numberText(Math.min(...came))} to ${numberText(Math.max(...came))}`;
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

/** Three digits that mean something. */
function numberText(value: number): string {
  if (Number.isNaN(value)) return "never";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  const digits =
    Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 4;
  return String(Number(value.toFixed(digits)));
}
