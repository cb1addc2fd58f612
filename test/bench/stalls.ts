/** Interval of the timer that detects a blocked event loop. */
const BEAT_MS = 1;

/** Measures for how long the event loop of this process is held up. */
export class StallTimer implements Disposable {
  #lastBeatMs = performance.now();
  #worstMs = 0;
  readonly #beat = setInterval(() => {
    const nowMs = performance.now();
    this.#worstMs = Math.max(this.#worstMs, nowMs - this.#lastBeatMs - BEAT_MS);
    this.#lastBeatMs = nowMs;
  }, BEAT_MS);

  restart(): void {
    this.#worstMs = 0;
  }

  /** The longest stall since `restart`. */
  get worstMs(): number {
    return this.#worstMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#beat);
  }
}
