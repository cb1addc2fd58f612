/**
 * Measures what alerts cost in the daemon, with 10,000 peers and ten rules that select all of them: the first list of
 * peers, a scan at each tick, a reconcile with a list, and what is saved. Without the time of the kernel and of decoding
 * its answers; it needs no WireGuard.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { AlertEngine } from "../../src/alerts/engine.ts";
import { ruleOf } from "../../src/alerts/rule.ts";
import type { Peer, PeerChange } from "../../src/base/wireguard.ts";
import type { ScanResult } from "../../src/kernel/devices.ts";
import { LiveAlerts } from "../../src/live-alerts/live-alerts.ts";
import { threadCpuMs } from "../../src/platform/clocks.ts";
import { type AlertWrite, Store } from "../../src/store/store.ts";
import { keyOf, MONDAY } from "../support/alert-story.ts";
import { HandClock } from "../support/clock.ts";
import { device, peer } from "../support/peers.ts";
import { figure, type Note } from "./figures.ts";

const PEERS = 10_000;
const TICK_MS = 10_000;
/** Ticks in half a minute; every sixth tick is a reconcile. */
const TICKS = 3;
const ROUNDS = 60;

const rules = [
  ruleOf("down", "down"),
  ruleOf("flapping", "flapping"),
  ruleOf("no-return-traffic", "no-return-traffic"),
  ruleOf("shared-key", "shared-key"),
  ruleOf("traffic", "traffic", { rate: { bytesPerSecond: 1e9, overMs: 60_000 } }),
  ruleOf("hours", "hours"),
  ruleOf("place", "place"),
  ruleOf("unused", "unused"),
  ruleOf("changed", "changed"),
  ruleOf("handshakes", "handshakes"),
];

export async function liveAlerts(note: Note): Promise<void> {
  for (const active of [1, PEERS]) await measure(note, active);
}

async function measure(note: Note, active: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "wgmon-bench-alerts-"));
  const clock = new Clock(MONDAY);
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const store = await Store.open({ directory: folder, clock, log });
  const peers = Array.from({ length: PEERS }, (_, index) => {
    const allowedIps = [`10.0.${index >> 8}.${index & 255}/32`];
    return peer({ publicKey: keyOf(`p${index}x`), allowedIps, lastHandshakeMs: null });
  });
  const record = (alerts: AlertWrite) =>
    void store.record({ events: [], sessions: [], ended: [], devices: null, alerts }, 0);
  const live = new LiveAlerts({
    clock,
    bootMs: () => clock.bootMs(),
    store,
    engineClass: AlertEngine,
    loadEngine: () => Promise.resolve(AlertEngine),
    lookup: () => null,
    // The list is made of new objects each time, as a dump is.
    devices: { count: () => PEERS, peers: () => peers.map((each) => ({ ...each })) },
    nameOf: (publicKey) => publicKey.slice(0, 6),
    settings: () => ({
      host: "gw1",
      alerts: rules,
      devices: [],
      tickMs: TICK_MS,
      targets: [],
      peers: new Map(),
    }),
    sessions: [],
    targets: () => [],
    isTicking: () => true,
    report: record,
  });
  const scan = (changed: readonly PeerChange[]): ScanResult => ({
    devices: [{ device: device(), changed, removed: [] }],
    removed: [],
    present: null,
    problems: [],
  });
  const tick = (round: number): PeerChange[] =>
    peers.slice(0, active).map((before) => {
      const bytes = 1000 * round;
      const now: Peer = { ...before, rxBytes: bytes, txBytes: bytes, lastHandshakeMs: MONDAY };
      return { peer: now, before };
    });
  const what = `10,000 peers, ${active === 1 ? "one" : "all"} active, 10 rules`;
  const timed = (work: () => void): number => {
    const startMs = threadCpuMs();
    work();
    return threadCpuMs() - startMs;
  };

  note(
    figure(
      `${what}: the first list`,
      "ms",
      timed(() => {
        const write = live.onScan(scan([]), [], "start");
        if (write !== null) record(write);
      }),
    ),
  );
  const halfMinutes: number[] = [];
  const lists: number[] = [];
  const saves: number[] = [];
  let ticks = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let spentMs = 0;
    for (let count = 0; count < TICKS; count++) {
      ticks++;
      clock.advance(TICK_MS);
      const isWide = ticks % 6 === 0;
      const found = scan(tick(ticks));
      const scanMs = timed(() => void live.onScan(found, [], isWide ? "reconcile" : "tick"));
      const saveMs = timed(() => live.saveDue(isWide));
      if (isWide) {
        lists.push(scanMs);
        saves.push(saveMs);
      }
      spentMs += scanMs + saveMs;
    }
    // The first rounds compile.
    if (round > 10) halfMinutes.push(spentMs);
  }
  const wanted = active === 1 ? { atMost: 30 } : null;
  note(figure(`${what}: CPU in 30 s`, "ms", halfMinutes, wanted));
  note(figure(`${what}: a reconcile with a list`, "ms", lists.slice(5)));
  note(figure(`${what}: what is saved each minute`, "ms", saves.slice(5)));
  const step = { ms: 5000, fromMs: 0, toMs: MONDAY + 86_400_000, unsureFromMs: null };
  note(
    figure(
      `${what}: a step of the clock, which saves all`,
      "ms",
      timed(() => live.clockSet(step)),
    ),
  );
  live.stop();
  store[Symbol.dispose]();
  rmSync(folder, { recursive: true });
}

class Clock extends HandClock {
  current(atMs: number): number {
    return atMs;
  }
}
