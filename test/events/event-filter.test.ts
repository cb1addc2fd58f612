/** Which events a filter selects: each criterion alone, and several together. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  EVENT_PATTERNS,
  type EventFilter,
  matchesFilter,
  matchesNothing,
} from "../../src/events/event-filter.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { anEvent, eventTypes } from "../support/events.ts";
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
const deviceTypes = ["device.added", "device.removed"];

test.each<[Partial<EventFilter>, string[]]>([
  [{}, [...eventTypes]],
  [{ events: ["peer.disconnected"] }, ["peer.disconnected"]],
  [{ events: ["peer.*"] }, peerTypes],
  [{ events: ["device.*"] }, deviceTypes],
  [{ events: ["peer.roamed", "device.*"] }, ["peer.roamed", ...deviceTypes]],
  [{ devices: ["wg0"] }, [...eventTypes]],
  [{ devices: ["wg1", "wg0"] }, [...eventTypes]],
  [{ devices: ["wg1"] }, []],
  [{ devices: ["WG0"] }, []],
  [{ peers: ["alice"] }, peerTypes],
  [{ peers: [ALICE] }, peerTypes],
  [{ peers: ["Alice"] }, []],
  [{ peers: ["ali"] }, []],
  [{ peers: [BOB, "bob"] }, []],
  [{ peers: ["bob", "alice"], events: ["peer.disconnected"] }, ["peer.disconnected"]],
  [{ peers: ["alice"], devices: ["wg1"] }, []],
  [{ peers: ["alice"], events: ["device.*"] }, []],
])("the filter %j selects %j", (selection, types) => {
  expect(selected(selection)).toEqual(types);
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
  ])("matchesNothing for %j is %j", (selection, expected) => {
    expect(matchesNothing({ ...all, ...selection })).toBe(expected);
  });

  test("matchesNothing is true exactly if the filter selects no event of a matching peer and device", () => {
    const patterns = fc.subarray([...EVENT_PATTERNS]);
    fc.assert(
      fc.property(patterns, fc.boolean(), (wanted, isOfPeer) => {
        const selection = { ...all, events: wanted, peers: isOfPeer ? ["alice"] : [] };
        expect(matchesNothing(selection)).toBe(selected(selection).length === 0);
      }),
    );
  });
});
