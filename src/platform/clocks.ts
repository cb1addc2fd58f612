/** The kernel's clocks, and whether they are synchronised. */

import { clock, libc } from "../../ffi/libc.ts";
import type { Machine } from "../base/wall-clock.ts";
import { STA_UNSYNC } from "./constants.ts";
import { readTextFile } from "./files.ts";

/** struct timex, sys/timex.h */
const TIMEX_BYTES = 208;
const TIMEX_STATUS = 40;
/** linux/time.h */
const CLOCK_THREAD_CPUTIME_ID = 3;
const CLOCK_BOOTTIME = 7;
/** struct timespec: seconds and nanoseconds. */
const timespec = new BigInt64Array(new ArrayBuffer(16));

/**
 * Processor time of this thread, in milliseconds with microsecond resolution. Unlike elapsed time, it does not include
 * the time of other processes. process.threadCpuUsage() follows the scheduler's tick and misses most shorter intervals.
 */
export function threadCpuMs(): number {
  return clockMs(CLOCK_THREAD_CPUTIME_ID);
}

function clockMs(id: number): number {
  clock().clock_gettime(id, timespec);
  return Number(timespec[0]) * 1000 + Number(timespec[1]) / 1e6;
}

export function thisMachine(): Machine {
  return {
    bootId: bootId(),
    bootMs: () => clockMs(CLOCK_BOOTTIME),
    // null, for example under a unit with ProtectClock=, counts as synchronised: then times recorded before a step are
    // kept, except times in 1970.
    isSynchronised: () => isClockSynchronised() !== false,
  };
}

/** Whether the clock is synchronised, adjtimex(2); null if the call is not permitted. */
export function isClockSynchronised(): boolean | null {
  // `modes`, the first field, is 0, so the call sets nothing.
  const state = new DataView(new ArrayBuffer(TIMEX_BYTES));
  if (libc().adjtimex(new Uint8Array(state.buffer)) < 0) return null;
  return (state.getInt32(TIMEX_STATUS, true) & STA_UNSYNC) === 0;
}

/**
 * Identifies the current boot, random(4); null if it cannot be read, for example if /proc is mounted with subset=pid.
 */
function bootId(): string | null {
  try {
    return readTextFile("/proc/sys/kernel/random/boot_id")?.trim() || null;
  } catch {
    return null;
  }
}
