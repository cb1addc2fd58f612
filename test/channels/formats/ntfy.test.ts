/** ntfy: the requests, and the URLs of its own and of self-hosted servers. */

import { expect, test } from "bun:test";

import { ntfy } from "../../../src/channels/formats/ntfy.ts";
import type { Event, Severity } from "../../../src/events/event-schema.ts";
import { anEvent, messageOf } from "../../support/events.ts";
import { parsed, testFormat } from "../../support/format-suite.ts";

const WRONG_PATH =
  "is not a server and one topic (letters, digits, - and _): write https://ntfy.sh/your-topic";

testFormat("ntfy", {
  url: "https://:tk_s3cret@ntfy.sh/wgmon-alerts?priority=4",
  isRecognised: true,
  notRecognised: [
    "https://ntfy.sh/",
    "https://ntfy.sh/v1/account",
    "https://ntfy.example.net/topic",
  ],
  checkedUrls: [
    ["https://ntfy.sh/", WRONG_PATH],
    ["https://ntfy.sh/s3cret/json", WRONG_PATH],
  ],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["rotating_light"],"message":"critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)"}",
        "alert.resolved": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["white_check_mark"],"message":"resolved: alice (wg0) is back after 5m (rule offices)"}",
        "alerts": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["warning"],"message":"alice (wg0) connected from 198.51.100.7:40001\\ninfo: alice (wg0) is down: no data for 5m; check the peer and its network (rule phones)\\nwarning: 2 alerts of rule offices: bob & co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network\\nresolved: alice (wg0) is back after 5m (rule offices)"}",
        "device.added": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["electric_plug"],"message":"wg0 added, listening on port 51820"}",
        "device.removed": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["warning"],"message":"wg0 removed"}",
        "handshake.unknown": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["grey_question"],"message":"wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)"}",
        "peer.connected": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["green_circle"],"message":"alice (wg0) connected from 198.51.100.7:40001"}",
        "peer.disconnected": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["red_circle"],"message":"alice (wg0) disconnected after 4s"}",
        "peer.roamed": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","tags":["large_blue_circle"],"message":"alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001"}",
        "several": "{"topic":"wgmon-alerts","title":"WireGuard on gw1","message":"alice (wg0) connected from 198.51.100.7:40001\\nbob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\nalice (wg_1) disconnected after 4s"}",
        "to": "https://:tk_s3cret@ntfy.sh/?priority=4",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: {
    read(body) {
      const { title, message } = parsed(body) as Record<string, string>;
      return { title: title!, lines: message!.split("\n") };
    },
    bodyMax: 4096,
  },
  responses: [],
  refusals: [
    [
      {
        code: 40301,
        http: 403,
        error: "forbidden",
        link: "https://ntfy.sh/docs/publish/#authentication",
      },
      "forbidden",
    ],
  ],
});

test("the server of ntfy can be self-hosted, with user name and password", () => {
  const url = new URL("https://me:pass@push.example.net/alerts/?auth=QmVhcmVyIHg");
  const { url: to, body } = ntfy.request(messageOf(anEvent("peer.connected")), url);
  expect(to).toBe("https://me:pass@push.example.net/?auth=QmVhcmVyIHg");
  expect(parsed(body)).toMatchObject({ topic: "alerts" });
});

test("the priority that ntfy gets depends on the severity, unless the URL has one", () => {
  const priorityOf = (event: Event, query = ""): unknown => {
    const url = new URL(`https://ntfy.sh/wgmon-alerts${query}`);
    return parsed(ntfy.request(messageOf(anEvent("peer.connected"), event), url).body)["priority"];
  };
  const firing = (severity: Severity) => anEvent("alert.firing", { alert: { severity } });
  expect(priorityOf(firing("critical"))).toBe(5);
  expect(priorityOf(firing("warning"))).toBe(4);
  expect(priorityOf(firing("info"))).toBeUndefined();
  expect(priorityOf(anEvent("alert.resolved"))).toBeUndefined();
  expect(priorityOf(anEvent("peer.disconnected"))).toBeUndefined();
  expect(priorityOf(firing("critical"), "?priority=2")).toBeUndefined();
  expect(priorityOf(firing("critical"), "?p=2")).toBeUndefined();
});
