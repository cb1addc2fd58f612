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
  /** On a hub: only events from this gateway, and the hub's own about it. `device` is then the gateway's own name of it. */
  readonly gateway?: string | null;
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
  /** On a hub: the gateway that the event is from, or that the hub's own event is about. */
  readonly gateway?: string;
}

/** A peer that occurs in events; it may have been removed since. */
export interface PastPeer {
  readonly publicKey: string;
  /** Its name in its latest event; null if it had no name. */
  readonly name: string | null;
}

/** Most times whose bounds are kept, for each side: as many as lists and downloads that are in use at once. */
const BOUNDS_MAX = 16;

/** From this number on, the events of a type or device are not read to find those of a gateway among them. */
const MANY = 10_000;

/** In a condition, stands for the column with the sequence number. */
const SEQ = "{seq}";
const DEVICE = "body -> 'data' ->> 'device'";
/** The gateway that an event of the hub is about; as in the index. */
const ABOUT_GATEWAY = `coalesce(body -> 'data' ->> 'gateway',
  nullif(substr(${DEVICE}, 1, instr(${DEVICE}, '/') - 1), ''))`;
/** The gateway that an event is from or about. What a gateway claims in its events does not count. */
const GATEWAY_OF = `coalesce(
  (SELECT gateway FROM $.fleet_events AS place JOIN $.fleet_epochs ON id = source WHERE place.event = events.seq),
  ${ABOUT_GATEWAY})`;

/** A condition of a query, and its values. */
type Condition = readonly [condition: string, ...values: (string | number)[]];

interface Row {
  readonly seq: number;
  readonly atMs: number;
  readonly body: string;
  readonly gateway?: string | null;
}

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
    const { publicKey, gateway = null, order, limit } = query;
    const isByGateway = gateway !== null && publicKey === null && !this.#areFew(query);
    const conditions = this.#conditions(query, isByGateway);
    if (conditions === null) return [];
    const rows = isByGateway
      ? this.#ofGateway(gateway, conditions, query)
      : this.#select(
          gateway === null ? conditions : [...conditions, [`${GATEWAY_OF} = ?`, gateway]],
          query,
          this.#isOfHub(),
        );
    const sign = order === "oldest" ? 1 : -1;
    return rows
      .toSorted((a, b) => sign * (a.seq - b.seq))
      .slice(0, limit)
      .map(({ seq, atMs, body, gateway: from = null }) => {
        const stored = { seq, atMs, event: JSON.parse(body) as Event };
        return from === null ? stored : { ...stored, gateway: from };
      });
  }

  /**
   * The conditions of a query, without that of the gateway; null: no event matches.
   *
   * @param isByGateway whether the events are found by the index of the gateway.
   */
  #conditions(query: EventQuery, isByGateway: boolean): Condition[] | null {
    const { order, from, type, publicKey, device = null, gateway = null } = query;
    const { sinceMs, untilMs = null } = query;
    const conditions: Condition[] = [];
    const where = (...condition: Condition): void => void conditions.push(condition);
    // A + keeps SQLite from using the index of a column: one index is enough, and that of the peer selects the fewest
    // events.
    const isOfPeer = publicKey !== null;
    const plus = isOfPeer || isByGateway ? "+" : "";
    if (isOfPeer) where("body -> 'data' -> 'peer' ->> 'publicKey' = ?", publicKey);
    if (type !== null) where(`${plus}type = ?`, type);
    if (device !== null && gateway !== null) {
      // The hub's own events have its name of the device.
      where(`${plus}(${DEVICE}) IN (?, ?)`, device, `${gateway}/${device}`);
    } else if (device !== null) where(`${plus}(${DEVICE}) = ?`, device);
    if (from !== null) where(`${SEQ} ${order === "oldest" ? ">" : "<"} ?`, from);
    // The clock may have been set, so a later event may have an earlier time: the times only bound the search.
    if (sinceMs !== null) {
      const first = this.#bound("since", sinceMs);
      if (first === null) return null;
      where(`${SEQ} >= ?`, first);
      where("+at_ms >= ?", sinceMs);
    }
    if (untilMs !== null) {
      const last = this.#bound("until", untilMs);
      if (last === null) return null;
      where(`${SEQ} <= ?`, last);
      where("+at_ms < ?", untilMs);
    }
    return conditions;
  }

  #select(
    conditions: readonly Condition[],
    { order, limit }: EventQuery,
    withGateway: boolean,
  ): Row[] {
    return this.#database.all<Row>(
      `SELECT events.seq, at_ms AS atMs, body${withGateway ? `, ${GATEWAY_OF} AS gateway` : ""}
       FROM $.events${whereOf(conditions, "events.seq")} ORDER BY events.seq ${directionOf(order)} LIMIT ?`,
      ...valuesOf(conditions),
      limit,
    );
  }

  /**
   * The events of a gateway: the first ones of each of its epochs, and of the hub's own about it. So not all events of a
   * fleet are read to find those of a gateway that has few.
   */
  #ofGateway(gateway: string, conditions: readonly Condition[], query: EventQuery): Row[] {
    const direction = directionOf(query.order);
    const sources = this.#database.all<{ id: number }>(
      "SELECT id FROM $.fleet_epochs WHERE gateway = ?",
      gateway,
    );
    const found = sources.flatMap(({ id }) =>
      this.#database.all<Row>(
        `SELECT place.event AS seq, at_ms AS atMs, body FROM $.fleet_events AS place INDEXED BY fleet_events_by_source
         CROSS JOIN $.events ON events.seq = place.event
         ${whereOf([["place.source = ?", id], ...conditions], "place.event")}
         ORDER BY place.event ${direction} LIMIT ?`,
        id,
        ...valuesOf(conditions),
        query.limit,
      ),
    );
    const own: Condition[] = [
      [`${ABOUT_GATEWAY} = ?`, gateway],
      ["type < 'handshake'"],
      ["NOT EXISTS (SELECT 1 FROM $.fleet_events AS place WHERE place.event = events.seq)"],
      ...conditions,
    ];
    return [...found, ...this.#select(own, query, false)].map((row) => ({ ...row, gateway }));
  }

  /** Whether this is the store of a hub: it has events of gateways. */
  #isOfHub(): boolean {
    return this.#database.get("SELECT 1 FROM $.fleet_epochs LIMIT 1") !== null;
  }

  /** Whether there are so few events of the type, or of the device, that reading those of the gateway takes longer. */
  #areFew({ type, device = null, gateway = null }: EventQuery): boolean {
    const isBelow = (condition: string, ...values: string[]) => {
      const sql = `SELECT count(*) AS count FROM (SELECT 1 FROM $.events WHERE ${condition} LIMIT ?)`;
      return this.#database.get<{ count: number }>(sql, ...values, MANY)!.count < MANY;
    };
    return (
      (type !== null && isBelow("type = ?", type)) ||
      (device !== null && isBelow(`(${DEVICE}) IN (?, ?)`, device, `${gateway}/${device}`))
    );
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

/** @param seq the column with the sequence number: of the index that the query reads. */
function whereOf(conditions: readonly Condition[], seq: string): string {
  if (conditions.length === 0) return "";
  return ` WHERE ${conditions.map(([condition]) => condition.replace(SEQ, seq)).join(" AND ")}`;
}

function valuesOf(conditions: readonly Condition[]): (string | number)[] {
  return conditions.flatMap(([, ...values]) => values);
}

function directionOf(order: EventQuery["order"]): "ASC" | "DESC" {
  return order === "oldest" ? "ASC" : "DESC";
}
