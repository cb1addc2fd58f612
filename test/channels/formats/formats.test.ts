/** The request for each service, how its responses are interpreted, and that no name can break a message. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { Format } from "../../../src/channels/formats/format.ts";
import { formatFor, type FormatName, formats } from "../../../src/channels/formats/index.ts";
import type { Message } from "../../../src/delivery/target.ts";
import {
  anEvent,
  eventTypes,
  hostileEvent,
  hostileMessage,
  messageOf,
} from "../../support/events.ts";

const KEY = "abcdefghijklmnopqrstuvwxyz";
const urls = {
  json: "https://hooks.example.net/wgmon?token=s3cret",
  form: "https://old.example.net/notify",
  discord: "https://discord.com/api/webhooks/123456/s3cret?thread_id=7",
  slack: "https://hooks.slack.com/services/T0/B0/s3cret",
  teams:
    "https://prod-01.westeurope.logic.azure.com:443/workflows/ab/triggers/manual/paths/invoke?sig=s3cret",
  telegram: "https://api.telegram.org/bot123:s3cret/sendMessage?chat_id=-42&message_thread_id=7",
  ntfy: "https://:tk_s3cret@ntfy.sh/wgmon-alerts?priority=4",
  gotify: "https://push.example.net/gotify/message?token=As3cret.-_123456",
  mattermost: `https://chat.example.net/hooks/${KEY}`,
  "google-chat":
    "https://chat.googleapis.com/v1/spaces/AAA/messages?key=k&token=s3cret&threadKey=wg",
  pushover: "https://api.pushover.net/1/messages.json?token=s3cret&user=u1&priority=1&sound=bike",
  apprise: "http://apprise:8000/notify/wgmon",
} satisfies Record<FormatName, string>;
const names = Object.keys(urls) as FormatName[];
const all: Readonly<Record<FormatName, Format>> = formats;

function request(name: FormatName, message: Message) {
  return all[name].request(message, new URL(urls[name]));
}

const one = messageOf(anEvent("peer.connected"));
const several = messageOf(
  anEvent("peer.connected"),
  anEvent("peer.connected", { name: "bob & co", initial: true }),
  anEvent("peer.disconnected", { device: "wg_1" }),
);
const hundred = messageOf(
  ...(Array.from({ length: 100 }, (_, index) =>
    anEvent("peer.connected", { name: `somebody with a long name, number ${index}` }),
  ) as [ReturnType<typeof anEvent>]),
);

/** The URL and headers, and the bodies for one event of each type and for three events. */
function requestsOf(name: FormatName) {
  const { url, contentType, headers } = request(name, one);
  return {
    to: url,
    with: [contentType, ...Object.entries(headers ?? {}).map((pair) => pair.join(": "))],
    ...Object.fromEntries(
      eventTypes.map((type) => [type, request(name, messageOf(anEvent(type))).body]),
    ),
    several: request(name, several).body,
  };
}

describe("the request of the format", () => {
  test("json", () => {
    expect(requestsOf("json")).toMatchInlineSnapshot(`
      {
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
  });
  test("form", () => {
    expect(requestsOf("form")).toMatchInlineSnapshot(`
      {
        "device.added": "content=wg0+added%2C+listening+on+port+51820",
        "device.removed": "content=wg0+removed",
        "handshake.unknown": "content=wg0%3A+3+handshakes+from+198.51.100.0%2F24+that+no+peer+completed%3B+they+know+wg0%27s+public+key+%28wrong+preshared+key%2C+or+a+peer+that+was+removed%3F%29",
        "peer.connected": "content=Connection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+opened",
        "peer.disconnected": "content=Connection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+closed",
        "peer.roamed": "content=alice+%28wg0%29+roamed+from+192.0.2.1%3A51820+to+198.51.100.7%3A40001",
        "several": "content=Connection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+opened%0AConnection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+opened%0AConnection+wg_1%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+closed",
        "to": "https://old.example.net/notify",
        "with": [
          "application/x-www-form-urlencoded",
        ],
      }
    `);
  });
  test("discord", () => {
    expect(requestsOf("discord")).toMatchInlineSnapshot(`
      {
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
  });
  test("slack", () => {
    expect(requestsOf("slack")).toMatchInlineSnapshot(`
      {
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
  });
  test("teams", () => {
    expect(requestsOf("teams")).toMatchInlineSnapshot(`
      {
        "device.added": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"wg0 added, listening on port 51820"}]}]}}]}",
        "device.removed": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"wg0 removed"}]}]}}]}",
        "handshake.unknown": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)"}]}]}}]}",
        "peer.connected": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) connected from 198.51.100.7:40001"}]}]}}]}",
        "peer.disconnected": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) disconnected after 4s"}]}]}}]}",
        "peer.roamed": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001"}]}]}}]}",
        "several": "{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","body":[{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"WireGuard on gw1","weight":"Bolder"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg0) connected from 198.51.100.7:40001"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"bob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started"}]},{"type":"RichTextBlock","inlines":[{"type":"TextRun","text":"alice (wg_1) disconnected after 4s"}]}]}}]}",
        "to": "https://prod-01.westeurope.logic.azure.com/workflows/ab/triggers/manual/paths/invoke?sig=s3cret",
        "with": [
          "application/json",
        ],
      }
    `);
  });
  test("telegram", () => {
    expect(requestsOf("telegram")).toMatchInlineSnapshot(`
      {
        "device.added": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: wg0 added, listening on port 51820","link_preview_options":{"is_disabled":true}}",
        "device.removed": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: wg0 removed","link_preview_options":{"is_disabled":true}}",
        "handshake.unknown": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: wg0: 3 handshakes from 198.51.100.0/24 that no peer completed; they know wg0's public key (wrong preshared key, or a peer that was removed?)","link_preview_options":{"is_disabled":true}}",
        "peer.connected": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: alice (wg0) connected from 198.51.100.7:40001","link_preview_options":{"is_disabled":true}}",
        "peer.disconnected": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: alice (wg0) disconnected after 4s","link_preview_options":{"is_disabled":true}}",
        "peer.roamed": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: alice (wg0) roamed from 192.0.2.1:51820 to 198.51.100.7:40001","link_preview_options":{"is_disabled":true}}",
        "several": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: alice (wg0) connected from 198.51.100.7:40001\\ngw1: bob & co (wg0) connected from 198.51.100.7:40001 already when wgmon started\\ngw1: alice (wg_1) disconnected after 4s","link_preview_options":{"is_disabled":true}}",
        "to": "https://api.telegram.org/bot123:s3cret/sendMessage",
        "with": [
          "application/json",
        ],
      }
    `);
  });
  test("ntfy", () => {
    expect(requestsOf("ntfy")).toMatchInlineSnapshot(`
      {
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
  });
  test("gotify", () => {
    expect(requestsOf("gotify")).toMatchInlineSnapshot(`
      {
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
  });
  test("mattermost", () => {
    expect(requestsOf("mattermost")).toMatchInlineSnapshot(`
      {
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
  });
  test("google-chat", () => {
    expect(requestsOf("google-chat")).toMatchInlineSnapshot(`
      {
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
  });
  test("pushover", () => {
    expect(requestsOf("pushover")).toMatchInlineSnapshot(`
      {
        "device.added": "title=WireGuard+on+gw1&message=wg0+added%2C+listening+on+port+51820&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "device.removed": "title=WireGuard+on+gw1&message=wg0+removed&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "handshake.unknown": "title=WireGuard+on+gw1&message=wg0%3A+3+handshakes+from+198.51.100.0%2F24+that+no+peer+completed%3B+they+know+wg0%27s+public+key+%28wrong+preshared+key%2C+or+a+peer+that+was+removed%3F%29&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "peer.connected": "title=WireGuard+on+gw1&message=alice+%28wg0%29+connected+from+198.51.100.7%3A40001&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "peer.disconnected": "title=WireGuard+on+gw1&message=alice+%28wg0%29+disconnected+after+4s&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "peer.roamed": "title=WireGuard+on+gw1&message=alice+%28wg0%29+roamed+from+192.0.2.1%3A51820+to+198.51.100.7%3A40001&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "several": "title=WireGuard+on+gw1&message=alice+%28wg0%29+connected+from+198.51.100.7%3A40001%0Abob+%26+co+%28wg0%29+connected+from+198.51.100.7%3A40001+already+when+wgmon+started%0Aalice+%28wg_1%29+disconnected+after+4s&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "to": "https://api.pushover.net/1/messages.json",
        "with": [
          "application/x-www-form-urlencoded",
        ],
      }
    `);
  });
  test("apprise", () => {
    expect(requestsOf("apprise")).toMatchInlineSnapshot(`
      {
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
  });
});

describe("parameters of the URL", () => {
  const body = (name: FormatName, url: string): unknown =>
    JSON.parse(all[name].request(one, new URL(url)).body);

  test("telegram: chat_id can be a channel's name, and disable_notification is passed on", () => {
    const url =
      "https://api.telegram.org/bot1:x/sendMessage?chat_id=@news&disable_notification=true";
    expect(body("telegram", url)).toMatchObject({ chat_id: "@news", disable_notification: true });
  });

  test("gotify: priority is passed on", () => {
    expect(body("gotify", `${urls.gotify}&priority=0`)).toMatchObject({ priority: 0 });
  });

  test("ntfy: the server can be self-hosted, with user name and password", () => {
    const url = new URL("https://me:pass@push.example.net/alerts/?auth=QmVhcmVyIHg");
    const { url: to, body: text } = formats.ntfy.request(one, url);
    expect(to).toBe("https://me:pass@push.example.net/?auth=QmVhcmVyIHg");
    expect(JSON.parse(text)).toMatchObject({ topic: "alerts" });
  });
});

describe("the format auto", () => {
  test.each(names.filter((name) => name !== "json" && name !== "form"))("recognises %s", (name) => {
    expect(formatFor(new URL(urls[name]))).toBe(name);
  });

  test.each([
    ["discord", "https://discordapp.com/api/webhooks/1/a"],
    ["discord", "https://canary.discord.com/api/v10/webhooks/1/a"],
    ["teams", "https://example.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d"],
    [
      "teams",
      "https://default1.2.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/a/triggers/manual/paths/invoke?sig=b",
    ],
    ["gotify", "https://push.example.net/message?token=gtfy_app.abc-_123"],
    ["apprise", "https://apprise.example.net/notify/wgmon/"],
    ["apprise", "http://192.0.2.1:8000/notify/wgmon"],
    ["slack", "https://hooks.slack-gov.com/services/T/B/x"],
  ])("recognises %s at %s", (name, url) => {
    expect(formatFor(new URL(url))).toBe(name as FormatName);
  });

  test.each([
    urls.json,
    urls.form,
    "https://example.net/",
    "https://example.net/notify/wgmon",
    "https://example.net/message?token=abc",
    "https://example.net/message",
    "https://example.net/hooks/wgmon",
    "https://example.net/hooks/ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "https://example.net/api/webhooks/1/a",
    "https://discord.example.com/api/webhooks/1/a",
    "https://notdiscord.com/api/webhooks/1/a",
    "https://discord.com.example.net/api/webhooks/1/a",
    "https://hooks.slack.com/workflows/T/B/x",
    "https://hooks.slack.com.example.net/services/T/B/x",
    "https://example.net/https://hooks.slack.com/services/T/B/x",
    "https://example.logic.azure.com/api/events",
    "https://example.net/bot1:x/sendMessage?chat_id=1",
    "https://ntfy.sh/",
    "https://ntfy.sh/v1/account",
    "https://ntfy.example.net/topic",
    "https://chat.googleapis.com/v1/spaces",
    "https://api.pushover.net/1/users/validate.json",
  ])("is json for %s", (url) => {
    expect(formatFor(new URL(url))).toBe("json");
  });
});

describe("validateUrl", () => {
  test.each(names)("finds no problem in the URL of %s", (name) => {
    expect(all[name].validateUrl?.(new URL(urls[name])) ?? null).toBeNull();
  });

  const telegram = "https://api.telegram.org/bot1:s3cret/sendMessage";
  const pushover = "https://api.pushover.net/1/messages.json";
  test.each([
    [
      "discord",
      "https://discord.com/api/webhooks/1",
      "is not a Discord webhook: write https://discord.com/api/webhooks/<id>/<token>",
    ],
    [
      "discord",
      `${urls.discord.split("?")[0]}/slack`,
      "is not a Discord webhook: write https://discord.com/api/webhooks/<id>/<token>",
    ],
    ["discord", "https://proxy.example.net/s3cret", null],
    [
      "slack",
      "https://hooks.slack.com/workflows/s3cret",
      "is not a Slack incoming webhook: write https://hooks.slack.com/services/...",
    ],
    ["slack", "https://chat.example.net/hooks/s3cret", null],
    [
      "telegram",
      "https://api.telegram.org/bot1:s3cret?chat_id=1",
      "does not end with /bot<token>/sendMessage?chat_id=123",
    ],
    ["telegram", telegram, "has no chat_id: write .../sendMessage?chat_id=123"],
    ["telegram", `${telegram}?chat_id=`, "has no chat_id: write .../sendMessage?chat_id=123"],
    [
      "telegram",
      `${telegram}?chat_id=s3cret`,
      "has a chat_id that is neither a number nor @channel",
    ],
    [
      "telegram",
      `${telegram}?chat_id=1&message_thread_id=s3cret`,
      "has a message_thread_id that is not a number",
    ],
    [
      "telegram",
      `${telegram}?chat_id=1&s3cret=s3cret`,
      "has an unknown parameter; known are chat_id, message_thread_id and disable_notification",
    ],
    [
      "ntfy",
      "https://ntfy.sh/",
      "is not a server and one topic (letters, digits, - and _): write https://ntfy.sh/your-topic",
    ],
    [
      "ntfy",
      "https://ntfy.sh/s3cret/json",
      "is not a server and one topic (letters, digits, - and _): write https://ntfy.sh/your-topic",
    ],
    ["gotify", "https://push.example.net/?token=s3cret", "does not end with /message?token=..."],
    ["gotify", "https://push.example.net/message", "has no token: write .../message?token=..."],
    [
      "gotify",
      "https://push.example.net/message?token=s3cret%0d%0ax:y",
      "has a token that is not a Gotify application token",
    ],
    [
      "gotify",
      `${urls.gotify}&priority=11`,
      "has a priority that is not a whole number from 0 to 10",
    ],
    [
      "gotify",
      `${urls.gotify}&title=s3cret`,
      "has an unknown parameter; known are token and priority",
    ],
    ["mattermost", "https://chat.example.net/s3cret", "does not end with /hooks/<key>"],
    [
      "google-chat",
      "https://chat.googleapis.com/v1/spaces/AAA/messages?key=s3cret",
      "has no key or no token: copy the whole URL that Google Chat shows, in quotes",
    ],
    ["google-chat", "https://proxy.example.net/s3cret", null],
    [
      "pushover",
      `${pushover}?user=s3cret`,
      "has no token: write .../1/messages.json?token=...&user=..., in quotes",
    ],
    [
      "pushover",
      `${pushover}?token=s3cret`,
      "has no user: write .../1/messages.json?token=...&user=..., in quotes",
    ],
    [
      "pushover",
      `${pushover}?token=s3cret&user=u&priority=high`,
      "has a priority that is not -2, -1, 0, 1 or 2",
    ],
    [
      "pushover",
      `${pushover}?token=s3cret&user=u&priority=2&retry=60`,
      "has priority 2 without retry and expire, which Pushover requires: add for example retry=60&expire=3600",
    ],
    [
      "pushover",
      `${pushover}?token=s3cret&user=u&message=s3cret`,
      "has an unknown parameter; known are token, user, device, priority, sound, ttl, retry and expire",
    ],
    ["apprise", "http://apprise:8000/notify/", "does not end with /notify/<key>"],
  ] as const)("%s: for %s it returns the problem", (name, url, problem) => {
    expect(all[name].validateUrl?.(new URL(url)) ?? null).toBe(problem);
    expect(problem ?? "").not.toContain("s3cret");
  });
});

test("the format of any URL either accepts the URL or reports a problem", () => {
  const piece = fc.constantFrom(
    ...names.flatMap((name) => urls[name].split(/(?=[/?&])|(?<=:\/\/)/)),
    "/",
    "?",
    "&",
    "=",
    "@",
    "%00",
    "é",
    "token=",
    "chat_id=",
  );
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.array(piece, { maxLength: 6 }), (name, pieces) => {
      const url = URL.parse(`https://${pieces.join("")}`);
      if (url === null) return;
      for (const format of [all[name], all[formatFor(url)]]) {
        if ((format.validateUrl?.(url) ?? null) !== null) continue;
        const { url: to, headers } = format.request(one, url);
        expect(URL.canParse(to)).toBe(true);
        new Headers(headers);
      }
    }),
    { numRuns: 500 },
  );
});

describe("interpretResponse", () => {
  const drop = (reason: string) => ({ type: "drop", reason }) as const;
  const stop = (reason: string) => ({ type: "stop", reason }) as const;
  const retry = (reason: string, afterMs: number | null) =>
    ({ type: "retry", reason, afterMs }) as const;
  const tooMany = (s: string) => `Microsoft Teams endpoint returned HTTP error ${s} with ContextId`;

  test.each([
    ["discord", 204, "", null],
    ["discord", 429, '{"message":"","retry_after":0.651,"global":false}', retry("429", 651)],
    ["discord", 429, '{"retry_after":86400}', retry("429", 900_000)],
    ["discord", 429, '{"retry_after":-1}', null],
    ["discord", 429, '{"retry_after":"1"}', null],
    ["discord", 429, "<html>", null],
    ["discord", 404, '{"code":10015}', stop("404: the webhook was deleted in Discord")],
    ["discord", 401, '{"code":50027}', stop("401: the webhook was deleted in Discord")],
    [
      "discord",
      400,
      '{"code":220001}',
      drop("400: the channel is a forum, add thread_id=... to the URL's query"),
    ],
    ["discord", 400, '{"code":50035}', null],
    ["discord", 404, "[]", null],
    ["discord", 404, "null", null],
    ["slack", 200, "ok", null],
    ["slack", 429, "rate_limited", null],
    ["slack", 400, "invalid_payload", null],
    ["slack", 400, "constructor", null],
    ["slack", 404, "no_service\n", stop("404: the webhook was deleted or switched off in Slack")],
    ["slack", 410, "channel_is_archived", stop("410: the channel is archived")],
    [
      "slack",
      404,
      "channel_not_found",
      drop("404: the channel no longer exists, or the app is no longer in it"),
    ],
    [
      "slack",
      403,
      "action_prohibited",
      drop("403: the workspace does not allow this webhook to post"),
    ],
    ["teams", 202, "", null],
    ["teams", 200, "1", null],
    ["teams", 200, tooMany("429"), retry("200, but the body reports 429", null)],
    ["teams", 200, tooMany("503"), retry("200, but the body reports 503", null)],
    ["teams", 200, tooMany("413"), drop("200, but the body reports 413: refused by Teams")],
    ["teams", 429, tooMany("429"), null],
    ["telegram", 200, '{"ok":true}', null],
    ["telegram", 429, '{"ok":false,"parameters":{"retry_after":7}}', retry("429", 7000)],
    ["telegram", 429, '{"ok":false}', null],
    [
      "telegram",
      400,
      '{"parameters":{"migrate_to_chat_id":-100}}',
      drop("400: the group has become a supergroup, write chat_id=-100"),
    ],
    [
      "telegram",
      400,
      '{"description":"Bad Request: chat not found"}',
      drop("400: no such chat, check chat_id and that the bot is a member"),
    ],
    [
      "telegram",
      400,
      '{"description":"Bad Request: message thread not found"}',
      drop("400: no such topic, check message_thread_id"),
    ],
    ["telegram", 400, '{"description":"Bad Request: x"}', null],
    ["telegram", 403, "{}", drop("403: the bot is not allowed to write to this chat")],
    ["telegram", 401, "{}", drop("401: no such bot, check the token in the URL")],
    ["telegram", 404, "{}", drop("404: no such bot, check the token in the URL")],
    ["telegram", 502, "<html>", null],
    [
      "pushover",
      400,
      '{"token":"invalid","errors":["application token is invalid"],"status":0}',
      drop("400: Pushover does not know this application token"),
    ],
    [
      "pushover",
      400,
      '{"user":"invalid","errors":["..."],"status":0}',
      drop("400: Pushover does not know this user or group key"),
    ],
    ["pushover", 400, '{"status":0}', null],
    ["pushover", 429, '{"status":0}', null],
    ["apprise", 200, "", null],
    ["apprise", 204, "", drop("204: Apprise has no services configured under this key")],
    ["apprise", 424, "", drop("424: not all services accepted it, see the log of Apprise")],
  ] as const)("%s: %d %s", (name, status, body, verdict) => {
    expect(all[name].interpretResponse!(status, body)).toEqual(verdict);
  });

  test("returns a verdict or null, whatever the body is", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...names),
        fc.integer({ min: 100, max: 599 }),
        fc.oneof(fc.json(), fc.string()),
        (name, status, body) => {
          const verdict = all[name].interpretResponse?.(status, body) ?? null;
          if (verdict !== null) expect(["retry", "drop", "stop"]).toContain(verdict.type);
        },
      ),
    );
  });
});

/** The parts of a body that people read. */
interface Readable {
  readonly title?: string;
  readonly lines: readonly string[];
}

function parsed(body: string): Readonly<Record<string, unknown>> {
  return JSON.parse(body) as Readonly<Record<string, unknown>>;
}

const units = (text: string): number => text.length;
const bytes = (text: string): number => Buffer.byteLength(text);

/** For each format: how its body is parsed, its limits, and a pattern that must not be in the text of an event. */
const services: Readonly<
  Record<
    Exclude<FormatName, "json">,
    {
      readonly read: (body: string) => Readable;
      readonly body?: number;
      readonly text?: number;
      readonly title?: number;
      readonly forbidden?: RegExp;
    }
  >
> = {
  form: {
    read: (body) => ({ lines: new URLSearchParams(body).get("content")!.split("\n") }),
    text: 2000,
    forbidden: /^(?!Connection ).*(@(everyone|here)|<[@!#])/i,
  },
  discord: {
    read(body) {
      const { embeds, ...rest } = parsed(body);
      expect(rest).toEqual({ allowed_mentions: { parse: [] } });
      expect(embeds).toBeArrayOfSize(1);
      const [{ title, description }] = embeds as [{ title: string; description: string }];
      return { title, lines: description.split("\n") };
    },
    text: 4096,
    title: 256,
    // Tested after escaped characters and wgmon's own endpoints are removed.
    forbidden: /[`*_~|<@]|^[-#>+]|^\d+\./,
  },
  slack: {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    text: 4000,
    forbidden: /[<>]|&(?!(amp|lt|gt);)/,
  },
  teams: {
    read(body) {
      const [{ content }] = parsed(body).attachments as [{ content: { body: unknown[] } }];
      const texts = content.body.map((block) => {
        const { inlines } = block as { inlines: [{ text: string }] };
        expect(block).toMatchObject({ type: "RichTextBlock", inlines: [{ type: "TextRun" }] });
        return inlines[0].text;
      });
      return { title: texts[0]!, lines: texts.slice(1) };
    },
    body: 28_000,
  },
  telegram: {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    text: 4096,
    forbidden: /(?<![a-z0-9])@(?!\u200b)/i,
  },
  ntfy: {
    read(body) {
      const { title, message } = parsed(body) as Record<string, string>;
      return { title: title!, lines: message!.split("\n") };
    },
    body: 4096,
  },
  gotify: {
    read(body) {
      const { title, message } = parsed(body) as Record<string, string>;
      return { title: title!, lines: message!.split("\n") };
    },
    text: 16_000,
  },
  mattermost: {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    text: 16_383,
    forbidden: /[`*_~|]|(?<![a-z0-9])@(?!\u200b)/i,
  },
  "google-chat": {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    text: 4096,
    body: 32_000,
    forbidden: /[<*~`]|(?<![a-z0-9])_/i,
  },
  pushover: {
    read(body) {
      const form = new URLSearchParams(body);
      expect([...form.keys()].toSorted()).toEqual(
        ["message", "priority", "sound", "timestamp", "title", "token", "user"].toSorted(),
      );
      return { title: form.get("title")!, lines: form.get("message")!.split("\n") };
    },
    text: 1024,
    title: 250,
  },
  apprise: {
    read(body) {
      const { title, body: text, format } = parsed(body) as Record<string, string>;
      expect(format).toBe("text");
      return { title: title!, lines: text!.split("\n") };
    },
    text: 2000,
    forbidden: /(?<![a-z0-9])@(?!\u200b)|<[!#@]/i,
  },
};

describe("with any names", () => {
  const testedServices = Object.entries(services) as [
    keyof typeof services,
    (typeof services)["form"],
  ][];

  test.each(testedServices)(
    "the body for %s is within its limits, and has no forbidden text",
    (name, { read, body: bodyMax, text: textMax, title: titleMax, forbidden }) => {
      fc.assert(
        fc.property(hostileMessage, (message) => {
          const { body } = request(name, message);
          expect(body.isWellFormed()).toBe(true);
          if (bodyMax !== undefined) expect(bytes(body)).toBeLessThanOrEqual(bodyMax);

          const { title, lines } = read(body);
          if (textMax !== undefined) expect(units(lines.join("\n"))).toBeLessThanOrEqual(textMax);
          if (titleMax !== undefined) expect(units(title!)).toBeLessThanOrEqual(titleMax);

          // One line for each event, or a last line with the number of omitted events. The first event is always shown.
          const [, missing] = /^\.\.\. and (\d+) more$/.exec(lines.at(-1)!) ?? [];
          const shown = missing === undefined ? lines : lines.slice(0, -1);
          expect(shown.length + Number(missing ?? 0)).toBe(message.events.length);
          expect(shown.length).toBeGreaterThan(0);

          for (const text of [...shown, ...(title === undefined ? [] : [title])]) {
            expect(text).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
            expect(text.isWellFormed()).toBe(true);
            const bare = text
              .replace(/\[2001:db8::7\]:40002/g, "")
              .replace(
                /\\[^0-9A-Za-z\s]/g,
                name === "discord" || name === "mattermost" ? "x" : "$&",
              );
            if (forbidden !== undefined) expect(bare).not.toMatch(forbidden);
          }
        }),
        { numRuns: 150 },
      );
    },
  );

  test.each(testedServices)(
    "the body for %s has as many of a hundred events as fit, and the number of the others",
    (name, { read }) => {
      const { lines } = read(request(name, hundred).body);
      const [, missing] = /^\.\.\. and (\d+) more$/.exec(lines.at(-1)!) ?? [];
      expect(lines.length - (missing === undefined ? 0 : 1) + Number(missing ?? 0)).toBe(100);
      expect(lines.length).toBeGreaterThan(9);
    },
  );

  test("no field of an event changes the body outside the text", () => {
    const withoutText = (name: FormatName, message: Message): unknown => {
      const text = { title: "", text: "", message: "" };
      return { ...parsed(request(name, message).body), ...text };
    };
    fc.assert(
      fc.property(hostileEvent, (event) => {
        const plain = messageOf(anEvent(event.type));
        for (const name of ["slack", "telegram", "ntfy", "gotify", "mattermost"] as const) {
          expect(withoutText(name, messageOf(event))).toEqual(withoutText(name, plain));
        }
      }),
      { numRuns: 50 },
    );
  });
});
