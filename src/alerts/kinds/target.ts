/**
 * Fires when a target has failed for as long as `for`, or was stopped by its receiver. The notice is for the other
 * targets. Resolved when the target works again.
 */

import { shortName } from "../../base/text.ts";
import { AGE, met, NOTHING, type TargetKind } from "./kind.ts";

export const target: TargetKind<"target"> = {
  judge({ forMs }, { name, state, sinceAtMs }) {
    if (state === "ok") return NOTHING;
    const isStopped = state === "stopped";
    const sentence = isStopped
      ? `target ${shortName(name)} is stopped: its receiver refuses all messages; check its URL`
      : `target ${shortName(name)} has failed for ${AGE}: events wait for it; see wgmon outbox`;
    // A stopped target does not recover without help, so there is nothing to wait for.
    const countsFromMs = isStopped ? sinceAtMs - forMs : sinceAtMs;
    return met({ what: "", sinceMs: sinceAtMs, countsFromMs, sentence });
  },

  resolved({ subject }) {
    return `target ${subject.type === "target" ? shortName(subject.target) : ""} works again`;
  },
};
