/** The HTTP API: its OpenAPI document, its answers, and that errors do not repeat submitted text. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { Validator } from "@seriousme/openapi-schema-validator";
import { FormatRegistry, type TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import fc from "fast-check";

import { urlKey } from "../../src/base/wireguard.ts";
import { type Api, makeApi } from "../../src/http/api.ts";
import { EVENT_COLUMNS, SESSION_COLUMNS } from "../../src/http/csv.ts";
import { ProblemSchema } from "../../src/http/problem.ts";
import { anEvent, hostileText } from "../support/events.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";

if (!FormatRegistry.Has("date-time")) {
  FormatRegistry.Set("date-time", (text) => !Number.isNaN(Date.parse(text)));
}

let source: FakeSource;
let api: Api;

beforeEach(async () => {
  source = await FakeSource.make();
  api = makeApi(source);
});

afterEach(() => {
  api[Symbol.dispose]();
  source.store[Symbol.dispose]();
});

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly text: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- any JSON
  readonly body: any;
}

async function ask(path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await api.handle(new Request(`http://pi${path}`, init));
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    text,
    body: JSON.parse(text) as unknown,
  };
}

async function get(path: string): Promise<Answer["body"]> {
  const answer = await ask(path);
  expect(answer).toMatchObject({ status: 200 });
  checkAnswer("GET", path, answer);
  return answer.body as unknown;
}

/** Checks that the answer matches the schema of its route. */
function checkAnswer(method: string, path: string, { status, body }: Answer): void {
  const schema = schemaOf(method, path.split("?")[0]!, status);
  expect(
    [...Value.Errors(schema, body)].map(({ path: at, message }) => `${at} ${message}`),
  ).toEqual([]);
}

function schemaOf(method: string, path: string, status: number): TSchema {
  const route = api.routes.find(
    (each) =>
      each.method === method &&
      new RegExp(`^${each.path.replaceAll(/:\w+/g, "[^/]+")}$`).test(path),
  )!;
  const { response } = route.hooks as { response: Record<number, TSchema> };
  return response[status]!;
}

/** Adds three peers: alice is connected, bob is disconnected, the third never connected. */
function addPeers(): void {
  const wg0 = device({ publicKey: keyOf(900) });
  const alice = peer({
    publicKey: ALICE,
    endpoint: "198.51.100.7:40001",
    lastHandshakeMs: source.clock.now().wallMs - 10_000,
    rxBytes: 5000,
    txBytes: 700,
  });
  const bob = peer({
    publicKey: BOB,
    endpoint: "[2001:db8::7]:40002",
    allowedIps: ["10.0.0.3/32", "2001:db8:1::/64"],
    lastHandshakeMs: source.clock.now().wallMs - 3_600_000,
    rxBytes: 100,
  });
  const third = peer({ publicKey: keyOf(3), endpoint: null, allowedIps: [] });
  source.found.set("wg0", { device: wg0, peers: [alice, bob, third] });
  source.found.set("wg1", { device: device({ name: "wg1", index: 4, listenPort: 0 }), peers: [] });
  source.names.set(ALICE, "alice");
  source.tags.set(ALICE, ["staff"]);
  source.endpointNames.set("198.51.100.7", "host.example.net");
  source.connect("wg0", alice, { rxBytes: 4000, txBytes: 500, roams: 1 });
  source.store.record(
    {
      events: [],
      sessions: [],
      ended: [
        {
          device: "wg0",
          publicKey: BOB,
          startedAtMs: 1000,
          endedAtMs: 61_000,
          durationMs: 60_000,
          reason: "idle",
          endpoint: "[2001:db8::7]:40002",
          rxBytes: 10,
          txBytes: 20,
          roams: 0,
          peer: bob,
        },
      ],
      devices: null,
    },
    0,
  );
}

test("requests for peers keep the counters up to date, other requests do not", async () => {
  source.found.set("wg0", { device: device(), peers: [peer({ publicKey: ALICE })] });
  const key = Buffer.from(ALICE, "base64").toString("base64url");
  for (const path of ["/v1/peers", `/v1/peers/wg0/${key}`]) {
    const before = source.requests;
    await get(path);
    expect([path, source.requests - before]).toEqual([path, 1]);
  }
  for (const path of ["/v1/status", "/v1/devices", "/v1/events", "/v1/sessions", "/v1/peers/past"])
    await get(path);
  const stream = await api.handle(new Request("http://pi/v1/stream"));
  await stream.body!.cancel();
  expect([source.requests, source.viewers]).toEqual([2, 0]);
});

describe("the OpenAPI document", () => {
  test("the OpenAPI document is valid OpenAPI 3.1 according to an independent validator", async () => {
    const { body, status } = await ask("/v1/openapi.json");
    expect(status).toBe(200);
    const validator = new Validator();
    const { valid, errors } = await validator.validate(body);
    expect({ valid, errors }).toEqual({ valid: true, errors: undefined });
    expect(validator.version).toBe("3.1");
  });

  test("the OpenAPI document has all routes, no $id of a schema, and only references that can be resolved", async () => {
    const { body, text } = await ask("/v1/openapi.json");
    const places = api.routes.map(({ path }) => path.replaceAll(/:(\w+)/g, "{$1}"));
    expect(Object.keys(body.paths as object).toSorted()).toEqual([...new Set(places)].toSorted());
    expect(text).not.toContain("$id");
    const references = [...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)];
    expect(references.length).toBeGreaterThan(10);
    for (const [, name] of references) expect(body.components.schemas).toHaveProperty(name!);
  });

  test("the OpenAPI document declares numeric query parameters as integers", async () => {
    const { body } = await ask("/v1/openapi.json");
    const { parameters } = body.paths["/v1/peers"].get;
    expect(parameters.find(({ name }: { name: string }) => name === "limit")).toEqual({
      name: "limit",
      in: "query",
      required: false,
      description: "maximum number of items",
      schema: { type: "integer", minimum: 1, maximum: 1000, default: 100 },
    });
  });
});

describe("the API", () => {
  test("the API returns status, devices and peers", async () => {
    addPeers();
    source.speeds.set(ALICE, { rxBytesPerSecond: 12_345, txBytesPerSecond: 6 });
    expect(await get("/v1/status")).toMatchObject({
      host: "gw1",
      devices: 2,
      peers: 3,
      connected: 1,
      store: { inMemory: true, problem: null },
    });
    expect((await get("/v1/devices")).items).toEqual([
      { name: "wg0", publicKey: keyOf(900), listenPort: 51820, peers: 3, connected: 1 },
      { name: "wg1", publicKey: null, listenPort: 0, peers: 0, connected: 0 },
    ]);
    const { items, total } = await get("/v1/peers");
    expect(total).toBe(3);
    expect(items[0]).toEqual({
      device: "wg0",
      publicKey: ALICE,
      name: "alice",
      tags: ["staff"],
      state: "connected",
      endpoint: "198.51.100.7:40001",
      endpointName: "host.example.net",
      allowedIps: ["10.0.0.2/32"],
      lastHandshakeAt: "2025-12-31T23:59:50.000Z",
      rxBytes: 5000,
      txBytes: 700,
      persistentKeepaliveSeconds: 0,
      session: {
        startedAt: "2026-01-01T00:00:00.000Z",
        lastSeenAt: "2026-01-01T00:00:00.000Z",
        rxBytes: 4000,
        txBytes: 500,
        rxBytesPerSecond: 12_345,
        txBytesPerSecond: 6,
        roams: 1,
      },
    });
    expect(items.map(({ state }: { state: string }) => state)).toEqual([
      "connected",
      "never",
      "disconnected",
    ]);
  });

  test.each([
    ["state=disconnected", [BOB]],
    ["device=wg1", []],
    ["search=ALI", [ALICE]],
    ["search=staff", [ALICE]],
    ["search=2001:db8:1", [BOB]],
    ["sort=rxBytes&order=desc", [ALICE, BOB, keyOf(3)]],
    ["sort=lastHandshakeAt", [BOB, ALICE, keyOf(3)]],
    ["sort=lastHandshakeAt&order=desc", [ALICE, BOB, keyOf(3)]],
    ["sort=startedAt&order=desc&limit=1", [ALICE]],
    ["sort=lastSeenAt&order=desc", [ALICE, BOB, keyOf(3)]],
    ["sort=rxBytesPerSecond", [ALICE, BOB, keyOf(3)]],
    ["sort=roams&limit=1", [ALICE]],
    ["limit=1&offset=1", [keyOf(3)]],
    ["offset=3", []],
  ])("the API returns the expected peers for %s", async (query, keys) => {
    addPeers();
    const { items } = await get(`/v1/peers?${query}`);
    expect(items.map(({ publicKey }: { publicKey: string }) => publicKey)).toEqual(keys);
  });

  test("the API returns one peer, by its key in base64url or base64", async () => {
    addPeers();
    const nowMs = source.clock.now().wallMs;
    source.store.traffic.add([{ device: "wg0", publicKey: BOB, rxBytes: 7, txBytes: 8 }], nowMs);
    source.store.traffic.add([{ device: "wg0", publicKey: BOB, rxBytes: 1, txBytes: 1 }], nowMs);
    source.store.traffic.add([{ device: "wg1", publicKey: BOB, rxBytes: 5, txBytes: 5 }], nowMs);
    source.store.traffic.add(
      [{ device: "wg0", publicKey: BOB, rxBytes: 9, txBytes: 0 }],
      nowMs - 24 * 3_600_000,
    );
    const url = BOB.replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
    for (const key of [url, encodeURIComponent(BOB)]) {
      const found = await get(`/v1/peers/wg0/${key}`);
      expect(found).toMatchObject({ publicKey: BOB, state: "disconnected" });
      expect(found.sessions).toEqual([
        expect.objectContaining({ durationMs: 60_000, reason: "idle", rxBytes: 10 }),
      ]);
      const { startAt, stepMs, rxBytes, txBytes } = found.traffic;
      expect({ startAt, stepMs }).toEqual({ startAt: "2025-12-31T00:00:00.000Z", stepMs: 300_000 });
      expect([rxBytes.length, rxBytes[0], rxBytes.at(-1), txBytes.at(-1)]).toEqual([289, 9, 8, 9]);
    }
    expect((await ask(`/v1/peers/wg1/${url}`)).status).toBe(404);
  });

  test("the API returns past peers page by page, also removed ones", async () => {
    const keys = [1, 2, 3, 4, 5].map((n) => keyOf(100 + n));
    for (const name of ["old", "new"]) {
      source.record(
        keys.map((publicKey, n) => ({
          ...anEvent("peer.connected", { peer: peer({ publicKey }), name: n === 0 ? null : name }),
          id: `evt_${name}${n}`,
        })),
      );
    }
    source.record([anEvent("handshake.unknown"), anEvent("device.added")]);
    const found: unknown[] = [];
    for (let cursor = ""; ;) {
      const { items, next } = await get(`/v1/peers/past?limit=2${cursor}`);
      expect(items.length).toBeLessThanOrEqual(2);
      found.push(...items);
      if (next === null) break;
      cursor = `&cursor=${next}`;
    }
    const names = keys.map((publicKey, n) => ({ publicKey, name: n === 0 ? null : "new" }));
    expect(found).toEqual(names.toSorted((a, b) => (a.publicKey < b.publicKey ? -1 : 1)));
    expect((await ask("/v1/peers/past?cursor=12")).status).toBe(422);
  });

  test("the API returns an empty list for a filter that matches nothing", async () => {
    addPeers();
    const key = keyOf(99).replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
    for (const path of [
      `/v1/events?peer=${key}`,
      `/v1/sessions?peer=${key}`,
      "/v1/sessions?device=wg7",
      "/v1/peers?device=wg7",
      "/v1/peers?search=nobody",
    ]) {
      expect([path, (await get(path)).items]).toEqual([path, []]);
    }
  });

  test("the API returns sessions page by page", async () => {
    addPeers();
    const ended = Array.from({ length: 25 }, (_, n) => ({
      device: "wg0",
      publicKey: keyOf(n % 3),
      // Several begin at the same time.
      startedAtMs: 2000 + Math.floor(n / 6),
      endedAtMs: 9000 + n,
      durationMs: 5000,
      reason: "idle" as const,
      endpoint: null,
      rxBytes: n,
      txBytes: 0,
      roams: 0,
      peer: peer(),
    }));
    // A peer has at most one session with the same start time.
    const unique = new Map(ended.map((each) => [`${each.publicKey}${each.startedAtMs}`, each]));
    source.store.record(
      { events: [], sessions: [], ended: [...unique.values()], devices: null },
      0,
    );
    const all = (await get("/v1/sessions")).items;
    expect(all).toHaveLength(unique.size + 2);
    expect(all[0]).toMatchObject({ publicKey: ALICE, endedAt: null, reason: null, rxBytes: 4000 });
    const paged: unknown[] = [];
    for (let cursor = ""; ;) {
      const page = await get(`/v1/sessions?limit=4${cursor}`);
      paged.push(...page.items);
      if (page.next === null) break;
      cursor = `&cursor=${page.next}`;
    }
    expect(paged).toEqual(all);
    expect((await get("/v1/sessions?state=open")).items).toHaveLength(1);
    expect((await get(`/v1/sessions?peer=${encodeURIComponent(BOB)}`)).items).toHaveLength(1);
    expect((await get("/v1/sessions?since=1970-01-01T00:00:30Z&state=ended")).items).toHaveLength(
      1,
    );
  });

  test("the API returns events page by page, in both directions", async () => {
    const types = ["peer.connected", "peer.roamed", "peer.disconnected"] as const;
    source.record(
      Array.from({ length: 10 }, (_, n) => ({
        ...anEvent(types[n % 3]!, { peer: peer({ publicKey: keyOf(n % 2) }) }),
        id: `evt_${n.toString(16).padStart(32, "0")}`,
      })),
    );
    const seqs = async (query: string): Promise<number[]> => {
      const found: number[] = [];
      for (let cursor = ""; ;) {
        const page = await get(`/v1/events?${query}${cursor}`);
        expect(page.latest).toBe(10);
        found.push(...page.items.map(({ seq }: { seq: number }) => seq));
        if (page.next === null) return found;
        cursor = `&cursor=${page.next}`;
      }
    };
    expect(await seqs("limit=3")).toEqual([10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect(await seqs("limit=3&order=oldest")).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(await seqs("type=peer.roamed&limit=2")).toEqual([8, 5, 2]);
    expect(await seqs(`peer=${encodeURIComponent(keyOf(1))}`)).toEqual([10, 8, 6, 4, 2]);
    expect(await seqs("since=2026-11-22T16:19:04.417Z")).toHaveLength(10);
    expect(await seqs("since=2026-11-22T16:19:04.418Z")).toEqual([]);
  });

  test("the API returns targets, and the events that wait for them", async () => {
    const [seq] = source.record([anEvent("peer.connected")], ["ops", "old"]);
    source.record([{ ...anEvent("peer.roamed"), id: `evt_${"9".repeat(32)}` }], ["ops"]);
    source.store.outbox.deadLetter(
      "ops",
      "ops (json)",
      [seq!],
      "410, gone",
      source.clock.now().wallMs,
    );
    source.store.outbox.saveTarget("ops", "ops (json)", {
      failures: 2,
      retries: 2,
      nextAtMs: source.clock.now().wallMs + 5000,
      reason: "503",
    });
    source.targetStates = [
      {
        key: "ops",
        label: "ops (json)",
        waiting: 1,
        isStopped: false,
        failures: 2,
        reason: "503",
      },
      {
        key: "hub",
        label: "hub https://hub.example.net",
        waiting: 0,
        isStopped: false,
        failures: 1,
        reason: "502",
        hub: {
          epoch: "01234567",
          last: 7,
          sent: 7,
          confirmed: 5,
          oldestAtMs: null,
          unconfirmedAtMs: 60_000,
          clockOffsetMs: 1500,
          nextAtMs: 120_000,
        },
      },
    ];
    const { items } = await get("/v1/targets");
    expect(items).toEqual([
      {
        key: "ops",
        label: "ops (json)",
        state: "failing",
        waiting: 1,
        oldestAt: "1970-01-01T00:00:00.000Z",
        failures: 2,
        reason: "503",
        nextAttemptAt: "2026-01-01T00:00:05.000Z",
        dead: 1,
        hub: null,
      },
      {
        key: "hub",
        label: "hub https://hub.example.net",
        state: "failing",
        waiting: 0,
        oldestAt: null,
        failures: 1,
        reason: "502",
        nextAttemptAt: "1970-01-01T00:02:00.000Z",
        dead: 0,
        hub: {
          epoch: "01234567",
          last: 7,
          sent: 7,
          confirmed: 5,
          unconfirmedSince: "1970-01-01T00:01:00.000Z",
          clockOffsetMs: 1500,
        },
      },
      expect.objectContaining({ key: "old", state: "gone", waiting: 1, dead: 0 }),
    ]);
    expect((await get("/v1/targets/ops/outbox")).items).toEqual([
      expect.objectContaining({ state: "waiting", seq: 2, reason: null }),
    ]);
    expect((await get("/v1/targets/ops/outbox?state=dead-letter")).items).toEqual([
      expect.objectContaining({ state: "dead-letter", seq: 1, reason: "410, gone" }),
    ]);
    expect((await ask("/v1/targets/nobody/outbox")).status).toBe(404);
  });

  test("a target whose attempts failed is ok again after its waiting events and dead letters were deleted", async () => {
    source.targetStates = [
      {
        key: "ops",
        label: "ops (json)",
        waiting: 0,
        isStopped: false,
        failures: 2,
        reason: "503",
      },
    ];
    const { items } = await get("/v1/targets");
    expect(items).toEqual([expect.objectContaining({ state: "ok", failures: 2, reason: "503" })]);
  });

  test("the API takes one scan for concurrent requests, and refuses the next one for a second", async () => {
    const both = await Promise.all([1, 2].map(() => ask("/v1/scan", { method: "POST" })));
    for (const answer of both) {
      checkAnswer("POST", "/v1/scan", answer);
      expect(answer).toMatchObject({ status: 200, body: { tookMs: 1.5, problems: [] } });
    }
    expect(source.scans).toBe(1);
    expect((await ask("/v1/scan", { method: "POST" })).status).toBe(429);
    source.clock.advance(1000);
    expect((await ask("/v1/scan", { method: "POST" })).status).toBe(200);
  });
});

describe("the history", () => {
  const HOUR_MS = 3_600_000;

  test("the history of a peer's traffic covers the range, also for a removed peer", async () => {
    const { wallMs } = source.clock.now();
    for (const hours of [0.5, 30, 100]) {
      const traffic = [{ device: "wg0", publicKey: BOB, rxBytes: 10, txBytes: 1 }];
      source.store.traffic.add(traffic, wallMs - hours * HOUR_MS);
    }
    const sums: unknown[] = [];
    for (const range of ["1h", "24h", "7d", "30d"]) {
      const { rxBytes, stepMs } = await get(`/v1/peers/wg0/${urlKey(BOB)}/traffic?range=${range}`);
      const sum = rxBytes.reduce((total: number, bytes: number) => total + bytes, 0);
      sums.push([range, rxBytes.length, stepMs / 60_000, sum]);
    }
    expect(sums).toEqual([
      ["1h", 13, 5, 10],
      ["24h", 289, 5, 10],
      ["7d", 169, 60, 30],
      ["30d", 121, 360, 30],
    ]);
  });

  test("the history of the gateway has null where wgmon did not run", async () => {
    const { wallMs } = source.clock.now();
    source.store.totals.add({ rxBytes: 5, txBytes: 6, connected: 2 }, wallMs - 2 * HOUR_MS);
    source.store.totals.add({ rxBytes: 0, txBytes: 0, connected: 1 }, wallMs - HOUR_MS);
    const day = await get("/v1/traffic?range=24h");
    expect(day.connected.filter((each: number | null) => each !== null)).toEqual([2, 1]);
    expect(day.rxBytes.filter((each: number | null) => each !== null)).toEqual([5, 0]);
    const month = await get("/v1/traffic?range=30d");
    expect(Math.max(...month.connected)).toBe(2);
    expect(month.stepMs).toBe(6 * HOUR_MS);
  });

  test("the history names the peers with the most traffic", async () => {
    addPeers();
    const { wallMs } = source.clock.now();
    source.store.traffic.add([{ device: "wg0", publicKey: BOB, rxBytes: 9, txBytes: 9 }], wallMs);
    source.store.traffic.add([{ device: "wg0", publicKey: ALICE, rxBytes: 1, txBytes: 1 }], wallMs);
    const { items } = await get("/v1/traffic/top?limit=1");
    expect(items).toEqual([{ device: "wg0", publicKey: BOB, name: null, rxBytes: 9, txBytes: 9 }]);
    const all = await get(`/v1/traffic/top?since=${new Date(wallMs - HOUR_MS).toISOString()}`);
    expect(all.items.map(({ name }: { name: string | null }) => name)).toEqual([null, "alice"]);
  });
});

describe("a download", () => {
  async function download(path: string) {
    const response = await api.handle(new Request(`http://pi${path}`));
    return { response, text: await response.text() };
  }

  test("a download has all sessions of the filter, in slices, as CSV and as JSON", async () => {
    const ended = Array.from({ length: 450 }, (_, n) => ({
      device: n % 2 === 0 ? "wg0" : "wg1",
      publicKey: keyOf(n % 7),
      startedAtMs: n * 1000,
      endedAtMs: n * 1000 + 500,
      durationMs: 500,
      reason: "idle" as const,
      endpoint: null,
      rxBytes: n,
      txBytes: 0,
      roams: 0,
      peer: { lastHandshakeMs: null, rxBytes: 0, txBytes: 0 },
    }));
    source.store.record({ events: [], sessions: [], ended, devices: null }, 0);
    const { items } = await get("/v1/sessions?limit=1000&device=wg0");
    expect(items).toHaveLength(225);
    const json = await download("/v1/sessions/download?format=json&device=wg0");
    expect(json.response.headers.get("content-disposition")).toBe(
      'attachment; filename="wgmon-sessions.json"',
    );
    expect(JSON.parse(json.text)).toEqual(items);
    const csv = await download("/v1/sessions/download?format=csv&device=wg0");
    expect(csv.response.headers.get("content-type")).toStartWith("text/csv");
    const lines = csv.text.split("\r\n");
    expect(lines).toHaveLength(225 + 2);
    expect(lines[0]).toBe(SESSION_COLUMNS.join(","));
    expect(lines[1]).toStartWith(`wg0,${items[0].publicKey},,1970-01-01T00:07:28.000Z,`);
    const filter = "since=1970-01-01T00:01:40Z&until=1970-01-01T00:01:50Z";
    const part = await download(`/v1/sessions/download?format=json&${filter}`);
    expect(JSON.parse(part.text)).toHaveLength(10);
  });

  test("a download without a match is an empty list", async () => {
    expect((await download("/v1/sessions/download?format=json")).text).toBe("[\n]\n");
    expect((await download("/v1/events/download?format=csv")).text).toBe(
      `${EVENT_COLUMNS.join(",")}\r\n`,
    );
  });

  test("a download of events has the filtered events, and no name in it is a formula", async () => {
    const names = [`=cmd|'/C calc'!A1`, "+1", "\u202e@x", '-2,"3"\n='];
    const events = [
      ...names.map((name) => anEvent("peer.connected", { name })),
      anEvent("device.added"),
    ].map((event, n) => ({ event: { ...event, id: `evt_${n}` }, targets: [] }));
    source.store.record({ events, sessions: [], ended: [], devices: null }, 0);
    const { text } = await download("/v1/events/download?format=csv&type=peer.connected");
    expect(text.split("\r\n")).toHaveLength(4 + 2);
    expect(text).not.toMatch(/(^|,)"?[=+\-@]/m);
    const json = await download("/v1/events/download?format=json&order=oldest");
    expect(JSON.parse(json.text).map(({ seq }: { seq: number }) => seq)).toEqual([1, 2, 3, 4, 5]);
    expect((await get("/v1/events?device=wg9")).items).toEqual([]);
  });

  test("a download frees its slot when the client leaves", async () => {
    for (let n = 0; n < 10; n++) {
      const response = await api.handle(new Request("http://pi/v1/events/download?format=json"));
      expect(response.status).toBe(200);
      await response.body!.cancel();
    }
  });

  test("a fifth download is refused, and does not end the others", async () => {
    const open = () => api.handle(new Request("http://pi/v1/events/download?format=json"));
    const readers = [];
    for (let n = 0; n < 4; n++) readers.push((await open()).body!.getReader());
    for (const reader of readers) await reader.read();
    const refused = await open();
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "10"]);
    for (const reader of readers) expect((await reader.read()).done).toBe(false);
    await readers[0]!.cancel();
    expect((await open()).status).toBe(200);
  });

  test("a download is refused without a format", async () => {
    const { status, body } = await ask("/v1/events/download");
    expect([status, body.errors[0].parameter]).toEqual([422, "format"]);
  });
});

describe("the refusals of the API", () => {
  test.each([
    ["/v1/peers?limit=0", "limit"],
    ["/v1/peers?offset=1&limit=1001", "limit"],
    ["/v1/peers?limit=x", "limit"],
    ["/v1/peers?offset=-1", "offset"],
    ["/v1/peers?sort=size", "sort"],
    ["/v1/peers?limt=3", "(unknown)"],
    ["/v1/peers?device=", "device"],
    ["/v1/events?since=yesterday", "since"],
    ["/v1/events?type=peer.renamed", "type"],
    ["/v1/events?peer=alice", "peer"],
    ["/v1/stream?after=x", "after"],
    ["/v1/peers/wg0/short", "publicKey"],
  ])("the API refuses %s, and names the parameter", async (path, parameter) => {
    const answer = await ask(path);
    expect(answer).toMatchObject({ status: 422, type: "application/problem+json" });
    checkAnswer("GET", path, answer);
    expect(answer.body.errors[0].parameter).toBe(parameter);
    expect(answer.body.errors[0].detail).not.toBe("");
  });

  test("the API refuses invalid cursors", async () => {
    for (const cursor of ["zzz", "W10", Buffer.from('[1,"wg0",{}]').toString("base64url")]) {
      expect((await ask(`/v1/sessions?cursor=${cursor}`)).status).toBe(422);
    }
    expect((await ask("/v1/events?cursor=zzz")).status).toBe(422);
  });

  test("the API refuses other methods and paths", async () => {
    const post = await api.handle(new Request("http://pi/v1/peers", { method: "POST" }));
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET"]);
    const got = await api.handle(new Request("http://pi/v1/scan"));
    expect([got.status, got.headers.get("allow")]).toEqual([405, "POST"]);
    expect((await ask("/v1/nothing")).status).toBe(404);
  });

  test("the API refuses hostile requests with a valid problem that does not repeat submitted text", async () => {
    addPeers();
    const paths = [
      ...new Set(api.routes.map(({ path }) => path).filter((path) => !path.endsWith("/stream"))),
    ];
    const names = [
      "limit",
      "sort",
      "since",
      "peer",
      "cursor",
      "offset",
      "state",
      "device",
      "order",
    ];
    const marker = "SECRET";
    const hostile = fc.oneof(
      hostileText.map((text) => `${marker}${text.slice(0, 300)}${marker}`),
      fc.constantFrom(marker, `${marker}%`, `${marker}\0`, `../${marker}`, `<${marker}>`),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...paths),
        fc.array(fc.tuple(fc.oneof(fc.constantFrom(...names), hostile), hostile), { maxLength: 4 }),
        hostile,
        fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"),
        async (path, query, part, method) => {
          const filledPath = path.replaceAll(/:\w+/g, () =>
            encodeURIComponent(part.toWellFormed()),
          );
          const search = query
            .map((pair) => pair.map((text) => encodeURIComponent(text.toWellFormed())).join("="))
            .join("&");
          const init = method === "POST" ? { method, body: part } : { method };
          const answer = await api.handle(new Request(`http://pi${filledPath}?${search}`, init));
          const text = await answer.text();
          expect(answer.status).toBeLessThan(500);
          if (answer.status >= 400) {
            expect(text).not.toContain(marker);
            expect(Value.Check(ProblemSchema, JSON.parse(text))).toBe(true);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
