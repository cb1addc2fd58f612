/** Which peers a query selects, and their order: the same in the API, the commands, the metrics and the page. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { firstView, peersPath } from "../../src/cli/top-view.ts";
import { exposition } from "../../src/http/metrics.ts";
import { findPeers, type PeerQuery, sorts } from "../../src/http/peer-query.ts";
import { asked } from "../support/api-reader.ts";
import { device, peer } from "../support/peers.ts";
import { office } from "../support/sample-gateway.ts";
import { FakeSource, keyOf } from "../support/source.ts";

/** Orders in which a userspace program may list the same peers. */
const orders = [
  [0, 1, 2, 3, 4],
  [4, 3, 2, 1, 0],
  [2, 4, 0, 3, 1],
];

let source: FakeSource;
let peers: ReturnType<typeof peer>[];

beforeEach(async () => {
  source = await FakeSource.make();
  const { wallMs } = source.clock.now();
  const never = { lastHandshakeMs: null };
  const gone = { lastHandshakeMs: wallMs - 3_600_000 };
  // The keys are in ascending order, the names are not.
  peers = [
    peer({ publicKey: keyOf(1), ...never }),
    peer({ publicKey: keyOf(2), ...never }),
    peer({ publicKey: keyOf(3), ...gone }),
    peer({ publicKey: keyOf(4), lastHandshakeMs: wallMs }),
    peer({ publicKey: keyOf(5), ...gone }),
  ];
  source.names.set(keyOf(1), "nas");
  source.names.set(keyOf(3), "Dave");
  source.names.set(keyOf(4), "zoe");
  source.names.set(keyOf(5), "carol");
});

afterEach(() => source.store[Symbol.dispose]());

/** Lets the device list its peers in this order. */
function listed(order: readonly number[]): void {
  source.found.set("wg0", { device: device(), peers: order.map((index) => peers[index]!) });
  source.connect("wg0", peers[3]!, { startedAtMs: source.clock.now().wallMs });
}

const ALL: PeerQuery = {
  device: null,
  state: null,
  search: null,
  sort: "state",
  isDescending: false,
};

/** The names of the selected peers, or their keys. */
function found(query: Partial<PeerQuery> = {}, from = source): string[] {
  return findPeers(from, { ...ALL, ...query }).map(({ name, peer }) => name ?? peer.publicKey);
}

const nameOf = (key: string) => source.names.get(key as ReturnType<typeof keyOf>) ?? key;

test("wgmon top sorts by SINCE: connected peers, then disconnected ones, then others, each by name and key", async () => {
  for (const order of orders) {
    listed(order);
    const path = peersPath(firstView(null), { columns: 80, rows: 24 });
    const { items } = await asked(source).get<{ items: { publicKey: string }[] }>(path);
    expect(items.map(({ publicKey }) => nameOf(publicKey))).toEqual([
      "zoe",
      "carol",
      "Dave",
      "nas",
      keyOf(2),
    ]);
  }
});

test("the order in which a device lists its peers has no effect", () => {
  for (const isDescending of [false, true]) {
    for (const sort of sorts) {
      const lists = orders.map((order) => {
        listed(order);
        return found({ sort, isDescending });
      });
      expect(new Set(lists.map((list) => list.join())).size).toBe(1);
    }
  }
  const scrapes = orders.map((order) => {
    listed(order);
    const { chunks } = exposition(source, { namings: ["mdlayher"], accept: "" });
    let text = "";
    for (let next = chunks.next(); next.done !== true; next = chunks.next()) text += next.value;
    return text;
  });
  expect(new Set(scrapes).size).toBe(1);
});

test("peers without a value are last in both directions", () => {
  listed(orders[0]!);
  const unnamed = keyOf(2);
  expect(found({ sort: "name" })).toEqual(["carol", "Dave", "nas", "zoe", unnamed]);
  expect(found({ sort: "name", isDescending: true })).toEqual([
    "zoe",
    "nas",
    "Dave",
    "carol",
    unnamed,
  ]);
});

test("peers of the same state are sorted by name, in both directions", () => {
  listed(orders[0]!);
  const unnamed = keyOf(2);
  expect(found({ sort: "state" })).toEqual(["zoe", "carol", "Dave", "nas", unnamed]);
  expect(found({ sort: "state", isDescending: true })).toEqual([
    "nas",
    unnamed,
    "carol",
    "Dave",
    "zoe",
  ]);
});

test("peers are found by name, tag, key and address, in any order", async () => {
  const people = await office();
  const find = (query: Partial<PeerQuery> = {}) => found(query, people);
  people.speeds.set(keyOf(3), { rxBytesPerSecond: 9e9, txBytesPerSecond: 1e9 });
  people.speeds.set(keyOf(2), { rxBytesPerSecond: 8e9, txBytesPerSecond: 2e9 });
  // The speed of a disconnected peer is ignored.
  people.speeds.set(keyOf(6), { rxBytesPerSecond: 9e10, txBytesPerSecond: 9e10 });
  const [eighth, other] = [keyOf(8), keyOf(800)];
  expect(find()).toEqual([
    "alice laptop",
    "alice phone",
    "bob",
    "branch office Lyon",
    "carol",
    "dave",
    eighth,
    "erin",
    other,
  ]);
  expect(find({ search: "ALICE" })).toEqual(["alice laptop", "alice phone"]);
  expect(find({ search: "laptop" })).toEqual(["alice laptop"]);
  expect(find({ search: "staff" })).toEqual(["alice laptop"]);
  expect(find({ search: "2001:db8:85a3:" })).toEqual(["bob"]);
  expect(find({ search: "10.0.0.5/" })).toEqual(["branch office Lyon"]);
  expect(find({ search: eighth.toLowerCase() })).toEqual([eighth]);
  expect(find({ search: "nobody" })).toEqual([]);
  expect(find({ search: "a.*e" })).toEqual([]);
  expect(find({ state: "never" })).toEqual(["erin", other]);
  expect(find({ device: "wg1" })).toEqual([other]);
  expect(find({ sort: "name", isDescending: true, state: "connected" })).toEqual([
    "branch office Lyon",
    "bob",
    "alice phone",
    "alice laptop",
  ]);
  const latestFirst = { sort: "startedAt", isDescending: true } as const;
  expect(find({ ...latestFirst, state: "connected" })[0]).toBe("alice laptop");
  // Peers without a value are last in both directions.
  expect(find(latestFirst).slice(-5)).toEqual(find({ sort: "startedAt" }).slice(-5));
  expect(find({ sort: "device", isDescending: true })[0]).toBe(other);
  expect(find({ sort: "rxBytesPerSecond", isDescending: true })[0]).toBe("bob");
  expect(find({ sort: "txBytesPerSecond", isDescending: true }).slice(0, 2)).toEqual([
    "alice phone",
    "bob",
  ]);
  expect(find({ sort: "lastSeenAt" }).slice(-2)).toEqual(["erin", other]);
  people.store[Symbol.dispose]();
});

test.each([
  ["\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c3"],
  ["Stra\u1e9ee", "stra\u00dfe"],
  ["\u202egpj.exe\u202c evil", "GPJ.exe evil"],
  ["\u202egpj.exe\u202c evil", "\u202egpj"],
  [`${"w".repeat(200)}x`, "wx"],
])("a peer named %j is found by %j", (name, search) => {
  listed(orders[0]!);
  source.names.set(keyOf(1), name);
  expect(found({ search })).toEqual([name]);
});
