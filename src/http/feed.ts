/**
 * The events as they happen, for any number of listeners by Server-Sent Events
 * (html.spec.whatwg.org/multipage/server-sent-events.html). The store is the truth, the memory of the
 * latest events only saves reading it. A listener has a place among the events and no queue: it is
 * given what comes after its place when it can take more, so a slow one costs nothing and delays
 * nobody; Bun ends a connection over which nothing moves.
 */

import type { Source } from "./source.ts";

/** Events that are kept in memory. */
const RECENT_MAX = 1000;
/** Events that are read, or given to a listener, at once. */
const BATCH = 100;
/** A quiet connection must not look like a dead one, to Bun (see IDLE_SECONDS) or to a proxy. */
const HEARTBEAT_MS = 10_000;
/** When a browser tries again. */
const RETRY_MS = 2000;

const encoder = new TextEncoder();

/** An event as it is sent. */
interface Frame {
  readonly seq: number;
  readonly text: string;
}

export class Feed implements Disposable {
  readonly #source: Source;
  readonly #listeners = new Set<Listener>();
  /** The latest, without a gap. */
  #recent: Frame[] = [];
  /** The place just before the first of them. */
  #before = 0;
  #last = 0;
  #unsubscribe = () => {};

  constructor(source: Source) {
    this.#source = source;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** The place of the latest event. */
  get last(): number {
    return this.#last;
  }

  /** @param after the place behind which the listener wants all; null: behind the latest. */
  open(after: number | null): ReadableStream<Uint8Array> {
    if (this.#listeners.size === 0) this.#begin();
    const listener = new Listener(this, this.#source.clock, this.#greeting(after));
    this.#listeners.add(listener);
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const text = await listener.next();
          if (text === null) controller.close();
          else controller.enqueue(encoder.encode(text));
        },
        cancel: () => this.leave(listener),
      },
      { highWaterMark: 0 },
    );
  }

  /** What comes after the place, oldest first; none: nothing yet. */
  after(seq: number): readonly Frame[] {
    if (seq >= this.#last) return [];
    if (seq >= this.#before) {
      // Found by counting back, because the one who asks is mostly the last but one.
      let first = this.#recent.length;
      while (first > 0 && this.#recent[first - 1]!.seq > seq) first--;
      return this.#recent.slice(first, first + BATCH);
    }
    const read = this.#read(seq);
    // All of it may have been deleted since.
    return read.length > 0 ? read : this.#recent.slice(0, BATCH);
  }

  leave(listener: Listener): void {
    listener.end();
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#finish();
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener.end();
    this.#listeners.clear();
    this.#finish();
  }

  #read(after: number): readonly Frame[] {
    return this.#source.store
      .events({
        order: "oldest",
        from: after,
        limit: BATCH,
        type: null,
        publicKey: null,
        sinceMs: null,
      })
      .map(({ seq, event }) => ({ seq, text: frame(seq, event) }));
  }

  #begin(): void {
    this.#last = this.#source.store.eventPlaces().last;
    this.#before = this.#last;
    this.#unsubscribe = this.#source.subscribe((placed) => {
      for (const { seq, event } of placed) {
        // A store that was replaced may count from another place.
        if (seq !== this.#last + 1) {
          this.#recent = [];
          this.#before = seq - 1;
        }
        this.#recent.push({ seq, text: frame(seq, event) });
        this.#last = seq;
      }
      // In one go, once in a while.
      if (this.#recent.length > 2 * RECENT_MAX) {
        this.#recent = this.#recent.slice(-RECENT_MAX);
        this.#before = this.#recent[0]!.seq - 1;
      }
      for (const listener of this.#listeners) listener.wake();
    });
  }

  #finish(): void {
    this.#unsubscribe();
    this.#unsubscribe = () => {};
    this.#recent = [];
  }

  /** Where a listener begins, and what is said before the first event. */
  #greeting(after: number | null): { readonly seq: number; readonly text: string } {
    const hello = `retry: ${RETRY_MS}\n`;
    if (after === null) return { seq: this.#last, text: `${hello}: from now on\n\n` };
    if (after <= this.#last) return { seq: after, text: `${hello}: from there on\n\n` };
    // It has seen more than there ever was: the store is another one now.
    return { seq: this.#last, text: `${hello}\n${missed(this.#last + 1)}` };
  }
}

/** One who reads the stream. */
class Listener {
  readonly #feed: Feed;
  readonly #clock: Source["clock"];
  #seq: number;
  #greeting: string | null;
  #wake = () => {};
  #ended = false;

  constructor(feed: Feed, clock: Source["clock"], start: { seq: number; text: string }) {
    this.#feed = feed;
    this.#clock = clock;
    this.#seq = start.seq;
    this.#greeting = start.text;
  }

  /** Resolves when there is something to send; null: no more. */
  async next(): Promise<string | null> {
    if (this.#greeting !== null) {
      // At once, so that the other side knows that it is connected.
      const greeting = this.#greeting;
      this.#greeting = null;
      return greeting;
    }
    for (let isQuiet = false; !this.#ended;) {
      const frames = this.#feed.after(this.#seq);
      if (frames.length > 0) return frames.map((each) => this.#told(each)).join("");
      if (isQuiet) return ": quiet\n\n";
      isQuiet = await this.#wait();
    }
    return null;
  }

  wake(): void {
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Places are never left out: if one is missing, its event was deleted before it could be told. */
  #told({ seq, text }: Frame): string {
    const isNext = seq === this.#seq + 1;
    this.#seq = seq;
    return isNext ? text : `${missed(seq)}${text}`;
  }

  /** Whether nothing happened for too long. */
  async #wait(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const cancel = this.#clock.after(HEARTBEAT_MS, () => resolve(true));
    this.#wake = () => resolve(false);
    const isQuiet = await promise;
    cancel();
    return isQuiet;
  }
}

/** JSON has no line ends in it, so one line of data is all. */
function frame(seq: number, event: unknown): string {
  return `id: ${seq}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** Tells that events are missing before the one at this place. */
function missed(oldest: number): string {
  return `id: ${oldest - 1}\nevent: missed\ndata: ${JSON.stringify({ oldest })}\n\n`;
}
