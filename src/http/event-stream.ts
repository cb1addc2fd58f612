/**
 * Sends events as they happen to any number of listeners, by Server-Sent Events
 * (html.spec.whatwg.org/multipage/server-sent-events.html). The store is authoritative; the latest events are
 * kept in memory only to save reads. A listener has a position among the events, a sequence number, and no
 * queue: it gets the events after its position when it can accept more. So a slow listener needs no memory and does
 * not delay others. Bun closes the connection of a listener that stops reading.
 */

import type { ReadModel } from "./read-model.ts";

/** Events kept in memory: the list is cut to this number when it is longer than twice this number. */
const RECENT_MAX = 1000;
/** Most events read from the store, or given to a listener, at once. */
const BATCH = 100;
/** Keeps Bun (see IDLE_SECONDS in server.ts) and proxies from closing an idle connection. */
const HEARTBEAT_MS = 10_000;
/** Pause before a browser reconnects. */
const RETRY_MS = 2000;

const encoder = new TextEncoder();

/** An event in the text format of the stream. */
interface Frame {
  readonly seq: number;
  readonly text: string;
}

export class EventStream implements Disposable {
  readonly #source: ReadModel;
  readonly #listeners = new Set<Listener>();
  /** The latest events, without a gap. */
  #recent: Frame[] = [];
  /** The sequence number before the first event in #recent. */
  #beforeRecent = 0;
  /** The sequence number of the latest event, kept up to date while there are listeners. */
  #last = 0;
  #unsubscribe = () => {};

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /** @param after the listener gets all events after this sequence number; null means after the latest event. */
  open(after: number | null): ReadableStream<Uint8Array> {
    if (this.#listeners.size === 0) this.#start();
    const listener = new Listener(this, this.#source.clock, this.#preamble(after));
    this.#listeners.add(listener);
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const text = await listener.next();
          if (text === null) controller.close();
          else controller.enqueue(encoder.encode(text));
        },
        cancel: () => this.remove(listener),
      },
      { highWaterMark: 0 },
    );
  }

  /** The events after the sequence number, oldest first, at most BATCH; empty if there are no later events yet. */
  after(seq: number): readonly Frame[] {
    if (seq >= this.#last) return [];
    if (seq >= this.#beforeRecent) {
      // Searched from the end: most listeners lack only the latest event.
      let first = this.#recent.length;
      while (first > 0 && this.#recent[first - 1]!.seq > seq) first--;
      return this.#recent.slice(first, first + BATCH);
    }
    const read = this.#read(seq);
    // Retention may have deleted all events after `seq` from the store; continue with the events in memory.
    return read.length > 0 ? read : this.#recent.slice(0, BATCH);
  }

  remove(listener: Listener): void {
    listener.end();
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#stop();
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener.end();
    this.#listeners.clear();
    this.#stop();
  }

  #read(after: number): readonly Frame[] {
    return this.#source.store.events
      .query({
        order: "oldest",
        from: after,
        limit: BATCH,
        type: null,
        publicKey: null,
        sinceMs: null,
      })
      .map(({ seq, event }) => ({ seq, text: frame(seq, event) }));
  }

  #start(): void {
    this.#last = this.#source.store.events.sequenceRange().last;
    this.#beforeRecent = this.#last;
    this.#unsubscribe = this.#source.subscribe((placed) => {
      for (const { seq, event } of placed) {
        // After the store was replaced, sequence numbers may continue with another number.
        if (seq !== this.#last + 1) {
          this.#recent = [];
          this.#beforeRecent = seq - 1;
        }
        this.#recent.push({ seq, text: frame(seq, event) });
        this.#last = seq;
      }
      // Cutting copies the list, so it is cut rarely and by many events.
      if (this.#recent.length > 2 * RECENT_MAX) {
        this.#recent = this.#recent.slice(-RECENT_MAX);
        this.#beforeRecent = this.#recent[0]!.seq - 1;
      }
      for (const listener of this.#listeners) listener.wake();
    });
  }

  #stop(): void {
    this.#unsubscribe();
    this.#unsubscribe = () => {};
    this.#recent = [];
  }

  /** The position at which a listener starts, and the text sent before the first event. */
  #preamble(after: number | null): { readonly seq: number; readonly text: string } {
    const retry = `retry: ${RETRY_MS}\n`;
    if (after === null) return { seq: this.#last, text: `${retry}: from now on\n\n` };
    if (after <= this.#last) return { seq: after, text: `${retry}: continued\n\n` };
    // The client has seen later events than this store ever had: the store was replaced.
    return { seq: this.#last, text: `${retry}\n${gap(this.#last + 1)}` };
  }
}

/** One client of the stream. */
class Listener {
  readonly #stream: EventStream;
  readonly #clock: ReadModel["clock"];
  #seq: number;
  #preamble: string | null;
  #wake = () => {};
  #ended = false;

  constructor(
    stream: EventStream,
    clock: ReadModel["clock"],
    start: { seq: number; text: string },
  ) {
    this.#stream = stream;
    this.#clock = clock;
    this.#seq = start.seq;
    this.#preamble = start.text;
  }

  /** Resolves when there is text to send; null means that the stream has ended. */
  async next(): Promise<string | null> {
    if (this.#preamble !== null) {
      // Sent at once, so that the client knows that it is connected.
      const preamble = this.#preamble;
      this.#preamble = null;
      return preamble;
    }
    for (let isTimeout = false; !this.#ended;) {
      const frames = this.#stream.after(this.#seq);
      if (frames.length > 0) return frames.map((each) => this.#encode(each)).join("");
      if (isTimeout) return ": quiet\n\n";
      isTimeout = await this.#wait();
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

  /** Sequence numbers have no gaps: if one is missing, its event was deleted before it could be sent. */
  #encode({ seq, text }: Frame): string {
    const isNext = seq === this.#seq + 1;
    this.#seq = seq;
    return isNext ? text : `${gap(seq)}${text}`;
  }

  /** Waits for wake(), at most HEARTBEAT_MS. Returns true on timeout. */
  async #wait(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const cancel = this.#clock.after(HEARTBEAT_MS, () => resolve(true));
    this.#wake = () => resolve(false);
    const isTimeout = await promise;
    cancel();
    return isTimeout;
  }
}

/** JSON.stringify writes no line breaks, so one data line is enough. */
function frame(seq: number, event: unknown): string {
  return `id: ${seq}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** The message that says that events before this sequence number are missing. */
function gap(oldest: number): string {
  return `id: ${oldest - 1}\nevent: gap\ndata: ${JSON.stringify({ oldest })}\n\n`;
}
