/**
 * Stores what must survive the process: sessions, events, and messages that are not delivered yet. It handles
 * rows, not time or retries; those belong to the tracker and the outbox.
 */

import type { ClockState, ClockStep } from "../base/wall-clock.ts";
import { type Device, formatEndpoint, type Peer, type PublicKey } from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import type { DisconnectReason } from "../sessions/change.ts";
import { movedSession, type RestoredState, type SavedSession } from "../sessions/session.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import { targetKey } from "./target-key.ts";

/** Most rows deleted at once; more would delay packets by milliseconds. */
const SLICE = 200;
/** Most events searched at once for those to delete; reading costs less. */
const SEARCH = 2000;
/** The position before all events, in order of time. */
const START = { atMs: -Infinity, seq: 0 };

/** Limit for a store in memory, which has no room for a long history. */
const MEMORY_BYTES = 32_000_000;

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

/** The changes found by one scan. */
export interface ScanWrite {
  /** Each with the keys of the targets that it is sent to. */
  readonly events: readonly { readonly event: Event; readonly targets: readonly string[] }[];
  readonly sessions: readonly SavedSession[];
  readonly ended: readonly EndedSession[];
  /** All devices; null if they have not changed. */
  readonly devices: readonly Device[] | null;
}

/** An event that is queued for a target. */
export interface QueuedEvent {
  /** The sequence number of the event. */
  readonly seq: number;
  readonly event: Event;
  readonly addedAtMs: number;
  /** Id of the digest that it is part of; null if it is not part of one. */
  readonly message: string | null;
}

/** State of the delivery attempts to a target. */
export interface TargetState {
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** Failed attempts since the last success or rejection; the pause before the next attempt grows with them. */
  readonly retries: number;
  /** When the next attempt is due, in wall-clock time; 0 means at once. */
  readonly nextAtMs: number;
  /** Why the latest attempt failed; empty if it succeeded. */
  readonly reason: string;
}

/** The backlog of one target, for display. */
export interface TargetBacklog extends TargetState {
  readonly target: string;
  readonly label: string;
  readonly waiting: number;
  readonly oldestAtMs: number;
}

export interface DeadLetter {
  readonly target: string;
  readonly label: string;
  readonly seq: number;
  readonly reason: string;
  readonly atMs: number;
  readonly event: Event;
}

/** Selects events; a filter that is null matches every event. */
export interface EventQuery {
  readonly order: "oldest" | "newest";
  /** Only events after this sequence number, in that order; null starts at the beginning. */
  readonly from: number | null;
  readonly limit: number;
  readonly type: string | null;
  readonly publicKey: string | null;
  readonly sinceMs: number | null;
}

/** An event and its sequence number. */
export interface StoredEvent {
  readonly seq: number;
  readonly event: Event;
}

/** A peer that occurs in events; it may have been removed since. */
export interface PastPeer {
  readonly publicKey: string;
  /** Its name in its latest event; null if it had no name. */
  readonly name: string | null;
}

/** Selects sessions, latest first; a filter that is null matches every session. */
export interface SessionQuery {
  readonly device: string | null;
  readonly publicKey: string | null;
  /** Only sessions that are open or ended at this time or later. */
  readonly sinceMs: number | null;
  readonly isOpen: boolean | null;
  /** Only sessions after this one, in that order. */
  readonly from: SessionCursor | null;
  readonly limit: number;
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

/** The bytes received from and sent to one peer in one slot. */
export interface TrafficSums {
  readonly device: string;
  readonly publicKey: string;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** Length of a slot of the traffic. */
export const TRAFFIC_SLOT_MS = 300_000;
/** The end of an INSERT that adds the bytes to a row that exists. */
const ADD_TRAFFIC = `ON CONFLICT DO UPDATE SET rx_bytes = rx_bytes + excluded.rx_bytes,
  tx_bytes = tx_bytes + excluded.tx_bytes`;
/** A day and the current slot, which is not over yet. */
const TRAFFIC_SLOTS = 24 * 12 + 1;

export interface Retention {
  readonly keepMs: number;
  readonly maxBytes: number;
}

interface StoreOptions extends DatabaseOptions {
  /** Machine.bootId; null or omitted if unknown. */
  readonly boot?: string | null;
}

/** A device in the store, with the boot id when it was seen; null if unknown. */
type SavedDevice = Device & { readonly boot?: string | null };

interface WaitingRow {
  readonly seq: number;
  readonly added_at_ms: number;
  readonly message: string | null;
  readonly body: string;
}

export class Store implements Disposable {
  readonly #database: Database;
  readonly #boot: string | null;
  /** Position up to which retention has searched: all older events are queued for a target. */
  #trimmed = START;

  static async open({ boot = null, ...options }: StoreOptions): Promise<Store> {
    return new Store(await Database.open(options), boot);
  }

  private constructor(database: Database, boot: string | null) {
    this.#database = database;
    this.#boot = boot;
  }

  /** Why the file cannot be used; null if it can, or if no directory is set. */
  get problem(): string | null {
    return this.#database.problem;
  }

  get isInMemory(): boolean {
    return this.#database.isInMemory;
  }

  /** The key of a target without a name; it differs between stores. */
  targetKey(address: string): string {
    return targetKey(address, this.#database.secret);
  }

  /** Changes when another process has written, and when the rows move between file and memory. */
  get externalDataVersion(): string {
    return this.#database.externalDataVersion;
  }

  /**
   * Returns the state saved by the previous run; null if there is no such state. A device seen in another boot
   * gets index 0, which no device has: after a boot all devices are different ones, whatever their names and
   * indexes.
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
        const isOther = boot !== null && this.#boot !== null && boot !== this.#boot;
        return isOther ? { ...device, index: 0 } : device;
      }),
      sessions: sessions.map(({ state }) => JSON.parse(state) as SavedSession),
      ended: ended.map(({ state, ...peer }) => ({
        ...peer,
        ...(JSON.parse(state) as EndedSession["peer"]),
      })),
    };
  }

  /**
   * Writes the changes of a scan in one transaction. Once this returns they survive a power failure.
   *
   * @returns the sequence numbers of the events.
   */
  record({ events, sessions, ended, devices }: ScanWrite, nowMs: number): number[] {
    return this.#database.write("now", () => {
      for (const session of sessions) this.#putSession(session);
      for (const session of ended) this.#endSession(session);
      if (devices !== null) this.#putDevices(devices);
      return events.map(({ event, targets }) => {
        const { seq } = this.#database.get<{ seq: number }>(
          "INSERT INTO $.events (id, type, at_ms, body) VALUES (?, ?, ?, ?) RETURNING seq",
          event.id,
          event.type,
          Date.parse(event.timestamp),
          JSON.stringify(event),
        )!;
        for (const target of targets) {
          this.#database.run(
            "INSERT INTO $.outbox (target, seq, added_at_ms) VALUES (?, ?, ?)",
            target,
            seq,
            nowMs,
          );
        }
        return seq;
      });
    });
  }

  /** Saves open sessions, so that their counters and last activity are known after a restart. */
  saveSessions(sessions: readonly SavedSession[]): void {
    this.#database.write("soon", () => {
      for (const session of sessions) this.#putSession(session);
    });
  }

  // ---- The outbox ----

  /** The oldest events queued for the target, after the sequence number `after`. */
  waiting(target: string, after: number, limit: number): QueuedEvent[] {
    return this.#database
      .all<WaitingRow>(
        `SELECT seq, added_at_ms, message, body FROM $.outbox JOIN $.events USING (seq)
         WHERE target = ? AND seq > ? ORDER BY seq LIMIT ?`,
        target,
        after,
        limit,
      )
      .map(({ seq, added_at_ms: addedAtMs, message, body }) => ({
        seq,
        event: JSON.parse(body) as Event,
        addedAtMs,
        message,
      }));
  }

  count(target: string): number {
    return this.#database.get<{ count: number }>(
      "SELECT count(*) AS count FROM $.outbox WHERE target = ?",
      target,
    )!.count;
  }

  /** Marks events as parts of one digest, so that they stay together. */
  assignDigest(target: string, seqs: readonly number[], message: string): void {
    this.#database.write("soon", () => {
      for (const seq of seqs) {
        this.#database.run(
          "UPDATE $.outbox SET message = ? WHERE target = ? AND seq = ?",
          message,
          target,
          seq,
        );
      }
    });
  }

  /** Removes delivered events from the outbox. A power failure may undo it; the events are then sent again. */
  delivered(rows: readonly { readonly target: string; readonly seq: number }[]): void {
    this.#database.write("soon", () => {
      for (const { target, seq } of rows) this.#take(target, seq);
    });
  }

  /** Moves events that will not be delivered from the outbox to the dead letters. */
  deadLetter(
    target: string,
    label: string,
    seqs: readonly number[],
    reason: string,
    atMs: number,
  ): void {
    this.#database.write("soon", () => {
      for (const seq of seqs) {
        this.#database.run(
          "INSERT OR REPLACE INTO $.dead_letters (target, seq, label, reason, at_ms) VALUES (?, ?, ?, ?, ?)",
          target,
          seq,
          label,
          reason,
          Math.round(atMs),
        );
        this.#take(target, seq);
      }
    });
  }

  targetState(target: string): TargetState | null {
    return this.#database.get<TargetState>(
      "SELECT failures, retries, next_at_ms AS nextAtMs, reason FROM $.targets WHERE target = ?",
      target,
    );
  }

  saveTarget(target: string, label: string, state: TargetState): void {
    const { failures, retries, nextAtMs, reason } = state;
    this.#database.write("soon", () =>
      this.#database.run(
        "INSERT OR REPLACE INTO $.targets (target, label, failures, retries, next_at_ms, reason) VALUES (?, ?, ?, ?, ?, ?)",
        target,
        label,
        failures,
        retries,
        Math.round(nextAtMs),
        reason,
      ),
    );
  }

  /** The backlog of each target that has one, including targets that are no longer in the settings. */
  queues(): TargetBacklog[] {
    return this.#database.all<TargetBacklog>(
      `SELECT target, coalesce(label, target) AS label, coalesce(failures, 0) AS failures, coalesce(retries, 0) AS retries,
         coalesce(next_at_ms, 0) AS nextAtMs, coalesce(reason, '') AS reason,
         count(*) AS waiting, min(added_at_ms) AS oldestAtMs
       FROM $.outbox LEFT JOIN $.targets USING (target) GROUP BY target ORDER BY label, target`,
    );
  }

  /** Moves the backlog of one target to another. */
  rename(from: string, to: string): void {
    this.#database.write("soon", () => {
      this.#database.run("UPDATE OR IGNORE $.outbox SET target = ? WHERE target = ?", to, from);
      this.#database.run("DELETE FROM $.outbox WHERE target = ?", from);
      this.#database.run("DELETE FROM $.targets WHERE target = ?", from);
    });
  }

  /** All dead letters, or at most `limit` of one target, after the sequence number `after`. */
  deadLetters(of?: { target: string; after: number; limit: number }): DeadLetter[] {
    const columns = "target, label, seq, reason, dead_letters.at_ms AS atMs, body";
    const tables = "$.dead_letters JOIN $.events USING (seq)";
    type Row = Omit<DeadLetter, "event"> & { readonly body: string };
    const rows =
      of === undefined
        ? this.#database.all<Row>(`SELECT ${columns} FROM ${tables} ORDER BY seq`)
        : this.#database.all<Row>(
            `SELECT ${columns} FROM ${tables} WHERE target = ? AND seq > ? ORDER BY seq LIMIT ?`,
            of.target,
            of.after,
            of.limit,
          );
    return rows.map(({ body, ...letter }) => ({ ...letter, event: JSON.parse(body) as Event }));
  }

  /** Puts dead letters back into the outbox, as if they had just been added. */
  requeue(
    letters: readonly { readonly target: string; readonly seq: number }[],
    nowMs: number,
  ): void {
    this.#database.write("now", () => {
      for (const { target, seq } of letters) {
        this.#database.run(
          "INSERT OR IGNORE INTO $.outbox (target, seq, added_at_ms) VALUES (?, ?, ?)",
          target,
          seq,
          Math.round(nowMs),
        );
        this.#dropLetter(target, seq);
      }
    });
  }

  /** Deletes messages from the outbox and the dead letters. */
  deleteMessages(rows: readonly { readonly target: string; readonly seq: number }[]): void {
    this.#database.write("now", () => {
      for (const { target, seq } of rows) {
        this.#take(target, seq);
        this.#dropLetter(target, seq);
      }
    });
  }

  /** The number of dead letters of each target; targets without dead letters are left out. */
  deadCounts(): { readonly target: string; readonly label: string; readonly count: number }[] {
    return this.#database.all(
      "SELECT target, max(label) AS label, count(*) AS count FROM $.dead_letters GROUP BY target",
    );
  }

  // ---- History ----

  events(query: EventQuery): StoredEvent[] {
    const { order, from, limit, type, publicKey, sinceMs } = query;
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const where = (condition: string, value: string | number): void => {
      conditions.push(condition);
      values.push(value);
    };
    if (from !== null) where(order === "oldest" ? "seq > ?" : "seq < ?", from);
    if (type !== null) where("type = ?", type);
    if (publicKey !== null) where("body -> 'data' -> 'peer' ->> 'publicKey' = ?", publicKey);
    if (sinceMs !== null) {
      // The clock may have jumped, so events may be out of order in time; the index only gives a start.
      const { first } = this.#database.get<{ first: number | null }>(
        "SELECT min(seq) AS first FROM $.events WHERE at_ms >= ?",
        sinceMs,
      )!;
      if (first === null) return [];
      where("seq >= ?", first);
      where("+at_ms >= ?", sinceMs);
    }
    return this.#database
      .all<{ seq: number; body: string }>(
        `SELECT seq, body FROM $.events ${conditions.length === 0 ? "" : "WHERE "}${conditions.join(" AND ")}
         ORDER BY seq ${order === "oldest" ? "ASC" : "DESC"} LIMIT ?`,
        ...values,
        limit,
      )
      .map(({ seq, body }) => ({ seq, event: JSON.parse(body) as Event }));
  }

  /** The peers whose key is greater than `after`, ordered by key. Reads only the latest event of each peer. */
  pastPeers(after: string, limit: number): PastPeer[] {
    const key = "body -> 'data' -> 'peer' ->> 'publicKey'";
    const next = (place: string) =>
      `(SELECT ${key} FROM $.events WHERE ${key} > ${place} ORDER BY ${key} LIMIT 1)`;
    return this.#database.all<PastPeer>(
      `WITH RECURSIVE keys (publicKey) AS (
         SELECT ${next("?")} UNION ALL SELECT ${next("publicKey")} FROM keys
         WHERE publicKey IS NOT NULL LIMIT ?)
       SELECT publicKey, (SELECT body -> 'data' -> 'peer' ->> 'name' FROM $.events
         WHERE ${key} = publicKey ORDER BY seq DESC LIMIT 1) AS name
       FROM keys WHERE publicKey IS NOT NULL`,
      after,
      limit,
    );
  }

  /** Sequence numbers of the oldest stored event (null if no event is stored) and of the last event ever recorded. */
  eventSequenceRange(): { readonly first: number | null; readonly last: number } {
    const first = this.#database.get<{ first: number | null }>(
      "SELECT min(seq) AS first FROM $.events",
    )!.first;
    const last = this.#database.get<{ seq: number }>(
      "SELECT seq FROM $.sqlite_sequence WHERE name = 'events'",
    );
    return { first, last: last?.seq ?? 0 };
  }

  sessions({ device, publicKey, sinceMs, isOpen, from, limit }: SessionQuery): SessionRow[] {
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const where = (condition: string, ...wanted: (string | number)[]): void => {
      conditions.push(condition);
      values.push(...wanted);
    };
    if (device !== null) where("device = ?", device);
    if (publicKey !== null) where("public_key = ?", publicKey);
    if (sinceMs !== null) where("coalesce(ended_at_ms, 9e15) >= ?", sinceMs);
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

  // ---- Traffic ----

  /** Adds traffic to the slot that contains `atMs`. */
  addTraffic(traffic: readonly TrafficSums[], atMs: number): void {
    const slot = slotOf(atMs);
    this.#database.write("soon", () => {
      for (const { device, publicKey, rxBytes, txBytes } of traffic) {
        this.#database.run(
          `INSERT INTO $.traffic (slot, peer, rx_bytes, tx_bytes) VALUES (?, ?, ?, ?) ${ADD_TRAFFIC}`,
          slot,
          trafficKey(device, publicKey),
          rxBytes,
          txBytes,
        );
      }
    });
  }

  /** The traffic of the day up to `nowMs`, oldest first: one number per slot; the last slot is not over yet. */
  traffic(
    device: string,
    publicKey: string,
    nowMs: number,
  ): { readonly startMs: number; readonly rxBytes: number[]; readonly txBytes: number[] } {
    const first = slotOf(nowMs) - TRAFFIC_SLOTS + 1;
    const rxBytes = Array.from({ length: TRAFFIC_SLOTS }, () => 0);
    const txBytes = [...rxBytes];
    const peer = trafficKey(device, publicKey);
    // Reads one row per slot: a range would also read the rows of all other peers.
    const rows = this.#database.all<{ slot: number; rx: number; tx: number }>(
      `WITH RECURSIVE slots (number) AS (
         VALUES (?) UNION ALL SELECT number + 1 FROM slots LIMIT ${TRAFFIC_SLOTS})
       SELECT slot, rx_bytes AS rx, tx_bytes AS tx
       FROM slots CROSS JOIN $.traffic ON slot = number AND peer = ?`,
      first,
      peer,
    );
    for (const { slot, rx, tx } of rows) {
      rxBytes[slot - first] = rx;
      txBytes[slot - first] = tx;
    }
    return { startMs: first * TRAFFIC_SLOT_MS, rxBytes, txBytes };
  }

  // ---- The clock ----

  /** The state of the clock when it was last saved; null if it never was. */
  clockState(): ClockState | null {
    return this.#database.get<ClockState>(
      `SELECT boot_id AS bootId, booted_at_ms AS bootedAtMs, unsure_since_ms AS unsureSinceMs
       FROM $.clock`,
    );
  }

  saveClockState(state: ClockState): void {
    this.#database.write("soon", () => this.#putClockState(state));
  }

  /**
   * Adds the step to all times taken by the old clock. Queued events, next attempts and open sessions are
   * always moved; past events, dead letters, ended sessions and traffic only if the old clock may have been
   * wrong. The clock's state is written in the same transaction, so that no time is moved twice.
   */
  clockSet(step: ClockStep, state: ClockState): void {
    this.#database.write("now", () => {
      this.#putClockState(state);
      this.#moveAll(step);
    });
    this.#database.repeatOnDisk(() => this.#moveAll(step));
    this.#trimmed = START;
  }

  #moveAll(step: ClockStep): void {
    const { ms, fromMs, toMs, unsureFromMs } = step;
    const move = (table: string, column: string, from: number) =>
      this.#database.run(
        `UPDATE $.${table} SET ${column} = ${column} + ? WHERE ${column} BETWEEN ? AND ?`,
        ms,
        from,
        toMs,
      );
    move("outbox", "added_at_ms", fromMs);
    // 0 is not a time: it says that the next attempt is due at once.
    move("targets", "next_at_ms", Math.max(1, fromMs));
    this.#moveSessions(step);
    if (unsureFromMs === null) return;
    move("events", "at_ms", unsureFromMs);
    move("dead_letters", "at_ms", unsureFromMs);
    this.#moveEndedSessions(step, unsureFromMs);
    this.#moveTraffic(step, unsureFromMs);
  }

  #putClockState({ bootId, bootedAtMs, unsureSinceMs }: ClockState): void {
    this.#database.run(
      "INSERT OR REPLACE INTO $.clock (id, boot_id, booted_at_ms, unsure_since_ms) VALUES (1, ?, ?, ?)",
      bootId,
      bootedAtMs,
      unsureSinceMs,
    );
  }

  #moveSessions(step: ClockStep): void {
    const rows = this.#database.all<{ state: string }>(
      "SELECT state FROM $.sessions WHERE ended_at_ms IS NULL",
    );
    this.#database.run("DELETE FROM $.sessions WHERE ended_at_ms IS NULL");
    for (const { state } of rows) {
      this.#putSession(movedSession(JSON.parse(state) as SavedSession, step));
    }
  }

  #moveEndedSessions({ ms, fromMs, toMs }: ClockStep, unsureFromMs: number): void {
    // Durations are stored separately and do not change. By chance, a moved start may equal another one.
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

  #moveTraffic({ ms, toMs }: ClockStep, unsureFromMs: number): void {
    const slots = [slotOf(unsureFromMs), slotOf(toMs)] as const;
    // Not in place: the new slot of a row may still have a row that must be moved.
    this.#database.run("CREATE TEMP TABLE IF NOT EXISTS moving (slot, peer, rx_bytes, tx_bytes)");
    this.#database.run(
      "INSERT INTO temp.moving SELECT * FROM $.traffic WHERE slot BETWEEN ? AND ?",
      ...slots,
    );
    this.#database.run("DELETE FROM $.traffic WHERE slot BETWEEN ? AND ?", ...slots);
    // Without a WHERE, ON would be parsed as part of the SELECT: sqlite.org/lang_upsert.html.
    this.#database.run(
      `INSERT INTO $.traffic SELECT slot + ?, peer, rx_bytes, tx_bytes FROM temp.moving WHERE true ${ADD_TRAFFIC}`,
      Math.round(ms / TRAFFIC_SLOT_MS),
    );
    this.#database.run("DELETE FROM temp.moving");
  }

  // ---- Retention ----

  /**
   * Deletes some of the rows that are older than `keepMs`, or in excess of `maxBytes`, but no event that is
   * queued for a target.
   *
   * @returns whether there may be more to delete.
   */
  trim({ keepMs, maxBytes }: Retention, nowMs: number): boolean {
    const limit = this.#database.isInMemory ? Math.min(maxBytes, MEMORY_BYTES) : maxBytes;
    const isTooBig = this.#database.usedBytes > limit;
    const before = isTooBig ? Number.MAX_SAFE_INTEGER : Math.round(nowMs - keepMs);
    const { events, sessions } = this.#database.write("soon", () => {
      const events = this.#trimEvents(before);
      const sessions = this.#database.run(
        `DELETE FROM $.sessions WHERE (device, public_key, started_at_ms) IN (
           SELECT device, public_key, started_at_ms FROM $.sessions
           WHERE ended_at_ms < ? ORDER BY ended_at_ms LIMIT ${SLICE})`,
        before,
      );
      this.#trimTraffic(isTooBig, nowMs);
      return { events, sessions };
    });
    if (events + sessions > 0) this.#database.shrink(SLICE);
    return this.#trimmed !== START || sessions === SLICE;
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
  }

  /** Continues where it stopped: if a target is down for long, all of the oldest events may be queued for it. */
  #trimEvents(beforeMs: number): number {
    const { atMs, seq: from } = this.#trimmed;
    const old = this.#database.all<{ atMs: number; seq: number; waits: 0 | 1 }>(
      `SELECT at_ms AS atMs, seq, seq IN (SELECT seq FROM $.outbox) AS waits FROM $.events
       WHERE at_ms < ? AND (at_ms, seq) > (?, ?) ORDER BY at_ms, seq LIMIT ${SEARCH}`,
      beforeMs,
      atMs,
      from,
    );
    const spare = old.filter(({ waits }) => waits === 0);
    const slice = spare.slice(0, SLICE);
    for (const { seq } of slice) {
      this.#database.run("DELETE FROM $.dead_letters WHERE seq = ?", seq);
      this.#database.run("DELETE FROM $.events WHERE seq = ?", seq);
    }
    const last = slice.length < spare.length ? slice.at(-1) : old[SEARCH - 1];
    this.#trimmed = last ?? START;
    return slice.length;
  }

  /** Keeps a day of traffic. If the store is too big, deletes the oldest slot as well, one per call. */
  #trimTraffic(isTooBig: boolean, nowMs: number): void {
    const oldest = slotOf(nowMs) - TRAFFIC_SLOTS;
    this.#database.run(
      `DELETE FROM $.traffic WHERE slot <= max(?, coalesce((SELECT min(slot) FROM $.traffic), 0) - ?)`,
      oldest,
      isTooBig ? 0 : 1,
    );
  }

  #putSession(session: SavedSession): void {
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

  #endSession(session: EndedSession): void {
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

  #putDevices(devices: readonly Device[]): void {
    const state = JSON.stringify(devices.map((device) => ({ ...device, boot: this.#boot })));
    this.#database.run("INSERT OR REPLACE INTO $.devices (id, state) VALUES (1, ?)", state);
  }

  #take(target: string, seq: number): void {
    this.#database.run("DELETE FROM $.outbox WHERE target = ? AND seq = ?", target, seq);
  }

  #dropLetter(target: string, seq: number): void {
    this.#database.run("DELETE FROM $.dead_letters WHERE target = ? AND seq = ?", target, seq);
  }
}

function slotOf(atMs: number): number {
  return Math.floor(atMs / TRAFFIC_SLOT_MS);
}

/** 48 bits of a hash: the probability that two of 10,000 peers share a value is one in five million. */
function trafficKey(device: string, publicKey: string): number {
  const digest = new Bun.CryptoHasher("sha256").update(`${device} ${publicKey}`).digest();
  return digest.readUIntBE(0, 6);
}

/** Only the counters are saved: the event has the other fields of the peer. */
function countersOf({
  lastHandshakeMs,
  rxBytes,
  txBytes,
}: EndedSession["peer"]): EndedSession["peer"] {
  return { lastHandshakeMs, rxBytes, txBytes };
}
