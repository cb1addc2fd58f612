/**
 * Finds and sorts the peers for the HTTP API, the commands and the page. The callers render only one page of the
 * result: for 10,000 peers, rendering all of them would take several times as long as finding and sorting. Pure.
 */

import { shortName } from "../base/text.ts";
import type { Peer } from "../base/wireguard.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import { type FoundPeer, listPeers } from "./peer-lists.ts";
import type { ReadModel } from "./read-model.ts";
import { type PeerView, stateNames } from "./schemas.ts";
import { endpointOf, ratesOf } from "./view.ts";

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

/** The peers that match a query, as an array in their order, of which only the requested part is sorted. */
export interface PeerMatches {
  readonly length: number;
  slice(start: number, end: number): FoundPeer[];
}

/** A part that ends after this is taken from the sorted list of all. */
const SELECTED_MAX = 1000;

/**
 * The peers that match. Peers without a value to sort by come last in both directions; of these, connected peers come
 * first and peers that never connected last. Ties are sorted by name regardless of case, with unnamed peers last, then by
 * key and device. WireGuard's own order is not used, because userspace programs list peers in a different order each
 * time.
 *
 * @param peersOf by default, an unreadable device is an error.
 */
export function matchPeers(
  source: ReadModel,
  query: PeerQuery,
  peersOf?: (device: string) => Iterable<Peer>,
): PeerMatches {
  const { gateway = null, search, sort, isDescending } = query;
  // Unlike toLowerCase, the flags iu equate all forms of a letter, such as σ and ς.
  const pattern = search === null ? null : new RegExp(RegExp.escape(search), "iu");
  const found: Match[] = [];
  for (const { name: device } of source.devices()) {
    if (query.device !== null && device !== query.device) continue;
    if (gateway !== null && splitDevice(device).gateway !== gateway) continue;
    for (const { row, name } of listPeers(source, device, peersOf)) {
      if (query.state !== null && row.state !== query.state) continue;
      if (pattern !== null && !matches(source, row, pattern)) continue;
      found.push({ row, value: valueOf(source, row, sort), name });
    }
  }
  const order = orderOf(isDescending ? -1 : 1);
  let sorted: readonly FoundPeer[] | null = null;
  return {
    length: found.length,
    slice(start, end) {
      if (end > SELECTED_MAX || 2 * end > found.length) {
        sorted ??= found.sort(order).map(({ row }) => row);
        return sorted.slice(start, end);
      }
      return firstOf(found, end, order)
        .slice(start)
        .map(({ row }) => row);
    },
  };
}

/** All peers that match, in order. */
export function findPeers(...args: Parameters<typeof matchPeers>): FoundPeer[] {
  const found = matchPeers(...args);
  return found.slice(0, found.length);
}

interface Match {
  readonly row: FoundPeer;
  readonly value: string | number | null;
  readonly name: string;
}

function orderOf(sign: 1 | -1) {
  return (a: Match, b: Match): number => {
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
  };
}

/** The first items in the order. Of 100,000, this takes a tenth of the time of sorting them. */
function firstOf<Item>(
  items: readonly Item[],
  count: number,
  order: (a: Item, b: Item) => number,
): Item[] {
  const first: Item[] = [];
  for (const item of items) {
    if (first.length === count && order(item, first.at(-1)!) >= 0) continue;
    let [low, high] = [0, first.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order(item, first[middle]!) < 0) high = middle;
      else low = middle + 1;
    }
    first.splice(low, 0, item);
    if (first.length > count) first.pop();
  }
  return first;
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
