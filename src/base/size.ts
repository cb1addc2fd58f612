/** Sizes as people write them, `256MB`, `1GiB`, and as wgmon shows them, `1.2 MiB`. Pure. */

/** MB as for disks, MiB as for memory; the smallest units are last. */
const UNITS = [
  ["TiB", 2 ** 40],
  ["TB", 1e12],
  ["GiB", 2 ** 30],
  ["GB", 1e9],
  ["MiB", 2 ** 20],
  ["MB", 1e6],
  ["KiB", 2 ** 10],
  ["kB", 1e3],
  ["B", 1],
] as const;

/** Returns bytes, or null if `text` is not a whole number with a unit. */
export function parseSize(text: string): number | null {
  const [, count, unit] = /^(\d+)([A-Za-z]+)$/.exec(text) ?? [];
  const found = UNITS.find(([name]) => name === unit);
  return found === undefined ? null : Number(count) * found[1];
}

/** The shortest text that parses to `bytes`, a whole number. */
export function formatSize(bytes: number): string {
  const texts = UNITS.filter(([, unitBytes]) => bytes % unitBytes === 0).map(
    ([unit, unitBytes]) => `${bytes / unitBytes}${unit}`,
  );
  return texts.reduce((best, text) => (text.length < best.length ? text : best));
}

const SHOWN_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `0 B`, `999 B`, `1.2 KiB`, `340 MiB`: the one unit system of the commands and the page. */
export function showBytes(count: number): string {
  let value = Math.max(0, count);
  let unit = 0;
  // A value that rounds up to 1024 is shown in the next unit.
  while (value >= 1023.5 && unit < SHOWN_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? value.toFixed(1) : String(Math.round(value));
  return `${digits} ${SHOWN_UNITS[unit]}`;
}
