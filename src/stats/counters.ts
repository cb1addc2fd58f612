/** Counters for the metrics, since the program started. */

import { EVENT_TYPES } from "../base/event-types.ts";

/** A counter per combination of labels. */
export class LabeledCounter<Labels extends readonly string[]> {
  readonly #counts = new Map<string, { readonly labels: Labels; count: number }>();

  /**
   * @param known label combinations that exist from the start with count 0. A series that starts at 1 hides its first
   *   increase from Prometheus.
   */
  constructor(...known: readonly Labels[]) {
    for (const labels of known) this.add(labels, 0);
  }

  add(labels: Labels, by = 1): void {
    const key = labels.join("\0");
    const entry = this.#counts.get(key);
    if (entry === undefined) this.#counts.set(key, { labels, count: by });
    else entry.count += by;
  }

  entries(): Iterable<{ readonly labels: Labels; readonly count: number }> {
    return this.#counts.values();
  }
}

/** A histogram with fixed upper bounds. */
export class Histogram {
  readonly bounds: readonly number[];
  /** One count per bound, and a last one for larger values. */
  readonly counts: number[];
  sum = 0;

  constructor(...bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = [...bounds, Infinity].map(() => 0);
  }

  observe(value: number): void {
    const index = this.bounds.findIndex((bound) => value <= bound);
    this.counts[index === -1 ? this.bounds.length : index]!++;
    this.sum += value;
  }
}

const MINUTE = 60;
const HOUR = 3600;

export class Metrics {
  /** Events by type. */
  readonly events = new LabeledCounter<readonly [type: string]>(
    ...EVENT_TYPES.map((type) => [type] as const),
  );
  /** Notices about alerts by rule, type (firing, reminder, resolved) and result (sent, held-back, dry-run). */
  readonly notices = new LabeledCounter<readonly [rule: string, type: string, result: string]>();
  /** Scans by reason. */
  readonly scans = new LabeledCounter<readonly [reason: string]>();
  /** Errors of scans. */
  scanErrors = 0;
  readonly scanSeconds = new Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1);
  /** Captured packets. */
  packets = 0;
  /** Captured packets that could not be parsed. */
  malformedPackets = 0;
  /** How often packets or link changes were lost. */
  losses = 0;
  /** How often guarded mode began because of too many handshake messages. */
  guarded = 0;
  /** Whether a packet flood is in progress. */
  isFlooded = false;
  /** Delivery attempts by target and result. */
  readonly attempts = new LabeledCounter<readonly [target: string, result: string]>();
  /** Durations of ended sessions. */
  readonly sessionSeconds = new Histogram(
    10,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR,
    4 * HOUR,
    12 * HOUR,
    24 * HOUR,
    7 * 24 * HOUR,
  );
}
