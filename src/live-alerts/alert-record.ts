/** The row of an alert that fired. Pure. */

import { aboutOf, type AlertView } from "../alerts/alert.ts";
import type { AlertRecord } from "../store/alert-rows.ts";

export function recordOf(view: AlertView): AlertRecord {
  const { id, rule, kind, severity, resolves, isSent, sentence } = view;
  const { sinceMs, firedAtMs, resolvedAtMs } = view;
  const { device, peer, target } = aboutOf(view);
  return {
    id,
    rule,
    kind,
    severity,
    resolves,
    isSent,
    sentence,
    device,
    publicKey: peer?.publicKey ?? null,
    peerName: peer?.name ?? null,
    target,
    sinceMs,
    firedAtMs: firedAtMs ?? sinceMs,
    resolvedAtMs,
  };
}
