/** JSON: one event is its own body, several events are a digest. */

import { expect, test } from "bun:test";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import fc from "fast-check";

import { json, jsonText } from "../../../src/channels/formats/json.ts";
import { DigestSchema, EventSchema } from "../../../src/events/event-schema.ts";
import { anEvent, eventTypes, hostileMessage, messageOf } from "../../support/events.ts";
import { testFormat } from "../../support/format-suite.ts";

FormatRegistry.Set("date-time", (text) => new Date(text).toISOString() === text);

const URL_ = new URL("https://hooks.example.net/wgmon?token=s3cret");
const parsed = (message: Parameters<typeof json.request>[0]): unknown =>
  JSON.parse(json.request(message, URL_).body);

testFormat("json", {
  url: URL_.href,
  isRecognised: true,
  alsoRecognised: ["https://example.net/"],
  notRecognised: [],
  checkedUrls: [],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"id":"evt_66666666666666666666666666666666","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"alert.firing","data":{"rule":"offices","kind":"down","severity":"critical","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is down: no data for 5m; check the peer and its network","count":1,"alerts":[{"id":"alert-1","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"target":null,"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is down: no data for 5m; check the peer and its network"}],"cause":null,"reminder":false}}",
        "alert.resolved": "{"id":"evt_77777777777777777777777777777777","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"alert.resolved","data":{"rule":"offices","kind":"down","severity":"critical","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is back after 5m","count":1,"alerts":[{"id":"alert-1","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"target":null,"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is back after 5m"}]}}",
        "alerts": "{"id":"msg_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","version":1,"type":"digest","timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","data":{"events":[{"id":"evt_00000000000000000000000000000000","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"peer.connected","data":{"device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[],"allowedIps":["10.0.0.2/32"],"endpoint":"198.51.100.7:40001"},"session":{"startedAt":"2026-11-22T16:19:04.417Z","rxBytes":212,"txBytes":92,"roams":0},"initial":false}},{"id":"evt_66666666666666666666666666666666","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"alert.firing","data":{"rule":"phones","kind":"down","severity":"info","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is down: no data for 5m; check the peer and its network","count":1,"alerts":[{"id":"alert-1","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"target":null,"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is down: no data for 5m; check the peer and its network"}],"cause":null,"reminder":false}},{"id":"evt_66666666666666666666666666666666","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"alert.firing","data":{"rule":"offices","kind":"down","severity":"warning","device":"wg0","peer":null,"since":"2026-11-22T16:14:04.417Z","sentence":"2 alerts of rule offices: bob & co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network","count":2,"alerts":[{"id":"alert-1","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"bob & co","tags":[]},"target":null,"since":"2026-11-22T16:14:04.417Z","sentence":"bob & co (wg0) is down: no data for 5m; check the peer and its network"},{"id":"alert-2","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"carol","tags":[]},"target":null,"since":"2026-11-22T16:14:04.417Z","sentence":"carol (wg0) is down: no data for 5m; check the peer and its network"}],"cause":null,"reminder":false}},{"id":"evt_77777777777777777777777777777777","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"alert.resolved","data":{"rule":"offices","kind":"down","severity":"critical","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is back after 5m","count":1,"alerts":[{"id":"alert-1","device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[]},"target":null,"since":"2026-11-22T16:14:04.417Z","sentence":"alice (wg0) is back after 5m"}]}}]}}",
        "device.added": "{"id":"evt_33333333333333333333333333333333","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"device.added","data":{"device":"wg0","listenPort":51820}}",
        "device.removed": "{"id":"evt_44444444444444444444444444444444","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"device.removed","data":{"device":"wg0","listenPort":51820}}",
        "handshake.unknown": "{"id":"evt_55555555555555555555555555555555","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"handshake.unknown","data":{"device":"wg0","listenPort":51820,"network":"198.51.100.0/24","networks":1,"sources":["198.51.100.7:40001"],"packets":3,"messages":{"initiation":3,"response":0,"data":0},"mac1":"valid","peers":[],"firstAt":"2026-11-22T16:18:04.417Z","lastAt":"2026-11-22T16:18:14.817Z"}}",
        "peer.connected": "{"id":"evt_00000000000000000000000000000000","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"peer.connected","data":{"device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[],"allowedIps":["10.0.0.2/32"],"endpoint":"198.51.100.7:40001"},"session":{"startedAt":"2026-11-22T16:19:04.417Z","rxBytes":212,"txBytes":92,"roams":0},"initial":false}}",
        "peer.disconnected": "{"id":"evt_22222222222222222222222222222222","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"peer.disconnected","data":{"device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[],"allowedIps":["10.0.0.2/32"],"endpoint":"198.51.100.7:40001"},"session":{"startedAt":"2026-11-22T16:19:04.417Z","rxBytes":212,"txBytes":92,"roams":0,"endedAt":"2026-11-22T16:19:08.812Z","durationMs":4395},"reason":"idle"}}",
        "peer.roamed": "{"id":"evt_11111111111111111111111111111111","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"peer.roamed","data":{"device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[],"allowedIps":["10.0.0.2/32"],"endpoint":"198.51.100.7:40001"},"session":{"startedAt":"2026-11-22T16:19:04.417Z","rxBytes":212,"txBytes":92,"roams":0},"previousEndpoint":"192.0.2.1:51820"}}",
        "several": "{"id":"msg_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","version":1,"type":"digest","timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","data":{"events":[{"id":"evt_00000000000000000000000000000000","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"peer.connected","data":{"device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[],"allowedIps":["10.0.0.2/32"],"endpoint":"198.51.100.7:40001"},"session":{"startedAt":"2026-11-22T16:19:04.417Z","rxBytes":212,"txBytes":92,"roams":0},"initial":false}},{"id":"evt_00000000000000000000000000000000","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"peer.connected","data":{"device":"wg0","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"bob & co","tags":[],"allowedIps":["10.0.0.2/32"],"endpoint":"198.51.100.7:40001"},"session":{"startedAt":"2026-11-22T16:19:04.417Z","rxBytes":212,"txBytes":92,"roams":0},"initial":true}},{"id":"evt_22222222222222222222222222222222","version":1,"timestamp":"2026-11-22T16:19:04.417Z","host":"gw1","type":"peer.disconnected","data":{"device":"wg_1","peer":{"publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=","name":"alice","tags":[],"allowedIps":["10.0.0.2/32"],"endpoint":"198.51.100.7:40001"},"session":{"startedAt":"2026-11-22T16:19:04.417Z","rxBytes":212,"txBytes":92,"roams":0,"endedAt":"2026-11-22T16:19:08.812Z","durationMs":4395},"reason":"idle"}}]}}",
        "to": "https://hooks.example.net/wgmon?token=s3cret",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: null,
  responses: [],
  refusals: [
    // RFC 9457 section 3.
    [
      {
        type: "https://example.net/out-of-credit",
        title: "No credit.",
        detail: "Your balance is 30.",
      },
      "Your balance is 30.",
    ],
    [{ title: "Not Found", status: 404 }, "Not Found"],
    [{ message: "Unsupported event type" }, "Unsupported event type"],
    [{ errors: [{ title: "Invalid", detail: "host is missing" }] }, "host is missing"],
    [{ ok: false }, null],
    [[], null],
  ],
});

test.each(eventTypes)("the JSON body for %s is the event, and is valid by the schema", (type) => {
  const event = anEvent(type);
  expect(parsed(messageOf(event))).toEqual(event);
  expect(Value.Check(EventSchema, parsed(messageOf(event)))).toBe(true);
});

test("the JSON body for several events is a digest, and is valid by the schema", () => {
  const events = eventTypes.map((type) => anEvent(type)) as [ReturnType<typeof anEvent>];
  const digest = parsed(messageOf(...events));
  expect(digest).toEqual({
    id: `msg_${"a".repeat(32)}`,
    version: 1,
    type: "digest",
    timestamp: events.at(-1)!.timestamp,
    host: "gw1",
    data: { events },
  });
  expect([...Value.Errors(DigestSchema, digest)]).toEqual([]);
  expect(Value.Check(EventSchema, digest)).toBe(false);
});

test("the request with JSON goes to the unchanged URL, and is signed", () => {
  expect(json.request(messageOf(anEvent("device.added")), URL_)).toMatchObject({
    url: URL_.href,
    contentType: "application/json",
  });
  expect(json.isSigned).toBe(true);
});

test("in JSON, a lone surrogate is replaced, and all other characters are kept", () => {
  expect(jsonText({ name: '\ud800 "\n\u202e😀' })).toBe('{"name":"\ufffd \\"\\n\u202e😀"}');
  fc.assert(
    fc.property(hostileMessage, (message) => {
      const { body } = json.request(message, URL_);
      expect(body).not.toMatch(/\\ud[89a-f]/);
      expect(body.isWellFormed()).toBe(true);
      JSON.parse(body);
    }),
    { numRuns: 50 },
  );
});
