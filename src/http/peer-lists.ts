/**
 * The peers of a device with their names and states. On a hub, which may have 100,000 peers, a list is kept until the
 * gateway reports a change.
 */

import type { Peer } from "../base/wireguard.ts";
import type { Session } from "../sessions/session.ts";
import { isObserved } from "./fleet-model.ts";
import type { ReadModel } from "./read-model.ts";
import type { PeerView } from "./schemas.ts";
import { stateOf } from "./view.ts";

/** A peer of a device. */
export interface FoundPeer {
  readonly device: string;
  readonly peer: Peer;
  /** null: the peer is not connected. */
  readonly session: Session | null;
  readonly state: PeerView["state"];
  /** Not sanitized; null if the peer has no name. */
  readonly name: string | null;
}

/** A peer, and its name in lower case, by which lists are sorted. */
export interface ListedPeer {
  readonly row: FoundPeer;
  readonly name: string;
}

export interface PeerCounts {
  readonly connected: number;
  readonly disconnected: number;
  readonly never: number;
  /** On a hub: peers of gateways that do not report. */
  readonly unknown: number;
  /** Bytes per second of all peers; null until they are known. */
  readonly rates: { readonly rx: number; readonly tx: number } | null;
}

interface PeerList {
  readonly version: string | null;
  readonly peers: readonly ListedPeer[];
  counts: PeerCounts | null;
}

/** Sorts after all names: U+FFFF is a noncharacter, greater than all other UTF-16 code units. */
const NO_NAME = "\uffff";

const kept = new WeakMap<ReadModel, Map<string, PeerList>>();

/** @param peersOf by default, an unreadable device is an error. */
export function listPeers(
  source: ReadModel,
  device: string,
  peersOf?: (device: string) => Iterable<Peer>,
): readonly ListedPeer[] {
  return listOf(source, device, peersOf).peers;
}

/** How many peers of a device are in each state, and the sum of their rates. */
export function countsOf(source: ReadModel, device: string): PeerCounts {
  const list = listOf(source, device);
  return (list.counts ??= count(source, list.peers));
}

function listOf(
  source: ReadModel,
  device: string,
  peersOf = (name: string): Iterable<Peer> => source.peers(name),
): PeerList {
  const version = source.peersVersion(device);
  if (version === null) return makeList(source, device, { version, peers: peersOf(device) });
  let lists = kept.get(source);
  if (lists === undefined) kept.set(source, (lists = new Map()));
  const known = lists.get(device);
  if (known?.version === version) return known;
  // Gateways that were forgotten leave lists behind.
  if (known === undefined && lists.size > 2 * source.devices().length) lists.clear();
  const list = makeList(source, device, { version, peers: peersOf(device) });
  lists.set(device, list);
  return list;
}

function makeList(
  source: ReadModel,
  device: string,
  { version, peers }: { readonly version: string | null; readonly peers: Iterable<Peer> },
): PeerList {
  const isKnown = isObserved(source, device);
  const listed = Array.from(peers, (peer): ListedPeer => {
    const session = source.session(device, peer.publicKey);
    const state = stateOf(peer, session, isKnown);
    const name = source.nameOf(peer.publicKey, device);
    return { row: { device, peer, session, state, name }, name: name?.toLowerCase() ?? NO_NAME };
  });
  return { version, peers: listed, counts: null };
}

function count(source: ReadModel, peers: readonly ListedPeer[]): PeerCounts {
  const counts = { connected: 0, disconnected: 0, never: 0, unknown: 0 };
  const rates = { rx: 0, tx: 0 };
  let areKnown = false;
  for (const { row } of peers) {
    counts[row.state]++;
    if (row.session === null) continue;
    const rate = source.rates(row.device, row.peer.publicKey);
    if (rate === null) continue;
    areKnown = true;
    rates.rx += rate.rxBytesPerSecond;
    rates.tx += rate.txBytesPerSecond;
  }
  // Without a connection there is no traffic.
  return { ...counts, rates: areKnown || counts.connected === 0 ? rates : null };
}
