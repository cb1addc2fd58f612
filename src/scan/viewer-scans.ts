/**
 * Keeps the counters up to date while there are viewers: requests a scan every second, or less often if scans are
 * expensive. A viewer is an open page, or a program that requests peers repeatedly, such as `wgmon top`. Without
 * viewers no timer runs.
 */

import type { Clock } from "../base/clock.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Minimum time from the start of a scan to the start of the next. */
const PERIOD_MS = 1000;
/** Two requests for the same URL at most this far apart make a viewer, which lasts this long after the latest one. */
const REQUEST_MS = 3000;
/** Most URLs that are remembered. */
const URLS_MAX = 32;
/** The scans take at most this part of one core in the long run, and BURST_MS at once. */
const SHARE = 0.02;
const BURST_MS = 20;
/**
 * Minimum pause after a scan, as a multiple of its duration. Scans for packets wait for a running scan, and the scan of
 * a userspace device that hangs takes seconds.
 */
const PAUSE_DURATIONS = 20;

export interface ViewerScansOptions {
  readonly clock: Clock;
  /** Scans the known devices; resolves with the processor time used, in milliseconds. */
  scan(): Promise<number>;
}

export class ViewerScans {
  readonly #options: ViewerScansOptions;
  readonly #bucket = new TokenBucket({
    share: SHARE,
    burstMs: BURST_MS,
    overdraftMs: 0,
    leastScans: 1,
  });
  /** Number of viewers added by `addViewer` and not yet removed. */
  #watching = 0;
  /** The URLs that were requested within REQUEST_MS, and when, oldest first. */
  readonly #requests = new Map<string, number>();
  /** Until then, a program that sends requests is a viewer. */
  #requestedUntilMs = -Infinity;
  /** The earliest time of the next scan. */
  #dueMs = -Infinity;
  #cancelTimer = () => {};
  #isScanning = false;
  #isStopped = false;

  constructor(options: ViewerScansOptions) {
    this.#options = options;
  }

  /** Adds a viewer. Returns a function that removes it. */
  addViewer(): () => void {
    let isWatching = true;
    this.#watching++;
    this.#schedule();
    return () => {
      if (!isWatching) return;
      isWatching = false;
      this.#watching--;
      this.#schedule();
    };
  }

  /** A program has requested the counters at this URL. A single request causes no scan. */
  requested(url: string): void {
    const nowMs = this.#nowMs;
    const isRepeated = nowMs - (this.#requests.get(url) ?? -Infinity) <= REQUEST_MS;
    this.#requests.delete(url);
    this.#requests.set(url, nowMs);
    for (const [old, atMs] of this.#requests) {
      if (nowMs - atMs <= REQUEST_MS && this.#requests.size <= URLS_MAX) break;
      this.#requests.delete(old);
    }
    if (!isRepeated) return;
    this.#requestedUntilMs = nowMs + REQUEST_MS;
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer();
  }

  get #nowMs(): number {
    return this.#options.clock.now().monotonicMs;
  }

  #schedule(): void {
    this.#cancelTimer();
    if (this.#isStopped || this.#isScanning) return;
    const nowMs = this.#nowMs;
    const atMs = Math.max(nowMs, this.#dueMs);
    if (this.#watching === 0 && atMs >= this.#requestedUntilMs) return;
    this.#cancelTimer = this.#options.clock.after(atMs - nowMs, () => void this.#scan());
  }

  async #scan(): Promise<void> {
    const startMs = this.#nowMs;
    this.#isScanning = true;
    const costMs = await this.#options.scan();
    this.#isScanning = false;
    const endMs = this.#nowMs;
    this.#bucket.spend(costMs, endMs);
    const pauseMs = Math.max(
      this.#bucket.waitMs(endMs, { mayOverdraw: false }),
      PAUSE_DURATIONS * (endMs - startMs),
    );
    this.#dueMs = Math.max(startMs + PERIOD_MS, endMs + pauseMs);
    this.#schedule();
  }
}
