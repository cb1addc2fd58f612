/**
 * Decides which peers are connected. Deterministic: looks and times go in, changes come out; it has
 * no clock, no timers and no I/O. It keeps a session for each connected peer, known by device and
 * public key, and nothing of the others.
 */

import type { Change, DisconnectReason, SessionSummary } from "./event.ts";
import {
  type Device,
  type DeviceLook,
  type Endpoint,
  INITIATION_BYTES,
  type Instant,
  type Look,
  type Peer,
  type PeerChange,
  type PublicKey,
  REJECT_AFTER_MS,
  sameEndpoint,
} from "./wireguard.ts";

/** What the settings decide. */
export interface Rules {
  /** Silence after which a peer is disconnected. */
  idleTimeoutMs(publicKey: PublicKey): number;
  /** A peer that is back within this was never gone; 0: every going is reported at once. */
  readonly holdMs: number;
  /** Whether peers that are connected at the very first look are reported. */
  readonly announceExisting: boolean;
}

/** A connected peer. */
export interface Session {
  readonly device: string;
  /** As it was when it last changed. */
  readonly peer: Peer;
  readonly startedAtMs: number;
  /** Where the peer was last proven to be: an attempt alone may move the kernel's endpoint. */
  readonly endpoint: Endpoint | null;
  readonly handshakeAt: Instant;
  readonly lastSign: Instant;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
  /** Went away, and is held back; null: here. */
  readonly gone: { readonly reason: DisconnectReason; readonly sinceMs: number } | null;
}

type SessionKey = string;

/**
 * A data message has 32 bytes plus its content padded to 16 (or to the MTU, 1280 and more), so a
 * growth of one, two or three times 148 can be nothing but initiations. Looks are closer together
 * than four attempts, which are 5 seconds apart (REKEY_TIMEOUT).
 */
const ATTEMPTS_MAX = 3;

export class Tracker {
  #rules: Rules;
  readonly #devices = new Map<string, Device>();
  readonly #sessions = new Map<SessionKey, Session>();
  /** Sessions by outer address and port: the one that came there last. */
  readonly #places = new Map<string, SessionKey>();
  #started = false;

  /** @param sessions those of an earlier run: they go on and are not announced again. */
  constructor(rules: Rules, sessions: Iterable<Session> = []) {
    this.#rules = rules;
    for (const session of sessions) this.#put(session);
  }

  get sessions(): Iterable<Session> {
    return this.#sessions.values();
  }

  get connected(): number {
    return this.#sessions.size;
  }

  setRules(rules: Rules): void {
    this.#rules = rules;
  }

  /**
   * When the keys were made of the session that was last heard from this place, on the monotonic
   * clock; null: no session was. The scope of a link-local address does not count.
   */
  handshakeAtMs(address: string, port: number): number | null {
    const key = this.#places.get(placeKey(address, port));
    const session = key === undefined ? undefined : this.#sessions.get(key);
    return session === undefined ? null : session.handshakeAt.monotonicMs;
  }

  /** Takes in a look, taken at `now`: what it found, then whose time is up. */
  observe(look: Look, now: Instant): Change[] {
    const changes: Change[] = [];
    for (const device of look.removed) this.#deviceRemoved(device, now, changes);
    for (const deviceLook of look.devices) this.#deviceSeen(deviceLook, now, changes);
    this.#started = true;
    this.#expire(now, changes);
    return changes;
  }

  /** The next moment on the monotonic clock at which silence alone changes something. */
  nextDeadlineMs(): number | null {
    let next: number | null = null;
    for (const session of this.#sessions.values()) {
      const deadline = this.#deadlineMs(session);
      if (next === null || deadline < next) next = deadline;
    }
    return next;
  }

  #deviceSeen(look: DeviceLook, now: Instant, changes: Change[]): void {
    const { device } = look;
    const before = this.#devices.get(device.name);
    // Deleted and made again between two looks.
    if (before !== undefined && before.index !== device.index) {
      this.#deviceRemoved(before, now, changes);
    }
    if (!this.#devices.has(device.name) && this.#started) {
      const { name, listenPort } = device;
      changes.push({ type: "device.added", atMs: now.wallMs, device: name, listenPort });
    }
    this.#devices.set(device.name, device);
    for (const publicKey of look.removed) {
      this.#leave(sessionKey(device.name, publicKey), "peer-removed", now);
    }
    for (const change of look.changed) {
      const session = this.#sessions.get(sessionKey(device.name, change.peer.publicKey));
      if (session === undefined) this.#peerSeen(device.name, change, now, changes);
      else this.#sessionSeen(session, change.peer, now, changes);
    }
  }

  #deviceRemoved(device: Device, now: Instant, changes: Change[]): void {
    const { name, listenPort } = device;
    if (!this.#devices.delete(name)) return;
    for (const [key, session] of this.#sessions) {
      if (session.device === name) this.#leave(key, "device-removed", now);
    }
    // The peers' ends are told before the device's.
    this.#expire(now, changes);
    changes.push({ type: "device.removed", atMs: now.wallMs, device: name, listenPort });
  }

  /** A peer without a session. Only a completed handshake, or data under its keys, makes one. */
  #peerSeen(device: string, { peer, before }: PeerChange, now: Instant, changes: Change[]): void {
    if (peer.lastHandshakeMs === null) return;
    const ageMs = now.wallMs - peer.lastHandshakeMs;
    const isFresh = ageMs >= 0 && ageMs < REJECT_AFTER_MS;
    const isNew = before === null ? isFresh : peer.lastHandshakeMs !== before.lastHandshakeMs;
    const isHeard = before !== null && isFresh && isSignOfLife(before.rxBytes, peer.rxBytes);
    if (!isNew && !isHeard) return;

    const handshakeAt = handshakeInstant(peer.lastHandshakeMs, now);
    const lastSign = isNew ? this.#unseenSign(peer.publicKey, handshakeAt, now) : now;
    // Whoever was added since the look before has counted from zero; at the start nobody knows.
    const isAdded = before === null && this.#started;
    const rxBefore = before?.rxBytes ?? (isAdded ? 0 : peer.rxBytes);
    const session: Session = {
      device,
      peer,
      startedAtMs: lastSign.wallMs,
      endpoint: peer.endpoint,
      handshakeAt,
      lastSign,
      rxBytes: growth(rxBefore, peer.rxBytes),
      txBytes: isAdded ? peer.txBytes : 0,
      roams: 0,
      gone: null,
    };
    this.#put(session);
    const initial = !this.#started;
    if (initial && !this.#rules.announceExisting) return;
    changes.push({
      type: "peer.connected",
      atMs: lastSign.wallMs,
      device,
      peer,
      session: summary(session),
      initial,
    });
  }

  /**
   * Whether a peer was silent between its handshake and the look that found it, nobody knows. So its
   * silence counts from now, but it ends no later than that of a peer whose keys are dead.
   */
  #unseenSign(publicKey: PublicKey, handshakeAt: Instant, now: Instant): Instant {
    const spareMs = Math.max(0, REJECT_AFTER_MS - this.#rules.idleTimeoutMs(publicKey));
    const monotonicMs = Math.min(now.monotonicMs, handshakeAt.monotonicMs + spareMs);
    return { wallMs: handshakeAt.wallMs, monotonicMs };
  }

  #sessionSeen(before: Session, peer: Peer, now: Instant, changes: Change[]): void {
    const isNewHandshake =
      peer.lastHandshakeMs !== null && peer.lastHandshakeMs !== before.peer.lastHandshakeMs;
    const keysAreValid =
      now.monotonicMs - before.handshakeAt.monotonicMs < REJECT_AFTER_MS &&
      peer.lastHandshakeMs !== null;
    const isAlive =
      isNewHandshake || (keysAreValid && isSignOfLife(before.peer.rxBytes, peer.rxBytes));
    const counted = {
      ...before,
      peer,
      rxBytes: before.rxBytes + growth(before.peer.rxBytes, peer.rxBytes),
      txBytes: before.txBytes + growth(before.peer.txBytes, peer.txBytes),
    };
    if (!isAlive) {
      this.#put(counted);
      return;
    }
    const handshakeAt = isNewHandshake
      ? handshakeInstant(peer.lastHandshakeMs, now)
      : before.handshakeAt;
    const previousEndpoint = before.endpoint;
    const hasRoamed =
      previousEndpoint !== null &&
      peer.endpoint !== null &&
      !sameEndpoint(previousEndpoint, peer.endpoint);
    const session: Session = {
      ...counted,
      endpoint: peer.endpoint ?? previousEndpoint,
      handshakeAt,
      lastSign: now,
      roams: before.roams + (hasRoamed ? 1 : 0),
      gone: null,
    };
    this.#put(session);
    if (!hasRoamed) return;
    changes.push({
      type: "peer.roamed",
      atMs: now.wallMs,
      device: session.device,
      peer,
      session: summary(session),
      previousEndpoint,
    });
  }

  #leave(key: SessionKey, reason: DisconnectReason, now: Instant): void {
    const session = this.#sessions.get(key);
    if (session === undefined || session.gone !== null) return;
    this.#put({ ...session, gone: { reason, sinceMs: now.monotonicMs } });
  }

  /** Ends the sessions whose silence, or whose hold after a removal, has lasted long enough. */
  #expire(now: Instant, changes: Change[]): void {
    for (const [key, session] of this.#sessions) {
      if (now.monotonicMs < this.#deadlineMs(session)) continue;
      this.#sessions.delete(key);
      if (session.endpoint !== null) {
        const place = placeKey(session.endpoint.address, session.endpoint.port);
        if (this.#places.get(place) === key) this.#places.delete(place);
      }
      changes.push({
        type: "peer.disconnected",
        atMs: now.wallMs,
        device: session.device,
        // Where it was last proven to be.
        peer: { ...session.peer, endpoint: session.endpoint },
        session: summary(session),
        endedAtMs: session.lastSign.wallMs,
        reason: session.gone?.reason ?? "idle",
      });
    }
  }

  #deadlineMs({ gone, lastSign, peer }: Session): number {
    const { holdMs } = this.#rules;
    const idleMs = lastSign.monotonicMs + this.#rules.idleTimeoutMs(peer.publicKey) + holdMs;
    return gone === null ? idleMs : Math.min(idleMs, gone.sinceMs + holdMs);
  }

  #put(session: Session): void {
    const key = sessionKey(session.device, session.peer.publicKey);
    const before = this.#sessions.get(key)?.endpoint ?? null;
    this.#sessions.set(key, session);
    const { endpoint } = session;
    if (before !== null && !sameEndpoint(before, endpoint)) {
      const place = placeKey(before.address, before.port);
      if (this.#places.get(place) === key) this.#places.delete(place);
    }
    if (endpoint !== null) this.#places.set(placeKey(endpoint.address, endpoint.port), key);
  }
}

/** Received data, as opposed to attempts at a handshake, which anybody with the peer's key can make. */
function isSignOfLife(beforeBytes: number, nowBytes: number): boolean {
  const bytes = growth(beforeBytes, nowBytes);
  const attempts = bytes / INITIATION_BYTES;
  return bytes > 0 && !(Number.isInteger(attempts) && attempts <= ATTEMPTS_MAX);
}

/** How much a counter grew; one that fell started again from zero. */
function growth(beforeBytes: number, nowBytes: number): number {
  return nowBytes >= beforeBytes ? nowBytes - beforeBytes : nowBytes;
}

/**
 * When a handshake was, on both clocks. The kernel tells it by the wall clock; if that jumped since,
 * the handshake was just before the look that found it.
 */
function handshakeInstant(lastHandshakeMs: number, now: Instant): Instant {
  const ageMs = now.wallMs - lastHandshakeMs;
  if (ageMs < 0 || ageMs >= REJECT_AFTER_MS) return now;
  return { wallMs: lastHandshakeMs, monotonicMs: now.monotonicMs - ageMs };
}

function summary({ startedAtMs, rxBytes, txBytes, roams }: Session): SessionSummary {
  return { startedAtMs, rxBytes, txBytes, roams };
}

function sessionKey(device: string, publicKey: PublicKey): SessionKey {
  return `${device} ${publicKey}`;
}

function placeKey(address: string, port: number): string {
  return `${address} ${port}`;
}
