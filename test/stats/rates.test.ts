/** How fast peers receive and send, from readings of their counters. */

import { expect, test } from "bun:test";

import { RateTracker } from "../../src/stats/rates.ts";
import { ALICE, BOB, peer } from "../support/peers.ts";

const alice = (rxBytes: number, txBytes = 0) => peer({ publicKey: ALICE, rxBytes, txBytes });

test("is what came between the last two readings that are a second apart", () => {
  const book = new RateTracker();
  expect(book.of("wg0", ALICE, 0)).toBeNull();
  book.record("wg0", [alice(1000, 10)], 0);
  expect(book.of("wg0", ALICE, 500)).toBeNull();
  // Too soon to tell anything.
  book.record("wg0", [alice(9000)], 999);
  expect(book.of("wg0", ALICE, 999)).toBeNull();
  book.record("wg0", [alice(5000, 30)], 2000);
  expect(book.of("wg0", ALICE, 2000)).toEqual({ rxBytesPerSecond: 2000, txBytesPerSecond: 10 });
  book.record("wg0", [alice(5000, 30)], 12_000);
  expect(book.of("wg0", ALICE, 12_500)).toEqual({ rxBytesPerSecond: 0, txBytesPerSecond: 0 });
});

test("is of one device and one peer", () => {
  const book = new RateTracker();
  book.record("wg0", [alice(0)], 0);
  book.record("wg1", [alice(0)], 0);
  book.record("wg0", [alice(100), peer({ publicKey: BOB })], 1000);
  expect(book.of("wg0", ALICE, 1000)).toMatchObject({ rxBytesPerSecond: 100 });
  expect(book.of("wg1", ALICE, 1000)).toBeNull();
  // He came only now.
  expect(book.of("wg0", BOB, 1000)).toBeNull();
});

test("a counter that starts again is never negative, and what is old is no rate", () => {
  const book = new RateTracker();
  book.record("wg0", [alice(5000)], 0);
  book.record("wg0", [alice(300)], 1000);
  expect(book.of("wg0", ALICE, 1000)).toMatchObject({ rxBytesPerSecond: 300 });
  expect(book.of("wg0", ALICE, 60_000)).toMatchObject({ rxBytesPerSecond: 300 });
  expect(book.of("wg0", ALICE, 60_001)).toBeNull();
});
