/** Deletes the rows that exceed the retention limits, a slice at a time. */

import type { Database } from "./database.ts";
import type { TrafficRows } from "./traffic-rows.ts";

/** Most rows deleted at once; more would delay packets by milliseconds. */
const SLICE = 200;
/** Most events searched at once for those to delete; reading costs less. */
const SEARCH = 2000;
/** The position before all events, in order of time. */
const START = { atMs: -Infinity, seq: 0 };

/** Limit for a store in memory, which has no room for a long history. */
const MEMORY_BYTES = 32_000_000;

export interface Retention {
  readonly keepMs: number;
  readonly maxBytes: number;
}

export class Trimmer {
  readonly #database: Database;
  readonly #traffic: TrafficRows;
  /** Position up to which retention has searched: all older events are queued for a target. */
  #trimmed = START;

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
    return this.#trimmed !== START || sessions === SLICE;
  }

  /** Searches from the beginning again, because the times of events have changed. */
  restart(): void {
    this.#trimmed = START;
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
}
