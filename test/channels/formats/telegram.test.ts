/** Telegram: the requests, the URLs and their parameters, and the answers. */

import { expect, test } from "bun:test";

import { bodyFor, drop, parsed, retry, testFormat } from "../../support/format-suite.ts";

const SEND = "https://api.telegram.org/bot1:s3cret/sendMessage";

testFormat("telegram", {
  url: "https://api.telegram.org/bot123:s3cret/sendMessage?chat_id=-42&message_thread_id=7",
  isRecognised: true,
  notRecognised: ["https://example.net/bot1:x/sendMessage?chat_id=1"],
  checkedUrls: [
    [
      "https://api.telegram.org/bot1:s3cret?chat_id=1",
      "does not end with /bot<token>/sendMessage?chat_id=123",
    ],
    [SEND, "has no chat_id: write .../sendMessage?chat_id=123"],
    [`${SEND}?chat_id=`, "has no chat_id: write .../sendMessage?chat_id=123"],
    [`${SEND}?chat_id=s3cret`, "has a chat_id that is neither a number nor @channel"],
    [`${SEND}?chat_id=1&message_thread_id=s3cret`, "has a message_thread_id that is not a number"],
    [
      `${SEND}?chat_id=1&s3cret=s3cret`,
      "has an unknown parameter; known are chat_id, message_thread_id and disable_notification",
    ],
  ],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "{"chat_id":"-42","message_thread_id":7,"text":"🔴 gw1: critical: alice (wg0) is down: no data for 5m; check the peer and its network (rule offices)","link_preview_options":{"is_disabled":true}}",
        "alert.resolved": "{"chat_id":"-42","message_thread_id":7,"text":"✅ gw1: resolved: alice (wg0) is back after 5m (rule offices)","link_preview_options":{"is_disabled":true}}",
        "alerts": "{"chat_id":"-42","message_thread_id":7,"text":"gw1: alice (wg0) connected from 198.51.100.7:40001\\n🔵 gw1: info: alice (wg0) is down: no data for 5m; check the peer and its network (rule phones)\\n🟠 gw1: warning: 2 alerts of rule offices: bob & co (wg0) is down: no data for 5m; check the peer and its network; carol (wg0) is down: no data for 5m; check the peer and its network\\n✅ gw1: resolved: alice (wg0) is back after 5m (rule offices)","link_preview_options":{"is_disabled":true}}",
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
  },
  text: {
    read: (body) => ({ lines: String(parsed(body).text).split("\n") }),
    linesMax: 4096,
    forbidden: /(?<![a-z0-9])@(?!\u200b)/i,
  },
  responses: [
    [200, '{"ok":true}', null],
    [429, '{"ok":false,"parameters":{"retry_after":7}}', retry("429", 7000)],
    [429, '{"ok":false}', null],
    [
      400,
      '{"parameters":{"migrate_to_chat_id":-100}}',
      drop("400: the group has become a supergroup, write chat_id=-100"),
    ],
    [
      400,
      '{"description":"Bad Request: chat not found"}',
      drop("400: no such chat, check chat_id and that the bot is a member"),
    ],
    [
      400,
      '{"description":"Bad Request: message thread not found"}',
      drop("400: no such topic, check message_thread_id"),
    ],
    [400, '{"description":"Bad Request: x"}', null],
    [403, "{}", drop("403: the bot is not allowed to write to this chat")],
    [401, "{}", drop("401: no such bot, check the token in the URL")],
    [404, "{}", drop("404: no such bot, check the token in the URL")],
    [502, "<html>", null],
  ],
  refusals: [
    [
      {
        ok: false,
        error_code: 400,
        description: "Bad Request: not enough rights to send text messages to the chat",
      },
      "Bad Request: not enough rights to send text messages to the chat",
    ],
    [
      { ok: false, error_code: 400, description: "Bad Request: TOPIC_CLOSED" },
      "Bad Request: TOPIC_CLOSED",
    ],
  ],
});

test("the chat_id of telegram can be a channel's name, and disable_notification is passed on", () => {
  const url = "https://api.telegram.org/bot1:x/sendMessage?chat_id=@news&disable_notification=true";
  expect(bodyFor("telegram", url)).toMatchObject({ chat_id: "@news", disable_notification: true });
});
