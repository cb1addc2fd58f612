/** The event of a notice, and which targets receive it. */

import { describe, expect, test } from "bun:test";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import type { AlertView, Notice, Subject } from "../../src/alerts/alert.ts";
import { ruleOf } from "../../src/alerts/rule.ts";
import { type EventFilter, matchesFilter } from "../../src/events/event-filter.ts";
import { EventSchema } from "../../src/events/event-schema.ts";
import { eventOfNotice, receives } from "../../src/live-alerts/notice-event.ts";
import { AlertStory } from "../support/alert-story.ts";
import { ALICE, BOB } from "../support/peers.ts";

const AT_MS = Date.UTC(2026, 0, 5);
const METADATA = { id: `evt_${"0".repeat(32)}`, host: "gw1" };
const ALICES: Subject = { type: "peer", device: "wg0", publicKey: ALICE };
const BOBS: Subject = { type: "peer", device: "wg1", publicKey: BOB };
const PAGER: Subject = { type: "target", target: "pager" };

function view(subject: Subject, fields: Partial<AlertView> = {}): AlertView {
  return {
    id: "alert-1",
    rule: "offices",
    kind: "down",
    severity: "critical",
    state: "firing",
    subject,
    what: "",
    peer: subject.type === "peer" ? { name: "alice", tags: ["office"] } : null,
    sinceMs: AT_MS - 60_000,
    firedAtMs: AT_MS,
    resolvedAtMs: null,
    resolves: true,
    isSent: false,
    heldBack: null,
    sentence: "alice (wg0) is down",
    ...fields,
  };
}

function notice(alerts: readonly AlertView[], fields: Partial<Notice> = {}): Notice {
  return {
    type: "firing",
    atMs: AT_MS,
    rule: "offices",
    kind: "down",
    severity: "critical",
    targets: [],
    exceptTargets: [],
    dryRun: false,
    device: "wg0",
    cause: null,
    alerts,
    sentence: "alice (wg0) is down",
    heldBack: null,
    ...fields,
  };
}

describe("eventOfNotice", () => {
  test("a notice about one peer is an event with this peer", () => {
    expect(eventOfNotice(notice([view(ALICES)]), METADATA)).toEqual({
      ...METADATA,
      version: 1,
      type: "alert.firing",
      timestamp: "2026-01-05T00:00:00.000Z",
      data: {
        rule: "offices",
        kind: "down",
        severity: "critical",
        device: "wg0",
        peer: { publicKey: ALICE, name: "alice", tags: ["office"] },
        since: "2026-01-04T23:59:00.000Z",
        sentence: "alice (wg0) is down",
        cause: null,
        reminder: false,
        count: 1,
        alerts: [
          {
            id: "alert-1",
            device: "wg0",
            peer: { publicKey: ALICE, name: "alice", tags: ["office"] },
            target: null,
            since: "2026-01-04T23:59:00.000Z",
            sentence: "alice (wg0) is down",
          },
        ],
      },
    });
  });

  test("a notice about several peers has no peer, and the time of the earliest alert", () => {
    const alerts = [view(ALICES), view(BOBS, { id: "alert-2", sinceMs: AT_MS - 90_000 })];
    const fields = { device: null, cause: "all-peers", type: "reminder" } as const;
    expect(eventOfNotice(notice(alerts, fields), METADATA)).toMatchObject({
      type: "alert.firing",
      data: {
        device: null,
        peer: null,
        cause: "all-peers",
        reminder: true,
        count: 2,
        since: "2026-01-04T23:58:30.000Z",
        alerts: [{ device: "wg0" }, { device: "wg1" }],
      },
    });
  });

  test("a resolved notice has neither a cause nor a mark of reminders", () => {
    const event = eventOfNotice(notice([view(ALICES)], { type: "resolved" }), METADATA);
    expect(event.type).toBe("alert.resolved");
    expect(event.data).not.toContainAnyKeys(["cause", "reminder"]);
  });

  test("a notice about a target has the target, and neither device nor peer", () => {
    const fields = { kind: "target", device: null, exceptTargets: ["pager"] } as const;
    const event = eventOfNotice(notice([view(PAGER, { kind: "target" })], fields), METADATA);
    expect(event.data).toMatchObject({ device: null, peer: null });
    expect(event.data.alerts).toMatchObject([{ target: "pager", device: null, peer: null }]);
  });

  test("an event lists at most 50 alerts, and counts all", () => {
    const alerts = Array.from({ length: 60 }, (_, index) => view(ALICES, { id: `alert-${index}` }));
    const { data } = eventOfNotice(notice(alerts), METADATA);
    expect(data.alerts).toHaveLength(50);
    expect(data.count).toBe(60);
  });

  test("the events of the engine's notices are valid by the schema", () => {
    FormatRegistry.Set("date-time", (text) => new Date(text).toJSON() === text);
    const rule = ruleOf("down", "offices", { peers: ["*"], repeatMs: 3_600_000 });
    const story = new AlertStory([rule]).connect("berlin").wait("1h");
    story.disconnect("berlin").wait("3h").connect("berlin").wait("5m");
    expect(new Set(story.notices.map(({ type }) => type))).toEqual(
      new Set(["firing", "reminder", "resolved"]),
    );
    for (const each of story.notices) {
      expect([...Value.Errors(EventSchema, eventOfNotice(each, METADATA))]).toEqual([]);
    }
  });
});

describe("receives", () => {
  const all: EventFilter = { events: [], devices: [], peers: [] };
  const target = (key: string, filter: Partial<EventFilter> = {}) => ({
    key,
    accepts: (event: Parameters<typeof matchesFilter>[0]) =>
      matchesFilter(event, { ...all, ...filter }),
  });
  const nobody = () => false;
  const alices = notice([view(ALICES)]);

  test("a notice of a rule without targets is received by each target whose filter accepts it", () => {
    expect(receives(alices, target("chat"), nobody)).toBe(true);
    expect(receives(alices, target("chat", { events: ["alert.*"] }), nobody)).toBe(true);
    expect(receives(alices, target("chat", { peers: ["alice"] }), nobody)).toBe(true);
    expect(receives(alices, target("chat", { events: ["peer.*"] }), nobody)).toBe(false);
    expect(receives(alices, target("chat", { devices: ["wg1"] }), nobody)).toBe(false);
  });

  test("a notice of a rule with targets is received by these only, whatever their filters are", () => {
    const named = { ...alices, targets: ["pager"] };
    expect(receives(named, target("pager", { events: ["peer.*"] }), nobody)).toBe(true);
    expect(receives(named, target("chat"), nobody)).toBe(false);
  });

  test("a target never receives a notice about itself, even if the rule names it", () => {
    const about = notice([view(PAGER)], { exceptTargets: ["pager"], targets: ["pager", "chat"] });
    expect(receives(about, target("pager"), nobody)).toBe(false);
    expect(receives(about, target("chat"), nobody)).toBe(true);
    expect(receives({ ...about, targets: [] }, target("pager"), nobody)).toBe(false);
  });

  test("a notice is withheld if all its alerts are about mute peers", () => {
    const isMute = (publicKey: string) => publicKey === ALICE;
    const both = notice([view(ALICES), view(BOBS)]);
    const ofDevice = notice([view({ type: "device", device: "wg0" })]);
    expect(receives(alices, target("chat"), isMute)).toBe(false);
    expect(receives({ ...alices, targets: ["chat"] }, target("chat"), isMute)).toBe(false);
    expect(receives(both, target("chat"), isMute)).toBe(true);
    expect(receives(ofDevice, target("chat"), () => true)).toBe(true);
  });

  test("a notice that is held back or of a dry run is received by no target", () => {
    expect(receives({ ...alices, dryRun: true }, target("chat"), nobody)).toBe(false);
    const heldBack = { type: "times" } as const;
    expect(receives({ ...alices, heldBack }, target("chat"), nobody)).toBe(false);
  });

  test("a filter sees the alerts that the event does not list", () => {
    const alerts = [...Array.from({ length: 50 }, () => view(ALICES)), view(BOBS)];
    const bobs = target("chat", { devices: ["wg1"] });
    expect(bobs.accepts(eventOfNotice(notice(alerts), METADATA))).toBe(false);
    expect(receives(notice(alerts), bobs, nobody)).toBe(true);
  });
});
