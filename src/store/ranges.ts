/** The time spans that the charts of the store cover, and the tables with the slots that they are read from. */

/** Slots begin at multiples of their length since 1970, so those of an hour and of a day begin with one in UTC. */
export const SLOT_MS = 300_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/** The last clause of an INSERT: adds the bytes to the row if it exists. */
/** Of at most 2^53 - 1 bytes: a gateway of a hub can claim any number. */
const ADD = `ON CONFLICT DO UPDATE SET
  rx_bytes = min(${Number.MAX_SAFE_INTEGER}, rx_bytes + excluded.rx_bytes),
  tx_bytes = min(${Number.MAX_SAFE_INTEGER}, tx_bytes + excluded.tx_bytes)`;

/** The tables with slots. `merge`: the last clause of an INSERT, which adds to the row if it exists. */
export const slotTables = {
  traffic: { slotMs: SLOT_MS, hasPeer: true, merge: ADD },
  traffic_hours: { slotMs: HOUR_MS, hasPeer: true, merge: ADD },
  traffic_days: { slotMs: DAY_MS, hasPeer: true, merge: ADD },
  gateway: {
    slotMs: SLOT_MS,
    hasPeer: false,
    // In SQLite, max() of a value and null is null.
    merge: `${ADD}, connected = max(coalesce(connected, excluded.connected), coalesce(excluded.connected, connected))`,
  },
} as const;
export type SlotTableName = keyof typeof slotTables;

export const rangeNames = ["1h", "24h", "7d", "30d"] as const;
export type Range = (typeof rangeNames)[number];

interface Steps {
  readonly spanMs: number;
  /** Length of one step of a chart. */
  readonly stepMs: number;
  /** Length of the slots that the traffic of one peer is read from; the gateway's rows always have SLOT_MS. */
  readonly slotMs: typeof SLOT_MS | typeof HOUR_MS;
}

/** 13, 289, 169 and 121 steps: each range has one more than fits, because the last step is not over yet. */
export const ranges: Readonly<Record<Range, Steps>> = {
  "1h": { spanMs: HOUR_MS, stepMs: SLOT_MS, slotMs: SLOT_MS },
  "24h": { spanMs: DAY_MS, stepMs: SLOT_MS, slotMs: SLOT_MS },
  "7d": { spanMs: 7 * DAY_MS, stepMs: HOUR_MS, slotMs: HOUR_MS },
  "30d": { spanMs: 30 * DAY_MS, stepMs: 6 * HOUR_MS, slotMs: HOUR_MS },
};

/** The start of the first step of the range that ends now, and the number of its steps. */
export function stepsOf(range: Range, nowMs: number): { startMs: number; count: number } {
  const { spanMs, stepMs } = ranges[range];
  const count = spanMs / stepMs + 1;
  return { startMs: (Math.floor(nowMs / stepMs) - count + 1) * stepMs, count };
}
