/** The processor time of one update of a page. */

import type { ReadModel } from "../http/read-model.ts";

/** Counts the time in which the update itself runs: while it waits, updates of other pages may run. */
export class RenderCost {
  readonly #source: ReadModel;
  #startMs: number;
  #sumMs = 0;

  constructor(source: ReadModel) {
    this.#source = source;
    this.#startMs = source.processorMs();
  }

  /** Waits for the promise; the time until then is not counted. */
  async without<Value>(promise: Promise<Value>): Promise<Value> {
    this.#sumMs = this.ms();
    this.#startMs = Infinity;
    try {
      return await promise;
    } finally {
      this.#startMs = this.#source.processorMs();
    }
  }

  /** The cost so far. */
  ms(): number {
    return this.#sumMs + Math.max(0, this.#source.processorMs() - this.#startMs);
  }
}
