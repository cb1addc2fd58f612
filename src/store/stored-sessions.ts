/**
 * The rows of `sessions` and `devices`: writes open and ended sessions, finds those that a query selects, and loads the
 * state of the previous run.
 */

import type { ClockStep } from "../base/wall-clock.ts";
import { type Device, formatEndpoint, type Peer, type PublicKey } from "../base/wireguard.ts";
import type { DisconnectReason } from "../sessions/change.ts";
import { movedSavedSession, type RestoredState, type SavedSession } from "../sessions/session.ts";
import type { Database } from "./database.ts";
import { SLOT_MS } from "./ranges.ts";

export interface EndedSession {
  readonly device: string;
  readonly publicKey: string;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly durationMs: number;
  readonly reason: DisconnectReason | "not-watched";
  readonly endpoint: string | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
  /** The peer's counters in the last scan. */
  readonly peer: Pick<Peer, "lastHandshakeMs" | "rxBytes" | "txBytes">;
}

/** Selects sessions, latest first; a filter that is null matches every session. */
export interface SessionQuery {
  readonly device: string | null;
  readonly publicKey: string | null;
  /** Only sessions that are open or ended at this time or later. */
  readonly sinceMs: number | null;
  /** Only sessions that started before this time. */
  readonly untilMs?: number | null;
  readonly isOpen: boolean | null;
  /** Only sessions after this one, in that order. */
  readonly from: SessionCursor | null;
  readonly limit: number;
}

/** How long a peer was connected. */
export interface Uptime {
  /** The connected part of the span, from 0 to 1. */
  readonly fraction: number;
  /** Shorter than requested if the store has no record of the beginning of the requested span. */
  readonly spanMs: number;
}

export type SessionCursor = Pick<SessionRow, "startedAtMs" | "device" | "publicKey">;

/** An open session as it was last saved, or one that ended. */
export interface SessionRow {
  readonly device: string;
  readonly publicKey: PublicKey;
  readonly startedAtMs: number;
  /** null while the session is open. */
  readonly endedAtMs: number | null;
  /** null while the session is open. */
  readonly durationMs: number | null;
  readonly reason: EndedSession["reason"] | null;
  readonly endpoint: string | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
}

/** A device in the store, with the boot id when it was seen; null if unknown. */
type SavedDevice = Device & { readonly boot?: string | null };

export class StoredSessions {
  readonly #database: Database;
  readonly #boot: string | null;

  /** @param boot Machine.bootId; null if unknown. */
  constructor(database: Database, boot: string | null) {
    this.#database = database;
    this.#boot = boot;
  }

  /**
   * Returns the state saved by the previous run; null if there is no such state. A device that was saved before the
   * last boot gets index 0, which no device has: it does not exist any more, even if a device has the same name and
   * index.
   *
   * @param endedAfterMs sessions that ended before this are left out.
   */
  loadState(endedAfterMs: number): RestoredState | null {
    const devices = this.#database.get<{ state: string }>("SELECT state FROM $.devices");
    if (devices === null) return null;
    const sessions = this.#database.all<{ state: string }>(
      "SELECT state FROM $.sessions WHERE ended_at_ms IS NULL",
    );
    // Oldest first, so that the latest session of a peer takes precedence.
    const ended = this.#database.all<{ device: string; publicKey: PublicKey; state: string }>(
      `SELECT device, public_key AS publicKey, state FROM $.sessions
       WHERE ended_at_ms > ? AND state IS NOT NULL ORDER BY ended_at_ms`,
      endedAfterMs,
    );
    return {
      devices: (JSON.parse(devices.state) as SavedDevice[]).map(({ boot = null, ...device }) => {
        const isFromOtherBoot = boot !== null && this.#boot !== null && boot !== this.#boot;
        return isFromOtherBoot ? { ...device, index: 0 } : device;
      }),
      sessions: sessions.map(({ state }) => JSON.parse(state) as SavedSession),
      ended: ended.map(({ state, ...peer }) => ({
        ...peer,
        ...(JSON.parse(state) as EndedSession["peer"]),
      })),
    };
  }

  /** Saves open sessions, so that their counters and last activity are known after a restart. */
  save(sessions: readonly SavedSession[]): void {
    this.#database.write("soon", () => {
      for (const session of sessions) this.put(session);
    });
  }

  query(query: SessionQuery): SessionRow[] {
    const { device, publicKey, sinceMs, untilMs = null, isOpen, from, limit } = query;
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const where = (condition: string, ...wanted: (string | number)[]): void => {
      conditions.push(condition);
      values.push(...wanted);
    };
    if (device !== null) where("device = ?", device);
    if (publicKey !== null) where("public_key = ?", publicKey);
    if (sinceMs !== null) where("coalesce(ended_at_ms, 9e15) >= ?", sinceMs);
    if (untilMs !== null) where("started_at_ms < ?", untilMs);
    if (isOpen !== null) where(`ended_at_ms IS ${isOpen ? "" : "NOT "}NULL`);
    if (from !== null) {
      where(
        "(started_at_ms, device, public_key) < (?, ?, ?)",
        from.startedAtMs,
        from.device,
        from.publicKey,
      );
    }
    return this.#database.all<SessionRow>(
      `SELECT device, public_key AS publicKey, started_at_ms AS startedAtMs,
         ended_at_ms AS endedAtMs, state ->> 'durationMs' AS durationMs, reason, endpoint, rx_bytes AS rxBytes, tx_bytes AS txBytes, roams
       FROM $.sessions ${conditions.length === 0 ? "" : "WHERE "}${conditions.join(" AND ")}
       ORDER BY started_at_ms DESC, device DESC, public_key DESC LIMIT ?`,
      ...values,
      limit,
    );
  }

  /**
   * The part of the span up to `nowMs` in which a peer was connected; null if the store has no record of that span. An
   * open session lasts until now.
   */
  uptime(device: string, publicKey: string, requestedMs: number, nowMs: number): Uptime | null {
    const knownMs = this.#database.get<{ ms: number | null }>(
      `SELECT min(ms) AS ms FROM (
         SELECT min(slot) * ${SLOT_MS} AS ms FROM $.gateway
         UNION ALL SELECT min(at_ms) FROM $.events
         UNION ALL SELECT min(ended_at_ms) FROM $.sessions)`,
    )!.ms;
    const sinceMs = Math.max(nowMs - requestedMs, knownMs ?? nowMs);
    const spanMs = Math.round(nowMs - sinceMs);
    if (spanMs <= 0) return null;
    const { ms } = this.#database.get<{ ms: number | null }>(
      // Reads the sessions that began in the span, and the last one before it.
      `SELECT sum(max(0, min(coalesce(ended_at_ms, ?3), ?3) - max(started_at_ms, ?4))) AS ms
       FROM $.sessions WHERE device = ?1 AND public_key = ?2 AND started_at_ms <= ?3
         AND started_at_ms >= coalesce((SELECT max(started_at_ms) FROM $.sessions
           WHERE device = ?1 AND public_key = ?2 AND started_at_ms <= ?4), 0)`,
      device,
      publicKey,
      nowMs,
      sinceMs,
    )!;
    return { fraction: Math.min(1, (ms ?? 0) / spanMs), spanMs };
  }

  // ---- In the caller's transaction ----

  /** Writes an open session. */
  put(session: SavedSession): void {
    const { device, peer, startedAtMs, endpoint, rxBytes, txBytes, roams } = session;
    this.#database.run(
      `INSERT OR REPLACE INTO $.sessions
         (device, public_key, started_at_ms, endpoint, rx_bytes, tx_bytes, roams, state)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      device,
      peer.publicKey,
      Math.round(startedAtMs),
      endpoint === null ? null : formatEndpoint(endpoint),
      rxBytes,
      txBytes,
      roams,
      JSON.stringify(session),
    );
  }

  /** Replaces an open session by the ended one. */
  end(session: EndedSession): void {
    const { device, publicKey, startedAtMs, endedAtMs, reason, endpoint } = session;
    const { rxBytes, txBytes, roams } = session;
    this.#database.run(
      `INSERT OR REPLACE INTO $.sessions
         (device, public_key, started_at_ms, ended_at_ms, reason, endpoint, rx_bytes, tx_bytes, roams, state)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      device,
      publicKey,
      Math.round(startedAtMs),
      Math.round(endedAtMs),
      reason,
      endpoint,
      rxBytes,
      txBytes,
      roams,
      JSON.stringify({ ...countersOf(session.peer), durationMs: session.durationMs }),
    );
  }

  /** Replaces the devices of the last scan. */
  putDevices(devices: readonly Device[]): void {
    const state = JSON.stringify(devices.map((device) => ({ ...device, boot: this.#boot })));
    this.#database.run("INSERT OR REPLACE INTO $.devices (id, state) VALUES (1, ?)", state);
  }

  /** Moves the times of open sessions. */
  moveOpen(step: ClockStep): void {
    const rows = this.#database.all<{ state: string }>(
      "SELECT state FROM $.sessions WHERE ended_at_ms IS NULL",
    );
    this.#database.run("DELETE FROM $.sessions WHERE ended_at_ms IS NULL");
    for (const { state } of rows) {
      this.put(movedSavedSession(JSON.parse(state) as SavedSession, step));
    }
  }

  /** Moves the times of sessions that ended between `unsureFromMs` and the step, in wall-clock time. */
  moveEnded({ ms, fromMs, toMs }: ClockStep, unsureFromMs: number): void {
    // Durations are stored separately and do not change. REPLACE, because a moved start may equal that of another
    // session.
    this.#database.run(
      `UPDATE OR REPLACE $.sessions SET ended_at_ms = ended_at_ms + ?1,
         started_at_ms = started_at_ms + iif(started_at_ms >= ?2, ?1, 0)
       WHERE ended_at_ms BETWEEN ?3 AND ?4`,
      ms,
      fromMs,
      unsureFromMs,
      toMs,
    );
  }
}

/** Only the counters are saved: the stored event has the other fields of the peer. */
function countersOf({
  lastHandshakeMs,
  rxBytes,
  txBytes,
}: EndedSession["peer"]): EndedSession["peer"] {
  return { lastHandshakeMs, rxBytes, txBytes };
}
