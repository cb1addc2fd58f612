/** The peers that gateways report, as the values of a scan. Pure. */

import { areEqual } from "../base/text.ts";
import { parseEndpoint, type Peer, type PublicKey, sameEndpoint } from "../base/wireguard.ts";
import type { PeerReport } from "../fleet/messages.ts";

/** The times are converted by the offset of the clocks. */
export function peerOfReport(report: PeerReport, offsetMs: number): Peer {
  const { publicKey, allowedIps, lastHandshakeMs, rxBytes, txBytes } = report;
  return {
    publicKey: publicKey as PublicKey,
    endpoint: report.endpoint === null ? null : parseEndpoint(report.endpoint),
    allowedIps,
    lastHandshakeMs: lastHandshakeMs === null ? null : lastHandshakeMs - offsetMs,
    rxBytes,
    txBytes,
    persistentKeepaliveSeconds: report.persistentKeepaliveSeconds,
  };
}

/** A peer that only an event has reported. */
export function peerOfEvent(peer: {
  readonly publicKey: string;
  readonly allowedIps: readonly string[];
  readonly endpoint: string | null;
}): Peer {
  return {
    publicKey: peer.publicKey as PublicKey,
    endpoint: peer.endpoint === null ? null : parseEndpoint(peer.endpoint),
    allowedIps: peer.allowedIps,
    lastHandshakeMs: null,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
  };
}

/** Whether a report differs from the one before; null: there was none. */
export function isOther(before: Peer | null, peer: Peer): boolean {
  return (
    before === null ||
    before.lastHandshakeMs !== peer.lastHandshakeMs ||
    before.rxBytes !== peer.rxBytes ||
    before.txBytes !== peer.txBytes ||
    before.persistentKeepaliveSeconds !== peer.persistentKeepaliveSeconds ||
    !sameEndpoint(before.endpoint, peer.endpoint) ||
    !areEqual(before.allowedIps, peer.allowedIps)
  );
}
