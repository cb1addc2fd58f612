/** TrafficRecorder: the traffic of peers in slots of five minutes. */

import { expect, test } from "bun:test";

import type { PublicKey } from "../../src/base/wireguard.ts";
import type { Session } from "../../src/sessions/session.ts";
import type { GatewaySums } from "../../src/store/gateway-rows.ts";
import { TrafficRecorder } from "../../src/store/traffic-recorder.ts";
import type { TrafficSums as Row } from "../../src/store/traffic-rows.ts";
import { HandClock } from "../support/clock.ts";
import { ALICE, BOB, peer } from "../support/peers.ts";

const SLOT_MS = 300_000;

function session(rxBytes: number, fields: Partial<Session> = {}): Session {
  const now = new HandClock().now();
  return {
    device: "wg0",
    peer: peer(),
    startedAtMs: 1000,
    startedMonotonicMs: 0,
    endpoint: null,
    handshakeAt: now,
    lastActivity: now,
    rxBytes,
    txBytes: 0,
    roams: 0,
    ending: null,
    ...fields,
  };
}

function make(earlier: readonly Session[] = []) {
  const clock = new HandClock();
  const rows: { atMs: number; publicKey: string; rxBytes: number }[] = [];
  const add = (added: readonly Row[], atMs: number): void => {
    rows.push(...added.map(({ publicKey, rxBytes }) => ({ atMs, publicKey, rxBytes })));
  };
  const startMs = clock.now().wallMs;
  const totals: (GatewaySums & { atMs: number })[] = [];
  const store = {
    traffic: { add },
    totals: { add: (sums: GatewaySums, atMs: number) => void totals.push({ ...sums, atMs }) },
  };
  return { clock, rows, totals, startMs, traffic: new TrafficRecorder(store, clock, earlier) };
}

test("the growth of counters is written every minute, for the slot in which the minute began", () => {
  const { clock, rows, startMs, traffic } = make();
  clock.advance(59_999);
  expect(traffic.flushIfDue([session(500)])).toBe(false);
  expect(rows).toEqual([]);
  clock.advance(1);
  expect(traffic.flushIfDue([session(500)])).toBe(true);
  clock.advance(SLOT_MS - 60_000);
  traffic.flushIfDue([session(700)]);
  clock.advance(SLOT_MS);
  traffic.flushIfDue([session(700)]);
  expect(rows).toEqual([
    { atMs: startMs, publicKey: ALICE, rxBytes: 500 },
    { atMs: startMs + 60_000, publicKey: ALICE, rxBytes: 200 },
  ]);
});

test("the rest of a session is written at its end, and the next session begins at zero", () => {
  const { clock, rows, startMs, traffic } = make();
  clock.advance(SLOT_MS);
  traffic.flushIfDue([session(500)]);
  const atMs = startMs + SLOT_MS;
  traffic.ended({
    device: "wg0",
    peer: { publicKey: ALICE },
    session: { startedAtMs: 1000, rxBytes: 650, txBytes: 0 },
  });
  clock.advance(SLOT_MS);
  traffic.flushIfDue([session(90, { startedAtMs: 2000 })]);
  expect(rows.slice(1)).toEqual([
    { atMs, publicKey: ALICE, rxBytes: 150 },
    { atMs, publicKey: ALICE, rxBytes: 90 },
  ]);
});

test("only the growth since the previous run is written for restored sessions", () => {
  const { clock, rows, traffic } = make([session(5000)]);
  clock.advance(SLOT_MS);
  traffic.flushIfDue([session(5100), session(7, { peer: peer({ publicKey: BOB }) })]);
  expect(rows.map(({ rxBytes }) => rxBytes)).toEqual([100, 7]);
});

test("many sessions are written in several slices", () => {
  const { clock, rows, traffic } = make();
  clock.advance(SLOT_MS);
  const sessions = Array.from({ length: 450 }, (_, n) => session(1, { device: `wg${n}` }));
  traffic.flushIfDue(sessions);
  expect(rows).toHaveLength(100);
  clock.advance(0);
  expect(rows).toHaveLength(450);
});

test("flush writes everything at once, also the rest of a flush that had begun", () => {
  const { clock, rows, traffic } = make();
  const many = (rxBytes: number) =>
    Array.from({ length: 450 }, (_, n) =>
      session(rxBytes, { peer: peer({ publicKey: `peer ${n}` as PublicKey }) }),
    );
  clock.advance(SLOT_MS);
  traffic.flushIfDue(many(100));
  expect(rows).toHaveLength(100);
  traffic.flush(many(150));
  expect(rows).toHaveLength(900);
  expect(rows.reduce((sum, { rxBytes }) => sum + rxBytes, 0)).toBe(450 * 150);
  clock.advance(1000);
  expect(rows).toHaveLength(900);
});

test("the sums of a slot have the bytes of all peers, and the most peers that were connected at once", () => {
  const { clock, totals, startMs, traffic } = make();
  const others = [session(5, { peer: peer({ publicKey: BOB }), txBytes: 3 })];
  clock.advance(10_000);
  traffic.flushIfDue([session(500), ...others]);
  clock.advance(10_000);
  traffic.flushIfDue([session(500)]);
  clock.advance(SLOT_MS);
  traffic.flushIfDue([session(500)]);
  clock.advance(SLOT_MS);
  traffic.flushIfDue([]);
  clock.advance(SLOT_MS);
  traffic.flushIfDue([]);
  expect(totals).toEqual([
    { rxBytes: 500, txBytes: 0, connected: 2, atMs: startMs },
    { rxBytes: 0, txBytes: 0, connected: 1, atMs: startMs + SLOT_MS + 20_000 },
    { rxBytes: 0, txBytes: 0, connected: 0, atMs: startMs + 2 * SLOT_MS + 20_000 },
  ]);
});

test("no slot is written for the time in which the machine was suspended", () => {
  const { clock, totals, startMs, traffic } = make();
  clock.advance(SLOT_MS * 20);
  traffic.flushIfDue([session(500)]);
  clock.advance(SLOT_MS);
  traffic.flushIfDue([session(500)]);
  expect(totals.map(({ atMs }) => (atMs - startMs) / SLOT_MS)).toEqual([0, 20]);
});
