/** The row of an alert that fired. Pure. */

import { type AlertView, deviceOf } from "../alerts/alert.ts";
import type { AlertRecord } from "../store/alert-rows.ts";

export function recordOf(view: AlertView): AlertRecord {
  const { id, rule, kind, severity, resolves, isSent, sentence, subject, peer } = view;
  const { sinceMs, firedAtMs, resolvedAtMs } = view;
  return {
    id,
    rule,
    kind,
    severity,
    resolves,
    isSent,
    sentence,
    device: deviceOf(subject),
    publicKey: subject.type === "peer" ? subject.publicKey : null,
    peerName: peer?.name ?? null,
    target: subject.type === "target" ? subject.target : null,
    sinceMs,
    firedAtMs: firedAtMs ?? sinceMs,
    resolvedAtMs,
  };
}
