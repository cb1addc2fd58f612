/**
 * When guarded mode begins and ends. It begins with too many hints. Then a periodic probe reads what hint mode would
 * read; a quiet probe ends guarded mode. Pure.
 */

/** More hints than this in this time are too many: reading them costs more than the tap on sent packets. */
export const OVERLOAD_HINTS = 100;
export const OVERLOAD_MS = 1000;
/** How often a probe begins, how long it lasts, and how many hints in it are little. */
export const PROBE_EVERY_MS = 10_000;
export const PROBE_MS = 100;
export const PROBE_HINTS = 5;

export class GuardedMode {
  #isActive = false;
  #isProbing = false;
  /** When the next probe begins, or the present one ends. */
  #nextMs = Infinity;
  #failedProbes = 0;
  /** Since the start of OVERLOAD_MS, or of a probe. */
  #hints = 0;
  #sinceMs = -Infinity;

  get isActive(): boolean {
    return this.#isActive;
  }

  /** Whether hints are to be kept in the kernel now: always, but for probes. */
  get isSelecting(): boolean {
    return this.#isActive && !this.#isProbing;
  }

  /** Hints have been too many for longer than when all peers come back at once. */
  get isFlooded(): boolean {
    return this.#failedProbes > 0;
  }

  /** When `advance` is to be called; Infinity: there is no need. */
  get nextMs(): number {
    return this.#nextMs;
  }

  /** @param weight 1; less for what is likely no flood. */
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

  /** Time has passed: a probe begins, or has ended with few hints. */
  advance(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    this.#isActive = !this.#isProbing;
    this.#isProbing = this.#isActive;
    this.#nextMs = this.#isActive ? nowMs + PROBE_MS : Infinity;
    if (!this.#isActive) this.#failedProbes = 0;
    this.#count(nowMs);
  }

  #count(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#hints = 0;
  }
}
