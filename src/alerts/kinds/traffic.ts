/**
 * Fires when the bytes of a day, week or month reach given percentages of a quota, or when the rate reaches a limit. The
 * sums continue when counters restart, when a device is created again, and when wgmon restarts. A quota is resolved when
 * the next period begins, a rate when it is below the limit.
 */

import { counted } from "../../base/text.ts";
import { duration } from "../../events/event.ts";
import type { PeerSample, RateWindow } from "../facts.ts";
import type { TrafficRule } from "../rule.ts";
import { type Condition, type Judging, label, labelOf, NOTHING, type PeerKind } from "./kind.ts";

const RATE = "rate";

export const traffic: PeerKind<"traffic"> = {
  topics: ["traffic"],

  judge(judging, { peer, sample }, nowMs) {
    const who = label(peer);
    const quota = quotaConditions(judging, sample, who, nowMs);
    const rate = rateCondition(judging.rule, sample, who, nowMs);
    const conditions = rate === null ? quota : [...quota, rate];
    if (conditions.length === 0 || !peer.isPresent) return NOTHING;
    const rechecks = [
      ...(quota.length > 0 ? [judging.periodAt(nowMs).endMs] : []),
      ...(rate === null ? [] : [nowMs + judging.rule.rate!.overMs / 2]),
    ];
    return { conditions, recheckMs: Math.min(...rechecks), isUnknown: false };
  },

  resolved(alert, view) {
    const who = labelOf(alert, view);
    if (alert.what === RATE) return `the rate of ${who} is below the limit again`;
    return `a new period of the quota of ${who} has begun`;
  },
};

function quotaConditions(
  judging: Judging<TrafficRule>,
  sample: PeerSample,
  who: string,
  nowMs: number,
): Condition[] {
  const { quota, direction } = judging.rule;
  const usage = quota === null ? undefined : sample.usage[judging.usageKey];
  if (quota === null || usage === undefined) return [];
  const bytes = sumOf(usage, direction);
  const { bytes: limit, percents, period } = quota;
  if (bytes < (Math.min(...percents) / 100) * limit) return [];
  if (judging.periodAt(nowMs).startMs !== usage.periodStartMs) return [];
  const share = `${Math.floor((100 * bytes) / limit)} %`;
  const sentence = `${who} has used ${share} of its ${roundedBytes(limit)} for this ${period.unit}`;
  return percents
    .filter((percent) => bytes >= (percent / 100) * limit)
    .map((percent) => ({ what: `${percent}%`, sinceMs: nowMs, countsFromMs: nowMs, sentence }));
}

function rateCondition(
  { rate, direction }: TrafficRule,
  sample: PeerSample,
  who: string,
  nowMs: number,
): Condition | null {
  const window = rate === null ? undefined : sample.rates[rate.overMs];
  if (rate === null || window === undefined) return null;
  const bytesPerSecond = rateOf(window, direction, rate.overMs, nowMs);
  if (bytesPerSecond < rate.bytesPerSecond) return null;
  const sentence = `${who} transfers ${roundedBytes(bytesPerSecond)}/s on average over ${duration(rate.overMs)}; the limit is ${roundedBytes(rate.bytesPerSecond)}/s`;
  return { what: RATE, sinceMs: nowMs, countsFromMs: nowMs, sentence };
}

/** The average over the last span: the current window, and the part of the one before it that is still within. */
function rateOf(
  { startAtMs, before, now }: RateWindow,
  direction: TrafficRule["direction"],
  overMs: number,
  nowMs: number,
): number {
  const age = (nowMs - startAtMs) / overMs;
  if (age >= 2) return 0;
  const bytes =
    age >= 1
      ? sumOf(now, direction) * (2 - age)
      : sumOf(now, direction) + sumOf(before, direction) * (1 - age);
  return (bytes * 1000) / overMs;
}

function sumOf(
  { rxBytes, txBytes }: { readonly rxBytes: number; readonly txBytes: number },
  direction: TrafficRule["direction"],
): number {
  return (direction === "tx" ? 0 : rxBytes) + (direction === "rx" ? 0 : txBytes);
}

/** `12.5 MB` */
export function roundedBytes(bytes: number): string {
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = "";
  for (const next of units) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  return unit === ""
    ? counted(Math.round(value), "byte")
    : `${Number(value.toPrecision(3))} ${unit}`;
}
