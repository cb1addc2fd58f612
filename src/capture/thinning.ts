/**
 * When a socket has much to read, data of running sessions is kept out of it for a while. What wgmon
 * sees by that data, a peer that roams without a handshake, it then sees at the next tick.
 */

import type { Clock } from "../clock.ts";

/** Then everything is let in again, to see whether it is still too much: that takes a tenth of a second. */
const WHILE_MS = 10_000;

export class Thinning {
  readonly #clock: Clock;
  readonly #set: (isThinned: boolean) => void;
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, set: (isThinned: boolean) => void) {
    this.#clock = clock;
    this.#set = set;
  }

  busy(): void {
    if (this.#cancel === null) this.#set(true);
    this.#cancel?.();
    this.#cancel = this.#clock.after(WHILE_MS, () => {
      this.#cancel = null;
      this.#set(false);
    });
  }

  stop(): void {
    this.#cancel?.();
  }
}
