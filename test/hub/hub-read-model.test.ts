/** What the API and the page read on a hub: the state that the gateways reported, and names of the hub's settings. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import type { PublicKey } from "../../src/base/wireguard.ts";
import type { Settings } from "../../src/config/config.ts";
import type { PeerReport, StateMessage } from "../../src/fleet/messages.ts";
import { findPeers, matchPeers } from "../../src/http/peer-query.ts";
import { FleetState } from "../../src/hub/fleet-state.ts";
import { HubReadModel } from "../../src/hub/hub-read-model.ts";
import { RateTracker } from "../../src/stats/rates.ts";
import { ALICE, BOB } from "../support/peers.ts";
import { run } from "../support/settings.ts";
import { FakeSource } from "../support/source.ts";

const ALL = {
  device: null,
  state: null,
  search: null,
  sort: "name" as const,
  isDescending: false,
};

let fake: FakeSource;
let fleet: FleetState;
let source: HubReadModel;
let settings: Settings;

beforeEach(async () => {
  fake = await FakeSource.make();
  fake.clock.advance(3_600_000);
  fleet = new FleetState();
  settings = { ...run([]).settings, host: "hub" };
  source = new HubReadModel("1.4.0", {
    clock: fake.clock,
    clockSteps: { startedAtMs: 0, read() {} },
    store: fake.store,
    metrics: fake.counters,
    alerts: fake.alerts,
    rates: new RateTracker(),
    fleet,
    outbox: { states: [] },
    endpointNames: { nameOf: () => null },
    reporter: { subscribe: () => () => {} },
    settings: () => settings,
  });
  fleet.add("berlin", null, fake.clock.now());
});

afterEach(() => fake.store[Symbol.dispose]());

function peerOf(publicKey: PublicKey, name: string | null, isConnected: boolean): PeerReport {
  const nowMs = fake.clock.now().wallMs;
  const session = { lastActivityMs: nowMs, rxBytes: 1, txBytes: 2, roams: 0 };
  return {
    device: "wg0",
    publicKey,
    name,
    tags: ["staff"],
    allowedIps: ["10.0.0.2/32"],
    endpoint: "198.51.100.7:40001",
    lastHandshakeMs: nowMs - 1000,
    rxBytes: 10,
    txBytes: 20,
    persistentKeepaliveSeconds: 0,
    session: isConnected ? { startedAtMs: nowMs - 60_000, ...session } : null,
  };
}

let order = 0;

function report(peers: readonly PeerReport[]): void {
  const now = fake.clock.now();
  const message: StateMessage = {
    version: 1,
    epoch: "0a1b2c3d",
    first: 1,
    last: 7,
    host: "berlin",
    program: "1.4.0",
    startedAtMs: now.wallMs - 60_000 - order,
    nowMs: now.wallMs,
    order: 1,
    isStopping: false,
    isComplete: true,
    hasMore: false,
    devices: [{ name: "wg0", listenPort: 51820, publicKey: null, problem: null }],
    peers: [...peers],
    removed: [],
  };
  order++;
  fleet.applyState("berlin", message, now);
  fleet.setCondition("berlin", "up", now.wallMs);
}

const found = () =>
  findPeers(source, ALL).map(({ device, name, state }) => `${name} (${device}): ${state}`);

test("the peers are those that the gateway reported last", () => {
  expect(found()).toEqual([]);
  report([peerOf(ALICE, "alice", true), peerOf(BOB, "bob", false)]);
  expect(found()).toEqual(["alice (berlin/wg0): connected", "bob (berlin/wg0): disconnected"]);
  expect(source.counts("berlin/wg0")).toEqual({ peers: 2, connected: 1 });
  report([peerOf(ALICE, "alicia", false), peerOf(BOB, "bob", true)]);
  expect(found()).toEqual(["alicia (berlin/wg0): disconnected", "bob (berlin/wg0): connected"]);
});

test("a gateway is behind since it reported an event that the hub still lacks", () => {
  const behindSinceMs = () => fleet.gateways()[0]!.behindSinceMs;
  fleet.setProgress("berlin", "0a1b2c3d", 7);
  report([]);
  expect(behindSinceMs()).toBeNull();
  fleet.setProgress("berlin", "0a1b2c3e", 5);
  const startMs = fake.clock.now().wallMs;
  report([]);
  fake.clock.advance(15_000);
  report([]);
  expect(behindSinceMs()).toBe(startMs);
  fleet.setProgress("berlin", "0a1b2c3e", 7);
  expect(behindSinceMs()).toBeNull();
});

test("a list of peers is kept until the gateway reports", () => {
  report([peerOf(ALICE, "alice", true)]);
  const [first] = findPeers(source, ALL);
  expect(findPeers(source, ALL)[0]).toBe(first!);
  report([peerOf(ALICE, "alice", true)]);
  expect(findPeers(source, ALL)[0]).not.toBe(first!);
});

test("the peers of a gateway that is lost are unknown, and known again when it is back", () => {
  report([peerOf(ALICE, "alice", true), peerOf(BOB, "bob", false)]);
  fleet.setCondition("berlin", "lost", fake.clock.now().wallMs);
  expect(found()).toEqual(["alice (berlin/wg0): unknown", "bob (berlin/wg0): unknown"]);
  expect(source.session("berlin/wg0", ALICE)).toBeNull();
  expect(source.counts("berlin/wg0")).toEqual({ peers: 2, connected: 0 });
  fleet.setCondition("berlin", "up", fake.clock.now().wallMs);
  expect(found()[0]).toBe("alice (berlin/wg0): connected");
});

test("the settings of the hub name peers that have no name on their gateway, and add tags", () => {
  report([peerOf(ALICE, null, true), peerOf(BOB, "bob", true)]);
  expect(found()[0]).toBe("bob (berlin/wg0): connected");
  const named = { name: "alice", tags: ["vip", "staff"], mute: false, idleTimeoutMs: null };
  settings = { ...settings, peers: new Map([[ALICE, named]]) as unknown as Settings["peers"] };
  expect(found()[0]).toBe("alice (berlin/wg0): connected");
  expect(source.tagsOf(ALICE, "berlin/wg0")).toEqual(["staff", "vip"]);
  expect(source.tagsOf(BOB, "berlin/wg0")).toEqual(["staff"]);
});

test("a part of the matches is the same as that part of the sorted list", async () => {
  const { keyOf } = await import("../support/source.ts");
  const peers = Array.from({ length: 300 }, (_, n) =>
    peerOf(keyOf(n + 1), n % 7 === 0 ? null : `peer ${(n * 37) % 100}`, n % 3 === 0),
  );
  report(peers);
  for (const sort of ["name", "state", "startedAt", "rxBytesPerSecond"] as const) {
    for (const isDescending of [false, true]) {
      const query = { ...ALL, sort, isDescending };
      const matches = matchPeers(source, query);
      expect(matches.length).toBe(300);
      expect(matches.slice(20, 45)).toEqual(findPeers(source, query).slice(20, 45));
    }
  }
});

test("a hub does not scan, and says which gateways do not report", async () => {
  expect(await source.scan()).toEqual({ tookMs: 0, problems: ["gateway berlin: waiting"] });
  expect(source.wakeUp()).toBeNull();
});
