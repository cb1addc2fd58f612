/** The rows of `traffic`: what each peer received and sent in each slot of five minutes, and its sums by hour and by day. */

import type { ClockStep } from "../base/wall-clock.ts";
import type { Database } from "./database.ts";
import { DAY_MS, HOUR_MS, type Range, ranges, SLOT_MS, stepsOf } from "./ranges.ts";

/** The bytes received from and sent to one peer in one slot. */
export interface TrafficSums {
  readonly device: string;
  readonly publicKey: string;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** The traffic of one peer over a range: one number per step; the last step is not over yet. */
export interface TrafficChart {
  readonly startMs: number;
  readonly stepMs: number;
  /** 0 in steps without traffic, also if wgmon did not run. */
  readonly rxBytes: number[];
  readonly txBytes: number[];
}

/** Length of a slot. */
export const TRAFFIC_SLOT_MS = SLOT_MS;
/** The last clause of an INSERT: adds the bytes to the row if it exists. */
const ADD_TRAFFIC = `ON CONFLICT DO UPDATE SET rx_bytes = rx_bytes + excluded.rx_bytes,
  tx_bytes = tx_bytes + excluded.tx_bytes`;
/** A day and the current slot, which is not over yet. */
const TRAFFIC_SLOTS = 24 * 12 + 1;

/** The tables, with the lengths of their slots. */
const TABLES = [
  { table: "traffic", slotMs: SLOT_MS },
  { table: "traffic_hours", slotMs: HOUR_MS },
  { table: "traffic_days", slotMs: DAY_MS },
] as const;

export class TrafficRows {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Adds traffic to the slots that contain `atMs`. */
  add(traffic: readonly TrafficSums[], atMs: number): void {
    const day = Math.floor(atMs / DAY_MS);
    this.#database.write("soon", () => {
      for (const { device, publicKey, rxBytes, txBytes } of traffic) {
        const peer = trafficKey(device, publicKey);
        for (const { table, slotMs } of TABLES) {
          this.#database.run(
            `INSERT INTO $.${table} (slot, peer, rx_bytes, tx_bytes) VALUES (?, ?, ?, ?) ${ADD_TRAFFIC}`,
            Math.floor(atMs / slotMs),
            peer,
            rxBytes,
            txBytes,
          );
        }
        this.#database.run(
          `INSERT INTO $.traffic_peers (peer, device, public_key, last_day) VALUES (?, ?, ?, ?)
           ON CONFLICT DO UPDATE SET last_day = excluded.last_day WHERE last_day < excluded.last_day`,
          peer,
          device,
          publicKey,
          day,
        );
      }
    });
  }

  /** The traffic of the day up to `nowMs`, oldest first: one number per slot; the last slot is not over yet. */
  day(device: string, publicKey: string, nowMs: number): TrafficChart {
    return this.range(device, publicKey, "24h", nowMs);
  }

  /** The traffic of one peer over a range that ends at `nowMs`, oldest first. */
  range(device: string, publicKey: string, range: Range, nowMs: number): TrafficChart {
    const { stepMs, slotMs } = ranges[range];
    const { startMs, count } = stepsOf(range, nowMs);
    const rxBytes = Array.from({ length: count }, () => 0);
    const txBytes = [...rxBytes];
    const first = startMs / slotMs;
    const slotsPerStep = stepMs / slotMs;
    // Reads one row per slot: a range would also read the rows of all other peers.
    const rows = this.#database.all<{ slot: number; rx: number; tx: number }>(
      `WITH RECURSIVE slots (number) AS (
         VALUES (?) UNION ALL SELECT number + 1 FROM slots LIMIT ${count * slotsPerStep})
       SELECT slot, rx_bytes AS rx, tx_bytes AS tx
       FROM slots CROSS JOIN $.${slotMs === SLOT_MS ? "traffic" : "traffic_hours"}
         ON slot = number AND peer = ?`,
      first,
      trafficKey(device, publicKey),
    );
    for (const { slot, rx, tx } of rows) {
      const step = Math.floor((slot - first) / slotsPerStep);
      rxBytes[step]! += rx;
      txBytes[step]! += tx;
    }
    return { startMs, stepMs, rxBytes, txBytes };
  }

  /**
   * The peers with the most traffic since a time, most first, also those that were removed since. Resolves after
   * pauses, in which other work runs.
   *
   * @param sinceMs rounded down to an hour.
   */
  async top(sinceMs: number, limit: number): Promise<TrafficSums[]> {
    return this.#database.all<TrafficSums>(
      `SELECT device, public_key AS publicKey, sum(rx_bytes) AS rxBytes, sum(tx_bytes) AS txBytes
       FROM $.traffic_hours JOIN $.traffic_peers USING (peer)
       WHERE slot >= ? GROUP BY peer ORDER BY sum(rx_bytes + tx_bytes) DESC, device, public_key LIMIT ?`,
      Math.floor(sinceMs / HOUR_MS),
      limit,
    );
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
