/**
 * wgmon's wall clock. It notices when the machine's clock is set: by NTP after a boot in 1970, or by a person. All
 * recorded times are then converted to the new clock (`moved`), so the difference of a recorded time and the present
 * time is always a duration.
 */

import type { Clock } from "./clock.ts";
import type { Instant, Peer } from "./wireguard.ts";

/** The machine's clocks, as far as WallClock needs them. */
export interface Machine {
  /** Different after each boot; null: unknown. */
  readonly bootId: string | null;
  /** Milliseconds since the boot, including suspension. CLOCK_BOOTTIME, clock_gettime(2), which cannot be set. */
  bootMs(): number;
  /** Whether the clock is synchronised, by NTP or similar; true also if unknown. STA_UNSYNC, adjtimex(2). */
  isSynchronised(): boolean;
}

/**
 * State of the clock when it was last read. It is stored, so that wgmon also notices a step that happened while it did
 * not run.
 */
export interface ClockState {
  readonly bootId: string;
  /** Wall-clock time of the boot. Changes only when the clock is set. */
  readonly bootedAtMs: number;
  /** Wall-clock time since which the clock is unsynchronised; null: it is synchronised. */
  readonly unsureSinceMs: number | null;
}

/** A step of the wall clock. Times between `fromMs` and `toMs` were taken by the old clock. */
export interface ClockStep {
  /** Size of the step in whole milliseconds; negative: backward. */
  readonly ms: number;
  readonly fromMs: number;
  readonly toMs: number;
  /**
   * Time since which the old clock may have been wrong; sessions and other intervals that ended earlier keep their
   * times. null: the old clock was right until now, for example until a virtual machine was paused.
   */
  readonly unsureFromMs: number | null;
}

/**
 * The wall clock and the monotonic clocks drift apart by milliseconds, or by a leap second. A larger difference means
 * that the wall clock was set.
 */
const STEP_MS = 2000;

/** How far in the future a recorded time may be: the time of the next delivery attempt. */
const AHEAD_MS = 15 * 60_000;

/** Before the first version of wgmon. A clock that shows an earlier time has not been set yet. */
const EARLIEST_MS = Date.UTC(2026, 0, 1);

/**
 * Used if the store has no clock state: assumes that the clock was not set yet, so recorded times in 1970 are
 * converted.
 */
const UNKNOWN: ClockState = { bootId: "", bootedAtMs: 0, unsureSinceMs: 0 };

interface Options {
  readonly clock: Clock;
  readonly machine: Machine;
  /** null: this is the first run, or the store was written by a version that saved no clock state. */
  readonly saved: ClockState | null;
}

export class WallClock implements Clock {
  readonly #clock: Clock;
  readonly #machine: Machine;
  readonly #bootId: string;
  #state: ClockState;
  /** The machine's time at the last `read`. */
  #lastReading: Instant;
  readonly #steps: ClockStep[] = [];

  constructor({ clock, machine, saved }: Options) {
    this.#clock = clock;
    this.#machine = machine;
    // If the boot id is unknown, use a random one, so that times of other runs are not compared with this boot.
    this.#bootId = machine.bootId ?? crypto.randomUUID();
    this.#state = saved ?? UNKNOWN;
    this.#lastReading = clock.now();
  }

  /** The state to store. Store it after `read` returned a step, and whenever it has changed. */
  get state(): ClockState {
    return this.#state;
  }

  /** Returns the present time. Ignores a step of the machine's clock until `read` has returned the step. */
  now(): Instant {
    const { wallMs, monotonicMs } = this.#clock.now();
    const expectedMs = this.#lastReading.wallMs + monotonicMs - this.#lastReading.monotonicMs;
    const isSet = Math.abs(wallMs - expectedMs) >= STEP_MS;
    return { wallMs: isSet ? Math.round(expectedMs) : wallMs, monotonicMs };
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.#clock.after(delayMs, callback);
  }

  /** Reads the machine's clock. Returns the step by which recorded times must be moved; null if there was no step. */
  read(): ClockStep | null {
    const bootId = this.#bootId;
    const before = this.#state;
    this.#lastReading = this.#clock.now();
    const wallMs = Math.round(this.#lastReading.wallMs);
    const bootMs = Math.round(this.#machine.bootMs());
    const bootedAtMs = wallMs - bootMs;
    const isSameBoot = before.bootId === bootId;
    // Whether the old clock was not set yet. For an earlier boot, only the time of that boot is known.
    const wasUnset = before.bootedAtMs + (isSameBoot ? bootMs : 0) < EARLIEST_MS;
    // After a reboot, the saved state cannot be compared with the present clock.
    const isComparable = isSameBoot || (wasUnset && wallMs >= EARLIEST_MS);
    const ms = bootedAtMs - before.bootedAtMs;
    let step: ClockStep | null = null;
    if (isComparable && Math.abs(ms) >= STEP_MS) {
      step = {
        ms,
        fromMs: wasUnset ? 0 : before.bootedAtMs - STEP_MS,
        toMs: wasUnset ? EARLIEST_MS : before.bootedAtMs + bootMs + AHEAD_MS,
        unsureFromMs: wasUnset ? 0 : before.unsureSinceMs,
      };
      this.#steps.push(step);
    }
    this.#state = {
      bootId,
      // Two readings of the same moment differ by a millisecond or two.
      bootedAtMs: isSameBoot && Math.abs(ms) < STEP_MS / 4 ? before.bootedAtMs : bootedAtMs,
      unsureSinceMs: this.#unsureSinceMs(before, step, bootedAtMs),
    };
    return step;
  }

  #unsureSinceMs(before: ClockState, step: ClockStep | null, bootedAtMs: number): number | null {
    if (this.#machine.isSynchronised()) return null;
    if (before.bootId !== this.#bootId) return bootedAtMs;
    const { unsureSinceMs } = before;
    // The old clock was right, so only times from now on may be wrong.
    if (unsureSinceMs === null) return Math.round(this.#lastReading.wallMs);
    return step === null ? unsureSinceMs : unsureSinceMs + step.ms;
  }

  /**
   * Converts a time that the kernel keeps, such as that of a handshake, to the present wall clock. A time that does not
   * lie between the boot and now was recorded before the clock was set.
   */
  current(atMs: number): number {
    const { wallMs } = this.#lastReading;
    const isPossible = (ms: number) =>
      ms >= this.#state.bootedAtMs - STEP_MS && ms <= wallMs + STEP_MS;
    if (this.#steps.length === 0 || isPossible(atMs)) return atMs;
    const movedMs = this.#steps.reduce((ms, step) => moved(step, ms), atMs);
    return isPossible(movedMs) ? movedMs : atMs;
  }
}

/** Converts a recorded time to the new wall clock. Times that the old clock cannot have shown stay unchanged. */
export function moved({ ms, fromMs, toMs }: ClockStep, atMs: number): number {
  return atMs >= fromMs && atMs <= toMs ? atMs + ms : atMs;
}

/** Returns the peer with its handshake time in the present wall clock. */
export function inCurrentClock(peer: Peer, clock: Pick<WallClock, "current">): Peer {
  if (peer.lastHandshakeMs === null) return peer;
  const lastHandshakeMs = clock.current(peer.lastHandshakeMs);
  return lastHandshakeMs === peer.lastHandshakeMs ? peer : { ...peer, lastHandshakeMs };
}
