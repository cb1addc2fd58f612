/** Parses the form that adds a silence. Pure. */

import {
  MATCHER_FIELDS,
  parseMatcher,
  SILENCE_LIMITS,
  silenceEndMs,
  type SilenceMatcher,
} from "../alerts/silences.ts";
import type { NewSilence } from "../http/alert-model.ts";
import { singleLine } from "./alert-text.ts";

/** The hour at which a silence "until tomorrow" ends, in the gateway's time zone. */
const MORNING_HOUR = 8;
const TOMORROW = "tomorrow";

export const silenceFields = MATCHER_FIELDS;

/** The choices of the form: values and their texts. */
export const silenceSpans: readonly (readonly [value: string, text: string])[] = [
  ["1h", "1 hour"],
  ["4h", "4 hours"],
  ["1d", "1 day"],
  [TOMORROW, "until tomorrow 08:00"],
  ["7d", "7 days"],
  ["30d", "30 days"],
];

/**
 * Returns the silence, or what is wrong with the form. Its fields: `match` (`device=wg0`, any number), `field` and
 * `pattern`, `for`, `comment`.
 */
export function readSilence(form: URLSearchParams, nowMs: number): NewSilence | string {
  const { matchers: matchersMax, matcherLength, commentLength } = SILENCE_LIMITS;
  const texts = form.getAll("match");
  const pattern = (form.get("pattern") ?? "").trim();
  if (form.has("field")) {
    if (pattern === "")
      return "The value is empty: name what the silence applies to, or * for all.";
    texts.push(`${form.get("field")}=${pattern}`);
  }
  const matchers: SilenceMatcher[] = [];
  for (const text of texts) {
    if (text.length > matcherLength) return `The value is longer than ${matcherLength} characters.`;
    const matcher = parseMatcher(text);
    if (typeof matcher === "string") return `${matcher}.`;
    matchers.push(matcher);
  }
  if (matchers.length === 0) return "Name what the silence applies to.";
  if (matchers.length > matchersMax) return `A silence has at most ${matchersMax} matchers.`;
  const length = form.get("for") ?? "";
  const endMs = length === TOMORROW ? tomorrow(nowMs) : silenceEndMs(length.trim(), nowMs);
  if (endMs === null) return "The time is not valid: from 1 second to 366 days, such as 2h.";
  const comment = singleLine(form.get("comment") ?? "").slice(0, commentLength);
  return { matchers, endMs, comment, createdBy: "page" };
}

/** Tomorrow morning, in the time zone of this machine. */
function tomorrow(nowMs: number): number {
  const end = new Date(nowMs);
  end.setDate(end.getDate() + 1);
  return end.setHours(MORNING_HOUR, 0, 0, 0);
}
