/** The log line of an event about alerts: its text, its fields and its level. */

import { expect, test } from "bun:test";

import type { Event, Severity } from "../../src/events/event-schema.ts";
import { describeEvent, logFields, logLevel } from "../../src/events/event.ts";
import { anEvent, eventTypes } from "../support/events.ts";
import { ALICE } from "../support/peers.ts";

test("the log fields of an alert are flat, with the fields of its peer and the ids of the alerts", () => {
  const event = anEvent("alert.firing");
  expect(logFields(event)).toEqual({
    event: "alert.firing",
    id: event.id,
    rule: "offices",
    kind: "down",
    severity: "critical",
    device: "wg0",
    publicKey: ALICE,
    name: "alice",
    since: "2026-11-22T16:14:04.417Z",
    cause: null,
    reminder: false,
    count: 1,
    alerts: ["alert-1"],
  });
});

type AlertFiring = Extract<Event, { type: "alert.firing" }>;

test("the line of a reminder says that it is one", () => {
  const event = anEvent("alert.firing") as AlertFiring;
  const { data } = event;
  const line = "alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)";
  expect(describeEvent(event)).toBe(`critical: ${line}`);
  expect(describeEvent({ ...event, data: { ...data, reminder: true } })).toBe(
    `critical (reminder): ${line}`,
  );
});

test("the log fields of several alerts have no peer", () => {
  const event = anEvent("alert.resolved", { alert: { names: ["bob", "carol"] } });
  expect(logFields(event)).toEqual({
    event: "alert.resolved",
    id: event.id,
    rule: "offices",
    kind: "down",
    severity: "critical",
    device: "wg0",
    since: "2026-11-22T16:14:04.417Z",
    count: 2,
    alerts: ["alert-1", "alert-2"],
  });
});

test("only alerts that fire and are not mere information are logged as warnings", () => {
  const firing = (severity: Severity) => logLevel(anEvent("alert.firing", { alert: { severity } }));
  expect([firing("critical"), firing("warning"), firing("info")]).toEqual(["warn", "warn", "info"]);
  const others = eventTypes.filter((type) => type !== "alert.firing");
  expect(new Set(others.map((type) => logLevel(anEvent(type))))).toEqual(new Set(["info"]));
});
