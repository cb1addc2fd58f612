/** Sample events, by which a user tests a target. */

import type { Endpoint, Peer, PublicKey } from "../base/wireguard.ts";
import { type Change } from "../sessions/change.ts";
import type { Event } from "./event-schema.ts";
import { eventOf } from "./event.ts";

/** One event of each type, as in one session of a peer. The names and addresses show that it is a test. */
export function makeSamples(nowMs: number, host: string): readonly Event[] {
  const base = { atMs: nowMs, device: "wg-test" };
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
  return changes.map((change) => {
    const id = `evt_${Bun.randomUUIDv7().replaceAll("-", "")}`;
    return eventOf(change, { id, host, name: "wgmon-test" });
  });
}

function endpoint(address: string, port: number): Endpoint {
  return { address, port, scopeId: 0 };
}

function testPeer(current: Endpoint): Peer {
  return {
    // A valid key, whose private key is unknown.
    publicKey: "wgmonTESTwgmonTESTwgmonTESTwgmonTESTwgmonTE=" as PublicKey,
    endpoint: current,
    allowedIps: ["192.0.2.2/32"],
    lastHandshakeMs: null,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
  };
}
