/** The lines of CSV: those of events about alerts, which have other fields. */

import { expect, test } from "bun:test";

import type { Event } from "../../src/events/event-schema.ts";
import { EVENT_COLUMNS, eventLine } from "../../src/http/csv.ts";
import { anEvent, eventTypes } from "../support/events.ts";
import { ALICE } from "../support/peers.ts";

function cells(event: Event): Record<string, string> {
  // No value of these events has a comma.
  const values = eventLine({ seq: 7, event }).trimEnd().split(",");
  return Object.fromEntries(EVENT_COLUMNS.map((column, index) => [column, values[index]!]));
}

test.each(eventTypes)("the line of CSV of %s has a cell for each column", (type) => {
  const line = eventLine({ seq: 1, event: anEvent(type) });
  expect(line.split(",")).toHaveLength(EVENT_COLUMNS.length);
});

test("the line of CSV of an alert has the rule, the severity, the peer and the sentence", () => {
  const found = cells(anEvent("alert.firing", { alert: { severity: "warning" } }));
  expect(Object.entries(found).filter(([, value]) => value !== "")).toEqual([
    ["seq", "7"],
    ["id", `evt_${"6".repeat(32)}`],
    ["timestamp", "2026-11-22T16:19:04.417Z"],
    ["type", "alert.firing"],
    ["host", "gw1"],
    ["device", "wg0"],
    ["publicKey", ALICE],
    ["name", "alice"],
    ["rule", "offices"],
    ["kind", "down"],
    ["severity", "warning"],
    ["since", "2026-11-22T16:14:04.417Z"],
    ["count", "1"],
    ["sentence", "alice (wg0) is down: no data for 5m; check the peer and its network"],
  ]);
});

test("the line of CSV of several alerts has no peer, and its sentence cannot be a formula", () => {
  const event = anEvent("alert.resolved", {
    alert: { names: ["bob", "carol"], sentence: "=cmd() is back", rule: "+1" },
  });
  expect(cells(event)).toMatchObject({
    publicKey: "",
    name: "",
    count: "2",
    rule: "'+1",
    sentence: "'=cmd() is back",
  });
});
