/** Time as an argument: the two clocks and one-shot timers, so that tests can advance time manually. */

import type { Instant } from "./wireguard.ts";

export interface Clock {
  now(): Instant;
  /** Calls `callback` once, after at least `delayMs`. Returns a function that cancels the timer. */
  after(delayMs: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => ({ wallMs: Date.now(), monotonicMs: performance.now() }),
  after(delayMs, callback) {
    // setTimeout waits at least 1 ms.
    if (delayMs <= 0) {
      const immediate = setImmediate(callback);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
