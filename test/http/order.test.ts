/** One order of peers for the HTTP interface, the commands, the metrics and the page. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { firstView, peersPath } from "../../src/cli/top-view.ts";
import { exposition } from "../../src/http/metrics.ts";
import { findPeers, sorts } from "../../src/http/peer-query.ts";
import * as page from "../../src/page/list.ts";
import { asked } from "../support/api-reader.ts";
import { device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";

/** The orders in which a userspace program may list the same four. */
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
  // Keys grow, names do not.
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

/** The device answers in this order from now on. */
function listed(order: readonly number[]): void {
  source.found.set("wg0", { device: device(), peers: order.map((index) => peers[index]!) });
  source.connect("wg0", peers[3]!, { startedAtMs: source.clock.now().wallMs });
}

const nameOf = (key: string) => source.names.get(key as ReturnType<typeof keyOf>) ?? key;

test("top by SINCE: who is connected, who was, who never was, each by name and then by key", async () => {
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

test("the order in which a device lists its peers is never seen", () => {
  for (const isDescending of [false, true]) {
    for (const sort of sorts) {
      const found = orders.map((order) => {
        listed(order);
        const query = { device: null, state: null, search: null, offset: 0, limit: 9 };
        const { items } = findPeers(source, { ...query, sort, isDescending });
        return items.map(({ publicKey }) => publicKey);
      });
      expect(new Set(found.map((keys) => keys.join())).size).toBe(1);
    }
    for (const sort of page.sorts) {
      const found = orders.map((order) => {
        listed(order);
        const query = { q: "", device: null, state: null, page: 1, sort, isDescending };
        return page.findPeers(source, query).rows.map((row) => row.peer.publicKey);
      });
      expect(new Set(found.map((keys) => keys.join())).size).toBe(1);
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
  const names = (isDescending: boolean) => {
    const query = { device: null, state: null, search: null, offset: 0, limit: 9 };
    const { items } = findPeers(source, { ...query, sort: "name", isDescending });
    return items.map(({ publicKey }) => nameOf(publicKey));
  };
  expect(names(false)).toEqual(["carol", "Dave", "nas", "zoe", keyOf(2)]);
  expect(names(true)).toEqual(["zoe", "nas", "Dave", "carol", keyOf(2)]);
});
