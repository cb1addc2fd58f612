/** TrafficRows and GatewayRows: sums by range, retention, steps of the clock, and a store of an earlier version. */

import { Database as Sqlite } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";

import { createLog } from "../../src/platform/log.ts";
import {
  DAY_MS,
  HOUR_MS,
  type Range,
  rangeNames,
  ranges,
  SLOT_MS,
} from "../../src/store/ranges.ts";
import { migrations } from "../../src/store/schema.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { ALICE, BOB } from "../support/peers.ts";
import { keyOf } from "../support/source.ts";

/** The last version whose store has no sums by hour. */
const OLD_VERSION = 6;
const NOW = Date.UTC(2026, 5, 1, 10, 2);

const folders: string[] = [];
const stores: Store[] = [];
afterEach(() => {
  for (const store of stores.splice(0)) store[Symbol.dispose]();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wgmon-traffic-"));
  folders.push(path);
  return path;
}

async function open(directory: string | null = null): Promise<Store> {
  const log = createLog({ format: "journal", level: "error", write: () => {} });
  const store = await Store.open({ directory, clock: new HandClock(), log });
  stores.push(store);
  return store;
}

function add(store: Store, atMs: number, rxBytes: number, publicKey: string = ALICE): void {
  store.traffic.add([{ device: "wg0", publicKey, rxBytes, txBytes: 2 * rxBytes }], atMs);
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);
const rx = (store: Store, range: Range, nowMs = NOW) =>
  sum(store.traffic.range("wg0", ALICE, range, nowMs).rxBytes);

describe("a range of a peer's traffic", () => {
  test("has the bytes of each step, as a sum of all rows", async () => {
    const minutes = fc.integer({ min: 0, max: 40 * 24 * 60 });
    const rows = fc.array(fc.record({ minutes, rxBytes: fc.nat(1000) }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(rows, minutes, fc.constantFrom(...rangeNames), async (rows, now, range) => {
        const log = createLog({ format: "journal", level: "error", write: () => {} });
        using store = await Store.open({ directory: null, clock: new HandClock(), log });
        const nowMs = NOW + now * 60_000;
        const past = rows.filter(({ minutes }) => minutes <= now);
        for (const { minutes, rxBytes } of past) {
          add(store, NOW + minutes * 60_000, rxBytes);
          add(store, NOW + minutes * 60_000, 1, BOB);
        }
        const { startMs, stepMs, rxBytes, txBytes } = store.traffic.range(
          "wg0",
          ALICE,
          range,
          nowMs,
        );
        expect(rxBytes.length).toBeWithin(12, 301);
        expect(startMs % stepMs).toBe(0);
        // The range is covered, and the last step contains the present.
        expect(startMs).toBeLessThanOrEqual(nowMs - ranges[range].spanMs + stepMs);
        expect(startMs + rxBytes.length * stepMs).toBeWithin(nowMs + 1, nowMs + stepMs + 1);
        const expected = rxBytes.map((_, step) => {
          const fromMs = startMs + step * stepMs;
          return sum(
            past
              .filter(({ minutes }) => {
                const atMs = NOW + minutes * 60_000;
                return atMs >= fromMs && atMs < fromMs + stepMs;
              })
              .map(({ rxBytes }) => rxBytes),
          );
        });
        expect(rxBytes).toEqual(expected);
        expect(txBytes).toEqual(expected.map((bytes) => 2 * bytes));
      }),
      { numRuns: 60 },
    );
  });
});

describe("the peers with most traffic", () => {
  test("are those of the hours since a time, also across days", async () => {
    const hours = fc.integer({ min: 0, max: 80 });
    const row = fc.record({ hours, peer: fc.nat(4), rxBytes: fc.integer({ min: 1, max: 1000 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(row, { maxLength: 30 }), hours, async (rows, since) => {
        const log = createLog({ format: "journal", level: "error", write: () => {} });
        using store = await Store.open({ directory: null, clock: new HandClock(), log });
        for (const { hours, peer, rxBytes } of rows) {
          add(store, NOW + hours * HOUR_MS, rxBytes, keyOf(peer));
        }
        const expected = new Map<string, number>();
        for (const { hours, peer, rxBytes } of rows) {
          if (hours >= since) expected.set(keyOf(peer), (expected.get(keyOf(peer)) ?? 0) + rxBytes);
        }
        const top = await store.traffic.top(NOW + since * HOUR_MS, 10);
        expect(new Map(top.map(({ publicKey, rxBytes }) => [publicKey, rxBytes]))).toEqual(
          expected as never,
        );
        const order = top.map(({ rxBytes }) => rxBytes);
        expect(order).toEqual(order.toSorted((a, b) => b - a));
        expect(await store.traffic.top(NOW + since * HOUR_MS, 2)).toEqual(top.slice(0, 2));
      }),
      { numRuns: 60 },
    );
  });

  test("are found among many, and again after more traffic", async () => {
    const store = await open();
    const rows = Array.from({ length: 5000 }, (_, n) => ({
      device: "wg0",
      publicKey: keyOf(n),
      rxBytes: n,
      txBytes: 0,
    }));
    store.traffic.add(rows, NOW);
    const best = async () => (await store.traffic.top(NOW, 1)).map(({ rxBytes }) => rxBytes);
    expect(await best()).toEqual([4999]);
    store.traffic.add([rows[4999]!], NOW);
    expect(await best()).toEqual([9998]);
  });
});

test("only one read of the peers with most traffic runs at a time", async () => {
  const store = await open();
  const rows = Array.from({ length: 5000 }, (_, n) => {
    return { device: "wg0", publicKey: keyOf(n), rxBytes: n, txBytes: 0 };
  });
  store.traffic.add(rows, NOW);
  const ended: string[] = [];
  await Promise.all([
    store.traffic.top(NOW, 1).then(() => ended.push("long")),
    store.traffic.top(NOW + 9 * DAY_MS, 1).then(() => ended.push("short")),
  ]);
  expect(ended).toEqual(["long", "short"]);
});

describe("retention", () => {
  const limits = { keepMs: 40 * DAY_MS, maxBytes: 1e9 };
  const trimAll = (store: Store, retention: typeof limits, nowMs: number) => {
    let steps = 0;
    while (store.trim(retention, nowMs)) if (++steps > 10_000) throw new Error("endless");
  };

  test("keeps slots of five minutes for a day, and the sums for --keep", async () => {
    const store = await open();
    for (let hour = 0; hour < 50 * 24; hour += 6) {
      add(store, NOW - hour * HOUR_MS, 1);
      store.totals.add({ rxBytes: 1, txBytes: 1, connected: 1 }, NOW - hour * HOUR_MS);
    }
    trimAll(store, limits, NOW);
    const steps = (nowMs: number) =>
      store.totals.range("30d", nowMs).connected.filter((each) => each !== null).length;
    expect(rx(store, "30d")).toBe(121);
    expect(steps(NOW)).toBe(121);
    expect(rx(store, "30d", NOW - 20 * DAY_MS)).toBe(20 * 4 + 1);
    expect(steps(NOW - 20 * DAY_MS)).toBe(20 * 4 + 1);
    expect(rx(store, "24h")).toBe(5);
    expect(rx(store, "24h", NOW - DAY_MS)).toBe(1);
    const names = await store.traffic.top(0, 9);
    expect(names).toHaveLength(1);
    trimAll(store, { ...limits, keepMs: 0 }, NOW + 3 * DAY_MS);
    expect(await store.traffic.top(0, 9)).toEqual([]);
  });

  test("deletes the oldest rows of all kinds above the maximum size, so that all reach equally far back", async () => {
    const store = await open(folder());
    const traffic = (n: number) => ({ device: "wg0", publicKey: keyOf(n), rxBytes: 1, txBytes: 1 });
    const rows = Array.from({ length: 100 }, (_, n) => traffic(n));
    const endedAt = (endedAtMs: number) => ({
      device: "wg0",
      publicKey: ALICE,
      startedAtMs: endedAtMs - 1000,
      endedAtMs,
      durationMs: 1000,
      reason: "idle" as const,
      endpoint: null,
      rxBytes: 0,
      txBytes: 0,
      roams: 0,
      peer: { lastHandshakeMs: null, rxBytes: 0, txBytes: 0 },
    });
    // Far more sums than sessions.
    for (let hour = 20 * 24; hour >= 0; hour--) {
      store.traffic.add(rows, NOW - hour * HOUR_MS);
      const ended = [endedAt(NOW - hour * HOUR_MS)];
      store.record({ events: [], sessions: [], ended, devices: null }, 0);
    }
    trimAll(store, { ...limits, maxBytes: 1_000_000 }, NOW);
    const { rxBytes, startMs, stepMs } = store.traffic.range("wg0", keyOf(7), "30d", NOW);
    const firstMs = startMs + rxBytes.findIndex((bytes) => bytes > 0) * stepMs;
    const oldest = store.sessions
      .query({ device: null, publicKey: null, sinceMs: null, isOpen: null, from: null, limit: 999 })
      .at(-1)!;
    expect(Math.abs(firstMs - oldest.endedAtMs!)).toBeLessThan(DAY_MS);
    expect(firstMs).toBeLessThan(NOW - 2 * DAY_MS);
    expect(rx(store, "24h")).toBe(0);
    expect(sum(store.traffic.range("wg0", keyOf(7), "24h", NOW).rxBytes)).toBe(25);
  });

  test("does not add traffic from before a time to the sum since it, after the hours before it were deleted", async () => {
    const store = await open();
    const day = Math.floor(NOW / DAY_MS) * DAY_MS;
    for (let hour = 0; hour < 24; hour++) add(store, day + hour * HOUR_MS, 1);
    trimAll(store, { ...limits, keepMs: DAY_MS }, day + DAY_MS + 6 * HOUR_MS);
    const [alice] = await store.traffic.top(day + 6 * HOUR_MS, 1);
    expect(alice!.rxBytes).toBe(18);
  });

  test("forgets the names of peers whose rows the maximum size deleted", async () => {
    const path = folder();
    const store = await open(path);
    for (let day = 60; day >= 0; day--) {
      const peers = Array.from({ length: 300 }, (_, n) => {
        return { device: "wg0", publicKey: keyOf(day * 300 + n), rxBytes: 1, txBytes: 1 };
      });
      store.traffic.add(peers, NOW - day * DAY_MS);
    }
    const all = await store.traffic.top(0, 1e6);
    expect(all).toHaveLength(61 * 300);
    trimAll(store, { ...limits, keepMs: 100 * DAY_MS, maxBytes: 1_500_000 }, NOW);
    const left = await store.traffic.top(0, 1e6);
    expect(left.length).toBeLessThan(40 * 300);
    using file = new Sqlite(join(path, "wgmon.db"), { readonly: true });
    const { names } = file.query("SELECT count(*) AS names FROM traffic_peers").get() as {
      names: number;
    };
    expect(names).toBeLessThanOrEqual(left.length + 3 * 300);
  });
});

describe("a step of the clock", () => {
  const state = { bootId: "b", bootedAtMs: 0, unsureSinceMs: null };

  test("moves the sums by hour and day, and the gateway's slots, if the clock was not synchronised", async () => {
    const store = await open();
    const fromMs = NOW - 100 * DAY_MS;
    for (let hour = 0; hour < 30; hour++) {
      add(store, fromMs + hour * HOUR_MS, 1);
      store.totals.add({ rxBytes: 1, txBytes: 1, connected: hour }, fromMs + hour * HOUR_MS);
    }
    add(store, fromMs - 10 * DAY_MS, 50);
    const ms = 99 * DAY_MS - 5 * HOUR_MS;
    const step = { ms, fromMs, toMs: fromMs + 2 * DAY_MS, unsureFromMs: fromMs };
    store.clockSet(step, state);
    expect(rx(store, "7d")).toBe(30);
    expect(rx(store, "30d", NOW - 99 * DAY_MS)).toBe(50);
    expect(Math.max(...store.totals.range("7d", NOW).connected.map((each) => each ?? 0))).toBe(29);
    // The days follow from the moved hours: 30 hours, beginning 29 hours ago.
    const [since] = await store.traffic.top(NOW - 4 * HOUR_MS, 1);
    expect(since!.rxBytes).toBe(4 + 1);
    const [all] = await store.traffic.top(NOW - 2 * DAY_MS, 1);
    expect(all!.rxBytes).toBe(30);
  });

  test("leaves them unchanged if the old clock was right", async () => {
    const store = await open();
    add(store, NOW - HOUR_MS, 1);
    const step = { ms: -DAY_MS, fromMs: NOW - DAY_MS, toMs: NOW, unsureFromMs: null };
    store.clockSet(step, state);
    expect(rx(store, "24h")).toBe(1);
  });
});

describe("a store of an earlier version", () => {
  test("gets sums by hour and day from its slots of five minutes", async () => {
    const directory = folder();
    {
      using file = new Sqlite(join(directory, "wgmon.db"));
      for (const sql of migrations.slice(0, OLD_VERSION)) file.run(sql.replaceAll("$.", "main."));
      file.run(`PRAGMA user_version=${OLD_VERSION}`);
      const digest = new Bun.CryptoHasher("sha256").update(`wg0 ${ALICE}`).digest();
      const row = file.prepare("INSERT INTO traffic VALUES (?, ?, 10, 20)");
      for (let slot = 0; slot < 288; slot++) {
        row.run(Math.floor(NOW / SLOT_MS) - slot, digest.readUIntBE(0, 6));
      }
    }
    const store = await open(directory);
    expect(rx(store, "7d")).toBe(2880);
    expect(rx(store, "24h")).toBe(2880);
    expect(sum(store.totals.range("24h", NOW).txBytes.map((each) => each ?? 0))).toBe(288 * 20);
    expect(store.totals.range("24h", NOW).connected.at(-1)).toBeNull();
    // The name of the peer is unknown until it has traffic again.
    expect(await store.traffic.top(NOW - DAY_MS, 5)).toEqual([]);
    add(store, NOW, 1);
    const [alice] = await store.traffic.top(NOW - DAY_MS + HOUR_MS, 5);
    expect(alice).toMatchObject({ publicKey: ALICE, device: "wg0" });
    expect(alice!.rxBytes).toBeGreaterThan(2700);
    store.totals.add({ rxBytes: 0, txBytes: 0, connected: 3 }, NOW);
    expect(store.totals.range("24h", NOW).connected.at(-1)).toBe(3);
  });
});
