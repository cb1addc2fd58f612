/** Sample events, by which a user tests a target. */

import { newId } from "../base/new-id.ts";
import type { Endpoint, Peer, PublicKey } from "../base/wireguard.ts";
import { type Change } from "../sessions/change.ts";
import type { AlertEvent, Event, EVENT_VERSION, FleetEvent } from "./event-schema.ts";
import { eventOf } from "./event.ts";

const DEVICE = "wg-test";
const NAME = "wgmon-test";
/** A valid key, whose private key is unknown. */
const KEY = "wgmonTESTwgmonTESTwgmonTESTwgmonTESTwgmonTE=" as PublicKey;
/** See event.ts. */
const version: typeof EVENT_VERSION = 1;

/** One event of each type, as in one session of a peer. The names and addresses show that it is a test. */
export function makeSamples(nowMs: number, host: string): readonly Event[] {
  const base = { atMs: nowMs, device: DEVICE };
  const session = { startedAtMs: nowMs, rxBytes: 212, txBytes: 92, roams: 0 };
  const roamed = { ...session, startedAtMs: nowMs - 245_000, roams: 1 };
  const [home, away] = [endpoint("198.51.100.7", 40001), endpoint("203.0.113.9", 40002)];
  const changes: readonly Change[] = [
    { type: "peer.connected", ...base, peer: testPeer(home), session, initial: false },
    {
      type: "peer.roamed",
      ...base,
      peer: testPeer(away),
      session: roamed,
      previousEndpoint: home,
    },
    {
      type: "peer.disconnected",
      ...base,
      peer: testPeer(away),
      session: roamed,
      endedAtMs: nowMs - 180_000,
      durationMs: 65_000,
      reason: "idle",
    },
    { type: "device.added", ...base, listenPort: 51820 },
    { type: "device.removed", ...base, listenPort: 51820 },
  ];
  const events = changes.map((change) => eventOf(change, { id: newId("evt"), host, name: NAME }));
  return [...events, ...alerts(nowMs, host)];
}

/** One event of each type that a hub reports about a gateway. */
export function makeFleetSamples(nowMs: number, host: string): readonly FleetEvent[] {
  const timestamp = new Date(nowMs).toISOString();
  const head = () => ({ id: newId("evt"), version, timestamp, host }) as const;
  const gateway = "wgmon-test";
  const seenAt = new Date(nowMs - 60_000).toISOString();
  const lost = { gateway, seenAt, peers: 12, connected: 5 };
  const partition = { gateways: [gateway, "wgmon-test-2", "wgmon-test-3"], count: 3, known: 4 };
  const gap = { gateway, epoch: "00000000", firstSeq: 30, lastSeq: 41, count: 12 };
  return [
    { ...head(), type: "gateway.lost", data: lost },
    { ...head(), type: "gateway.back", data: { gateway, unobservedMs: 725_000 } },
    { ...head(), type: "gateway.stopped", data: { gateway } },
    { ...head(), type: "fleet.partition", data: partition },
    { ...head(), type: "fleet.gap", data: gap },
    { ...head(), type: "fleet.duplicate-name", data: { gateway } },
  ];
}

/** A peer is down, and comes back. */
function alerts(nowMs: number, host: string): readonly AlertEvent[] {
  const timestamp = new Date(nowMs).toISOString();
  const since = new Date(nowMs - 300_000).toISOString();
  const head = () => ({ id: newId("evt"), version, timestamp, host }) as const;
  const peer = { publicKey: KEY, name: NAME, tags: [] };
  const data = (sentence: string) => {
    const alert = { id: "alert-1", device: DEVICE, peer, target: null, since, sentence };
    const rule = { rule: "test", kind: "down", severity: "critical" } as const;
    return { ...rule, device: DEVICE, peer, since, sentence, count: 1, alerts: [alert] };
  };
  const down = data(`${NAME} (${DEVICE}) is down: no data for 5m; check the peer and its network`);
  const back = data(`${NAME} (${DEVICE}) is back after 5m`);
  return [
    { ...head(), type: "alert.firing", data: { ...down, cause: null, reminder: false } },
    { ...head(), type: "alert.resolved", data: back },
  ];
}

function endpoint(address: string, port: number): Endpoint {
  return { address, port, scopeId: 0 };
}

function testPeer(current: Endpoint): Peer {
  return {
    publicKey: KEY,
    endpoint: current,
    allowedIps: ["192.0.2.2/32"],
    lastHandshakeMs: null,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
  };
}
