/**
 * The rows of `sessions` and `devices`: writes open and ended sessions, finds those that a query selects, and loads the
 * state of the previous run; more than 400 lines because all queries of sessions share their columns.
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
  /** On a hub: only sessions on devices of this gateway. Omitted: as null. */
  readonly gateway?: string | null;
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

/** A condition of a query, and its values. */
type Condition = readonly [condition: string, ...values: (string | number)[]];

const COLUMNS = `device, public_key AS publicKey, started_at_ms AS startedAtMs, ended_at_ms AS endedAtMs,
  state ->> 'durationMs' AS durationMs, reason, endpoint, rx_bytes AS rxBytes, tx_bytes AS txBytes, roams`;
const LATEST_FIRST = "started_at_ms DESC, device DESC, public_key DESC";

/** The start of the last session of a peer that began up to a time; 0 without such a session. */
const LAST_BEFORE = `coalesce((SELECT max(started_at_ms) FROM $.sessions
  WHERE device = ? AND public_key = ? AND started_at_ms <= ?), 0)`;

/** Below this number, sorting a device's sessions costs less than walking the start index. */
const FEW = 2000;
const OF_DEVICE = "$.sessions WHERE device = ?";

/** From this number on, the index of ends is not read: it may have a million entries, but there are at most 10,000 peers. */
const MANY_ENDS = 20_000;
const ENDED_SINCE = "$.sessions INDEXED BY sessions_by_end WHERE ended_at_ms >= ?";

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

  /** On a hub: gives open sessions another start. `startedAtMs` is the one before. */
  replace(
    sessions: readonly { readonly startedAtMs: number; readonly session: SavedSession }[],
  ): void {
    if (sessions.length === 0) return;
    this.#database.write("soon", () => {
      for (const { startedAtMs, session } of sessions) {
        this.#database.run(
          "DELETE FROM $.sessions WHERE device = ? AND public_key = ? AND started_at_ms = ?",
          session.device,
          session.peer.publicKey,
          Math.round(startedAtMs),
        );
        this.put(session);
      }
    });
  }

  /** On a hub: the open sessions of a gateway's devices. */
  openOf(gateway: string): SavedSession[] {
    return this.#database
      .all<{ state: string }>(
        `SELECT state FROM $.sessions
         WHERE device > ? || '/' AND device < ? || '0' AND ended_at_ms IS NULL`,
        gateway,
        // The character after the slash.
        gateway,
      )
      .map(({ state }) => JSON.parse(state) as SavedSession);
  }

  query(query: SessionQuery): SessionRow[] {
    const { device, gateway = null, publicKey, sinceMs, limit } = query;
    if (gateway !== null) {
      return this.#devices(gateway)
        .filter((each) => device === null || each === device)
        .flatMap((each) => this.query({ ...query, gateway: null, device: each }))
        .toSorted(latestFirst)
        .slice(0, limit);
    }
    if (publicKey !== null) {
      const devices = device === null ? this.#devices() : [device];
      return devices
        .flatMap((each) => this.#ofPeer({ ...query, device: each, publicKey }))
        .toSorted(latestFirst)
        .slice(0, limit);
    }
    if (sinceMs === null) return this.#select(this.#filter(query), limit);
    // First those that began since then, in order of their start; only then the earlier ones, which need other indexes.
    const filter = this.#filter(query);
    const later = this.#select([...filter, ["started_at_ms >= ?", sinceMs]], limit);
    if (later.length === limit) return later;
    if (this.#hasAtLeast(MANY_ENDS, ENDED_SINCE, sinceMs)) {
      const devices = device === null ? this.#devices() : [device];
      const rest = devices.flatMap((each) => this.#lastingUntil(each, sinceMs, query));
      return [...later, ...rest.toSorted(latestFirst)].slice(0, limit);
    }
    const earlier = [...filter, ["started_at_ms < ?", sinceMs] as const];
    const rest = [
      ...(query.isOpen === true
        ? []
        : this.#selectByEnd([...earlier, ["ended_at_ms >= ?", sinceMs]], limit)),
      ...(query.isOpen === false
        ? []
        : this.#selectByEnd([...earlier, ["ended_at_ms IS NULL"]], limit)),
    ];
    return [...later, ...rest.toSorted(latestFirst)].slice(0, limit);
  }

  /** The names of all devices that have sessions, on a hub those of one gateway: one index lookup for each. */
  #devices(gateway: string | null = null): string[] {
    // A slash follows the name of the gateway, and the digit 0 follows the slash in ASCII.
    const [after, before] = gateway === null ? ["", null] : [`${gateway}/`, `${gateway}0`];
    return this.#database
      .all<{ device: string | null }>(
        `WITH RECURSIVE names (device) AS (
           SELECT min(device) FROM $.sessions WHERE device > ?1
           UNION ALL SELECT (SELECT min(device) FROM $.sessions WHERE device > names.device)
           FROM names WHERE device IS NOT NULL AND device < coalesce(?2, device || ' '))
         SELECT device FROM names WHERE device IS NOT NULL AND device < coalesce(?2, device || ' ')`,
        after!,
        before!,
      )
      .map(({ device }) => device!);
  }

  /** The sessions of a device that began before a time and lasted until then: reads the last one before it of each peer. */
  #lastingUntil(device: string, sinceMs: number, query: SessionQuery): SessionRow[] {
    const filter: Condition[] = [
      ...this.#filter({ ...query, device: null }),
      ["coalesce(ended_at_ms, 9e15) >= ?", sinceMs],
    ];
    return this.#database.all<SessionRow>(
      `WITH RECURSIVE peers (name) AS (
         SELECT min(public_key) FROM $.sessions WHERE device = ?1
         UNION ALL SELECT (SELECT min(public_key) FROM $.sessions WHERE device = ?1 AND public_key > peers.name)
         FROM peers WHERE name IS NOT NULL)
       SELECT ${COLUMNS} FROM peers CROSS JOIN $.sessions
         ON device = ?1 AND public_key = peers.name AND started_at_ms = (
           SELECT max(started_at_ms) FROM $.sessions
           WHERE device = ?1 AND public_key = peers.name AND started_at_ms < ?2)
       ${whereOf(filter)} ORDER BY ${LATEST_FIRST} LIMIT ?`,
      device,
      sinceMs,
      ...filter.flatMap(([, ...values]) => values),
      query.limit,
    );
  }

  #ofPeer(query: SessionQuery & { device: string; publicKey: string }): SessionRow[] {
    const { device, publicKey, sinceMs, limit } = query;
    const filter: Condition[] = [
      ["device = ?", device],
      ["public_key = ?", publicKey],
      ...this.#filter({ ...query, device: null }),
    ];
    if (sinceMs !== null) {
      filter.push(["coalesce(ended_at_ms, 9e15) >= ?", sinceMs]);
      // The sessions of a peer follow each other, so only the last one that began before that time can last until then.
      filter.push([`started_at_ms >= ${LAST_BEFORE}`, device, publicKey, sinceMs]);
    }
    return this.#select(filter, limit);
  }

  /** The conditions that need no index of their own. */
  #filter({ device, untilMs = null, isOpen, from }: SessionQuery): Condition[] {
    const filter: Condition[] = [];
    // The + keeps SQLite from using the primary key, whose order within a device is not that of time. Few sessions are
    // sorted, though.
    if (device !== null) {
      const hasMany = this.#hasAtLeast(FEW, OF_DEVICE, device);
      filter.push([`${hasMany ? "+" : ""}device = ?`, device]);
    }
    if (untilMs !== null) filter.push(["started_at_ms < ?", untilMs]);
    if (isOpen !== null) filter.push([`ended_at_ms IS ${isOpen ? "" : "NOT "}NULL`]);
    if (from !== null) {
      const { startedAtMs, device, publicKey } = from;
      filter.push(["started_at_ms <= ?", startedAtMs]);
      filter.push([
        "(started_at_ms, device, public_key) < (?, ?, ?)",
        startedAtMs,
        device,
        publicKey,
      ]);
    }
    return filter;
  }

  /** Whether a query finds so many rows; it reads no more of them. */
  #hasAtLeast(limit: number, rows: string, value: string | number): boolean {
    const { count } = this.#database.get<{ count: number }>(
      `SELECT count(*) AS count FROM (SELECT 1 FROM ${rows} LIMIT ${limit})`,
      value,
    )!;
    return count === limit;
  }

  #select(filter: readonly Condition[], limit: number): SessionRow[] {
    return this.#database.all<SessionRow>(
      `SELECT ${COLUMNS} FROM $.sessions ${whereOf(filter)} ORDER BY ${LATEST_FIRST} LIMIT ?`,
      ...filter.flatMap(([, ...values]) => values),
      limit,
    );
  }

  /** The same by the index of ends, which has the start as well: reads the whole index range, but only the returned rows of the table. */
  #selectByEnd(filter: readonly Condition[], limit: number): SessionRow[] {
    const key = "device, public_key, started_at_ms";
    return this.#database.all<SessionRow>(
      `SELECT ${COLUMNS} FROM (
         SELECT ${key} FROM $.sessions INDEXED BY sessions_by_end ${whereOf(filter)}
         ORDER BY ${LATEST_FIRST} LIMIT ?) CROSS JOIN $.sessions USING (${key})
       ORDER BY ${LATEST_FIRST}`,
      ...filter.flatMap(([, ...values]) => values),
      limit,
    );
  }

  /**
   * The part of the span up to `nowMs` in which a peer was connected; null if the store has no record of that span. An
   * open session lasts until now.
   */
  uptime(device: string, publicKey: string, requestedMs: number, nowMs: number): Uptime | null {
    // wgmon may have started in the middle of the first slot, so the record is complete from the end of that slot.
    const knownMs = this.#database.get<{ ms: number | null }>(
      `SELECT min(ms) AS ms FROM (
         SELECT (min(slot) + 1) * ${SLOT_MS} AS ms FROM $.gateway
         UNION ALL SELECT min(at_ms) FROM $.events
         UNION ALL SELECT min(ended_at_ms) FROM $.sessions)`,
    )!.ms;
    const sinceMs = Math.max(nowMs - requestedMs, knownMs ?? nowMs);
    const spanMs = Math.round(nowMs - sinceMs);
    if (spanMs <= 0) return null;
    const { ms } = this.#database.get<{ ms: number | null }>(
      // Reads the sessions that began in the span, and the last one before it.
      `SELECT sum(max(0, min(coalesce(ended_at_ms, 9e15), ?) - max(started_at_ms, ?))) AS ms
       FROM $.sessions WHERE device = ? AND public_key = ? AND started_at_ms >= ${LAST_BEFORE}`,
      nowMs,
      sinceMs,
      device,
      publicKey,
      device,
      publicKey,
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

function whereOf(filter: readonly Condition[]): string {
  const conditions = filter.map(([condition]) => condition).join(" AND ");
  return conditions === "" ? "" : `WHERE ${conditions}`;
}

/** The order of `query`. SQLite compares text by its bytes in UTF-8, which is the same order for these names and keys. */
function latestFirst(a: SessionRow, b: SessionRow): number {
  if (a.startedAtMs !== b.startedAtMs) return b.startedAtMs - a.startedAtMs;
  if (a.device !== b.device) return a.device < b.device ? 1 : -1;
  return a.publicKey < b.publicKey ? 1 : -1;
}
