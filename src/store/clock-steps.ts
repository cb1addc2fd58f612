/** Finds steps of the wall clock, and moves all times recorded before a step. */

import { type ClockStep, moved, type WallClock } from "../base/wall-clock.ts";
import { duration } from "../events/event.ts";
import type { Log } from "../platform/log.ts";
import type { Store } from "./store.ts";

interface Options {
  readonly clock: WallClock;
  readonly store: Store;
  readonly log: Log;
  /** Whether no previous run has saved the state of the clock. */
  readonly isFirstRun: boolean;
}

/** Keeps wall-clock times in memory, and moves them after a step. */
interface Subscriber {
  clockSet(step: ClockStep): void;
}

export class ClockSteps {
  readonly #clock: WallClock;
  readonly #store: Store;
  readonly #log: Log;
  readonly #subscribers: Subscriber[] = [];
  #startedAtMs: number;
  #isStopped = false;

  /** Applies a step since the previous run. */
  constructor({ clock, store, log, isFirstRun }: Options) {
    this.#clock = clock;
    this.#store = store;
    this.#log = log;
    const step = clock.read();
    if (step === null) store.saveClockState(clock.state);
    else store.clockSet(step, clock.state);
    // Without a saved state there is no step to log; times in 1970 are moved in any case.
    if (step !== null && !isFirstRun) this.#logStep(step);
    const { wallMs, monotonicMs } = clock.now();
    // The monotonic clock starts with the program.
    this.#startedAtMs = Math.round(wallMs - monotonicMs);
  }

  /** Start of the program, in the time of the current wall clock. */
  get startedAtMs(): number {
    return this.#startedAtMs;
  }

  /** From now on each step is passed to the subscribers, in this order. */
  subscribe(...subscribers: readonly Subscriber[]): void {
    this.#subscribers.push(...subscribers);
  }

  /** Stops handling steps, because the store is about to be closed. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Reads the clock. If it was set since the last call, moves all recorded times. */
  read(): void {
    if (this.#isStopped) return;
    const before = this.#clock.state;
    const step = this.#clock.read();
    const { state } = this.#clock;
    if (step !== null) {
      this.#store.clockSet(step, state);
      for (const subscriber of this.#subscribers) subscriber.clockSet(step);
      this.#startedAtMs = moved(step, this.#startedAtMs);
      this.#logStep(step);
    } else if (JSON.stringify(state) !== JSON.stringify(before)) {
      this.#store.saveClockState(state);
    }
  }

  #logStep({ ms }: ClockStep): void {
    const direction = ms > 0 ? "forward" : "back";
    const by = duration(Math.abs(ms));
    this.#log.info(`the clock was set ${direction} by ${by}; earlier times were adjusted`);
  }
}
