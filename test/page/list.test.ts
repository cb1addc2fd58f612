/** Which peers an address of the page selects, and how the page formats numbers and addresses. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { findPeers } from "../../src/http/peer-query.ts";
import { address, bytes, clockTime, count } from "../../src/page/format.ts";
import { addressOf, listSorts, pageOf, readQuery, sortedBy } from "../../src/page/list.ts";
import { device, peer } from "../support/peers.ts";
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
])("the page shows %p bytes as %p", (value, text) => {
  expect(bytes(value)).toBe(text);
});

test("the page shows numbers, times and addresses in the expected format", () => {
  expect([0, 999, 1000, 1_234_567].map(count)).toEqual(["0", "999", "1,000", "1,234,567"]);
  expect(clockTime(Date.UTC(2026, 10, 22, 16, 19, 4, 999))).toBe("2026-11-22 16:19:04");
  expect(address("/x", { a: null, b: "1 &", c: "" })).toBe("/x?b=1+%26&c=");
});

test("a query that is converted to an address parses back", () => {
  const query = fc.record({
    search: fc
      .string({ unit: "binary", maxLength: 100 })
      .map((text) => text.toWellFormed().trim() || null),
    device: fc.constantFrom(null, "wg0", "a&b"),
    state: fc.constantFrom(null, "connected" as const, "disconnected" as const, "never" as const),
    sort: fc.constantFrom(...listSorts),
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

test("invalid and unknown parameters of a query are ignored", () => {
  const plain = readQuery(new URLSearchParams());
  expect(addressOf(plain)).toBe("/");
  const odd = "state=x&sort=rm&page=-1&order=&device=&q=%20&unknown=1";
  expect(readQuery(new URLSearchParams(odd))).toEqual(plain);
  expect(readQuery(new URLSearchParams("page=1e99")).page).toBe(1);
  expect(readQuery(new URLSearchParams(`q=${"x".repeat(1000)}`)).search).toHaveLength(100);
});

test("sorting twice by the same column reverses the order, and some columns begin in descending order", () => {
  const plain = readQuery(new URLSearchParams("page=3"));
  const byName = sortedBy(plain, "name");
  expect(byName).toMatchObject({ sort: "name", isDescending: false, page: 1 });
  expect(sortedBy(byName, "name").isDescending).toBe(true);
  expect(sortedBy(plain, "lastSeenAt").isDescending).toBe(true);
});

test("peers are divided into pages, and a page after the last is the last", async () => {
  const source = await FakeSource.make();
  const peers = Array.from({ length: 201 }, (_, n) => peer({ publicKey: keyOf(n) }));
  source.found.set("wg0", { device: device(), peers });
  const find = (wanted: number) => {
    const query = readQuery(new URLSearchParams(`page=${wanted}`));
    return pageOf(findPeers(source, query), query.page);
  };
  expect(find(1)).toMatchObject({ total: 201, page: 1, pages: 3, first: 1 });
  expect(find(3).rows).toHaveLength(1);
  expect(find(9)).toMatchObject({ page: 3, first: 201 });
  const all = [1, 2, 3].flatMap((page) => find(page).rows.map((row) => row.peer.publicKey));
  expect(new Set(all).size).toBe(201);
  source.store[Symbol.dispose]();
});
