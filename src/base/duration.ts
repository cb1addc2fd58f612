/** Durations as people write them: `250ms`, `90s`, `1m30s`, `2d`. Pure. */

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
] as const;

/** Each unit at most once, the largest first. */
const PATTERN = new RegExp(`^${UNITS.map(([unit]) => `(?:(\\d+)${unit})?`).join("")}$`);

/** Returns milliseconds, or null if `text` is not a duration. Only zero needs no unit. */
export function parseDuration(text: string): number | null {
  if (text === "0") return 0;
  const counts = text === "" ? null : PATTERN.exec(text);
  if (counts === null) return null;
  return UNITS.reduce((sum, [, unitMs], index) => sum + Number(counts[index + 1] ?? 0) * unitMs, 0);
}

/** The shortest text that parses to `durationMs`, a whole number; `0s` for zero. */
export function formatDuration(durationMs: number): string {
  let restMs = durationMs;
  let text = "";
  for (const [unit, unitMs] of UNITS) {
    const count = Math.floor(restMs / unitMs);
    if (count > 0) text += `${count}${unit}`;
    restMs %= unitMs;
  }
  return text === "" ? "0s" : text;
}
