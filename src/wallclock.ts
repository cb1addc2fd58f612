/**
 * The wall clock that wgmon goes by, and how it follows a clock that is set: by NTP after a start in 1970, or by a person. All times that
 * wgmon remembers are then expressed by the new clock (`moved`), so a time and "now" are always of one clock, and their difference is a duration.
 */

import type { Clock } from "./clock.ts";
import type { Instant } from "./wireguard.ts";

/** What the machine knows about its time. */
export interface Machine {
  /** Another text after each boot; null: unknown. */
  readonly bootId: string | null;
  /** Milliseconds since the boot, suspension included. CLOCK_BOOTTIME, clock_gettime(2): it cannot be set. */
  bootMs(): number;
  /** Whether NTP or the like keeps the clock right; true, too, where that is unknown. STA_UNSYNC, adjtimex(2). */
  isSynchronised(): boolean;
}

/** How the clock stood when it was last read; kept in the store, so that a restart notices a step, too. */
export interface ClockState {
  readonly bootId: string;
  /** The moment of the boot, by the wall clock. It changes only when the clock is set. */
  readonly bootedAtMs: number;
  /** Since when nothing has kept the clock right, by the wall clock; null: something does. */
  readonly unsureSinceMs: number | null;
}

/** The wall clock was set. Times between `fromMs` and `toMs` were taken by the old clock. */
export interface ClockStep {
  /** How far, in whole milliseconds; negative: back. */
  readonly ms: number;
  readonly fromMs: number;
  readonly toMs: number;
  /**
   * Since when the old clock may have been wrong: what was over by then keeps its times. null: it was right until now, as after
   * a virtual machine was paused.
   */
  readonly unsureFromMs: number | null;
}

/** The two clocks differ by milliseconds, and by a leap second; by more only when one was set. */
const STEP_MS = 2000;

/** Times are noted up to this long in advance: the next attempt at a target. */
const AHEAD_MS = 15 * 60_000;

/** Before wgmon was written: a machine with this time does not know the time yet. */
const EARLIEST_MS = Date.UTC(2026, 0, 1);

/** The store has no clock state. Its times in 1970 are from a clock that was not set. */
const UNKNOWN: ClockState = { bootId: "", bootedAtMs: 0, unsureSinceMs: 0 };

interface Options {
  readonly clock: Clock;
  readonly machine: Machine;
  /** null: the first run, or one before that wrote no state. */
  readonly saved: ClockState | null;
}

export class WallClock implements Clock {
  readonly #clock: Clock;
  readonly #machine: Machine;
  readonly #bootId: string;
  #state: ClockState;
  /** When the machine's clock was last read. */
  #read: Instant;
  readonly #steps: ClockStep[] = [];

  constructor({ clock, machine, saved }: Options) {
    this.#clock = clock;
    this.#machine = machine;
    // Where it is unknown, no other run of wgmon is in this boot: its times are not compared.
    this.#bootId = machine.bootId ?? crypto.randomUUID();
    this.#state = saved ?? UNKNOWN;
    this.#read = clock.now();
  }

  /** To be saved when `read` returned a step, and when it has changed. */
  get state(): ClockState {
    return this.#state;
  }

  /** A step of the machine's clock is not in it until `read` has returned the step. */
  now(): Instant {
    const { wallMs, monotonicMs } = this.#clock.now();
    const expectedMs = this.#read.wallMs + monotonicMs - this.#read.monotonicMs;
    const isSet = Math.abs(wallMs - expectedMs) >= STEP_MS;
    return { wallMs: isSet ? Math.round(expectedMs) : wallMs, monotonicMs };
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.#clock.after(delayMs, callback);
  }

  /** Follows the machine's clock. Returns the step by which remembered times are to be moved; null: there was none. */
  read(): ClockStep | null {
    const bootId = this.#bootId;
    const before = this.#state;
    this.#read = this.#clock.now();
    const wallMs = Math.round(this.#read.wallMs);
    const bootMs = Math.round(this.#machine.bootMs());
    const bootedAtMs = wallMs - bootMs;
    const isSameBoot = before.bootId === bootId;
    // What the old clock says now; of another boot only its beginning is known.
    const isUnknown = before.bootedAtMs + (isSameBoot ? bootMs : 0) < EARLIEST_MS;
    // After a reboot, the saved state cannot be compared with the present clock.
    const isComparable = isSameBoot || (isUnknown && wallMs >= EARLIEST_MS);
    const ms = bootedAtMs - before.bootedAtMs;
    let step: ClockStep | null = null;
    if (isComparable && Math.abs(ms) >= STEP_MS) {
      step = {
        ms,
        fromMs: isUnknown ? 0 : before.bootedAtMs - STEP_MS,
        toMs: isUnknown ? EARLIEST_MS : before.bootedAtMs + bootMs + AHEAD_MS,
        unsureFromMs: isUnknown ? 0 : before.unsureSinceMs,
      };
      this.#steps.push(step);
    }
    this.#state = {
      bootId,
      // Read twice, the same moment differs by a millisecond or two.
      bootedAtMs: isSameBoot && Math.abs(ms) < STEP_MS / 4 ? before.bootedAtMs : bootedAtMs,
      unsureSinceMs: this.#unsureSinceMs(before, step, bootedAtMs),
    };
    return step;
  }

  #unsureSinceMs(before: ClockState, step: ClockStep | null, bootedAtMs: number): number | null {
    if (this.#machine.isSynchronised()) return null;
    if (before.bootId !== this.#bootId) return bootedAtMs;
    const { unsureSinceMs } = before;
    // The old clock was right, so only what is taken from now on may be wrong.
    if (unsureSinceMs === null) return Math.round(this.#read.wallMs);
    return step === null ? unsureSinceMs : unsureSinceMs + step.ms;
  }

  /**
   * A time that the kernel keeps, as of a handshake, by the present wall clock. It must lie between the boot and now: one that does not was
   * taken before the clock was set.
   */
  current(atMs: number): number {
    const { wallMs } = this.#read;
    const isPossible = (ms: number) =>
      ms >= this.#state.bootedAtMs - STEP_MS && ms <= wallMs + STEP_MS;
    if (this.#steps.length === 0 || isPossible(atMs)) return atMs;
    const movedMs = this.#steps.reduce((ms, step) => moved(step, ms), atMs);
    return isPossible(movedMs) ? movedMs : atMs;
  }
}

/** A remembered time by the present wall clock. Times that the old clock cannot have given stay as they are. */
export function moved({ ms, fromMs, toMs }: ClockStep, atMs: number): number {
  return atMs >= fromMs && atMs <= toMs ? atMs + ms : atMs;
}
