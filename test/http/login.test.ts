/** Browsers: the form for the token, the cookie, and that a page of another site can change nothing. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { ownAddress } from "../../src/page/login.tsx";
import { HandClock } from "../support/clock.ts";
import { serve, type Served } from "../support/http-server.ts";
import { FakeSource } from "../support/source.ts";
import { until } from "../support/until.ts";

const TOKEN = "correct-horse-battery-staple";
const OTHER = "older-token-of-last-year";
const html = { accept: "text/html,*/*" };

let source: FakeSource;
let clock: HandClock;
let tokens: string[];
let served: Served;

beforeEach(async () => {
  source = await FakeSource.make();
  clock = new HandClock();
  tokens = [OTHER, TOKEN];
  served = await serve(source, { tokens, clock });
});

afterEach(async () => {
  const stopped = served.stop();
  clock.advance(1000);
  await stopped;
  source.store[Symbol.dispose]();
});

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return await fetch(`${served.origin}${path}`, { redirect: "manual", ...init });
}

async function post(path: string, form: Record<string, string>, headers = {}): Promise<Response> {
  const body = new URLSearchParams(form).toString();
  const type = { "content-type": "application/x-www-form-urlencoded" };
  const sent = { ...html, origin: served.origin, ...type, ...headers };
  return await ask(path, { method: "POST", body, headers: sent });
}

/** `wgmon=...` */
async function logIn(token = TOKEN): Promise<string> {
  const answer = await post("/login", { token, next: "/events" });
  expect(answer.status).toBe(303);
  expect(answer.headers.get("location")).toBe("/events");
  return answer.headers.get("set-cookie")!.split(";")[0]!;
}

test("a browser without a token is redirected to the form, and a program is refused", async () => {
  const redirected = await ask("/events?type=peer.roamed", { headers: html });
  expect([redirected.status, redirected.headers.get("location")]).toEqual([
    303,
    "/login?next=%2Fevents%3Ftype%3Dpeer.roamed",
  ]);
  expect((await ask("/", { headers: html })).headers.get("location")).toBe("/login");
  expect((await ask("/")).status).toBe(401);
  expect((await ask("/v1/status", { headers: html })).status).toBe(401);
  expect((await ask("/metrics", { headers: html })).status).toBe(401);
  expect((await ask("/", { headers: { accept: "text/event-stream" } })).status).toBe(401);
  // With any Host, because a proxy may have another name and the form reveals nothing.
  const form = await ask("/login", { headers: { ...html, host: "vpn.example" } });
  expect(form.status).toBe(200);
  const text = await form.text();
  expect(text).toContain('type="password"');
  for (const secret of ["gw1", source.version, "/sessions"]) expect(text).not.toContain(secret);
  expect((await ask("/v1/status", { headers: { host: "vpn.example" } })).status).toBe(403);
});

test("the cookie gives access to the page, the stream and the API until the logout", async () => {
  const cookie = await logIn();
  expect(cookie).toMatch(/^wgmon=[\w-]{43}$/);
  expect(cookie).not.toContain(TOKEN);
  for (const path of ["/", "/v1/peers", "/metrics"]) {
    const answer = await ask(path, { headers: { cookie } });
    expect([path, answer.status]).toEqual([path, 200]);
    await answer.body?.cancel();
  }
  const stream = await ask("/v1/stream", { headers: { cookie } });
  expect(stream.status).toBe(200);
  await stream.body!.cancel();
  expect((await ask("/login", { headers: { ...html, cookie } })).headers.get("location")).toBe("/");

  const loggedOut = await post("/logout", {}, { cookie });
  expect([loggedOut.status, loggedOut.headers.get("set-cookie")]).toEqual([
    303,
    "wgmon=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict",
  ]);
  expect((await ask("/v1/peers", { headers: { cookie } })).status).toBe(401);
});

test("the cookie is limited to this host, and to TLS if TLS is used", async () => {
  const answer = await post("/login", { token: TOKEN });
  expect(answer.headers.get("set-cookie")).toMatch(
    /^wgmon=[\w-]{43}; Max-Age=604800; Path=\/; HttpOnly; SameSite=Strict$/,
  );
  const behind = { "x-forwarded-proto": "https" };
  const secure = (await post("/login", { token: TOKEN }, behind)).headers.get("set-cookie")!;
  expect(secure).toMatch(/^__Host-wgmon=[\w-]{43}; .*; SameSite=Strict; Secure$/);
  const cookie = secure.split(";")[0]!;
  expect((await ask("/v1/peers", { headers: { cookie, ...behind } })).status).toBe(200);
  expect((await ask("/v1/peers", { headers: { cookie } })).status).toBe(401);
});

test("the cookie is valid until its token is removed, and for at most a week", async () => {
  const [mine, other] = [await logIn(TOKEN), await logIn(OTHER)];
  tokens.splice(0, 1);
  expect((await ask("/v1/peers", { headers: { cookie: other } })).status).toBe(401);
  expect((await ask("/v1/peers", { headers: { cookie: mine } })).status).toBe(200);
  clock.oversleep(7 * 86_400_000);
  expect((await ask("/v1/peers", { headers: { cookie: mine } })).status).toBe(401);
});

test("with the cookie, only a page of wgmon can cause changes", async () => {
  const cookie = await logIn();
  const scan = async (headers: Record<string, string>) =>
    (await ask("/v1/scan", { method: "POST", headers: { cookie, ...headers } })).status;
  expect(await scan({})).toBe(403);
  expect(await scan({ origin: "https://evil.example" })).toBe(403);
  expect(await scan({ origin: "null" })).toBe(403);
  expect(source.scans).toBe(0);
  expect(await scan({ origin: served.origin })).toBe(200);
  for (const path of ["/logout", "/login", "/theme"]) {
    const answer = await post(path, { token: TOKEN }, { cookie, origin: "https://evil.example" });
    expect([path, answer.status]).toEqual([path, 403]);
  }
  expect((await ask("/v1/peers", { headers: { cookie } })).status).toBe(200);
});

test("a wrong token is answered after a delay, too many are refused, and a valid token is always accepted", async () => {
  const wrong = ["", "x", `${TOKEN}x`, TOKEN.slice(1), "a", "b", "c", "d"];
  const answers = wrong.map((token) => post("/login", { token }));
  await until("all of them wait", () => clock.waiting >= wrong.length);
  expect((await post("/login", { token: "e" })).status).toBe(429);
  expect(await logIn()).toStartWith("wgmon=");
  clock.advance(999);
  let first: Response | null = null;
  void answers[0]!.then((answer) => (first = answer));
  // Another one is answered meanwhile.
  await ask("/healthz");
  expect(first).toBeNull();
  clock.advance(1);
  for (const answer of answers) {
    const { status, headers } = await answer;
    expect([status, headers.get("set-cookie")]).toEqual([401, null]);
    expect(await (await answer).text()).toContain("Wrong token");
  }
  expect(served.lines.join()).toContain("wrong token");
  for (const token of wrong.slice(1, 4)) expect(served.lines.join()).not.toContain(token);
});

test("wrong tokens cause one warning at once, then one with the count of each ten minutes", async () => {
  const wrong = { headers: { authorization: `Bearer ${TOKEN}x` } };
  for (let n = 0; n < 30; n++) expect((await ask("/v1/peers", wrong)).status).toBe(401);
  const first = "<4>wrong token in Authorization: Bearer requests=1 last=127.0.0.1";
  expect(served.lines).toEqual([first]);
  // A request without a token, or with another scheme, which a proxy may use, is not counted.
  await ask("/v1/peers");
  await ask("/login", { headers: { authorization: "Basic eDp5" } });
  clock.advance(10 * 60_000);
  expect(served.lines).toEqual([first, first.replace("requests=1", "requests=29")]);
  clock.advance(60 * 60_000);
  expect(served.lines).toHaveLength(2);
  await ask("/v1/peers", wrong);
  expect(served.lines).toEqual([first, expect.any(String), first]);
});

test("forged cookies are refused", async () => {
  for (const cookie of ["wgmon=", "wgmon=x", `wgmon=${TOKEN}`, `x=1; wgmon=${"A".repeat(43)}`]) {
    expect((await ask("/v1/peers", { headers: { cookie } })).status).toBe(401);
  }
});

test.each([
  [null, "/"],
  ["", "/"],
  ["/events?type=x#y", "/events?type=x"],
  ["https://evil.example/", "/"],
  ["//evil.example/", "/"],
  ["/\\evil.example/", "/"],
  ["/\t/evil.example", "/"],
  ["/.//evil.example", "/"],
  ["javascript:alert(1)", "/"],
  [`/${"x".repeat(500)}`, "/"],
])("the address %p after the login becomes %p", (given, wanted) => {
  expect(ownAddress(given)).toBe(wanted);
});
