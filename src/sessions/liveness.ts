/**
 * Decides what counts as activity of a peer: completed handshakes, and data sent with their keys. Handshake attempts do
 * not count. Pure.
 */

import {
  growth,
  INITIATION_BYTES,
  type Instant,
  isSameHandshake,
  type Peer,
  REJECT_AFTER_MS,
  REKEY_AFTER_MS,
} from "../base/wireguard.ts";
import type { Session, TransferCounters } from "./session.ts";

/**
 * A data message has 32 bytes plus its content padded to 16 (or to the MTU, 1280 or more), so growth by one, two or
 * three times 148 bytes can only be initiations. Four initiations are as long as one possible data message, so a growth
 * by four or more counts as initiations only if the time was enough for them.
 */
const ATTEMPTS_MAX = 3;
/** Minimum time between initiations: REKEY_TIMEOUT, messages.h. */
const ATTEMPT_MS = 5000;

/**
 * Whether the peer has completed a handshake since the previous scan.
 *
 * @param beforeMs the time of its latest handshake in that scan; null if it had never completed one.
 * @param scanned the time of that scan.
 */
export function isNewHandshake(
  beforeMs: number | null,
  peer: Peer,
  scanned: Instant,
  now: Instant,
): boolean {
  const clockSetMs = now.wallMs - scanned.wallMs - (now.monotonicMs - scanned.monotonicMs);
  return (
    peer.lastHandshakeMs !== null && !isSameHandshake(beforeMs, peer.lastHandshakeMs, clockSetMs)
  );
}

/**
 * Whether the peer sent data. Handshake attempts do not count: anyone with the peer's private key can send them
 * without completing a handshake.
 *
 * @param sinceMs the time between the two scans. Infinity: any number of attempts may have been made.
 */
export function isActivity(
  before: TransferCounters,
  after: TransferCounters,
  sinceMs: number,
): boolean {
  const bytes = growth(before.rxBytes, after.rxBytes);
  const attempts = bytes / INITIATION_BYTES;
  const attemptsMax = Math.max(ATTEMPTS_MAX, Math.floor(sinceMs / ATTEMPT_MS) + 1);
  return bytes > 0 && !(Number.isInteger(attempts) && attempts <= attemptsMax);
}

/**
 * Whether the handshake starts a new session: it completed after the session's deadline, but less than REKEY_AFTER_MS
 * after the session's last known handshake. Keys in use are not renewed that early, so the peer or its device had lost
 * them. A handshake that completed later may be a renewal, because scans may have missed the handshakes in between.
 */
export function startsNewSession(
  session: Session,
  handshakeAt: Instant,
  deadlineMs: number,
): boolean {
  const mayBeRenewal = handshakeAt.monotonicMs - session.handshakeAt.monotonicMs >= REKEY_AFTER_MS;
  return !mayBeRenewal && handshakeAt.monotonicMs >= deadlineMs;
}

/**
 * Returns the last activity to assume for a peer whose session this scan found. The time of its last activity is
 * unknown, so the idle timeout starts now (`monotonicMs`), but early enough to end no later than the keys of the
 * handshake expire. An idle timeout longer than REJECT_AFTER_MS starts at the handshake. The time to report (`wallMs`)
 * is that of the handshake.
 */
export function assumedActivity(
  handshakeAt: Instant,
  idleTimeoutMs: number,
  now: Instant,
): Instant {
  const spareMs = Math.max(0, REJECT_AFTER_MS - idleTimeoutMs);
  const monotonicMs = Math.min(now.monotonicMs, handshakeAt.monotonicMs + spareMs);
  return { wallMs: handshakeAt.wallMs, monotonicMs };
}

/** Whether data can still be received under the keys of the handshake. */
export function areKeysValid({ handshakeAt }: Pick<Session, "handshakeAt">, now: Instant): boolean {
  return now.monotonicMs - handshakeAt.monotonicMs < REJECT_AFTER_MS;
}

/** Returns the session with the peer as scanned, and with the traffic since the previous scan added. */
export function withTraffic(session: Session, peer: Peer): Session {
  return {
    ...session,
    peer,
    rxBytes: session.rxBytes + growth(session.peer.rxBytes, peer.rxBytes),
    txBytes: session.txBytes + growth(session.peer.txBytes, peer.txBytes),
  };
}

/**
 * Returns the time of a handshake on both clocks. The kernel reports wall-clock time. If that time is in the future or
 * too long ago, the wall clock was set since, and the time of the scan is returned.
 */
export function handshakeInstant(lastHandshakeMs: number, now: Instant): Instant {
  const ageMs = now.wallMs - lastHandshakeMs;
  if (ageMs < 0 || ageMs >= REJECT_AFTER_MS) return now;
  return { wallMs: lastHandshakeMs, monotonicMs: now.monotonicMs - ageMs };
}
