/** Which targets receive the alerts of a rule, and why none does. live-alerts/notice-event.ts decides for each notice. Pure. */

import type { Rule } from "../alerts/rule.ts";
import { formatList, quoteSafely } from "../base/redact.ts";
import type { TargetSettings } from "../channels/target-settings.ts";
import { isTypeSelected } from "../events/event-filter.ts";
import { targetWords } from "./targets.ts";

/** Maximum number of targets in a warning. */
const SHOWN_MAX = 3;

type Receiver = Pick<TargetSettings, "name" | "selection">;

/** The names of the targets that a rule's alerts can reach, or their numbers. */
export function receiversOf(rule: Rule, targets: readonly Receiver[]): readonly string[] {
  if (rule.targets.length > 0) return rule.targets;
  return targetWords(targets).filter((_, index) => refusal(rule, targets[index]!) === null);
}

/**
 * What is wrong if there are targets and the alerts of a rule reach none, and how to correct it; null: they reach one.
 */
export function withoutReceiver(rule: Rule, targets: readonly Receiver[]): string | null {
  if (rule.dryRun || targets.length === 0 || receiversOf(rule, targets).length > 0) return null;
  const names = targetWords(targets).map((word) => quoteSafely(word));
  const refusals = targets.map((target) => refusal(rule, target)!);
  const shown = refusals.slice(0, SHOWN_MAX).map(({ because }, index) => {
    return `${names[index]} has ${because}`;
  });
  const more = targets.length > SHOWN_MAX ? [`${targets.length - SHOWN_MAX} more`] : [];
  const byEvents = refusals.some(({ isByEvents }) => isByEvents);
  const which = targets.length === 1 ? "it" : "one of them";
  const remedy = byEvents ? `add "alert.*" to ${which}, or ` : "add ";
  return `no target accepts it: ${formatList([...shown, ...more], "and")}; ${remedy}targets = [${names[0]}] to the rule`;
}

/** Why the filter of a target refuses all alerts of a rule; null: it may accept some. */
function refusal(
  { kind, devices }: Rule,
  { selection }: Receiver,
): { readonly because: string; readonly isByEvents: boolean } | null {
  const { events, devices: wanted, peers } = selection;
  const by = (key: "events" | "devices" | "peers") => ({
    because: `${key} = ${shownList(selection[key])}`,
    isByEvents: key === "events",
  });
  if (!isTypeSelected("alert.firing", events)) return by("events");
  // An alert about a target has no device; one about handshakes has no peer.
  const isElsewhere =
    kind === "target" ||
    (devices.length > 0 &&
      !devices.some((device) => /[*?]/.test(device) || wanted.includes(device)));
  if (wanted.length > 0 && isElsewhere) return by("devices");
  if (peers.length > 0 && (kind === "target" || kind === "handshakes")) return by("peers");
  return null;
}

function shownList(words: readonly string[]): string {
  const more = words.length > SHOWN_MAX ? ", ..." : "";
  return `[${words
    .slice(0, SHOWN_MAX)
    .map((word) => quoteSafely(word))
    .join(", ")}${more}]`;
}
