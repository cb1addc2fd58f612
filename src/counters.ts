/** What has happened since the start, counted: for the metrics. */

/** How often something happened, by what it was. */
export class Tally<Labels extends readonly string[]> {
  readonly #counts = new Map<string, { readonly labels: Labels; count: number }>();

  /** @param known there from the start, with 0: of a series that begins with 1 nobody sees the increase. */
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

/** How many values there were up to each of some bounds. */
export class Histogram {
  readonly bounds: readonly number[];
  /** One for each bound, and one for what is above all. */
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

export class Counters {
  /** By type. */
  readonly events = new Tally<readonly [type: string]>(
    ["peer.connected"],
    ["peer.roamed"],
    ["peer.disconnected"],
    ["handshake.unknown"],
    ["device.added"],
    ["device.removed"],
  );
  /** By what caused them. */
  readonly looks = new Tally<readonly [reason: string]>();
  /** Things that a look could not read. */
  lookProblems = 0;
  readonly lookSeconds = new Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1);
  /** Captured packets. */
  packets = 0;
  /** Those of them that could not be read. */
  malformedPackets = 0;
  /** How often the kernel dropped packets or link changes because we were too slow. */
  losses = 0;
  /** How often guarded mode began: more hints came than may be read. */
  guarded = 0;
  /** A flood goes on. */
  isFlooded = false;
  /** Attempts at targets, by how they ended. */
  readonly attempts = new Tally<readonly [target: string, result: string]>();
  /** Of ended sessions. */
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
