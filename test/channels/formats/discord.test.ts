/** Discord: the requests, the URLs, and the answers with an error code. */

import { expect } from "bun:test";

import { drop, parsed, retry, stop, testFormat } from "../../support/format-suite.ts";

const WRONG_PATH = "is not a Discord webhook: write https://discord.com/api/webhooks/<id>/<token>";

testFormat("discord", {
  url: "https://discord.com/api/webhooks/123456/s3cret?thread_id=7",
  isRecognised: true,
  alsoRecognised: [
    "https://discordapp.com/api/webhooks/1/a",
    "https://canary.discord.com/api/v10/webhooks/1/a",
  ],
  notRecognised: [
    "https://example.net/api/webhooks/1/a",
    "https://discord.example.com/api/webhooks/1/a",
    "https://notdiscord.com/api/webhooks/1/a",
    "https://discord.com.example.net/api/webhooks/1/a",
  ],
  checkedUrls: [
    ["https://discord.com/api/webhooks/1", WRONG_PATH],
    ["https://discord.com/api/webhooks/123456/s3cret/slack", WRONG_PATH],
    ["https://proxy.example.net/s3cret", null],
  ],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"embeds":[{"title":"WireGuard on gw1","description":"critical: alice (wg0) is down\\\\: no data for 5m; check the peer and its network (rule offices)","color":15158332,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "alert.resolved": "{"embeds":[{"title":"WireGuard on gw1","description":"resolved: alice (wg0) is back after 5m (rule offices)","color":3066993,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "alerts": "{"embeds":[{"title":"WireGuard on gw1","description":"alice (wg0) connected from 198.51.100.7:40001\\ninfo: alice (wg0) is down\\\\: no data for 5m; check the peer and its network (rule phones)\\nwarning: 2 alerts of rule offices\\\\: bob & co (wg0) is down\\\\: no data for 5m; check the peer and its network; carol (wg0) is down\\\\: no data for 5m; check the peer and its network\\nresolved: alice (wg0) is back after 5m (rule offices)","color":15105570,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "device.added": "{"embeds":[{"title":"WireGuard on gw1","description":"wg0 added, listening on port 51820","color":9807270,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "device.removed": "{"embeds":[{"title":"WireGuard on gw1","description":"wg0 removed","color":15105570,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "handshake.unknown": "{"embeds":[{"title":"WireGuard on gw1","description":"wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)","color":15844367,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "peer.connected": "{"embeds":[{"title":"WireGuard on gw1","description":"alice (wg0) connected from 198.51.100.7:40001","color":3066993,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "peer.disconnected": "{"embeds":[{"title":"WireGuard on gw1","description":"alice (wg0) disconnected after 4s","color":15158332,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "peer.roamed": "{"embeds":[{"title":"WireGuard on gw1","description":"alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001","color":3447003,"timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "several": "{"embeds":[{"title":"WireGuard on gw1","description":"alice (wg0) connected from 198.51.100.7:40001\\nbob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\nalice (wg\\\\_1) disconnected after 4s","timestamp":"2026-11-22T16:19:04.417Z"}],"allowed_mentions":{"parse":[]}}",
        "to": "https://discord.com/api/webhooks/123456/s3cret?thread_id=7",
        "with": [
          "application/json",
        ],
      }
    `);
  },
  text: {
    read(body) {
      const { embeds, ...rest } = parsed(body);
      expect(rest).toEqual({ allowed_mentions: { parse: [] } });
      expect(embeds).toBeArrayOfSize(1);
      const [{ title, description }] = embeds as [{ title: string; description: string }];
      return { title, lines: description.split("\n") };
    },
    linesMax: 4096,
    titleMax: 256,
    forbidden: /[`*_~|<@]|^[-#>+]|^\d+\./,
    escaped: /\\[^0-9A-Za-z\s]/g,
  },
  responses: [
    [204, "", null],
    [429, '{"message":"","retry_after":0.651,"global":false}', retry("429", 651)],
    [429, '{"retry_after":86400}', retry("429", 900_000)],
    [429, '{"retry_after":-1}', null],
    [429, '{"retry_after":"1"}', null],
    [429, "<html>", null],
    [404, '{"code":10015}', stop("404: the webhook was deleted in Discord")],
    [401, '{"code":50027}', stop("401: the webhook was deleted in Discord")],
    [
      400,
      '{"code":220001}',
      drop("400: the channel is a forum, add thread_id=... to the URL's query"),
    ],
    [400, '{"code":50035}', null],
    [404, "[]", null],
    [404, "null", null],
  ],
  refusals: [
    [{ message: "Invalid Webhook Token", code: 50027 }, "Invalid Webhook Token"],
    [
      {
        message: "Invalid Form Body",
        code: 50035,
        errors: {
          embeds: {
            0: {
              description: {
                _errors: [
                  { code: "BASE_TYPE_MAX_LENGTH", message: "Must be 4096 or fewer in length." },
                ],
              },
            },
          },
        },
      },
      "Must be 4096 or fewer in length.",
    ],
  ],
});
