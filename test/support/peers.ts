/** Builds peers, devices and scans for tests; addresses are from documentation ranges. */

import type {
  Device,
  Endpoint,
  Peer,
  PeerChange,
  PublicKey,
  Scan,
} from "../../src/base/wireguard.ts";

export const ALICE = `${"A".repeat(42)}I=` as PublicKey;
export const BOB = `${"B".repeat(42)}I=` as PublicKey;

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820` */
export function mustEndpoint(text: string): Endpoint {
  const match = /^(?:\[([^\]%]+)(?:%(\d+))?\]|([^:]+)):(\d+)$/.exec(text);
  if (match === null) throw new Error(`invalid endpoint: ${text}`);
  const [, ipv6, scope, ipv4, port] = match;
  return { address: (ipv6 ?? ipv4)!, port: Number(port), scopeId: Number(scope ?? 0) };
}

type PeerFields = Partial<Omit<Peer, "endpoint">> & { readonly endpoint?: string | null };

export function peer(fields: PeerFields = {}): Peer {
  const { endpoint = "192.0.2.1:51820", ...rest } = fields;
  return {
    publicKey: ALICE,
    endpoint: endpoint === null ? null : mustEndpoint(endpoint),
    allowedIps: ["10.0.0.2/32"],
    lastHandshakeMs: null,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
    ...rest,
  };
}

export function device(fields: Partial<Device> = {}): Device {
  return { name: "wg0", index: 3, listenPort: 51820, publicKey: null, ...fields };
}

/** Creates scans as src/kernel does: compares the peers of each device with those of its previous scan. */
export class ScanMaker {
  readonly #devices = new Map<string, { device: Device; peers: Map<PublicKey, Peer> }>();

  /** A scan of devices with their current peers. Devices that are not passed count as removed. */
  scan(...found: readonly (readonly [Device, readonly Peer[]])[]): Scan {
    const removed: Device[] = [];
    for (const [name, before] of this.#devices) {
      const now = found.find(([each]) => each.name === name)?.[0];
      if (now?.index === before.device.index) continue;
      this.#devices.delete(name);
      removed.push(before.device);
    }
    const devices = found.map(([each, peers]) => {
      const known = this.#devices.get(each.name)?.peers ?? new Map<PublicKey, Peer>();
      const changed: PeerChange[] = peers
        .map((now) => ({ peer: now, before: known.get(now.publicKey) ?? null }))
        .filter(({ peer: now, before }) => JSON.stringify(now) !== JSON.stringify(before));
      const keys = peers.map(({ publicKey }) => publicKey);
      const gone = [...known.keys()].filter((key) => !keys.includes(key));
      const now = new Map(peers.map((each) => [each.publicKey, each]));
      this.#devices.set(each.name, { device: each, peers: now });
      return { device: each, changed, removed: gone };
    });
    return { devices, removed, present: null };
  }
}
