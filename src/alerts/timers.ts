/** Named deadlines in the order in which they are due. Equal times are ordered by name, so that the order is always the same. */

interface Entry {
  readonly key: string;
  readonly dueMs: number;
}

export class Timers {
  readonly #due = new Map<string, number>();
  /** A binary heap. Entries that were replaced or deleted stay in it until they are at the top. */
  #heap: Entry[] = [];

  /** The earliest deadline; null if no timer is set. */
  get nextMs(): number | null {
    return this.#top()?.dueMs ?? null;
  }

  get(key: string): number | null {
    return this.#due.get(key) ?? null;
  }

  /** Sets or replaces a deadline. Returns whether it is a different one. */
  set(key: string, dueMs: number): boolean {
    if (this.#due.get(key) === dueMs) return false;
    this.#due.set(key, dueMs);
    // Replaced entries must not outnumber the others.
    if (this.#heap.length > 64 + 2 * this.#due.size) this.#rebuild();
    else this.#push({ key, dueMs });
    return true;
  }

  delete(key: string): boolean {
    return this.#due.delete(key);
  }

  /** Removes the earliest deadline and returns it, unless it is later than `nowMs`. */
  take(nowMs: number): Entry | null {
    const top = this.#top();
    if (top === null || top.dueMs > nowMs) return null;
    this.#pop();
    this.#due.delete(top.key);
    return top;
  }

  entries(): Iterable<[string, number]> {
    return this.#due.entries();
  }

  /** Replaces each deadline. */
  move(moved: (dueMs: number) => number): void {
    for (const [key, dueMs] of this.#due) this.#due.set(key, moved(dueMs));
    this.#rebuild();
  }

  #rebuild(): void {
    this.#heap = [...this.#due].map(([key, dueMs]) => ({ key, dueMs })).sort(compare);
  }

  /** The earliest valid entry; removes the others before it. */
  #top(): Entry | null {
    for (;;) {
      const top = this.#heap[0];
      if (top === undefined) return null;
      if (this.#due.get(top.key) === top.dueMs) return top;
      this.#pop();
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (compare(heap[parent]!, entry) <= 0) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && compare(heap[child + 1]!, heap[child]!) < 0) child++;
      if (compare(last, heap[child]!) <= 0) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
  }
}

function compare(a: Entry, b: Entry): number {
  return a.dueMs - b.dueMs || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}
