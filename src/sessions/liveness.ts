/**
 * What counts as activity of a peer: completed handshakes, and data under their keys. Handshake attempts do not. Pure.
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
 * three times 148 bytes can only be initiations. Four initiations are as long as one possible data message, and take
 * longer.
 */
const ATTEMPTS_MAX = 3;
/** Minimum time between initiations: REKEY_TIMEOUT, messages.h. */
const ATTEMPT_MS = 5000;

/**
 * Whether the peer has completed a handshake since the previous scan.
 *
 * @param beforeMs the time of its latest handshake in that scan; null: it had none.
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
  const most = Math.max(ATTEMPTS_MAX, Math.floor(sinceMs / ATTEMPT_MS) + 1);
  return bytes > 0 && !(Number.isInteger(attempts) && attempts <= most);
}

/**
 * Whether the handshake starts another session: it was made after the session's deadline, and it is not a renewal,
 * because keys in use are renewed after REKEY_AFTER_MS and not before. So the peer, or its device here, had lost its
 * keys. A later handshake proves nothing: wgmon was not running to see those in between.
 */
export function isAfterEnd(session: Session, handshakeAt: Instant, deadlineMs: number): boolean {
  const isRenewal = handshakeAt.monotonicMs - session.handshakeAt.monotonicMs >= REKEY_AFTER_MS;
  return !isRenewal && handshakeAt.monotonicMs >= deadlineMs;
}

/**
 * The time of the peer's last activity before this scan is unknown, so its idle time starts now. To limit the error,
 * the idle timeout ends no later than the handshake's keys expire; an idle timeout longer than REJECT_AFTER_MS counts
 * from the handshake.
 */
export function activityWhileUnseen(
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

/** The session with the peer as it is now, and with the traffic in between. */
export function withTraffic(session: Session, peer: Peer): Session {
  return {
    ...session,
    peer,
    rxBytes: session.rxBytes + growth(session.peer.rxBytes, peer.rxBytes),
    txBytes: session.txBytes + growth(session.peer.txBytes, peer.txBytes),
  };
}

/**
 * The time of a handshake on both clocks. The kernel reports wall-clock time; if that jumped since, the handshake
 * counts as made at the time of the scan.
 */
export function handshakeInstant(lastHandshakeMs: number, now: Instant): Instant {
  const ageMs = now.wallMs - lastHandshakeMs;
  if (ageMs < 0 || ageMs >= REJECT_AFTER_MS) return now;
  return { wallMs: lastHandshakeMs, monotonicMs: now.monotonicMs - ageMs };
}
