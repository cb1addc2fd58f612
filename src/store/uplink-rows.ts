/** The rows of `uplinks`: how far each hub has the events. Also finds the events that follow. */

import type { Event } from "../events/event-schema.ts";
import type { Database } from "./database.ts";
import type { StoredEvent } from "./stored-events.ts";

/** How far a hub has the events of an epoch. */
export interface UplinkPosition {
  readonly epoch: string;
  /** The last event that the hub, or the stream on the way to it, has acknowledged. */
  readonly sent: number;
  /** The last event that the hub has committed, with all before it. */
  readonly confirmed: number;
  /** The place of the event `sent` in the stream; null: unknown, or there is no stream. */
  readonly streamSeq: number | null;
}

export class UplinkRows {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** null: nothing was sent to this hub yet. */
  position(target: string): UplinkPosition | null {
    return this.#database.get<UplinkPosition>(
      `SELECT epoch, sent_seq AS sent, confirmed_seq AS confirmed, stream_seq AS streamSeq
       FROM $.uplinks WHERE target = ?`,
      target,
    );
  }

  /** A power failure may undo it; the hub then says again what it has. */
  save(target: string, { epoch, sent, confirmed, streamSeq }: UplinkPosition): void {
    this.#database.write("soon", () =>
      this.#database.run(
        `INSERT OR REPLACE INTO $.uplinks (target, epoch, sent_seq, confirmed_seq, stream_seq)
         VALUES (?, ?, ?, ?, ?)`,
        target,
        epoch,
        sent,
        confirmed,
        streamSeq,
      ),
    );
  }

  /** Forgets other hubs: the events that they do not have would be copied to memory when the file fails. */
  keepOnly(target: string): void {
    if (this.#database.get("SELECT 1 FROM $.uplinks WHERE target <> ?", target) === null) return;
    this.#database.write("soon", () =>
      this.#database.run("DELETE FROM $.uplinks WHERE target <> ?", target),
    );
  }

  /** The oldest events with after < seq < end; null: there is no end. */
  events(after: number, end: number | null, limit: number): StoredEvent[] {
    return this.#database
      .all<{ seq: number; body: string }>(
        "SELECT seq, body FROM $.events WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",
        after,
        end ?? Number.MAX_SAFE_INTEGER,
        limit,
      )
      .map(({ seq, body }) => ({ seq, event: JSON.parse(body) as Event }));
  }

  /** The id of an event; null: the store does not have it. */
  idOf(seq: number): string | null {
    return (
      this.#database.get<{ id: string }>("SELECT id FROM $.events WHERE seq = ?", seq)?.id ?? null
    );
  }

  /** The first event after this sequence number; null: no event follows. */
  next(after: number): { readonly seq: number; readonly atMs: number } | null {
    return this.#database.get(
      "SELECT seq, at_ms AS atMs FROM $.events WHERE seq > ? ORDER BY seq LIMIT 1",
      after,
    );
  }

  /** The last sequence number that was used before `end`; null: none since the store began. */
  last(end: number | null): number {
    const row =
      end === null
        ? this.#database.get<{ seq: number }>(
            "SELECT seq FROM $.sqlite_sequence WHERE name = 'events'",
          )
        : this.#database.get<{ seq: number | null }>(
            "SELECT max(seq) AS seq FROM $.events WHERE seq < ?",
            end,
          );
    return row?.seq ?? 0;
  }
}
