/**
 * The reason in the body of an error response, with secrets hidden. The bodies of the services are in their own tests
 * in formats/.
 */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { explanationIn } from "../../src/channels/refusal.ts";

const PLAIN = new URL("https://hooks.example.net/x");
const PUBLIC_PARTS = ["hooks", "sendMessage", "api", "webhooks"];

test.each<[unknown, string | null]>([
  ["<!DOCTYPE html><pre>Cannot POST /x</pre>", null],
  ['{"message":"cut o', null],
  ["", null],
  [{ message: { message: "", text: 3 }, error: null }, null],
  [{ error: "  ", title: "No" }, "No"],
])("%j", (body, reason) => {
  expect(explanationIn(typeof body === "string" ? body : JSON.stringify(body), PLAIN, [])).toBe(
    reason,
  );
});

test("the reason of a refusal is one short line without control characters", () => {
  const reason = explanationIn(
    JSON.stringify({ error: `a\u001b[2Jb\nc\u202e${"x".repeat(5000)}` }),
    PLAIN,
    [],
  )!;
  expect(reason).toStartWith("a [2Jb c");
  expect(reason.length).toBeLessThanOrEqual(200);
});

test("a body that is nested too deep has no reason of a refusal", () => {
  const body = `${'{"errors":'.repeat(400)}"deep"${"}".repeat(400)}`;
  expect(explanationIn(body, PLAIN, [])).toBeNull();
});

describe("secrets of the URL that a receiver repeats", () => {
  test.each([
    [
      "https://api.telegram.org/bot123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage?chat_id=-42",
      "no bot 123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
      "no bot (hidden)",
    ],
    [
      "https://hooks.example.net/hooks/xeG4mMfZ",
      "Cannot POST /hooks/xeG4mMfZ",
      "Cannot POST /hooks/(hidden)",
    ],
    [
      "https://hooks.example.net/hooks/xeG4mMfZ",
      "no such key: XEG4MMFZ!",
      "no such key: (hidden)!",
    ],
    [
      "https://hooks.example.net/hooks/xeG4mMfZqqT0",
      "no such key: xeG4mM...",
      "no such key: (hidden)",
    ],
    ["https://hooks.example.net/?token=a%2Fb%20c!d", "bad token a/b c!d", "bad token (hidden)"],
    ["https://ops:pw12@hooks.example.net/", "wrong password pw12.", "wrong password (hidden)."],
    [
      "https://ops:sunshine1@hooks.example.net/",
      `Basic ${btoa("ops:sunshine1")}`,
      "Basic (hidden)",
    ],
    [
      "https://ntfy.example.net/my-topic",
      "topic my-topic is reserved",
      "topic (hidden) is reserved",
    ],
    ["https://hooks.example.net/?s3cretKey", "no such key: s3cretKey", "no such key: (hidden)"],
    [
      "https://hooks.example.net/?a=1&token=a%2Fb+c!d",
      "bad query a=1&token=a%2Fb+c!d",
      "bad query a=1&token=(hidden)",
    ],
    // A version, and words that are part of every URL of the service, are not secrets.
    [
      "https://discord.com/api/v10/webhooks/1/tokenTOKEN",
      "no /api/v10/WebHooks",
      "no /api/v10/WebHooks",
    ],
    ["https://hooks.example.net/loft/s3cretKey", "no loft s3cretKey", "no (hidden) (hidden)"],
    [
      "https://api.telegram.org/bot1:s3cret/sendMessage?chat_id=-42&message_thread_id=7",
      "not enough rights to send text messages to the chat",
      "not enough rights to send text messages to the chat",
    ],
    ["https://discord.com/api/webhooks/123456/tokenTOKEN", "Unknown Webhook", "Unknown Webhook"],
  ])(
    "the reason of a refusal hides the secrets of the URL %s if the body is: %s",
    (url, body, reason) => {
      expect(explanationIn(body, new URL(url), PUBLIC_PARTS)).toBe(reason);
    },
  );

  const token = fc.stringMatching(/^[A-Za-z0-9_-]{8,40}$/);
  test("secrets of the URL are hidden in the reason, wherever they are in the URL and in the body", () => {
    fc.assert(
      fc.property(
        token,
        fc.string(),
        fc.string(),
        fc.constantFrom("path", "query", "user"),
        (secret, before, after, where) => {
          const url = new URL(
            {
              path: `https://hooks.example.net/x/${secret}`,
              query: `https://hooks.example.net/x?key=${secret}`,
              user: `https://ops:${secret}@hooks.example.net/x`,
            }[where],
          );
          const reason = explanationIn(
            JSON.stringify({ message: `${before}${secret}${after}` }),
            url,
            [],
          );
          expect(reason ?? "").not.toContain(secret);
        },
      ),
    );
  });
});
