/** Queries of a hub for the events, sessions and alerts of one gateway: they find the same rows as a search of all rows. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { eventOf } from "../../src/events/event.ts";
import { fleetDevice, splitDevice } from "../../src/fleet/gateway-name.ts";
import { createLog } from "../../src/platform/log.ts";
import { Store } from "../../src/store/store.ts";
import type { EventQuery } from "../../src/store/stored-events.ts";
import type { SessionQuery } from "../../src/store/stored-sessions.ts";
import { HandClock } from "../support/clock.ts";
import { ALICE, BOB, peer } from "../support/peers.ts";

// Names that are the beginning of others, and that a name with a slash could be confused with.
const gateways = ["gw", "gw-1", "gw1"] as const;
const devices = ["wg0", "wg1"] as const;
const keys = [ALICE, BOB] as const;
const time = fc.integer({ min: 0, max: 30 });
const orNull = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: null });

async function open(): Promise<Store> {
  const log = createLog({ format: "journal", level: "error", write: () => {} });
  return await Store.open({ directory: null, clock: new HandClock(), log });
}

describe("the events of a gateway", () => {
  const all: EventQuery = {
    order: "oldest",
    from: null,
    limit: 1000,
    type: null,
    publicKey: null,
    sinceMs: null,
  };
  const history = fc.array(
    fc.record({
      gateway: fc.constantFrom(...gateways),
      /** Whether the event is the hub's own about the gateway. */
      isOfHub: fc.boolean(),
      /** Which of the gateway's stores it is from. */
      epoch: fc.constantFrom("00000001", "00000002"),
      device: fc.constantFrom(...devices),
      publicKey: orNull(fc.constantFrom(...keys)),
      atMs: time,
    }),
    { maxLength: 30 },
  );
  const filter = fc.record({
    order: fc.constantFrom("oldest" as const, "newest" as const),
    gateway: fc.constantFrom(...gateways, "gw-9"),
    device: orNull(fc.constantFrom(...devices)),
    publicKey: orNull(fc.constantFrom(...keys)),
    type: orNull(fc.constantFrom("peer.connected", "device.added")),
    sinceMs: orNull(time),
    untilMs: orNull(time),
    limit: fc.integer({ min: 1, max: 4 }),
  });

  test("are found by peer, device, type and time as by a search of all rows, page by page", async () => {
    await fc.assert(
      fc.asyncProperty(history, filter, async (happened, filter) => {
        using store = await open();
        const places = new Map<number, (typeof happened)[number]>();
        for (const [index, each] of happened.entries()) {
          const { gateway, isOfHub, epoch, device: local, publicKey, atMs } = each;
          const id = `evt_${index.toString(16).padStart(32, "0")}`;
          const device = isOfHub ? fleetDevice(gateway, local) : local;
          const session = { startedAtMs: 0, rxBytes: 0, txBytes: 0, roams: 0 };
          const isOfPeer = publicKey !== null && !isOfHub;
          const change = isOfPeer
            ? ({
                type: "peer.connected",
                atMs,
                device,
                peer: peer({ publicKey }),
                session,
                initial: false,
              } as const)
            : ({ type: "device.added", atMs, device, listenPort: 0 } as const);
          const event = eventOf(change, { id, host: "host", name: null });
          const { fleet } = store;
          const known = fleet.epochs(gateway).find((row) => row.epoch === epoch)?.id;
          const source = known ?? fleet.addEpoch(gateway, epoch, 1);
          const write = {
            events: [{ event, targets: [] }],
            sessions: [],
            ended: [],
            devices: null,
          };
          const [seq] = store.record(write, 0, ([added]) => {
            if (!isOfHub) fleet.addPlace(source, index + 1, added!);
          });
          places.set(seq!, each);
        }
        const every = store.events.query({ ...all, order: filter.order });
        for (const { seq, gateway } of every) expect(gateway).toBe(places.get(seq)!.gateway);
        const matching = every.filter(({ seq, event }) => {
          const { gateway, device } = places.get(seq)!;
          const atMs = Date.parse(event.timestamp);
          const key = "session" in event.data ? event.data.peer.publicKey : null;
          return (
            gateway === filter.gateway &&
            (filter.device === null || device === filter.device) &&
            (filter.publicKey === null || key === filter.publicKey) &&
            (filter.type === null || event.type === filter.type) &&
            (filter.sinceMs === null || atMs >= filter.sinceMs) &&
            (filter.untilMs === null || atMs < filter.untilMs)
          );
        });
        const found = [];
        for (let from: number | null = null; ; from = found.at(-1)!.seq) {
          const page = store.events.query({ ...filter, from });
          found.push(...page);
          if (page.length < filter.limit) break;
        }
        expect(found).toEqual(matching);
      }),
      { numRuns: 200 },
    );
  });
});

test("the events of a gateway are also found if their type and device are frequent on others", async () => {
  using store = await open();
  const { fleet } = store;
  const [gw, other] = ["gw", "gw-1"].map((name) => fleet.addEpoch(name, "00000001", 1));
  const events = Array.from({ length: 10_100 }, (_, index) => {
    const change = { type: "device.added", atMs: index, device: "wg0", listenPort: 0 } as const;
    const id = `evt_${index.toString(16).padStart(32, "0")}`;
    return { event: eventOf(change, { id, host: "host", name: null }), targets: [] };
  });
  store.record({ events, sessions: [], ended: [], devices: null }, 0, (seqs) => {
    for (const seq of seqs) fleet.addPlace(seq % 1000 === 0 ? gw! : other!, seq, seq);
  });
  const query = { order: "newest", limit: 3, publicKey: null, sinceMs: 2999 } as const;
  const seqs = (more: { type: string | null; device: string | null; from: number | null }) =>
    store.events.query({ ...query, ...more, gateway: "gw" }).map(({ seq }) => seq);
  expect(seqs({ type: "device.added", device: "wg0", from: null })).toEqual([10_000, 9000, 8000]);
  expect(seqs({ type: null, device: "wg0", from: 5000 })).toEqual([4000, 3000]);
  expect(seqs({ type: "device.added", device: "wg1", from: null })).toEqual([]);
});

test("the sessions of a gateway are found as by a search of all rows", async () => {
  const rows = fc.uniqueArray(
    fc.record({
      gateway: fc.constantFrom(...gateways),
      device: fc.constantFrom(...devices),
      publicKey: fc.constantFrom(...keys),
      startedAtMs: time,
    }),
    { maxLength: 20, selector: (each) => JSON.stringify(each) },
  );
  const filter = fc.record({
    gateway: fc.constantFrom(...gateways, "gw-9"),
    device: orNull(fc.constantFrom(...devices)),
    publicKey: orNull(fc.constantFrom(...keys)),
    sinceMs: orNull(time),
    limit: fc.integer({ min: 1, max: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(rows, filter, async (rows, { device, ...filter }) => {
      using store = await open();
      const ended = rows.map(({ gateway, device, publicKey, startedAtMs }) => ({
        device: fleetDevice(gateway, device),
        publicKey,
        startedAtMs,
        endedAtMs: startedAtMs + 3,
        durationMs: 3,
        reason: "idle" as const,
        endpoint: null,
        rxBytes: 1,
        txBytes: 2,
        roams: 0,
        peer: { lastHandshakeMs: null, rxBytes: 0, txBytes: 0 },
      }));
      store.record({ events: [], sessions: [], ended, devices: null }, 0);
      const query: SessionQuery = {
        ...filter,
        device: device === null ? null : fleetDevice(filter.gateway, device),
        isOpen: null,
        from: null,
      };
      const every = store.sessions.query({ ...query, gateway: null, device: null, limit: 1000 });
      const matching = every.filter(
        (row) =>
          splitDevice(row.device).gateway === filter.gateway &&
          (query.device === null || row.device === query.device),
      );
      expect(store.sessions.query(query)).toEqual(matching.slice(0, filter.limit));
    }),
    { numRuns: 100 },
  );
});
