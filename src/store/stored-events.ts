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

export class StoredEvents {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Adds an event; the caller's transaction writes it.
   *
   * @returns its sequence number.
   */
  add(event: Event): number {
    return this.#database.get<{ seq: number }>(
      "INSERT INTO $.events (id, type, at_ms, body) VALUES (?, ?, ?, ?) RETURNING seq",
      event.id,
      event.type,
      Date.parse(event.timestamp),
      JSON.stringify(event),
    )!.seq;
  }

  query(query: EventQuery): StoredEvent[] {
    const { order, from, limit, type, publicKey, device = null, sinceMs, untilMs = null } = query;
    const conditions: string[] = [];
    const values: (string | number)[] = [];
    const where = (condition: string, value: string | number): void => {
      conditions.push(condition);
      values.push(value);
    };
    if (from !== null) where(order === "oldest" ? "seq > ?" : "seq < ?", from);
    if (type !== null) where("type = ?", type);
    if (publicKey !== null) where("body -> 'data' -> 'peer' ->> 'publicKey' = ?", publicKey);
    if (device !== null) where("body -> 'data' ->> 'device' = ?", device);
    if (untilMs !== null) where("+at_ms < ?", untilMs);
    if (sinceMs !== null) {
      // The clock may have been set, so a later event may have an earlier time. The index only finds the first event.
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

  /** The number of events of each type since a time. */
  countByType(sinceMs: number): Map<Event["type"], number> {
    const rows = this.#database.all<{ type: Event["type"]; count: number }>(
      "SELECT type, count(*) AS count FROM $.events WHERE at_ms >= ? GROUP BY type",
      sinceMs,
    );
    return new Map(rows.map(({ type, count }) => [type, count]));
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
