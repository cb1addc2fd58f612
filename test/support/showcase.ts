/**
 * A FakeSource that looks like a gateway after a month: nine peers on two devices, with sessions, traffic, events and
 * alerts that fit each other. The same at each call. For pictures, and for tests of what a page with history shows.
 */

import { ruleOf } from "../../src/alerts/rule.ts";
import type { Peer, PublicKey } from "../../src/base/wireguard.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import type { Change } from "../../src/sessions/change.ts";
import type { EndedSession } from "../../src/store/stored-sessions.ts";
import { device, peer } from "./peers.ts";
import { addAlert, addSilence } from "./sample-alerts.ts";
import { FakeSource, keyOf } from "./source.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const DAYS = 31;

interface Person {
  readonly name: string;
  readonly device: string;
  readonly tags: readonly string[];
  readonly allowedIps: readonly string[];
  readonly endpoint: string | null;
  /** Hours of the day at which a session begins, and its length; empty: it never connected. */
  readonly habit: readonly (readonly [hour: number, hours: number])[];
  readonly isConnected: boolean;
  /** Bytes per second from and to the peer while it is connected. */
  readonly rates: readonly [rx: number, tx: number];
}

const people: readonly Person[] = [
  {
    name: "alice-laptop",
    device: "wg0",
    tags: ["staff", "laptop"],
    allowedIps: ["10.8.0.2/32", "fd00:8::2/128"],
    endpoint: "198.51.100.7:40001",
    habit: [
      [8, 4.2],
      [13, 5.1],
    ],
    isConnected: true,
    rates: [42_000, 310_000],
  },
  {
    name: "alice-phone",
    device: "wg0",
    tags: ["staff"],
    allowedIps: ["10.8.0.3/32", "fd00:8::3/128"],
    endpoint: "203.0.113.80:51044",
    habit: [
      [7, 0.6],
      [12, 0.4],
      [18, 0.9],
      [21, 0.5],
    ],
    isConnected: false,
    rates: [3_000, 26_000],
  },
  {
    name: "bob",
    device: "wg0",
    tags: ["staff"],
    allowedIps: ["10.8.0.4/32"],
    endpoint: "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:51820",
    habit: [[9, 8.4]],
    isConnected: true,
    rates: [120_000, 95_000],
  },
  {
    name: "carol",
    device: "wg0",
    tags: ["contractor"],
    allowedIps: ["10.8.0.5/32"],
    endpoint: "198.51.100.23:33440",
    habit: [[10, 2.5]],
    isConnected: false,
    rates: [11_000, 64_000],
  },
  {
    name: "dave-pixel",
    device: "wg0",
    tags: [],
    allowedIps: ["10.8.0.6/32"],
    endpoint: "203.0.113.12:4500",
    habit: [[19, 1.3]],
    isConnected: false,
    rates: [2_000, 48_000],
  },
  {
    name: "guest-ipad",
    device: "wg0",
    tags: ["guest"],
    allowedIps: ["10.8.0.9/32"],
    endpoint: null,
    habit: [],
    isConnected: false,
    rates: [0, 0],
  },
  {
    name: "nas-backup",
    device: "wg0",
    tags: ["server"],
    allowedIps: ["10.8.0.20/32"],
    endpoint: "192.0.2.40:51820",
    habit: [[0, 24]],
    isConnected: true,
    rates: [610_000, 19_000],
  },
  {
    name: "office-berlin",
    device: "wg1",
    tags: ["site"],
    allowedIps: ["10.20.0.3/32", "192.168.40.0/24"],
    endpoint: "192.0.2.77:51821",
    habit: [[0, 24]],
    isConnected: true,
    rates: [260_000, 430_000],
  },
  {
    name: "office-lyon",
    device: "wg1",
    tags: ["site"],
    allowedIps: ["10.20.0.2/32", "192.168.30.0/24", "192.168.31.0/24"],
    endpoint: "192.0.2.91:51821",
    habit: [[0, 24]],
    isConnected: true,
    rates: [180_000, 240_000],
  },
];

interface Stretch {
  readonly fromMs: number;
  /** Infinity: the session is open. */
  readonly toMs: number;
}

export async function showcase(): Promise<FakeSource> {
  const source = await FakeSource.make();
  // A Tuesday, 15:24:10 UTC.
  source.clock.jump(Date.UTC(2026, 10, 24, 15, 24, 10) - source.clock.now().wallMs);
  source.clock.advance(1);
  const { wallMs: nowMs } = source.clock.now();
  const random = randomFrom(7);
  for (const name of ["wg0", "wg1"]) {
    const index = name === "wg0" ? 0 : 1;
    source.found.set(name, {
      device: device({
        name,
        index: 3 + index,
        listenPort: 51820 + index,
        publicKey: keyOf(900 + index),
      }),
      peers: [],
    });
  }
  const rows = people.map((person, n) => {
    const stretches = stretchesOf(person, nowMs, random);
    return { person, stretches, peer: addPeer(source, person, n, stretches) };
  });
  const ended = rows.flatMap(({ person, stretches, peer: each }) =>
    stretches
      .filter(({ toMs }) => toMs < Infinity)
      .map((stretch): EndedSession => endedOf(person, each, stretch)),
  );
  source.store.record({ events: [], sessions: [], ended, devices: null }, nowMs);
  for (const { person, stretches, peer: each } of rows) {
    const open = stretches.find(({ toMs }) => toMs === Infinity);
    if (open === undefined) continue;
    const seconds = (nowMs - open.fromMs) / 1000;
    const [rx, tx] = person.rates;
    source.connect(person.device, each, {
      startedAtMs: open.fromMs,
      rxBytes: Math.round(rx * seconds),
      txBytes: Math.round(tx * seconds),
    });
    source.speeds.set(each.publicKey, {
      rxBytesPerSecond: Math.round(rx * 1.3),
      txBytesPerSecond: Math.round(tx * 0.9),
    });
  }
  addTraffic(source, rows, nowMs);
  const events = eventsOf(source, rows, nowMs);
  // The latest events wait for a target that does not answer; two earlier ones were refused by another.
  const record = (some: readonly Event[], targets: readonly string[] = []) => {
    const queued = some.map((event) => ({ event, targets }));
    const none = { sessions: [], ended: [], devices: null };
    return source.store.record({ events: queued, ...none }, nowMs - 9 * MINUTE_MS);
  };
  record(events.slice(0, -5));
  const refused = record(events.slice(-5, -3), ["old"]);
  record(events.slice(-3), ["ops"]);
  addTargets(source, refused, nowMs);
  addAlerts(source, rows);
  Object.defineProperty(source.store, "isInMemory", { value: false });
  Object.defineProperty(source, "startedAtMs", { value: nowMs - 12.3 * DAY_MS });
  return source;
}

function stretchesOf(person: Person, nowMs: number, random: () => number): Stretch[] {
  const found: Stretch[] = [];
  if (person.habit.length === 0) return found;
  const isAlways = person.habit[0]![1] === 24;
  const startMs = nowMs - DAYS * DAY_MS;
  if (isAlways) {
    // A few interruptions in a month.
    let fromMs = startMs;
    for (let n = 0; n < 4; n++) {
      const toMs = fromMs + (3 + random() * 6) * DAY_MS;
      if (toMs > nowMs - DAY_MS / 3) break;
      found.push({ fromMs, toMs });
      fromMs = toMs + (2 + random() * 40) * MINUTE_MS;
    }
    found.push({ fromMs, toMs: Infinity });
    return found;
  }
  for (let day = Math.floor(startMs / DAY_MS); day * DAY_MS < nowMs; day++) {
    const isWeekend = [0, 6].includes(new Date(day * DAY_MS).getUTCDay());
    for (const [hour, hours] of person.habit) {
      if (random() < (isWeekend ? 0.7 : 0.12)) continue;
      const fromMs = day * DAY_MS + (hour + random() * 0.8) * HOUR_MS;
      const toMs = fromMs + hours * (0.7 + random() * 0.5) * HOUR_MS;
      if (fromMs < nowMs - 5 * MINUTE_MS)
        found.push({ fromMs, toMs: Math.min(toMs, nowMs - 9 * MINUTE_MS) });
    }
  }
  const last = found.at(-1)!;
  if (person.isConnected) found[found.length - 1] = { fromMs: last.fromMs, toMs: Infinity };
  return found;
}

function addPeer(
  source: FakeSource,
  person: Person,
  n: number,
  stretches: readonly Stretch[],
): Peer {
  const { wallMs: nowMs } = source.clock.now();
  const publicKey = keyOfPerson(n);
  const seconds = stretches.reduce(
    (sum, { fromMs, toMs }) => sum + (Math.min(toMs, nowMs) - fromMs) / 1000,
    0,
  );
  const last = stretches.at(-1);
  const each = peer({
    publicKey,
    endpoint: person.endpoint,
    allowedIps: [...person.allowedIps],
    lastHandshakeMs: last === undefined ? null : Math.min(last.toMs, nowMs) - 74_000,
    rxBytes: Math.round(person.rates[0] * seconds),
    txBytes: Math.round(person.rates[1] * seconds),
    persistentKeepaliveSeconds: person.device === "wg1" ? 25 : 0,
  });
  source.names.set(publicKey, person.name);
  source.tags.set(publicKey, person.tags);
  source.found.get(person.device)!.peers.push(each);
  return each;
}

/** A key that looks like one. */
function keyOfPerson(n: number): PublicKey {
  const digest = new Bun.CryptoHasher("sha256").update(`peer ${n}`).digest();
  return digest.toString("base64") as PublicKey;
}

function endedOf(
  { device: on, rates }: Person,
  each: Peer,
  { fromMs, toMs }: Stretch,
): EndedSession {
  const seconds = (toMs - fromMs) / 1000;
  return {
    device: on,
    publicKey: each.publicKey,
    startedAtMs: fromMs,
    endedAtMs: toMs,
    durationMs: toMs - fromMs,
    reason: "idle",
    endpoint: each.endpoint === null ? null : `${each.endpoint.address}:${each.endpoint.port}`,
    rxBytes: Math.round(rates[0] * seconds),
    txBytes: Math.round(rates[1] * seconds),
    roams: Math.round(fromMs / MINUTE_MS) % 5 === 0 ? 1 : 0,
    peer: each,
  };
}

interface Row {
  readonly person: Person;
  readonly stretches: readonly Stretch[];
  readonly peer: Peer;
}

/** Five-minute slots of the last day, and one slot per hour before. */
function addTraffic(source: FakeSource, rows: readonly Row[], nowMs: number): void {
  for (let atMs = nowMs - DAYS * DAY_MS; atMs < nowMs;) {
    const isRecent = atMs >= nowMs - 1.1 * DAY_MS;
    const stepMs = isRecent ? 5 * MINUTE_MS : HOUR_MS;
    const hour = (atMs % DAY_MS) / HOUR_MS;
    let connected = 0;
    const sums = rows.flatMap(({ person, stretches, peer: { publicKey } }, n) => {
      const seconds = stretches.reduce((sum, { fromMs, toMs }) => {
        const part = Math.min(toMs, atMs + stepMs, nowMs) - Math.max(fromMs, atMs);
        return sum + Math.max(0, part) / 1000;
      }, 0);
      if (seconds === 0) return [];
      connected++;
      const wave =
        0.35 +
        Math.max(0, Math.sin(((hour - 6) / 24) * Math.PI * 2)) +
        0.5 *
          Math.abs(Math.sin(atMs / (17 * MINUTE_MS) + n * 2)) *
          Math.abs(Math.sin(atMs / (61 * MINUTE_MS) + n));
      const [rx, tx] = person.rates;
      return [
        {
          device: person.device,
          publicKey,
          rxBytes: Math.round(rx * seconds * wave),
          txBytes: Math.round(tx * seconds * wave),
        },
      ];
    });
    source.store.traffic.add(sums, atMs);
    // wgmon did not run for some hours, eleven days ago.
    const agoMs = nowMs - atMs;
    if (agoMs < 11 * DAY_MS || agoMs > 11.6 * DAY_MS) {
      source.store.totals.add(
        {
          rxBytes: sums.reduce((sum, { rxBytes }) => sum + rxBytes, 0),
          txBytes: sums.reduce((sum, { txBytes }) => sum + txBytes, 0),
          connected,
        },
        atMs,
      );
    }
    atMs += stepMs;
  }
}

let eventNumber = 0;

function eventsOf(source: FakeSource, rows: readonly Row[], nowMs: number): Event[] {
  const changes: Change[] = [];
  for (const { person, stretches, peer: each } of rows) {
    for (const { fromMs, toMs } of stretches) {
      if (toMs < nowMs - 3 * DAY_MS) continue;
      const session = { startedAtMs: fromMs, rxBytes: 0, txBytes: 0, roams: 0 };
      const base = { device: person.device, peer: each, session };
      if (fromMs > nowMs - 3 * DAY_MS)
        changes.push({ type: "peer.connected", atMs: fromMs, ...base, initial: false });
      if (toMs < Infinity) {
        const durationMs = toMs - fromMs;
        changes.push({
          type: "peer.disconnected",
          atMs: toMs + 180_000,
          ...base,
          endedAtMs: toMs,
          durationMs,
          reason: "idle",
        });
      }
    }
  }
  const [alice] = rows;
  changes.push({
    type: "peer.roamed",
    atMs: nowMs - 41 * MINUTE_MS,
    device: "wg0",
    peer: alice!.peer,
    session: { startedAtMs: nowMs - 2 * HOUR_MS, rxBytes: 0, txBytes: 0, roams: 1 },
    previousEndpoint: { address: "203.0.113.80", port: 51000, scopeId: 0 },
  });
  changes.push({
    type: "handshake.unknown",
    atMs: nowMs - 95 * MINUTE_MS,
    device: "wg0",
    listenPort: 51820,
    network: "203.0.113.0/24",
    networks: 1,
    sources: ["203.0.113.9:4500"],
    packets: 12,
    messages: { initiation: 12, response: 0, data: 0 },
    mac1: "invalid",
    peers: [],
    firstAtMs: nowMs - 96 * MINUTE_MS,
    lastAtMs: nowMs - 95 * MINUTE_MS,
  });
  return changes
    .toSorted((a, b) => a.atMs - b.atMs)
    .map((change) => {
      const id = `evt_${(++eventNumber).toString(16).padStart(32, "0")}`;
      const name = "peer" in change ? source.nameOf(change.peer.publicKey) : null;
      return eventOf(change, { id, host: "gw1", name });
    });
}

function addTargets(source: FakeSource, refused: readonly number[], nowMs: number): void {
  source.store.outbox.saveTarget("ops", "webhook https://hooks.example.net/...", {
    failures: 4,
    retries: 4,
    nextAtMs: nowMs + 70_000,
    reason: "ECONNREFUSED",
  });
  source.store.outbox.deadLetter(
    "old",
    "Discord",
    refused,
    "404: Unknown Webhook",
    nowMs - 26 * MINUTE_MS,
  );
  const ok = { waiting: 0, isStopped: false, failures: 0, reason: "" };
  source.targetStates = [
    { key: "phone", label: "ntfy https://ntfy.example.net/...", ...ok },
    {
      key: "ops",
      label: "webhook https://hooks.example.net/...",
      waiting: 3,
      isStopped: false,
      failures: 4,
      reason: "ECONNREFUSED",
    },
    {
      key: "old",
      label: "Discord",
      waiting: 0,
      isStopped: false,
      failures: 2,
      reason: "404: Unknown Webhook",
    },
  ];
}

/** A key in two places, a quota that is nearly used, and a device that is not handed out yet. */
function addAlerts(source: FakeSource, rows: readonly Row[]): void {
  const peerOf = (name: string) => rows.find(({ person }) => person.name === name)!.peer;
  source.alerts.all = [
    ruleOf("down", "all-peers"),
    ruleOf("shared-key", "copied-configuration"),
    ruleOf("traffic", "monthly-quota"),
  ];
  addAlert(source, {
    rule: "all-peers",
    peer: peerOf("office-lyon"),
    device: "wg1",
    minutes: 600,
    sentence: "office-lyon (wg1) is back after 14m",
    lasted: 14,
    targets: ["ntfy https://ntfy.example.net/..."],
  });
  addAlert(source, {
    rule: "monthly-quota",
    kind: "traffic",
    severity: "warning",
    minutes: 190,
    peer: peerOf("nas-backup"),
    sentence: "nas-backup (wg0) has used 80 % of its 2 TB for this month",
    targets: ["ntfy https://ntfy.example.net/..."],
  });
  addAlert(source, {
    rule: "copied-configuration",
    kind: "shared-key",
    minutes: 19,
    peer: peerOf("alice-laptop"),
    sentence:
      "the key of alice-laptop (wg0) is used from two places in turns, 198.51.100.7 and 203.0.113.80: its configuration was probably copied; give each machine its own key",
    targets: ["ntfy https://ntfy.example.net/..."],
    hasEvent: true,
  });
  const guests = { field: "peer", pattern: "guest-*" } as const;
  const heldBack = addSilence(source, [guests], { minutes: 60, comment: "not handed out yet" });
  addAlert(source, {
    rule: "all-peers",
    peer: peerOf("guest-ipad"),
    minutes: 3 * 24 * 60,
    heldBack,
    sentence:
      "guest-ipad (wg0) has not connected since wgmon began to watch it 3d ago; check its configuration and its network",
  });
}

/** Pseudo-random numbers below 1, the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}
