/** Requests through a proxy: which URLs use one, compared with fetch, and how errors of the proxy are reported. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { proxyFor } from "../../src/channels/proxy.ts";
import type { DeliveryResult } from "../../src/delivery/target.ts";

const PASSWORD = "s3cr3tpw";
const CHANNEL = new URL("../../src/channels/webhook.ts", import.meta.url).pathname;
const FORMAT = new URL("../../src/channels/formats/json.ts", import.meta.url).pathname;

type Env = Record<string, string>;

/** A proxy that sends `answer` to each request. */
class Proxy implements Disposable {
  answer = "HTTP/1.1 418 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
  readonly #server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data: (socket) => {
        socket.write(this.answer);
        socket.end();
      },
    },
  });

  get place(): string {
    return `127.0.0.1:${this.#server.port}`;
  }

  [Symbol.dispose](): void {
    this.#server.stop(true);
  }
}

/** Bun reads the environment at its start. */
async function run(code: string, env: Env, ...args: readonly string[]): Promise<string> {
  const command = [process.execPath, "-e", code, ...args];
  const { PATH = "" } = process.env;
  const child = Bun.spawn(command, { env: { PATH, ...env }, stderr: "inherit" });
  return (await child.stdout.text()).trim();
}

let proxy: Proxy;
beforeAll(() => void (proxy = new Proxy()));
afterAll(() => proxy[Symbol.dispose]());

const URLS = [
  "http://hooks.example.invalid/x",
  "http://hooks.example.invalid:8080/x",
  "http://127.0.0.1:1/x",
  "http://[::1]:1/x",
];

// The status is 418 if the proxy answered.
const ASK = `for (const url of process.argv.slice(1)) {
  const isProxied = await fetch(url, { method: "POST", body: "x" }).then(({ status }) => status === 418, () => false);
  console.log(isProxied);
}`;

test.each<Env>([
  { http_proxy: "http://PROXY" },
  { HTTP_PROXY: "http://PROXY" },
  { http_proxy: "", HTTP_PROXY: "http://PROXY" },
  { http_proxy: "http://PROXY", HTTP_PROXY: "http://127.0.0.1:2" },
  { http_proxy: "http://PROXY", ALL_PROXY: "http://127.0.0.1:2" },
  { all_proxy: "http://PROXY", ALL_PROXY: "http://127.0.0.1:2" },
  { ALL_PROXY: "http://PROXY" },
  { ALL_PROXY: "socks5://PROXY" },
  { all_proxy: "socks5://PROXY", ALL_PROXY: "http://PROXY" },
  { http_proxy: "PROXY" },
  { http_proxy: "//PROXY" },
  { http_proxy: "http://ops:pw@PROXY/x" },
  { https_proxy: "http://PROXY" },
  ...[
    "example.invalid",
    ".example.invalid",
    "*.example.invalid",
    "HOOKS.example.INVALID",
    "ample.invalid",
    "a.invalid, hooks.example.invalid",
    "a.invalid hooks.example.invalid",
    "hooks.example.invalid:80",
    "hooks.example.invalid:8080",
    "*",
    "**",
    "127.0.0.1",
    "127.0.0.0/8",
    "10.0.0.0/8",
    "0.0.1",
    "localhost",
    "::1",
    "[::1]",
    "::/64",
    "[::1]:1",
  ].map((no_proxy) => ({ http_proxy: "http://PROXY", no_proxy })),
  { http_proxy: "http://PROXY", no_proxy: "", NO_PROXY: "*" },
  { http_proxy: "http://PROXY", no_proxy: "other.invalid", NO_PROXY: "*" },
])("proxyFor names the proxy that fetch uses: %j", async (given) => {
  const filled = Object.entries(given).map(([name, value]) => [
    name,
    value.replace("PROXY", proxy.place),
  ]);
  const env = Object.fromEntries(filled) as Env;
  const isProxied = (await run(ASK, env, ...URLS)).split("\n").map((line) => line === "true");
  const named = URLS.map((url) => proxyFor(new URL(url), env));
  expect(named.map((each) => each !== null)).toEqual(isProxied);
  for (const each of named) if (each !== null) expect(each.label).toBe(proxy.place);
});

test.each([
  ["http://ops:pw@proxy.example.net", "proxy.example.net:80"],
  ["https://proxy.example.net", "proxy.example.net:443"],
  ["http://[2001:db8::1]:3128", "[2001:db8::1]:3128"],
  ["http://:pw@:", "of https_proxy"],
  ["http://bob:2024/xyz@proxy:3128", "of https_proxy"],
  ["http://tok3n#@proxy:3128", "of https_proxy"],
  ["http://user:12?34@proxy:3128", "of https_proxy"],
  ["http://user@pa/ss@proxy:3128", "of https_proxy"],
  ["http:\\\\user:12\\34@proxy:3128", "of https_proxy"],
  ["tok3n//x@proxy:3128", "of https_proxy"],
])("the label of the proxy in %s is %s", (https_proxy, place) => {
  expect(proxyFor(new URL("https://hooks.example.net/x"), { https_proxy })?.label).toBe(place);
});

test("no part of a user name or password is in the label of a proxy, whatever characters they have", () => {
  const character = fc.oneof(
    fc.constantFrom(...Array.from("/?#@:\\[]%&;=+.\t\n ")),
    fc.string({ minLength: 1, maxLength: 1 }),
  );
  const userinfo = fc.string({ unit: character, maxLength: 12 });
  const scheme = fc.constantFrom("", "//", "http://", "https://", "socks5://", "HTTP:\\\\");
  fc.assert(
    fc.property(scheme, userinfo, (start, secret) => {
      const https_proxy = `${start}${secret}@proxy.example.net:3128`;
      const proxy = proxyFor(new URL("https://hooks.example.net/x"), { https_proxy });
      expect(["proxy.example.net:3128", "of https_proxy"]).toContain(proxy!.label);
    }),
    { numRuns: 2000 },
  );
});

const ATTEMPT = `
const { createWebhook } = await import(${JSON.stringify(CHANNEL)});
const { json } = await import(${JSON.stringify(FORMAT)});
const clock = { now: () => ({ wallMs: 0, monotonicMs: 0 }), after: () => () => {} };
const options = { url: process.argv[1], format: json, secrets: [], label: "x", version: "1", clock, timeoutMs: 3000 };
const event = { id: "evt_1" };
const verdict = await createWebhook(options).attempt({ id: "evt_1", events: [event] }, new AbortController().signal);
console.log(JSON.stringify(verdict));`;

async function verdict(url: string, env: Env): Promise<DeliveryResult> {
  const text = await run(ATTEMPT, env, url);
  expect(text).not.toContain(PASSWORD);
  return JSON.parse(text) as DeliveryResult;
}

describe("an attempt through a proxy", () => {
  const https = "https://hooks.example.invalid/x";
  const http = "http://hooks.example.invalid/x";

  test.each([
    [
      "407 Proxy Authentication Required",
      "407, it requires a user name and password, check the proxy settings",
    ],
    ["403 Forbidden", "403, it does not allow connections to the receiver"],
    ["502 Bad Gateway", "502, it cannot reach the receiver"],
    ["418 Teapot", "418, it refuses to connect to the receiver"],
  ])("an attempt is retried if the proxy answers the CONNECT with %s", async (status, reason) => {
    using own = new Proxy();
    own.answer = `HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`;
    const https_proxy = `http://ops:${PASSWORD}@${own.place}`;
    const expected = { type: "retry", reason: `proxy ${own.place}: ${reason}`, afterMs: null };
    expect(await verdict(https, { https_proxy })).toEqual(expected as DeliveryResult);
  });

  test.each([
    [
      "407 Proxy Authentication Required",
      "retry",
      "proxy PLACE: 407, it requires a user name and password, check the proxy settings",
    ],
    [
      "403 Forbidden",
      "drop",
      "403: not allowed, check the token or password in the URL (through proxy PLACE)",
    ],
    ["503 Service Unavailable", "retry", "503 (through proxy PLACE)"],
    [
      "302 Found",
      "drop",
      "302: redirects are not followed, give the final URL (through proxy PLACE)",
    ],
  ])(
    "an attempt gets the expected result if the proxy answers %s to a request without TLS",
    async (status, type, reason) => {
      using own = new Proxy();
      own.answer = `HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`;
      const found = await verdict(http, { http_proxy: `http://ops:${PASSWORD}@${own.place}` });
      expect(found).toMatchObject({ type, reason: reason.replace("PLACE", own.place) });
    },
  );

  test.each([
    [https, "http://ops:s3cr3tpw@127.0.0.1:1", "proxy 127.0.0.1:1: ECONNREFUSED"],
    [http, "http://127.0.0.1:1", "proxy 127.0.0.1:1: ECONNREFUSED"],
    [
      https,
      "socks5://ops:s3cr3tpw@127.0.0.1:1",
      "proxy 127.0.0.1:1: only http:// and https:// proxies are supported",
    ],
  ])("an attempt is retried if %s cannot be sent through %s", async (url, address, reason) => {
    expect(await verdict(url, { http_proxy: address, https_proxy: address })).toEqual({
      type: "retry",
      reason,
      afterMs: null,
    });
  });

  test("an attempt is retried if the host name of the proxy is unknown", async () => {
    const found = await verdict(https, { https_proxy: "http://proxy.invalid:3128" });
    const reasons = [
      "proxy proxy.invalid:3128: ENOTFOUND (host name unknown)",
      "DNS does not answer (through proxy proxy.invalid:3128)",
    ];
    expect(reasons).toContain((found as { reason: string }).reason);
  });

  test("an attempt is retried if the proxy or the receiver does not speak TLS, and the reason names the proxy", async () => {
    using own = new Proxy();
    own.answer = "220 mail.example.net ESMTP\r\n";
    for (const scheme of ["http", "https"]) {
      const found = await verdict(https, { https_proxy: `${scheme}://${own.place}` });
      expect(found).toMatchObject({
        type: "retry",
        reason: expect.stringContaining(`(through proxy ${own.place})`) as string,
      });
    }
  });

  test("the reason of a failed attempt does not name the proxy if no_proxy excludes the receiver", async () => {
    const env = { http_proxy: `http://${proxy.place}`, no_proxy: "127.0.0.1" };
    expect(await verdict("http://127.0.0.1:1/x", env)).toMatchObject({ reason: "ECONNREFUSED" });
  });
});
