/** Deletes the rows that exceed the retention limits, a slice at a time. */

import type { AlertRows } from "./alert-rows.ts";
import type { Database } from "./database.ts";
import type { GatewayRows } from "./gateway-rows.ts";
import { HOUR_MS } from "./ranges.ts";
import type { TrafficRows } from "./traffic-rows.ts";

/** Maximum number of rows that one call deletes; more would delay packets by milliseconds. */
const SLICE = 200;
/** The same for rows with sums, which are small and have no index. */
const SLOT_SLICE = 1000;
/** Maximum number of events that one call searches. Reading a row costs less than deleting it. */
const SEARCH = 2000;
/** The position before all events, in order of time. */
const BEFORE_ALL = { atMs: -Infinity, seq: 0 };

/** Limit for a store in memory, which has no room for a long history. */
const MEMORY_BYTES = 32_000_000;

export interface Retention {
  readonly keepMs: number;
  readonly maxBytes: number;
}

/** What deletes the oldest rows of one kind, at most a slice. */
interface Kind {
  /** The end of the oldest row; null if there is no row. */
  readonly oldestMs: number | null;
  readonly slice: number;
  /** Deletes rows that ended before this time. Returns their number. */
  delete(beforeMs: number): number;
}

interface Trimmed {
  readonly deleted: number;
  readonly hasMore: boolean;
}

/** The kinds of rows that have files of their own. */
interface OtherRows {
  readonly traffic: TrafficRows;
  readonly totals: GatewayRows;
  readonly alerts: AlertRows;
}

export class Trimmer {
  readonly #database: Database;
  readonly #traffic: TrafficRows;
  readonly #totals: GatewayRows;
  readonly #alerts: AlertRows;
  /** Position up to which the events were searched: all older ones are queued for a target. */
  #searchedTo = BEFORE_ALL;

  constructor(database: Database, { traffic, totals, alerts }: OtherRows) {
    this.#database = database;
    this.#traffic = traffic;
    this.#totals = totals;
    this.#alerts = alerts;
  }

  /**
   * Deletes some of the rows that are older than `keepMs`, or in excess of `maxBytes`, but no event that is
   * queued for a target.
   *
   * @returns whether there may be more to delete.
   */
  trim({ keepMs, maxBytes }: Retention, nowMs: number): boolean {
    const limit = this.#database.isInMemory ? Math.min(maxBytes, MEMORY_BYTES) : maxBytes;
    const before = Math.round(nowMs - keepMs);
    const isTooBig = this.#database.usedBytes > limit;
    const { deleted, hasMore } = this.#database.write("soon", () =>
      isTooBig ? this.#trimOldest() : this.#trimOld(before, nowMs),
    );
    if (deleted > 0) this.#database.shrink(SLICE);
    return hasMore || this.#searchedTo !== BEFORE_ALL;
  }

  #trimOld(before: number, nowMs: number): Trimmed {
    const slots = [
      ...this.#traffic.trim(before, nowMs, SLOT_SLICE),
      this.#totals.table.deleteBefore(before, SLOT_SLICE),
    ];
    const events = this.#trimEvents(before);
    const sessions = this.#trimSessions(before);
    const alerts = this.#alerts.deleteBefore(before);
    return {
      deleted: Math.max(...slots, events, sessions, alerts),
      hasMore: Math.max(...slots) === SLOT_SLICE || sessions === SLICE || alerts === SLICE,
    };
  }

  /**
   * Deletes a slice of the rows that are oldest, whatever their kind, so that the history of all kinds reaches equally
   * far back.
   */
  #trimOldest(): Trimmed {
    const kinds: readonly Kind[] = [
      ...this.#traffic.tables.map((table) => ({
        oldestMs: table.oldestEndMs,
        slice: SLOT_SLICE,
        delete: (before: number) => this.#traffic.deleteBefore(table, before, SLOT_SLICE),
      })),
      {
        oldestMs: this.#totals.table.oldestEndMs,
        slice: SLOT_SLICE,
        delete: (before) => this.#totals.table.deleteBefore(before, SLOT_SLICE),
      },
      {
        oldestMs: this.#oldestEventMs(),
        slice: SLICE,
        delete: (before) => this.#trimEvents(before),
      },
      {
        oldestMs: this.#database.get<{ ms: number | null }>(
          "SELECT min(ended_at_ms) AS ms FROM $.sessions",
        )!.ms,
        slice: SLICE,
        delete: (before) => this.#trimSessions(before),
      },
      {
        oldestMs: this.#alerts.oldestMs,
        slice: SLICE,
        delete: (before) => this.#alerts.deleteBefore(before),
      },
    ];
    const age = (kind: Kind | undefined) => kind?.oldestMs ?? Infinity;
    const sorted = kinds.toSorted((a, b) => (age(a) < age(b) ? -1 : Number(age(a) > age(b))));
    for (const [n, kind] of sorted.entries()) {
      // At most an hour more than the kind whose turn is next.
      const before = Math.min(age(sorted[n + 1]) + HOUR_MS, Number.MAX_SAFE_INTEGER);
      const deleted = kind.delete(before);
      // The search for events that are not queued continues in the next call.
      if (deleted > 0 || this.#searchedTo !== BEFORE_ALL) {
        const isLast = before === Number.MAX_SAFE_INTEGER;
        return { deleted, hasMore: !isLast || deleted === kind.slice };
      }
    }
    return { deleted: 0, hasMore: false };
  }

  /**
   * The time of the oldest event that may be deleted, of those that one call searches; if all of these are queued, that
   * of the last one. null if there are none.
   */
  #oldestEventMs(): number | null {
    const { atMs, seq } = this.#searchedTo;
    return this.#database.get<{ ms: number | null }>(
      `SELECT coalesce(min(iif(isQueued, NULL, atMs)), max(atMs)) AS ms FROM (
         SELECT at_ms AS atMs, seq IN (SELECT seq FROM $.outbox) AS isQueued FROM $.events
         WHERE (at_ms, seq) > (?, ?) ORDER BY at_ms, seq LIMIT ${SEARCH})`,
      atMs,
      seq,
    )!.ms;
  }

  #trimSessions(before: number): number {
    return this.#database.run(
      `DELETE FROM $.sessions WHERE (device, public_key, started_at_ms) IN (
         SELECT device, public_key, started_at_ms FROM $.sessions
         WHERE ended_at_ms < ? ORDER BY ended_at_ms LIMIT ${SLICE})`,
      before,
    );
  }

  /** Searches from the beginning again, because the times of events have changed. */
  restart(): void {
    this.#searchedTo = BEFORE_ALL;
  }

  /**
   * Continues the search where the previous call stopped. Otherwise a call might find no event to delete, because all
   * of the oldest events may be queued for a target that is down.
   */
  #trimEvents(beforeMs: number): number {
    const { atMs, seq: afterSeq } = this.#searchedTo;
    const old = this.#database.all<{ atMs: number; seq: number; isQueued: 0 | 1 }>(
      `SELECT at_ms AS atMs, seq, seq IN (SELECT seq FROM $.outbox) AS isQueued FROM $.events
       WHERE at_ms < ? AND (at_ms, seq) > (?, ?) ORDER BY at_ms, seq LIMIT ${SEARCH}`,
      beforeMs,
      atMs,
      afterSeq,
    );
    const deletable = old.filter(({ isQueued }) => isQueued === 0);
    const slice = deletable.slice(0, SLICE);
    for (const { seq } of slice) {
      this.#database.run("DELETE FROM $.dead_letters WHERE seq = ?", seq);
      this.#database.run("DELETE FROM $.fleet_events WHERE event = ?", seq);
      this.#database.run("DELETE FROM $.events WHERE seq = ?", seq);
    }
    const last = slice.length < deletable.length ? slice.at(-1) : old[SEARCH - 1];
    this.#searchedTo = last ?? BEFORE_ALL;
    return slice.length;
  }
}
