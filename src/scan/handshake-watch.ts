/**
 * Decides, by captured handshake messages, when the kernel is scanned. Pure: it has no clock and no timers; times
 * are arguments, in milliseconds of the monotonic clock.
 *
 * Anyone can forge a packet that comes in: it is a hint. Nobody off the path can forge what our own WireGuard
 * sends, or guess the 32-bit index that it chose for a handshake: one that it has answered is announced.
 *
 * Hint mode, the normal one: all handshake messages are read, and cause scans.
 * Guarded mode, when there are too many: the kernel passes only what completes an announced handshake.
 */

import type { Datagram } from "../capture/packet.ts";
import { MessageType, REKEY_AFTER_MS } from "../wireguard.ts";
import { GuardedMode } from "./guarded-mode.ts";
import { TokenBucket, type TokenBucketOptions } from "./token-bucket.ts";

/** When to scan until the handshake is found, in milliseconds after the evidence. */
type RetrySchedule = readonly number[];

/**
 * After an initiation or our response: fallback scans, for a completing packet that arrived before its index was
 * selected, or was lost. Hint mode, which selects nothing, leaves out the first.
 */
export const AFTER_SENT: RetrySchedule = [5, 1000, 4000];
/** After the packet that completes it, which WireGuard takes in a little after it was captured. */
export const AFTER_COMPLETED: RetrySchedule = [0, 4, 30, 300, 1500];
/** After guarded mode: what has completed in the probe that ended it. */
const AFTER_GUARDED: RetrySchedule = [0, 300];

/** Handshakes that are waited for. */
export const EXPECTED_MAX = 1024;
/** Of these, indexes that the kernel selects by: as far as a jump of BPF reaches. */
export const SELECTED_MAX = 200;

/**
 * The cost of scans. Hints may spend the balance; if it runs out, guarded mode begins. Announced handshakes may
 * overdraw it.
 */
export const SCAN_BUCKET: TokenBucketOptions = {
  share: 0.05,
  burstMs: 50,
  overdraftMs: 400,
  leastScans: 4,
};
/** What a scan costs beside what is measured of it: waking up, timers, the work of other threads (garbage, compiler). */
const OVERHEAD_FACTOR = 2;
const OVERHEAD_MS = 0.5;

/**
 * Guarded mode: then all devices are scanned again, for peers whose handshakes are not announced, such as those that
 * are redirected to the port; sooner where none is, because what we send is not captured.
 */
export const UNANNOUNCED: RetrySchedule = [2000];
export const ALL_UNANNOUNCED: RetrySchedule = [250];

/** A session makes new keys after 120 s. From 20 s before, a connected peer's handshake waits for the next tick. */
const RENEWAL_DUE_MS = REKEY_AFTER_MS - 20_000;
/** Each connected peer renews its keys, which on a large gateway must not look like a flood. */
const RENEWAL_WEIGHT = 0.01;
/** A handshake may be stamped a little before the packet that completes it is read. */
const CLOCK_SLACK_MS = 100;

/** Where a peer is, and the port that it sends to. */
type Place = Pick<Datagram, "sourceAddress" | "sourcePort" | "destinationPort">;

/** A handshake that may complete, or has. */
interface Expected {
  /** null: any, because packets were not read. */
  readonly place: Place | null;
  readonly isAnnounced: boolean;
  readonly schedule: RetrySchedule;
  readonly sinceMs: number;
  /** The next of the schedule. */
  step: number;
}

/** The key of `place: null`. Other keys are the index of the handshake, or of the peer's choice: above these. */
const ANY = -1;
const PEERS_CHOICE = 2 ** 32;

export interface HandshakeWatchOptions {
  /**
   * When the session made its keys that was last heard from this place, with the device that listens to the
   * destination port; null: there is no session.
   */
  handshakeAtMs(address: string, port: number, destinationPort: number): number | null;
}

export class HandshakeWatch {
  readonly #options: HandshakeWatchOptions;
  readonly #expected = new Map<number, Expected>();
  readonly #bucket = new TokenBucket(SCAN_BUCKET);
  readonly #mode = new GuardedMode();
  #isGuarded = false;
  /** Firewall rules log what we send: initiations say nothing more. */
  #isSentLogged = false;
  #isSentCaptured = false;
  #selection: readonly number[] | null = null;

  constructor(options: HandshakeWatchOptions) {
    this.#options = options;
  }

  get isGuarded(): boolean {
    return this.#isGuarded;
  }

  get isFlooded(): boolean {
    return this.#mode.isFlooded;
  }

  /** The indexes by which the kernel selects what comes in; null: it passes all. The same array until it changes. */
  get selection(): readonly number[] | null {
    return this.#selection;
  }

  /** A packet that came in was captured; null: it is no WireGuard message. */
  onReceived(datagram: Datagram | null, nowMs: number): void {
    const expected = datagram === null ? undefined : this.#expected.get(keyOf(datagram));
    if (datagram !== null && expected?.isAnnounced === true) {
      // Once: who is on the path can repeat it.
      if (expected.schedule === AFTER_COMPLETED) return;
      this.#expect(datagram, AFTER_COMPLETED, nowMs, true);
      return;
    }
    const isRenewal = datagram !== null && this.#isRenewal(datagram, nowMs);
    this.#mode.onHint(nowMs, isRenewal ? RENEWAL_WEIGHT : 1);
    this.#followMode(nowMs);
    if (datagram === null || isRenewal || expected !== undefined || this.#isGuarded) return;
    const { type, isFirstData } = datagram;
    if (type === MessageType.cookie || (type === MessageType.data && !isFirstData)) return;
    const isInitiation = type === MessageType.initiation;
    if (isInitiation && this.#isSentLogged) return;
    if (this.#expected.size >= EXPECTED_MAX) this.#beginGuarded(nowMs);
    else if (isInitiation) this.#expect(datagram, AFTER_SENT, nowMs, false, 1);
    else this.#expect(datagram, AFTER_COMPLETED, nowMs, false);
  }

  /**
   * Our own WireGuard sent a response; or the first data of a session, which it sends as soon as a handshake that it
   * has begun is complete. `datagram` is read as if the peer had sent it.
   */
  onSent(datagram: Datagram, nowMs: number): void {
    const isComplete = datagram.type === MessageType.data;
    if (isComplete && !datagram.isFirstData) return;
    // Otherwise it is captured in guarded mode only.
    if (!this.#isGuarded) this.#isSentLogged = true;
    const isKnown = isComplete
      ? this.#handshakeAtMs(datagram) !== null
      : this.#isRenewal(datagram, nowMs);
    if (isKnown || this.#expected.get(keyOf(datagram))?.isAnnounced === true) return;
    if (this.#expected.size >= EXPECTED_MAX) this.onPacketsLost(nowMs);
    else if (isComplete) this.#expect(datagram, AFTER_COMPLETED, nowMs, true);
    else this.#expect(datagram, AFTER_SENT, nowMs, true, this.#isGuarded ? 0 : 1);
    if (this.#selection !== null) this.#selection = this.#announced;
  }

  /** Packets were not read, whoever sent them. Scans that are still pending for an earlier loss cover this one. */
  onPacketsLost(nowMs: number): void {
    const any = this.#expected.get(ANY);
    const isPending = any?.schedule === AFTER_COMPLETED && dueMs(any) < Infinity;
    if (!isPending) this.#expect(null, AFTER_COMPLETED, nowMs, true);
  }

  /** Guarded mode began: whether what we send is captured. */
  onSentCapture(isCaptured: boolean): void {
    this.#isSentCaptured = isCaptured;
  }

  /** When `advance` is to be called next; Infinity: not before the next packet. */
  nextMs(nowMs: number): number {
    let { nextMs } = this.#mode;
    for (const expected of this.#expected.values()) {
      const waitMs = this.#isGuarded || expected.isAnnounced ? this.#waitMs(expected, nowMs) : 0;
      nextMs = Math.min(nextMs, Math.max(dueMs(expected), waitMs > 0 ? nowMs + waitMs : 0));
    }
    return nextMs;
  }

  /**
   * Time has passed. The ports whose devices are to be scanned now, "all": all devices, null: none. `onScanned` is
   * called when that is done, and `advance` not in between.
   */
  advance(nowMs: number): ReadonlySet<number> | "all" | null {
    this.#mode.advance(nowMs);
    this.#followMode(nowMs);
    this.#forget((expected) => dueMs(expected) <= nowMs && this.#isFound(expected));
    const due = [...this.#expected.values()].filter((expected) => dueMs(expected) <= nowMs);
    const wanted = due.filter((expected) => this.#waitMs(expected, nowMs) === 0);
    if (!this.#isGuarded && due.some((each) => !each.isAnnounced && !wanted.includes(each))) {
      this.#beginGuarded(nowMs);
      return this.advance(nowMs);
    }
    if (wanted.length === 0) return null;
    const isAll = wanted.some(({ place }) => place === null);
    const ports = new Set(wanted.flatMap(({ place }) => place?.destinationPort ?? []));
    for (const expected of due) {
      const isScanned =
        isAll || (expected.place !== null && ports.has(expected.place.destinationPort));
      while (isScanned && dueMs(expected) <= nowMs) expected.step++;
    }
    return isAll ? "all" : ports;
  }

  /** @param costMs of the processor. */
  onScanned(costMs: number, nowMs: number): void {
    this.#bucket.spend(OVERHEAD_FACTOR * costMs + OVERHEAD_MS, nowMs);
    this.#forget((expected) => {
      const isFound = this.#isFound(expected);
      // The response to a real peer was not logged: the rules that did so are gone.
      if (isFound && !expected.isAnnounced && expected.schedule === AFTER_COMPLETED) {
        this.#isSentLogged = false;
      }
      return isFound || dueMs(expected) === Infinity;
    });
    if (!this.#isGuarded || this.#expected.has(ANY)) return;
    this.#expect(null, this.#isSentCaptured ? UNANNOUNCED : ALL_UNANNOUNCED, nowMs, false);
  }

  #expect(
    datagram: Datagram | null,
    schedule: RetrySchedule,
    sinceMs: number,
    isAnnounced: boolean,
    step = 0,
  ): void {
    const key = datagram === null ? ANY : keyOf(datagram);
    this.#expected.set(key, { place: datagram, isAnnounced, schedule, sinceMs, step });
  }

  #forget(isOver: (expected: Expected) => boolean): void {
    for (const [key, expected] of this.#expected) if (isOver(expected)) this.#expected.delete(key);
  }

  #waitMs({ isAnnounced }: Expected, nowMs: number): number {
    return this.#bucket.waitMs(nowMs, { mayOverdraw: isAnnounced });
  }

  #beginGuarded(nowMs: number): void {
    this.#mode.begin(nowMs);
    this.#followMode(nowMs);
  }

  #followMode(nowMs: number): void {
    const { isActive, isSelecting } = this.#mode;
    if (isActive !== this.#isGuarded) {
      this.#isGuarded = isActive;
      // Hints are given up. Scans of all devices find the handshakes that are under way when the mode changes.
      this.#forget(({ isAnnounced }) => !isAnnounced);
      this.#expect(null, isActive ? AFTER_COMPLETED : AFTER_GUARDED, nowMs, true);
    }
    if (isSelecting !== (this.#selection !== null)) {
      this.#selection = isSelecting ? this.#announced : null;
    }
  }

  get #announced(): readonly number[] {
    const waiting = [...this.#expected].filter(
      ([key, { isAnnounced, schedule }]) =>
        isAnnounced && schedule === AFTER_SENT && key < PEERS_CHOICE,
    );
    return waiting.slice(-SELECTED_MAX).map(([key]) => key);
  }

  #isFound({ place, sinceMs }: Expected): boolean {
    const foundMs = place === null ? null : this.#handshakeAtMs(place);
    return foundMs !== null && foundMs >= sinceMs - CLOCK_SLACK_MS;
  }

  #isRenewal(place: Place, nowMs: number): boolean {
    const madeMs = this.#handshakeAtMs(place);
    return madeMs !== null && nowMs - madeMs > RENEWAL_DUE_MS;
  }

  #handshakeAtMs({ sourceAddress, sourcePort, destinationPort }: Place): number | null {
    return this.#options.handshakeAtMs(sourceAddress, sourcePort, destinationPort);
  }
}

/** When its next scan is due; Infinity: all were taken. */
function dueMs({ schedule, sinceMs, step }: Expected): number {
  return sinceMs + (schedule[step] ?? Infinity);
}

function keyOf({ index, isOwnIndex }: Datagram): number {
  return isOwnIndex ? index : PEERS_CHOICE + index;
}
