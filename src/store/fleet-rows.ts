/**
 * The rows of `fleet_gateways`, `fleet_epochs` and `fleet_events`, which only a hub has: the enrolled gateways, how far
 * the hub has their events, and the place of each event in its gateway's store.
 */

import type { Database } from "./database.ts";

/** An enrolled gateway. */
export interface GatewayRow {
  readonly gateway: string;
  /** `whsec_...`; null if the transport authenticates the gateway. */
  readonly secret: string | null;
  /** JSON. */
  readonly state: string;
}

/** An epoch of a gateway's events. */
export interface EpochRow {
  readonly id: number;
  readonly epoch: string;
  readonly firstSeq: number;
  /** The hub has the events from `firstSeq` to this one, except those that the gateway does not have. */
  readonly confirmedSeq: number;
  /** The largest `confirmedSeq` so far: after a rebuild, it is larger. */
  readonly hadSeq: number;
}

export class FleetRows {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  gateways(): GatewayRow[] {
    return this.#database.all<GatewayRow>(
      "SELECT gateway, secret, state FROM $.fleet_gateways ORDER BY gateway",
    );
  }

  /** Adds a gateway, or replaces its secret. */
  enroll(gateway: string, secret: string | null): void {
    this.#database.write("now", () =>
      this.#database.run(
        `INSERT INTO $.fleet_gateways (gateway, secret, state) VALUES (?, ?, '{}')
         ON CONFLICT (gateway) DO UPDATE SET secret = excluded.secret`,
        gateway,
        secret,
      ),
    );
  }

  /** Deletes a gateway and its secret. Its events stay. Returns whether it was enrolled. */
  forget(gateway: string): boolean {
    return this.#database.write(
      "now",
      () => this.#database.run("DELETE FROM $.fleet_gateways WHERE gateway = ?", gateway) > 0,
    );
  }

  /** Saves the states of gateways. They survive the end of the process. */
  saveStates(states: ReadonlyMap<string, string>): void {
    if (states.size === 0) return;
    this.#database.write("soon", () => {
      for (const [gateway, state] of states) {
        this.#database.run(
          "UPDATE $.fleet_gateways SET state = ? WHERE gateway = ?",
          state,
          gateway,
        );
      }
    });
  }

  /** The epochs of a gateway, in the order in which they became known. */
  epochs(gateway: string): EpochRow[] {
    return this.#database.all<EpochRow>(
      `SELECT id, epoch, first_seq AS firstSeq, confirmed_seq AS confirmedSeq,
         max(confirmed_seq, coalesce((SELECT max(seq) FROM $.fleet_events WHERE source = id), 0)) AS hadSeq
       FROM $.fleet_epochs WHERE gateway = ? ORDER BY id`,
      gateway,
    );
  }

  /** Asks for all events again: of one gateway, or of all (null). The events stay. */
  unconfirm(gateway: string | null): void {
    const where = gateway === null ? "" : "WHERE gateway = ?";
    this.#database.write("now", () =>
      this.#database.run(
        `UPDATE $.fleet_epochs SET confirmed_seq = first_seq - 1 ${where}`,
        ...(gateway === null ? [] : [gateway]),
      ),
    );
  }

  /** Adds an epoch of a gateway, of which there are no events yet. Returns its id. */
  addEpoch(gateway: string, epoch: string, firstSeq: number): number {
    return this.#database.write(
      "now",
      () =>
        this.#database.get<{ id: number }>(
          `INSERT INTO $.fleet_epochs (gateway, epoch, first_seq, confirmed_seq)
           VALUES (?, ?, ?, ?) RETURNING id`,
          gateway,
          epoch,
          firstSeq,
          firstSeq - 1,
        )!.id,
    );
  }

  /** The ids of the events at these places, by place; places without an event are missing. */
  idsAt(source: number, fromSeq: number, toSeq: number): ReadonlyMap<number, string> {
    const rows = this.#database.all<{ seq: number; id: string }>(
      `SELECT fleet_events.seq AS seq, id FROM $.fleet_events JOIN $.events ON events.seq = event
       WHERE source = ? AND fleet_events.seq BETWEEN ? AND ?`,
      source,
      fromSeq,
      toSeq,
    );
    return new Map(rows.map(({ seq, id }) => [seq, id]));
  }

  /** The sequence number here of the event with this id; null: it is not stored. */
  eventOf(id: string): number | null {
    return (
      this.#database.get<{ seq: number }>("SELECT seq FROM $.events WHERE id = ?", id)?.seq ?? null
    );
  }

  // ---- In the caller's transaction ----

  confirm(source: number, seq: number): void {
    this.#database.run("UPDATE $.fleet_epochs SET confirmed_seq = ? WHERE id = ?", seq, source);
  }

  addPlace(source: number, seq: number, event: number): void {
    this.#database.run(
      "INSERT OR IGNORE INTO $.fleet_events (source, seq, event) VALUES (?, ?, ?)",
      source,
      seq,
      event,
    );
  }
}
