/**
 * Fuzzes the HTTP API on a real socket, guided by its OpenAPI document: each answer matches the document,
 * is fast, and contains neither submitted text nor a secret. A longer run:
 *
 *   WGMON_TEST_FUZZ_RUNS=100000 bun test test/http/fuzz.test.ts
 *
 * A failure shows its seed, which can be set with WGMON_TEST_FUZZ_SEED.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ruleOf } from "../../src/alerts/rule.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { Device, Peer } from "../../src/base/wireguard.ts";
import { HttpServer } from "../../src/http/server.ts";
import { loadPage } from "../../src/page/load-page.ts";
import { type Document, type Fuzz, fuzzBytes, fuzzRequests } from "../support/api-fuzz.ts";
import { hostileEvent, hostileText } from "../support/events.ts";
import { device, peer } from "../support/peers.ts";
import { FakeSource, keyOf } from "../support/source.ts";
import { alertRecord, alertView, newNotice, storeAlerts } from "../support/stored-alerts.ts";

const RUNS = Number(process.env["WGMON_TEST_FUZZ_RUNS"] ?? 2000);
const SEED = Number(process.env["WGMON_TEST_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const TIMEOUT_MS = 60_000 + RUNS * 20;

const SECRET = "sEcReTsEcReT";
const TOKEN = `${SECRET}-of-the-listener`;
const PEERS = 40;
const EVENTS = 120;

let source: FakeSource;
const servers: HttpServer[] = [];
/** Warnings and errors of the server; each is a bug. */
const lines: string[] = [];

beforeAll(async () => {
  source = await FakeSource.make();
  fill(source);
});

afterAll(async () => {
  for (const server of servers) await server.stop();
  source.store[Symbol.dispose]();
});

/** Adds secret fields, which must not be shown. */
function withSecrets<Value extends Device | Peer>(value: Value): Value {
  return { ...value, privateKey: SECRET, presharedKey: SECRET };
}

function fill({ found, names, tags, store, counters, clock }: FakeSource): void {
  const texts = fc.sample(hostileText, { seed: SEED, numRuns: PEERS });
  const peers = texts.map((name, n) => {
    const each = peer({
      publicKey: keyOf(n),
      endpoint: n % 3 === 0 ? null : n % 3 === 1 ? "[2001:db8::7]:4000" : `192.0.2.${n}:4000`,
      lastHandshakeMs: n % 4 === 0 ? null : clock.now().wallMs - n * 1000,
      rxBytes: n * 1e13,
    });
    names.set(each.publicKey, name);
    tags.set(each.publicKey, [name, "staff"]);
    return withSecrets(each);
  });
  found.set("wg0", { device: withSecrets(device({ publicKey: keyOf(999) })), peers });
  found.set("wg1", { device: device({ name: "wg1", index: 9 }), peers: peers.slice(0, 3) });
  for (const each of peers.slice(0, 20)) source.connect("wg0", each);
  const events = fc
    .sample(hostileEvent, { seed: SEED, numRuns: EVENTS })
    .map((event, n) => ({ ...event, id: `evt_${n.toString(16).padStart(32, "0")}` }));
  const seqs = source.record(events, ["ops", "gone"]);
  store.outbox.deadLetter("ops", "ops (json)", seqs.slice(0, 50), "410, gone", clock.now().wallMs);
  const ended = peers.map((each, n) => ({
    device: "wg0",
    publicKey: each.publicKey,
    startedAtMs: n * 1000,
    endedAtMs: n * 1000 + 500,
    durationMs: 500,
    reason: "idle" as const,
    endpoint: null,
    rxBytes: n,
    txBytes: 0,
    roams: 0,
    peer: each,
  }));
  store.record({ events: [], sessions: [], ended, devices: null }, 0);
  source.targetStates = [
    { key: "ops", label: "ops (json)", waiting: 70, isStopped: false, failures: 3, reason: "503" },
  ];
  counters.events.add(["peer.connected"]);
  const alerts = texts.map((text, n) => ({ id: `alert-${n}`, sentence: text, peerName: text }));
  const notices = alerts.map(({ id, sentence }, n) =>
    newNotice({
      alertIds: [id],
      sentence,
      eventSeq: n % 2 === 0 ? seqs[n]! : null,
      targets: ["ops"],
    }),
  );
  storeAlerts(source, alerts.map(alertRecord), notices);
  source.alerts.firing = alerts
    .slice(0, 9)
    .map(({ id, sentence }) =>
      alertView({ id, sentence, peer: { name: sentence, tags: [sentence] } }),
    );
  source.alerts.all = texts.slice(0, 5).map((name) => ruleOf("down", name));
}

async function start(tokens: readonly string[]): Promise<number> {
  const server = await HttpServer.start({
    loadPage,
    source,
    alertActions: source.alerts,
    settings: () => ({
      listen: { address: "127.0.0.1", port: 0 },
      listenTokens: tokens,
      listenTls: null,
      metrics: ["mdlayher", "mindflavor"],
    }),
    runtimeDir: null,
    log: {
      debug() {},
      info() {},
      // Wrong tokens are part of the test.
      warn: (text, fields) => {
        if (!text.startsWith("wrong token")) lines.push(`${text} ${JSON.stringify(fields)}`);
      },
      error: (text, fields) => void lines.push(`${text} ${JSON.stringify(fields)}`),
    },
    clock: systemClock,
  });
  servers.push(server);
  return Number(server.url!.port);
}

async function fuzzOf(tokens: readonly string[], runs: number): Promise<Fuzz> {
  const port = await start(tokens);
  const plain = tokens.length === 0 ? port : await start([]);
  const document = await (await fetch(`http://127.0.0.1:${plain}/v1/openapi.json`)).json();
  return {
    place: { hostname: "127.0.0.1", port },
    document: document as Document,
    known: {
      device: ["wg0", "wg1"],
      publicKey: [keyOf(1), keyOf(30)],
      peer: [keyOf(1), keyOf(2), keyOf(31)],
      key: ["ops", "gone"],
      search: ["staff", "192.0.2"],
      cursor: ["5", "70"],
      id: ["alert-1", "alert-7", "silence-1", "silence-2"],
      rule: ["office-down"],
      "/v1/silences": [
        '{"matchers":["peer=branch-*"],"for":"2h","comment":"ü"}',
        '{"matchers":["rule=x","device=wg0"],"until":"2026-01-03T00:00:00Z","createdBy":"root"}',
      ],
      "Last-Event-ID": ["0", "100", String(EVENTS)],
    },
    secrets: [SECRET],
    isLocked: tokens.length > 0,
    runs,
    seed: SEED,
    // Advances the time, because a scan is allowed once a second.
    before: () => source.clock.advance(300),
  };
}

describe(`the API with seed ${SEED}`, () => {
  test(
    "the API answers any request as its document says",
    async () => {
      const statuses = await fuzzRequests(await fuzzOf([], RUNS));
      if (RUNS > 2000) console.log(Object.fromEntries(statuses));
      expect(lines).toEqual([]);
      expect(statuses.has(401)).toBe(false);
      // Otherwise the requests were not varied enough.
      for (const status of [200, 404, 405, 422]) {
        expect([status, (statuses.get(status) ?? 0) > RUNS / 100]).toEqual([status, true]);
      }
    },
    TIMEOUT_MS,
  );

  test(
    "the API refuses any request without the token",
    async () => {
      const fuzz = await fuzzOf([TOKEN], Math.ceil(RUNS / 10));
      const statuses = await fuzzRequests(fuzz);
      expect(lines).toEqual([]);
      expect(statuses.get(401)).toBeGreaterThan(RUNS / 30);
    },
    TIMEOUT_MS,
  );

  test(
    "the API is not blocked by bytes that are not a request or by incomplete requests",
    async () => {
      const fuzz = await fuzzOf([], Math.ceil(RUNS / 4));
      expect(await fuzzBytes(fuzz)).toBeGreaterThan(RUNS / 40);
      expect(lines).toEqual([]);
      const url = `http://127.0.0.1:${servers[0]!.url!.port}`;
      expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok\n");
    },
    TIMEOUT_MS,
  );
});
