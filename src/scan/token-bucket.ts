/** A token bucket for scans. Its tokens are milliseconds of processor time. Pure. */

export interface TokenBucketOptions {
  /** Of one core: so fast it fills. */
  readonly share: number;
  /** What it holds at most. */
  readonly burstMs: number;
  /** How far it may be overdrawn, by what may do that. */
  readonly overdraftMs: number;
}

export class TokenBucket {
  readonly #options: TokenBucketOptions;
  #tokensMs: number;
  #filledAtMs = -Infinity;

  constructor(options: TokenBucketOptions) {
    this.#options = options;
    this.#tokensMs = options.burstMs;
  }

  spend(costMs: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#tokensMs -= costMs;
  }

  /** How long until a scan may be taken. */
  waitMs(nowMs: number, { mayOverdraw }: { readonly mayOverdraw: boolean }): number {
    this.#fill(nowMs);
    const missingMs = -this.#tokensMs - (mayOverdraw ? this.#options.overdraftMs : 0);
    // A millisecond more: then there are some.
    return missingMs < 0 ? 0 : missingMs / this.#options.share + 1;
  }

  #fill(nowMs: number): void {
    const { share, burstMs } = this.#options;
    const passedMs = Math.max(0, nowMs - this.#filledAtMs);
    this.#tokensMs = Math.min(burstMs, this.#tokensMs + passedMs * share);
    this.#filledAtMs = Math.max(this.#filledAtMs, nowMs);
  }
}
