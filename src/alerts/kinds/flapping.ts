/**
 * Fires when a peer was disconnected more than N times within a span. Disconnects because the peer or its device was
 * removed do not count. Resolved when the span contains N or fewer.
 */

import { duration } from "../../events/event.ts";
import { label, labelOf, met, NOTHING, type PeerKind } from "./kind.ts";

export const flapping: PeerKind<"flapping"> = {
  topics: ["presence"],

  judge({ rule }, { peer }, nowMs) {
    const { disconnects, withinMs } = rule;
    const recent = peer.endsAtMs.filter((atMs) => atMs > nowMs - withinMs);
    const oldest = recent[recent.length - disconnects - 1];
    if (oldest === undefined || !peer.isPresent) return NOTHING;
    const last = recent.at(-1)!;
    const sentence = `${label(peer)} was disconnected ${recent.length} times within ${duration(withinMs)}; check its network and the idle timeout`;
    return met({ what: "", sinceMs: last, countsFromMs: last, sentence }, oldest + withinMs);
  },

  resolved(alert, view) {
    return `${labelOf(alert, view)} is stable again`;
  },
};
