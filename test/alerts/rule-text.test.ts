/** Rules in words, and intervals as the settings file has them. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { intervalText, ruleText } from "../../src/alerts/rule-text.ts";
import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import { parseInterval } from "../../src/alerts/times.ts";

const utc = { days: [1, 2, 3, 4, 5, 6, 7], fromMinute: 0, toMinute: 1440, zone: "UTC" };

test.each<[Rule, string]>([
  [ruleOf("down", "a", { peers: ["alice"] }), "alice is absent for 2m"],
  [
    ruleOf("down", "a", { peers: ["alice", "b*"], tags: ["x", "y"], devices: ["wg0"], forMs: 0 }),
    "a peer that matches alice or b* with the tag x or y on wg0 is absent",
  ],
  [
    ruleOf("traffic", "a", { rate: { bytesPerSecond: 1e7, overMs: 60_000 } }),
    "a peer transfers 10MB/s on average over 1m",
  ],
  [ruleOf("flapping", "a"), "a peer disconnects more than 5 times within 1h"],
  [
    ruleOf("no-return-traffic", "a", { steadyForMs: 60_000 }),
    "a peer is connected and its answers do not arrive, after it was connected for 1m",
  ],
  [
    ruleOf("shared-key", "a"),
    "the key of a peer is used from two places that take 3 turns, each within 2m",
  ],
  [
    ruleOf("traffic", "a", {
      direction: "rx",
      quota: { bytes: 1e9, period: { unit: "week", resetDay: 7, zone: "UTC" }, percents: [100] },
      rate: { bytesPerSecond: 12.5e6, overMs: 60_000 },
    }),
    "a peer sends 100 % of 1GB per week from sun (UTC) or 100Mbit/s on average over 1m",
  ],
  [ruleOf("hours", "a", { allowed: [utc] }), "a peer is connected outside 00:00-24:00 UTC"],
  [
    ruleOf("place", "a", { allowed: ["DE", "AS3320"], unseen: "asn" }),
    "a peer connects from a place other than DE and AS3320 or from an autonomous system for the first time",
  ],
  [
    ruleOf("down", "a", { peers: ["alice"], everywhere: true }),
    "alice is absent on all devices that have it for 2m",
  ],
  [
    ruleOf("unused", "a", { devices: ["gw1/wg0", "gw2/wg0"], everywhere: true }),
    "a peer on gw1/wg0 or gw2/wg0 was not connected on all of these devices that have it for 90 days; one summary a day, at 09:00 UTC",
  ],
  [ruleOf("unused", "a"), "a peer was not connected for 90 days; one summary a day, at 09:00 UTC"],
  [ruleOf("changed", "a", { changes: ["added"] }), "the settings of a peer change: added"],
  [
    ruleOf("handshakes", "a", { devices: ["wg0"] }),
    "more than 20 handshake messages that no peer completes arrive within 10m at wg0",
  ],
  [ruleOf("target", "a"), "a target fails for 10m, or is stopped"],
])("the condition of a rule is a sentence: %#", (rule, expected) => {
  expect(ruleText(rule)[0]!.replace("at once ", "")).toBe(`fires when ${expected}`);
});

test("a rule of kind down without a delay fires at once", () => {
  expect(ruleText(ruleOf("down", "a", { forMs: 0 }))[0]).toBe(
    "fires at once when a peer is absent",
  );
  expect(ruleText(ruleOf("flapping", "a"))[0]).toStartWith("fires when");
});

test("an interval as text is the same interval again", () => {
  const minute = fc.integer({ min: 0, max: 1439 });
  const interval = fc.record({
    days: fc
      .uniqueArray(fc.integer({ min: 1, max: 7 }), { minLength: 1 })
      .map((days) => days.toSorted((a, b) => a - b)),
    fromMinute: minute,
    toMinute: fc.oneof(minute, fc.constant(1440)),
    zone: fc.constantFrom("UTC", "Europe/Berlin", "America/Argentina/Ushuaia"),
  });
  fc.assert(
    fc.property(interval, (each) => {
      expect(parseInterval(intervalText(each), "Asia/Tokyo")).toEqual(each);
    }),
  );
});
