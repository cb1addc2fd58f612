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
 * Minimum time from one round of updates to the next, as a multiple of the cost of the round: all pages together take at
 * most 1/25 of a core as measured, also after events.
 */
const PERIOD_COSTS = 25;
/**
 * The same without an event, as a multiple of the mean cost of one page. One page: 1/700 of a core measured, less than 1 %
 * with garbage collection and sending.
 */
const PAGE_COSTS = 700;
const EVENT_PAUSE_MS = 250;
/** Delay after an event: several events often come at once. */
const EVENT_DELAY_MS = 20;
/** Most open pages that are updated, of the Unix socket and of TCP each. */
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

/** Where the client of a page is connected. */
type Listener = "unix" | "tcp";

export class RefreshScheduler implements Disposable {
  readonly #source: ReadModel;
  /** Functions that wake a subscriber. */
  readonly #subscribers = new Map<(due: Due) => void, Listener>();
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

  /** Returns null if there are already SUBSCRIBERS_MAX subscribers of this listener. */
  subscribe(listener: Listener): Subscriber | null {
    const others = [...this.#subscribers.values()].filter((each) => each === listener);
    if (others.length >= SUBSCRIBERS_MAX) return null;
    let pending: Due | null = null;
    let resolve: (() => void) | null = null;
    const wake = (due: Due) => {
      if (pending === null || pending === "heartbeat" || due === "end") pending = due;
      resolve?.();
      resolve = null;
    };
    this.#subscribers.set(wake, listener);
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
    for (const wake of this.#subscribers.keys()) wake("end");
    this.#subscribers.clear();
    this.#stop();
  }

  #start(): void {
    this.#endWatch = this.#source.addViewer();
    this.#unsubscribe = this.#source.subscribe(() => {
      const atMs = Math.max(this.#nowMs() + EVENT_DELAY_MS, this.#earliestMs());
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
    const isDue = this.#nowMs() >= this.#dueMs;
    // The round before this one may have cost more since the time was chosen.
    if (isDue) this.#dueMs = Math.max(this.#dueMs, this.#earliestMs());
    const isRound = this.#nowMs() >= this.#dueMs;
    if (isRound) this.#beginRound();
    this.#setTimer();
    if (isDue && !isRound) return;
    // Wakes one subscriber in each iteration of the event loop, so that other work runs in between.
    for (const wake of Array.from(this.#subscribers.keys())) {
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

  /** When the limit of all pages allows the next round. */
  #earliestMs(): number {
    return this.#lastRoundMs + Math.max(EVENT_PAUSE_MS, PERIOD_COSTS * this.#costMs);
  }

  #nowMs(): number {
    return this.#source.clock.now().monotonicMs;
  }
}
