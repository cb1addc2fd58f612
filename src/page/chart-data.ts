/** Bytes per step as rates for a chart. Pure. */

import { SLOT_MS } from "../store/ranges.ts";
import type { Axis } from "./charts.tsx";

/** Traffic is written every minute (WRITE_MS in traffic-recorder.ts). */
const MINUTE_MS = 60_000;
/** It is written up to this long after a minute has ended: SHORT_MS in maintenance.ts, and a margin. */
const RECORDED_AFTER_MS = 15_000;

/** The time up to which traffic is recorded: the end of a minute. */
export function recordedUntil(nowMs: number): number {
  return Math.floor((nowMs - RECORDED_AFTER_MS) / MINUTE_MS) * MINUTE_MS;
}

/** The number of the slot of the store that is complete: changes when the next one is. */
export function recordedSlot(nowMs: number): number {
  return Math.floor((nowMs - RECORDED_AFTER_MS) / SLOT_MS);
}

/**
 * Bytes per second in each step; null if nothing is recorded for the step yet.
 *
 * @param untilMs `recordedUntil` when the values were read.
 */
export function ratesPerStep(
  values: readonly (number | null)[],
  { startMs, stepMs }: Pick<Axis, "startMs" | "stepMs">,
  untilMs: number,
): (number | null)[] {
  return values.map((bytes, index) => {
    const lengthMs = Math.min(stepMs, untilMs - startMs - index * stepMs);
    return bytes === null || lengthMs <= 0 ? null : Math.round((bytes * 1000) / lengthMs);
  });
}
