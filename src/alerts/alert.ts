/** Alerts, and the notices about them. Plain values that can be saved as JSON. */

import type { RuleKind, Severity } from "./rule.ts";

/** What an alert is about. */
export type Subject =
  | { readonly type: "peer"; readonly device: string; readonly publicKey: string }
  | { readonly type: "device"; readonly device: string }
  | { readonly type: "target"; readonly target: string };

/**
 * pending: the condition is met, but not yet for as long as the rule's `for`. firing: the alert is sent, or held back.
 * recovering: the alert still fires, but its condition is no longer met; the rule's `resolve_after` is running. resolved:
 * the alert is over, and the engine deletes it when this is sent or recorded.
 */
export type AlertState = "pending" | "firing" | "recovering" | "resolved";

/** An alert as the engine keeps it. */
export interface Alert {
  readonly rule: string;
  readonly kind: RuleKind;
  readonly subject: Subject;
  /** Distinguishes the alerts of one rule about one subject, such as `80%` of a quota; "" if there is only one. */
  readonly what: string;
  /** Whether the alert is about a moment instead of a state: it is sent once and never resolved. */
  readonly isMoment: boolean;
  /** Unique; `alert-1`, `alert-2` and so on, in the order of firing. "" while pending. */
  id: string;
  state: AlertState;
  /** When the condition began. */
  sinceAtMs: number;
  /** From when on the rule's `for` counts. */
  countsAtMs: number;
  firedAtMs: number | null;
  /** When the condition was no longer met. */
  recoveredAtMs: number | null;
  resolvedAtMs: number | null;
  /** Whether it was part of a notice that was not held back. */
  isSent: boolean;
  /** Why it is held back now; null: it is not. */
  heldBack: Suppression | null;
  /** One sentence, without a full stop. */
  sentence: string;
}

/** Why a notice was held back. */
export type Suppression =
  | { readonly type: "silence"; readonly id: string; readonly comment: string }
  /** The rule's times do not include now. */
  | { readonly type: "times" }
  /** The peer's device does not exist: one notice about all its peers is sent instead. */
  | { readonly type: "device-down"; readonly device: string }
  /** All peers of the device are silent: one notice about all of them is sent instead. */
  | { readonly type: "all-peers"; readonly device: string }
  /** wgmon did not run, or the machine was suspended, so it is unknown whether the alert still fires. */
  | { readonly type: "away" }
  /** The device cannot be scanned, so it is unknown whether the alert still fires. */
  | { readonly type: "scan-failed" }
  /** The alert was over before it was sent. */
  | { readonly type: "over-before-sent" };

/** An alert as notices and lists show it. */
export interface AlertView {
  readonly id: string;
  readonly rule: string;
  readonly kind: RuleKind;
  readonly severity: Severity;
  readonly state: AlertState;
  readonly subject: Subject;
  readonly what: string;
  /** The peer's name and tags; null: it is not about a peer, or the peer is unknown. */
  readonly peer: { readonly name: string | null; readonly tags: readonly string[] } | null;
  readonly sinceMs: number;
  readonly firedAtMs: number | null;
  readonly resolvedAtMs: number | null;
  /** Whether it can be resolved: false for moments, such as a change of settings. */
  readonly resolves: boolean;
  readonly isSent: boolean;
  readonly heldBack: Suppression | null;
  readonly sentence: string;
}

/** What is sent, or recorded as held back: alerts of one rule that fired, still fire, or are resolved. */
export interface Notice {
  readonly type: "firing" | "reminder" | "resolved";
  /** When it was due. */
  readonly atMs: number;
  readonly rule: string;
  readonly kind: RuleKind;
  readonly severity: Severity;
  /** Names of targets; empty: all. */
  readonly targets: readonly string[];
  /** The targets that the alerts are about: the notice is not sent to them. */
  readonly exceptTargets: readonly string[];
  readonly dryRun: boolean;
  /** null: the alerts have several devices, or none. */
  readonly device: string | null;
  /** Why the notice reports many alerts as one: the device was removed, or all its peers are silent; null: it does not. */
  readonly cause: "device-down" | "all-peers" | null;
  /** In the order of their subjects; at least one. */
  readonly alerts: readonly AlertView[];
  /** One sentence for people, without a full stop, with names as users chose them. */
  readonly sentence: string;
  /** null: it is to be sent. Otherwise it is only to be recorded. */
  readonly heldBack: Suppression | null;
}

export function subjectKey(subject: Subject): string {
  switch (subject.type) {
    case "peer":
      return `peer ${subject.device} ${subject.publicKey}`;
    case "device":
      return `device ${subject.device}`;
    case "target":
      return `target ${subject.target}`;
  }
}

/** Unique for each alert that can exist at one time. */
export function alertKey({ rule, kind, what }: Alert, subject: string): string {
  return `${rule}\n${kind}\n${subject}\n${what}`;
}

/** What an alert is about, as events, the API and the store name it. */
export function aboutOf({ subject, peer }: Pick<AlertView, "subject" | "peer">) {
  return {
    device: deviceOf(subject),
    peer:
      subject.type === "peer"
        ? { publicKey: subject.publicKey, name: peer?.name ?? null, tags: [...(peer?.tags ?? [])] }
        : null,
    target: subject.type === "target" ? subject.target : null,
  };
}

export function deviceOf(subject: Subject): string | null {
  return subject.type === "target" ? null : subject.device;
}
