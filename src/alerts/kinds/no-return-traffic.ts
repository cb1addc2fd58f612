/**
 * Fires when data is sent to a connected peer with live keys and nothing comes back: a black hole. answers.ts finds it in
 * scans that are taken anyway; nothing is sent. Peers that roam or sleep are not judged, because a sleeping peer looks the
 * same. Resolved when the peer answers, or is no longer configured.
 */

import { duration } from "../../events/event.ts";
import type { Deafness } from "../facts.ts";
import type { NoReturnTrafficRule } from "../rule.ts";
import { AGE, label, labelOf, met, NOTHING, type PeerKind, UNKNOWN } from "./kind.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Peers that the user selected are expected to be always on; of others, a day shows whether they are. */
const STEADY_SELECTED_MS = 2 * MINUTE_MS;
const STEADY_OTHERS_MS = 24 * HOUR_MS;
/** Idle disconnects per week of a peer that sleeps. Those of a selected peer may have been outages. */
const SLEEPS_SELECTED = 4;
/** Roams per day of a peer that is moved around; an address that its provider changes once a day does not count. */
const ROAMS = 3;

export const noReturnTraffic: PeerKind<"no-return-traffic"> = {
  topics: ["answers"],

  judge({ rule }, { peer, sample, device }) {
    const { deaf } = sample;
    if (deaf !== null && peer.isPresent && !device.isPresent) return UNKNOWN;
    if (deaf === null || !peer.isPresent) return NOTHING;
    if (!isAlwaysOn(rule, deaf)) return NOTHING;
    const sinceMs = deaf.sinceAtMs;
    const sentence = `${label(peer)} does not answer: data was sent to it, and none came back for ${AGE}; check routing and firewalls between it and this gateway`;
    return met({ what: "", sinceMs, countsFromMs: sinceMs, sentence });
  },

  resolved(alert, view, nowMs) {
    const who = labelOf(alert, view);
    if (view === null || !view.peer.isPresent) return `${who} is no longer configured`;
    return `${who} answers again after ${duration(nowMs - alert.sinceAtMs)}`;
  },
};

function isAlwaysOn(rule: NoReturnTrafficRule, deaf: Deafness): boolean {
  const isSelected = rule.peers.length + rule.tags.length > 0;
  const steadyMs = rule.steadyForMs ?? (isSelected ? STEADY_SELECTED_MS : STEADY_OTHERS_MS);
  const sleepsMax = isSelected ? SLEEPS_SELECTED - 1 : 0;
  return deaf.steadyMs >= steadyMs && deaf.sleeps <= sleepsMax && deaf.roams < ROAMS;
}
