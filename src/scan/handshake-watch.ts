/**
 * Decides from captured handshake messages when to scan the kernel. Pure: it has no clock and no timers; times are
 * arguments, in milliseconds of the monotonic clock.
 *
 * Anyone can forge an incoming packet, so it is only a hint. An attacker who is not on the path can neither forge what
 * our own WireGuard sends nor guess the 32-bit index that it chose for a handshake. A handshake that it has answered is
 * called announced.
 *
 * Hint mode, the normal mode: all handshake messages are read, and cause scans.
 * Guarded mode, after too many hints: the kernel passes only packets that complete an announced handshake.
 */

import { MessageType, REKEY_AFTER_MS } from "../base/wireguard.ts";
import type { Datagram } from "../capture/packet.ts";
import { GuardedMode } from "./guarded-mode.ts";
import { TokenBucket, type TokenBucketOptions } from "./token-bucket.ts";

/** When to scan until the handshake is found, in milliseconds after the event that caused the scans. */
type RetrySchedule = readonly number[];

/**
 * After an initiation or our response: fallback scans, in case the completing packet arrived before its index was
 * selected, or was lost. Hint mode selects nothing, so it skips the first scan.
 */
export const AFTER_SENT: RetrySchedule = [5, 1000, 4000];
/** After the packet that completes the handshake. WireGuard processes the packet shortly after its capture. */
export const AFTER_COMPLETED: RetrySchedule = [0, 4, 30, 300, 1500];
/** After guarded mode: for handshakes that completed during the probe that ended it. */
const AFTER_GUARDED: RetrySchedule = [0, 300];

/** Maximum number of expected handshakes. */
export const EXPECTED_MAX = 1024;
/** Maximum number of their indexes by which the kernel selects: a BPF jump reaches 255 instructions. */
export const SELECTED_MAX = 200;

/**
 * Limits the cost of scans. Hints may spend the tokens; when these run out, guarded mode begins. Announced handshakes
 * may overdraw the bucket.
 */
export const SCAN_BUCKET: TokenBucketOptions = {
  share: 0.05,
  burstMs: 50,
  overdraftMs: 400,
  leastScans: 4,
};
/** The cost of a scan that is not measured: wake-ups, timers, other threads (garbage collector, compiler). */
const OVERHEAD_FACTOR = 2;
const OVERHEAD_MS = 0.5;
/** A scan that finds a handshake was needed: peers that really connect must not use up what hints may spend. */
const FOUND_FACTOR = 0.25;

/**
 * Guarded mode: when all devices are scanned next, for peers whose handshakes are not announced, such as peers that are
 * redirected to the port. The delay is shorter if no handshake is announced, because sent packets are not captured.
 */
export const UNANNOUNCED: RetrySchedule = [2000];
export const ALL_UNANNOUNCED: RetrySchedule = [250];

/**
 * A session negotiates new keys after 120 s. From 20 s before that, a connected peer's handshake waits for the next
 * tick.
 */
const RENEWAL_DUE_MS = REKEY_AFTER_MS - 20_000;
/** Each connected peer renews its keys; on a large gateway this must not count as a flood. */
const RENEWAL_WEIGHT = 0.01;
/** WireGuard's time of a handshake may be slightly before the time when its completing packet is read. */
const CLOCK_SLACK_MS = 100;

/** The address and port of a peer, and the port to which it sends. */
type Place = Pick<Datagram, "sourceAddress" | "sourcePort" | "destinationPort">;

/** A handshake that may complete or has completed. */
interface Expected {
  /** null if packets were not read: the handshake may be at any place, so all devices are scanned. */
  readonly place: Place | null;
  readonly isAnnounced: boolean;
  readonly schedule: RetrySchedule;
  readonly sinceMs: number;
  /** Index of the next scan in the schedule. */
  step: number;
}

/**
 * ANY is the key of `place: null`. Other keys are handshake indexes; PEERS_CHOICE is added to an index that the peer
 * chose.
 */
const ANY = -1;
const PEERS_CHOICE = 2 ** 32;

export interface HandshakeWatchOptions {
  /**
   * When the session whose endpoint is this address and port made its keys, on the device that listens on the
   * destination port; null if there is no session.
   */
  readonly handshakeAtMs: (address: string, port: number, destinationPort: number) => number | null;
}

export class HandshakeWatch {
  readonly #options: HandshakeWatchOptions;
  readonly #expected = new Map<number, Expected>();
  readonly #bucket = new TokenBucket(SCAN_BUCKET);
  readonly #mode = new GuardedMode();
  #isGuarded = false;
  /** Whether firewall rules log what we send. Then initiations are ignored, because they add no information. */
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

  /**
   * The indexes by which the kernel selects incoming packets; null: it passes all handshake messages. The same array
   * until the selection changes.
   */
  get selection(): readonly number[] | null {
    return this.#selection;
  }

  /** Handles a captured incoming packet; null if it is not a WireGuard message. */
  onReceived(datagram: Datagram | null, nowMs: number): void {
    const expected = datagram === null ? undefined : this.#expected.get(keyOf(datagram));
    if (datagram !== null && expected?.isAnnounced === true) {
      // Only once: an attacker on the path can repeat the packet.
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
   * Handles a response that our own WireGuard sent, or the first data of a session, which it sends as soon as a
   * handshake that it initiated is complete. `datagram` was parsed as if the peer had sent it.
   */
  onSent(datagram: Datagram, nowMs: number): void {
    const isComplete = datagram.type === MessageType.data;
    if (isComplete && !datagram.isFirstData) return;
    // The tap on sent packets is open in guarded mode only, so firewall rules logged this one.
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

  /** Packets, received or sent, were lost. Scans that are still pending for an earlier loss cover this one. */
  onPacketsLost(nowMs: number): void {
    const any = this.#expected.get(ANY);
    const isPending = any?.schedule === AFTER_COMPLETED && dueMs(any) < Infinity;
    if (!isPending) this.#expect(null, AFTER_COMPLETED, nowMs, true);
  }

  /** Sets whether sent packets are captured in guarded mode. */
  onSentCapture(isCaptured: boolean): void {
    this.#isSentCaptured = isCaptured;
  }

  /** When to call `advance` next; Infinity: not before the next packet. */
  nextMs(nowMs: number): number {
    let { nextMs } = this.#mode;
    const waitOf = this.#waits(nowMs);
    for (const expected of this.#expected.values()) {
      const waitMs = this.#isGuarded || expected.isAnnounced ? waitOf(expected) : 0;
      nextMs = Math.min(nextMs, Math.max(dueMs(expected), waitMs > 0 ? nowMs + waitMs : 0));
    }
    return nextMs;
  }

  /**
   * Returns the ports whose devices must be scanned now, "all" for all devices, or null for none. After the scan the
   * caller calls `onScanned`, and must not call `advance` before that.
   */
  advance(nowMs: number): ReadonlySet<number> | "all" | null {
    this.#mode.advance(nowMs);
    this.#followMode(nowMs);
    this.#forget((expected) => dueMs(expected) <= nowMs && this.#isFound(expected));
    const due = [...this.#expected.values()].filter((expected) => dueMs(expected) <= nowMs);
    const waitOf = this.#waits(nowMs);
    if (!this.#isGuarded && due.some((each) => !each.isAnnounced && waitOf(each) > 0)) {
      this.#beginGuarded(nowMs);
      return this.advance(nowMs);
    }
    const wanted = due.filter((expected) => waitOf(expected) === 0);
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

  /** @param costMs processor time of the scan. */
  onScanned(costMs: number, nowMs: number): void {
    const found = [...this.#expected].filter(([, expected]) => this.#isFound(expected));
    for (const [key, { isAnnounced, schedule }] of found) {
      // The response to a real peer was not logged, so the rules that logged responses were removed.
      if (!isAnnounced && schedule === AFTER_COMPLETED) this.#isSentLogged = false;
      this.#expected.delete(key);
    }
    this.#forget((expected) => dueMs(expected) === Infinity);
    const isNeeded = found.length > 0;
    this.#bucket.spend(
      isNeeded ? FOUND_FACTOR * costMs : OVERHEAD_FACTOR * costMs + OVERHEAD_MS,
      nowMs,
    );
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

  /** How long the bucket makes the scans for expected handshakes wait. */
  #waits(nowMs: number): (expected: Expected) => number {
    const announcedMs = this.#bucket.waitMs(nowMs, { mayOverdraw: true });
    const hintMs = this.#bucket.waitMs(nowMs, { mayOverdraw: false });
    return ({ isAnnounced }) => (isAnnounced ? announcedMs : hintMs);
  }

  #beginGuarded(nowMs: number): void {
    this.#mode.begin(nowMs);
    this.#followMode(nowMs);
  }

  #followMode(nowMs: number): void {
    const { isActive, isSelecting } = this.#mode;
    if (isActive !== this.#isGuarded) {
      this.#isGuarded = isActive;
      // Forget the hints. Scans of all devices find the handshakes that are in progress when the mode changes.
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

/** When its next scan is due; Infinity if none is left. */
function dueMs({ schedule, sinceMs, step }: Expected): number {
  return sinceMs + (schedule[step] ?? Infinity);
}

function keyOf({ index, isOwnIndex }: Datagram): number {
  return isOwnIndex ? index : PEERS_CHOICE + index;
}
