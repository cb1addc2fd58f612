/** The order in which the HTTP interface, the commands and the page list peers. Pure. */

import type { PeerView } from "./view.ts";

const ranks: Readonly<Record<PeerView["state"], number>> = {
  connected: 0,
  disconnected: 1,
  never: 2,
};

/** What decides a peer's place. */
export interface Place {
  /** What the list is sorted by; null: the peer has none. */
  readonly value: number | string | null;
  readonly state: PeerView["state"];
  /** null: it has no name. */
  readonly name: string | null;
  readonly publicKey: string;
  readonly device: string;
}

/**
 * Sorts by value. Peers without one come last in either direction, those that never connected behind the
 * others. Ties go by name regardless of case, unnamed peers last, then by key and device: WireGuard's
 * own order is not used, because userspace programs answer in another one each time.
 */
export function inOrder<Peer>(
  peers: readonly Peer[],
  placeOf: (peer: Peer) => Place,
  isDescending: boolean,
): Peer[] {
  const sign = isDescending ? -1 : 1;
  return peers
    .map((peer) => {
      const place = placeOf(peer);
      // U+FFFF is no character, and greater than all of them.
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
