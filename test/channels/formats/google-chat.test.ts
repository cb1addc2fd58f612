/** Google Chat: the requests, and the URLs with key and token. */

import { expect } from "bun:test";

import { parsed, testFormat } from "../../support/format-suite.ts";

testFormat("google-chat", {
  url: "https://chat.googleapis.com/v1/spaces/AAA/messages?key=k&token=s3cret&threadKey=wg",
  isRecognised: true,
  notRecognised: ["https://chat.googleapis.com/v1/spaces"],
  checkedUrls: [
    [
      "https://chat.googleapis.com/v1/spaces/AAA/messages?key=s3cret",
      "has no key or no token: copy the whole URL that Google Chat shows, in quotes",
    ],
    ["https://proxy.example.net/s3cret", null],
  ],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"text":"🔴 gw1: critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)"}",
        "alert.resolved": "{"text":"✅ gw1: resolved: alice (wg0) is back after 5m (rule offices)"}",
        "alerts": "{"text":"gw1: alice (wg0) connected from 198.51.100.7:40001\\n🔵 gw1: info: alice (wg0) is down: no data for 5m; check the peer and its network (rule phones)\\n🟠 gw1: warning: 2 alerts of rule offices: bob & co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network\\n✅ gw1: resolved: alice (wg0) is back after 5m (rule offices)"}",
        "device.added": "{"text":"gw1: wg0 added, listening on port 51820"}",
        "device.removed": "{"text":"gw1: wg0 removed"}",
        "handshake.unknown": "{"text":"gw1: wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)"}",
        "peer.connected": "{"text":"gw1: alice (wg0) connected from 198.51.100.7:40001"}",
        "peer.disconnected": "{"text":"gw1: alice (wg0) disconnected after 4s"}",
        "peer.roamed": "{"text":"gw1: alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001"}",
        "several": "{"text":"gw1: alice (wg0) connected from 198.51.100.7:40001\\ngw1: bob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\ngw1: alice (wg_1) disconnected after 4s"}",
        "to": "https://chat.googleapis.com/v1/spaces/AAA/messages?key=k&token=s3cret&threadKey=wg",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    linesMax: 4096,
    bodyMax: 32_000,
    forbidden: /[<*~`]|(?<![a-z0-9])_/i,
  },
  responses: [],
  refusals: [
    [
      { error: { code: 400, message: "Message cannot be empty.", status: "INVALID_ARGUMENT" } },
      "Message cannot be empty.",
    ],
  ],
});
