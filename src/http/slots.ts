/**
 * A bounded number of slots for responses whose duration depends on their clients. If all slots are taken, the
 * response that has waited longest for its client loses its slot, so slow clients cannot block others. Or, if
 * `isPreemptible` is false, a new response gets no slot.
 */

export interface Slot {
  /** Marks the response as waiting for its client: it may lose its slot. */
  setWaiting(): void;
  /** Marks the response as active: it keeps its slot. */
  setActive(): void;
  free(): void;
}

export class Slots {
  readonly #max: number;
  readonly #isPreemptible: boolean;
  #taken = 0;
  /** The callbacks of waiting responses, by slot, longest wait first. */
  readonly #waiting = new Map<Slot, () => void>();

  constructor(max: number, { isPreemptible = true } = {}) {
    this.#max = max;
    this.#isPreemptible = isPreemptible;
  }

  /**
   * @param onRevoked called after the response has lost its slot.
   * @returns null if all slots are taken and no response can lose its slot.
   */
  take(onRevoked: () => void): Slot | null {
    if (this.#taken >= this.#max && !this.#revokeOldest()) return null;
    this.#taken++;
    let isFree = false;
    const slot: Slot = {
      setWaiting: () => {
        if (!isFree) this.#waiting.set(slot, onRevoked);
      },
      setActive: () => void this.#waiting.delete(slot),
      free: () => {
        if (!isFree) this.#taken--;
        isFree = true;
        this.#waiting.delete(slot);
      },
    };
    return slot;
  }

  #revokeOldest(): boolean {
    if (!this.#isPreemptible) return false;
    for (const [slot, onRevoked] of this.#waiting) {
      slot.free();
      onRevoked();
      return true;
    }
    return false;
  }
}
