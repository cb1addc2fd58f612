/**
 * Finds the peers that a request asks for, sorts them and returns one page of them. Only the peers of that
 * page become views: for 10,000 peers, making all views would take several times as long as the rest. Pure.
 */

import { formatEndpoint, type Peer } from "../base/wireguard.ts";
import type { Session } from "../sessions/session.ts";
import { inOrder, type PeerCursor } from "./order.ts";
import type { ReadModel } from "./read-model.ts";
import { endpointOf, type PeerView, stateOf, viewPeer } from "./view.ts";

export const sorts = [
  "device",
  "name",
  "publicKey",
  "lastHandshakeAt",
  "rxBytes",
  "txBytes",
  "startedAt",
  "lastSeenAt",
  "rxBytesPerSecond",
  "txBytesPerSecond",
  "roams",
] as const;

type Sort = (typeof sorts)[number];

/** The filters, order and page of a request; a filter that is null matches every peer. */
export interface PeerQuery {
  readonly device: string | null;
  readonly state: PeerView["state"] | null;
  readonly search: string | null;
  readonly sort: Sort;
  readonly isDescending: boolean;
  readonly offset: number;
  readonly limit: number;
}

interface Found {
  readonly device: string;
  readonly peer: Peer;
  readonly session: Session | null;
}

export function findPeers(
  source: ReadModel,
  { device: name, state, search, sort, isDescending, offset, limit }: PeerQuery,
): { readonly items: PeerView[]; readonly total: number } {
  const text = search === null ? null : new RegExp(RegExp.escape(search), "i");
  const found: Found[] = [];
  for (const { name: device } of source.devices()) {
    if (name !== null && device !== name) continue;
    for (const peer of source.peers(device)) {
      const each = { device, peer, session: source.session(device, peer.publicKey) };
      if (state !== null && stateOf(peer, each.session) !== state) continue;
      if (text === null || matches(source, each, text)) found.push(each);
    }
  }
  const placeOf = (each: Found): PeerCursor => ({
    value: valueOf(source, each, sort),
    state: stateOf(each.peer, each.session),
    name: source.nameOf(each.peer.publicKey, each.device),
    publicKey: each.peer.publicKey,
    device: each.device,
  });
  const page = inOrder(found, placeOf, isDescending).slice(offset, offset + limit);
  return {
    items: page.map(({ device, peer }) => viewPeer(source, device, peer)),
    total: found.length,
  };
}

function matches(source: ReadModel, { device, peer, session }: Found, wanted: RegExp): boolean {
  const { publicKey, allowedIps } = peer;
  const fits = (text: string) => wanted.test(text);
  if (fits(publicKey) || allowedIps.some(fits)) return true;
  if (fits(source.nameOf(publicKey, device) ?? "")) return true;
  if (source.tagsOf(publicKey).some(fits)) return true;
  const endpoint = endpointOf(peer, session);
  return endpoint !== null && fits(formatEndpoint(endpoint));
}

function valueOf(
  source: ReadModel,
  { device, peer, session }: Found,
  sort: Sort,
): string | number | null {
  switch (sort) {
    case "device":
      return device;
    case "name":
      return source.nameOf(peer.publicKey, device)?.toLowerCase() ?? null;
    case "lastHandshakeAt":
      return peer.lastHandshakeMs;
    case "startedAt":
      return session?.startedAtMs ?? null;
    case "lastSeenAt":
      return session?.lastActivity.wallMs ?? peer.lastHandshakeMs;
    case "rxBytesPerSecond":
    case "txBytesPerSecond":
      return session === null ? null : (source.rates(device, peer.publicKey)?.[sort] ?? null);
    case "roams":
      return session?.roams ?? null;
    case "publicKey":
    case "rxBytes":
    case "txBytes":
      return peer[sort];
  }
}
