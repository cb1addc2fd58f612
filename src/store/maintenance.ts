/** Saves what is due, and deletes what exceeds the retention limits, at fixed intervals. */

import type { Clock } from "../base/clock.ts";

/** Interval for saving sessions and traffic that are due, and for reading what `wgmon outbox` changed. */
const SAVE_MS = 10_000;
/** Interval for retention and for re-checking our firewall rules. */
const RETENTION_MS = 60_000;
/** Pause between retention steps while more rows are left than one step deletes. */
const TRIM_PAUSE_MS = 100;

interface Options {
  readonly clock: Clock;
  /** Called every SAVE_MS. */
  readonly save: () => void;
  /** Called every RETENTION_MS. */
  readonly check: () => void;
  /** Deletes some of the data that exceeds the retention limits. Returns whether more may be left. */
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
    this.#schedule(SAVE_MS);
  }

  stop(): void {
    this.#cancel();
  }

  #schedule(delayMs: number): void {
    const { clock, save, check, trim } = this.#options;
    this.#cancel = clock.after(delayMs, () => {
      save();
      const { monotonicMs } = clock.now();
      const isDue = monotonicMs - this.#checkedMs >= RETENTION_MS;
      if (isDue) {
        this.#checkedMs = monotonicMs;
        check();
      }
      if (isDue || this.#isTrimming) this.#isTrimming = trim();
      this.#schedule(this.#isTrimming ? TRIM_PAUSE_MS : SAVE_MS);
    });
  }
}
