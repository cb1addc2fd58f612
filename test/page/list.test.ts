/** Which peers the page shows, and how it writes numbers and addresses. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { address, bytes, clockTime, count } from "../../src/page/format.ts";
import { addressOf, findPeers, PAGE, readQuery, sortedBy, sorts } from "../../src/page/list.ts";
import { device, peer } from "../support/peers.ts";
import { office } from "../support/sample-gateway.ts";
import { FakeSource, keyOf } from "../support/source.ts";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [9949, "9.9 kB"],
  [9950, "10 kB"],
  [999_499, "999 kB"],
  [999_500, "1.0 MB"],
  [1_234_567_890, "1.2 GB"],
  [-5, "0 B"],
])("%p bytes are %p", (value, text) => {
  expect(bytes(value)).toBe(text);
});

test("numbers and times", () => {
  expect([0, 999, 1000, 1_234_567].map(count)).toEqual(["0", "999", "1,000", "1,234,567"]);
  expect(clockTime(Date.UTC(2026, 10, 22, 16, 19, 4, 999))).toBe("2026-11-22 16:19:04");
  expect(address("/x", { a: null, b: "1 &", c: "" })).toBe("/x?b=1+%26&c=");
});

test("a query is the same after it was an address", () => {
  const query = fc.record({
    q: fc.string({ unit: "binary", maxLength: 100 }).map((text) => text.toWellFormed().trim()),
    device: fc.constantFrom(null, "wg0", "a&b"),
    state: fc.constantFrom(null, "connected" as const, "disconnected" as const, "never" as const),
    sort: fc.constantFrom(...sorts),
    isDescending: fc.boolean(),
    page: fc.integer({ min: 1, max: 1000 }),
  });
  fc.assert(
    fc.property(query, (each) => {
      const { searchParams } = new URL(addressOf(each), "http://localhost");
      expect(readQuery(searchParams)).toEqual(each);
    }),
  );
});

test("what is none of ours is as if it were not there", () => {
  const plain = readQuery(new URLSearchParams());
  expect(addressOf(plain)).toBe("/");
  const odd = "state=x&sort=rm&page=-1&order=&device=&q=%20&unknown=1";
  expect(readQuery(new URLSearchParams(odd))).toEqual(plain);
  expect(readQuery(new URLSearchParams("page=1e99")).page).toBe(1);
  expect(readQuery(new URLSearchParams(`q=${"x".repeat(1000)}`)).q).toHaveLength(100);
});

test("the same order twice turns it round; some begin with the largest", () => {
  const plain = readQuery(new URLSearchParams("page=3"));
  const byName = sortedBy(plain, "name");
  expect(byName).toMatchObject({ sort: "name", isDescending: false, page: 1 });
  expect(sortedBy(byName, "name").isDescending).toBe(true);
  expect(sortedBy(plain, "seen").isDescending).toBe(true);
});

test("peers are found by name, tag, key and address, in any order", async () => {
  const source = await office();
  const find = (query: string) =>
    findPeers(source, readQuery(new URLSearchParams(query))).rows.map(
      ({ name, peer: { publicKey } }) => name ?? publicKey,
    );
  source.speeds.set(keyOf(3), { rxBytesPerSecond: 9e9, txBytesPerSecond: 1e9 });
  source.speeds.set(keyOf(2), { rxBytesPerSecond: 8e9, txBytesPerSecond: 2e9 });
  // Who is not connected has none any more.
  source.speeds.set(keyOf(6), { rxBytesPerSecond: 9e10, txBytesPerSecond: 9e10 });
  const [eighth, other] = [keyOf(8), keyOf(800)];
  expect(find("")).toEqual([
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
  expect(find("q=ALICE")).toEqual(["alice laptop", "alice phone"]);
  expect(find("q=laptop")).toEqual(["alice laptop"]);
  expect(find("q=staff")).toEqual(["alice laptop"]);
  expect(find("q=2001:db8:85a3:")).toEqual(["bob"]);
  expect(find("q=10.0.0.5/")).toEqual(["branch office Lyon"]);
  expect(find(`q=${encodeURIComponent(eighth.toLowerCase())}`)).toEqual([eighth]);
  expect(find("q=nobody")).toEqual([]);
  expect(find("state=never")).toEqual(["erin", other]);
  expect(find("device=wg1")).toEqual([other]);
  expect(find("sort=name&order=desc&state=connected")).toEqual([
    "branch office Lyon",
    "bob",
    "alice phone",
    "alice laptop",
  ]);
  expect(find("sort=since&state=connected")[0]).toBe("alice laptop");
  // Those without a value are last both ways.
  expect(find("sort=since").slice(-5)).toEqual(find("sort=since&order=asc").slice(-5));
  expect(find("sort=device&order=desc")[0]).toBe(other);
  expect(find("sort=rx")[0]).toBe("bob");
  expect(find("sort=tx").slice(0, 2)).toEqual(["alice phone", "bob"]);
  expect(find("sort=seen&order=asc").slice(-2)).toEqual(["erin", other]);
  source.store[Symbol.dispose]();
});

test("a page of many; one behind the last is the last", async () => {
  const source = await FakeSource.make();
  const peers = Array.from({ length: 2 * PAGE + 1 }, (_, n) => peer({ publicKey: keyOf(n) }));
  source.found.set("wg0", { device: device(), peers });
  const find = (page: number) => findPeers(source, readQuery(new URLSearchParams(`page=${page}`)));
  expect(find(1)).toMatchObject({ total: 201, page: 1, pages: 3 });
  expect(find(3).rows).toHaveLength(1);
  expect(find(9)).toMatchObject({ page: 3 });
  const all = [1, 2, 3].flatMap((page) => find(page).rows.map((row) => row.peer.publicKey));
  expect(new Set(all).size).toBe(201);
  source.store[Symbol.dispose]();
});
