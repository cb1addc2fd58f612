/**
 * Fires when one key is used from two places in turns: a configuration that was copied to a second machine. WireGuard
 * sends the answers to the place that it heard from last, so each of the two loses its keys to the other and soon makes
 * a new handshake. One machine that changes between two networks keeps its keys for two minutes, unless it was without
 * any network in between. So the rule needs several turns (A, B, A, B), each A within a short time of the A before, and
 * three handshakes long before the previous one's keys had to be renewed. Where handshakes are unknown (stored events), it
 * needs one turn more. Resolved when there was no turn for a while.
 */

import { REKEY_AFTER_MS } from "../../base/wireguard.ts";
import { duration } from "../../events/event.ts";
import type { Visit } from "../facts.ts";
import { label, labelOf, met, NOTHING, type PeerKind } from "./kind.ts";

/** A handshake this early is no renewal: renewals are REKEY_AFTER_MS apart, less a round trip and a retry. */
const EARLY_MS = REKEY_AFTER_MS - 10_000;
/** Both sides may begin a handshake at the same time, and repeat it after REKEY_TIMEOUT (5 s, messages.h). */
const SAME_MS = 6000;
/** One machine that is without a network now and then may make one such handshake, or two. */
const EARLY_MIN = 3;
/** It is resolved after this many times `withinMs` without a turn. */
const QUIET = 5;

export const sharedKey: PeerKind<"shared-key"> = {
  topics: ["endpoint"],

  judge({ rule }, { peer }, nowMs) {
    const { turns, withinMs } = rule;
    if (!peer.isPresent) return NOTHING;
    // A pause of one machine ends a run of turns. The run before it counts until QUIET is over.
    for (let end = peer.visits.length; end > 0; end--) {
      const untilMs = peer.visits[end - 1]!.fromAtMs + QUIET * withinMs;
      if (nowMs >= untilMs) break;
      const found = alternation(peer.visits.slice(0, end), withinMs);
      const areKnown = found.every(({ handshakeAtMs }) => handshakeAtMs !== null);
      const needed = areKnown ? turns : turns + 1;
      if (found.length - 1 < needed || (areKnown && earlyHandshakes(found) < EARLY_MIN)) continue;
      const [a, b] = [found.at(-2)!.endpoint, found.at(-1)!.endpoint].sort();
      const sentence = `the key of ${label(peer)} is used from two places in turns, ${a} and ${b}: its configuration was probably copied; give each machine its own key`;
      const sinceMs = found[0]!.fromAtMs;
      const countsFromMs = found[needed]!.fromAtMs;
      return met({ what: "", sinceMs, countsFromMs, sentence }, untilMs);
    }
    return NOTHING;
  },

  resolved(alert, view, nowMs) {
    return `the key of ${labelOf(alert, view)} is used from one place again after ${duration(nowMs - alert.sinceAtMs)}`;
  },
};

/** Returns the longest run of visits, up to the last one, that alternates between two endpoints quickly. */
function alternation(visits: readonly Visit[], withinMs: number): readonly Visit[] {
  let first = visits.length - 1;
  while (first >= 2) {
    const [a, b, c] = [visits[first - 2]!, visits[first - 1]!, visits[first]!];
    const isTurn = a.endpoint === c.endpoint && a.endpoint !== b.endpoint;
    if (!isTurn || c.fromAtMs - a.fromAtMs > withinMs) break;
    first--;
  }
  // The loop ends at the last visit of the first triple that is no turn.
  return first === visits.length - 1 ? [] : visits.slice(Math.max(0, first - 1));
}

function earlyHandshakes(visits: readonly Visit[]): number {
  return visits.filter(({ handshakeAtMs }, index) => {
    const before = visits[index - 1]?.handshakeAtMs;
    if (handshakeAtMs === null || before === undefined || before === null) return false;
    const gapMs = handshakeAtMs - before;
    return gapMs > SAME_MS && gapMs < EARLY_MS;
  }).length;
}
