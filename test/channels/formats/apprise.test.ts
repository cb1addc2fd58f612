/** The Apprise API: the requests, the URLs, and the answers. */

import { expect } from "bun:test";

import { drop, parsed, testFormat } from "../../support/format-suite.ts";

testFormat("apprise", {
  url: "http://apprise:8000/notify/wgmon",
  isRecognised: true,
  alsoRecognised: [
    "https://apprise.example.net/notify/wgmon/",
    "http://192.0.2.1:8000/notify/wgmon",
  ],
  notRecognised: ["https://example.net/notify/wgmon"],
  checkedUrls: [["http://apprise:8000/notify/", "does not end with /notify/<key>"]],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"title":"WireGuard on gw1","body":"critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)","type":"failure","format":"text"}",
        "alert.resolved": "{"title":"WireGuard on gw1","body":"resolved: alice (wg0) is back after 5m (rule offices)","type":"success","format":"text"}",
        "alerts": "{"title":"WireGuard on gw1","body":"alice (wg0) connected from 198.51.100.7:40001\\ninfo: alice (wg0) is down: no data for 5m; check the peer and its network (rule phones)\\nwarning: 2 alerts of rule offices: bob & co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network\\nresolved: alice (wg0) is back after 5m (rule offices)","type":"warning","format":"text"}",
        "device.added": "{"title":"WireGuard on gw1","body":"wg0 added, listening on port 51820","type":"info","format":"text"}",
        "device.removed": "{"title":"WireGuard on gw1","body":"wg0 removed","type":"warning","format":"text"}",
        "handshake.unknown": "{"title":"WireGuard on gw1","body":"wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)","type":"warning","format":"text"}",
        "peer.connected": "{"title":"WireGuard on gw1","body":"alice (wg0) connected from 198.51.100.7:40001","type":"success","format":"text"}",
        "peer.disconnected": "{"title":"WireGuard on gw1","body":"alice (wg0) disconnected after 4s","type":"warning","format":"text"}",
        "peer.roamed": "{"title":"WireGuard on gw1","body":"alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001","type":"info","format":"text"}",
        "several": "{"title":"WireGuard on gw1","body":"alice (wg0) connected from 198.51.100.7:40001\\nbob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\nalice (wg_1) disconnected after 4s","type":"info","format":"text"}",
        "to": "http://apprise:8000/notify/wgmon",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: {
    read(body) {
      const { title, body: text, format } = parsed(body) as Record<string, string>;
      expect(format).toBe("text");
      return { title: title!, lines: text!.split("\n") };
    },
    linesMax: 2000,
    forbidden: /(?<![a-z0-9])@(?!\u200b)|<[!#@]/i,
  },
  responses: [
    [200, "", null],
    [204, "", drop("204: Apprise has no services configured under this key")],
    [424, "", drop("424: not all services accepted it, see the log of Apprise")],
  ],
  refusals: [
    [
      { error: "An invalid (and/or empty) payload was specified" },
      "An invalid (and/or empty) payload was specified",
    ],
  ],
});
