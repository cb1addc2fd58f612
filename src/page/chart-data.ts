/** Bytes per slot as rates for a chart. Pure. */

import type { Axis } from "./charts.tsx";

/** A part of a slot that is too short for a rate. */
const PART_MIN = 0.25;

/** Bytes per second in each slot. The last slot is not over yet; it is unknown while it has just begun. */
export function ratesPerSlot(
  values: readonly (number | null)[],
  { startMs, stepMs }: Axis,
  nowMs: number,
): (number | null)[] {
  return values.map((bytes, index) => {
    if (bytes === null) return null;
    const lengthMs = Math.min(stepMs, nowMs - startMs - index * stepMs);
    return lengthMs < PART_MIN * stepMs ? null : Math.round((bytes * 1000) / lengthMs);
  });
}
