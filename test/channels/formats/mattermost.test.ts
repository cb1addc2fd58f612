/** Mattermost: the requests, and the URLs with a key of 26 letters and digits. */

import { expect } from "bun:test";

import { parsed, testFormat } from "../../support/format-suite.ts";

testFormat("mattermost", {
  url: "https://chat.example.net/hooks/abcdefghijklmnopqrstuvwxyz",
  isRecognised: true,
  notRecognised: [
    "https://example.net/hooks/wgmon",
    "https://example.net/hooks/ABCDEFGHIJKLMNOPQRSTUVWXYZ",
  ],
  checkedUrls: [["https://chat.example.net/s3cret", "does not end with /hooks/<key>"]],
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
        "several": "{"text":"gw1: alice (wg0) connected from 198.51.100.7:40001\\ngw1: bob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\ngw1: alice (wg\\\\_1) disconnected after 4s"}",
        "to": "https://chat.example.net/hooks/abcdefghijklmnopqrstuvwxyz",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    linesMax: 16_383,
    forbidden: /[`*_~|]|(?<![a-z0-9])@(?!\u200b)/i,
    escaped: /\\[^0-9A-Za-z\s]/g,
  },
  responses: [],
  refusals: [
    [
      {
        id: "web.incoming_webhook.channel.app_error",
        message: "Couldn't find the channel.",
        detailed_error: "",
        request_id: "kq3hzi5u3bd3ujmkfw8nrmp9ae",
        status_code: 404,
      },
      "Couldn't find the channel.",
    ],
  ],
});
