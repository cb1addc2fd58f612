/** A rule in words: `fires when a peer with the tag site is absent for 2m`. Pure. */

import { formatDuration } from "../base/duration.ts";
import { formatList, redact } from "../base/redact.ts";
import { formatSize } from "../base/size.ts";
import { counted } from "../base/text.ts";
import type { QuotaPeriod } from "./quota-period.ts";
import { type Rule, RULE_DEFAULTS } from "./rule.ts";
import { SHORT_DAYS, type TimeInterval } from "./times.ts";

/**
 * Returns when the rule fires, and when, how and to which targets it is sent, each as a phrase.
 *
 * @param receivers the targets that accept its alerts; null: unknown.
 */
export function ruleText(rule: Rule, receivers: readonly string[] | null = null): string[] {
  const { repeatMs, waitMs, resolveAfterMs, times, severity, dryRun } = rule;
  return [
    `fires ${isAtOnce(rule) ? "at once " : ""}when ${condition(rule)}`,
    ...(resolveAfterMs === 0
      ? []
      : [`is resolved when that is over for ${formatDuration(resolveAfterMs)}`]),
    `severity ${severity}`,
    ...(waitMs === 0 ? [] : [`alerts within ${formatDuration(waitMs)} are one message`]),
    ...(repeatMs === null ? [] : [`reminds every ${formatDuration(repeatMs)}`]),
    ...(times.length === 0 ? [] : [`sends only at ${times.map(intervalText).join("; ")}`]),
    dryRun ? "is only recorded (dry_run)" : `goes to ${receiversText(rule, receivers)}`,
  ];
}

function receiversText({ targets }: Rule, receivers: readonly string[] | null): string {
  const known = targets.length > 0 ? targets : receivers;
  if (known === null) return "all targets whose filter accepts it";
  return known.length === 0 ? "no target" : formatList(known, "and");
}

/** Whether a rule has no `for`, although its kind has one by default. */
function isAtOnce({ kind, forMs }: Rule): boolean {
  return forMs === 0 && RULE_DEFAULTS[kind].forMs > 0;
}

function condition(rule: Rule): string {
  const who = subject(rule);
  const lasting = rule.forMs === 0 ? "" : ` for ${formatDuration(rule.forMs)}`;
  switch (rule.kind) {
    case "down":
      return `${who} is absent${everywhereText(rule)}${lasting}`;
    case "flapping":
      return `${who} disconnects more than ${counted(rule.disconnects, "time")} within ${formatDuration(rule.withinMs)}${lasting}`;
    case "no-return-traffic": {
      const steady =
        rule.steadyForMs === null
          ? ""
          : `, after it was connected for ${formatDuration(rule.steadyForMs)}`;
      return `${who} is connected and its answers do not arrive${lasting}${steady}`;
    }
    case "shared-key":
      return `the key of ${who} is used from two places that take ${rule.turns} turns, each within ${formatDuration(rule.withinMs)}${lasting}`;
    case "traffic":
      return trafficText(rule, who) + lasting;
    case "hours":
      return `${who} is connected${lasting} outside ${rule.allowed.map(intervalText).join("; ")}`;
    case "place": {
      const conditions = [
        ...(rule.allowed.length === 0
          ? []
          : [`from a place other than ${formatList(rule.allowed, "and")}`]),
        ...(rule.unseen === null
          ? []
          : [
              `from ${rule.unseen === "asn" ? "an autonomous system" : "a country"} for the first time`,
            ]),
      ];
      return `${who} connects ${formatList(conditions, "or")}`;
    }
    case "unused":
      return `${who} was not connected${everywhereText(rule)} for ${counted(rule.days, "day")}; one summary a day, at ${clock(rule.atMinute)} ${rule.zone}`;
    case "changed":
      return `the settings of ${who} change: ${formatList(rule.changes, "or")}`;
    case "handshakes":
      return `more than ${counted(rule.messages, "handshake message")} that no peer completes arrive within ${formatDuration(rule.withinMs)}${senders(rule)}${lasting}`;
    case "target":
      return `a target fails${lasting}, or is stopped`;
  }
}

function everywhereText({
  everywhere,
  devices,
}: {
  everywhere: boolean;
  devices: readonly string[];
}): string {
  if (!everywhere) return "";
  return devices.length === 0
    ? " on all devices that have it"
    : " on all of these devices that have it";
}

function trafficText(rule: Extract<Rule, { kind: "traffic" }>, who: string): string {
  const { quota, rate, direction } = rule;
  const verb = direction === "both" ? "transfers" : direction === "rx" ? "sends" : "receives";
  const parts = [
    ...(quota === null
      ? []
      : [
          `${formatList(
            quota.percents.map((percent) => `${percent} %`),
            "or",
          )} of ${formatSize(quota.bytes)} per ${periodText(quota.period)}`,
        ]),
    ...(rate === null
      ? []
      : [`${rateText(rate.bytesPerSecond)} on average over ${formatDuration(rate.overMs)}`]),
  ];
  return `${who} ${verb} ${formatList(parts, "or")}`;
}

const BYTES_PER_SECOND = [
  ["Gbit/s", 1e9 / 8],
  ["Mbit/s", 1e6 / 8],
  ["kbit/s", 1e3 / 8],
] as const;

/** `10MB/s`, `100Mbit/s`: the text with the smallest number. */
function rateText(bytesPerSecond: number): string {
  const whole = Math.round(bytesPerSecond);
  const texts = [
    `${formatSize(whole)}/s`,
    ...BYTES_PER_SECOND.filter(([, unit]) => whole % unit === 0).map(
      ([name, unit]) => `${whole / unit}${name}`,
    ),
  ];
  return texts.reduce((best, text) =>
    Number.parseInt(text) < Number.parseInt(best) ? text : best,
  );
}

function periodText(period: QuotaPeriod): string {
  switch (period.unit) {
    case "day":
      return `day (${period.zone})`;
    case "week":
      return `week from ${SHORT_DAYS[period.resetDay - 1]} (${period.zone})`;
    case "month":
      return `month from day ${period.resetDay} (${period.zone})`;
  }
}

/** `alice`, `a peer with the tag site or hub on wg0`, `a peer that matches alice or branch-*` */
function subject({ peers, tags, devices }: Pick<Rule, "peers" | "tags" | "devices">): string {
  // A secret may be in the wrong place.
  const [words, tagWords] = [peers.map(redact), tags.map(redact)];
  const isOne = words.length === 1 && !/[*?]/.test(words[0]!);
  const matching = words.length === 0 ? "" : ` that matches ${formatList(words, "or")}`;
  const who = isOne ? words[0]! : `a peer${matching}`;
  const tagged = tags.length === 0 ? "" : ` with the tag ${formatList(tagWords, "or")}`;
  return `${who}${tagged}${devices.length === 0 ? "" : ` on ${formatList(devices, "or")}`}`;
}

/** Of a rule that selects no peers, all senders count. */
function senders(rule: Rule): string {
  const { peers, tags, devices } = rule;
  if (peers.length + tags.length > 0) return ` from ${subject(rule)}`;
  return devices.length === 0 ? "" : ` at ${formatList(devices, "or")}`;
}

/** `mon-fri 08:00-18:00 Europe/Berlin`, as `parseInterval` reads it. */
export function intervalText({ days, fromMinute, toMinute, zone }: TimeInterval): string {
  const isAllDay = fromMinute === 0 && toMinute === 24 * 60;
  return [
    ...(days.length === 7 ? [] : [daysText(days)]),
    ...(isAllDay && days.length < 7 ? [] : [`${clock(fromMinute)}-${clock(toMinute)}`]),
    zone,
  ].join(" ");
}

/** `mon-fri`, `mon,wed-fri`; the days are sorted. */
function daysText(days: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const day of days) {
    const last = runs.at(-1);
    if (last !== undefined && day === last[1] + 1) last[1] = day;
    else runs.push([day, day]);
  }
  return runs
    .map(([from, to]) =>
      from === to ? SHORT_DAYS[from - 1]! : `${SHORT_DAYS[from - 1]}-${SHORT_DAYS[to - 1]}`,
    )
    .join(",");
}

function clock(minute: number): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}
