/** A token bucket for scans. Its tokens are milliseconds of processor time; `nowMs` is monotonic. Pure. */

export interface TokenBucketOptions {
  /** The rate at which the bucket fills, as a fraction of one core's time. */
  readonly share: number;
  /** Maximum content of the bucket. */
  readonly burstMs: number;
  /** Maximum overdraft, for callers that may overdraw. */
  readonly overdraftMs: number;
  /** `burstMs` and `overdraftMs` are raised to at least this many times the cost of the last scan. */
  readonly leastScans: number;
}

export class TokenBucket {
  readonly #options: TokenBucketOptions;
  #tokensMs: number;
  /** Cost of the last scan. */
  #costMs = 0;
  #filledAtMs = -Infinity;

  constructor(options: TokenBucketOptions) {
    this.#options = options;
    this.#tokensMs = options.burstMs;
  }

  spend(costMs: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#tokensMs -= costMs;
    this.#costMs = costMs;
  }

  /** The time until the next scan may start. */
  waitMs(nowMs: number, { mayOverdraw }: { readonly mayOverdraw: boolean }): number {
    this.#fill(nowMs);
    const missingMs = -this.#tokensMs - (mayOverdraw ? this.#maxMs("overdraftMs") : 0);
    // One millisecond more, so that the balance is positive then.
    return missingMs < 0 ? 0 : missingMs / this.#options.share + 1;
  }

  #fill(nowMs: number): void {
    const passedMs = Math.max(0, nowMs - this.#filledAtMs);
    const filledMs = this.#tokensMs + passedMs * this.#options.share;
    this.#tokensMs = Math.min(this.#maxMs("burstMs"), filledMs);
    this.#filledAtMs = Math.max(this.#filledAtMs, nowMs);
  }

  #maxMs(bound: "burstMs" | "overdraftMs"): number {
    return Math.max(this.#options[bound], this.#options.leastScans * this.#costMs);
  }
}
