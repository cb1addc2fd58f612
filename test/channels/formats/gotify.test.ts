/** Gotify: the requests, and the URLs with their token and priority. */

import { expect, test } from "bun:test";

import { gotify } from "../../../src/channels/formats/gotify.ts";
import type { Event, Severity } from "../../../src/events/event-schema.ts";
import { anEvent, messageOf } from "../../support/events.ts";
import { bodyFor, parsed, testFormat } from "../../support/format-suite.ts";

const URL_ = "https://push.example.net/gotify/message?token=As3cret.-_123456";

testFormat("gotify", {
  url: URL_,
  isRecognised: true,
  alsoRecognised: ["https://push.example.net/message?token=gtfy_app.abc-_123"],
  notRecognised: ["https://example.net/message?token=abc", "https://example.net/message"],
  checkedUrls: [
    ["https://push.example.net/?token=s3cret", "does not end with /message?token=..."],
    ["https://push.example.net/message", "has no token: write .../message?token=..."],
    [
      "https://push.example.net/message?token=s3cret%0d%0ax:y",
      "has a token that is not a Gotify application token",
    ],
    [`${URL_}&priority=11`, "has a priority that is not a whole number from 0 to 10"],
    [`${URL_}&title=s3cret`, "has an unknown parameter; known are token and priority"],
  ],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"title":"WireGuard on gw1","message":"critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)","priority":8}",
        "alert.resolved": "{"title":"WireGuard on gw1","message":"resolved: alice (wg0) is back after 5m (rule offices)","priority":5}",
        "alerts": "{"title":"WireGuard on gw1","message":"alice (wg0) connected from 198.51.100.7:40001\\ninfo: alice (wg0) is down: no data for 5m; check the peer and its network (rule phones)\\nwarning: 2 alerts of rule offices: bob & co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network\\nresolved: alice (wg0) is back after 5m (rule offices)","priority":6}",
        "device.added": "{"title":"WireGuard on gw1","message":"wg0 added, listening on port 51820","priority":5}",
        "device.removed": "{"title":"WireGuard on gw1","message":"wg0 removed","priority":5}",
        "handshake.unknown": "{"title":"WireGuard on gw1","message":"wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)","priority":5}",
        "peer.connected": "{"title":"WireGuard on gw1","message":"alice (wg0) connected from 198.51.100.7:40001","priority":5}",
        "peer.disconnected": "{"title":"WireGuard on gw1","message":"alice (wg0) disconnected after 4s","priority":5}",
        "peer.roamed": "{"title":"WireGuard on gw1","message":"alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001","priority":5}",
        "several": "{"title":"WireGuard on gw1","message":"alice (wg0) connected from 198.51.100.7:40001\\nbob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\nalice (wg_1) disconnected after 4s","priority":5}",
        "to": "https://push.example.net/gotify/message",
        "with": [
          "application/json",
          "x-gotify-key: As3cret.-_123456",
        ],
      }
    `);
  },
  text: {
    read(body) {
      const { title, message } = parsed(body) as Record<string, string>;
      return { title: title!, lines: message!.split("\n") };
    },
    linesMax: 16_000,
  },
  responses: [],
  refusals: [
    [
      {
        error: "Unauthorized",
        errorCode: 401,
        errorDescription:
          "you need to provide a valid access token or user credentials to access this api",
      },
      "you need to provide a valid access token or user credentials to access this api",
    ],
  ],
});

test("gotify passes the priority on", () => {
  expect(bodyFor("gotify", `${URL_}&priority=0`)).toMatchObject({ priority: 0 });
});

test("the priority that Gotify gets depends on the severity, unless the URL has one", () => {
  const priorityOf = (event: Event, query = ""): unknown => {
    const { body } = gotify.request(messageOf(event), new URL(`${URL_}${query}`));
    return parsed(body)["priority"];
  };
  const firing = (severity: Severity) => anEvent("alert.firing", { alert: { severity } });
  expect(priorityOf(firing("critical"))).toBe(8);
  expect(priorityOf(firing("warning"))).toBe(6);
  expect(priorityOf(firing("info"))).toBe(5);
  expect(priorityOf(anEvent("alert.resolved"))).toBe(5);
  expect(priorityOf(firing("critical"), "&priority=2")).toBe(2);
});
