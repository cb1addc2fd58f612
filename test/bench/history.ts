/**
 * Measures queries of a store with a long history: a million events and a million sessions of a thousand peers in 90
 * days, and the traffic of 10,000 peers.
 */

import { Database as Sqlite } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { createLog } from "../../src/platform/log.ts";
import { DAY_MS, HOUR_MS } from "../../src/store/ranges.ts";
import { Store } from "../../src/store/store.ts";
import { anEvent } from "../support/events.ts";
import { peer } from "../support/peers.ts";
import { keyOf } from "../support/source.ts";
import { figure, type Note } from "./figures.ts";
import { StallTimer } from "./stalls.ts";

const ROWS = 1_000_000;
const PEERS = 1000;
const KEEP_MS = 90 * DAY_MS;
const MANY_PEERS = 10_000;
const ROUNDS = 11;
const TYPES = ["peer.connected", "peer.roamed", "peer.disconnected"] as const;
/** Rows that the daemon writes in one step. */
const SLICE = 100;

export async function history(note: Note): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "wgmon-history-"));
  try {
    const log = createLog({ format: "journal", level: "error", write: console.error });
    using store = await Store.open({ directory: folder, clock: systemClock, log });
    const nowMs = systemClock.now().wallMs;
    fill(join(folder, "wgmon.db"), nowMs);
    queries(note, store, nowMs);
    await traffic(note, store, nowMs);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function fill(path: string, nowMs: number): void {
  using file = new Sqlite(path);
  file.run("PRAGMA synchronous=OFF");
  const event = file.prepare("INSERT INTO events (id, type, at_ms, body) VALUES (?, ?, ?, ?)");
  const session = file.prepare("INSERT INTO sessions VALUES (?, ?, ?, ?, 'idle', ?, ?, ?, 0, ?)");
  const state = JSON.stringify({ lastHandshakeMs: nowMs, rxBytes: 1, txBytes: 2, durationMs: 5 });
  const keys = Array.from({ length: PEERS }, (_, n) => keyOf(n));
  const bodies = TYPES.map((type) =>
    keys.map((publicKey, n) =>
      JSON.stringify(anEvent(type, { device: `wg${n % 2}`, peer: peer({ publicKey }) })),
    ),
  );
  file.transaction(() => {
    for (let n = 0; n < ROWS; n++) {
      const atMs = Math.round(nowMs - KEEP_MS + (n / ROWS) * KEEP_MS);
      event.run(`evt_${n}`, TYPES[n % 3]!, atMs, bodies[n % 3]![n % PEERS]!);
      // One peer has a tenth of the sessions.
      const p = n % 10 === 0 ? 1 : n % PEERS;
      const endMs = atMs + (p === 1 ? 50_000 : HOUR_MS);
      session.run(`wg${p % 2}`, keys[p]!, atMs, endMs, "192.0.2.1:51820", 1e6, 7e6, state);
    }
  })();
}

function queries(note: Note, store: Store, nowMs: number): void {
  const measure = (what: string, work: () => unknown, atMost: number) => {
    const times = Array.from({ length: ROUNDS }, () => {
      const startMs = performance.now();
      work();
      return performance.now() - startMs;
    });
    note(figure(`${what}, the first time`, "ms", times[0]!));
    note(figure(what, "ms", times.slice(1), { atMost }));
  };
  const publicKey = keyOf(1);
  measure(
    "1,000,000 sessions: 30-day chart and uptime of a peer with 100,000 of them",
    () => {
      store.traffic.range("wg1", publicKey, "30d", nowMs);
      for (const days of [1, 7, 30]) {
        store.sessions.uptime("wg1", publicKey, days * DAY_MS, nowMs);
      }
    },
    100,
  );
  const events = {
    order: "newest",
    from: null,
    type: null,
    publicKey: null,
    sinceMs: null,
  } as const;
  const day = { sinceMs: nowMs - 40 * DAY_MS, untilMs: nowMs - 39 * DAY_MS };
  const sessions = { device: null, publicKey: null, sinceMs: null, isOpen: null, from: null };
  for (const [what, filter] of [
    ["a past day", day],
    ["a type and a past day", { ...day, type: "peer.roamed" }],
    ["device and type", { device: "wg1", type: "peer.roamed" }],
    ["peer and type", { publicKey, type: "peer.roamed" }],
  ] as const) {
    const query = { ...events, ...filter, limit: 100 };
    measure(`1,000,000 events: 100 by ${what}`, () => store.events.query(query), 100);
  }
  for (const [what, filter] of [
    ["a past day", day],
    ["a past minute", { ...day, untilMs: day.sinceMs + 60_000 }],
    ["device and a past minute", { ...day, untilMs: day.sinceMs + 60_000, device: "wg1" }],
    ["peer", { publicKey }],
    ["peer and a past day", { publicKey, ...day }],
    ["device", { device: "wg1" }],
  ] as const) {
    const query = { ...sessions, ...filter, limit: 100 };
    measure(`1,000,000 sessions: 100 by ${what}`, () => store.sessions.query(query), 100);
  }
}

async function traffic(note: Note, store: Store, nowMs: number): Promise<void> {
  const rows = Array.from({ length: MANY_PEERS }, (_, n) => ({
    device: "wg0",
    publicKey: keyOf(n),
    rxBytes: 3_000_000 + n * 777,
    txBytes: 40_000_000 + n * 999,
  }));
  const times: number[] = [];
  for (let hour = 30; hour >= 0; hour--) {
    for (let start = 0; start < MANY_PEERS; start += SLICE) {
      const startMs = performance.now();
      store.traffic.add(rows.slice(start, start + SLICE), nowMs - hour * HOUR_MS);
      times.push(performance.now() - startMs);
    }
  }
  note(figure(`write the traffic of ${SLICE} peers`, "ms", times));
  using timer = new StallTimer();
  const tops: number[] = [];
  const stalls: number[] = [];
  for (let hour = 0; hour < 24; hour++) {
    timer.restart();
    const startMs = performance.now();
    await store.traffic.top(nowMs - hour * HOUR_MS, 5);
    tops.push(performance.now() - startMs);
    stalls.push(timer.worstMs);
  }
  note(figure(`${MANY_PEERS} peers: those with most traffic`, "ms", tops));
  note(figure("the same: the loop is held up for", "ms", stalls));
}
