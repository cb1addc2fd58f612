/**
 * When those who look at a page are shown what has changed: every few seconds, because of the rates, and
 * at once when something happens. Nothing is done while nobody looks, and looking costs a small share of
 * one core, however many peers there are.
 */

import type { Source } from "../http/source.ts";

const PERIOD_MS = 3000;
/** A quiet connection must not look like a dead one: see IDLE_SECONDS of server.ts. */
const PERIOD_MAX_MS = 10_000;
/** Of what a round cost, this many times is waited for the next: 4 % of one core; 10 % after an event. */
const PERIOD_COSTS = 25;
const EVENT_COSTS = 10;
const EVENT_PAUSE_MS = 250;
/** Events come several at once. */
const EVENT_DELAY_MS = 20;
const WATCHERS_MAX = 64;

export interface Watcher {
  /** Resolves when it is time to look; false: it is over. */
  next(): Promise<boolean>;
  /** What was done meanwhile took this long. */
  spent(ms: number): void;
  leave(): void;
}

export class Pulse implements Disposable {
  readonly #source: Source;
  readonly #watchers = new Set<(isOver: boolean) => void>();
  #unsubscribe = () => {};
  #cancel = () => {};
  #dueMs = Infinity;
  #lastMs = -Infinity;
  #costMs = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** null: too many look. */
  join(): Watcher | null {
    if (this.#watchers.size >= WATCHERS_MAX) return null;
    let isOver = false;
    let isDue = false;
    let resolve: ((goesOn: boolean) => void) | null = null;
    const wake = (ends: boolean) => {
      isOver ||= ends;
      isDue = true;
      resolve?.(!isOver);
      resolve = null;
    };
    this.#watchers.add(wake);
    if (this.#watchers.size === 1) this.#begin();
    return {
      next: async () => {
        if (!isOver && !isDue) await new Promise((done) => void (resolve = done));
        isDue = false;
        return !isOver;
      },
      spent: (ms) => void (this.#costMs += ms),
      leave: () => {
        wake(true);
        this.#watchers.delete(wake);
        if (this.#watchers.size === 0) this.#finish();
      },
    };
  }

  [Symbol.dispose](): void {
    for (const wake of this.#watchers) wake(true);
    this.#watchers.clear();
    this.#finish();
  }

  #begin(): void {
    this.#unsubscribe = this.#source.subscribe(() => {
      const pauseMs = Math.max(EVENT_PAUSE_MS, EVENT_COSTS * this.#costMs);
      this.#schedule(Math.max(this.#nowMs() + EVENT_DELAY_MS, this.#lastMs + pauseMs));
    });
    this.#schedule(this.#nowMs() + PERIOD_MS);
  }

  #finish(): void {
    this.#unsubscribe();
    this.#cancel();
    this.#dueMs = Infinity;
  }

  #schedule(dueMs: number): void {
    if (dueMs >= this.#dueMs) return;
    this.#cancel();
    this.#dueMs = dueMs;
    this.#cancel = this.#source.clock.after(dueMs - this.#nowMs(), () => void this.#beat());
  }

  async #beat(): Promise<void> {
    this.#dueMs = Infinity;
    this.#lastMs = this.#nowMs();
    const periodMs = Math.max(PERIOD_MS, PERIOD_COSTS * this.#costMs);
    this.#costMs = 0;
    this.#schedule(this.#lastMs + Math.min(periodMs, PERIOD_MAX_MS));
    // One in each turn of the loop: whatever else there is to do comes in between.
    for (const wake of Array.from(this.#watchers)) {
      wake(false);
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
  }

  #nowMs(): number {
    return this.#source.clock.now().monotonicMs;
  }
}
