/** The reason in the body of an error response, as services write it, with secrets hidden. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { explanationIn } from "../../src/channels/refusal.ts";

const PLAIN = new URL("https://hooks.example.net/x");

/** Bodies from the services' documentation, source code or public bug reports. */
const bodies: readonly (readonly [string, unknown, string | null])[] = [
  // RFC 9457 section 3.
  [
    "json",
    {
      type: "https://example.net/out-of-credit",
      title: "No credit.",
      detail: "Your balance is 30.",
    },
    "Your balance is 30.",
  ],
  ["json", { title: "Not Found", status: 404 }, "Not Found"],
  ["json", { message: "Unsupported event type" }, "Unsupported event type"],
  ["json", { errors: [{ title: "Invalid", detail: "host is missing" }] }, "host is missing"],
  ["json", { ok: false }, null],
  ["json", [], null],
  ["form", "404 page not found\n", "404 page not found"],
  [
    "form",
    { message: "Cannot send an empty message", code: 50006 },
    "Cannot send an empty message",
  ],
  ["slack", "invalid_payload", "invalid_payload"],
  ["slack", "no_text", "no_text"],
  ["discord", { message: "Invalid Webhook Token", code: 50027 }, "Invalid Webhook Token"],
  [
    "discord",
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
  [
    "teams",
    {
      error: {
        code: "WorkflowTriggerIsNotEnabled",
        message:
          "Could not execute workflow trigger 'manual' with state 'Disabled': trigger is not enabled.",
      },
    },
    "Could not execute workflow trigger 'manual' with state 'Disabled': trigger is not enabled.",
  ],
  ["teams", "Summary or Text is required.", "Summary or Text is required."],
  [
    "telegram",
    {
      ok: false,
      error_code: 400,
      description: "Bad Request: not enough rights to send text messages to the chat",
    },
    "Bad Request: not enough rights to send text messages to the chat",
  ],
  [
    "telegram",
    { ok: false, error_code: 400, description: "Bad Request: TOPIC_CLOSED" },
    "Bad Request: TOPIC_CLOSED",
  ],
  [
    "ntfy",
    {
      code: 40301,
      http: 403,
      error: "forbidden",
      link: "https://ntfy.sh/docs/publish/#authentication",
    },
    "forbidden",
  ],
  [
    "gotify",
    {
      error: "Unauthorized",
      errorCode: 401,
      errorDescription:
        "you need to provide a valid access token or user credentials to access this api",
    },
    "you need to provide a valid access token or user credentials to access this api",
  ],
  [
    "mattermost",
    {
      id: "web.incoming_webhook.channel.app_error",
      message: "Couldn't find the channel.",
      detailed_error: "",
      request_id: "kq3hzi5u3bd3ujmkfw8nrmp9ae",
      status_code: 404,
    },
    "Couldn't find the channel.",
  ],
  [
    "google-chat",
    { error: { code: 400, message: "Message cannot be empty.", status: "INVALID_ARGUMENT" } },
    "Message cannot be empty.",
  ],
  [
    "pushover",
    {
      message: "cannot be blank",
      errors: ["message cannot be blank"],
      status: 0,
      request: "e460545a8b333d0da2f3602aff3133d6",
    },
    "message cannot be blank",
  ],
  [
    "apprise",
    { error: "An invalid (and/or empty) payload was specified" },
    "An invalid (and/or empty) payload was specified",
  ],
  ["template", "<!DOCTYPE html><pre>Cannot POST /x</pre>", null],
  ["template", '{"message":"cut o', null],
  ["template", "", null],
  ["template", { message: { message: "", text: 3 }, error: null }, null],
  ["template", { error: "  ", title: "No" }, "No"],
];

test.each(bodies)("%s: %j", (_format, body, reason) => {
  expect(explanationIn(typeof body === "string" ? body : JSON.stringify(body), PLAIN)).toBe(reason);
});

test("the reason is one short line without control characters", () => {
  const reason = explanationIn(
    JSON.stringify({ error: `a\u001b[2Jb\nc\u202e${"x".repeat(5000)}` }),
    PLAIN,
  )!;
  expect(reason).toStartWith("a [2Jb c");
  expect(reason.length).toBeLessThanOrEqual(200);
});

test("a body that is nested too deep has no reason", () => {
  const body = `${'{"errors":'.repeat(400)}"deep"${"}".repeat(400)}`;
  expect(explanationIn(body, PLAIN)).toBeNull();
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
    // Words that are part of every such URL are not secrets.
    ["https://discord.com/api/webhooks/123456/tokenTOKEN", "Unknown Webhook", "Unknown Webhook"],
  ])("%s: %s", (url, body, reason) => {
    expect(explanationIn(body, new URL(url))).toBe(reason);
  });

  const token = fc.stringMatching(/^[A-Za-z0-9_-]{8,40}$/);
  test("are hidden, wherever they are in the URL and in the body", () => {
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
          );
          expect(reason ?? "").not.toContain(secret);
        },
      ),
    );
  });
});
