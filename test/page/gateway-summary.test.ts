/** The numbers of the overview that cover all peers, and how long they are cached. */

import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";

import { GatewaySummary } from "../../src/page/gateway-summary.ts";
import { RenderCost } from "../../src/page/render-cost.ts";
import { anEvent } from "../support/events.ts";
import { FakeSource, keyOf } from "../support/source.ts";

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

let source: FakeSource;
let summary: GatewaySummary;
const zone = process.env["TZ"];

beforeEach(async () => {
  source = await FakeSource.make();
  summary = new GatewaySummary(source);
});

afterEach(() => {
  setZone(zone);
  source.store[Symbol.dispose]();
});

function setZone(name: string | undefined): void {
  process.env["TZ"] = name ?? "UTC";
}

/** Sets the clock to a later time. */
function setClock(text: string): void {
  source.clock.advance(Date.parse(text) - source.clock.now().wallMs);
}

async function today() {
  return await summary.today(new RenderCost(source));
}

/** Records traffic in the slot that contains the time. */
function record(text: string, rxBytes: number): void {
  const atMs = Date.parse(text);
  source.store.totals.add({ rxBytes, txBytes: 0, connected: 1 }, atMs);
  source.store.traffic.add([{ device: "wg0", publicKey: keyOf(1), rxBytes, txBytes: 0 }], atMs);
}

test("the traffic of today covers all of a day of 25 hours", async () => {
  setZone("Europe/Berlin");
  // The clocks are set back on this day; it began at 22:00 UTC.
  setClock("2026-10-25T22:50:00Z");
  for (const [hour, rxBytes] of [
    ["2026-10-24T21:55:00Z", 1000],
    ["2026-10-24T22:00:00Z", 1],
    ["2026-10-25T21:55:00Z", 2],
    ["2026-10-25T22:00:00Z", 4],
    ["2026-10-25T22:05:00Z", 8],
    ["2026-10-25T22:45:00Z", 16],
  ] as const) {
    record(hour, rxBytes);
  }
  const { rxBytes, top } = await today();
  expect([rxBytes, top[0]!.rxBytes]).toEqual([31, 31]);
});

test.each([
  ["a time zone with half an hour", "Asia/Kolkata", "2026-11-01T18:30:00Z", "2026-11-02T10:00:00Z"],
  ["one with a quarter", "Asia/Kathmandu", "2026-11-01T18:15:00Z", "2026-11-02T10:00:00Z"],
  ["a day of 25 hours", "Australia/Adelaide", "2026-04-04T13:30:00Z", "2026-04-05T14:25:00Z"],
])("the traffic of today begins at midnight in %s", async (_, zone, midnight, now) => {
  setZone(zone);
  const at = (minutes: number) =>
    new Date(Date.parse(midnight) + minutes * MINUTE_MS).toISOString();
  setClock(midnight);
  for (const [minutes, rxBytes] of [
    [-30, 1000],
    [-5, 1000],
    [0, 1],
    [10, 2],
    [50, 4],
    [300, 8],
  ] as const) {
    record(at(minutes), rxBytes);
  }
  setClock(now);
  while (source.store.trim({ keepMs: 30 * 24 * HOUR_MS, maxBytes: 1e9 }, Date.parse(now)));
  const { rxBytes, top } = await today();
  expect([rxBytes, top[0]!.rxBytes]).toEqual([15, 15]);
});

test("the chart contains a slot as soon as its rate is shown", () => {
  setClock("2026-11-02T10:10:02Z");
  expect(summary.chart("1h").rxBytes.at(-2)).toBeNull();
  record("2026-11-02T10:05:00Z", 300);
  setClock("2026-11-02T10:10:16Z");
  expect(summary.chart("1h").rxBytes.at(-2)).toBe(300);
});

test("the peers with the most traffic are read again after an error", async () => {
  setClock("2026-11-02T10:00:00Z");
  record("2026-11-02T09:00:00Z", 5);
  const top = spyOn(source.store.traffic, "top").mockRejectedValueOnce(new Error("disk"));
  let error: unknown;
  await today().catch((caught: unknown) => (error = caught));
  expect(String(error)).toBe("Error: disk");
  expect((await today()).top).toHaveLength(1);
  top.mockRestore();
});

test("all events of today are counted once, then only new ones", async () => {
  const counted = spyOn(source.store.events, "countByType");
  const { wallMs } = source.clock.now();
  let ids = 0;
  const at = (ms: number) => ({
    ...anEvent("peer.connected"),
    id: `evt_${String(++ids).padStart(32, "0")}`,
    timestamp: new Date(ms).toISOString(),
  });
  source.record([at(wallMs)]);
  expect((await today()).events.get("peer.connected")).toBe(1);
  source.record([at(wallMs), at(wallMs - 48 * HOUR_MS)]);
  expect((await today()).events.get("peer.connected")).toBe(2);
  expect(counted).toHaveBeenCalledTimes(1);
  source.record(Array.from({ length: 150 }, () => at(wallMs)));
  expect((await today()).events.get("peer.connected")).toBe(152);
  expect(counted).toHaveBeenCalledTimes(2);
  source.clock.advance(11 * MINUTE_MS);
  expect((await today()).events.get("peer.connected")).toBe(152);
  expect(counted).toHaveBeenCalledTimes(3);
});
