/** Runs the regular work of the stages: saving, checks, retention. */

import type { Clock } from "../base/clock.ts";

const SHORT_MS = 10_000;
const LONG_MS = 60_000;
/** Pause between retention steps while more rows are left than one step deletes. */
const TRIM_PAUSE_MS = 100;

interface Options {
  readonly clock: Clock;
  /**
   * Saves sessions and traffic that are due, and reads the clock and what `wgmon outbox` changed. Called more often while
   * `trim` has more to delete.
   */
  readonly saveDue: () => void;
  /** Checks whether our firewall rules are still loaded. */
  readonly everyMinute: () => void;
  /**
   * Deletes some of the data that exceeds the retention limits. Returns whether more may be left. Called every minute,
   * and then until nothing is left.
   */
  readonly trim: () => boolean;
}

export class Maintenance {
  readonly #options: Options;
  #cancel = () => {};
  #checkedMs = 0;
  #isTrimming = false;

  constructor(options: Options) {
    this.#options = options;
  }

  start(): void {
    this.#schedule(SHORT_MS);
  }

  stop(): void {
    this.#cancel();
  }

  #schedule(delayMs: number): void {
    const { clock, saveDue, everyMinute, trim } = this.#options;
    this.#cancel = clock.after(delayMs, () => {
      saveDue();
      const { monotonicMs } = clock.now();
      const isDue = monotonicMs - this.#checkedMs >= LONG_MS;
      if (isDue) {
        this.#checkedMs = monotonicMs;
        everyMinute();
      }
      if (isDue || this.#isTrimming) this.#isTrimming = trim();
      this.#schedule(this.#isTrimming ? TRIM_PAUSE_MS : SHORT_MS);
    });
  }
}
