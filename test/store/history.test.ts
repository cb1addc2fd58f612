/** Queries for sessions and events: each filter finds the same rows as a search of all rows. */

import { afterEach, describe, expect, spyOn, test } from "bun:test";

import fc from "fast-check";

import type { PublicKey } from "../../src/base/wireguard.ts";
import { deviceOf, eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import { Database } from "../../src/store/database.ts";
import { SLOT_MS } from "../../src/store/ranges.ts";
import { Store } from "../../src/store/store.ts";
import type { EventQuery } from "../../src/store/stored-events.ts";
import type {
  EndedSession,
  SessionCursor,
  SessionQuery,
  SessionRow,
} from "../../src/store/stored-sessions.ts";
import { HandClock } from "../support/clock.ts";
import { ALICE, BOB, peer } from "../support/peers.ts";
import { keyOf } from "../support/source.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const stores: Store[] = [];
afterEach(() => {
  for (const store of stores.splice(0)) store[Symbol.dispose]();
});

async function open(): Promise<Store> {
  const log = createLog({ format: "journal", level: "error", write: () => {} });
  const store = await Store.open({ directory: null, clock: new HandClock(), log });
  stores.push(store);
  return store;
}

function ended(fields: Partial<EndedSession>): EndedSession {
  return {
    device: "wg0",
    publicKey: ALICE,
    startedAtMs: 0,
    endedAtMs: 1,
    durationMs: 1,
    reason: "idle",
    endpoint: null,
    rxBytes: 1,
    txBytes: 2,
    roams: 0,
    peer: { lastHandshakeMs: null, rxBytes: 0, txBytes: 0 },
    ...fields,
  };
}

function openSession(device: string, publicKey: PublicKey, startedAtMs: number) {
  return {
    device,
    peer: peer({ publicKey }),
    startedAtMs,
    endpoint: null,
    handshakeAtMs: startedAtMs,
    lastActivityMs: startedAtMs,
    silentSinceMs: startedAtMs,
    rxBytes: 0,
    txBytes: 0,
    roams: 0,
    ending: null,
  };
}

function write(store: Store, ended: readonly EndedSession[]): void {
  store.record({ events: [], sessions: [], ended, devices: null }, 0);
}

const devices = ["wg0", "wg1"] as const;
const keys = [ALICE, BOB] as const;
const time = fc.integer({ min: 0, max: 30 });
const orNull = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: null });

describe("sessions", () => {
  const all: SessionQuery = {
    device: null,
    publicKey: null,
    sinceMs: null,
    untilMs: null,
    isOpen: null,
    from: null,
    limit: 1000,
  };

  test("are found by peer, device, state and time as by a search of all rows, page by page", async () => {
    // The sessions of one peer follow each other.
    const history = fc.array(
      fc.record({
        device: fc.constantFrom(...devices),
        publicKey: fc.constantFrom(...keys),
        gap: fc.integer({ min: 1, max: 5 }),
        length: fc.integer({ min: 0, max: 9 }),
      }),
      { maxLength: 30 },
    );
    const filter = fc.record({
      device: orNull(fc.constantFrom(...devices, "wg9")),
      publicKey: orNull(fc.constantFrom(...keys)),
      sinceMs: orNull(time),
      untilMs: orNull(time),
      isOpen: orNull(fc.boolean()),
      limit: fc.integer({ min: 1, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(history, filter, fc.boolean(), async (parts, filter, hasOpen) => {
        using store = await Store.open({
          directory: null,
          clock: new HandClock(),
          log: createLog({ format: "journal", level: "error", write: () => {} }),
        });
        const ends = new Map<string, number>();
        const rows = parts.map(({ device, publicKey, gap, length }) => {
          const startedAtMs = (ends.get(device + publicKey) ?? 0) + gap;
          ends.set(device + publicKey, startedAtMs + length);
          return ended({ device, publicKey, startedAtMs, endedAtMs: startedAtMs + length });
        });
        write(store, rows);
        if (hasOpen) {
          const startedAtMs = (ends.get("wg0" + ALICE) ?? 0) + 1;
          store.sessions.save([openSession("wg0", ALICE, startedAtMs)]);
        }
        const matching = store.sessions
          .query(all)
          .filter(
            ({ device, publicKey, startedAtMs, endedAtMs }) =>
              (filter.device === null || device === filter.device) &&
              (filter.publicKey === null || publicKey === filter.publicKey) &&
              (filter.sinceMs === null || (endedAtMs ?? Infinity) >= filter.sinceMs) &&
              (filter.untilMs === null || startedAtMs < filter.untilMs) &&
              (filter.isOpen === null || (endedAtMs === null) === filter.isOpen),
          );
        const found = [];
        let from: SessionQuery["from"] = null;
        for (;;) {
          const page = store.sessions.query({ ...filter, from });
          found.push(...page);
          if (page.length < filter.limit) break;
          from = page.at(-1)!;
        }
        expect(found).toEqual(matching);
      }),
    );
  });

  test("before an old time are found by one lookup for each peer, not by reading all later ends", async () => {
    const store = await open();
    const peers = Array.from({ length: 50 }, (_, n) => ({
      device: devices[n % 2]!,
      publicKey: keyOf(n),
    }));
    // Each peer has a session every 100 ms, which lasts 90 ms.
    const rows = peers.flatMap((peer, n) =>
      Array.from({ length: 500 }, (_, index) => {
        const startedAtMs = index * 100 + n;
        return ended({ ...peer, startedAtMs, endedAtMs: startedAtMs + 90 });
      }),
    );
    write(store, rows);
    store.sessions.save([openSession("wg0", keyOf(50), 950)]);
    const read = spyOn(Database.prototype, "all");
    const everything = store.sessions.query({ ...all, limit: 100_000 });
    for (const device of [null, "wg0"]) {
      for (const isOpen of [null, true, false]) {
        for (const from of [null, { startedAtMs: 970, device: "wg1", publicKey: keyOf(7) }]) {
          const query = { ...all, device, isOpen, from, sinceMs: 1000, untilMs: 1010 };
          read.mockClear();
          const found = store.sessions.query(query);
          const expected = everything.filter(
            (each) =>
              each.startedAtMs < 1010 &&
              (each.endedAtMs ?? Infinity) >= 1000 &&
              (device === null || each.device === device) &&
              (isOpen === null || (each.endedAtMs === null) === isOpen) &&
              (from === null || isAfter(each, from)),
          );
          expect(found).toEqual(expected);
          for (const [index, [sql, ...values]] of [...read.mock.calls].entries()) {
            const database = read.mock.contexts[index] as unknown as Database;
            const plan = database.all<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, ...values);
            const steps = plan.map(({ detail }) => detail).join("\n");
            expect(steps).not.toMatch(/SCAN sessions|sessions_by_end \(ended_at_ms>/);
          }
        }
      }
    }
    read.mockRestore();
  });
});

function isAfter(row: SessionRow, from: SessionCursor): boolean {
  if (row.startedAtMs !== from.startedAtMs) return row.startedAtMs < from.startedAtMs;
  if (row.device !== from.device) return row.device < from.device;
  return row.publicKey < from.publicKey;
}

describe("events", () => {
  const all: EventQuery = {
    order: "oldest",
    from: null,
    limit: 1000,
    type: null,
    publicKey: null,
    device: null,
    sinceMs: null,
    untilMs: null,
  };

  test("are found by peer, device, type and time as by a search of all rows, also if the clock was set", async () => {
    const history = fc.array(
      fc.record({
        device: fc.constantFrom(...devices),
        publicKey: orNull(fc.constantFrom(...keys)),
        atMs: time,
      }),
      { maxLength: 30 },
    );
    const filter = fc.record({
      order: fc.constantFrom("oldest" as const, "newest" as const),
      device: orNull(fc.constantFrom(...devices, "wg9")),
      publicKey: orNull(fc.constantFrom(...keys)),
      type: orNull(fc.constantFrom("peer.connected", "device.added", "peer.roamed")),
      sinceMs: orNull(time),
      untilMs: orNull(time),
      limit: fc.integer({ min: 1, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(history, history, filter, async (before, after, filter) => {
        using store = await Store.open({
          directory: null,
          clock: new HandClock(),
          log: createLog({ format: "journal", level: "error", write: () => {} }),
        });
        let count = 0;
        for (const part of [before, after]) {
          const events = part.map(({ device, publicKey, atMs }) => {
            const id = `evt_${(++count).toString(16).padStart(32, "0")}`;
            const session = { startedAtMs: 0, rxBytes: 0, txBytes: 0, roams: 0 };
            const change =
              publicKey === null
                ? ({ type: "device.added", atMs, device, listenPort: 0 } as const)
                : ({
                    type: "peer.connected",
                    atMs,
                    device,
                    peer: peer({ publicKey }),
                    session,
                    initial: false,
                  } as const);
            return { event: eventOf(change, { id, host: "gw1", name: null }), targets: [] };
          });
          store.record({ events, sessions: [], ended: [], devices: null }, 0);
          const every = store.events.query({ ...all, order: filter.order });
          const matching = every.filter(({ event }) => {
            const atMs = Date.parse(event.timestamp);
            const device = deviceOf(event);
            const key = "session" in event.data ? event.data.peer.publicKey : null;
            return (
              (filter.device === null || device === filter.device) &&
              (filter.publicKey === null || key === filter.publicKey) &&
              (filter.type === null || event.type === filter.type) &&
              (filter.sinceMs === null || atMs >= filter.sinceMs) &&
              (filter.untilMs === null || atMs < filter.untilMs)
            );
          });
          const found = [];
          let from: number | null = null;
          for (;;) {
            const page = store.events.query({ ...filter, from });
            found.push(...page);
            if (page.length < filter.limit) break;
            from = page.at(-1)!.seq;
          }
          expect(found).toEqual(matching);
        }
      }),
    );
  });
});

describe("the uptime of a peer", () => {
  const NOW = 100 * DAY_MS;

  test("is the connected part of the span, with an open session until now", async () => {
    const store = await open();
    write(store, [
      ended({ startedAtMs: NOW - 90 * DAY_MS, endedAtMs: NOW - 80 * DAY_MS }),
      // Half of it is in the last week.
      ended({ startedAtMs: NOW - 8 * DAY_MS, endedAtMs: NOW - 6 * DAY_MS }),
      ended({ publicKey: BOB, startedAtMs: NOW - 8 * DAY_MS, endedAtMs: NOW }),
    ]);
    store.sessions.save([openSession("wg0", ALICE, NOW - 6 * HOUR_MS)]);
    expect(store.sessions.uptime("wg0", ALICE, DAY_MS, NOW)).toEqual({
      fraction: 0.25,
      spanMs: DAY_MS,
    });
    expect(store.sessions.uptime("wg0", ALICE, 7 * DAY_MS, NOW)).toEqual({
      fraction: 1.25 / 7,
      spanMs: 7 * DAY_MS,
    });
    expect(store.sessions.uptime("wg1", ALICE, DAY_MS, NOW)!.fraction).toBe(0);
  });

  test("the uptime begins after the first slot of the store, in which wgmon may have started, and is null without one", async () => {
    const store = await open();
    expect(store.sessions.uptime("wg0", ALICE, DAY_MS, NOW)).toBeNull();
    store.totals.add({ rxBytes: 0, txBytes: 0, connected: 1 }, NOW - 4 * HOUR_MS);
    store.sessions.save([openSession("wg0", ALICE, NOW - HOUR_MS)]);
    const spanMs = 4 * HOUR_MS - SLOT_MS;
    expect(store.sessions.uptime("wg0", ALICE, DAY_MS, NOW)).toEqual({
      fraction: HOUR_MS / spanMs,
      spanMs,
    });
  });
});
