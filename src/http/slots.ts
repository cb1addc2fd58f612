/**
 * A bounded number of slots for responses that can take as long as their clients like. If all are taken, the
 * response that has waited longest for its client loses its slot, so slow clients cannot block others.
 */

export interface Slot {
  /** The response waits for its client from now on. */
  waits(): void;
  /** The client has acted, so the response no longer waits. */
  works(): void;
  free(): void;
}

export class Slots {
  readonly #max: number;
  #taken = 0;
  /** Cancels a waiting response, by slot; the one that has waited longest comes first. */
  readonly #waiting = new Map<Slot, () => void>();

  constructor(max: number) {
    this.#max = max;
  }

  /**
   * @param giveUp called when the response loses its slot, which is free by then.
   * @returns null if all slots are taken and no response waits for its client.
   */
  take(giveUp: () => void): Slot | null {
    if (this.#taken >= this.#max && !this.#makeRoom()) return null;
    this.#taken++;
    let isFree = false;
    const slot: Slot = {
      waits: () => {
        if (!isFree) this.#waiting.set(slot, giveUp);
      },
      works: () => void this.#waiting.delete(slot),
      free: () => {
        if (!isFree) this.#taken--;
        isFree = true;
        this.#waiting.delete(slot);
      },
    };
    return slot;
  }

  #makeRoom(): boolean {
    for (const [slot, giveUp] of this.#waiting) {
      slot.free();
      giveUp();
      return true;
    }
    return false;
  }
}
