/** The rows of `events`: adds an event, and finds those that a query selects. */

import type { Event } from "../events/event-schema.ts";
import type { Database } from "./database.ts";

/** Selects events; a filter that is null matches every event. */
export interface EventQuery {
  readonly order: "oldest" | "newest";
  /** Only events after this sequence number, in that order; null starts at the beginning. */
  readonly from: number | null;
  readonly limit: number;
  readonly type: string | null;
  readonly publicKey: string | null;
  readonly device?: string | null;
  readonly sinceMs: number | null;
  /** Only events before this time. */
  readonly untilMs?: number | null;
}

/** An event of a query, with its time as a number. */
export interface FoundEvent extends StoredEvent {
  readonly atMs: number;
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

/** Most times whose bounds are kept, for each side: as many as lists and downloads that are in use at once. */
const BOUNDS_MAX = 16;

export class StoredEvents {
  readonly #database: Database;
  /** The latest results of `#bound` by time, least recently used first. */
  readonly #bounds = { since: new Map<number, number>(), until: new Map<number, number>() };
  #isInMemory = false;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Adds an event; the caller's transaction writes it.
   *
   * @returns its sequence number.
   */
  add(event: Event): number {
    const atMs = Date.parse(event.timestamp);
    // Of the bounds, an added event can change only an end that is later than the event.
    for (const endMs of this.#bounds.until.keys()) {
      if (atMs < endMs) this.#bounds.until.delete(endMs);
    }
    return this.#database.get<{ seq: number }>(
      "INSERT INTO $.events (id, type, at_ms, body) VALUES (?, ?, ?, ?) RETURNING seq",
      event.id,
      event.type,
      atMs,
      JSON.stringify(event),
    )!.seq;
  }

  query(query: EventQuery): FoundEvent[] {
    const { order, from, limit, type, publicKey, device = null, sinceMs, untilMs = null } = query;
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const where = (condition: string, value: string | number): void => {
      conditions.push(condition);
      values.push(value);
    };
    // A + keeps SQLite from using the index of a column: one index is enough, and that of the peer selects the fewest
    // events.
    const isOfPeer = publicKey !== null;
    const plus = isOfPeer ? "+" : "";
    if (isOfPeer) where("body -> 'data' -> 'peer' ->> 'publicKey' = ?", publicKey);
    if (type !== null) where(`${plus}type = ?`, type);
    if (device !== null) where(`${isOfPeer ? "+(" : "("}body -> 'data' ->> 'device') = ?`, device);
    if (from !== null) where(order === "oldest" ? "seq > ?" : "seq < ?", from);
    // The clock may have been set, so a later event may have an earlier time: the times only bound the search.
    if (sinceMs !== null) {
      const first = this.#bound("since", sinceMs);
      if (first === null) return [];
      where("seq >= ?", first);
      where("+at_ms >= ?", sinceMs);
    }
    if (untilMs !== null) {
      const last = this.#bound("until", untilMs);
      if (last === null) return [];
      where("seq <= ?", last);
      where("+at_ms < ?", untilMs);
    }
    return this.#database
      .all<{ seq: number; atMs: number; body: string }>(
        `SELECT seq, at_ms AS atMs, body FROM $.events ${conditions.length === 0 ? "" : "WHERE "}${conditions.join(" AND ")}
         ORDER BY seq ${order === "oldest" ? "ASC" : "DESC"} LIMIT ?`,
        ...values,
        limit,
      )
      .map(({ seq, atMs, body }) => ({ seq, atMs, event: JSON.parse(body) as Event }));
  }

  /** The number of events of each type since a time. */
  countByType(sinceMs: number): Map<Event["type"], number> {
    const rows = this.#database.all<{ type: Event["type"]; count: number }>(
      "SELECT type, count(*) AS count FROM $.events WHERE at_ms >= ? GROUP BY type",
      sinceMs,
    );
    return new Map(rows.map(({ type, count }) => [type, count]));
  }

  /** Forgets the bounds, because times of events have changed. */
  forgetBounds(): void {
    this.#bounds.since.clear();
    this.#bounds.until.clear();
  }

  /**
   * The first event at this time or later, or the last event before it; null without such an event. Finding it reads the
   * index of all events on one side of the time, so the latest results are kept: a download needs them for each page.
   */
  #bound(side: "since" | "until", atMs: number): number | null {
    if (this.#isInMemory !== this.#database.isInMemory) this.forgetBounds();
    this.#isInMemory = this.#database.isInMemory;
    const bounds = this.#bounds[side];
    const known = bounds.get(atMs);
    if (known !== undefined) {
      bounds.delete(atMs);
      bounds.set(atMs, known);
      return known;
    }
    // The + keeps SQLite from searching all events in the order of seq instead.
    const { seq } = this.#database.get<{ seq: number | null }>(
      side === "since"
        ? "SELECT min(+seq) AS seq FROM $.events INDEXED BY events_by_time WHERE at_ms >= ?"
        : "SELECT max(+seq) AS seq FROM $.events INDEXED BY events_by_time WHERE at_ms < ?",
      atMs,
    )!;
    if (seq !== null) bounds.set(atMs, seq);
    const [oldestMs] = bounds.keys();
    if (bounds.size > BOUNDS_MAX) bounds.delete(oldestMs!);
    return seq;
  }

  /** The peers whose key is greater than `after`, ordered by key. Reads only the latest event of each peer. */
  pastPeers(after: string, limit: number): PastPeer[] {
    const key = "body -> 'data' -> 'peer' ->> 'publicKey'";
    const keyAfter = (previous: string) =>
      `(SELECT ${key} FROM $.events WHERE ${key} > ${previous} ORDER BY ${key} LIMIT 1)`;
    return this.#database.all<PastPeer>(
      `WITH RECURSIVE keys (publicKey) AS (
         SELECT ${keyAfter("?")} UNION ALL SELECT ${keyAfter("publicKey")} FROM keys
         WHERE publicKey IS NOT NULL LIMIT ?)
       SELECT publicKey, (SELECT body -> 'data' -> 'peer' ->> 'name' FROM $.events
         WHERE ${key} = publicKey ORDER BY seq DESC LIMIT 1) AS name
       FROM keys WHERE publicKey IS NOT NULL`,
      after,
      limit,
    );
  }

  /** Sequence numbers of the oldest stored event (null if no event is stored) and of the last event ever recorded. */
  sequenceRange(): { readonly first: number | null; readonly last: number } {
    const first = this.#database.get<{ first: number | null }>(
      "SELECT min(seq) AS first FROM $.events",
    )!.first;
    const last = this.#database.get<{ seq: number }>(
      "SELECT seq FROM $.sqlite_sequence WHERE name = 'events'",
    );
    return { first, last: last?.seq ?? 0 };
  }
}
