/** Alerts, rules and silences in the HTTP API. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ruleOf } from "../../src/alerts/rule.ts";
import { urlKey } from "../../src/base/wireguard.ts";
import { parseAlertCursor } from "../../src/http/alert-cursor.ts";
import { type Api, makeApi } from "../../src/http/api.ts";
import { anEvent, hostileText } from "../support/events.ts";
import { ALICE, BOB } from "../support/peers.ts";
import { FakeSource } from "../support/source.ts";
import { alertRecord, alertView, newNotice, storeAlerts } from "../support/stored-alerts.ts";

let source: FakeSource;
let api: Api;

beforeEach(async () => {
  source = await FakeSource.make();
  api = makeApi(source, { actions: source.alerts });
});

afterEach(() => {
  api[Symbol.dispose]();
  source.store[Symbol.dispose]();
});

// oxlint-disable-next-line typescript/no-explicit-any -- any JSON
type Body = any;

async function ask(
  method: string,
  path: string,
  body?: unknown,
): Promise<{ readonly status: number; readonly body: Body; readonly text: string }> {
  const init = {
    method,
    ...(body === undefined
      ? {}
      : {
          body: typeof body === "string" ? body : JSON.stringify(body),
          headers: { "content-type": "application/json" },
        }),
  };
  const response = await api.handle(new Request(`http://pi${path}`, init));
  const text = await response.text();
  return { status: response.status, body: JSON.parse(text) as Body, text };
}

async function get(path: string): Promise<Body> {
  const { status, body } = await ask("GET", path);
  expect([path, status]).toEqual([path, 200]);
  return body;
}

/** Two alerts that fire, one that is pending, and four that are over. */
function fill(): void {
  const pending = { id: "", state: "pending", firedAtMs: null, isSent: false } as const;
  const silence = { type: "silence", id: "silence-1", comment: "maintenance" } as const;
  source.alerts.firing = [
    alertView(),
    alertView({
      id: "alert-6",
      rule: "sites",
      severity: "warning",
      heldBack: silence,
      subject: { type: "device", device: "wg1" },
      peer: null,
    }),
    alertView({
      ...pending,
      subject: { type: "peer", device: "wg0", publicKey: BOB },
      peer: null,
    }),
  ];
  source.alerts.all = [ruleOf("down", "office-down")];
  const over = [1, 2, 3].map((number) =>
    alertRecord({
      id: `alert-${number}`,
      firedAtMs: 1000 * number,
      resolvedAtMs: 1000 * number + 5,
    }),
  );
  const moment = alertRecord({
    id: "alert-4",
    rule: "changes",
    kind: "changed",
    publicKey: BOB,
    resolves: false,
    firedAtMs: 9000,
    resolvedAtMs: null,
  });
  // The rows of alerts that fire are in the store, too.
  const firing = [6, 7].map((number) =>
    alertRecord({ id: `alert-${number}`, firedAtMs: 10_000, resolvedAtMs: null }),
  );
  storeAlerts(source, [...over, moment, ...firing]);
}

const idsOf = ({ items }: Body) =>
  (items as readonly { readonly id: string | null }[]).map(({ id }) => id);

describe("GET /v1/alerts", () => {
  test("an alert is accepted if a target accepted one of its messages", async () => {
    fill();
    const notice = (id: string, eventSeq: number | null, targets: readonly string[]) =>
      newNotice({ alertIds: [id], eventSeq, targets });
    storeAlerts(
      source,
      [],
      [
        notice("alert-7", 1, []),
        notice("alert-6", 2, []),
        notice("alert-6", 3, ["ops (json)"]),
        notice("alert-4", null, []),
      ],
    );
    const { items } = await get("/v1/alerts");
    const accepted = (items as Body[]).map((each: Body) => [each.id, each.accepted]);
    expect(accepted.slice(0, 4)).toEqual([
      ["alert-7", false],
      ["alert-6", true],
      [null, null],
      ["alert-4", null],
    ]);
    expect((await get("/v1/alerts/alert-7")).accepted).toBe(false);
  });

  test("the alerts that fire or are pending come first, then those that are over, the latest first", async () => {
    fill();
    const body = await get("/v1/alerts");
    expect(idsOf(body)).toEqual([
      "alert-7",
      "alert-6",
      null,
      "alert-4",
      "alert-3",
      "alert-2",
      "alert-1",
    ]);
    expect(body.next).toBeNull();
    expect(body.items[0]).toEqual({
      id: "alert-7",
      rule: "office-down",
      kind: "down",
      severity: "critical",
      state: "firing",
      device: "wg0",
      peer: { publicKey: ALICE, name: "alice", tags: ["staff"] },
      target: null,
      sentence: "alice (wg0) is down for an hour",
      since: "2025-12-31T23:00:00.000Z",
      firedAt: "2025-12-31T23:02:00.000Z",
      resolvedAt: null,
      moment: false,
      sent: true,
      accepted: null,
      heldBack: null,
      dryRun: false,
    });
    expect(body.items[1]).toMatchObject({
      state: "firing",
      device: "wg1",
      peer: null,
      heldBack: {
        type: "silence",
        silence: "silence-1",
        comment: "maintenance",
        device: null,
        sentence: "silenced: maintenance",
      },
    });
    expect(body.items[2]).toMatchObject({ state: "pending", firedAt: null, sent: false });
    expect(body.items[3]).toMatchObject({ state: "resolved", moment: true, kind: "changed" });
  });

  test("all pages together are the whole list, whatever their size", async () => {
    fill();
    const all = idsOf(await get("/v1/alerts"));
    for (const limit of [1, 2, 3, 4, 6, 7]) {
      const found: (string | null)[] = [];
      let cursor = "";
      for (;;) {
        const body = await get(`/v1/alerts?limit=${limit}${cursor}`);
        expect(body.items.length).toBeLessThanOrEqual(limit);
        found.push(...idsOf(body));
        if (body.next === null) break;
        cursor = `&cursor=${body.next}`;
      }
      expect([limit, found]).toEqual([limit, all]);
    }
  });

  test.each([
    ["state=current", ["alert-7", "alert-6", null]],
    ["state=firing", ["alert-7", "alert-6"]],
    ["state=pending", [null]],
    ["state=resolved", ["alert-4", "alert-3", "alert-2", "alert-1"]],
    ["rule=changes", ["alert-4"]],
    ["rule=sites", ["alert-6"]],
    ["device=wg1", ["alert-6"]],
    [`peer=${urlKey(BOB)}`, [null, "alert-4"]],
    ["state=resolved&since=1970-01-01T00:00:03Z", ["alert-4", "alert-3"]],
    ["state=resolved&until=1970-01-01T00:00:03Z", ["alert-2", "alert-1"]],
    ["until=2020-01-01T00:00:00Z", ["alert-4", "alert-3", "alert-2", "alert-1"]],
    ["rule=none", []],
  ])("the filter %s selects the expected alerts", async (query, ids) => {
    fill();
    expect(idsOf(await get(`/v1/alerts?${query}`))).toEqual(ids);
  });

  test.each(["state=over", "limit=0", "cursor=e30", "cursor=WzFd&x=1", "since=now", "rule="])(
    "the query %s is refused",
    async (query) => {
      expect(await ask("GET", `/v1/alerts?${query}`)).toMatchObject({ status: 422 });
    },
  );

  test("a text is a cursor, or is not; parsing never fails", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const cursor = parseAlertCursor(Buffer.from(text).toString("base64url"));
        expect(["null", "current", "past"]).toContain(cursor?.type ?? "null");
      }),
    );
  });

  test("the status counts the alerts", async () => {
    fill();
    source.alerts.addSilence({
      matchers: [{ field: "peer", pattern: "nobody" }],
      endMs: 2e12,
      comment: "",
      createdBy: "",
    });
    expect((await get("/v1/status")).alerts).toEqual({
      firing: 1,
      heldBack: 1,
      pending: 1,
      silences: 1,
    });
  });
});

describe("GET /v1/alerts/{id}", () => {
  test("an alert is returned with its messages: to which targets they went, or what held them back", async () => {
    fill();
    const labels = ["ops (json)", "mail (exec)", "pager (json)"];
    source.targetStates = ["ops", "mail", "pager"].map((key, index) => ({
      key,
      label: labels[index]!,
      waiting: 1,
      isStopped: false,
      failures: 2,
      reason: "503",
    }));
    const [seq] = source.record([anEvent("peer.connected")], ["ops", "mail"]);
    source.store.outbox.deadLetter("mail", labels[1]!, [seq!], "410, gone", 5000);
    storeAlerts(
      source,
      [],
      [
        newNotice({ heldBack: { type: "times" } }),
        newNotice({
          eventSeq: seq!,
          targets: [...labels, "gone"],
          alertIds: ["alert-7", "alert-6"],
        }),
        newNotice({ type: "reminder", dryRun: true }),
        newNotice({ alertIds: ["alert-3"] }),
      ],
    );
    const body = await get("/v1/alerts/alert-7");
    expect(body).toMatchObject({ id: "alert-7", state: "firing" });
    expect(body.ruleText).toContain("severity critical");
    expect(body.notices).toMatchObject([
      {
        type: "firing",
        event: null,
        deliveries: [],
        heldBack: { type: "times", sentence: "outside the times of the rule" },
      },
      {
        alerts: ["alert-6", "alert-7"],
        event: seq,
        heldBack: null,
        deliveries: [
          { target: "ops (json)", state: "waiting", reason: "503" },
          { target: "mail (exec)", state: "dead-letter", reason: "410, gone" },
          { target: "pager (json)", state: "delivered", reason: null },
          { target: "gone", state: "unknown", reason: null },
        ],
      },
      { type: "reminder", dryRun: true, event: null },
    ]);
  });

  test("an alert that is over is returned from the store, and an unknown id is not found", async () => {
    fill();
    expect(await get("/v1/alerts/alert-3")).toMatchObject({ state: "resolved", notices: [] });
    for (const id of ["alert-99", "x", "alert-3x"]) {
      expect((await ask("GET", `/v1/alerts/${id}`)).status).toBe(404);
    }
    expect((await ask("GET", "/v1/alerts/a.b")).status).toBe(422);
  });
});

test("GET /v1/rules lists the rules", async () => {
  source.alerts.all = [ruleOf("down", "office", { targets: ["ops"], dryRun: true })];
  expect((await get("/v1/rules")).items).toEqual([
    { name: "office", kind: "down", severity: "critical", targets: ["ops"], dryRun: true },
  ]);
});

describe("silences", () => {
  test("a silence is added, listed and ended", async () => {
    const added = await ask("POST", "/v1/silences", {
      matchers: ["peer=branch-*", "severity=warning"],
      for: "2h",
      comment: "new router",
      createdBy: "alice",
    });
    const silence = {
      id: "silence-1",
      matchers: ["peer=branch-*", "severity=warning"],
      startsAt: "2026-01-01T00:00:00.000Z",
      endsAt: "2026-01-01T02:00:00.000Z",
      comment: "new router",
      createdBy: "alice",
    };
    expect(added).toMatchObject({ status: 201, body: silence });
    expect(await get("/v1/silences")).toEqual({ items: [silence] });
    source.clock.advance(60_000);
    const ended = await ask("DELETE", "/v1/silences/silence-1");
    expect(ended).toMatchObject({ status: 200, body: { endsAt: "2026-01-01T00:01:00.000Z" } });
    expect(await get("/v1/silences")).toEqual({ items: [] });
    expect((await ask("DELETE", "/v1/silences/silence-1")).status).toBe(404);
  });

  test("the end can be a time", async () => {
    const until = "2026-01-01T12:00:00+01:00";
    const added = await ask("POST", "/v1/silences", { matchers: ["rule=x"], until });
    expect(added.body).toMatchObject({ endsAt: "2026-01-01T11:00:00.000Z", createdBy: "API" });
  });

  const matchers = ["peer=x"];
  test.each<[unknown, string]>([
    [{ matchers, for: "2 hours" }, "for"],
    [{ matchers, for: "0s" }, "for"],
    [{ matchers, for: "400d" }, "for"],
    [{ matchers }, "for"],
    [{ matchers, for: "2h", until: "2026-02-01T00:00:00Z" }, "until"],
    [{ matchers, until: "2025-01-01T00:00:00Z" }, "until"],
    [{ matchers, until: "tomorrow" }, "until"],
    [{ matchers: [], for: "2h" }, "matchers"],
    [{ matchers: ["pear=x"], for: "2h" }, "matchers"],
    [{ matchers: ["peer="], for: "2h" }, "matchers"],
    [{ matchers: ["peer"], for: "2h" }, "matchers"],
    [{ matchers: "peer=x", for: "2h" }, "matchers"],
    [{ matchers: Array.from({ length: 11 }, () => "peer=x"), for: "2h" }, "matchers"],
    [{ matchers: ["peer=a\u001b[2J"], for: "2h" }, "matchers"],
    [{ matchers, for: "2h", comment: "a\nb" }, "comment"],
    [{ matchers, for: "2h", comment: "x".repeat(501) }, "comment"],
    [{ for: "2h" }, "matchers"],
    [{ matchers, for: "2h", coment: "x" }, "(body)"],
    ["[]", "(body)"],
    [undefined, "(body)"],
  ])("the body %j is refused, and the error names %s", async (body, parameter) => {
    const answer = await ask("POST", "/v1/silences", body);
    expect(answer.status).toBe(422);
    const named = answer.body.errors.map((each: { parameter: string }) => each.parameter);
    expect(named).toContain(parameter);
    expect(source.alerts.silences()).toEqual([]);
  });

  test("a body that is not JSON is refused", async () => {
    expect((await ask("POST", "/v1/silences", "{")).status).toBe(400);
  });

  test("errors do not repeat what was sent", async () => {
    await fc.assert(
      fc.asyncProperty(hostileText, async (text) => {
        const marked = `zqMARKqz${text}`;
        const answers = await Promise.all([
          ask("POST", "/v1/silences", { matchers: [marked], for: "2h" }),
          ask("POST", "/v1/silences", { matchers, for: marked }),
          ask("POST", "/v1/silences", { matchers, for: "2h", [marked]: 1 }),
        ]);
        for (const answer of answers) {
          expect(answer.status).toBe(422);
          expect(answer.text).not.toContain("zqMARKqz");
        }
      }),
      { numRuns: 50 },
    );
  });

  test("more silences than a maximum are refused", async () => {
    const endMs = source.clock.now().wallMs + 1000;
    for (let count = 0; count < 100; count++) {
      source.alerts.addSilence({ matchers: [], endMs, comment: "", createdBy: "" });
    }
    expect(await ask("POST", "/v1/silences", { matchers, for: "2h" })).toMatchObject({
      status: 422,
      body: { detail: "there are 100 silences already" },
    });
  });

  test("a program that only reads the store refuses to change silences", async () => {
    using reader = makeApi(source);
    const init = { method: "POST", body: JSON.stringify({ matchers, for: "2h" }) };
    const headers = { "content-type": "application/json" };
    const request = new Request("http://pi/v1/silences", { ...init, headers });
    expect((await reader.handle(request)).status).toBe(503);
  });
});
