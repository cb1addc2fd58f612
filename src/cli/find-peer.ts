/** Finds the one peer that the word of `wgmon peer` names: by its name, key, endpoint or tunnel address. */

import { NotFound } from "../base/errors.ts";
import { formatList, noSuch, quoteSafely } from "../base/redact.ts";
import { firstOf, shortName } from "../base/text.ts";
import { shortTunnelAddress } from "../base/tunnel-address.ts";
import { visible } from "../base/visible.ts";
import { SHORT_KEY } from "../base/wireguard.ts";
import type { PeerView } from "../http/schemas.ts";
import type { ApiReader } from "./client.ts";
import { findPeers, knownNames, peersAt, searchPeers } from "./find-peers.ts";
import { peerName } from "./text.ts";

/** Maximum number of peers in the error for an ambiguous word. */
const CANDIDATES_MAX = 5;

/** A peer of a device, or the key of a peer that was removed and is still in the store. */
export type FoundPeer =
  | { readonly type: "present"; readonly peer: PeerView }
  | { readonly type: "removed"; readonly publicKey: string };

/**
 * @param devices only peers of these devices; empty: of all.
 * @throws NotFound when the word names no peer, or several.
 */
export async function findPeer(
  api: ApiReader,
  word: string,
  devices: readonly string[],
): Promise<FoundPeer> {
  const named = await peersNamed(api, word);
  const present = named.filter(({ device }) => devices.length === 0 || devices.includes(device));
  if (present.length > 1) throw ambiguous(word, present);
  if (present.length === 1) return { type: "present", peer: present[0]! };
  if (named.length > 0) {
    const places = new Set(named.map(({ device }) => shortName(device)));
    throw new NotFound(
      `${quoteSafely(word)} is a peer of ${formatList([...places], "and")}, not of ${formatList(devices.map(shortName), "or")}`,
      "--device selects a device.",
    );
  }
  const { keys } = await findPeers(api, word);
  if (keys.length === 1) return { type: "removed", publicKey: keys[0]! };
  if (keys.length > 1) {
    const shown = formatList(firstOf(keys, CANDIDATES_MAX), "and");
    throw new NotFound(
      `${quoteSafely(word)} names ${keys.length} removed peers: ${shown}`,
      "Write the key.",
    );
  }
  const problem = noSuch({ flag: null, what: "peer", word }, await knownNames(api));
  throw new NotFound(problem, "wgmon status lists the peers.");
}

/** All peers that the word names in the same way; the first way that names any is used. */
async function peersNamed(api: ApiReader, word: string): Promise<readonly PeerView[]> {
  const start = word.replace(/\u2026$/, "");
  const hits = await searchPeers(api, start);
  const exact = hits.filter((peer) => peer.name === word || peer.publicKey === word);
  if (exact.length > 0) return exact;
  const byKey = hits.filter(
    ({ publicKey }) => start.length >= SHORT_KEY && publicKey.startsWith(start),
  );
  if (byKey.length > 0) return byKey;
  const byAddress = await peersAt(api, word, hits);
  if (byAddress.length > 0) return byAddress;
  const lower = word.toLowerCase();
  const inOtherCase = hits.filter(
    (peer) => peer.name?.toLowerCase() === lower || peerName(peer).toLowerCase() === lower,
  );
  if (inOtherCase.length > 0) return inOtherCase;
  return hits.filter(
    ({ name }) => name !== null && `${name}\n${shortName(name)}`.toLowerCase().includes(lower),
  );
}

function ambiguous(word: string, peers: readonly PeerView[]): NotFound {
  const names = peers.map((peer) => {
    const address = shortTunnelAddress(peer.allowedIps);
    const place = [shortName(peer.device), address].filter((part) => part !== "").join(", ");
    return visible(`${peerName(peer)} (${place})`);
  });
  const isOnDevices = new Set(peers.map(({ publicKey }) => publicKey)).size === 1;
  return new NotFound(
    `${quoteSafely(word)} names ${peers.length} peers: ${formatList(firstOf(names, CANDIDATES_MAX), "and")}`,
    isOnDevices
      ? "--device selects one of the devices."
      : "Write the whole name, the key or a tunnel address.",
  );
}
