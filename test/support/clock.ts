/** A clock that moves only when a test advances it. Timers fire in order, each when it is due. */

import type { Clock } from "../../src/base/clock.ts";
import type { Machine } from "../../src/base/wall-clock.ts";
import type { Instant } from "../../src/base/wireguard.ts";

export class HandClock implements Clock, Machine {
  bootId: string | null = "boot";
  isRight = false;
  #wallMs: number;
  #monotonicMs = 0;
  #timers: { dueMs: number; callback: () => void }[] = [];

  constructor(wallMs = Date.UTC(2026, 0, 1)) {
    this.#wallMs = wallMs;
  }

  now(): Instant {
    return { wallMs: this.#wallMs, monotonicMs: this.#monotonicMs };
  }

  bootMs(): number {
    return this.#monotonicMs;
  }

  isSynchronised(): boolean {
    return this.isRight;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { dueMs: this.#monotonicMs + Math.max(0, delayMs), callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Advances both clocks by `ms`, and fires each timer when it is due. */
  advance(ms: number): void {
    const endMs = this.#monotonicMs + ms;
    for (;;) {
      const next = this.#timers.toSorted((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined || next.dueMs > endMs) break;
      this.#move(next.dueMs - this.#monotonicMs);
      this.#timers = this.#timers.filter((timer) => timer !== next);
      next.callback();
    }
    this.#move(endMs - this.#monotonicMs);
  }

  /** Advances both clocks by `ms` as if the process were stopped: timers that are due fire once, at the end. */
  oversleep(ms: number): void {
    this.#move(ms);
    const isDue = ({ dueMs }: { dueMs: number }) => dueMs <= this.#monotonicMs;
    const due = this.#timers.filter(isDue).toSorted((a, b) => a.dueMs - b.dueMs);
    this.#timers = this.#timers.filter((timer) => !due.includes(timer));
    for (const { callback } of due) callback();
  }

  /** Sets the wall clock back or forward, as an administrator or NTP does. */
  jump(ms: number): void {
    this.#wallMs += ms;
  }

  /** No timer fires any more: the process that set them was killed. */
  forgetTimers(): void {
    this.#timers = [];
  }

  /** Number of pending timers. */
  get waiting(): number {
    return this.#timers.length;
  }

  /** Does nothing if a callback has already advanced the clock beyond the target: time never goes back. */
  #move(ms: number): void {
    if (ms <= 0) return;
    this.#monotonicMs += ms;
    this.#wallMs += ms;
  }
}
