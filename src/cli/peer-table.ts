/** The columns in which `wgmon status` and `wgmon top` show a peer. Pure. */

import { shortName } from "../base/text.ts";
import { shortTunnelAddress } from "../base/tunnel-address.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import type { PeerView } from "../http/schemas.ts";
import { bytes, type Column, peerName, rate, since, type Style } from "./text.ts";

export const stateStyles: Readonly<Record<PeerView["state"], Style | null>> = {
  connected: "green",
  unknown: "yellow",
  disconnected: null,
  never: "dim",
};

/** The time of the last traffic of a connected peer, otherwise of the last handshake; null: never. */
export function lastSeen({
  session,
  lastHandshakeAt,
}: Pick<PeerView, "session" | "lastHandshakeAt">): string | null {
  return session?.lastSeenAt ?? lastHandshakeAt;
}

/** The columns of a table of these peers: on a hub, the gateway and the device have one each. */
export function columnsOf(peers: readonly PeerView[], nowMs: number): Column<PeerView>[] {
  const { name, state, device, ...rest } = peerColumns(nowMs);
  if (!peers.some(({ host }) => host !== undefined)) return Object.values(peerColumns(nowMs));
  return [
    name,
    { title: "HOST", cell: ({ host }) => shortName(host ?? ""), priority: 1.5 },
    state,
    ...Object.values({ ...rest, device: { ...device, cell: localDevice } }),
  ];
}

function localDevice({ device }: PeerView): string {
  return shortName(splitDevice(device).device);
}

/** The columns, by the field that the HTTP API sorts by. The API does not sort by `allowedIps`. */
export function peerColumns(nowMs: number) {
  // `?` if the peer is connected but its session is unknown.
  const ofSession = (text: (session: PeerView["session"]) => string) => (peer: PeerView) =>
    peer.state === "connected" ? text(peer.session) : "";
  const seen = (peer: PeerView) =>
    peer.state === "never" ? "" : `${since(lastSeen(peer), nowMs)} ago`;
  return {
    name: { title: "PEER", cell: peerName, priority: 0, minWidth: 12, shrinkTo: 12 },
    state: {
      title: "STATE",
      cell: ({ state }) => state,
      style: ({ state }) => stateStyles[state],
      priority: 1,
      minWidth: "disconnected".length,
    },
    allowedIps: {
      title: "ADDRESS",
      cell: ({ allowedIps }) => shortTunnelAddress(allowedIps),
      priority: 6,
    },
    device: { title: "DEVICE", cell: ({ device }) => shortName(device), priority: 7 },
    startedAt: {
      title: "SINCE",
      cell: ofSession((session) => since(session?.startedAt ?? null, nowMs)),
      priority: 3,
      minWidth: 7,
    },
    lastSeenAt: { title: "SEEN", cell: seen, priority: 2, minWidth: 10 },
    endpoint: {
      title: "ENDPOINT",
      cell: ({ endpoint }) => endpoint ?? "",
      priority: 8,
      minWidth: 21,
    },
    rxBytesPerSecond: {
      title: "FROM PEER/S",
      cell: ofSession((session) => rate(session?.rxBytesPerSecond ?? null)),
      isNumber: true,
      priority: 4,
      minWidth: 10,
    },
    txBytesPerSecond: {
      title: "TO PEER/S",
      cell: ofSession((session) => rate(session?.txBytesPerSecond ?? null)),
      isNumber: true,
      priority: 5,
      minWidth: 10,
    },
    rxBytes: {
      title: "FROM PEER",
      cell: (peer) => bytes(peer.rxBytes),
      isNumber: true,
      priority: 9,
      minWidth: 8,
    },
    txBytes: {
      title: "TO PEER",
      cell: (peer) => bytes(peer.txBytes),
      isNumber: true,
      priority: 10,
      minWidth: 8,
    },
    roams: {
      title: "ROAMS",
      cell: ofSession((session) => String(session?.roams ?? "?")),
      isNumber: true,
      priority: 11,
    },
  } satisfies Readonly<Record<string, Column<PeerView>>>;
}
