/**
 * The session of a connected peer: its state, its form in the store, and its form in changes. Pure.
 */

import { type ClockStep, moved } from "../base/wall-clock.ts";
import type { Device, Endpoint, Instant, Peer, PublicKey } from "../base/wireguard.ts";
import type { Change, DisconnectReason, SessionSummary } from "./change.ts";

/** A connected peer. */
export interface Session {
  readonly device: string;
  /** The peer at its latest change. */
  readonly peer: Peer;
  readonly startedAtMs: number;
  readonly startedMonotonicMs: number;
  /** The endpoint at the latest proof of activity. A mere handshake attempt may change the kernel's endpoint. */
  readonly endpoint: Endpoint | null;
  readonly handshakeAt: Instant;
  readonly lastActivity: Instant;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
  /**
   * Why and when (monotonic) the peer or its device was removed, while `holdMs` delays the report; null: not removed.
   */
  readonly ending: { readonly reason: DisconnectReason; readonly sinceMs: number } | null;
}

/** A session as it is saved. All times are wall clock. */
export interface SavedSession extends Omit<
  Session,
  "startedMonotonicMs" | "handshakeAt" | "lastActivity" | "ending"
> {
  readonly handshakeAtMs: number;
  readonly lastActivityMs: number;
  /** Start of the idle timeout, see `assumedActivity`. */
  readonly silentSinceMs: number;
  readonly ending: { readonly reason: DisconnectReason; readonly sinceMs: number } | null;
}

/** The state at the end of the previous run. */
export interface RestoredState {
  readonly devices: readonly Device[];
  readonly sessions: readonly SavedSession[];
  /** Counters of peers at the end of recent sessions. A handshake that is not newer must not start a new session. */
  readonly ended: readonly (TransferCounters & {
    readonly device: string;
    readonly publicKey: PublicKey;
  })[];
}

/** The values by which two scans of a peer are compared. */
export type TransferCounters = Pick<Peer, "lastHandshakeMs" | "rxBytes" | "txBytes">;

/** The two clocks drift apart by milliseconds; a larger difference means that the wall clock was set. */
const CLOCK_SET_MS = 2000;

/** Converts a past wall-clock time to both clocks. */
export function pastInstant(wallMs: number, now: Instant): Instant {
  return { wallMs, monotonicMs: now.monotonicMs - Math.max(0, now.wallMs - wallMs) };
}

/** The reverse of `saved`. */
export function restored(saved: SavedSession, now: Instant): Session {
  const { handshakeAtMs, lastActivityMs, silentSinceMs, ending, ...session } = saved;
  return {
    ...session,
    startedMonotonicMs: pastInstant(session.startedAtMs, now).monotonicMs,
    handshakeAt: pastInstant(handshakeAtMs, now),
    lastActivity: { ...pastInstant(silentSinceMs, now), wallMs: lastActivityMs },
    ending:
      ending === null ? null : { ...ending, sinceMs: pastInstant(ending.sinceMs, now).monotonicMs },
  };
}

/**
 * Moves the wall-clock times of a session. The kernel's times in `peer` stay, because the next scan is compared with
 * them.
 */
export function movedSession(session: Session, step: ClockStep): Session {
  const at = (instant: Instant): Instant => ({ ...instant, wallMs: moved(step, instant.wallMs) });
  return {
    ...session,
    startedAtMs: moved(step, session.startedAtMs),
    handshakeAt: at(session.handshakeAt),
    lastActivity: at(session.lastActivity),
  };
}

/** Returns the session in the form that the next run needs to continue it. */
export function saved(session: Session, now: Instant): SavedSession {
  const { startedMonotonicMs: _, handshakeAt, lastActivity, ending, ...rest } = session;
  const wallMs = (monotonicMs: number) => now.wallMs - (now.monotonicMs - monotonicMs);
  return {
    ...rest,
    handshakeAtMs: wallMs(handshakeAt.monotonicMs),
    lastActivityMs: lastActivity.wallMs,
    silentSinceMs: wallMs(lastActivity.monotonicMs),
    ending: ending === null ? null : { ...ending, sinceMs: wallMs(ending.sinceMs) },
  };
}

/** Moves the times of a saved session. */
export function movedSavedSession(session: SavedSession, step: ClockStep): SavedSession {
  const { startedAtMs, handshakeAtMs, lastActivityMs, silentSinceMs, ending } = session;
  return {
    ...session,
    startedAtMs: moved(step, startedAtMs),
    handshakeAtMs: moved(step, handshakeAtMs),
    lastActivityMs: moved(step, lastActivityMs),
    silentSinceMs: moved(step, silentSinceMs),
    ending: ending === null ? null : { ...ending, sinceMs: moved(step, ending.sinceMs) },
  };
}

/** Returns the change that reports the end of the session. */
export function disconnected(session: Session, reason: DisconnectReason, now: Instant): Change {
  return {
    type: "peer.disconnected",
    atMs: now.wallMs,
    device: session.device,
    // The endpoint at the latest proof of activity.
    peer: { ...session.peer, endpoint: session.endpoint },
    session: summary(session),
    endedAtMs: session.lastActivity.wallMs,
    durationMs: durationMs(session),
    reason,
  };
}

/** The duration on the wall clock, as in events, unless the wall clock was set in between. */
function durationMs({ startedAtMs, startedMonotonicMs, lastActivity }: Session): number {
  const wallMs = lastActivity.wallMs - startedAtMs;
  const monotonicMs = lastActivity.monotonicMs - startedMonotonicMs;
  // If both wall-clock times are equal, the duration is 0. The monotonic times may still differ: see `assumedActivity`.
  const wasSet = wallMs !== 0 && Math.abs(wallMs - monotonicMs) > CLOCK_SET_MS;
  return Math.max(0, wasSet ? monotonicMs : wallMs);
}

export function summary({ startedAtMs, rxBytes, txBytes, roams }: Session): SessionSummary {
  return { startedAtMs, rxBytes, txBytes, roams };
}
