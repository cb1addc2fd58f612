/** The rows of alerts: the engine's state, the alerts that fired, and the notices about them. */

import type { AlertView, Notice, Suppression } from "../alerts/alert.ts";

/** An alert that fired, now or in the past. */
export interface AlertRecord extends Pick<
  AlertView,
  "id" | "rule" | "kind" | "severity" | "resolves" | "isSent" | "sentence"
> {
  readonly device: string | null;
  readonly publicKey: string | null;
  /** The peer's name when the alert last changed. */
  readonly peerName: string | null;
  readonly target: string | null;
  readonly sinceMs: number;
  readonly firedAtMs: number;
  /** null: it still fires, or it is a moment. */
  readonly resolvedAtMs: number | null;
}

/** Selects alerts, the latest first; a filter that is null matches every alert. */
export interface AlertQuery {
  /** Only alerts before this one in the order; null: from the latest. */
  readonly before: { readonly firedAtMs: number; readonly id: string } | null;
  readonly limit: number;
  readonly state: "firing" | "resolved" | null;
  readonly rule: string | null;
  readonly device: string | null;
  readonly publicKey: string | null;
  readonly sinceMs: number | null;
  readonly untilMs: number | null;
}

/** One message about alerts: sent, or held back. */
export interface NoticeRecord extends Pick<
  Notice,
  "type" | "atMs" | "rule" | "dryRun" | "sentence"
> {
  readonly seq: number;
  readonly alertIds: readonly string[];
  readonly suppressedBy: Suppression | null;
  /** The sequence number of its event; null: it was not sent. */
  readonly eventSeq: number | null;
  /** Labels of the targets that its event was queued for. */
  readonly targets: readonly string[];
}
