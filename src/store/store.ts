/**
 * What outlives the process: sessions, events, and what is still to be delivered. It knows rows and
 * nothing of time or retries; those are the outbox's and the tracker's.
 */

import type { Event } from "../contract.ts";
import type { DisconnectReason } from "../event.ts";
import { type Earlier, movedSession, type SavedSession } from "../tracker.ts";
import type { ClockState, ClockStep } from "../wallclock.ts";
import { type Device, formatEndpoint, type Peer, type PublicKey } from "../wireguard.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import { targetKey } from "./targetkey.ts";

/** Rows that are deleted or written in one go; more would hold up packets for milliseconds. */
const SLICE = 200;
/** Events that are looked through for those to delete; reading costs less. */
const SEARCH = 2000;
/** Before all events, in the order of time. */
const START = { atMs: -Infinity, seq: 0 };

/** In memory there is no room for a long past. */
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
  /** The peer's counters, as the last look found them. */
  readonly peer: Pick<Peer, "lastHandshakeMs" | "rxBytes" | "txBytes">;
}

/** What one look changed. */
export interface Record {
  /** Each with the keys of the targets that it goes to. */
  readonly events: readonly { readonly event: Event; readonly targets: readonly string[] }[];
  readonly sessions: readonly SavedSession[];
  readonly ended: readonly EndedSession[];
  /** All that there are; null: no change. */
  readonly devices: readonly Device[] | null;
}

/** An event that waits for a target. */
export interface Waiting {
  /** Its place among all events. */
  readonly seq: number;
  readonly event: Event;
  readonly addedAtMs: number;
  /** The digest that it was already sent in; null: none. */
  readonly message: string | null;
}

/** How the attempts at a target stand. */
export interface TargetState {
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** Those of them since the last success or refusal: the pause before the next attempt grows with them. */
  readonly retries: number;
  /** When the next attempt is due; 0: at once. */
  readonly nextAtMs: number;
  /** Why the newest attempt failed; empty: it succeeded. */
  readonly reason: string;
}

/** Events that wait for one target, for people. */
export interface Queue extends TargetState {
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

/** Which events; null: any. */
export interface EventQuery {
  readonly order: "oldest" | "newest";
  /** Those behind this place, in that order; null: from the beginning. */
  readonly from: number | null;
  readonly limit: number;
  readonly type: string | null;
  readonly publicKey: string | null;
  readonly sinceMs: number | null;
}

/** An event and its place among all. */
export interface Placed {
  readonly seq: number;
  readonly event: Event;
}

/** A peer that events tell of, which may have been removed since. */
export interface PastPeer {
  readonly publicKey: string;
  /** In its latest event; null: it had none. */
  readonly name: string | null;
}

/** Which sessions, the latest first; null: any. */
export interface SessionQuery {
  readonly device: string | null;
  readonly publicKey: string | null;
  /** Those that lasted until then or later. */
  readonly sinceMs: number | null;
  readonly isOpen: boolean | null;
  /** Behind this one. */
  readonly from: SessionPlace | null;
  readonly limit: number;
}

export type SessionPlace = Pick<SessionRow, "startedAtMs" | "device" | "publicKey">;

/** A session that lasts, as it was when it was last saved, or one that ended. */
export interface SessionRow {
  readonly device: string;
  readonly publicKey: PublicKey;
  readonly startedAtMs: number;
  /** null: it lasts. */
  readonly endedAtMs: number | null;
  /** The same. */
  readonly durationMs: number | null;
  readonly reason: EndedSession["reason"] | null;
  readonly endpoint: string | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
}

/** What one peer received and sent in one stretch of TRAFFIC_SLOT_MS. */
export interface Traffic {
  readonly device: string;
  readonly publicKey: string;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** How long one number of the traffic stands for. */
export const TRAFFIC_SLOT_MS = 300_000;
/** The end of an INSERT: to a row that exists, the bytes are added. */
const ADD_TRAFFIC = `ON CONFLICT DO UPDATE SET rx_bytes = rx_bytes + excluded.rx_bytes,
  tx_bytes = tx_bytes + excluded.tx_bytes`;
/** A day and what has begun of the next slot. */
const TRAFFIC_SLOTS = 24 * 12 + 1;

export interface Retention {
  readonly keepMs: number;
  readonly maxBytes: number;
}

interface StoreOptions extends DatabaseOptions {
  /** Machine.bootId; null or left out: unknown. */
  readonly boot?: string | null;
}

/** A device as it is in the store, with the boot in which it was seen; null: unknown. */
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
  /** All that is older waits for a target, as far as was looked. */
  #trimmed = START;

  static async open({ boot = null, ...options }: StoreOptions): Promise<Store> {
    return new Store(await Database.open(options), boot);
  }

  private constructor(database: Database, boot: string | null) {
    this.#database = database;
    this.#boot = boot;
  }

  /** Why nothing survives the process; null: all does. */
  get problem(): string | null {
    return this.#database.problem;
  }

  get isInMemory(): boolean {
    return this.#database.isInMemory;
  }

  /** The key of a target without a name; another store has another one for it. */
  targetKey(address: string): string {
    return targetKey(address, this.#database.secret);
  }

  /** Another one when another process has written, or when it goes on elsewhere. */
  get foreignVersion(): string {
    return this.#database.foreignVersion;
  }

  /**
   * What an earlier run knew; null: there was none. Devices that it saw in another boot have the number
   * 0, which no device has: all that there are now are others, whatever their names and numbers.
   *
   * @param endedAfterMs sessions that ended before this matter no more.
   */
  earlier(endedAfterMs: number): Earlier | null {
    const devices = this.#database.get<{ state: string }>("SELECT state FROM $.devices");
    if (devices === null) return null;
    const sessions = this.#database.all<{ state: string }>(
      "SELECT state FROM $.sessions WHERE ended_at_ms IS NULL",
    );
    // Oldest first, so that the last one of a peer is the one that counts.
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
   * Writes what a look changed, all or nothing; when this returns it survives a power failure.
   *
   * @returns the places of the events.
   */
  record({ events, sessions, ended, devices }: Record, nowMs: number): number[] {
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

  /** Writes how far sessions are, so that a restart knows their counters and last signs of life. */
  saveSessions(sessions: readonly SavedSession[]): void {
    this.#database.write("soon", () => {
      for (const session of sessions) this.#putSession(session);
    });
  }

  // ---- The outbox ----

  /** The oldest events that wait for the target, after the place `after`. */
  waiting(target: string, after: number, limit: number): Waiting[] {
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

  /** Events that are part of one digest keep together from now on. */
  join(target: string, seqs: readonly number[], message: string): void {
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

  /** Takes delivered events from the outbox. A power failure may undo it: then they are sent again. */
  delivered(rows: readonly { readonly target: string; readonly seq: number }[]): void {
    this.#database.write("soon", () => {
      for (const { target, seq } of rows) this.#take(target, seq);
    });
  }

  /** Moves events that will not be delivered from the outbox to the dead letters. */
  bury(target: string, label: string, seqs: readonly number[], reason: string, atMs: number): void {
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

  /** What waits for targets, all that were ever saved. */
  queues(): Queue[] {
    return this.#database.all<Queue>(
      `SELECT target, coalesce(label, target) AS label, coalesce(failures, 0) AS failures, coalesce(retries, 0) AS retries,
         coalesce(next_at_ms, 0) AS nextAtMs, coalesce(reason, '') AS reason,
         count(*) AS waiting, min(added_at_ms) AS oldestAtMs
       FROM $.outbox LEFT JOIN $.targets USING (target) GROUP BY target ORDER BY label, target`,
    );
  }

  /** Gives all that waits for one target to another. */
  rename(from: string, to: string): void {
    this.#database.write("soon", () => {
      this.#database.run("UPDATE OR IGNORE $.outbox SET target = ? WHERE target = ?", to, from);
      this.#database.run("DELETE FROM $.outbox WHERE target = ?", from);
      this.#database.run("DELETE FROM $.targets WHERE target = ?", from);
    });
  }

  /** All, or of one target so many, after the place `after`. */
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
  revive(
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

  /** Deletes from the outbox and the dead letters. */
  drop(rows: readonly { readonly target: string; readonly seq: number }[]): void {
    this.#database.write("now", () => {
      for (const { target, seq } of rows) {
        this.#take(target, seq);
        this.#dropLetter(target, seq);
      }
    });
  }

  /** How many dead letters each target has; those without one are not here. */
  deadCounts(): { readonly target: string; readonly label: string; readonly count: number }[] {
    return this.#database.all(
      "SELECT target, max(label) AS label, count(*) AS count FROM $.dead_letters GROUP BY target",
    );
  }

  // ---- The past ----

  events(query: EventQuery): Placed[] {
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
      // The clock may have jumped, so the events are not in the order of time; the index of times
      // only tells where to begin.
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

  /** By key, those behind `after`. Reads the latest event of each, and no others. */
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

  /** The place of the oldest event that is kept (null: none is), and that of the last one ever told. */
  eventPlaces(): { readonly first: number | null; readonly last: number } {
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

  /** Adds to what is known of the stretch of time that `atMs` is in. */
  addTraffic(traffic: readonly Traffic[], atMs: number): void {
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

  /** The day up to `nowMs`, oldest first: a number for each stretch of time, the last one unfinished. */
  traffic(
    device: string,
    publicKey: string,
    nowMs: number,
  ): { readonly startMs: number; readonly rxBytes: number[]; readonly txBytes: number[] } {
    const first = slotOf(nowMs) - TRAFFIC_SLOTS + 1;
    const rxBytes = Array.from({ length: TRAFFIC_SLOTS }, () => 0);
    const txBytes = [...rxBytes];
    const peer = trafficKey(device, publicKey);
    // One row of each slot: a range would read those of all other peers, too.
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

  /** How the clock stood when it was last saved; null: it never was. */
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
   * Adds the step to all times taken by the old clock. Waiting events and open sessions are always moved; past events, sessions and
   * traffic only if the old clock may have been wrong. One transaction with the clock's state, so that no time is moved twice.
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
    // 0 is no time: the next attempt is due at once.
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
    // Their durations are kept as such. A start may be the same as another's, by chance.
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
    // Not in place: a row may have to go where another one of those that are moved still is.
    this.#database.run("CREATE TEMP TABLE IF NOT EXISTS moving (slot, peer, rx_bytes, tx_bytes)");
    this.#database.run(
      "INSERT INTO temp.moving SELECT * FROM $.traffic WHERE slot BETWEEN ? AND ?",
      ...slots,
    );
    this.#database.run("DELETE FROM $.traffic WHERE slot BETWEEN ? AND ?", ...slots);
    // Without a WHERE, ON would belong to the SELECT: sqlite.org/lang_upsert.html.
    this.#database.run(
      `INSERT INTO $.traffic SELECT slot + ?, peer, rx_bytes, tx_bytes FROM temp.moving WHERE true ${ADD_TRAFFIC}`,
      Math.round(ms / TRAFFIC_SLOT_MS),
    );
    this.#database.run("DELETE FROM temp.moving");
  }

  // ---- Retention ----

  /**
   * Deletes some of what is older than is kept, or too much. Nothing that waits for a target.
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

  /** Goes on where it stopped: a target that is down for long may have all of the oldest wait. */
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

  /** A day is kept; if the store is too big, less: a slot at a time. */
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

/** 48 bits: that two of 10,000 peers share one is as likely as one in five million. */
function trafficKey(device: string, publicKey: string): number {
  const digest = new Bun.CryptoHasher("sha256").update(`${device} ${publicKey}`).digest();
  return digest.readUIntBE(0, 6);
}

/** The rest of a peer is in the event. */
function countersOf({
  lastHandshakeMs,
  rxBytes,
  txBytes,
}: EndedSession["peer"]): EndedSession["peer"] {
  return { lastHandshakeMs, rxBytes, txBytes };
}
