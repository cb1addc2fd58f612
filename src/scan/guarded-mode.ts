/**
 * Decides when guarded mode begins and ends. Too many hints begin it. Then a periodic probe reads what hint mode would
 * read; a probe with few hints ends it. Pure.
 */

/** More hints than this in OVERLOAD_MS are too many: reading them costs more than the tap on sent packets. */
export const OVERLOAD_HINTS = 100;
export const OVERLOAD_MS = 1000;
/** The interval of probes, their duration, and the maximum number of hints in a quiet probe. */
export const PROBE_EVERY_MS = 10_000;
export const PROBE_MS = 100;
export const PROBE_HINTS = 5;

export class GuardedMode {
  #isActive = false;
  #isProbing = false;
  /** When the next probe begins, or the current one ends. */
  #nextMs = Infinity;
  #failedProbes = 0;
  /** Number of hints since the start of OVERLOAD_MS or of a probe. */
  #hints = 0;
  #sinceMs = -Infinity;

  get isActive(): boolean {
    return this.#isActive;
  }

  /** Whether the kernel must select packets now, so that no hints are read: in guarded mode except during probes. */
  get isSelecting(): boolean {
    return this.#isActive && !this.#isProbing;
  }

  /** Whether hints have been too many for longer than a simultaneous reconnect of all peers takes. */
  get isFlooded(): boolean {
    return this.#failedProbes > 0;
  }

  /** When to call `advance`; Infinity if it is not needed. */
  get nextMs(): number {
    return this.#nextMs;
  }

  /** @param weight 1; less for a hint that is probably not part of a flood. */
  onHint(nowMs: number, weight: number): void {
    if (!this.#isActive && nowMs - this.#sinceMs > OVERLOAD_MS) this.#count(nowMs);
    this.#hints += weight;
    if (!this.#isActive && this.#hints > OVERLOAD_HINTS) this.begin(nowMs);
    if (!this.#isProbing || this.#hints <= PROBE_HINTS) return;
    this.#failedProbes++;
    this.#isProbing = false;
    this.#nextMs = nowMs + PROBE_EVERY_MS;
  }

  begin(nowMs: number): void {
    this.#isActive = true;
    this.#nextMs = nowMs + PROBE_EVERY_MS;
  }

  /** Begins or ends a probe that is due. A probe that ends here had few hints, so guarded mode ends. */
  advance(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    this.#count(nowMs);
    if (!this.#isProbing) {
      this.#isProbing = true;
      this.#nextMs = nowMs + PROBE_MS;
    } else {
      this.#isProbing = false;
      this.#isActive = false;
      this.#nextMs = Infinity;
      this.#failedProbes = 0;
    }
  }

  #count(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#hints = 0;
  }
}
