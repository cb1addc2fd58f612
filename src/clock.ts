/** Time as an argument: the two clocks and one-shot timers, so that tests move time by hand. */

import type { Instant } from "./wireguard.ts";

export interface Clock {
  now(): Instant;
  /** Calls back once, `delayMs` from now or a little later. The answer cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => ({ wallMs: Date.now(), monotonicMs: performance.now() }),
  after(delayMs, callback) {
    // A timer takes a millisecond at least.
    if (delayMs <= 0) {
      const immediate = setImmediate(callback);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
