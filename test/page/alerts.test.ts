/** Alerts and silences on the page: what it shows of them, its forms, and the cost of thousands of alerts. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import type { AlertView } from "../../src/alerts/alert.ts";
import { ruleOf } from "../../src/alerts/rule.ts";
import { LoginSessions } from "../../src/http/login.ts";
import type { Page } from "../../src/http/server.ts";
import { AlertsByState } from "../../src/page/alerts-by-state.ts";
import { makePage } from "../../src/page/page.tsx";
import { readSilence } from "../../src/page/silence-form.ts";
import { addAlert } from "../support/sample-alerts.ts";
import { office } from "../support/sample-gateway.ts";
import { FakeSource, keyOf, TRUSTED_CLIENT as access } from "../support/source.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const KEY_OF_CAROL = Buffer.from(keyOf(5), "base64").toString("base64url");

let source: FakeSource;
let page: Page;

beforeEach(async () => {
  setUp(await office());
});

afterEach(() => {
  page[Symbol.dispose]();
  source.store[Symbol.dispose]();
});

function setUp(made: FakeSource): void {
  source = made;
  const log = {
    error(message: string) {
      throw new Error(message);
    },
    warn() {},
  };
  const logins = new LoginSessions({ clock: source.clock, log });
  page = makePage({ source, actions: null, alertActions: source.alerts, logins, log });
}

async function html(path: string, given = access): Promise<string> {
  const request = new Request(`http://localhost${path}`, { headers: { accept: "text/html" } });
  const answer = await page.handle(request, given);
  expect([path, answer.status]).toEqual([path, 200]);
  return await answer.text();
}

async function text(path: string): Promise<string> {
  return textOf(await html(path));
}

function textOf(markup: string): string {
  const parts: string[] = [];
  const rewriter = new HTMLRewriter().on("body *", { text: (each) => void parts.push(each.text) });
  rewriter.transform(markup);
  return parts.join(" ").replaceAll(/\s+/g, " ");
}

async function post(
  fields: Record<string, string>,
  given: Partial<typeof access> = {},
): Promise<Response> {
  const request = new Request("http://localhost/alerts", {
    method: "POST",
    body: new URLSearchParams(fields).toString(),
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  return await page.handle(request, { ...access, ...given });
}

describe("alerts on the overview", () => {
  test("the overview lists what fires, the worst first, and what is held back with the reason", async () => {
    const markup = await html("/");
    expect(markup).toContain("<title>4 of 9 peers connected, 2 alerts");
    const shown = textOf(markup);
    const order = ["critical: dave", "warning: bob", "critical: carol"].map((each) =>
      shown.indexOf(each),
    );
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(order).not.toContain(-1);
    expect(shown).toContain("held back: silenced: maintenance , until 2026-01-02 04:50:00");
    expect(shown).toContain("2 firing 1 critical 1 warning 1 held back, 1 pending");
    expect(shown).not.toContain("No rules yet");
  });

  test("the list of peers marks those with an alert, and their tape when it fired", async () => {
    const markup = await html("/");
    const rows = [...markup.matchAll(/<tr role="row" id="p\w+".*?<\/tr>/gs)].map(([row]) => row);
    const marks = rows.map((row) => /class="sign ([^"]*)"/.exec(row)?.[1] ?? "");
    const names = rows.map((row) => /<bdi>([^<]*)/.exec(row)?.[1] ?? "");
    const marked = names.flatMap((name, index) =>
      marks[index] === "" ? [] : [[name, marks[index]]],
    );
    expect(marked).toEqual([
      ["bob", "warning"],
      ["carol", "critical held"],
      ["dave", "critical"],
    ]);
    const tapes = rows.filter((row) => /class="strip alert" d="M/.test(row)).length;
    // Also the alert that was resolved.
    expect(tapes).toBe(4);
  });

  test("an alert of a rule with dry_run is marked on the overview", async () => {
    const mark = "recorded only (dry_run)";
    expect(textOf(await html("/"))).not.toContain(mark);
    source.alerts.all = source.alerts.all.map((rule) => ({ ...rule, dryRun: true }));
    expect(textOf(await html("/"))).toContain(mark);
  });

  test("the overview is calm without alerts, and names the documentation if there are no rules", async () => {
    source.alerts.firing = [];
    expect(await text("/")).toContain("Alerts No alerts");
    source.alerts.all = [];
    expect(await text("/")).toContain("No alerts No rules yet: docs/alerts.md");
    expect(await html("/")).toContain('<ol class="events alerts" id="firing"></ol>');
  });

  test("an alert that was sent is held back when a silence begins", () => {
    const now = () => new AlertsByState(source.alerts);
    const names = () => now().firing.map(({ peer }) => peer?.name);
    expect(names()).toEqual(["dave", "bob"]);
    const endMs = source.clock.now().wallMs + HOUR_MS;
    const matchers = [{ field: "peer", pattern: "dav*" } as const];
    source.alerts.addSilence({ matchers, endMs, comment: "", createdBy: "" });
    expect(names()).toEqual(["bob"]);
    expect(now().held.map(({ by }) => by.type)).toEqual(["silence", "silence"]);
    source.clock.advance(HOUR_MS);
    expect(names()).toEqual(["dave", "bob"]);
  });
});

describe("the page of alerts", () => {
  test("the page of alerts has what fires, is held back and is pending, the silences, and the past", async () => {
    const shown = await text("/alerts");
    for (const each of [
      "dave (wg0) is down",
      "held back: silenced: maintenance",
      "erin (wg0) is down: no data for 22m; check the peer and its network rule people , pending",
      "peer=carol until 2026-01-02 04:50:00 maintenance , by root End now",
      "alice phone (wg0) is back after 12m rule people , lasted 12m",
      "still firing, not sent",
    ]) {
      expect(shown).toContain(each);
    }
  });

  test("the past alerts are filtered by rule, state, device and time, and are shown page by page", async () => {
    const past = async (query: string) => {
      const markup = await html(`/alerts?${query}`);
      return [...markup.matchAll(/<li id="r\w+">.*?<bdi>([^<]*)<\/bdi>/gs)].map(
        ([, each]) => each!,
      );
    };
    expect(await past("")).toHaveLength(4);
    expect(await past("rule=quota")).toEqual([expect.stringContaining("bob")]);
    expect(await past("state=resolved")).toEqual([expect.stringContaining("alice phone")]);
    expect(await past("device=wg1")).toEqual([]);
    expect(await past("range=1h")).toHaveLength(2);
    expect(await past(`peer=${KEY_OF_CAROL}`)).toEqual([expect.stringContaining("carol")]);
    expect(await text("/alerts?rule=none")).toContain("No alerts match the filter.");
    const [peer] = source.found.get("wg0")!.peers;
    for (let n = 0; n < 60; n++) {
      addAlert(source, {
        rule: "people",
        peer: peer!,
        sentence: `number ${n}`,
        minutes: n + 5,
        lasted: 1,
      });
    }
    const first = await html("/alerts?rule=people");
    const older = /href="([^"]*)#past">Older/.exec(first)![1]!.replaceAll("&amp;", "&");
    expect(older).toContain("rule=people");
    const second = await past(older.split("?")[1]!);
    const both = [...(await past("rule=people")), ...second];
    expect(new Set(both).size).toBe(both.length);
    expect(both).toHaveLength(63);
  });

  test("the page of an alert explains why it fired, what was sent to whom, and what was held back", async () => {
    const held = await text("/alerts/alert-4");
    expect(held).toContain("critical firing for 10m");
    expect(held).toContain("Held back : carol (wg0) is down");
    expect(held).toContain("silenced: maintenance");
    expect(held).toContain("reminds every 4h");
    const past = await text("/alerts/alert-1");
    expect(past).toContain("resolved 4h 48m ago");
    expect(past).toContain("fires when a peer is absent for 2m");
    source.alerts.all = [];
    expect(await text("/alerts/alert-1")).toContain("no longer in the settings");
    const unknown = new Request("http://localhost/alerts/alert-99", {
      headers: { accept: "text/html" },
    });
    const answer = await page.handle(unknown, access);
    expect([answer.status, textOf(await answer.text())]).toEqual([
      404,
      expect.stringContaining("There is no such alert."),
    ]);
  });

  test("the page of a peer has its alerts, its silences, and its alerts among its events", async () => {
    const shown = await text(`/peers/wg0/${KEY_OF_CAROL}`);
    expect(shown).toContain("carol (wg0) is down");
    expect(shown).toContain("peer=carol until 2026-01-02 04:50:00");
    expect(shown).toContain("critical alert, rule people 10m ago");
    expect(shown).not.toContain("dave (wg0)");
    expect(await html(`/peers/wg0/${KEY_OF_CAROL}`)).toMatch(/class="strip alert" d="M/);
  });

  test("the page shows an alert about a device or a target, and a moment", async () => {
    const base: AlertView = { ...source.alerts.firing[0]!, state: "firing", peer: null };
    source.alerts.firing = [
      { ...base, id: "alert-7", subject: { type: "target", target: "ops" }, sentence: "ops fails" },
      { ...base, id: "alert-8", subject: { type: "device", device: "wg0" }, resolves: false },
    ];
    expect(await text("/")).toContain("ops fails");
    expect(await text("/alerts/alert-7")).toContain("About ops");
    expect(await text("/alerts/alert-8")).toContain("reports a moment");
    expect(await html("/alerts/alert-8")).toContain('name="match" value="device=wg0"');
  });
});

describe("the forms of silences", () => {
  test("the form of a peer silences the peer, and returns to its page", async () => {
    const markup = await html(`/peers/wg0/${KEY_OF_CAROL}`);
    expect(markup).toContain(`<input type="hidden" name="match" value="peer=${keyOf(5)}"/>`);
    const next = `/peers/wg0/${KEY_OF_CAROL}`;
    const fields = {
      action: "silence",
      match: `peer=${keyOf(5)}`,
      for: "4h",
      comment: " moves\u0007 ",
      next,
    };
    const answer = await post(fields);
    expect([answer.status, answer.headers.get("location")]).toEqual([303, next]);
    expect(source.alerts.silences().at(-1)).toMatchObject({
      matchers: [{ field: "peer", pattern: keyOf(5) }],
      endMs: source.clock.now().wallMs + 4 * HOUR_MS,
      comment: "moves",
      createdBy: "page",
    });
  });

  test("the button of a silence ends it, also if it has ended already", async () => {
    const { id } = source.alerts.silences()[0]!;
    for (let times = 0; times < 2; times++) {
      const answer = await post({ action: "end", silence: id, next: "/alerts" });
      expect([answer.status, answer.headers.get("location")]).toEqual([303, "/alerts"]);
    }
    expect(source.alerts.silences()).toEqual([]);
    expect((await post({ action: "reboot" })).status).toBe(404);
    expect(
      (await post({ action: "end", next: "https://example.net" })).headers.get("location"),
    ).toBe("/");
  });

  test("the form adds no more silences than the API", async () => {
    const endMs = source.clock.now().wallMs + 1000;
    while (source.alerts.silences().length < 100) {
      source.alerts.addSilence({ matchers: [], endMs, comment: "", createdBy: "" });
    }
    const answer = await post({ action: "silence", match: "peer=x", for: "1h" });
    expect(answer.status).toBe(422);
    expect(source.alerts.silences()).toHaveLength(100);
    source.clock.advance(1000);
  });

  test("a silence that is not valid is refused with the reason, and the form keeps what was typed", async () => {
    const before = source.alerts.silences().length;
    const fields = { action: "silence", field: "tag", pattern: "  ", for: "1d", comment: `"<b>x` };
    const answer = await post(fields);
    const markup = await answer.text();
    expect(answer.status).toBe(422);
    expect(textOf(markup)).toContain("The value is empty");
    expect(markup).toContain('<option value="tag" selected="">');
    expect(markup).toContain('value="&quot;&lt;b&gt;x"');
    expect(source.alerts.silences()).toHaveLength(before);
  });

  test.each([
    [{ match: "peer" }, "must be a field and a value"],
    [{ match: "pear=x" }, "did you mean"],
    [{ match: "peer=x", for: "2 hours" }, "The time is not valid"],
    [{ match: "peer=x", for: "400d" }, "The time is not valid"],
    [{ field: "peer", pattern: "x".repeat(200), for: "1h" }, "longer than"],
    [{ for: "1h" }, "Name what the silence applies to"],
  ])("the form %j is refused: %s", (fields, reason) => {
    const result = readSilence(new URLSearchParams(fields), Date.UTC(2026, 0, 1));
    expect(result).toBeString();
    expect((result as string).toLowerCase()).toContain(reason.toLowerCase());
  });

  test("a silence until tomorrow ends at 08:00 in the gateway's time zone", () => {
    const nowMs = new Date(2026, 2, 28, 23, 30).getTime();
    const form = new URLSearchParams({ match: "peer=x", for: "tomorrow" });
    const silence = readSilence(form, nowMs);
    expect(silence).toMatchObject({ endMs: new Date(2026, 2, 29, 8).getTime() });
  });

  test("without a token, there are no forms, and they are refused", async () => {
    const anyone = { ...access, tokens: [] };
    for (const path of ["/alerts", "/alerts/alert-4", `/peers/wg0/${KEY_OF_CAROL}`]) {
      const markup = await html(path, anyone);
      expect(markup).not.toContain('action="/alerts" class');
      expect(markup).toContain("--listen-token-file");
    }
    const fields = { action: "silence", match: "peer=x", for: "1h" };
    expect((await post(fields, { tokens: [] })).status).toBe(403);
    expect((await post(fields, { tokens: [], isUnixSocket: true })).status).toBe(303);
  });
});

test("an open page shows an alert that begins and ends", async () => {
  const request = new Request("http://localhost/", { headers: { accept: "text/event-stream" } });
  const reader = (await page.handle(request, access)).body!.getReader();
  const next = async () => {
    const { value } = await reader.read();
    return /^data: (.*)$/m.exec(new TextDecoder().decode(value))?.[1] ?? "";
  };
  expect(await next()).toContain("dave (wg0) is down");
  const [dave] = source.alerts.firing.splice(0, 1);
  source.clock.advance(3000);
  const update = JSON.parse(await next()) as {
    readonly title: string;
    readonly lists: Record<string, { readonly order: readonly string[] }>;
  };
  expect(update.title).toStartWith("4 of 9 peers connected, 1 alert");
  expect(update.lists["firing"]!.order).toHaveLength(2);
  source.alerts.firing.unshift(dave!);
  source.clock.advance(3000);
  expect(await next()).toContain("dave (wg0) is down");
  await reader.cancel();
});

test("thousands of alerts are counted, and the pages list a bounded number of them", async () => {
  page[Symbol.dispose]();
  source.store[Symbol.dispose]();
  setUp(await FakeSource.make());
  source.alerts.all = [ruleOf("down", "all")];
  source.alerts.firing = Array.from({ length: 10_000 }, (_, n): AlertView => {
    return {
      id: `alert-${n}`,
      rule: "all",
      kind: "down",
      severity: n === 9999 ? "critical" : "warning",
      state: "firing",
      subject: { type: "peer", device: "wg0", publicKey: keyOf(n) },
      what: "",
      peer: { name: `peer-${n}`, tags: [] },
      sinceMs: 0,
      firedAtMs: 0,
      resolvedAtMs: null,
      resolves: true,
      isSent: true,
      heldBack: null,
      sentence: `peer-${n} (wg0) is down`,
    };
  });
  const overview = await html("/");
  expect(textOf(overview)).toContain("10,000 firing 1 critical 9,999 warning");
  expect(textOf(overview)).toContain("critical: peer-9999 (wg0) is down");
  expect(textOf(overview)).toContain("and 9,995 more");
  expect(overview.length).toBeLessThan(60_000);
  expect((await html("/alerts")).length).toBeLessThan(60_000);
});
