/**
 * A FakeSource with sample data for the page: peers that are, were and never were connected, and alerts about them;
 * optionally hostile names.
 */

import { ruleOf } from "../../src/alerts/rule.ts";
import type { Peer, PublicKey } from "../../src/base/wireguard.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { type Change } from "../../src/sessions/change.ts";
import { SLOT_MS } from "../../src/store/ranges.ts";
import { device, peer } from "./peers.ts";
import { addAlert, addPending, addSilence } from "./sample-alerts.ts";
import { FakeSource, keyOf } from "./source.ts";

const MINUTE_MS = 60_000;
const DAY_SLOTS = 288;

/** Hostile names, as an attacker could write them into a file that wgmon reads. */
export const HOSTILE = [
  `<img src=x onerror="document.title='owned'">`,
  `</title><script>document.title="owned"</script>`,
  "\u202egpj.exe\u202c evil",
  "\u001b[31mred\u001b[0m\nsecond line",
  `"><style>*{display:none}</style>&lt;`,
  "Zo\u0308e \u05d0\u05d1\u05d2 \u{1f469}\u200d\u{1f4bb}",
  "w".repeat(200),
] as const;

const PEOPLE = [
  "alice laptop",
  "alice phone",
  "bob",
  "branch office Lyon",
  "carol",
  "dave",
  "erin",
];

/** A source with a day of history. @param hostile uses HOSTILE as names. */
export async function office({ hostile = false } = {}): Promise<FakeSource> {
  const source = await FakeSource.make();
  // Leaves room for a day of history.
  source.clock.advance(24 * 60 * MINUTE_MS + 200 * MINUTE_MS);
  const names: readonly string[] = hostile ? HOSTILE : PEOPLE;
  const peers = [...names, null].map((name, n): Peer => {
    const publicKey = keyOf(n + 1);
    if (name !== null) source.names.set(publicKey, name);
    return aPeer(source, n, publicKey);
  });
  source.found.set("wg0", { device: device({ publicKey: keyOf(900) }), peers });
  source.found.set("wg1", {
    device: device({ name: "wg1", index: 4, listenPort: 0 }),
    peers: [peer({ publicKey: keyOf(800), endpoint: null, allowedIps: ["10.1.0.2/32"] })],
  });
  source.tags.set(peers[0]!.publicKey, hostile ? [HOSTILE[0], HOSTILE[2]] : ["staff", "laptop"]);
  for (const [n, each] of peers.entries()) {
    source.speeds.set(each.publicKey, {
      rxBytesPerSecond: 33_000 * n * n,
      txBytesPerSecond: 1e6 * n,
    });
    addTraffic(source, n, each);
    if (n < 4) connect(source, each, n);
    else if (n < 6) addEnded(source, each, n);
  }
  addTotals(source, 4);
  const queued = happened(source, peers).map((event) => ({ event, targets: ["hook"] }));
  const waitsSinceMs = source.clock.now().wallMs - 9 * MINUTE_MS;
  source.store.record({ events: queued, sessions: [], ended: [], devices: null }, waitsSinceMs);
  source.targetStates = [
    {
      key: "hook",
      label: "webhook https://hooks.example.net/...",
      waiting: 3,
      isStopped: false,
      failures: 4,
      reason: hostile ? HOSTILE[0] : "503: upstream is not there",
    },
    { key: "log", label: "ntfy", waiting: 0, isStopped: false, failures: 0, reason: "" },
  ];
  addAlerts(source, peers, hostile ? HOSTILE[0] : "maintenance");
  return source;
}

/** Two alerts that fire, one that is silenced, one that is pending, and one that was resolved. */
function addAlerts(source: FakeSource, peers: readonly Peer[], comment: string): void {
  const nameOf = (n: number) => source.nameOf(peers[n]!.publicKey)!;
  source.alerts.all = [
    ruleOf("down", "people", { repeatMs: 4 * 3600_000 }),
    ruleOf("traffic", "quota"),
  ];
  const down = (n: number) => ({
    rule: "people",
    peer: peers[n]!,
    sentence: `${nameOf(n)} (wg0) is down: no data for 22m; check the peer and its network`,
  });
  const back = `${nameOf(1)} (wg0) is back after 12m`;
  addAlert(source, { ...down(1), sentence: back, minutes: 300, lasted: 12, targets: ["ntfy"] });
  addAlert(source, { ...down(5), minutes: 22, targets: ["ntfy"] });
  addAlert(source, {
    rule: "quota",
    kind: "traffic",
    severity: "warning",
    peer: peers[2]!,
    minutes: 95,
    sentence: `${nameOf(2)} (wg0) has used 80 % of its 50 GB for this month`,
  });
  const key = { field: "peer", pattern: peers[4]!.publicKey } as const;
  const heldBack = addSilence(source, [key], { minutes: 90, comment });
  addAlert(source, { ...down(4), minutes: 12, heldBack });
  addPending(source, { ...down(6), minutes: 1 });
}

/** Starts a session of the peer. The session is older for larger `minutesAgo`. */
export function connect(source: FakeSource, each: Peer, minutesAgo = 0): void {
  const startedAtMs = source.clock.now().wallMs - (3 + 41 * minutesAgo) * MINUTE_MS;
  source.connect("wg0", each, { startedAtMs, rxBytes: 5e8, txBytes: 4.2e9, roams: minutesAgo });
}

export function connected(source: FakeSource, each: Peer): Event {
  return anEvent(source, {
    type: "peer.connected",
    atMs: source.clock.now().wallMs,
    device: "wg0",
    peer: each,
    session: { startedAtMs: source.clock.now().wallMs, rxBytes: 0, txBytes: 0, roams: 0 },
    initial: false,
  });
}

let events = 0;

function anEvent(source: FakeSource, change: Change): Event {
  const id = `evt_${(++events).toString(16).padStart(32, "0")}`;
  const name = "peer" in change ? source.nameOf(change.peer.publicKey) : null;
  return eventOf(change, { id, host: "gw1", name });
}

function aPeer(source: FakeSource, n: number, publicKey: PublicKey): Peer {
  const { wallMs } = source.clock.now();
  return peer({
    publicKey,
    endpoint:
      n === 6
        ? null
        : n === 2
          ? "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:51820"
          : `198.51.100.${n + 7}:${40_000 + n}`,
    allowedIps: [`10.0.0.${n + 2}/32`, `2001:db8:1::${n + 2}/128`],
    lastHandshakeMs: n === 6 ? null : wallMs - (n + 1) * 50_000,
    rxBytes: n === 6 ? 0 : 3.4e9 / (n + 1),
    txBytes: n === 6 ? 0 : 9.9e9 / (n + 1),
    persistentKeepaliveSeconds: n === 1 ? 25 : 0,
  });
}

function addTraffic(source: FakeSource, n: number, { publicKey }: Peer): void {
  const { wallMs } = source.clock.now();
  if (n > 5) return;
  for (let slot = 1; slot < DAY_SLOTS; slot++) {
    const wave = Math.max(0, Math.sin((slot + 30 * n) / 19) + Math.sin(slot / 3.7) / 3);
    if (wave === 0) continue;
    const rxBytes = Math.round(wave * 4e6);
    source.store.traffic.add(
      [{ device: "wg0", publicKey, rxBytes, txBytes: rxBytes * (1 + (slot % 5)) }],
      wallMs - slot * SLOT_MS,
    );
  }
}

/** The gateway's sums of the last day. wgmon did not run in slots 100 to 119. */
function addTotals(source: FakeSource, connected: number): void {
  const { wallMs } = source.clock.now();
  for (let slot = 1; slot < DAY_SLOTS; slot++) {
    if (slot >= 100 && slot < 120) continue;
    const rxBytes = Math.round(8e6 * (1 + Math.sin(slot / 19)));
    source.store.totals.add(
      { rxBytes, txBytes: rxBytes * 3, connected: connected - (Math.floor(slot / 40) % 3) },
      wallMs - slot * SLOT_MS,
    );
  }
}

function addEnded(source: FakeSource, each: Peer, n: number): void {
  const { wallMs } = source.clock.now();
  const ended = [1, 2, 3].map((times) => ({
    device: "wg0",
    publicKey: each.publicKey,
    startedAtMs: wallMs - times * 6 * 60 * MINUTE_MS,
    endedAtMs: wallMs - times * 6 * 60 * MINUTE_MS + ((40 + 60 * n) * MINUTE_MS) / times,
    durationMs: ((40 + 60 * n) * MINUTE_MS) / times,
    reason: times === 3 ? ("peer-removed" as const) : ("idle" as const),
    endpoint: "198.51.100.7:40001",
    rxBytes: 1.2e6 * times,
    txBytes: 33e6 * times,
    roams: times - 1,
    peer: each,
  }));
  source.store.record({ events: [], sessions: [], ended, devices: null }, 0);
}

function happened(source: FakeSource, peers: readonly Peer[]): Event[] {
  const { wallMs } = source.clock.now();
  const session = { startedAtMs: wallMs - 3600_000, rxBytes: 212e6, txBytes: 92, roams: 1 };
  const of = (n: number, minutes: number) => ({
    atMs: wallMs - minutes * MINUTE_MS,
    device: "wg0",
    peer: peers[n]!,
    session,
  });
  const unknown = {
    type: "handshake.unknown",
    atMs: wallMs - 50 * MINUTE_MS,
    device: "wg0",
    listenPort: 51820,
    network: "203.0.113.0/24",
    networks: 1,
    sources: ["203.0.113.9:4500"],
    packets: 12,
    messages: { initiation: 12, response: 0, data: 0 },
    mac1: "invalid",
    peers: [],
    firstAtMs: wallMs - 51 * MINUTE_MS,
    lastAtMs: wallMs - 50 * MINUTE_MS,
  } as const;
  return [
    anEvent(source, {
      type: "device.added",
      atMs: wallMs - 90 * MINUTE_MS,
      device: "wg1",
      listenPort: 51821,
    }),
    anEvent(source, { ...of(0, 80), type: "peer.connected", initial: true }),
    anEvent(source, unknown),
    anEvent(source, {
      ...of(1, 40),
      type: "peer.roamed",
      previousEndpoint: { address: "192.0.2.1", port: 51820, scopeId: 0 },
    }),
    anEvent(source, {
      ...of(4, 12),
      type: "peer.disconnected",
      endedAtMs: wallMs - 12 * MINUTE_MS,
      durationMs: 48 * MINUTE_MS,
      reason: "idle",
    }),
  ];
}
