/**
 * Decides when open pages are updated: every second, because the rates change, and at once after an event. Nothing runs
 * while no page is open. The pause after a round of updates grows with the cost of the round, so updates take a small
 * share of one core.
 */

import type { ReadModel } from "../http/read-model.ts";

const PERIOD_MS = 1000;
/** Keeps Bun from closing an idle connection: see IDLE_SECONDS in server.ts. */
const PERIOD_MAX_MS = 10_000;
/**
 * Minimum time from one round of updates to the next, as a multiple of the cost of the last round: 25 limits updates
 * to 4 % of one core; 10, after an event, to 10 %. PERIOD_MS, PERIOD_MAX_MS and EVENT_PAUSE_MS limit the time.
 */
const PERIOD_COSTS = 25;
const EVENT_COSTS = 10;
/** The same as a multiple of the mean cost of one page: limits the updates of one page to 1 % of one core. */
const PAGE_COSTS = 100;
const EVENT_PAUSE_MS = 250;
/** Delay after an event: several events often come at once. */
const EVENT_DELAY_MS = 20;
/** Most open pages that are updated. */
const SUBSCRIBERS_MAX = 64;

/** An open page. */
export interface Subscriber {
  /** Resolves to true when an update is due, and to false after leave() or after the scheduler was disposed. */
  next(): Promise<boolean>;
  /** Reports the duration of an update. */
  addCost(ms: number): void;
  leave(): void;
}

export class RefreshScheduler implements Disposable {
  readonly #source: ReadModel;
  /** Functions that wake a subscriber; true ends it. */
  readonly #subscribers = new Set<(isEnd: boolean) => void>();
  #unsubscribe = () => {};
  #endWatch = () => {};
  #cancelTimer = () => {};
  #dueMs = Infinity;
  #lastTickMs = -Infinity;
  /** Cost of the updates since the last round began, and their number. */
  #costMs = 0;
  #updates = 0;

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /** Returns null if there are already SUBSCRIBERS_MAX subscribers. */
  subscribe(): Subscriber | null {
    if (this.#subscribers.size >= SUBSCRIBERS_MAX) return null;
    let isEnded = false;
    let isDue = false;
    let resolve: (() => void) | null = null;
    const wake = (isEnd: boolean) => {
      isEnded ||= isEnd;
      isDue = true;
      resolve?.();
      resolve = null;
    };
    this.#subscribers.add(wake);
    if (this.#subscribers.size === 1) this.#start();
    return {
      next: async () => {
        if (!isEnded && !isDue) await new Promise<void>((done) => void (resolve = done));
        isDue = false;
        return !isEnded;
      },
      addCost: (ms) => {
        this.#costMs += ms;
        this.#updates++;
      },
      leave: () => {
        wake(true);
        this.#subscribers.delete(wake);
        if (this.#subscribers.size === 0) this.#stop();
      },
    };
  }

  [Symbol.dispose](): void {
    for (const wake of this.#subscribers) wake(true);
    this.#subscribers.clear();
    this.#stop();
  }

  #start(): void {
    this.#endWatch = this.#source.watch();
    this.#unsubscribe = this.#source.subscribe(() => {
      const pauseMs = Math.max(EVENT_PAUSE_MS, EVENT_COSTS * this.#costMs);
      this.#schedule(Math.max(this.#nowMs() + EVENT_DELAY_MS, this.#lastTickMs + pauseMs));
    });
    this.#schedule(this.#nowMs() + PERIOD_MS);
  }

  #stop(): void {
    this.#endWatch();
    this.#unsubscribe();
    this.#cancelTimer();
    this.#dueMs = Infinity;
  }

  #schedule(dueMs: number): void {
    if (dueMs >= this.#dueMs) return;
    this.#cancelTimer();
    this.#dueMs = dueMs;
    this.#cancelTimer = this.#source.clock.after(dueMs - this.#nowMs(), () => void this.#tick());
  }

  async #tick(): Promise<void> {
    this.#dueMs = Infinity;
    this.#lastTickMs = this.#nowMs();
    const meanMs = this.#costMs / Math.max(1, this.#updates);
    const periodMs = Math.max(PERIOD_MS, PERIOD_COSTS * this.#costMs, PAGE_COSTS * meanMs);
    this.#costMs = 0;
    this.#updates = 0;
    this.#schedule(this.#lastTickMs + Math.min(periodMs, PERIOD_MAX_MS));
    // Wakes one subscriber in each iteration of the event loop, so that other work runs in between.
    for (const wake of Array.from(this.#subscribers)) {
      wake(false);
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
  }

  #nowMs(): number {
    return this.#source.clock.now().monotonicMs;
  }
}
