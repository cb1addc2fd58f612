/**
 * A bounded number of slots for answers that can take as long as their client likes. If all are taken, the
 * answer that has waited longest for its client gives way: slow clients cannot keep others out.
 */

export interface Slot {
  /** The answer waits for its client from now on. */
  waits(): void;
  /** The client has done its part. */
  works(): void;
  free(): void;
}

export class Slots {
  readonly #max: number;
  #taken = 0;
  /** How to give up those that wait, by slot; the one that has waited longest comes first. */
  readonly #waiting = new Map<Slot, () => void>();

  constructor(max: number) {
    this.#max = max;
  }

  /**
   * @param giveUp is called when the answer gives way; its slot is free by then.
   * @returns null: all slots are taken, and no answer waits for its client.
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
