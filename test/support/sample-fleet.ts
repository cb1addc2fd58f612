/**
 * A FakeSource that is a hub with five gateways: berlin and oslo report, lyon is lost, kyoto was stopped, and nairobi has
 * not reported yet. The same at each call.
 */

import { ruleOf } from "../../src/alerts/rule.ts";
import type { Peer } from "../../src/base/wireguard.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { fleetDevice } from "../../src/fleet/gateway-name.ts";
import type { GatewayState } from "../../src/http/fleet-model.ts";
import type { Change } from "../../src/sessions/change.ts";
import { device, peer } from "./peers.ts";
import { addAlert } from "./sample-alerts.ts";
import { FakeFleet, FakeSource, keyOf } from "./source.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;

interface Site {
  readonly name: string;
  readonly devices: readonly string[];
  /** Peers of each device. */
  readonly peers: number;
  readonly connected: number;
  readonly state: Partial<GatewayState>;
}

const sites: readonly Site[] = [
  { name: "berlin", devices: ["wg0", "wg1"], peers: 6, connected: 4, state: {} },
  {
    name: "oslo",
    devices: ["wg0"],
    peers: 5,
    connected: 3,
    state: { clockOffsetMs: 3400, lastSeq: 940, confirmedSeq: 820 },
  },
  { name: "lyon", devices: ["wg0"], peers: 4, connected: 2, state: { condition: "lost" } },
  { name: "kyoto", devices: ["wg0"], peers: 3, connected: 0, state: { condition: "stopped" } },
];

const people = ["alice", "bob", "carol", "dave", "erin", "frank"];

export async function hub(): Promise<FakeSource> {
  const source = await FakeSource.make();
  source.clock.advance(26 * 60 * MINUTE_MS);
  const fleet = new FakeFleet();
  source.fleet = fleet;
  for (const [index, site] of sites.entries()) addSite(source, fleet, site, index);
  source.store.fleet.enroll("nairobi", null);
  fleet.all.push({
    ...gatewayOf(source, "nairobi"),
    host: null,
    program: null,
    condition: "waiting",
    seenMs: null,
    startedAtMs: null,
    clockOffsetMs: null,
    epoch: null,
    lastSeq: null,
    confirmedSeq: null,
  });
  addAlerts(source);
  return source;
}

/** Records an event of a gateway, as the hub does. Returns its sequence number on the hub. */
export function recordOf(source: FakeSource, gateway: string, event: Event): number {
  const { fleet } = source.store;
  const source_ = fleet.epochs(gateway).at(-1)?.id ?? fleet.addEpoch(gateway, "0a1b2c3d", 1);
  const write = { events: [{ event, targets: [] }], sessions: [], ended: [], devices: null };
  const [seq] = source.store.record(write, 0, ([added]) =>
    fleet.addPlace(source_, 1000 + added!, added!),
  );
  return seq!;
}

/** The key of a peer of berlin/wg0, lyon/wg0 and so on. */
export function peerKey(gateway: string, n: number) {
  return keyOf(1000 * (1 + sites.findIndex(({ name }) => name === gateway)) + n);
}

function gatewayOf(source: FakeSource, name: string): GatewayState {
  const { wallMs } = source.clock.now();
  return {
    name,
    host: name,
    program: "1.4.0",
    condition: "up",
    sinceMs: wallMs - 95 * MINUTE_MS,
    seenMs: wallMs - 4 * SECOND_MS,
    startedAtMs: wallMs - 9 * 60 * MINUTE_MS,
    clockOffsetMs: 12,
    epoch: "0a1b2c3d",
    lastSeq: 512,
    confirmedSeq: 512,
    devices: 0,
    peers: 0,
    connected: 0,
  };
}

function addSite(source: FakeSource, fleet: FakeFleet, site: Site, index: number): void {
  const { wallMs } = source.clock.now();
  const { name, state } = site;
  source.store.fleet.enroll(name, null);
  const isLost = state.condition === "lost";
  for (const [d, each] of site.devices.entries()) {
    const full = fleetDevice(name, each);
    const peers = Array.from({ length: site.peers }, (_, n): Peer => {
      const publicKey = keyOf(1000 * (index + 1) + 100 * d + n);
      if (n < people.length) source.names.set(publicKey, `${people[n]!} ${name}`);
      source.tags.set(publicKey, n % 2 === 0 ? ["staff"] : []);
      source.speeds.set(publicKey, {
        rxBytesPerSecond: 21_000 * (n + 1),
        txBytesPerSecond: 310_000,
      });
      return peer({
        publicKey,
        endpoint: n === site.peers - 1 ? null : `198.51.100.${10 * index + n + 1}:${40_000 + n}`,
        allowedIps: [`10.${index}.${d}.${n + 2}/32`],
        lastHandshakeMs: n === site.peers - 1 ? null : wallMs - (n + 1) * 50 * SECOND_MS,
        rxBytes: 2e8 * n,
        txBytes: 9e8 * n,
      });
    });
    source.found.set(full, {
      device: device({ name: full, index: 0, listenPort: 51820 + d, publicKey: keyOf(90 + index) }),
      peers,
    });
    // The oldest first, as on the gateway.
    for (const [n, connected] of [...peers.slice(0, site.connected).entries()].toReversed()) {
      const startedAtMs = wallMs - (20 + 37 * n) * MINUTE_MS;
      source.connect(full, connected, { startedAtMs, rxBytes: 4e7, txBytes: 2e8 });
      const session = { startedAtMs, rxBytes: 0, txBytes: 0, roams: 0 };
      const change = {
        type: "peer.connected",
        atMs: startedAtMs,
        device: each,
        peer: connected,
        session,
        initial: false,
      } as const;
      recordOf(source, name, anEvent(source, change, name));
    }
  }
  fleet.all.push({
    ...gatewayOf(source, name),
    devices: site.devices.length,
    peers: site.peers * site.devices.length,
    connected: site.connected * site.devices.length,
    ...(isLost ? { sinceMs: wallMs - 3 * MINUTE_MS, seenMs: wallMs - 4 * MINUTE_MS } : {}),
    ...state,
  });
}

let events = 0;

function anEvent(source: FakeSource, change: Change, host: string): Event {
  const id = `evt_${(++events).toString(16).padStart(32, "0")}`;
  const name = "peer" in change ? source.nameOf(change.peer.publicKey) : null;
  return eventOf(change, { id, host, name });
}

/** Of two gateways, one of which does not report. */
function addAlerts(source: FakeSource): void {
  source.alerts.all = [ruleOf("down", "people")];
  for (const [gateway, n] of [
    ["berlin", 4],
    ["lyon", 1],
  ] as const) {
    const full = fleetDevice(gateway, "wg0");
    const found = source.found.get(full)!.peers[n]!;
    addAlert(source, {
      rule: "people",
      device: full,
      peer: found,
      sentence: `${source.nameOf(found.publicKey)!} (${full}) is down: no data for 22m`,
      minutes: 22 + n,
    });
  }
}
