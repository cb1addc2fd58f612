/**
 * Measures the alert engine with 1,000 rules and 10,000 peers: the time of one event, of a scan, of saving, and of the
 * replay of 1,000,000 events: from memory, and by `wgmon alerts test` of 200,000 from a store. It needs no WireGuard. A rule of a usual set selects the peers of one group (100 peers);
 * in the widest set, each rule selects all peers.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { AlertEngine } from "../../src/alerts/engine.ts";
import { type Input, inputOfEvent } from "../../src/alerts/input.ts";
import { type Recorded, replay } from "../../src/alerts/replay.ts";
import { type Rule, ruleOf } from "../../src/alerts/rule.ts";
import { parseInterval } from "../../src/alerts/times.ts";
import { systemClock } from "../../src/base/clock.ts";
import { testAlerts } from "../../src/cli/test-alerts.ts";
import { plain } from "../../src/cli/text.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { Store } from "../../src/store/store.ts";
import { keyOf } from "../support/alert-story.ts";
import { mustEndpoint } from "../support/peers.ts";
import { run } from "../support/settings.ts";
import { figure, type Note } from "./figures.ts";

const PEERS = 10_000;
const RULES = 1000;
const GROUPS = 100;
const EVENTS = 5000;
const REPLAYED = 1_000_000;
/** Fewer, because writing a million to a file takes minutes. */
const STORED = 200_000;
const PORTION = 1000;
const START_MS = Date.UTC(2026, 0, 5, 10);

const office = parseInterval("mon-fri 08:00-18:00 Europe/Berlin");
if (typeof office === "string") throw new Error(office);

/** Rules of all kinds in turns. @param select the selectors of the rule with this number. */
function rulesFor(select: (index: number) => Partial<Rule>): Rule[] {
  const period = { unit: "month", resetDay: 1, zone: "Europe/Berlin" } as const;
  const quota = { bytes: 1e15, period, percents: [80, 100] };
  return Array.from({ length: RULES }, (_, index): Rule => {
    const name = `rule-${index}`;
    const rules: readonly Rule[] = [
      ruleOf("down", name),
      ruleOf("flapping", name),
      ruleOf("no-return-traffic", name),
      ruleOf("shared-key", name),
      ruleOf("traffic", name, { quota }),
      ruleOf("hours", name, { allowed: [office as Exclude<typeof office, string>] }),
      ruleOf("place", name),
      ruleOf("unused", name),
      ruleOf("changed", name),
      ruleOf("handshakes", name),
    ];
    return { ...rules[index % rules.length]!, ...select(index) } as Rule;
  });
}

const usual = rulesFor((index) => ({ tags: [`group-${Math.floor(index / 10) % GROUPS}`] }));
const widest = rulesFor(() => ({}));

function peerOf(index: number) {
  return {
    publicKey: keyOf(`p${index}x`),
    name: `peer-${index}`,
    tags: [`group-${index % GROUPS}`],
  };
}

/** An engine that knows all peers, all of them connected. */
function connectedEngine(rules: readonly Rule[]): { engine: AlertEngine; nowMs: number } {
  const engine = new AlertEngine({ rules });
  const peers = Array.from({ length: PEERS }, (_, index) => ({
    ...peerOf(index),
    allowedIps: [],
    persistentKeepaliveSeconds: 0,
    lastHandshakeMs: null,
  }));
  engine.advance({ type: "peers", device: "wg0", peers, removed: [], complete: true }, START_MS);
  engine.advance(
    Array.from({ length: PEERS }, (_, index) => connected(index, START_MS)),
    START_MS,
  );
  // Writes all of it once, as after a start.
  engine.takeChanges({ samplesMax: Infinity });
  return { engine, nowMs: START_MS + 1000 };
}

function connected(index: number, nowMs: number): Input {
  const endpoint = `192.0.2.1:${1000 + index}`;
  const rest = { endpoint, handshakeAtMs: nowMs, startedAtMs: nowMs };
  return { type: "connected", device: "wg0", peer: peerOf(index), ...rest };
}

function disconnected(index: number, nowMs: number): Input {
  const rest = { endedAtMs: nowMs - 180_000, reason: "idle" as const };
  return { type: "disconnected", device: "wg0", peer: peerOf(index), ...rest };
}

function scanOf(round: number): Input {
  const endpoint = mustEndpoint("192.0.2.1:51820");
  const bytes = 5000 * round;
  const peers = Array.from({ length: PEERS }, (_, index) => ({
    publicKey: peerOf(index).publicKey,
    rxBytes: bytes,
    txBytes: bytes,
    endpoint,
    lastHandshakeMs: START_MS,
  }));
  return { type: "scan", device: "wg0", peers };
}

export async function alerts(note: Note): Promise<void> {
  // First, because the engines below leave a large heap.
  const tenths = rulesFor((index) => ({
    tags: Array.from({ length: GROUPS / 10 }, (_, group) => `group-${10 * group + (index % 10)}`),
  }));
  for (const [name, rules, wanted] of [
    ["each for a tenth of the peers", tenths, { atMost: 5 }],
    ["each for all peers", widest, null],
  ] as const) {
    const { seconds, notices } = replayed(rules.slice(0, 10));
    const what = `replay of ${REPLAYED} events, 10 rules, ${name}`;
    note(figure(what, "s", seconds, wanted));
    note(figure(`${what}: notices`, "", notices));
  }
  await testedFromStore(note, tenths.slice(0, 10));
  for (const [name, rules] of [
    ["usual rules", usual],
    ["each rule for all peers", widest],
  ] as const) {
    const { engine, nowMs: startMs } = connectedEngine(rules);
    let nowMs = startMs;
    const times: number[] = [];
    for (let event = 0; event < EVENTS; event++) {
      const index = (event * 7919) % PEERS;
      nowMs += 100;
      const input = event % 2 === 0 ? disconnected(index, nowMs) : connected(index, nowMs);
      const beforeMs = performance.now();
      engine.advance(input, nowMs);
      engine.takeChanges({ samplesMax: 0 });
      times.push(performance.now() - beforeMs);
    }
    times.sort((a, b) => a - b);
    const meanMs = times.reduce((sum, ms) => sum + ms, 0) / times.length;
    note(figure(`${RULES} rules, ${PEERS} peers, ${name}: one event`, "ms", meanMs, { atMost: 1 }));
    note(figure(`${name}: one event, 99th percentile`, "ms", times[Math.floor(EVENTS * 0.99)]!));
    const scans: number[] = [];
    for (let round = 1; round <= 12; round++) {
      nowMs += 10_000;
      const scan = scanOf(round);
      const beforeMs = performance.now();
      engine.advance(scan, nowMs);
      // The first scans only take the counters as they are, and compile.
      if (round > 3) scans.push(performance.now() - beforeMs);
    }
    note(figure(`${name}: a scan in which all peers changed`, "ms", scans));
    const beforeMs = performance.now();
    engine.takeChanges({ samplesMax: 500 });
    note(figure(`${name}: saving the counters of 500 peers`, "ms", performance.now() - beforeMs));
  }
}

/** One event of 1,000 peers in 30 days. */
function eventAt(number: number): Event {
  const index = number % 1000;
  const atMs = START_MS + Math.round((number * 30 * 86_400_000) / REPLAYED);
  const { publicKey, name, tags } = peerOf(index);
  const endpoint = mustEndpoint(`192.0.2.1:${1000 + index}`);
  const counters = { rxBytes: 1000, txBytes: 1000 };
  const kept = {
    allowedIps: ["10.0.0.2/32"],
    lastHandshakeMs: atMs,
    persistentKeepaliveSeconds: 0,
  };
  const peer = { publicKey, endpoint, ...counters, ...kept };
  const session = { startedAtMs: atMs, ...counters, roams: 0 };
  const base = { atMs, device: "wg0", peer, session };
  const isEnd = Math.floor(number / 1000) % 2 === 1;
  const end = { endedAtMs: atMs - 180_000, durationMs: 0, reason: "idle" } as const;
  const change = isEnd
    ? { ...base, ...end, type: "peer.disconnected" as const }
    : { ...base, type: "peer.connected" as const, initial: false };
  return eventOf(change, { id: `evt_${number}`, host: "gw1", name, tags });
}

/** `wgmon alerts test` with the events in a file. */
async function testedFromStore(note: Note, rules: readonly Rule[]): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "wgmon-bench-"));
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  try {
    {
      using store = await Store.open({ directory, clock: systemClock, log });
      for (let first = 0; first < STORED; first += PORTION) {
        const events = Array.from({ length: PORTION }, (_, index) => ({
          event: eventAt(first + index),
          targets: [],
        }));
        store.record({ events, sessions: [], ended: [], devices: null }, 0);
      }
    }
    const { settings } = run([]);
    using store = await Store.open({ directory, clock: systemClock, log, isExternalTool: true });
    let lines = 0;
    const beforeMs = performance.now();
    testAlerts(store, {
      request: {
        action: "test",
        since: { agoMs: 31 * 86_400_000 },
        until: null,
        requestedDevices: [],
        file: null,
        rule: null,
        json: false,
      },
      rules,
      settings,
      named: (publicKey) => ({ publicKey, name: null, tags: [] }),
      nowMs: START_MS + 31 * 86_400_000,
      print(text) {
        lines += text.split("\n").length - 1;
        return true;
      },
      warn() {},
      paint: plain,
      maxWidth: null,
    });
    const seconds = (performance.now() - beforeMs) / 1000;
    const what = `wgmon alerts test of ${STORED} stored events, 10 rules`;
    note(figure(what, "s", seconds, { atMost: STORED / 200_000 }));
    note(figure(`${what}: lines`, "", lines));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Replays the events, made in portions as they are read from a store. The time for making them does not count. */
function replayed(rules: readonly Rule[]) {
  let makingMs = 0;
  function* history(): Iterable<Recorded> {
    for (let first = 0; first < REPLAYED; first += PORTION) {
      const beforeMs = performance.now();
      const portion = Array.from({ length: PORTION }, (_, index) => eventAt(first + index));
      makingMs += performance.now() - beforeMs;
      for (const event of portion) {
        const atMs = Date.parse(event.timestamp);
        yield { atMs, input: inputOfEvent(event, atMs)! };
      }
    }
  }
  const beforeMs = performance.now();
  const untilMs = START_MS + 31 * 86_400_000;
  let notices = 0;
  for (const _ of replay(history(), { rules, untilMs })) notices++;
  if (notices === 0) throw new Error("the replay gave no notice");
  return { seconds: (performance.now() - beforeMs - makingMs) / 1000, notices };
}
