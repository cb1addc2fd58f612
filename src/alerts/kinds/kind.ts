/** The interface of the kinds of rules. Each kind is a pure function: a rule and facts in, a verdict out. */

import { shortName } from "../../base/text.ts";
import { shortKey } from "../../base/wireguard.ts";
import type { Alert } from "../alert.ts";
import type { Attempts, DeviceFacts, PeerFacts, PeerSample, TargetFacts } from "../facts.ts";
import type { Period } from "../quota-period.ts";
import type { Rule, RuleKind, SettingsChange } from "../rule.ts";
import type { Window } from "../times.ts";

/** What changed about a peer. A kind lists its topics, and the engine judges a rule only when one of them changed. */
export type Topic = "presence" | "endpoint" | "traffic" | "answers";

/** A condition that is met. */
export interface Condition {
  /** See `Alert.what`. */
  readonly what: string;
  readonly sinceMs: number;
  /** From when on the rule's `for` counts; usually `sinceMs`. */
  readonly countsFromMs: number;
  readonly sentence: string;
}

export interface Verdict {
  readonly conditions: readonly Condition[];
  /** When to judge again even if nothing happens until then; null: not before something happens. */
  readonly recheckMs: number | null;
  /** Whether it is unknown which conditions are met. Then the alerts stay as they are. */
  readonly isUnknown: boolean;
}

/** No condition is met. */
export const NOTHING: Verdict = { conditions: [], recheckMs: null, isUnknown: false };

/** It is unknown whether a condition is met, until something happens. */
export const UNKNOWN: Verdict = { conditions: [], recheckMs: null, isUnknown: true };

/** One condition is met. */
export function met(condition: Condition, recheckMs: number | null = null): Verdict {
  return { conditions: [condition], recheckMs, isUnknown: false };
}

/** The facts that a kind judges. */
export interface PeerView {
  readonly peer: PeerFacts;
  readonly sample: PeerSample;
  readonly device: DeviceFacts;
}

/** A rule, with the windows and periods of its own that depend only on the time. */
export interface Judging<R extends Rule> {
  readonly rule: R;
  /** The window of the kind's own intervals: `allowed` of an hours rule. */
  readonly allowedAt: (nowMs: number) => Window;
  /** The current period of a quota. */
  readonly periodAt: (nowMs: number) => Period;
  /** The key of the quota's period in `PeerSample.usage`. */
  readonly usageKey: string;
}

type Of<K extends RuleKind> = Extract<Rule, { kind: K }>;

/** A kind that judges the state of a peer. */
export interface PeerKind<K extends RuleKind> {
  readonly topics: readonly Topic[];
  judge(judging: Judging<Of<K>>, view: PeerView, nowMs: number): Verdict;
  /** The sentence of the resolved alert. */
  resolved(alert: Alert, view: PeerView | null, nowMs: number): string;
}

/** A kind that judges handshakes at a device. */
export interface DeviceKind<K extends RuleKind> {
  judge(
    rule: Of<K>,
    device: DeviceFacts,
    isSelected: (attempts: Attempts) => boolean,
    nowMs: number,
  ): Verdict;
  resolved(alert: Alert): string;
}

/** A kind that judges the state of a target. */
export interface TargetKind<K extends RuleKind> {
  judge(rule: Of<K>, target: TargetFacts): Verdict;
  resolved(alert: Alert): string;
}

/** A change of a peer's settings. */
export interface SettingsMoment {
  readonly change: SettingsChange;
  /** `10.0.0.2/32` -> `10.0.0.3/32`; "" if there is nothing to show. */
  readonly details: string;
  /** Whether it happened while wgmon was away. */
  readonly wasAway: boolean;
}

/** A peer is heard from an address whose place is known. */
export interface Arrival {
  readonly address: string;
  readonly place: Place;
  /** Whether the peer was never seen in this country, or autonomous system, and was seen in another one. */
  readonly isNewCountry: boolean;
  readonly isNewAsn: boolean;
}

/** The place of an address, from the user's MMDB files. */
export interface Place {
  /** ISO 3166-1: `DE`; null: unknown. */
  readonly country: string | null;
  readonly asn: number | null;
  /** The name of the autonomous system's owner. */
  readonly organization: string | null;
}

/** Returns the place of an address; null: unknown. */
export type Lookup = (address: string) => Place | null;

/** `alice (wg0)`, or the beginning of the key. */
export function label({
  name,
  publicKey,
  device,
}: Pick<PeerFacts, "name" | "publicKey" | "device">): string {
  const short = name === null ? "" : shortName(name);
  return `${short === "" ? shortKey(publicKey) : short} (${device})`;
}

/** The label of an alert's subject. @param view null if only the alert is left: the peer is then named by its key. */
export function labelOf({ subject }: Alert, view: PeerView | null): string {
  if (view !== null) return label(view.peer);
  if (subject.type === "peer") return label({ ...subject, name: null });
  return subject.type === "device" ? subject.device : subject.target;
}

/**
 * Stands in a sentence for the time since the alert's condition began. It is replaced when a notice or a list of alerts is
 * made, because an alert keeps its sentence while this time grows.
 */
export const AGE = "{duration}";
