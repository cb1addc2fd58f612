/** Bytes per step as rates for a chart. Pure. */

import { SLOT_MS } from "../store/ranges.ts";
import type { Axis } from "./charts.tsx";

/** Traffic is recorded up to this long after a slot has ended: SHORT_MS in maintenance.ts, and a margin. */
const RECORDED_AFTER_MS = 15_000;

/** The time up to which traffic is recorded: the end of a slot of the store. */
export function recordedUntil(nowMs: number): number {
  return Math.floor((nowMs - RECORDED_AFTER_MS) / SLOT_MS) * SLOT_MS;
}

/** Bytes per second in each step; null if nothing is recorded for the step yet. */
export function ratesPerStep(
  values: readonly (number | null)[],
  { startMs, stepMs }: Axis,
  nowMs: number,
): (number | null)[] {
  const endMs = recordedUntil(nowMs);
  return values.map((bytes, index) => {
    const lengthMs = Math.min(stepMs, endMs - startMs - index * stepMs);
    return bytes === null || lengthMs <= 0 ? null : Math.round((bytes * 1000) / lengthMs);
  });
}
