/**
 * The rows of `epochs`: within an epoch, a sequence number identifies one event, also for a hub. fleet/messages.ts
 * explains epochs. failover-rows.ts begins an epoch when the file fails.
 */

import type { Database } from "./database.ts";

export interface Epoch {
  readonly epoch: string;
  /** The first sequence number; that of the oldest event, if retention has deleted earlier ones. */
  readonly first: number;
  /** The first number of the next epoch; null: this is the last epoch. */
  readonly end: number | null;
}

/** SQL for a new epoch: 8 hexadecimal digits. */
export const NEW_EPOCH = "lower(hex(randomblob(4)))";

export class EpochRows {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** All epochs that the store has events of, and the last one, in order. The first call begins an epoch. */
  all(): readonly Epoch[] {
    const rows = this.#rows();
    const oldest = this.#oldestSeq();
    const isOver = (index: number) => (rows[index + 1]?.first ?? Infinity) <= oldest;
    if (rows.length === 0) {
      this.#database.write("now", () =>
        this.#database.run(
          `INSERT INTO $.epochs (first_seq, epoch) VALUES (?, ${NEW_EPOCH})`,
          oldest,
        ),
      );
      return this.all();
    }
    return rows.flatMap(({ epoch, first }, index) => {
      const end = rows[index + 1]?.first ?? null;
      return isOver(index) ? [] : [{ epoch, first: Math.max(first, oldest), end }];
    });
  }

  /** Replaces each epoch by a new one, because another store has used the present ones for other events. */
  renew(): void {
    this.#database.write("now", () => {
      this.#database.run(
        "DELETE FROM $.epochs WHERE first_seq < (SELECT max(first_seq) FROM $.epochs WHERE first_seq <= ?)",
        this.#oldestSeq(),
      );
      this.#database.run(`UPDATE $.epochs SET epoch = ${NEW_EPOCH}`);
    });
  }

  #rows(): { readonly epoch: string; readonly first: number }[] {
    return this.#database.all("SELECT epoch, first_seq AS first FROM $.epochs ORDER BY first_seq");
  }

  /** The sequence number of the oldest event; without events, that of the next one. */
  #oldestSeq(): number {
    return this.#database.get<{ seq: number }>(
      `SELECT coalesce((SELECT min(seq) FROM $.events),
         (SELECT seq FROM $.sqlite_sequence WHERE name = 'events') + 1, 1) AS seq`,
    )!.seq;
  }
}
