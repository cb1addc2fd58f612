/** Which events a filter selects: each criterion alone, and several together. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  EVENT_PATTERNS,
  type EventFilter,
  matchesFilter,
  matchesNothing,
} from "../../src/events/event-filter.ts";
import type { AlertEvent, Event } from "../../src/events/event-schema.ts";
import { aFleetEvent, anEvent, eventTypes, fleetTypes } from "../support/events.ts";
import { ALICE, BOB, peer } from "../support/peers.ts";

const all: EventFilter = { events: [], devices: [], peers: [] };

const events = eventTypes.map((type) => anEvent(type, { device: "wg0", name: "alice" }));

/** The types of the selected events; by default of one event of each type. */
function selected(selection: Partial<EventFilter>, given: readonly Event[] = events): string[] {
  return given
    .filter((event) => matchesFilter(event, { ...all, ...selection }))
    .map(({ type }) => type);
}

const peerTypes = ["peer.connected", "peer.roamed", "peer.disconnected"];
const alertTypes = ["alert.firing", "alert.resolved"];
const deviceTypes = ["device.added", "device.removed"];

test.each<[Partial<EventFilter>, string[]]>([
  [{}, [...eventTypes]],
  [{ events: ["peer.disconnected"] }, ["peer.disconnected"]],
  [{ events: ["peer.*"] }, peerTypes],
  [{ events: ["device.*"] }, deviceTypes],
  [{ events: ["peer.roamed", "device.*"] }, ["peer.roamed", ...deviceTypes]],
  [{ events: ["alert.*"] }, alertTypes],
  [{ events: ["alert.resolved", "peer.roamed"] }, ["peer.roamed", "alert.resolved"]],
  [{ devices: ["wg0"] }, [...eventTypes]],
  [{ devices: ["wg1", "wg0"] }, [...eventTypes]],
  [{ devices: ["wg1"] }, []],
  [{ devices: ["WG0"] }, []],
  [{ peers: ["alice"] }, [...peerTypes, ...alertTypes]],
  [{ peers: [ALICE] }, [...peerTypes, ...alertTypes]],
  [{ peers: ["Alice"] }, []],
  [{ peers: ["ali"] }, []],
  [{ peers: [BOB, "bob"] }, []],
  [{ peers: ["bob", "alice"], events: ["peer.disconnected"] }, ["peer.disconnected"]],
  [{ peers: ["alice"], devices: ["wg1"] }, []],
  [{ peers: ["alice"], events: ["device.*"] }, []],
])("the filter %j selects %j", (selection, types) => {
  expect(selected(selection)).toEqual(types);
});

describe("a filter of events about several alerts", () => {
  const several = anEvent("alert.firing", { alert: { names: ["bob", "carol"] } }) as AlertEvent;

  test.each<[Partial<EventFilter>, boolean]>([
    [{ peers: ["carol"] }, true],
    [{ peers: ["alice"] }, false],
    [{ peers: ["carol"], devices: ["wg0"] }, true],
    [{ peers: ["carol"], devices: ["wg1"] }, false],
  ])("the filter %j selects an event about alerts of bob and carol: %j", (selection, expected) => {
    expect(matchesFilter(several, { ...all, ...selection })).toBe(expected);
  });

  test("an event about alerts of several devices is selected by each of them", () => {
    const [alert] = several.data.alerts;
    const alerts = [alert!, { ...alert!, device: "wg1" }];
    const event: Event = { ...several, data: { ...several.data, device: null, alerts } } as Event;
    const by = (device: string) => matchesFilter(event, { ...all, devices: [device] });
    expect(["wg0", "wg1", "wg2"].map(by)).toEqual([true, true, false]);
  });

  test("an event about the alert of a target has no device and no peer", () => {
    const about = { device: null, peer: null };
    const alerts = [{ ...several.data.alerts[0]!, ...about, target: "pager" }];
    const event = { ...several, data: { ...several.data, ...about, count: 1, alerts } } as Event;
    expect(matchesFilter(event, all)).toBe(true);
    expect(matchesFilter(event, { ...all, devices: ["wg0"] })).toBe(false);
    expect(matchesFilter(event, { ...all, peers: ["bob"] })).toBe(false);
  });
});

test("a peer without a name is selected only by its key", () => {
  const nameless = [anEvent("peer.connected", { name: null, peer: peer({ publicKey: BOB }) })];
  expect(selected({ peers: [BOB] }, nameless)).toEqual(["peer.connected"]);
  expect(selected({ peers: ["null", ""] }, nameless)).toEqual([]);
});

describe("matchesNothing", () => {
  test.each<[Partial<EventFilter>, boolean]>([
    [{}, false],
    [{ peers: ["alice"] }, false],
    [{ events: ["device.*"] }, false],
    [{ events: ["device.*"], peers: ["alice"] }, true],
    [{ events: ["device.added", "device.removed"], peers: ["alice"] }, true],
    [{ events: ["device.*", "peer.roamed"], peers: ["alice"] }, false],
    [{ events: ["device.*", "alert.resolved"], peers: ["alice"] }, false],
  ])("matchesNothing for %j is %j", (selection, expected) => {
    expect(matchesNothing({ ...all, ...selection })).toBe(expected);
  });

  test("matchesNothing is true exactly if the filter selects no event of a matching peer and device", () => {
    const patterns = fc.subarray([...EVENT_PATTERNS]);
    fc.assert(
      fc.property(patterns, fc.boolean(), (wanted, isOfPeer) => {
        const selection = { ...all, events: wanted, peers: isOfPeer ? ["alice"] : [] };
        const found = [...events, ...fleetTypes.map((type) => aFleetEvent(type))].filter((event) =>
          matchesFilter(event, selection),
        );
        expect(matchesNothing(selection)).toBe(found.length === 0);
      }),
    );
  });
});
