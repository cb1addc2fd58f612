/**
 * The time limit of one attempt. AbortSignal.timeout would stay in memory until its timeout, and AbortSignal.any as long
 * as the outer signal, which exists until the process ends.
 */

/** A signal that aborts when `outer` aborts or after `timeoutMs`. When disposed, it releases its timer and its listener. */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  #hasExpired = false;
  readonly #abort = () => this.#controller.abort(this.#outer.reason);

  constructor(outer: AbortSignal, timeoutMs: number) {
    this.#outer = outer;
    this.#timer = setTimeout(() => {
      this.#hasExpired = true;
      this.#controller.abort(new DOMException("the request timed out", "TimeoutError"));
    }, timeoutMs);
    outer.addEventListener("abort", this.#abort);
    if (outer.aborted) this.#abort();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether `timeoutMs` has passed. */
  get hasExpired(): boolean {
    return this.#hasExpired;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#abort);
  }
}
