/** Rates at which peers receive and send, from readings of their counters. */

import { expect, test } from "bun:test";

import { RateTracker } from "../../src/stats/rates.ts";
import { ALICE, BOB, peer } from "../support/peers.ts";

const alice = (rxBytes: number, txBytes = 0) => peer({ publicKey: ALICE, rxBytes, txBytes });

test("a rate is computed from the last two readings that are at least 0.8 s apart", () => {
  const rates = new RateTracker();
  expect(rates.of("wg0", ALICE, 0)).toBeNull();
  rates.record("wg0", [alice(1000, 10)], 0);
  expect(rates.of("wg0", ALICE, 500)).toBeNull();
  // Too soon after the last reading.
  rates.record("wg0", [alice(9000)], 799);
  expect(rates.of("wg0", ALICE, 799)).toBeNull();
  rates.record("wg0", [alice(5000, 30)], 2000);
  expect(rates.of("wg0", ALICE, 2000)).toEqual({ rxBytesPerSecond: 2000, txBytesPerSecond: 10 });
  rates.record("wg0", [alice(5000, 30)], 12_000);
  expect(rates.of("wg0", ALICE, 12_500)).toEqual({ rxBytesPerSecond: 0, txBytesPerSecond: 0 });
});

test("a rate belongs to one device and one peer", () => {
  const rates = new RateTracker();
  rates.record("wg0", [alice(0)], 0);
  rates.record("wg1", [alice(0)], 0);
  rates.record("wg0", [alice(100), peer({ publicKey: BOB })], 1000);
  expect(rates.of("wg0", ALICE, 1000)).toMatchObject({ rxBytesPerSecond: 100 });
  expect(rates.of("wg1", ALICE, 1000)).toBeNull();
  // The first reading of this peer.
  expect(rates.of("wg0", BOB, 1000)).toBeNull();
});

test("a rate is never negative when a counter is reset, and is null when it is old", () => {
  const rates = new RateTracker();
  rates.record("wg0", [alice(5000)], 0);
  rates.record("wg0", [alice(300)], 1000);
  expect(rates.of("wg0", ALICE, 1000)).toMatchObject({ rxBytesPerSecond: 300 });
  expect(rates.of("wg0", ALICE, 60_000)).toMatchObject({ rxBytesPerSecond: 300 });
  expect(rates.of("wg0", ALICE, 60_001)).toBeNull();
});
