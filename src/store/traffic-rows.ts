/** The rows of `traffic`: what each peer received and sent in each slot of five minutes, and its sums by hour and day. */

import type { ClockStep } from "../base/wall-clock.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { Database } from "./database.ts";
import { DAY_MS, HOUR_MS, type Range, ranges, SLOT_MS, stepsOf } from "./ranges.ts";
import { SlotTable } from "./slot-table.ts";

/** The bytes received from and sent to one peer in one slot. */
export interface TrafficSums {
  readonly device: string;
  readonly publicKey: string;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** The traffic of a peer in one slot. */
export interface TrafficSlot extends TrafficSums {
  readonly startMs: number;
  /** An hour, or five minutes. */
  readonly spanMs: number;
}

/** A peer with its traffic. */
export interface TopPeer extends TrafficSums {
  readonly publicKey: PublicKey;
}

/** The traffic of one peer over a range: one number per step; the last step is not over yet. */
export interface TrafficChart {
  readonly startMs: number;
  readonly stepMs: number;
  /** 0 in steps without traffic, also if wgmon did not run. */
  readonly rxBytes: number[];
  readonly txBytes: number[];
}

/** Rows that `top` reads without a pause; more would delay packets by milliseconds. */
const TOP_SLICE = 2000;
const HOURS = DAY_MS / HOUR_MS;
const HOUR_SLOTS = HOUR_MS / SLOT_MS;
/** Slots of five minutes are kept for this long: a day, which has 25 hours when the clocks are set back. */
const SLOTS_KEPT_MS = DAY_MS + HOUR_MS;

export class TrafficRows {
  readonly #database: Database;
  readonly #slots: SlotTable;
  readonly #hours: SlotTable;
  readonly #days: SlotTable;
  /** The last result of `top`, until the rows change. */
  #top: { readonly key: string; readonly peers: Promise<TopPeer[]> } | null = null;
  /** Ends when the last read that `top` began has ended. */
  #reading: Promise<unknown> = Promise.resolve();

  constructor(database: Database) {
    this.#database = database;
    this.#slots = new SlotTable(database, "traffic");
    this.#hours = new SlotTable(database, "traffic_hours");
    this.#days = new SlotTable(database, "traffic_days");
  }

  get tables(): readonly SlotTable[] {
    return [this.#slots, this.#hours, this.#days];
  }

  /** Adds traffic to the slots that contain `atMs`. */
  add(traffic: readonly TrafficSums[], atMs: number): void {
    const day = Math.floor(atMs / DAY_MS);
    this.#top = null;
    this.#database.write("soon", () => {
      for (const { device, publicKey, rxBytes, txBytes } of traffic) {
        const peer = trafficKey(device, publicKey);
        for (const table of this.tables) table.add(atMs, [peer, rxBytes, txBytes]);
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
   * The peers with the most traffic since a time, most first, also those that were removed since. Reads the rows in
   * slices, with other work in between, and one read at a time. The result is kept until the rows change.
   *
   * @param sinceMs rounded down to five minutes; to an hour if it is longer ago than slots of five minutes are kept.
   */
  async top(sinceMs: number, limit: number): Promise<TopPeer[]> {
    const sinceSlot = Math.floor(sinceMs / SLOT_MS);
    const key = `${sinceSlot} ${limit}`;
    if (this.#top?.key !== key) {
      const peers = this.#reading.then(() => this.#readTop(sinceSlot, limit));
      const top = { key, peers };
      this.#top = top;
      this.#reading = peers.catch(() => {
        // Not kept after an error. The caller handles the error.
        if (this.#top === top) this.#top = null;
      });
    }
    return await this.#top.peers;
  }

  /**
   * The traffic of all peers, oldest first: by hour, and of the last day by five minutes. Peers whose rows an older wgmon
   * wrote are left out until they have traffic again.
   */
  *history(): Iterable<TrafficSlot> {
    const oldestMs = (this.#slots.oldestEndMs ?? Infinity) - SLOT_MS;
    const slotsFromMs = Math.ceil(oldestMs / HOUR_MS) * HOUR_MS;
    const peers = new Map(
      this.#database
        .all<{ peer: number; device: string; publicKey: PublicKey }>(
          "SELECT peer, device, public_key AS publicKey FROM $.traffic_peers",
        )
        .map(({ peer, ...rest }) => [peer, rest]),
    );
    yield* this.#slotsOf(this.#hours, { fromMs: 0, toMs: slotsFromMs }, peers);
    yield* this.#slotsOf(this.#slots, { fromMs: slotsFromMs, toMs: Infinity }, peers);
  }

  *#slotsOf(
    table: SlotTable,
    { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
    peers: ReadonlyMap<number, Pick<TopPeer, "device" | "publicKey">>,
  ): Iterable<TrafficSlot> {
    if (fromMs === Infinity) return;
    const { slotMs } = table;
    for (const rows of this.#slices(table, { from: fromMs / slotMs, to: toMs / slotMs })) {
      for (const { slot, peer, rx, tx } of rows) {
        const named = peers.get(peer);
        if (named === undefined) continue;
        yield { ...named, rxBytes: rx, txBytes: tx, startMs: slot * slotMs, spanMs: slotMs };
      }
    }
  }

  async #readTop(sinceSlot: number, limit: number): Promise<TopPeer[]> {
    const sums = new Map<number, { rxBytes: number; txBytes: number }>();
    // The rest of an hour is only in the slots of five minutes.
    const oldestSlotEndMs = this.#slots.oldestEndMs ?? Infinity;
    const hasSlots = oldestSlotEndMs <= (sinceSlot + 1) * SLOT_MS;
    const sinceHour = hasSlots
      ? Math.ceil(sinceSlot / HOUR_SLOTS)
      : Math.floor(sinceSlot / HOUR_SLOTS);
    const firstDay = Math.floor(sinceHour / HOURS);
    const hours = sinceHour - firstDay * HOURS;
    // Of the first day, either adds the hours from the given one on, or subtracts those before it from the whole day.
    // The latter only if retention has deleted none of them, which is certain if there is an hour of the day before.
    const oldestEndMs = this.#hours.oldestEndMs ?? Infinity;
    const isMostlyWanted = hours === 0 || (hours <= HOURS / 2 && oldestEndMs <= firstDay * DAY_MS);
    const wholeFrom = firstDay + (isMostlyWanted ? 0 : 1);
    const from = isMostlyWanted ? firstDay * HOURS : sinceHour;
    const to = isMostlyWanted ? sinceHour : wholeFrom * HOURS;
    const wholeHoursFrom = sinceHour * HOUR_SLOTS;
    await this.#sum(this.#slots, { from: sinceSlot, to: wholeHoursFrom, sign: 1 }, sums);
    await this.#sum(this.#days, { from: wholeFrom, to: Infinity, sign: 1 }, sums);
    await this.#sum(this.#hours, { from, to, sign: isMostlyWanted ? -1 : 1 }, sums);
    const ordered = [...sums]
      .map(([peer, { rxBytes, txBytes }]) => ({ peer, rxBytes, txBytes, all: rxBytes + txBytes }))
      .filter(({ all }) => all > 0)
      .toSorted((a, b) => b.all - a.all || a.peer - b.peer);
    const found: TopPeer[] = [];
    for (const { peer, rxBytes, txBytes } of ordered) {
      if (found.length === limit) break;
      // Rows that an older wgmon wrote have no name until the peer has traffic again.
      const name = this.#database.get<{ device: string; publicKey: PublicKey }>(
        "SELECT device, public_key AS publicKey FROM $.traffic_peers WHERE peer = ?",
        peer,
      );
      if (name !== null) found.push({ ...name, rxBytes, txBytes });
    }
    return found;
  }

  /** Adds the rows of the slots from `from` to before `to` to the sums, or subtracts them. */
  async #sum(
    table: SlotTable,
    { from, to, sign }: { readonly from: number; readonly to: number; readonly sign: 1 | -1 },
    sums: Map<number, { rxBytes: number; txBytes: number }>,
  ): Promise<void> {
    for (const rows of this.#slices(table, { from, to })) {
      for (const { peer, rx, tx } of rows) {
        const sum = sums.get(peer) ?? { rxBytes: 0, txBytes: 0 };
        sum.rxBytes += sign * rx;
        sum.txBytes += sign * tx;
        sums.set(peer, sum);
      }
      if (rows.length === TOP_SLICE) {
        await new Promise<void>((resolve) => void setImmediate(resolve));
      }
    }
  }

  /** The rows of the slots from `from` to before `to`, in their order, at most TOP_SLICE at a time. */
  *#slices(
    { name }: SlotTable,
    { from, to }: { readonly from: number; readonly to: number },
  ): Iterable<readonly Record<"slot" | "peer" | "rx" | "tx", number>[]> {
    let last = { slot: from, peer: -1 };
    for (;;) {
      const rows = this.#database.all<Record<"slot" | "peer" | "rx" | "tx", number>>(
        `SELECT slot, peer, rx_bytes AS rx, tx_bytes AS tx FROM $.${name}
         WHERE (slot, peer) > (?, ?) AND slot < ? ORDER BY slot, peer LIMIT ${TOP_SLICE}`,
        last.slot,
        last.peer,
        Math.min(to, Number.MAX_SAFE_INTEGER),
      );
      yield rows;
      if (rows.length < TOP_SLICE) return;
      last = rows.at(-1)!;
    }
  }

  /** Moves the slots between `unsureFromMs` and the step, in wall-clock time; the caller's transaction writes it. */
  move(step: ClockStep, unsureFromMs: number): void {
    this.#top = null;
    this.#slots.move(step, unsureFromMs);
    this.#hours.move(step, unsureFromMs);
    // An hour may now be in another day.
    const days = [unsureFromMs, step.toMs, unsureFromMs + step.ms, step.toMs + step.ms].map((ms) =>
      Math.floor(ms / DAY_MS),
    );
    const range = [Math.min(...days), Math.max(...days)] as const;
    this.#database.run("DELETE FROM $.traffic_days WHERE slot BETWEEN ? AND ?", ...range);
    this.#database.run(
      `INSERT INTO $.traffic_days (slot, peer, rx_bytes, tx_bytes)
       SELECT slot / ${HOURS} AS day, peer, sum(rx_bytes), sum(tx_bytes) FROM $.traffic_hours
       WHERE slot BETWEEN ?1 * ${HOURS} AND ?2 * ${HOURS} + ${HOURS - 1} GROUP BY day, peer`,
      ...range,
    );
    this.#database.run(
      "UPDATE $.traffic_peers SET last_day = last_day + ? WHERE last_day BETWEEN ? AND ?",
      Math.round(step.ms / DAY_MS),
      ...range,
    );
  }

  /**
   * Deletes at most `limit` rows of each table: slots of five minutes that are older than 25 hours, and sums that are
   * older than `beforeMs`. The caller's transaction writes it. Returns the number of rows deleted from each.
   */
  trim(beforeMs: number, nowMs: number, limit: number): number[] {
    return [
      this.#slots.deleteBefore(nowMs - SLOTS_KEPT_MS, limit),
      this.deleteBefore(this.#hours, beforeMs, limit),
      this.deleteBefore(this.#days, beforeMs, limit),
    ];
  }

  /** Deletes rows of one table like SlotTable.deleteBefore, and the names of peers without rows. */
  deleteBefore(table: SlotTable, beforeMs: number, limit: number): number {
    const deleted = table.deleteBefore(beforeMs, limit);
    if (deleted > 0 && table !== this.#slots) this.#top = null;
    if (deleted > 0 && table === this.#days) this.#trimPeers();
    return deleted;
  }

  /** Deletes the names of peers that have no rows. A row may be a day later than its peer's `last_day`: see `move`. */
  #trimPeers(): void {
    const endMs = this.#days.oldestEndMs ?? 0;
    this.#database.run("DELETE FROM $.traffic_peers WHERE last_day < ?", endMs / DAY_MS - 2);
  }
}

/** 48 bits of a hash: the probability that two of 10,000 peers share a value is one in five million. */
function trafficKey(device: string, publicKey: string): number {
  const digest = new Bun.CryptoHasher("sha256").update(`${device} ${publicKey}`).digest();
  return digest.readUIntBE(0, 6);
}
