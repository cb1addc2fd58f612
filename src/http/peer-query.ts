/**
 * Finds and sorts the peers for the HTTP API, the commands and the page. The callers render only one page of the
 * result: for 10,000 peers, rendering all of them would take several times as long as finding and sorting. Pure.
 */

import { shortName } from "../base/text.ts";
import type { Peer } from "../base/wireguard.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import type { Session } from "../sessions/session.ts";
import { isObserved } from "./fleet-model.ts";
import type { ReadModel } from "./read-model.ts";
import { type PeerView, stateNames } from "./schemas.ts";
import { endpointOf, ratesOf, stateOf } from "./view.ts";

export const sorts = [
  "state",
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

export type Sort = (typeof sorts)[number];

/** The filters and the order of a request; a filter that is null matches every peer. */
export interface PeerQuery {
  /** On a hub: the name of a gateway. Omitted: as null. */
  readonly gateway?: string | null;
  readonly device: string | null;
  readonly state: PeerView["state"] | null;
  /** Part of a peer's name, tags, key, endpoint or allowed IPs, regardless of case. */
  readonly search: string | null;
  readonly sort: Sort;
  readonly isDescending: boolean;
}

/** A peer that matches a query. */
export interface FoundPeer {
  readonly device: string;
  readonly peer: Peer;
  /** null: the peer is not connected. */
  readonly session: Session | null;
  readonly state: PeerView["state"];
  /** Not sanitized; null if the peer has no name. */
  readonly name: string | null;
}

/** Sorts after all names: U+FFFF is a noncharacter, greater than all other UTF-16 code units. */
const NO_NAME = "\uffff";

/**
 * All peers that match, in order. Peers without a value to sort by come last in both directions; of these,
 * connected peers come first and peers that never connected last. Ties are sorted by name regardless of case,
 * with unnamed peers last, then by key and device. WireGuard's own order is not used, because userspace
 * programs list peers in a different order each time.
 *
 * @param peersOf by default, an unreadable device is an error.
 */
export function findPeers(
  source: ReadModel,
  query: PeerQuery,
  peersOf = (device: string) => source.peers(device),
): FoundPeer[] {
  const { gateway = null, search, sort, isDescending } = query;
  // Unlike toLowerCase, the flags iu equate all forms of a letter, such as σ and ς.
  const pattern = search === null ? null : new RegExp(RegExp.escape(search), "iu");
  const found = [];
  for (const { name: device } of source.devices()) {
    if (query.device !== null && device !== query.device) continue;
    if (gateway !== null && splitDevice(device).gateway !== gateway) continue;
    const isKnown = isObserved(source, device);
    for (const peer of peersOf(device)) {
      const session = source.session(device, peer.publicKey);
      const state = stateOf(peer, session, isKnown);
      if (query.state !== null && state !== query.state) continue;
      const row = { device, peer, session, state, name: source.nameOf(peer.publicKey, device) };
      if (pattern !== null && !matches(source, row, pattern)) continue;
      const name = row.name?.toLowerCase() ?? NO_NAME;
      found.push({ row, value: valueOf(source, row, sort), name });
    }
  }
  const sign = isDescending ? -1 : 1;
  return found
    .sort((a, b) => {
      const [{ row: left }, { row: right }] = [a, b];
      if (a.value !== b.value) {
        if (a.value === null || b.value === null) return a.value === null ? 1 : -1;
        return sign * compare(a.value, b.value);
      }
      return (
        (a.value === null ? rankOf(left) - rankOf(right) : 0) ||
        compare(a.name, b.name) ||
        compare(left.peer.publicKey, right.peer.publicKey) ||
        compare(left.device, right.device)
      );
    })
    .map(({ row }) => row);
}

function matches(source: ReadModel, row: FoundPeer, pattern: RegExp): boolean {
  const { peer, session, name } = row;
  const fits = (text: string) => pattern.test(text);
  if (name !== null && fits(name)) return true;
  if (fits(peer.publicKey) || peer.allowedIps.some(fits)) return true;
  if (source.tagsOf(peer.publicKey, row.device).some(fits)) return true;
  const endpoint = endpointOf(peer, session);
  if (endpoint !== null && fits(endpoint)) return true;
  // The name as the page and the commands show it. Checked last, because sanitizing it takes the longest.
  return name !== null && fits(shortName(name));
}

/** The value that the peer is sorted by; null if it has none. */
function valueOf(source: ReadModel, row: FoundPeer, sort: Sort): string | number | null {
  const { device, peer, session, name } = row;
  switch (sort) {
    case "state":
      return rankOf(row);
    case "device":
      return device;
    case "name":
      return name?.toLowerCase() ?? null;
    case "lastHandshakeAt":
      return peer.lastHandshakeMs;
    case "startedAt":
      return session?.startedAtMs ?? null;
    case "lastSeenAt":
      return session?.lastActivity.wallMs ?? peer.lastHandshakeMs;
    case "rxBytesPerSecond":
    case "txBytesPerSecond":
      return ratesOf(source, session)?.[sort] ?? null;
    case "roams":
      return session?.roams ?? null;
    case "publicKey":
    case "rxBytes":
    case "txBytes":
      return peer[sort];
  }
}

/** The index of the peer's state in `stateNames`: connected first, never connected last. */
function rankOf({ state }: FoundPeer): number {
  return stateNames.indexOf(state);
}

function compare<Value extends number | string>(a: Value, b: Value): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
