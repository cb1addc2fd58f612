/** Fires while a peer is connected outside the allowed times. Resolved when it disconnects, or when an allowed time begins. */

import { label, labelOf, met, NOTHING, type PeerKind } from "./kind.ts";

export const hours: PeerKind<"hours"> = {
  topics: ["presence"],

  judge({ rule, allowedAt }, { peer }, nowMs) {
    if (peer.connectedAtMs === null || rule.allowed.length === 0) return NOTHING;
    const window = allowedAt(nowMs);
    // The engine judges all peers again when the window ends.
    if (window.isInside) return NOTHING;
    const sinceMs = Math.max(peer.connectedAtMs, window.fromMs);
    const endpoint = peer.visits.at(-1)?.endpoint;
    const from = endpoint === undefined ? "" : ` from ${endpoint}`;
    const sentence = `${label(peer)} is connected${from} outside its allowed hours; ask its user, or remove the peer`;
    return met({ what: "", sinceMs, countsFromMs: sinceMs, sentence });
  },

  resolved(alert, view) {
    const who = labelOf(alert, view);
    const isConnected = view !== null && view.peer.connectedAtMs !== null;
    return isConnected ? `the allowed hours of ${who} have begun` : `${who} is disconnected`;
  },
};
