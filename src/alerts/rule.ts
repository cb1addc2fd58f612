/**
 * The typed rules of alerts: what all of them have, the parameters of each kind, and the defaults. There is no
 * expression language: each kind is one file in kinds/.
 */

import type { QuotaPeriod } from "./quota-period.ts";
import type { TimeInterval } from "./times.ts";

export const SEVERITIES = ["info", "warning", "critical"] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What a rule applies to. A peer must match each list; an empty list matches every peer. */
export interface Selectors {
  /** Names, public keys, or patterns with `*` and `?`. */
  readonly peers: readonly string[];
  readonly tags: readonly string[];
  readonly devices: readonly string[];
}

/** What all rules have. */
interface RuleBase extends Selectors {
  /** Unique. */
  readonly name: string;
  /** The condition must last this long before the alert fires. Kinds that report a single moment ignore it. */
  readonly forMs: number;
  /** The condition must be over for this long before the alert is resolved. */
  readonly resolveAfterMs: number;
  /** Alerts of one rule and device that fire or are resolved within this time are one message. */
  readonly waitMs: number;
  /** Time between reminders while an alert fires; null: none. */
  readonly repeatMs: number | null;
  readonly severity: Severity;
  /** Names of targets; empty: all. */
  readonly targets: readonly string[];
  /** When messages may be sent; empty: always. Alerts that still fire when such a time begins are sent then. */
  readonly times: readonly TimeInterval[];
  /** Whether notices are only recorded. */
  readonly dryRun: boolean;
}

/** What the kinds have that can judge a public key on all devices together. */
interface EverywhereRule {
  /**
   * Whether a peer that is configured on several devices, of one gateway or of several, is judged as one: the condition
   * must be met on each of the rule's devices.
   */
  readonly everywhere: boolean;
}

export interface DownRule extends RuleBase, EverywhereRule {
  readonly kind: "down";
}

export interface FlappingRule extends RuleBase {
  readonly kind: "flapping";
  /** It fires when a peer disconnected more often than this... */
  readonly disconnects: number;
  /** ... within this time. */
  readonly withinMs: number;
}

export interface NoReturnTrafficRule extends RuleBase {
  readonly kind: "no-return-traffic";
  /**
   * How long a peer must have been connected without a roam before it is judged. null: 2 minutes for a rule that
   * selects peers or tags, a day for a rule that selects all peers, because wgmon must first learn which of them sleep.
   */
  readonly steadyForMs: number | null;
}

export interface SharedKeyRule extends RuleBase {
  readonly kind: "shared-key";
  /** How often the two places must have taken turns. A, B, A are two turns; see kinds/shared-key.ts. */
  readonly turns: number;
  /** Maximum time from A to the next A. */
  readonly withinMs: number;
}

export interface TrafficRule extends RuleBase {
  readonly kind: "traffic";
  readonly direction: "rx" | "tx" | "both";
  /** null: no quota. */
  readonly quota: {
    readonly bytes: number;
    readonly period: QuotaPeriod;
    /** It fires when each of these is reached. */
    readonly percents: readonly number[];
  } | null;
  /** null: no limit of the rate. */
  readonly rate: { readonly bytesPerSecond: number; readonly overMs: number } | null;
}

export interface HoursRule extends RuleBase {
  readonly kind: "hours";
  /** When peers may be connected. */
  readonly allowed: readonly TimeInterval[];
}

export interface PlaceRule extends RuleBase {
  readonly kind: "place";
  /** Countries (`DE`) and autonomous systems (`AS3320`) that are allowed; empty: all. */
  readonly allowed: readonly string[];
  /** Whether a country or autonomous system in which a peer was never seen is reported; null: neither. */
  readonly unseen: "country" | "asn" | null;
}

export interface UnusedRule extends RuleBase, EverywhereRule {
  readonly kind: "unused";
  readonly days: number;
  /** Minute of the day of the summary. */
  readonly atMinute: number;
  readonly zone: string;
}

export const CHANGES = ["added", "removed", "allowed-ips", "endpoint", "keepalive"] as const;
export type SettingsChange = (typeof CHANGES)[number];

export interface ChangedRule extends RuleBase {
  readonly kind: "changed";
  /** Which changes are reported. */
  readonly changes: readonly SettingsChange[];
}

export interface HandshakesRule extends RuleBase {
  readonly kind: "handshakes";
  /** It fires when more messages than this... */
  readonly messages: number;
  /** ... arrived within this time. */
  readonly withinMs: number;
}

export interface TargetRule extends RuleBase {
  readonly kind: "target";
}

export type Rule =
  | DownRule
  | FlappingRule
  | NoReturnTrafficRule
  | SharedKeyRule
  | TrafficRule
  | HoursRule
  | PlaceRule
  | UnusedRule
  | ChangedRule
  | HandshakesRule
  | TargetRule;

export type RuleKind = Rule["kind"];

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

const base = {
  peers: [],
  tags: [],
  devices: [],
  forMs: 0,
  resolveAfterMs: 0,
  waitMs: 0,
  repeatMs: null,
  severity: "warning",
  targets: [],
  times: [],
  dryRun: false,
} as const satisfies Omit<RuleBase, "name">;

type Defaults = { readonly [K in RuleKind]: Omit<Extract<Rule, { kind: K }>, "name"> };

/** The values of the parameters that a rule does not set. */
export const RULE_DEFAULTS: Defaults = {
  // The wait lets the other peers of a failed uplink join the message.
  down: {
    ...base,
    kind: "down",
    everywhere: false,
    forMs: 2 * MINUTE_MS,
    waitMs: 30_000,
    severity: "critical",
  },
  flapping: {
    ...base,
    kind: "flapping",
    disconnects: 5,
    withinMs: HOUR_MS,
    resolveAfterMs: 10 * MINUTE_MS,
  },
  "no-return-traffic": {
    ...base,
    kind: "no-return-traffic",
    steadyForMs: null,
    severity: "critical",
  },
  "shared-key": { ...base, kind: "shared-key", turns: 3, withinMs: 120_000, severity: "critical" },
  traffic: { ...base, kind: "traffic", direction: "both", quota: null, rate: null },
  hours: { ...base, kind: "hours", allowed: [] },
  place: { ...base, kind: "place", allowed: [], unseen: "country" },
  unused: {
    ...base,
    kind: "unused",
    everywhere: false,
    days: 90,
    atMinute: 9 * 60,
    zone: "UTC",
    severity: "info",
  },
  changed: { ...base, kind: "changed", changes: CHANGES, waitMs: 10_000, severity: "info" },
  handshakes: { ...base, kind: "handshakes", messages: 20, withinMs: 10 * MINUTE_MS },
  target: { ...base, kind: "target", forMs: 10 * MINUTE_MS, severity: "critical" },
};

/** Whether the rule judges a public key on all devices together. */
export function isEverywhere(rule: Rule): boolean {
  return "everywhere" in rule && rule.everywhere;
}

/** Names of the rules whose messages are only recorded. */
export function dryRunNames(rules: readonly Rule[]): ReadonlySet<string> {
  return new Set(rules.filter(({ dryRun }) => dryRun).map(({ name }) => name));
}

/** Returns the rule with the defaults of its kind. */
export function ruleOf<K extends RuleKind>(
  kind: K,
  name: string,
  values: Partial<Omit<Extract<Rule, { kind: K }>, "kind" | "name">> = {},
): Extract<Rule, { kind: K }> {
  return { ...RULE_DEFAULTS[kind], name, ...values } as unknown as Extract<Rule, { kind: K }>;
}
