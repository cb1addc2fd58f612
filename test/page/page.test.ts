/** The HTML of the page: what it shows, how hostile names are shown, and the updates of an open page. */

import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";

import fc from "fast-check";
import { raw } from "hono/html";

import { shortName } from "../../src/base/text.ts";
import { LoginSessions } from "../../src/http/login.ts";
import type { PageActions, TestResult } from "../../src/http/page-actions.ts";
import type { Page } from "../../src/http/server.ts";
import { assets } from "../../src/page/assets.ts";
import { item, PageSnapshot, type Update } from "../../src/page/page-diff.ts";
import { makePage } from "../../src/page/page.tsx";
import { rangeNames } from "../../src/store/ranges.ts";
import { anEvent, hostileText } from "../support/events.ts";
import { connect, connected, HOSTILE, office } from "../support/sample-gateway.ts";
import { FakeSource, keyOf, TRUSTED_CLIENT as access } from "../support/source.ts";
import { TEST_MS, until } from "../support/until.ts";

const KEY = Buffer.from(keyOf(1), "base64").toString("base64url");
const KEY_OF_CAROL = Buffer.from(keyOf(5), "base64").toString("base64url");
const PATHS = [
  "/",
  `/peers/wg0/${KEY}`,
  "/sessions",
  "/events",
  "/outbox",
  "/alerts",
  "/alerts/alert-4",
] as const;

let source: FakeSource;
let page: Page;
const logged: unknown[] = [];
/** The actions that the page has run. */
const done: string[] = [];
let testResult: TestResult | null = null;
let slowTest: Promise<TestResult | null> | null = null;
const actions: PageActions = {
  retry: (target) => (target === "hook" ? (done.push(`retry ${target}`), 2) : null),
  deleteMessages: (target, kind) => (done.push(`delete ${kind} ${target}`), 1),
  test: async (target) => {
    done.push(`test ${target}`);
    return slowTest === null ? testResult : await slowTest;
  },
};

beforeEach(async () => {
  setUp(await office());
});

afterEach(() => {
  page[Symbol.dispose]();
  source.store[Symbol.dispose]();
  expect(logged).toEqual([]);
});

function setUp(made: FakeSource): void {
  source = made;
  const record = (...args: unknown[]) => void logged.push(args);
  const logins = new LoginSessions({ clock: source.clock, log: { warn: record } });
  page = makePage({ source, actions, alertActions: source.alerts, logins, log: { error: record } });
}

async function ask(path: string, headers: Record<string, string> = {}): Promise<Response> {
  const request = new Request(`http://localhost${path}`, { headers });
  return await page.handle(request, access);
}

async function html(path: string): Promise<string> {
  const answer = await ask(path, { accept: "text/html" });
  expect([path, answer.status]).toEqual([path, 200]);
  return await answer.text();
}

/** The visible text. */
function textOf(markup: string): string {
  const parts: string[] = [];
  const rewriter = new HTMLRewriter().on("body *", { text: ({ text }) => void parts.push(text) });
  rewriter.transform(markup);
  return Bun.stripANSI(parts.join(" ")).replaceAll(/\s+/g, " ");
}

/** The elements with the names of their attributes, sorted, because the names of peers change their order. */
function shapeOf(markup: string): string[] {
  const shape: string[] = [];
  const rewriter = new HTMLRewriter().on("*", {
    element: ({ tagName, attributes }) =>
      void shape.push([tagName, ...Array.from(attributes, ([name]) => name)].join(" ")),
  });
  rewriter.transform(markup);
  return shape.sort();
}

describe("the content of the page", () => {
  test("the page shows all peers, the latest events and problems", async () => {
    const markup = await html("/");
    const text = textOf(markup);
    expect(markup).toContain("<title>4 of 9 peers connected");
    for (const each of [
      "alice laptop",
      "staff",
      "198.51.100.7:40000",
      "3m",
      "branch office Lyon",
      "10.0.0.2 +1",
      "3 disconnected, 2 never",
      "Today: 527 MiB from, 1.5 GiB to peers",
      "472 MiB 118 MiB from peer, 354 MiB to peer",
      "4 attempts failed, the latest: 503: upstream is not there",
    ]) {
      expect(text).toContain(each);
    }
    expect(text).toContain("carol");
    expect(text).toContain("(wg0) roamed from 192.0.2.1:51820 to 198.51.100.8:40001");
    expect(text).toContain("The store is in memory");
    expect(markup).toContain('aria-sort="ascending"');
    expect(markup).toContain('aria-label="last 24 hours: connected for 3m in 1 session;');
  });

  test("the page shows one peer, and 404 for an unknown one", async () => {
    const text = textOf(await html(PATHS[1]));
    for (const each of ["alice laptop", keyOf(1), "10.0.0.2", "2001:db8:1::2", "477 MiB"]) {
      expect(text).toContain(each);
    }
    expect((await ask(`/peers/wg9/${KEY}`)).status).toBe(404);
    expect((await ask("/peers/wg0/nobody")).status).toBe(404);
    expect((await ask("/nothing", { accept: "text/html" })).status).toBe(404);
  });

  test("the page shows sessions and events, page by page and filtered", async () => {
    expect(textOf(await html("/sessions?state=ended"))).toContain("peer removed");
    expect(textOf(await html("/sessions?state=open"))).not.toContain("peer removed");
    expect(textOf(await html(`/sessions?peer=${KEY}`))).not.toContain("carol");
    expect(textOf(await html("/events?type=handshake.unknown"))).not.toContain("roamed from");
    const events = Array.from({ length: 230 }, () =>
      connected(source, source.found.get("wg0")!.peers[0]!),
    );
    source.tell(...events);
    const seen = new Set<string>();
    let path: string | null = "/events";
    for (let pages = 0; path !== null && pages < 5; pages++) {
      const markup: string = await html(path);
      for (const [, id] of markup.matchAll(/<li id="(e\d+)"/g)) seen.add(id!);
      path = /href="([^"]*)">Older/.exec(markup)?.[1]?.replaceAll("&amp;", "&") ?? null;
    }
    expect(seen.size).toBe(235);
  });

  test("the page shows alerts with a sign of their severity and a link to their peer", async () => {
    const { publicKey } = source.found.get("wg0")!.peers[0]!;
    const about = { name: "alice laptop", peer: source.found.get("wg0")!.peers[0]! };
    const rule = "<b>offices</b>";
    const told = [
      anEvent("alert.firing", { ...about, alert: { severity: "warning", rule } }),
      anEvent("alert.firing", { ...about, alert: { names: ["<i>bob</i>", "carol"] } }),
      anEvent("alert.resolved", about),
    ];
    source.tell(...told.map((event, index) => ({ ...event, id: `evt_${index}` })));
    const markup = await html("/events");
    const text = textOf(markup);
    const link = `/peers/wg0/${publicKey.replaceAll("/", "_").replaceAll("+", "-").replace("=", "")}`;
    expect(markup).toContain('<span class="sign warning"></span>');
    expect(markup).toContain('<span class="sign critical"></span>');
    expect(markup).toContain('<span class="sign resolved"></span>');
    expect(markup).toContain(`<span>warning: <a href="${link}"`);
    expect(markup).toContain(`<span>resolved: <a href="${link}"`);
    expect(markup).not.toMatch(/<(b|i)>/);
    expect(text).toContain("alice laptop (wg0) is down: no data for 5m");
    expect(text).toContain("critical: 2 alerts of rule offices: ");
    expect(textOf(await html("/events?type=alert.resolved"))).not.toContain("is down");
  });

  test("the page shows that a filter matches nothing, with a link to all, or that there is nothing yet", async () => {
    const unknown = "A".repeat(42) + "E";
    const cases = [
      ["/?q=nobody", "No peer matches the filter. Show all peers", '<a href="/">Show all peers'],
      ["/?device=wg7", "No peer matches the filter. Show all peers", '<a href="/">Show all peers'],
      [
        `/events?peer=${unknown}`,
        "No events match the filter. Show all events",
        '<a href="/events">Show all events',
      ],
      [
        `/sessions?peer=${unknown}`,
        "No sessions match the filter. Show all sessions",
        '<a href="/sessions">Show all sessions',
      ],
    ] as const;
    for (const [path, text, link] of cases) {
      const markup = await html(path);
      expect(textOf(markup)).toContain(text);
      expect(markup).toContain(link);
    }
    for (const path of ["/", "/events", "/sessions"]) {
      expect(await html(path)).not.toMatch(/match(es)? the filter/);
    }
    page[Symbol.dispose]();
    source.store[Symbol.dispose]();
    setUp(await FakeSource.make());
    expect(textOf(await html("/events"))).toContain("Nothing has happened yet.");
    expect(textOf(await html("/events?type=peer.roamed"))).toContain("No events match the filter.");
    expect(textOf(await html("/sessions"))).toContain("There are no sessions yet.");
  });

  test("the page shows the rows that a filter by peer, device, type, state and time selects", async () => {
    const shown = async (path: string) => textOf(await html(path));
    for (const peer of ["carol", "CAROL", "10.0.0.6", KEY_OF_CAROL]) {
      const text = await shown(`/events?peer=${encodeURIComponent(peer)}`);
      expect(text).toContain("carol (wg0) disconnected");
      expect(text).not.toContain("alice phone (wg0)");
      expect(await shown(`/sessions?peer=${encodeURIComponent(peer)}`)).toContain("peer removed");
    }
    const several = await html("/events?peer=alice");
    expect(textOf(several)).toContain("Several peers match: alice laptop , alice phone");
    expect(several).toContain(`<a href="/events?peer=${KEY}">`);
    expect(await shown("/events?peer=zoe")).toContain("No peer has this name, address or key.");
    expect(await shown("/events?device=wg1")).not.toContain("carol (wg0)");
    expect(await shown("/events?device=wg1")).toContain("wg1 added");
    expect(await shown("/events?type=peer.roamed")).not.toContain("disconnected after");
    expect(await shown("/events?range=1h")).not.toContain("wg1 added");
    expect(await shown("/sessions?state=ended&range=1h&peer=carol")).toContain(
      "No sessions match the filter.",
    );
    // 2026-01-02 03:20 UTC, in a time zone that is two hours ahead of UTC.
    expect(await shown("/events?from=2026-01-02&tz=-120")).toContain("carol (wg0)");
    expect(await shown("/events?from=2026-01-03&tz=-120")).toContain("No events match the filter.");
    expect(await shown("/events?until=2026-01-01&tz=-120")).toContain("No events match");
  });

  test("the dates of a filter can have different time zones, because of daylight saving time", async () => {
    const markup = await html("/events?from=2026-07-01&until=2026-11-30&tz=-120_-60");
    const link = /<a href="(\/v1\/[^"]*)"/.exec(markup)![1]!.replaceAll("&amp;", "&");
    const { searchParams } = new URL(link, "http://localhost");
    expect(searchParams.get("since")).toBe("2026-06-30T22:00:00.000Z");
    expect(searchParams.get("until")).toBe("2026-11-30T23:00:00.000Z");
  });

  test("the form keeps a peer that was chosen by its key, until another name is typed", async () => {
    const [alice, phone] = source.found.get("wg0")!.peers;
    source.names.set(phone!.publicKey, "alice laptop");
    const markup = await html(`/events?peer=${KEY}`);
    expect(markup).toContain(`<input type="hidden" name="key" value="${KEY}"/>`);
    const form = `/events?peer=alice+laptop&key=${KEY}&type=peer.connected`;
    expect(await html(form)).toContain(`peer=${KEY}`);
    expect(textOf(await html(form))).not.toContain("Several peers match");
    source.found.get("wg0")!.peers.splice(0, 1);
    expect(source.names.has(alice!.publicKey)).toBe(true);
    expect(textOf(await html(form))).not.toContain("No peer has this name");
    expect(textOf(await html(`/events?peer=carol&key=${KEY}`))).toContain("carol (wg0)");
    expect(textOf(await html("/events?peer=zoe&key=x"))).toContain("No peer has this name");
  });

  test("the page shows sessions and events although a device cannot be read", async () => {
    source.unreadable.add("wg1");
    for (const path of ["/sessions", "/events"]) {
      expect(textOf(await html(path))).toContain("carol");
      expect(textOf(await html(`${path}?peer=carol`))).toContain("carol");
    }
  });

  test("the page links to the rows of the filter as CSV and JSON", async () => {
    const markup = await html("/events?peer=carol&type=peer.disconnected&from=2026-01-02");
    const links = [...markup.matchAll(/<a href="(\/v1\/[^"]*)" download="([^"]*)"/g)];
    expect(links.map(([, , name]) => name)).toEqual(["events.csv", "events.json"]);
    const { pathname, searchParams } = new URL(
      links[0]![1]!.replaceAll("&amp;", "&"),
      "http://localhost",
    );
    expect(pathname).toBe("/v1/events/download");
    expect(Object.fromEntries(searchParams)).toEqual({
      format: "csv",
      peer: KEY_OF_CAROL,
      type: "peer.disconnected",
      since: "2026-01-02T00:00:00.000Z",
    });
  });

  test("the page redirects to an address without the empty fields of its form", async () => {
    const answer = await ask("/events?peer=&type=peer.roamed&device=", { accept: "text/html" });
    expect([answer.status, answer.headers.get("location")]).toEqual([
      303,
      "/events?type=peer.roamed",
    ]);
    // 9 bytes for each character.
    const name = encodeURIComponent("\u5317".repeat(120));
    const long = await ask(`/events?peer=${name}&type=`, { accept: "text/html" });
    expect(long.headers.get("location")).toBe(`/events?peer=${name}`);
  });

  test("the page shows charts of each range, with labels and values", async () => {
    for (const range of rangeNames) {
      for (const path of ["/", PATHS[1]]) {
        const markup = await html(`${path}?range=${range}`);
        expect(markup).toMatch(/<text x="-8" y="\d+" text-anchor="end">0 B\/s<\/text>/);
        expect(markup).toContain(`aria-label="last ${range}: `);
        const values = /data-series="([^"]*)"/.exec(markup)![1]!.replaceAll("&quot;", '"');
        expect((JSON.parse(values) as unknown[]).length).toBe(path === "/" ? 3 : 2);
        expect(markup).not.toContain("NaN");
      }
    }
  });

  test("the history of a peer is read once until the next slot or session begins", async () => {
    const { sessions, traffic } = source.store;
    const read = [spyOn(sessions, "uptime"), spyOn(traffic, "range")];
    const path = `${PATHS[1]}?range=30d`;
    for (let n = 0; n < 3; n++) await html(path);
    expect(read.map(({ mock }) => mock.calls.length)).toEqual([3, 1]);
    source.clock.advance(6 * 60_000);
    await html(path);
    expect(read.map(({ mock }) => mock.calls.length)).toEqual([6, 2]);
    connect(source, source.found.get("wg0")!.peers[0]!);
    await html(path);
    expect(read.map(({ mock }) => mock.calls.length)).toEqual([9, 3]);
  });

  test("an update of a peer's page lists the peers of its device once", async () => {
    const listed = spyOn(source, "peers");
    await html(PATHS[1]);
    expect(listed).toHaveBeenCalledTimes(1);
  });

  test("the page shows numbers of one peer that agree, although they were read at different times", async () => {
    const { peers } = source.found.get("wg0")!;
    const [alice] = peers;
    // The session is as of a scan that is later than the list of peers, which is cached.
    const scanned = { ...alice!, rxBytes: 30 * 2 ** 20, txBytes: 90 * 2 ** 20 };
    source.connect("wg0", scanned, { rxBytes: scanned.rxBytes, txBytes: scanned.txBytes });
    peers[0] = { ...alice!, rxBytes: 29 * 2 ** 20, txBytes: 88 * 2 ** 20 };
    const both = "30 MiB received from peer 90 MiB sent to peer";
    const text = textOf(await html(PATHS[1]));
    expect(text).toContain(`This session ${both}`);
    expect(text).toContain(`Since it was added ${both}`);
    // The list is later than the scan.
    peers[0] = { ...alice!, rxBytes: 31 * 2 ** 20, txBytes: 91 * 2 ** 20 };
    const later = textOf(await html(PATHS[1]));
    expect(later.match(/31 MiB received from peer 91 MiB sent to peer/g)).toHaveLength(2);
    expect(later).toMatch(/connected .* 31 MiB 91 MiB/);
  });

  test("the page shows the normal content for an address with invalid parameters", async () => {
    for (const query of [
      "?page=x&sort=%00&state=%22",
      "?before=9e9&type=x&peer=y",
      "?before=1.A.b",
    ]) {
      for (const path of PATHS) await html(`${path}${query}`);
    }
  });

  test("the page names each parameter with an invalid value, and shows the rest as without it", async () => {
    const range = "is not one of 1h, 24h, 7d, 30d.";
    for (const [path, sentence] of [
      ["/?range=99d", `The parameter range is ignored: 99d ${range}`],
      ["/?sort=age", "The parameter sort is ignored: age is not one of state, name, device,"],
      ["/?order=up", "The parameter order is ignored: up is not one of asc, desc."],
      ["/?page=x", "The parameter page is ignored: x is not a whole number from 1."],
      ["/?state=on", "The parameter state is ignored: on is not one of connected,"],
      [`${PATHS[1]}?range=x`, `The parameter range is ignored: x ${range}`],
      ["/sessions?state=x", "The parameter state is ignored: x is not one of open, ended."],
      ["/events?type=nonsense", "The parameter type is ignored: nonsense is not one of peer."],
      ["/events?from=garbage", "garbage is not a date such as 2026-01-31."],
      ["/events?until=2026-02-45&range=1h", "2026-02-45 is not a date such as 2026-01-31."],
    ] as const) {
      expect([path, textOf(await html(path))]).toEqual([path, expect.stringContaining(sentence)]);
    }
    for (const path of PATHS) expect(await html(path)).not.toContain("is ignored");
    expect(textOf(await html("/events?range=7d&from=2026-01-01"))).not.toContain("is ignored");
    expect(textOf(await html("/events?type=nonsense"))).toContain("carol (wg0)");
    expect(await html("/events?type=%3Cb%3E&range=%E2%80%AE")).not.toContain("<b>");
  });

  test("the page has the chosen theme", async () => {
    const shown = async (cookie: string) => await (await ask("/", { cookie })).text();
    expect(await shown("x=1; wgmon-theme=dark")).toContain('data-theme="dark"');
    expect(await shown('wgmon-theme=x"onload="')).toContain('data-theme="auto"');
    const request = new Request("http://localhost/theme", {
      method: "POST",
      body: "theme=dark&next=%2Fevents",
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    const answer = await page.handle(request, access);
    expect(answer.headers.get("location")).toBe("/events");
    expect(answer.headers.get("set-cookie")).toStartWith("wgmon-theme=dark;");
  });
});

describe("the buttons of a target", () => {
  async function post(fields: Record<string, string>): Promise<Response> {
    const request = new Request("http://localhost/outbox", {
      method: "POST",
      body: new URLSearchParams(fields).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    return await page.handle(request, access);
  }

  beforeEach(() => void (done.length = 0));

  test("the buttons of a target retry, delete and test, and the page shows the result for some minutes", async () => {
    expect(textOf(await html("/outbox"))).toContain("Retry now");
    const answer = await post({ action: "retry", target: "hook" });
    expect([answer.status, answer.headers.get("location")]).toEqual([303, "/outbox"]);
    expect(textOf(await html("/outbox"))).toContain("2 dead letters queued again. 0s ago");
    await post({ action: "delete-dead", target: "hook" });
    expect(textOf(await html("/outbox"))).toContain("1 dead letter deleted.");
    await post({ action: "delete-waiting", target: "hook" });
    expect(textOf(await html("/outbox"))).toContain("1 waiting event deleted.");
    testResult = { isDelivered: true, reason: "", tookMs: 80 };
    await post({ action: "test", target: "log" });
    expect(textOf(await html("/outbox"))).toContain("Test delivered in 80 ms.");
    testResult = { isDelivered: false, reason: "404: \u001b[31mgone", tookMs: 80 };
    await post({ action: "test", target: "log" });
    expect(textOf(await html("/outbox"))).toContain("Test not delivered: 404: [31mgone.");
    expect(done).toEqual([
      "retry hook",
      "delete dead hook",
      "delete waiting hook",
      "test log",
      "test log",
    ]);
    source.clock.advance(6 * 60_000);
    expect(textOf(await html("/outbox"))).not.toContain("Test not delivered");
  });

  test("without a token, there are no buttons, and their forms are refused", async () => {
    const anyone = { ...access, tokens: [] };
    const shown = await page.handle(new Request("http://localhost/outbox"), anyone);
    expect(await shown.text()).not.toContain("Retry now");
    const request = new Request("http://localhost/outbox", {
      method: "POST",
      body: "action=retry&target=hook",
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    expect((await page.handle(request, anyone)).status).toBe(403);
    expect(done).toEqual([]);
    const local = { ...anyone, isUnixSocket: true };
    const onSocket = await page.handle(new Request("http://localhost/outbox"), local);
    expect(await onSocket.text()).toContain("Retry now");
  });

  test("the buttons of a target answer 404 for an unknown action or target", async () => {
    testResult = null;
    expect((await post({ action: "retry", target: "nothing" })).status).toBe(404);
    expect((await post({ action: "test", target: "nothing" })).status).toBe(404);
    expect((await post({ action: "delete-dead", target: "nothing" })).status).toBe(404);
    expect((await post({ action: "delete-waiting", target: "nothing" })).status).toBe(404);
    expect(done).toEqual([]);
    expect((await post({ action: "reboot", target: "hook" })).status).toBe(404);
  });

  test("the page says that a test takes long, and sends one test at a time", async () => {
    const { promise, resolve } = Promise.withResolvers<TestResult | null>();
    slowTest = promise;
    const answer = post({ action: "test", target: "log" });
    await until("the test has begun", () => done.length === 1);
    await post({ action: "test", target: "log" });
    source.clock.advance(5000);
    expect((await answer).status).toBe(303);
    expect(done).toEqual(["test log"]);
    expect(textOf(await html("/outbox"))).toContain("A test is being sent.");
    resolve({ isDelivered: true, reason: "", tookMs: 7000 });
    await until("the result is shown", async () =>
      textOf(await html("/outbox")).includes("Test delivered in 7000 ms."),
    );
    slowTest = null;
  });
});

describe("the response with the page", () => {
  test("the page has a content security policy that allows no other origin and no inline code", async () => {
    for (const path of PATHS) {
      const answer = await ask(path, { accept: "text/html" });
      expect(answer.headers.get("content-security-policy")).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
          "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
      );
      expect(answer.headers.get("x-frame-options")).toBe("DENY");
      expect(answer.headers.get("referrer-policy")).toBe("same-origin");
      const shape = shapeOf(await answer.text());
      expect(shape.filter((each) => / (style|on\w+)( |$)/.test(each))).toEqual([]);
      expect(shape.filter((each) => each.startsWith("style"))).toEqual([]);
      expect(shape.filter((each) => each.startsWith("script"))).toEqual(
        path === "/" || path === PATHS[1]
          ? ["script type src", "script type src"]
          : ["script type src"],
      );
    }
  });

  test("the page has a script and a style that can be cached without limit", async () => {
    for (const { path, text } of [assets.script, assets.chartScript, assets.style, assets.icon]) {
      const answer = await ask(path);
      expect(await answer.text()).toBe(text);
      expect(answer.headers.get("cache-control")).toContain("immutable");
    }
    expect(assets.script.text.length).toBeLessThan(12_000);
    expect(assets.chartScript.text.length).toBeLessThan(6000);
    // They load nothing from another origin.
    expect(assets.script.text + assets.chartScript.text + assets.style.text).not.toMatch(
      /https?:\/\/|@import|url\(/,
    );
  });

  test("the page is compressed if the client accepts it, and the stream is not", async () => {
    const answer = await ask("/", { "accept-encoding": "gzip", accept: "text/html" });
    expect(answer.headers.get("content-encoding")).toBe("gzip");
    const small = new Uint8Array(await answer.arrayBuffer());
    const markup = new TextDecoder().decode(Bun.gunzipSync(small));
    expect(markup).toContain("alice laptop");
    expect(small.length).toBeLessThan(markup.length / 3);
    const stream = await ask("/", { "accept-encoding": "gzip", accept: "text/event-stream" });
    expect(stream.headers.get("content-encoding")).toBeNull();
    await stream.body!.cancel();
  });
});

test.each([
  ["/", "198.51.100.7:40000 host.example.net"],
  [`/peers/wg0/${KEY}`, "198.51.100.7:40000 Copy host.example.net"],
])(
  "the name that reverse DNS has for an endpoint is shown beside it on %s",
  async (path, shown) => {
    expect(textOf(await html(path))).not.toContain("host.example.net");
    source.endpointNames.set("198.51.100.7", "host.example.net");
    expect(textOf(await html(path))).toContain(shown);
  },
);

describe("hostile names", () => {
  const unseen = /(?!\n)\p{Cc}|\p{Bidi_Control}/u;

  test("hostile names are shown only as text on all pages", async () => {
    const plain = await Promise.all(PATHS.map(async (path) => shapeOf(await html(path))));
    page[Symbol.dispose]();
    source.store[Symbol.dispose]();
    setUp(await office({ hostile: true }));
    for (const [index, path] of PATHS.entries()) {
      const markup = await html(path);
      expect(markup).not.toContain(HOSTILE[0]);
      expect(markup).not.toMatch(unseen);
      expect(markup).not.toMatch(/<img|<style|title><\/title/);
      expect(shapeOf(markup)).toEqual(plain[index]!);
    }
  });

  test(
    "hostile names do not change the structure of the page, whatever they are",
    async () => {
      const [first] = source.found.get("wg0")!.peers;
      const shapes = new Map<string, string[]>();
      source.endpointNames.set(first!.endpoint!.address, "host.example.net");
      for (const path of PATHS) shapes.set(path, shapeOf(await html(path)));
      await fc.assert(
        fc.asyncProperty(hostileText, async (name) => {
          // Never empty, because a peer without a name has another structure.
          source.names.set(first!.publicKey, `x${name}`);
          source.endpointNames.set(first!.endpoint!.address, shortName(`x${name}`));
          for (const path of PATHS.slice(0, 3)) {
            const markup = await html(path);
            expect(shapeOf(markup)).toEqual(shapes.get(path)!);
            expect(markup).not.toMatch(unseen);
          }
        }),
        { numRuns: 30 },
      );
    },
    TEST_MS,
  );
});

describe("the stream of an open page", () => {
  /** Opens the stream of a page. `next` returns the next update, or null at the end. */
  async function open(path: string) {
    const answer = await ask(path, { accept: "text/event-stream" });
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const reader = answer.body!.getReader();
    const decoder = new TextDecoder();
    type PageUpdate = Update & {
      readonly title: string;
      readonly build: string;
      readonly isGone?: true;
    };
    return {
      next: async (): Promise<PageUpdate | null> => {
        const { value, done } = await reader.read();
        if (done) return null;
        const text = decoder.decode(value);
        if (text.startsWith("event: gone\n")) return { isGone: true } as PageUpdate;
        const data = /^data: (.*)$/m.exec(text)?.[1];
        return data === undefined ? ({} as PageUpdate) : (JSON.parse(data) as PageUpdate);
      },
      close: async () => await reader.cancel(),
    };
  }

  test("the stream of an open page sends everything first, then only changes", async () => {
    const stream = await open("/");
    const first = (await stream.next())!;
    expect(first.build).toBe(assets.build);
    expect(first.lists!["peers"]!.order).toHaveLength(9);
    expect(Object.keys(first.lists!["peers"]!.items!)).toHaveLength(9);
    source.clock.advance(3000);
    expect(await stream.next()).toEqual({} as never);
    for (const n of [1, 2, 3, 4]) {
      source.speeds.set(keyOf(n), { rxBytesPerSecond: 5000, txBytesPerSecond: 7 });
    }
    source.clock.advance(3000);
    const rates = (await stream.next())!;
    expect(Object.keys(rates)).toEqual(["build", "now", "title", "parts", "lists"]);
    expect(Object.keys(rates.parts!)).toEqual(["tiles"]);
    expect(Object.keys(rates.lists!)).toEqual(["peers"]);
    const items = Object.values(rates.lists!["peers"]!.items!);
    expect(items).toHaveLength(4);
    expect(items[0]).toEqual({ 4: expect.stringContaining("4.9 KiB/s"), 5: expect.any(String) });

    const bob = source.found.get("wg0")!.peers[5]!;
    connect(source, bob);
    source.tell(connected(source, bob));
    source.clock.advance(250);
    const update = (await stream.next())!;
    expect(update.title).toStartWith("5 of 9 peers connected");
    expect(Object.keys(update.parts!)).toEqual(["tiles"]);
    expect(Object.keys(update.lists!["peers"]!.items!)).toHaveLength(1);
    expect(Object.values(update.lists!["events"]!.items!)).toEqual([
      expect.stringContaining("dave"),
    ]);
    await stream.close();
  });

  test("the stream of an open page causes no work after it is closed", async () => {
    expect(source.clock.waiting).toBe(0);
    const streams = [await open("/"), await open("/events")];
    for (const stream of streams) await stream.next();
    expect([source.listeners, source.clock.waiting]).toEqual([1, 1]);
    await streams[0]!.close();
    await streams[1]!.close();
    expect([source.listeners, source.clock.waiting]).toEqual([0, 0]);
  });

  test("the stream of an open page sends many events in a few updates per second", async () => {
    const stream = await open("/events");
    await stream.next();
    const [someone] = source.found.get("wg0")!.peers;
    let updates = 0;
    const reading = (async () => {
      while ((await stream.next()) !== null) updates++;
    })();
    for (let n = 0; n < 100; n++) {
      source.tell(connected(source, someone!));
      source.clock.advance(10);
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
    expect(updates).toBeGreaterThanOrEqual(3);
    expect(updates).toBeLessThanOrEqual(5);
    page[Symbol.dispose]();
    await reading;
  });

  test("the stream of an open page ends when its peer is removed, after 15 minutes, and with the program", async () => {
    const path = PATHS[1];
    const [gone, old, last] = [await open(path), await open("/"), await open("/sessions")];
    for (const stream of [gone, old, last]) await stream.next();
    source.found.get("wg0")!.peers.shift();
    source.clock.advance(3000);
    expect((await gone.next())?.isGone).toBe(true);
    expect(await gone.next()).toBeNull();
    await old.next();
    await last.next();
    source.clock.advance(15 * 60_000);
    expect(await old.next()).toBeNull();
    const ended = last.next();
    page[Symbol.dispose]();
    expect(await ended).toBeNull();
    expect([source.listeners, source.clock.waiting]).toEqual([0, 0]);
  });

  test("the stream of an open page is refused if there are 64 already", async () => {
    const streams = [];
    for (let n = 0; n < 64; n++) streams.push(await ask("/", { accept: "text/event-stream" }));
    expect(streams.every(({ status }) => status === 200)).toBe(true);
    expect((await ask("/", { accept: "text/event-stream" })).status).toBe(503);
    for (const { body } of streams) await body!.cancel();
    const answer = await ask("/", { accept: "text/event-stream" });
    expect(answer.status).toBe(200);
    await answer.body!.cancel();
  });
});

test("applying the changes of a list to the old list gives the new list", () => {
  const list = fc.uniqueArray(
    fc.record({
      id: fc.constantFrom("a", "b", "c", "d", "e", "f"),
      kind: fc.nat(1),
      cells: fc.array(fc.nat(2), { minLength: 2, maxLength: 2 }),
    }),
    { selector: ({ id }) => id },
  );
  const liveOf = (rows: readonly { id: string; kind: number; cells: number[] }[]) => {
    const live = new PageSnapshot(null);
    const items = rows.map(({ id, kind, cells }) =>
      item(
        id,
        raw(`<tr id="${id}" class="${kind}"></tr>`),
        cells.map((cell) => raw(`<td>${cell}</td>`)),
      ),
    );
    live.list("l", items);
    return { live, shown: items.map(({ id, start, cells }) => [id, start, ...cells]) };
  };
  fc.assert(
    fc.property(list, list, (before, now) => {
      const [old, next] = [liveOf(before), liveOf(now)];
      const change = next.live.since(old.live)?.lists?.["l"] ?? {};
      const known = new Map(old.shown.map((each) => [each[0]!, each]));
      for (const [id, update] of Object.entries(change.items ?? {})) {
        if (typeof update === "string") {
          const [, start, cells] = /^(<tr.*?>)(.*)<\/tr>$/.exec(update)!;
          known.set(id, [id, start!, ...cells!.match(/<td>\d<\/td>/g)!]);
        } else {
          const row = [...known.get(id)!];
          for (const [place, cell] of Object.entries(update)) row[Number(place) + 2] = cell;
          known.set(id, row);
        }
      }
      const order = change.order ?? old.shown.map(([id]) => id!);
      expect(order.map((id) => known.get(id))).toEqual(next.shown);
      if (JSON.stringify(before) === JSON.stringify(now)) expect(change).toEqual({});
    }),
  );
});
