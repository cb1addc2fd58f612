/**
 * Fires when an expected peer is absent: it was disconnected (after the idle timeout), its keep-alives are missing (if
 * their cadence was learned), or it never connected since wgmon watches. `for` counts from the last activity, or from
 * when wgmon began to watch again. Resolved when the peer is back, or is no longer configured.
 */

import { GRACE_MS } from "../facts.ts";
import { DURATION, label, labelOf, met, NOTHING, type PeerKind, span, UNKNOWN } from "./kind.ts";

export const down: PeerKind<"down"> = {
  topics: ["presence"],

  judge(_, { peer, device }, nowMs) {
    const isAbsent = peer.connectedAtMs === null || peer.isSilent;
    if (!isAbsent || !peer.isPresent) return NOTHING;
    // A new device has no keys, and an idle peer needs its time to make new ones, unless it has made them already.
    const hasReturned = (peer.startedAtMs ?? 0) > device.graceUntilAtMs - GRACE_MS;
    if (device.isPresent && nowMs < device.graceUntilAtMs && !hasReturned) {
      // All peers are judged again when it ends.
      return UNKNOWN;
    }
    const sinceMs = peer.seenAtMs ?? peer.watchedAtMs;
    // A device that is created again at once is no outage, however long its peers were idle before.
    const countsFromMs = Math.max(sinceMs, device.removedAtMs ?? sinceMs);
    const text = sentence(peer.seenAtMs, label(peer));
    return met({ what: "", sinceMs, countsFromMs, sentence: text });
  },

  resolved(alert, view, nowMs) {
    const who = labelOf(alert, view);
    if (view === null || !view.peer.isPresent) return `${who} is no longer configured`;
    return `${who} is back after ${span(nowMs - alert.sinceAtMs)}`;
  },
};

function sentence(seenAtMs: number | null, who: string): string {
  return seenAtMs === null
    ? `${who} has not connected since wgmon watches it, for ${DURATION}: check its configuration and its network`
    : `${who} is down: no data for ${DURATION}; check the peer and its network`;
}
