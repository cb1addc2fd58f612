/** One attempt at a webhook: the request, how each response is judged, and all ways in which there is no response. */

import { describe, expect, test } from "bun:test";

import { Webhook } from "standardwebhooks";

import { systemClock } from "../../src/base/clock.ts";
import { form } from "../../src/channels/formats/form.ts";
import type { Format } from "../../src/channels/formats/format.ts";
import { json } from "../../src/channels/formats/json.ts";
import { SigningSecret, verify } from "../../src/channels/signature.ts";
import { createWebhook, resultOfStatus, type WebhookOptions } from "../../src/channels/webhook.ts";
import type { Channel, DeliveryResult } from "../../src/delivery/target.ts";
import { fullPort } from "../support/backlog.ts";
import { HandClock } from "../support/clock.ts";
import { anEvent, messageOf } from "../support/events.ts";
import { type Client, RawReceiver } from "../support/raw-receiver.ts";
import { type Answer, type Received, Receiver } from "../support/receiver.ts";
import { certificates, http2Server, tlsServer } from "../support/tls.ts";
import { REPORT_MS, withLimit } from "../support/until.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const NO_PROXY = { nowMs: NOW_MS, proxy: null };
const SECRET = "s3cr3t";
const LABEL = "webhook http://hooks.example.net/...";
const never = new AbortController().signal;

const delivered: DeliveryResult = { type: "delivered" };
const retry = (reason: string): DeliveryResult => ({ type: "retry", reason, afterMs: null });

const event = anEvent("device.added");
const message = messageOf(event);

function webhook(url: string, options: Partial<WebhookOptions> = {}): Channel {
  const defaults = { format: json, secrets: [], label: LABEL, version: "1.2.3" };
  return createWebhook({ url, ...defaults, clock: systemClock, ...options });
}

/** The result if the receiver sends `answer`. */
async function verdictOn(answer: Answer, timeoutMs = REPORT_MS): Promise<DeliveryResult> {
  using receiver = new Receiver();
  receiver.answer = answer;
  return await webhook(receiver.url(), { timeoutMs }).attempt(message, never);
}

/** The same, with full control of the bytes of the answer. */
async function verdictOnRaw(
  answer: (client: Client) => void,
  options: Partial<WebhookOptions> = {},
): Promise<DeliveryResult> {
  using receiver = new RawReceiver(answer);
  return await webhook(receiver.url(), { timeoutMs: REPORT_MS, ...options }).attempt(
    message,
    never,
  );
}

/** A format whose interpretResponse returns its arguments as the reason. */
const echoing: Format = {
  ...json,
  interpretResponse: (status, body) => ({ type: "drop", reason: `${status} ${body}` }),
};

describe("the request of a webhook", () => {
  test("a request of format json has the event, its id and the time of the attempt", async () => {
    using receiver = new Receiver();
    const clock = new HandClock(NOW_MS + 1999);
    const channel = webhook(receiver.url("/x?y=1"), { clock });
    expect(channel.name).toBe(LABEL);
    expect(await channel.attempt(message, never)).toEqual(delivered);

    const [request] = receiver.requests;
    expect(request!.path).toBe("/x?y=1");
    expect(request!.event).toEqual(event);
    expect(request!.headers.get("content-type")).toBe("application/json");
    expect(request!.headers.get("user-agent")).toBe("wgmon/1.2.3");
    expect(request!.headers.get("webhook-id")).toBe(event.id);
    expect(request!.headers.get("webhook-timestamp")).toBe(String(NOW_MS / 1000 + 1));
    expect(request!.headers.get("webhook-signature")).toBeNull();
  });

  test("a request with several events has the message's id", async () => {
    using receiver = new Receiver();
    const several = messageOf(event, anEvent("device.removed"));
    await webhook(receiver.url()).attempt(several, never);
    const [request] = receiver.requests;
    expect(request!.headers.get("webhook-id")).toBe(several.id);
    expect(request!.body).toBe(json.request(several, new URL("http://192.0.2.1/")).body);
  });

  test("a request of format form has the field content, and no webhook- headers", async () => {
    using receiver = new Receiver();
    const secrets = [new SigningSecret(new Uint8Array(32))];
    await webhook(receiver.url(), { format: form, secrets }).attempt(message, never);
    const [request] = receiver.requests;
    expect(request!.body).toBe("content=wg0+added%2C+listening+on+port+51820");
    expect(request!.headers.get("content-type")).toBe("application/x-www-form-urlencoded");
    for (const name of ["id", "timestamp", "signature"]) {
      expect(request!.headers.get(`webhook-${name}`)).toBeNull();
    }
  });

  test("a request has the URL and the additional headers that the format sets", async () => {
    using receiver = new Receiver();
    const format: Format = {
      request: (_message, url) => ({
        url: new URL("/elsewhere", url).href,
        contentType: "text/plain",
        headers: { "x-key": "k" },
        body: "héllo",
      }),
    };
    await webhook(receiver.url("/x"), { format }).attempt(message, never);
    const [request] = receiver.requests;
    expect(request!.path).toBe("/elsewhere");
    expect(request!.headers.get("x-key")).toBe("k");
    expect(request!.headers.get("content-type")).toBe("text/plain");
    expect(request!.headers.get("user-agent")).toBe("wgmon/1.2.3");
    expect(request!.body).toBe("héllo");
  });

  test("a request has the name and password of the URL as basic authentication, as Go sends them", async () => {
    using receiver = new Receiver();
    const url = receiver.url().replace("http://", "http://us%40er:p%3Ass@");
    await webhook(url).attempt(message, never);
    expect(receiver.requests[0]!.headers.get("authorization")).toBe(`Basic ${btoa("us@er:p:ss")}`);
  });

  test("the request for the next message reuses the connection", async () => {
    const ports = new Set<number>();
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request, self) {
        ports.add(self.requestIP(request)!.port);
        return new Response("ok");
      },
    });
    for (const format of [json, { ...json, interpretResponse: () => null }]) {
      const channel = webhook(`http://127.0.0.1:${server.port}/`, { format });
      for (let i = 0; i < 5; i++) await channel.attempt(message, never);
    }
    expect(ports.size).toBe(1);
  });
});

describe("attempts at one message", () => {
  /** Counts how often a message is encoded. */
  function counting(): Format {
    let count = 0;
    return {
      ...json,
      request: ({ events }, { href }) => ({
        ...plain(href),
        body: `encoding ${++count} of ${events.length}`,
      }),
    };
  }

  test("attempts at one message have the same body, also if the outbox has read the events again", async () => {
    using receiver = new Receiver();
    const channel = webhook(receiver.url(), { format: counting() });
    await channel.attempt(message, never);
    await channel.attempt(message, never);
    await channel.attempt(structuredClone(message), never);
    expect(receiver.requests.map(({ body }) => body)).toEqual(Array(3).fill("encoding 1 of 1"));
  });

  test("attempts have different bodies if an event was removed or if the message is another one", async () => {
    using receiver = new Receiver();
    const channel = webhook(receiver.url(), { format: counting() });
    const other = anEvent("device.removed");
    await channel.attempt({ id: "msg_1", events: [event, other] }, never);
    await channel.attempt({ id: "msg_1", events: [other] }, never);
    await channel.attempt(message, never);
    expect(receiver.requests.map(({ body }) => body)).toEqual([
      "encoding 1 of 2",
      "encoding 2 of 1",
      "encoding 3 of 1",
    ]);
  });

  test("attempts are each signed with their own time and with all secrets", async () => {
    using receiver = new Receiver();
    const clock = new HandClock(Date.now());
    const keys = [new Uint8Array(24).fill(1), new Uint8Array(64).fill(2)];
    const secrets = keys.map((key) => new SigningSecret(key));
    // A lone surrogate is replaced on the wire, and the signature must match the bytes on the wire.
    const format = { ...json, request: () => ({ ...plain(receiver.url()), body: '"\ud800 é"' }) };
    const channel = webhook(receiver.url(), { format, secrets, clock });
    await channel.attempt(message, never);
    clock.advance(61_000);
    await channel.attempt(message, never);

    const [first, second] = receiver.requests.map(signed);
    expect(second!.id).toBe(first!.id);
    expect(Number(second!.timestamp)).toBe(Number(first!.timestamp) + 61);
    expect(second!.signature).not.toBe(first!.signature);
    for (const [index, request] of receiver.requests.entries()) {
      const { bytes, headers } = request;
      for (const secret of secrets) {
        expect(verify([secret], signed(request), bytes, clock.now().wallMs)).toBe("ok");
      }
      for (const key of keys) {
        const reference = new Webhook(key, { format: "raw" });
        expect([index, reference.verify(request.body, Object.fromEntries(headers))]).toBeArray();
      }
    }
  });

  test("warmUp prepares an attempt without sending anything", async () => {
    using receiver = new Receiver();
    const channel = webhook(receiver.url(), { secrets: [new SigningSecret(new Uint8Array(32))] });
    channel.warmUp!(message);
    await channel.attempt(message, never);
    expect(receiver.requests).toHaveLength(1);
  });

  test("attempts that are aborted before they begin send nothing", async () => {
    using receiver = new Receiver();
    const channel = webhook(receiver.url(), { secrets: [new SigningSecret(new Uint8Array(32))] });
    expect(await channel.attempt(message, AbortSignal.abort())).toEqual(retry("aborted"));
    await channel.attempt(message, never);
    expect(receiver.requests).toHaveLength(1);
  });
});

describe("the response to a webhook", () => {
  const retried = new Set([407, 408, 425, 429]);
  const statuses = Array.from({ length: 400 }, (_, i) => 200 + i);

  test.each([
    ["delivered", statuses.filter((status) => status < 300)],
    ["stop", [410]],
    ["retry", [0, ...statuses.filter((status) => status >= 500 || retried.has(status)), 600, 999]],
    ["drop", statuses.filter((s) => s >= 300 && s < 500 && s !== 410 && !retried.has(s))],
  ] as const)("a response has the result %s for the expected statuses", (type, which) => {
    for (const status of which)
      expect([status, resultOfStatus(status, new Headers(), NO_PROXY).type]).toEqual([
        status,
        type,
      ]);
  });

  test.each([
    [301, "301: redirects are not followed, give the final URL"],
    [308, "308: redirects are not followed, give the final URL"],
    [400, "400: the receiver cannot read the event, check the webhook's format"],
    [401, "401: not allowed, check the token or password in the URL"],
    [404, "404: not found, check the URL"],
    [405, "405: this URL does not accept POST, check the URL"],
    [407, "proxy: 407, it requires a user name and password, check the proxy settings"],
    [418, "418: refused, check the webhook's URL and format"],
    [410, "410: the target is gone"],
    [503, "503"],
  ])("a response with status %d has a reason that says what to do", (status, reason) => {
    expect(resultOfStatus(status, new Headers(), NO_PROXY)).toMatchObject({ reason });
  });

  test.each([
    [null, null],
    ["0", 0],
    ["8", 8000],
    [" 8 ", 8000],
    ["86400", 15 * 60_000],
    ["9".repeat(400), 15 * 60_000],
    ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
    ["Fri, 02 Jan 2026 00:00:00 GMT", 15 * 60_000],
    ["Wed, 31 Dec 2025 23:59:59 GMT", 0],
    ["Thursday, 01-Jan-26 00:00:30 GMT", 30_000],
    ["Thu Jan  1 00:00:30 2026", 30_000],
    ["Sat Jan 10 00:00:00 2026", 15 * 60_000],
    ["Wed Dec 31 23:59:59 2025", 0],
    ["2026-01-01T00:00:30Z", null],
    ["Thu, 01 Jan 2026 00:00:30 +0100", null],
    ["1 GMT", null],
    ["1.5", null],
    ["-1", null],
    ["soon", null],
    ["NOT A DATE GMT", null],
    ["Notaday, not a date GMT", null],
    ["Thu Jan 99 00:00:30 2026", null],
    ["", null],
  ])("a response with Retry-After: %j has the expected delay", (value, afterMs) => {
    const headers = new Headers(value === null ? {} : { "retry-after": value });
    for (const status of [429, 503]) {
      expect(resultOfStatus(status, headers, NO_PROXY)).toEqual({
        type: "retry",
        reason: String(status),
        afterMs,
      });
    }
  });

  test("a Retry-After date without a zone is read in GMT, whatever the zone of this machine", () => {
    const before = process.env["TZ"];
    process.env["TZ"] = "America/New_York";
    try {
      expect(new Date(NOW_MS).getTimezoneOffset()).toBe(300);
      const headers = new Headers({ "retry-after": "Thu Jan  1 00:00:30 2026" });
      expect(resultOfStatus(503, headers, NO_PROXY)).toMatchObject({ afterMs: 30_000 });
    } finally {
      process.env["TZ"] = before ?? "UTC";
    }
  });

  test("a response of a real receiver is judged in the same way", async () => {
    expect(await verdictOn({ status: 503, headers: { "retry-after": "7" } })).toEqual({
      type: "retry",
      reason: "503",
      afterMs: 7000,
    });
  });

  test("a redirect is not followed", async () => {
    using elsewhere = new Receiver();
    const verdict = await verdictOn({ status: 302, headers: { location: elsewhere.url() } });
    expect(verdict).toEqual({
      type: "drop",
      reason: "302: redirects are not followed, give the final URL",
    });
    expect(elsewhere.requests).toEqual([]);
  });

  test("a response with a slow body is judged without waiting for the body", async () => {
    expect(await verdictOn("slow-body")).toEqual(delivered);
  });

  test("a response with an endless body is cancelled", async () => {
    await expectBroken(json, delivered);
  });

  test.each([
    ["no content", "204 No Content\r\n\r\n", delivered],
    ["no content, but with a body", "204 No Content\r\ncontent-length: 3\r\n\r\nabc", delivered],
    ["a body that is cut off", "200 OK\r\ncontent-length: 10\r\n\r\nabc", delivered],
    ["an invalid chunk", "200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", delivered],
    ["no length", "202 Accepted\r\n\r\nabc", delivered],
    ["a redirect to nowhere", "302 Found\r\nlocation: http://[\r\n\r\n", "drop"],
    ["not modified", "304 Not Modified\r\n\r\n", "drop"],
    ["100 first", "100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", delivered],
    ["103 first", "103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 503 No\r\n\r\n", retry("503")],
    ["another protocol", "101 Switching Protocols\r\nupgrade: h2c\r\n\r\n", "retry"],
    ["an unknown status", "999 What\r\ncontent-length: 0\r\n\r\n", retry("999")],
  ] as const)(
    "a response of this kind has the expected result: %s",
    async (_name, answer, expected) => {
      const verdict = await verdictOnRaw((client) => {
        client.write(`HTTP/1.1 ${answer}`);
        client.end();
      });
      expect(typeof expected === "string" ? verdict.type : verdict).toEqual(expected);
    },
  );
});

describe("the receiver's reason", () => {
  test.each([
    [400, '{"error":"no such channel"}', "400: the receiver says: no such channel"],
    [404, "no_service_x", "404: not found, check the URL; the receiver says: no_service_x"],
    [413, "too long", "413: the receiver says: too long"],
    [400, "", "400: the receiver cannot read the event, check the webhook's format"],
    [400, "<html>no</html>", "400: the receiver cannot read the event, check the webhook's format"],
  ])(
    "the reason for status %d has the receiver's reason from the body %s",
    async (status, body, reason) => {
      expect(await verdictOn({ status, body })).toEqual({ type: "drop", reason });
    },
  );

  test("the receiver's reason does not contain the URL's secrets", async () => {
    using receiver = new Receiver();
    receiver.answer = ({ path, headers }) => ({
      status: 400,
      body: `cannot take POST ${path} from ${headers.get("authorization")}`,
    });
    const url = receiver.url(`/${SECRET}?key=${SECRET}`).replace("//", `//ops:${SECRET}@`);
    const verdict = await webhook(url).attempt(message, never);
    expect(verdict).toEqual({
      type: "drop",
      reason: "400: the receiver says: cannot take POST /(hidden)?key=(hidden) from Basic (hidden)",
    });
  });

  test("the receiver's reason is read from the beginning of an endless body", async () => {
    const say = (client: Client): void =>
      client.write(`HTTP/1.1 400 No\r\n\r\n${"no ".repeat(2000)}`);
    const verdict = await verdictOnRaw(say, { timeoutMs: 2000 });
    expect(verdict.type).toBe("drop");
    expect(verdict).toHaveProperty(
      "reason",
      expect.stringMatching(/^400: the receiver says: (no )+/),
    );
  });
});

describe("a format with interpretResponse", () => {
  test("interpretResponse is asked first; status and headers decide only if it returns null", async () => {
    using receiver = new Receiver();
    const answers: Answer[] = [
      { status: 200, body: "error 429" },
      { status: 200, body: "fine" },
      { status: 503, headers: { "retry-after": "3" }, body: "fine" },
      { status: 404, body: "gone" },
    ];
    receiver.answer = () => answers.shift()!;
    const format: Format = {
      ...json,
      interpretResponse: (_status, body) => {
        if (body === "gone") return { type: "stop", reason: "gone" };
        return body.startsWith("error") ? { type: "retry", reason: body, afterMs: 1 } : null;
      },
    };
    const channel = webhook(receiver.url(), { format });
    const verdicts: DeliveryResult[] = [];
    while (answers.length > 0) verdicts.push(await channel.attempt(message, never));
    expect(verdicts).toEqual([
      { type: "retry", reason: "error 429", afterMs: 1 },
      delivered,
      { type: "retry", reason: "503", afterMs: 3000 },
      { type: "stop", reason: "gone" },
    ]);
  });

  test.each([
    ["none", "204 No Content\r\n\r\n", "204 "],
    ["empty", "200 OK\r\ncontent-length: 0\r\n\r\n", "200 "],
    ["whole", "400 No\r\ncontent-length: 5\r\n\r\nh\u00e9ll", "400 h\u00e9ll"],
    ["without a length", "400 No\r\n\r\nabc", "400 abc"],
    ["cut off", "400 No\r\ncontent-length: 10\r\n\r\nabc", "400 abc"],
    ["cut off in a character", "400 No\r\ncontent-length: 10\r\n\r\nab\u00e9", "400 ab\u00e9"],
    ["longer", `400 No\r\n\r\n${"x".repeat(5000)}`, `400 ${"x".repeat(4096)}`],
  ])("interpretResponse gets the received part of the body: %s", async (_name, answer, reason) => {
    const say = (client: Client): void => {
      client.write(`HTTP/1.1 ${answer}`);
      // Otherwise Bun may lose the bytes that were received just before the end.
      void client.taken().then(() => client.end());
    };
    expect(await verdictOnRaw(say, { format: echoing })).toEqual({ type: "drop", reason });
  });

  test("interpretResponse gets a character that was received in two parts", async () => {
    const [first, second] = [Uint8Array.of(0x61, 0xc3), Uint8Array.of(0xa9, 0x62)];
    const say = (client: Client): void => {
      client.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
      client.write(first);
      void client.taken().then(() => client.write(second));
    };
    expect(await verdictOnRaw(say, { format: echoing })).toEqual({
      type: "drop",
      reason: "200 a\u00e9b",
    });
  });

  test("interpretResponse gets the part of the body that was received before the timeout", async () => {
    const say = (client: Client): void => client.write("HTTP/1.1 200 OK\r\n\r\nabc");
    const hasBody = (verdict: DeliveryResult) => !Bun.deepEquals(verdict, retry("timeout"));
    const verdictBy = (format: Format) =>
      withLimit(50, (timeoutMs) => verdictOnRaw(say, { format, timeoutMs }), hasBody);
    expect(await verdictBy(echoing)).toEqual({ type: "drop", reason: "200 abc" });
    expect(await verdictBy({ ...json, interpretResponse: () => null })).toEqual(delivered);
  });

  test("interpretResponse gets the beginning of an endless body, which is cancelled", async () => {
    const reason = `200 ${"\0".repeat(4096)}`;
    await expectBroken(echoing, { type: "drop", reason });
  });

  test("interpretResponse gets a compressed body without decompression, which could be gigabytes", async () => {
    using receiver = new Receiver();
    const headers = { "content-encoding": "gzip" };
    receiver.answer = { status: 400, headers, body: "not unpacked" };
    const verdict = await webhook(receiver.url(), { format: echoing }).attempt(message, never);
    expect(verdict).toEqual({ type: "drop", reason: "400 not unpacked" });
    expect(receiver.requests[0]!.headers.get("accept-encoding")).toBe("identity");
  });
});

describe("an attempt without a valid response", () => {
  test("an attempt is retried if the timeout ends it", async () => {
    expect(await verdictOn("hang", 30)).toEqual(retry("timeout"));
  });

  test("an attempt is retried if an abort ends it at once", async () => {
    using receiver = new Receiver();
    receiver.answer = "hang";
    const stop = new AbortController();
    const attempt = webhook(receiver.url()).attempt(message, stop.signal);
    await receiver.waitFor((requests) => requests.length === 1);
    stop.abort();
    expect(await attempt).toEqual(retry("aborted"));
  });

  test("an attempt is retried if no program listens", async () => {
    // Port 1 is tcpmux, which no machine runs.
    expect(await webhook("http://127.0.0.1:1/").attempt(message, never)).toEqual(
      retry("ECONNREFUSED"),
    );
  });

  test("an attempt is retried if no program accepts the connection", async () => {
    await using full = await fullPort();
    const url = `http://127.0.0.1:${full.port}/`;
    expect(await webhook(url, { timeoutMs: 50 }).attempt(message, never)).toEqual(retry("timeout"));
    const stop = new AbortController();
    const attempt = webhook(url).attempt(message, stop.signal);
    stop.abort();
    expect(await attempt).toEqual(retry("aborted"));
  });

  test("an attempt is retried if the connection is reset", async () => {
    expect(await verdictOn("reset")).toEqual(retry("ECONNRESET"));
  });

  test("an attempt is retried if the host name is unknown", async () => {
    const verdict = await webhook("http://host.invalid/").attempt(message, never);
    // The error is another one on a machine without a name server.
    const reasons = ["ENOTFOUND (host name unknown)", "DNS does not answer"];
    expect(reasons.map(retry)).toContainEqual(verdict);
  });

  const notHttp = "the response is not HTTP/1";
  test.each([
    ["another protocol", "220 mail.example.net ESMTP\r\n\r\n", notHttp],
    ["a page without headers", "<html><body>hello</body></html>\r\n\r\n", notHttp],
    ["bytes", "\x07".repeat(100), notHttp],
    // RFC 9113 section 6.5: a SETTINGS frame.
    [
      "HTTP/2, as it begins",
      `\0\0\x12\x04${"\0".repeat(6)}\x03\0\0\0\x64${"\0".repeat(12)}`,
      notHttp,
    ],
    ["HTTP/2 in a status line", "HTTP/2.0 200 OK\r\n\r\n", notHttp],
    ["an invalid header line", "HTTP/1.1 200 OK\r\nfoo bar\r\n\r\n", notHttp],
    ["a negative length", "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", notHttp],
    ["an unknown encoding", "HTTP/1.1 200 OK\r\ntransfer-encoding: foo\r\n\r\n", notHttp],
    ["nothing", "", "ECONNRESET"],
    ["a part of the status line", "HTTP/1.", "ECONNRESET"],
    ["a part of the headers", "HTTP/1.1 200 OK\r\ncontent-le", "ECONNRESET"],
    ["100 without a final response", "HTTP/1.1 100 Continue\r\n\r\n", "ECONNRESET"],
    [
      "101",
      "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
      "101: the receiver asks for another protocol",
    ],
  ])("an attempt is retried if the whole response is: %s", async (_name, answer, reason) => {
    for (const end of ["end", "reset"] as const) {
      const verdict = await verdictOnRaw((client) => {
        client.write(answer);
        // Bytes that are written just before a reset may be lost.
        if (end === "end") client.end();
        else void client.taken().then(() => client.reset());
      });
      expect([end, verdict]).toEqual([end, retry(reason)]);
    }
  });

  test("an attempt is retried if the headers never end, at slow or at full speed, or never begin", async () => {
    const slowly = (data: string): Promise<DeliveryResult> =>
      verdictOnRaw(
        (client) => {
          client.write("HTTP/1.1 ");
          client.drip(data);
        },
        { timeoutMs: 60 },
      );
    expect(await slowly("200 OK\r\nx: ")).toEqual(retry("timeout"));
    expect(await slowly("102 Processing\r\n\r\nHTTP/1.1 ")).toEqual(retry("timeout"));
    const fast = await verdictOnRaw((client) => {
      client.write("HTTP/1.1 200 OK\r\n");
      client.flood(`x: ${"x".repeat(8000)}\r\n`);
    });
    expect(fast).toEqual(retry("the response headers are too large"));
  });
});

describe("an attempt with TLS", () => {
  test("an attempt is retried if the receiver does not speak TLS", async () => {
    using receiver = new Receiver();
    const url = receiver.url().replace("http:", "https:");
    expect(await webhook(url).attempt(message, never)).toEqual(retry("TLS handshake failed"));
  });

  test("an attempt is retried if the receiver speaks only HTTP/2", async () => {
    using server = await http2Server();
    const url = `https://localhost:${server.port}/`;
    expect(await webhook(url).attempt(message, never)).toEqual(retry("TLS handshake failed"));
  });

  test("an attempt is retried if the certificate is self-signed", async () => {
    using server = tlsServer();
    expect(await webhook(`https://localhost:${server.port}/`).attempt(message, never)).toEqual(
      retry("TLS certificate not trusted (self-signed)"),
    );
  });

  test.each([
    ["for this host", "valid", "localhost", delivered],
    ["for another host", "valid", "127.0.0.1", retry("TLS certificate is for another host name")],
    ["expired", "expired", "localhost", retry("TLS certificate expired")],
    ["not valid yet", "future", "localhost", retry("TLS certificate not valid yet")],
  ] as const)(
    "an attempt gets the expected result if the issuer is trusted and the certificate is %s",
    async (...row) => {
      const [, which, host, verdict] = row;
      using server = tlsServer(certificates[which]);
      const file = `${process.env["TMPDIR"] ?? "/tmp"}/wgmon-${which}-${process.pid}.pem`;
      await Bun.write(file, certificates[which]);
      const script = Bun.fileURLToPath(import.meta.resolve("../support/webhook-attempt.ts"));
      const child = Bun.spawn([process.execPath, script, `https://${host}:${server.port}/`], {
        env: { ...process.env, NODE_EXTRA_CA_CERTS: file },
      });
      const written = await child.stdout.text();
      await Bun.file(file).delete();
      expect(JSON.parse(written)).toEqual(verdict);
    },
  );
});

describe("a reused connection", () => {
  const ok = (client: Client): void => client.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");

  test("a reused connection is replaced if it was closed in the meantime", async () => {
    using receiver = new RawReceiver((client) => {
      ok(client);
      client.end();
    });
    const channel = webhook(receiver.url());
    for (let connection = 1; connection <= 3; connection++) {
      expect(await channel.attempt(message, never)).toEqual(delivered);
      await receiver.closed(connection);
    }
    expect(receiver.requests).toHaveLength(3);
  });

  test.each(["end", "reset"] as const)(
    "a reused connection causes no retry if the receiver closes it during the request: %s",
    async (how) => {
      // As if the receiver's keep-alive timeout ended while the request was being sent.
      using receiver = new RawReceiver((client) =>
        client.request === 1 ? ok(client) : client[how](),
      );
      const channel = webhook(receiver.url());
      for (let i = 0; i < 4; i++) expect(await channel.attempt(message, never)).toEqual(delivered);
      const ids = receiver.requests.map((request) => /^webhook-id: (.*)\r$/im.exec(request)?.[1]);
      expect(new Set(ids)).toEqual(new Set([message.id]));
      // The second and the fourth needed another connection, which is not kept.
      expect(receiver.requests).toHaveLength(6);
      expect(receiver.connections).toBe(4);
      await receiver.closed(2);
    },
  );

  test("a reused connection is not replaced a second time for the same attempt", async () => {
    let failing = false;
    using receiver = new RawReceiver((client) => (failing ? client.reset() : ok(client)));
    const channel = webhook(receiver.url());
    await channel.attempt(message, never);
    failing = true;
    expect(await channel.attempt(message, never)).toEqual(retry("ECONNRESET"));
    expect(receiver.requests).toHaveLength(3);
    // From now on, connections are not reused.
    expect(await channel.attempt(message, never)).toEqual(retry("ECONNRESET"));
    expect(receiver.requests).toHaveLength(4);
  });

  test("only a reused connection has a second try, a new connection has none", async () => {
    using receiver = new RawReceiver((client) => client.reset());
    expect(await webhook(receiver.url()).attempt(message, never)).toEqual(retry("ECONNRESET"));
    expect(receiver.requests).toHaveLength(1);
  });

  test("both tries of a reused connection have one time limit", async () => {
    const tries = async (timeoutMs: number) => {
      using receiver = new RawReceiver((client) => {
        if (client.connection === 1) return client.request === 1 ? ok(client) : client.reset();
      });
      const channel = webhook(receiver.url(), { timeoutMs });
      const [first, second] = [
        await channel.attempt(message, never),
        await channel.attempt(message, never),
      ];
      return { first, second, connections: receiver.connections };
    };
    const found = await withLimit(
      50,
      tries,
      ({ first, connections }) => first.type === "delivered" && connections === 2,
    );
    expect(found).toEqual({ first: delivered, second: retry("timeout"), connections: 2 });
  });
});

test("no result contains a part of the URL, of a Location header or of a secret in the body", async () => {
  using receiver = new Receiver();
  using tls = tlsServer();
  const hide = (origin: string): string => {
    const url = new URL(`/${SECRET}/hook?token=${SECRET}#${SECRET}`, origin);
    url.username = SECRET;
    url.password = SECRET;
    return url.href;
  };
  const verdicts: DeliveryResult[] = [];
  for (const status of [200, 301, 400, 401, 403, 404, 405, 410, 429, 500, 503]) {
    receiver.answer = { status, headers: { location: `/${SECRET}` }, body: SECRET };
    verdicts.push(await webhook(hide(receiver.url())).attempt(message, never));
  }
  for (const answer of ["hang", "reset"] as const) {
    receiver.answer = answer;
    verdicts.push(await webhook(hide(receiver.url()), { timeoutMs: 30 }).attempt(message, never));
  }
  const others = [
    "http://127.0.0.1:1",
    "http://host.invalid",
    receiver.url().replace("http:", "https:"),
    `https://localhost:${tls.port}`,
    `https://127.0.0.1:${tls.port}`,
    "gopher://host.invalid",
  ];
  for (const origin of others) {
    verdicts.push(await webhook(hide(origin)).attempt(message, never));
  }
  const invalid = { ...json, request: () => plain(`http://[${SECRET}`) };
  verdicts.push(await webhook(receiver.url(), { format: invalid }).attempt(message, never));
  expect(verdicts).toHaveLength(20);
  expect(JSON.stringify(verdicts)).not.toContain(SECRET);
  expect(receiver.requests.some(({ path }) => path.includes(SECRET))).toBe(true);
});

test("createWebhook throws for an invalid URL, without repeating the URL", () => {
  for (const broken of [`http://[${SECRET}`, SECRET]) {
    expect(() => webhook(broken)).toThrow(/^the URL of a webhook is invalid$/);
  }
});

function plain(url: string) {
  return { url, contentType: "text/plain", body: "x" };
}

function signed({ headers }: Received) {
  return {
    id: headers.get("webhook-id"),
    timestamp: headers.get("webhook-timestamp"),
    signature: headers.get("webhook-signature"),
  };
}

/** Makes attempts until the receiver notices that its endless body was cancelled. */
async function expectBroken(format: Format, verdict: DeliveryResult): Promise<void> {
  using receiver = new Receiver();
  receiver.answer = "endless-body";
  const channel = webhook(receiver.url(), { format });
  // The server notices that a connection is closed at the next request at the latest.
  while (receiver.cancelled === 0) {
    expect(await channel.attempt(message, never)).toEqual(verdict);
    expect(receiver.requests.length).toBeLessThan(20);
  }
}
