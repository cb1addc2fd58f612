/** Which peers an address of the page selects, and how the page formats numbers and addresses. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { showBytes } from "../../src/base/size.ts";
import { findPeers } from "../../src/http/peer-query.ts";
import { ratesPerStep, recordedUntil } from "../../src/page/chart-data.ts";
import { address, clockTime, count, speed } from "../../src/page/format.ts";
import { addressOf, listSorts, pageOf, readQuery, sortedBy } from "../../src/page/list.ts";
import { rangeNames } from "../../src/store/ranges.ts";
import { device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [10_188, "9.9 KiB"],
  [10_189, "10 KiB"],
  [1_048_063, "1023 KiB"],
  [1_048_064, "1.0 MiB"],
  [1_234_567_890, "1.1 GiB"],
  [-5, "0 B"],
])("the page shows %p bytes as %p", (value, text) => {
  expect(showBytes(value)).toBe(text);
  expect(speed(value)).toBe(`${text}/s`);
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
    range: fc.constantFrom(...rangeNames),
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
  const odd = "state=x&range=2y&sort=rm&page=-1&order=&device=&q=%20&unknown=1";
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
  const peers = Array.from({ length: 101 }, (_, n) => peer({ publicKey: keyOf(n) }));
  source.found.set("wg0", { device: device(), peers });
  const find = (wanted: number) => {
    const query = readQuery(new URLSearchParams(`page=${wanted}`));
    return pageOf(findPeers(source, query), query.page);
  };
  expect(find(1)).toMatchObject({ total: 101, page: 1, pages: 3, first: 1 });
  expect(find(3).rows).toHaveLength(1);
  expect(find(9)).toMatchObject({ page: 3, first: 101 });
  const all = [1, 2, 3].flatMap((page) => find(page).rows.map((row) => row.peer.publicKey));
  expect(new Set(all).size).toBe(101);
  source.store[Symbol.dispose]();
});

test("rates of a chart end with the recorded traffic, which a minute has after it is over", () => {
  const startMs = Date.UTC(2026, 0, 1);
  const hour = { startMs, stepMs: 3_600_000, steps: 3 };
  const at = (minutes: number) =>
    ratesPerStep([3_600_000, null, 600_000], hour, recordedUntil(startMs + minutes * 60_000));
  // At 2:10 and 20 s, ten minutes of the last hour are recorded.
  expect(at(130 + 1 / 3)).toEqual([1000, null, 1000]);
  // Ten seconds after a minute has ended, it may not be recorded yet.
  expect(at(121 + 1 / 6)).toEqual([1000, null, null]);
});
