/**
 * Decides when open pages are updated: every second, because the rates change, and at once after an event. Nothing runs
 * while no page is open. The pause after a round of updates grows with the cost of the round, so updates take a small
 * share of one core.
 */

import type { ReadModel } from "../http/read-model.ts";

const PERIOD_MS = 1000;
/** A page without an update for this time gets a heartbeat, or Bun closes its connection: IDLE_SECONDS in server.ts. */
const HEARTBEAT_MS = 10_000;
/**
 * Minimum time from one round of updates to the next, as a multiple of the cost of the last round: 25 limits updates
 * to 4 % of one core; 10, after an event, to 10 %.
 */
const PERIOD_COSTS = 25;
const EVENT_COSTS = 10;
/**
 * The same as a multiple of the mean cost of one page: limits the updates of one page to 1 % of one core. The cost is a
 * third of that; the rest is for garbage collection and sending, which the cost does not include.
 */
const PAGE_COSTS = 300;
const EVENT_PAUSE_MS = 250;
/** Delay after an event: several events often come at once. */
const EVENT_DELAY_MS = 20;
/** Most open pages that are updated. */
const SUBSCRIBERS_MAX = 64;

/** What an open page is due. "end": it has left, or the scheduler was disposed. */
export type Due = "update" | "heartbeat" | "end";

/** An open page. */
export interface Subscriber {
  next(): Promise<Due>;
  /** Reports the processor time of an update. */
  addCost(ms: number): void;
  leave(): void;
}

export class RefreshScheduler implements Disposable {
  readonly #source: ReadModel;
  /** Functions that wake a subscriber. */
  readonly #subscribers = new Set<(due: Due) => void>();
  #unsubscribe = () => {};
  #endWatch = () => {};
  #cancelTimer = () => {};
  #timerAtMs = Infinity;
  /** When the next round of updates begins. */
  #dueMs = Infinity;
  #lastRoundMs = -Infinity;
  /** Cost of the updates since the last round began, and their number. */
  #costMs = 0;
  #updates = 0;

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /** Returns null if there are already SUBSCRIBERS_MAX subscribers. */
  subscribe(): Subscriber | null {
    if (this.#subscribers.size >= SUBSCRIBERS_MAX) return null;
    let pending: Due | null = null;
    let resolve: (() => void) | null = null;
    const wake = (due: Due) => {
      if (pending === null || pending === "heartbeat" || due === "end") pending = due;
      resolve?.();
      resolve = null;
    };
    this.#subscribers.add(wake);
    if (this.#subscribers.size === 1) this.#start();
    return {
      next: async () => {
        if (pending === null) await new Promise<void>((done) => void (resolve = done));
        const due = pending ?? "heartbeat";
        if (due !== "end") pending = null;
        return due;
      },
      addCost: (ms) => {
        this.#costMs += ms;
        this.#updates++;
      },
      leave: () => {
        wake("end");
        this.#subscribers.delete(wake);
        if (this.#subscribers.size === 0) this.#stop();
      },
    };
  }

  [Symbol.dispose](): void {
    for (const wake of this.#subscribers) wake("end");
    this.#subscribers.clear();
    this.#stop();
  }

  #start(): void {
    this.#endWatch = this.#source.watch();
    this.#unsubscribe = this.#source.subscribe(() => {
      const pauseMs = Math.max(EVENT_PAUSE_MS, EVENT_COSTS * this.#costMs);
      const atMs = Math.max(this.#nowMs() + EVENT_DELAY_MS, this.#lastRoundMs + pauseMs);
      this.#dueMs = Math.min(this.#dueMs, atMs);
      this.#setTimer();
    });
    this.#dueMs = this.#nowMs() + PERIOD_MS;
    this.#setTimer();
  }

  #stop(): void {
    this.#endWatch();
    this.#unsubscribe();
    this.#cancelTimer();
    this.#timerAtMs = Infinity;
    this.#dueMs = Infinity;
  }

  /** Sets the timer to the next round of updates, or to a heartbeat before it. */
  #setTimer(): void {
    const nowMs = this.#nowMs();
    const atMs = Math.min(this.#dueMs, nowMs + HEARTBEAT_MS);
    if (atMs >= this.#timerAtMs) return;
    this.#cancelTimer();
    this.#timerAtMs = atMs;
    this.#cancelTimer = this.#source.clock.after(atMs - nowMs, () => void this.#tick());
  }

  async #tick(): Promise<void> {
    this.#timerAtMs = Infinity;
    const isRound = this.#nowMs() >= this.#dueMs;
    if (isRound) this.#beginRound();
    this.#setTimer();
    // Wakes one subscriber in each iteration of the event loop, so that other work runs in between.
    for (const wake of Array.from(this.#subscribers)) {
      wake(isRound ? "update" : "heartbeat");
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
  }

  /** Decides when the next round begins. */
  #beginRound(): void {
    this.#lastRoundMs = this.#nowMs();
    const meanMs = this.#costMs / Math.max(1, this.#updates);
    const periodMs = Math.max(PERIOD_MS, PERIOD_COSTS * this.#costMs, PAGE_COSTS * meanMs);
    this.#costMs = 0;
    this.#updates = 0;
    this.#dueMs = this.#lastRoundMs + periodMs;
  }

  #nowMs(): number {
    return this.#source.clock.now().monotonicMs;
  }
}
