/**
 * Decides when open pages are updated: every few seconds, because the rates change, and at once after an
 * event. Nothing runs while no page is open, and updates take a small share of one core, however many peers
 * there are.
 */

import type { ReadModel } from "../http/read-model.ts";

const PERIOD_MS = 3000;
/** Keeps Bun from closing an idle connection: see IDLE_SECONDS in server.ts. */
const PERIOD_MAX_MS = 10_000;
/**
 * The pause after a round is this many times its cost, within the bounds here: 4 % of one core; 10 % after an
 * event.
 */
const PERIOD_COSTS = 25;
const EVENT_COSTS = 10;
const EVENT_PAUSE_MS = 250;
/** Several events often come at once. */
const EVENT_DELAY_MS = 20;
const WATCHERS_MAX = 64;

export interface Subscriber {
  /** Resolves to true when an update is due, and to false when the watcher has ended. */
  next(): Promise<boolean>;
  /** Reports how long the update took. */
  addCost(ms: number): void;
  leave(): void;
}

export class RefreshScheduler implements Disposable {
  readonly #source: ReadModel;
  readonly #watchers = new Set<(isOver: boolean) => void>();
  #unsubscribe = () => {};
  #cancel = () => {};
  #dueMs = Infinity;
  #lastMs = -Infinity;
  #costMs = 0;

  constructor(source: ReadModel) {
    this.#source = source;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** null if there are already WATCHERS_MAX watchers. */
  join(): Subscriber | null {
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
      addCost: (ms) => void (this.#costMs += ms),
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
    this.#cancel = this.#source.clock.after(dueMs - this.#nowMs(), () => void this.#tick());
  }

  async #tick(): Promise<void> {
    this.#dueMs = Infinity;
    this.#lastMs = this.#nowMs();
    const periodMs = Math.max(PERIOD_MS, PERIOD_COSTS * this.#costMs);
    this.#costMs = 0;
    this.#schedule(this.#lastMs + Math.min(periodMs, PERIOD_MAX_MS));
    // Wakes one watcher in each turn of the event loop, so that other work runs in between.
    for (const wake of Array.from(this.#watchers)) {
      wake(false);
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
  }

  #nowMs(): number {
    return this.#source.clock.now().monotonicMs;
  }
}
