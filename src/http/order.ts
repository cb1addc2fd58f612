/** The order in which the HTTP interface, the commands and the page list peers. Pure. */

import type { PeerView } from "./view.ts";

const ranks: Readonly<Record<PeerView["state"], number>> = {
  connected: 0,
  disconnected: 1,
  never: 2,
};

/** The values that decide a peer's position. */
export interface PeerCursor {
  /** The value that the list is sorted by; null if the peer has no such value. */
  readonly value: number | string | null;
  readonly state: PeerView["state"];
  /** null if the peer has no name. */
  readonly name: string | null;
  readonly publicKey: string;
  readonly device: string;
}

/**
 * Sorts by value. Peers without a value come last in both directions; of these, connected peers come first
 * and peers that never connected last. Ties are sorted by name regardless of case, with unnamed peers last,
 * then by key and device. WireGuard's own order is not used, because userspace programs list peers in a
 * different order each time.
 */
export function inOrder<Peer>(
  peers: readonly Peer[],
  placeOf: (peer: Peer) => PeerCursor,
  isDescending: boolean,
): Peer[] {
  const sign = isDescending ? -1 : 1;
  return peers
    .map((peer) => {
      const place = placeOf(peer);
      // U+FFFF is a noncharacter, greater than all others.
      return { peer, place, name: place.name?.toLowerCase() ?? "\uffff" };
    })
    .sort(({ place: a, name: left }, { place: b, name: right }) => {
      if (a.value !== b.value) {
        if (a.value === null || b.value === null) return a.value === null ? 1 : -1;
        return sign * compare(a.value, b.value);
      }
      return (
        (a.value === null ? ranks[a.state] - ranks[b.state] : 0) ||
        compare(left, right) ||
        compare(a.publicKey, b.publicKey) ||
        compare(a.device, b.device)
      );
    })
    .map(({ peer }) => peer);
}

function compare<Value extends number | string>(a: Value, b: Value): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
