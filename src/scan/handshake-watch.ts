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
import { dueMs, type Expected, ExpectedHandshakes, type Place } from "./expected-handshakes.ts";
import { GuardedMode } from "./guarded-mode.ts";
import { TokenBucket, type TokenBucketOptions } from "./token-bucket.ts";

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
 * A session negotiates new keys after 120 s. From 20 s before that, a connected peer's handshake waits for the next
 * tick.
 */
const RENEWAL_DUE_MS = REKEY_AFTER_MS - 20_000;
/** Each connected peer renews its keys; on a large gateway this must not count as a flood. */
const RENEWAL_WEIGHT = 0.01;

export interface HandshakeWatchOptions {
  /**
   * When the session whose endpoint is this address and port made its keys, on the device that listens on the
   * destination port; null if there is no session.
   */
  readonly handshakeAtMs: (address: string, port: number, destinationPort: number) => number | null;
}

export class HandshakeWatch {
  readonly #options: HandshakeWatchOptions;
  readonly #expected = new ExpectedHandshakes((place) => this.#handshakeAtMs(place));
  readonly #bucket = new TokenBucket(SCAN_BUCKET);
  readonly #mode = new GuardedMode();
  /** The mode as last applied to the expected handshakes. */
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
    const expected = datagram === null ? undefined : this.#expected.get(datagram);
    if (datagram !== null && expected?.isAnnounced === true) {
      // Only once: an attacker on the path can repeat the packet.
      if (expected.stage !== "completed") this.#addCompleted(datagram, nowMs, true);
      return;
    }
    const isRenewal = datagram !== null && this.#isRenewal(datagram, nowMs);
    this.#mode.onHint(nowMs, isRenewal ? RENEWAL_WEIGHT : 1);
    this.#applyMode(nowMs);
    if (datagram === null || isRenewal || expected !== undefined || this.#isGuarded) return;
    const { type, isFirstData } = datagram;
    if (type === MessageType.cookie || (type === MessageType.data && !isFirstData)) return;
    const isInitiation = type === MessageType.initiation;
    if (isInitiation && this.#isSentLogged) return;
    if (this.#expected.isFull) this.#beginGuarded(nowMs);
    else if (isInitiation) this.#addAttempt(datagram, nowMs, false);
    else this.#addCompleted(datagram, nowMs, false);
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
    if (isKnown || this.#expected.get(datagram)?.isAnnounced === true) return;
    if (this.#expected.isFull) this.onPacketsLost(nowMs);
    else if (isComplete) this.#addCompleted(datagram, nowMs, true);
    else this.#addAttempt(datagram, nowMs, true);
    if (this.#selection !== null) this.#selection = this.#expected.announcedIndexes();
  }

  /** Packets, received or sent, were lost. Scans that are still pending for an earlier loss cover this one. */
  onPacketsLost(nowMs: number): void {
    const any = this.#expected.get(null);
    const isPending = any?.stage === "completed" && dueMs(any) < Infinity;
    if (!isPending) this.#addCompleted(null, nowMs, true);
  }

  /** Sets whether sent packets are captured in guarded mode. */
  onSentCapture(isCaptured: boolean): void {
    this.#isSentCaptured = isCaptured;
  }

  /** When to call `advance` next; Infinity: not before the next packet. */
  nextMs(nowMs: number): number {
    let { nextMs } = this.#mode;
    const waitOf = this.#waits(nowMs);
    for (const expected of this.#expected.all) {
      // In hint mode, a hint does not wait for tokens: if they have run out, `advance` begins guarded mode instead.
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
    this.#applyMode(nowMs);
    const due = this.#expected.takeDue(nowMs);
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
    const found = this.#expected.takeFound();
    // Our response to a real peer was not logged, so the rules that logged responses were removed.
    if (found.some(({ isAnnounced, stage }) => !isAnnounced && stage === "completed")) {
      this.#isSentLogged = false;
    }
    const isNeeded = found.length > 0;
    this.#bucket.spend(
      isNeeded ? FOUND_FACTOR * costMs : OVERHEAD_FACTOR * costMs + OVERHEAD_MS,
      nowMs,
    );
    if (!this.#isGuarded || this.#expected.get(null) !== undefined) return;
    const stage = this.#isSentCaptured ? "unannounced" : "all-unannounced";
    this.#expected.add(null, { isAnnounced: false, stage, sinceMs: nowMs });
  }

  /** An initiation was received or a response sent: the packet that completes the handshake may follow. */
  #addAttempt(datagram: Datagram, sinceMs: number, isAnnounced: boolean): void {
    const step = this.#isGuarded ? 0 : 1;
    this.#expected.add(datagram, { isAnnounced, stage: "attempt", sinceMs, step });
  }

  /** @param datagram null for handshakes at any place. */
  #addCompleted(datagram: Datagram | null, sinceMs: number, isAnnounced: boolean): void {
    this.#expected.add(datagram, { isAnnounced, stage: "completed", sinceMs });
  }

  /** How long the bucket makes the scans for expected handshakes wait. */
  #waits(nowMs: number): (expected: Expected) => number {
    const announcedMs = this.#bucket.waitMs(nowMs, { mayOverdraw: true });
    const hintMs = this.#bucket.waitMs(nowMs, { mayOverdraw: false });
    return ({ isAnnounced }) => (isAnnounced ? announcedMs : hintMs);
  }

  #beginGuarded(nowMs: number): void {
    this.#mode.begin(nowMs);
    this.#applyMode(nowMs);
  }

  #applyMode(nowMs: number): void {
    const { isActive, isSelecting } = this.#mode;
    if (isActive !== this.#isGuarded) {
      this.#isGuarded = isActive;
      this.#expected.removeHints();
      // Scans of all devices find the handshakes that are in progress when the mode changes.
      const stage = isActive ? "completed" : "guarded-ended";
      this.#expected.add(null, { isAnnounced: true, stage, sinceMs: nowMs });
    }
    if (isSelecting !== (this.#selection !== null)) {
      this.#selection = isSelecting ? this.#expected.announcedIndexes() : null;
    }
  }

  #isRenewal(place: Place, nowMs: number): boolean {
    const madeMs = this.#handshakeAtMs(place);
    return madeMs !== null && nowMs - madeMs > RENEWAL_DUE_MS;
  }

  #handshakeAtMs({ sourceAddress, sourcePort, destinationPort }: Place): number | null {
    return this.#options.handshakeAtMs(sourceAddress, sourcePort, destinationPort);
  }
}
