/** One attempt: what is sent, how each answer is judged, and each way in which there is none. */

import { describe, expect, test } from "bun:test";

import type { Channel, Verdict } from "../../src/channel/channel.ts";
import { createWebhook, judge } from "../../src/channel/webhook.ts";
import { systemClock } from "../../src/clock.ts";
import type { Event } from "../../src/contract.ts";
import { eventOf } from "../../src/event.ts";
import { HandClock } from "../support/clock.ts";
import { type Answer, Receiver } from "../support/receiver.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const SECRET = "s3cr3t";
const LABEL = "webhook http://hooks.example.net/...";
const never = new AbortController().signal;

function event(): Event {
  const change = { type: "device.added", atMs: NOW_MS, device: "wg0", listenPort: 51820 } as const;
  return eventOf(change, { id: `evt_${"a".repeat(32)}`, host: "gw1", name: null });
}

function webhook(
  url: string,
  options: { format?: "json" | "form"; timeoutMs?: number } = {},
): Channel {
  return createWebhook({
    url,
    format: "json",
    label: LABEL,
    version: "1.2.3",
    clock: systemClock,
    ...options,
  });
}

/** The verdict when a receiver answers so. */
async function verdictOn(answer: Answer, timeoutMs = 5000): Promise<Verdict> {
  using receiver = new Receiver();
  receiver.answer = answer;
  return await webhook(receiver.url(), { timeoutMs }).attempt(event(), never);
}

describe("what is sent", () => {
  test("json is the event, with its id and the time of the attempt", async () => {
    using receiver = new Receiver();
    const clock = new HandClock(NOW_MS + 1999);
    const options = { url: receiver.url("/x?y=1"), label: LABEL, version: "1.2.3", clock };
    const channel = createWebhook({ ...options, format: "json" });
    expect(channel.name).toBe(LABEL);
    expect(await channel.attempt(event(), never)).toEqual({ type: "delivered" });

    const [request] = receiver.requests;
    expect(request!.path).toBe("/x?y=1");
    expect(request!.event).toEqual(event());
    expect(request!.headers.get("content-type")).toBe("application/json");
    expect(request!.headers.get("user-agent")).toBe("wgmon/1.2.3");
    expect(request!.headers.get("webhook-id")).toBe(event().id);
    expect(request!.headers.get("webhook-timestamp")).toBe(String(NOW_MS / 1000 + 1));
  });

  test("form is the field content, without headers of its own", async () => {
    using receiver = new Receiver();
    await webhook(receiver.url(), { format: "form" }).attempt(event(), never);
    const [request] = receiver.requests;
    expect(request!.body).toBe("content=wg0+added%2C+listening+on+port+51820");
    expect(request!.headers.get("content-type")).toBe("application/x-www-form-urlencoded");
    expect(request!.headers.get("webhook-id")).toBeNull();
  });

  test("name and password in the URL go as basic authentication, as from Go", async () => {
    using receiver = new Receiver();
    const url = receiver.url().replace("http://", "http://us%40er:p%3Ass@");
    await webhook(url).attempt(event(), never);
    expect(receiver.requests[0]!.headers.get("authorization")).toBe(`Basic ${btoa("us@er:p:ss")}`);
  });

  test("an event is encoded once for all its attempts", async () => {
    using receiver = new Receiver();
    let encodings = 0;
    const counted = { ...event(), toJSON: () => ({ encoding: ++encodings }) };
    const channel = webhook(receiver.url());
    await channel.attempt(counted, never);
    await channel.attempt(counted, never);
    expect(receiver.requests.map(({ body }) => body)).toEqual(['{"encoding":1}', '{"encoding":1}']);
  });

  test("the next event takes the same connection", async () => {
    const ports = new Set<number>();
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request, self) {
        ports.add(self.requestIP(request)!.port);
        return new Response("ok");
      },
    });
    const channel = webhook(`http://127.0.0.1:${server.port}/`);
    for (let i = 0; i < 5; i++) await channel.attempt(event(), never);
    expect(ports.size).toBe(1);
  });
});

describe("how an answer is judged", () => {
  const retried = new Set([408, 425, 429]);
  const statuses = Array.from({ length: 400 }, (_, i) => 200 + i);

  test.each([
    ["delivered", statuses.filter((status) => status < 300)],
    ["stop", [410]],
    ["retry", statuses.filter((status) => status >= 500 || retried.has(status))],
    ["drop", statuses.filter((s) => s >= 300 && s < 500 && s !== 410 && !retried.has(s))],
  ] as const)("%s", (type, which) => {
    for (const status of which)
      expect([status, judge(status, new Headers(), NOW_MS).type]).toEqual([status, type]);
  });

  test.each([
    [301, "301: redirects are not followed, give the final URL"],
    [308, "308: redirects are not followed, give the final URL"],
    [400, "400: the receiver cannot read the event, check the webhook's format"],
    [401, "401: not allowed, check the token or password in the URL"],
    [404, "404: not found, check the URL"],
    [405, "405: no POST at this place, check the URL"],
    [407, "407: the proxy wants a password, check the proxy settings"],
    [418, "418: refused, check the webhook's URL and format"],
    [410, "410: the target is gone"],
    [503, "503"],
  ])("%d says what to do", (status, reason) => {
    expect(judge(status, new Headers(), NOW_MS)).toMatchObject({ reason });
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
    ["2026-01-01T00:00:30Z", null],
    ["1.5", null],
    ["-1", null],
    ["soon", null],
    ["NOT A DATE GMT", null],
    ["", null],
  ])("Retry-After: %s", (value, afterMs) => {
    const headers = new Headers(value === null ? {} : { "retry-after": value });
    for (const status of [429, 503]) {
      expect(judge(status, headers, NOW_MS)).toEqual({
        type: "retry",
        reason: String(status),
        afterMs,
      });
    }
  });

  test("an answer from the wire is judged so too", async () => {
    expect(await verdictOn({ status: 503, headers: { "retry-after": "7" } })).toEqual({
      type: "retry",
      reason: "503",
      afterMs: 7000,
    });
  });

  test("a redirect is not followed", async () => {
    using elsewhere = new Receiver();
    const verdict = await verdictOn({ status: 302, headers: { location: elsewhere.url() } });
    expect(verdict.type).toBe("drop");
    expect(elsewhere.requests).toEqual([]);
  });

  test("a slow body is not waited for", async () => {
    expect(await verdictOn("slow-body")).toEqual({ type: "delivered" });
  });

  test("an endless body is broken off", async () => {
    using receiver = new Receiver();
    receiver.answer = "endless-body";
    const channel = webhook(receiver.url());
    // What the server's end of a connection learns, it learns by the next request at the latest.
    while (receiver.cancelled === 0) {
      expect(await channel.attempt(event(), never)).toEqual({ type: "delivered" });
      expect(receiver.requests.length).toBeLessThan(20);
    }
  });
});

describe("when there is no answer", () => {
  const retry = (reason: string): Verdict => ({ type: "retry", reason, afterMs: null });

  test("silence ends with the timeout", async () => {
    expect(await verdictOn("hang", 30)).toEqual(retry("timeout"));
  });

  test("an abort ends it at once", async () => {
    using receiver = new Receiver();
    receiver.answer = "hang";
    const stop = new AbortController();
    const attempt = webhook(receiver.url()).attempt(event(), stop.signal);
    await receiver.waitFor((requests) => requests.length === 1);
    stop.abort();
    expect(await attempt).toEqual(retry("aborted"));
  });

  test("nobody listens", async () => {
    // Port 1 is tcpmux, which nobody runs.
    expect(await webhook("http://127.0.0.1:1/").attempt(event(), never)).toEqual(
      retry("ECONNREFUSED"),
    );
  });

  test("the connection is reset", async () => {
    expect(await verdictOn("reset")).toEqual(retry("ECONNRESET"));
  });

  test("the host name is unknown", async () => {
    const verdict = await webhook("http://host.invalid/").attempt(event(), never);
    // A machine without any name server has another word for it.
    const reasons = ["ENOTFOUND (host name unknown)", "DNS does not answer"];
    expect(reasons.map(retry)).toContainEqual(verdict);
  });

  test("the other end speaks no TLS", async () => {
    using receiver = new Receiver();
    const url = receiver.url().replace("http:", "https:");
    expect(await webhook(url).attempt(event(), never)).toEqual(retry("TLS handshake failed"));
  });

  test("the certificate is nobody's", async () => {
    using server = tlsServer();
    expect(await webhook(`https://localhost:${server.port}/`).attempt(event(), never)).toEqual(
      retry("TLS certificate not trusted (self-signed)"),
    );
  });

  test("the answer is no HTTP", async () => {
    using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: (socket) => void socket.end("220 mail.example.net ESMTP\r\n\r\n") },
    });
    const verdict = await webhook(`http://127.0.0.1:${server.port}/`).attempt(event(), never);
    expect(verdict).toEqual(retry("the answer is no HTTP"));
  });
});

test("no verdict repeats any part of the URL, a Location or a body", async () => {
  using receiver = new Receiver();
  using tls = tlsServer();
  const hide = (origin: string): string => {
    const url = new URL(`/${SECRET}/hook?token=${SECRET}#${SECRET}`, origin);
    url.username = SECRET;
    url.password = SECRET;
    return url.href;
  };
  const verdicts: Verdict[] = [];
  for (const status of [200, 301, 400, 401, 403, 404, 405, 410, 429, 500, 503]) {
    receiver.answer = { status, headers: { location: `/${SECRET}` }, body: SECRET };
    verdicts.push(await webhook(hide(receiver.url())).attempt(event(), never));
  }
  for (const answer of ["hang", "reset"] as const) {
    receiver.answer = answer;
    verdicts.push(await webhook(hide(receiver.url()), { timeoutMs: 30 }).attempt(event(), never));
  }
  const others = [
    "http://127.0.0.1:1",
    "http://host.invalid",
    receiver.url().replace("http:", "https:"),
    `https://localhost:${tls.port}`,
    `https://127.0.0.1:${tls.port}`,
  ];
  for (const origin of others) {
    verdicts.push(await webhook(hide(origin)).attempt(event(), never));
  }
  for (const broken of [`http://[${SECRET}`, `gopher://${SECRET}`, SECRET]) {
    verdicts.push(await webhook(broken).attempt(event(), never));
  }
  expect(verdicts).toHaveLength(21);
  expect(JSON.stringify(verdicts)).not.toContain(SECRET);
  expect(receiver.requests.some(({ path }) => path.includes(SECRET))).toBe(true);
});

/** A throw-away key, for localhost until 2126: openssl req -x509 -newkey ec -days 36500 ... */
function tlsServer() {
  const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzCZ/lG79V3L8NlFu
Ht9jvLSM9OfWk/9GUMz+PACczL6hRANCAAStg3fWK1GBkYsuG6WVmA2aXr3/Nuc4
nO8EdaKuFwf/FWTMeinGaQoBGZzdbaDgg5dJBw8jdkugLe0e8AGs03ej
-----END PRIVATE KEY-----`;
  const cert = `-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUTfBJvJb6B1Rkucu3S1kCwKOCxXcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE1MDg1MFoYDzIxMjYxMDI5
MTUwODUwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAStg3fWK1GBkYsuG6WVmA2aXr3/Nuc4nO8EdaKuFwf/FWTMeinGaQoB
GZzdbaDgg5dJBw8jdkugLe0e8AGs03ejo2kwZzAdBgNVHQ4EFgQUIy3g4FpGtHeJ
DMDGNBgciLKGCK0wHwYDVR0jBBgwFoAUIy3g4FpGtHeJDMDGNBgciLKGCK0wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgOj2FC42SyLOQETLyeVbN5eLRneAAQHREa2Ou+NVRHzYCIQCP1qXq9X9Y
W3pPFcnUXHEG0NZ3U+sk1j48hNfIc4mAvg==
-----END CERTIFICATE-----`;
  return Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: { key, cert },
    fetch: () => new Response("ok"),
  });
}
