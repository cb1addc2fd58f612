/**
 * Fires when an expected peer is absent: it was disconnected (after the idle timeout), its keep-alives are missing (if their
 * cadence was learned), or it has not connected since wgmon began to watch it. `for` counts from the last activity, or from
 * when wgmon began to watch again. Resolved when the peer is back, or is no longer configured.
 */

import { duration } from "../../events/event.ts";
import { GRACE_MS } from "../facts.ts";
import { AGE, label, labelOf, met, NOTHING, type PeerKind, UNKNOWN } from "./kind.ts";

export const down: PeerKind<"down"> = {
  topics: ["presence"],

  judge(_, { peer, device }, nowMs) {
    const isAbsent = peer.connectedAtMs === null || peer.isSilent;
    if (!isAbsent || !peer.isPresent) return NOTHING;
    // The peers of a new device have no keys, and need time to make new ones. This peer may have made them already.
    const hasReturned = (peer.arrivedAtMs ?? 0) >= device.graceUntilAtMs - GRACE_MS;
    if (device.isPresent && nowMs < device.graceUntilAtMs && !hasReturned) {
      // All peers are judged again when the grace period ends.
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
    // Without any earlier activity, the alert counts from when wgmon began to watch the peer.
    const { visits, watchedAtMs, connectedAtMs } = view.peer;
    const isFirstVisit =
      alert.sinceAtMs === watchedAtMs && (visits[0]?.fromAtMs ?? Infinity) > watchedAtMs;
    const verb = isFirstVisit ? "has connected" : "is back";
    // A scan finds a handshake up to a tick later. Without a handshake, the data of this scan is the return.
    const foundMs = alert.recoveredAtMs ?? nowMs;
    const isNewSession = connectedAtMs !== null && connectedAtMs > alert.sinceAtMs;
    const backMs = isNewSession ? Math.min(connectedAtMs, foundMs) : foundMs;
    return `${who} ${verb} after ${duration(backMs - alert.sinceAtMs)}`;
  },
};

function sentence(seenAtMs: number | null, who: string): string {
  return seenAtMs === null
    ? `${who} has not connected since wgmon began to watch it ${AGE} ago; check its configuration and its network`
    : `${who} is down: no data for ${AGE}; check the peer and its network`;
}
