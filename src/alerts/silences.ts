/** Silences: they hold messages back until a time, and end without any action. Pure. */

import { quoteSafely } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import type { AlertView } from "./alert.ts";
import type { Severity } from "./rule.ts";
import { type Matcher, matcherOf, type Selectable } from "./selectors.ts";

export const MATCHER_FIELDS = ["peer", "tag", "device", "rule", "severity", "target"] as const;
type MatcherField = (typeof MATCHER_FIELDS)[number];

/** `peer=branch-*`: an alert matches if the field has this value. */
export interface SilenceMatcher {
  readonly field: MatcherField;
  readonly pattern: string;
}

export interface Silence {
  readonly id: string;
  /** An alert must match all of them; at least one. */
  readonly matchers: readonly SilenceMatcher[];
  readonly startMs: number;
  readonly endMs: number;
  readonly comment: string;
  /** Who added it; "" if unknown. */
  readonly createdBy: string;
}

/** The parts of an alert that silences compare. */
export interface Silenceable {
  readonly rule: string;
  readonly severity: Severity;
  readonly device: string | null;
  /** null: the alert is not about a peer. */
  readonly peer: Selectable | null;
  /** The target that the alert is about. */
  readonly target: string | null;
}

/** Returns the matcher, or what is wrong with the text and how to correct it. */
export function parseMatcher(text: string): SilenceMatcher | string {
  const [, name, pattern] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  const example = `an example is peer=branch-*`;
  if (name === undefined || pattern === undefined || pattern === "") {
    return `${quoteSafely(text)} must be a field and a value; ${example}`;
  }
  const field = MATCHER_FIELDS.find((each) => each === name);
  if (field === undefined) {
    return `unknown field ${quoteSafely(name)}: use ${MATCHER_FIELDS.join(", ")}${didYouMean(name, MATCHER_FIELDS)}`;
  }
  return { field, pattern };
}

/** Returns the silence that holds the alert back now; of several, the one that ends last. */
export function silenceOf(
  silences: Iterable<Silence>,
  alert: Silenceable,
  nowMs: number,
): Silence | null {
  let found: Silence | null = null;
  for (const silence of silences) {
    const isActive = silence.startMs <= nowMs && nowMs < silence.endMs;
    if (!isActive || (found !== null && !isLonger(silence, found))) continue;
    if (silence.matchers.every((matcher) => matches(matcher, alert))) found = silence;
  }
  return found;
}

/**
 * Lists show an alert that was sent before a silence began as held back, because reminders are: returns the alert with
 * that reason.
 */
export function withSilence(
  alert: AlertView,
  silences: readonly Silence[],
  nowMs: number,
): AlertView {
  if (silences.length === 0 || alert.heldBy !== null || alert.state === "pending") return alert;
  const { rule, severity, subject, peer } = alert;
  const selectable: Selectable | null =
    subject.type === "peer"
      ? { ...subject, name: peer?.name ?? null, tags: peer?.tags ?? [] }
      : null;
  const device = subject.type === "target" ? null : subject.device;
  const target = subject.type === "target" ? subject.target : null;
  const silence = silenceOf(silences, { rule, severity, device, peer: selectable, target }, nowMs);
  if (silence === null) return alert;
  return { ...alert, heldBy: { type: "silence", id: silence.id, comment: silence.comment } };
}

/** Silences that end at the same time are ordered by their ids, so that the order in the store does not matter. */
function isLonger(a: Silence, b: Silence): boolean {
  return a.endMs > b.endMs || (a.endMs === b.endMs && a.id < b.id);
}

/** Made once for each: thousands of alerts are compared with each silence. */
const prepared = new WeakMap<SilenceMatcher, Matcher>();

function matches(matcher: SilenceMatcher, alert: Silenceable): boolean {
  let isMatch = prepared.get(matcher);
  if (isMatch === undefined) {
    isMatch = matcherOf([matcher.pattern]);
    prepared.set(matcher, isMatch);
  }
  const { peer } = alert;
  switch (matcher.field) {
    case "peer":
      return (
        peer !== null && (isMatch(peer.publicKey) || (peer.name !== null && isMatch(peer.name)))
      );
    case "tag":
      return peer !== null && peer.tags.some(isMatch);
    case "device":
      return alert.device !== null && isMatch(alert.device);
    case "rule":
      return isMatch(alert.rule);
    case "severity":
      return isMatch(alert.severity);
    case "target":
      return alert.target !== null && isMatch(alert.target);
  }
}
