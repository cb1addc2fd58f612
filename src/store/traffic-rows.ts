/** The rows of `traffic`: what each peer received and sent in each slot of five minutes. */

import type { ClockStep } from "../base/wall-clock.ts";
import type { Database } from "./database.ts";

/** The bytes received from and sent to one peer in one slot. */
export interface TrafficSums {
  readonly device: string;
  readonly publicKey: string;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** Length of a slot. */
export const TRAFFIC_SLOT_MS = 300_000;
/** The last clause of an INSERT: adds the bytes to the row if it exists. */
const ADD_TRAFFIC = `ON CONFLICT DO UPDATE SET rx_bytes = rx_bytes + excluded.rx_bytes,
  tx_bytes = tx_bytes + excluded.tx_bytes`;
/** A day and the current slot, which is not over yet. */
const TRAFFIC_SLOTS = 24 * 12 + 1;

export class TrafficRows {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Adds traffic to the slot that contains `atMs`. */
  add(traffic: readonly TrafficSums[], atMs: number): void {
    const slot = slotOf(atMs);
    this.#database.write("soon", () => {
      for (const { device, publicKey, rxBytes, txBytes } of traffic) {
        this.#database.run(
          `INSERT INTO $.traffic (slot, peer, rx_bytes, tx_bytes) VALUES (?, ?, ?, ?) ${ADD_TRAFFIC}`,
          slot,
          trafficKey(device, publicKey),
          rxBytes,
          txBytes,
        );
      }
    });
  }

  /** The traffic of the day up to `nowMs`, oldest first: one number per slot; the last slot is not over yet. */
  day(
    device: string,
    publicKey: string,
    nowMs: number,
  ): { readonly startMs: number; readonly rxBytes: number[]; readonly txBytes: number[] } {
    const first = slotOf(nowMs) - TRAFFIC_SLOTS + 1;
    const rxBytes = Array.from({ length: TRAFFIC_SLOTS }, () => 0);
    const txBytes = [...rxBytes];
    const peer = trafficKey(device, publicKey);
    // Reads one row per slot: a range would also read the rows of all other peers.
    const rows = this.#database.all<{ slot: number; rx: number; tx: number }>(
      `WITH RECURSIVE slots (number) AS (
         VALUES (?) UNION ALL SELECT number + 1 FROM slots LIMIT ${TRAFFIC_SLOTS})
       SELECT slot, rx_bytes AS rx, tx_bytes AS tx
       FROM slots CROSS JOIN $.traffic ON slot = number AND peer = ?`,
      first,
      peer,
    );
    for (const { slot, rx, tx } of rows) {
      rxBytes[slot - first] = rx;
      txBytes[slot - first] = tx;
    }
    return { startMs: first * TRAFFIC_SLOT_MS, rxBytes, txBytes };
  }

  /** Moves the slots between `unsureFromMs` and the step, in wall-clock time; the caller's transaction writes it. */
  move({ ms, toMs }: ClockStep, unsureFromMs: number): void {
    const slots = [slotOf(unsureFromMs), slotOf(toMs)] as const;
    // Not in place: the new slot of a row may still have a row that must be moved.
    this.#database.run("CREATE TEMP TABLE IF NOT EXISTS moving (slot, peer, rx_bytes, tx_bytes)");
    this.#database.run(
      "INSERT INTO temp.moving SELECT * FROM $.traffic WHERE slot BETWEEN ? AND ?",
      ...slots,
    );
    this.#database.run("DELETE FROM $.traffic WHERE slot BETWEEN ? AND ?", ...slots);
    // Without a WHERE, ON would be parsed as part of the SELECT: sqlite.org/lang_upsert.html.
    this.#database.run(
      `INSERT INTO $.traffic SELECT slot + ?, peer, rx_bytes, tx_bytes FROM temp.moving WHERE true ${ADD_TRAFFIC}`,
      Math.round(ms / TRAFFIC_SLOT_MS),
    );
    this.#database.run("DELETE FROM temp.moving");
  }

  /**
   * Keeps a day of traffic. If the store is too big, deletes the oldest slot as well, one per call. The caller's
   * transaction writes it.
   */
  trim(isTooBig: boolean, nowMs: number): void {
    const oldest = slotOf(nowMs) - TRAFFIC_SLOTS;
    this.#database.run(
      `DELETE FROM $.traffic WHERE slot <= max(?, coalesce((SELECT min(slot) FROM $.traffic), 0) - ?)`,
      oldest,
      isTooBig ? 0 : 1,
    );
  }
}

function slotOf(atMs: number): number {
  return Math.floor(atMs / TRAFFIC_SLOT_MS);
}

/** 48 bits of a hash: the probability that two of 10,000 peers share a value is one in five million. */
function trafficKey(device: string, publicKey: string): number {
  const digest = new Bun.CryptoHasher("sha256").update(`${device} ${publicKey}`).digest();
  return digest.readUIntBE(0, 6);
}
