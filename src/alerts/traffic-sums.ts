/** The sums of a peer's traffic that rules of kind traffic compare: by period of a quota, and by span of a rate. Pure. */

import type { PeerSample } from "./facts.ts";
import type { RuleSet, Selection } from "./rule-set.ts";

/** Adds what a scan, or the store, showed. */
export function addTraffic(
  sample: PeerSample,
  { periods: ownPeriods, rateSpansMs }: Pick<Selection, "periods" | "rateSpansMs">,
  periods: RuleSet["periods"],
  { rxBytes, txBytes, nowMs }: { rxBytes: number; txBytes: number; nowMs: number },
): void {
  for (const [key, period] of ownPeriods) {
    const { startMs } = periods.at(key, period, nowMs);
    const usage = (sample.usage[key] ??= { periodStartMs: startMs, rxBytes: 0, txBytes: 0 });
    if (usage.periodStartMs < startMs) {
      usage.rxBytes = 0;
      usage.txBytes = 0;
    }
    // A clock that was ahead may have begun a period too early.
    usage.periodStartMs = startMs;
    usage.rxBytes += rxBytes;
    usage.txBytes += txBytes;
  }
  for (const spanMs of rateSpansMs) {
    const window = (sample.rates[spanMs] ??= {
      startAtMs: nowMs,
      before: { rxBytes: 0, txBytes: 0 },
      now: { rxBytes: 0, txBytes: 0 },
    });
    const age = (nowMs - window.startAtMs) / spanMs;
    if (age >= 1) {
      Object.assign(window.before, age >= 2 ? { rxBytes: 0, txBytes: 0 } : window.now);
      Object.assign(window.now, { rxBytes: 0, txBytes: 0 });
      window.startAtMs = age >= 2 ? nowMs : window.startAtMs + spanMs;
    }
    window.now.rxBytes += rxBytes;
    window.now.txBytes += txBytes;
  }
}
