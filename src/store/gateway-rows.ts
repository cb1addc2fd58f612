/**
 * The rows of `gateway`: in each slot of five minutes, the number of connected peers and the bytes of all peers. A slot
 * in which wgmon did not run has no row.
 */

import type { Database } from "./database.ts";
import { type Range, ranges, SLOT_MS, stepsOf } from "./ranges.ts";
import { SlotTable } from "./slot-table.ts";

/** What is added to a slot. */
export interface GatewaySums {
  readonly rxBytes: number;
  readonly txBytes: number;
  /** The most peers that were connected at once. */
  readonly connected: number;
}

/** The gateway over a range. A step in which wgmon did not run is null. */
export interface GatewayChart {
  readonly startMs: number;
  readonly stepMs: number;
  readonly rxBytes: (number | null)[];
  readonly txBytes: (number | null)[];
  /** The most peers that were connected at once in each step. */
  readonly connected: (number | null)[];
}

export class GatewayRows {
  readonly #database: Database;
  readonly table: SlotTable;

  constructor(database: Database) {
    this.#database = database;
    this.table = new SlotTable(database, "gateway");
  }

  /** Adds to the slot that contains `atMs`. */
  add({ rxBytes, txBytes, connected }: GatewaySums, atMs: number): void {
    this.#database.write("soon", () => this.table.add(atMs, [rxBytes, txBytes, connected]));
  }

  /**
   * The times without rows between the first row and `untilMs`, oldest first: wgmon did not run. They are known to five
   * minutes.
   */
  gaps(untilMs: number): { readonly fromMs: number; readonly toMs: number }[] {
    const rows = this.#database.all<{ slot: number }>("SELECT slot FROM $.gateway ORDER BY slot");
    const ends = [...rows.map(({ slot }) => slot), Math.floor(untilMs / SLOT_MS)];
    return ends.slice(1).flatMap((slot, index) => {
      const before = ends[index]!;
      // The row of the present slot is written after a minute.
      const isGap = index === rows.length - 1 ? slot - before > 2 : slot - before > 1;
      return isGap ? [{ fromMs: (before + 1) * SLOT_MS, toMs: slot * SLOT_MS }] : [];
    });
  }

  range(range: Range, nowMs: number): GatewayChart {
    const { stepMs } = ranges[range];
    const { startMs, count } = stepsOf(range, nowMs);
    const none = (): (number | null)[] => Array.from({ length: count }, () => null);
    const chart = { startMs, stepMs, rxBytes: none(), txBytes: none(), connected: none() };
    const first = startMs / SLOT_MS;
    const slotsPerStep = stepMs / SLOT_MS;
    const rows = this.#database.all<Record<"step" | "rx" | "tx" | "connected", number>>(
      `SELECT (slot - ?1) / ?2 AS step, sum(rx_bytes) AS rx, sum(tx_bytes) AS tx,
         max(connected) AS connected
       FROM $.gateway WHERE slot >= ?1 AND slot < ?1 + ?2 * ?3 GROUP BY step`,
      first,
      slotsPerStep,
      count,
    );
    for (const { step, rx, tx, connected } of rows) {
      chart.rxBytes[step] = rx;
      chart.txBytes[step] = tx;
      chart.connected[step] = connected;
    }
    return chart;
  }
}
