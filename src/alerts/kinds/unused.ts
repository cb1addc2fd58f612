/**
 * Fires for peers that were not connected for N days, or never. All of them are one summary, at one time of the day, and
 * a peer is in it once. Resolved, with the next summary, when the peer connects or is no longer configured.
 */

import { AGE, label, labelOf, met, NOTHING, type PeerKind } from "./kind.ts";

const DAY_MS = 86_400_000;

export const unused: PeerKind<"unused"> = {
  topics: ["presence"],

  judge({ rule }, { peer }, nowMs) {
    if (peer.connectedAtMs !== null || !peer.isPresent) return NOTHING;
    const sinceMs = peer.seenAtMs ?? peer.watchedAtMs;
    const dueMs = sinceMs + rule.days * DAY_MS;
    // All peers are judged again at the time of the summary.
    if (nowMs < dueMs) return NOTHING;
    const who = label(peer);
    const sentence =
      peer.seenAtMs === null
        ? `${who} has not connected since wgmon began to watch it ${AGE} ago; remove it if it is not needed`
        : `${who} was not connected for ${AGE}; remove it if it is not needed`;
    return met({ what: "", sinceMs, countsFromMs: dueMs, sentence });
  },

  resolved(alert, view) {
    const who = labelOf(alert, view);
    if (view === null || !view.peer.isPresent) return `${who} is no longer configured`;
    return `${who} is used again`;
  },
};
