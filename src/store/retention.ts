/** Deletes the rows that exceed the retention limits, a slice at a time. */

import type { Database } from "./database.ts";
import type { TrafficRows } from "./traffic-rows.ts";

/** Maximum number of rows that one call deletes; more would delay packets by milliseconds. */
const SLICE = 200;
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

export class Trimmer {
  readonly #database: Database;
  readonly #traffic: TrafficRows;
  /** Position up to which the events were searched: all older ones are queued for a target. */
  #searchedTo = BEFORE_ALL;

  constructor(database: Database, traffic: TrafficRows) {
    this.#database = database;
    this.#traffic = traffic;
  }

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
      this.#traffic.trim(isTooBig, nowMs);
      return { events, sessions };
    });
    if (events + sessions > 0) this.#database.shrink(SLICE);
    return this.#searchedTo !== BEFORE_ALL || sessions === SLICE;
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
      this.#database.run("DELETE FROM $.events WHERE seq = ?", seq);
    }
    const last = slice.length < deletable.length ? slice.at(-1) : old[SEARCH - 1];
    this.#searchedTo = last ?? BEFORE_ALL;
    return slice.length;
  }
}
