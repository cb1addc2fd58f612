/** A table with sums by time slot: finds its oldest slot, deletes old slots, and moves slots after a step of the clock. */

import type { ClockStep } from "../base/wall-clock.ts";
import type { Database } from "./database.ts";
import { type SlotTableName, slotTables } from "./ranges.ts";

export class SlotTable {
  readonly name: SlotTableName;
  readonly slotMs: number;
  /** Writes rows, given by a SELECT or by VALUES, to the table: adds them to the rows that exist. */
  readonly #merge: string;
  readonly #key: string;
  readonly #columns: string;
  readonly #database: Database;

  constructor(database: Database, name: SlotTableName) {
    const { slotMs, merge, hasPeer } = slotTables[name];
    this.#database = database;
    this.name = name;
    this.slotMs = slotMs;
    this.#merge = merge;
    this.#key = hasPeer ? "slot, peer" : "slot";
    this.#columns = hasPeer ? "peer, rx_bytes, tx_bytes" : "rx_bytes, tx_bytes, connected";
  }

  /** The end of the oldest slot; null if the table is empty. */
  get oldestEndMs(): number | null {
    const { slot } = this.#database.get<{ slot: number | null }>(
      `SELECT min(slot) AS slot FROM $.${this.name}`,
    )!;
    return slot === null ? null : (slot + 1) * this.slotMs;
  }

  /** Adds to the slot that contains `atMs`; the caller's transaction writes it. */
  add(atMs: number, values: readonly [number, number, number]): void {
    this.#database.run(
      `INSERT INTO $.${this.name} (slot, ${this.#columns}) VALUES (?, ?, ?, ?) ${this.#merge}`,
      Math.floor(atMs / this.slotMs),
      ...values,
    );
  }

  /**
   * Deletes at most `limit` rows of slots that ended before `beforeMs`, oldest first; the caller's transaction writes
   * it. Returns their number.
   */
  deleteBefore(beforeMs: number, limit: number): number {
    const key = this.#key;
    return this.#database.run(
      `DELETE FROM $.${this.name} WHERE (${key}) IN (
         SELECT ${key} FROM $.${this.name} WHERE slot < ? ORDER BY ${key} LIMIT ?)`,
      Math.floor(beforeMs / this.slotMs),
      limit,
    );
  }

  /** Moves the slots between `unsureFromMs` and the step, in wall-clock time; the caller's transaction writes it. */
  move({ ms, toMs }: ClockStep, unsureFromMs: number): void {
    const by = Math.round(ms / this.slotMs);
    if (by === 0) return;
    const slots = [Math.floor(unsureFromMs / this.slotMs), Math.floor(toMs / this.slotMs)] as const;
    const moving = `temp.moving_${this.name}`;
    // Not in place: the new slot of a row may still have a row that must be moved.
    this.#database.run(`CREATE TEMP TABLE IF NOT EXISTS moving_${this.name} (slot, a, b, c)`);
    this.#database.run(
      `INSERT INTO ${moving} SELECT slot, ${this.#columns} FROM $.${this.name} WHERE slot BETWEEN ? AND ?`,
      ...slots,
    );
    this.#database.run(`DELETE FROM $.${this.name} WHERE slot BETWEEN ? AND ?`, ...slots);
    // Without a WHERE, ON would be parsed as part of the SELECT: sqlite.org/lang_upsert.html.
    this.#database.run(
      `INSERT INTO $.${this.name} (slot, ${this.#columns})
       SELECT slot + ?, a, b, c FROM ${moving} WHERE true ${this.#merge}`,
      by,
    );
    this.#database.run(`DELETE FROM ${moving}`);
  }
}
