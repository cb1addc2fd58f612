/** Silences hold back the messages of the alerts that they match, and end at a time that the user chose. Pure. */

import { parseDuration } from "../base/duration.ts";
import { quoteSafely } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import { type AlertView, deviceOf } from "./alert.ts";
import type { Severity } from "./rule.ts";
import { type Matcher, matcherOf, type Selectable } from "./selectors.ts";

export const MATCHER_FIELDS = ["peer", "tag", "device", "rule", "severity", "target"] as const;
type MatcherField = (typeof MATCHER_FIELDS)[number];

/** The limits of a silence that a user adds by the API, on the page or with a command. */
export const SILENCE_LIMITS = {
  matchers: 10,
  /** Characters of a matcher and of the comment. */
  matcherLength: 200,
  commentLength: 500,
  minMs: 1000,
  maxMs: 366 * 86_400_000,
} as const;

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

/** The parts of an alert that silences are compared with. */
export interface Silenceable {
  readonly rule: string;
  readonly severity: Severity;
  readonly device: string | null;
  /** null: the alert is not about a peer. */
  readonly peer: Selectable | null;
  /** The target that the alert is about. */
  readonly target: string | null;
}

/** Returns the end of a silence that begins now and lasts for a duration such as `2h`; null: that is not valid. */
export function silenceEndMs(length: string, nowMs: number): number | null {
  const durationMs = parseDuration(length) ?? NaN;
  const isValid = durationMs >= SILENCE_LIMITS.minMs && durationMs <= SILENCE_LIMITS.maxMs;
  return isValid ? nowMs + durationMs : null;
}

/** Moves a silence after a step of the clock. @param beforeMs the time of the step by the old clock. */
export function movedSilence(silence: Silence, step: ClockStep, beforeMs: number): Silence {
  const { startMs, endMs } = silence;
  // A time in the future is a deadline: it is as far away as before.
  const shifted = (atMs: number) => (atMs > beforeMs ? atMs + step.ms : moved(step, atMs));
  return { ...silence, startMs: shifted(startMs), endMs: shifted(endMs) };
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

/** @param peer the name and tags of the peer that the alert is about; null: unknown. */
export function silenceableOf(
  { rule, severity, subject }: Pick<AlertView, "rule" | "severity" | "subject">,
  peer: Pick<Selectable, "name" | "tags"> | null,
): Silenceable {
  return {
    rule,
    severity,
    device: deviceOf(subject),
    peer:
      subject.type === "peer"
        ? { ...subject, name: peer?.name ?? null, tags: peer?.tags ?? [] }
        : null,
    target: subject.type === "target" ? subject.target : null,
  };
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
 * Returns an alert that a silence matches as held back. In lists it is, even if it was sent before the silence began,
 * because its reminders are held back.
 */
export function withSilence(
  alert: AlertView,
  silences: readonly Silence[],
  nowMs: number,
): AlertView {
  if (silences.length === 0 || alert.heldBack !== null || alert.state === "pending") return alert;
  const { peer } = alert;
  const silence = silenceOf(silences, silenceableOf(alert, peer), nowMs);
  if (silence === null) return alert;
  return { ...alert, heldBack: { type: "silence", id: silence.id, comment: silence.comment } };
}

/** Silences that end at the same time are ordered by their ids, so that the order in the store does not matter. */
function isLonger(a: Silence, b: Silence): boolean {
  return a.endMs > b.endMs || (a.endMs === b.endMs && a.id < b.id);
}

/** The patterns of matchers, compiled once, because each silence is compared with thousands of alerts. */
const compiled = new WeakMap<SilenceMatcher, Matcher>();

function matches(matcher: SilenceMatcher, alert: Silenceable): boolean {
  let isMatch = compiled.get(matcher);
  if (isMatch === undefined) {
    isMatch = matcherOf([matcher.pattern]);
    compiled.set(matcher, isMatch);
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
