/** A token bucket for scans. Its tokens are milliseconds of processor time. Pure. */

export interface TokenBucketOptions {
  /** Of one core: so fast it fills. */
  readonly share: number;
  /** What it holds at most, */
  readonly burstMs: number;
  /** and how far it may be overdrawn, by what may do that; or more, where so many scans cost more. */
  readonly overdraftMs: number;
  readonly leastScans: number;
}

export class TokenBucket {
  readonly #options: TokenBucketOptions;
  #tokensMs: number;
  /** Of the last scan. */
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

  /** How long until a scan may be taken. */
  waitMs(nowMs: number, { mayOverdraw }: { readonly mayOverdraw: boolean }): number {
    this.#fill(nowMs);
    const missingMs = -this.#tokensMs - (mayOverdraw ? this.#atLeast("overdraftMs") : 0);
    // A millisecond more: then there are some.
    return missingMs < 0 ? 0 : missingMs / this.#options.share + 1;
  }

  #fill(nowMs: number): void {
    const passedMs = Math.max(0, nowMs - this.#filledAtMs);
    const filledMs = this.#tokensMs + passedMs * this.#options.share;
    this.#tokensMs = Math.min(this.#atLeast("burstMs"), filledMs);
    this.#filledAtMs = Math.max(this.#filledAtMs, nowMs);
  }

  #atLeast(bound: "burstMs" | "overdraftMs"): number {
    return Math.max(this.#options[bound], this.#options.leastScans * this.#costMs);
  }
}
