/** Slack: the requests, the URLs, and the answers with an error code. */

import { expect } from "bun:test";

import { drop, parsed, stop, testFormat } from "../../support/format-suite.ts";

testFormat("slack", {
  url: "https://hooks.slack.com/services/T0/B0/s3cret",
  isRecognised: true,
  alsoRecognised: ["https://hooks.slack-gov.com/services/T/B/x"],
  notRecognised: [
    "https://hooks.slack.com/workflows/T/B/x",
    "https://hooks.slack.com.example.net/services/T/B/x",
    "https://example.net/https://hooks.slack.com/services/T/B/x",
  ],
  checkedUrls: [
    [
      "https://hooks.slack.com/workflows/s3cret",
      "is not a Slack incoming webhook: write https://hooks.slack.com/services/...",
    ],
    ["https://chat.example.net/hooks/s3cret", null],
  ],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"text":"🔴 gw1: critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "alert.resolved": "{"text":"✅ gw1: resolved: alice (wg0) is back after 5m (rule offices)","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "alerts": "{"text":"gw1: alice (wg0) connected from 198.51.100.7:40001\\n🔵 gw1: info: alice (wg0) is down: no data for 5m; check the peer and its network (rule phones)\\n🟠 gw1: warning: 2 alerts of rule offices: bob &amp; co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network\\n✅ gw1: resolved: alice (wg0) is back after 5m (rule offices)","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "device.added": "{"text":"gw1: wg0 added, listening on port 51820","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "device.removed": "{"text":"gw1: wg0 removed","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "handshake.unknown": "{"text":"gw1: wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "peer.connected": "{"text":"gw1: alice (wg0) connected from 198.51.100.7:40001","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "peer.disconnected": "{"text":"gw1: alice (wg0) disconnected after 4s","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "peer.roamed": "{"text":"gw1: alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "several": "{"text":"gw1: alice (wg0) connected from 198.51.100.7:40001\\ngw1: bob &amp; co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\ngw1: alice (wg_1) disconnected after 4s","mrkdwn":false,"unfurl_links":false,"unfurl_media":false}",
        "to": "https://hooks.slack.com/services/T0/B0/s3cret",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    linesMax: 4000,
    forbidden: /[<>]|&(?!(amp|lt|gt);)/,
  },
  responses: [
    [200, "ok", null],
    [429, "rate_limited", null],
    [400, "invalid_payload", null],
    [400, "constructor", null],
    [404, "no_service\n", stop("404: the webhook was deleted or switched off in Slack")],
    [410, "channel_is_archived", stop("410: the channel is archived")],
    [
      404,
      "channel_not_found",
      drop("404: the channel no longer exists, or the app is no longer in it"),
    ],
    [403, "action_prohibited", drop("403: the workspace does not allow this webhook to post")],
  ],
  refusals: [
    ["invalid_payload", "invalid_payload"],
    ["no_text", "no_text"],
  ],
});
