/**
 * The queue of one target; more than 400 lines because each result of an attempt changes the same state. It sends the
 * target's events in order, one attempt at a time, with growing pauses after failures. It keeps the oldest waiting
 * events in memory; the store has all of them.
 */

import type { Clock } from "../base/clock.ts";
import { newId } from "../base/new-id.ts";
import { counted } from "../base/text.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import type { Event } from "../events/event-schema.ts";
import type { Log } from "../platform/log.ts";
import type { QueuedEvent } from "../store/outbox-rows.ts";
import type { Store } from "../store/store.ts";
import { PAUSE_MAX_MS, pauseBeforeRetry } from "./backoff.ts";
import type { Channel, DeliveryResult, Message, Target } from "./target.ts";

/**
 * Maximum number of waiting events per target. An event is about 1 KB, so a target that is down costs at most about 100
 * MB of disk.
 */
const WAITING_MAX = 100_000;
/** The same if the store is in memory: about 10 MB. */
const WAITING_IN_MEMORY_MAX = 10_000;

/** Events that wait longer become dead letters. Three days cover a long weekend; older reports would mislead. */
const AGE_MAX_MS = 3 * 24 * 3_600_000;

/** Events per target that are kept in memory; the others stay in the store until their turn. */
export const WINDOW = 256;
/** Maximum number of events in one digest. */
const DIGEST_MAX = 100;

export interface QueueOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 <= random() < 1 */
  readonly random: () => number;
  /** Called with each attempt's target and result. */
  readonly attempted: (target: string, result: DeliveryResult["type"]) => void;
  readonly delivered: (target: string, seqs: readonly number[]) => void;
  /** Writes the collected deliveries, so that the store does not return delivered events as waiting. */
  readonly flush: () => void;
}

/** The state of a target's queue. */
export interface QueueState {
  readonly key: string;
  /** Name of the target, without secrets. */
  readonly label: string;
  readonly waiting: number;
  /** Whether the target answered that it no longer exists. */
  readonly isStopped: boolean;
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** Why the latest attempt failed; empty if it succeeded or there was none. */
  readonly reason: string;
}

export class TargetQueue {
  readonly #options: QueueOptions;
  readonly #abort = new AbortController();
  #target: Target;
  /** The oldest waiting events. */
  #window: QueuedEvent[] = [];
  /** Total number of waiting events, in memory and in the store. */
  #waiting: number;
  #isSending = false;
  /** The events of the current attempt. Unless the queue must be reloaded, they are the first ones of the window. */
  #inFlight: readonly number[] = [];
  /** Cancels the running pause; null: no pause is running. */
  #cancelPause: (() => void) | null = null;
  /** Resolves when the current call of `#send` ends. */
  #currentSend: Promise<void> = Promise.resolve();
  #isDraining = false;
  #isClosed = false;
  #isStopped = false;
  #mustReload = false;
  /** Failed attempts since the last success, including rejections. */
  #failures = 0;
  /** Failed attempts since the last success or rejection; they determine the pause. */
  #retries = 0;
  /** Why the latest attempt failed; empty if it succeeded. */
  #lastReason = "";
  /** Number of events, since the queue was last empty, that waited too long or were too many. They are dead letters. */
  #expired = 0;

  constructor(target: Target, options: QueueOptions) {
    this.#target = target;
    this.#options = options;
    const { store, clock } = options;
    this.#waiting = store.outbox.count(target.key);
    const state = store.outbox.targetState(target.key);
    this.#failures = state?.failures ?? 0;
    this.#retries = state?.retries ?? 0;
    this.#lastReason = state?.reason ?? "";
    const pauseMs = Math.min(PAUSE_MAX_MS, (state?.nextAtMs ?? 0) - clock.now().wallMs);
    // Continue the pause that the previous run began.
    if (pauseMs > 0 && this.#waiting > 0) {
      this.#cancelPause = clock.after(pauseMs, () => this.#skipPause());
    } else this.#startSending();
  }

  get key(): string {
    return this.#target.key;
  }

  get #name(): string {
    return this.#target.channel.name;
  }

  get #channel(): Channel {
    return this.#target.channel;
  }

  /** Whether the target answered that it no longer exists. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  get waiting(): number {
    return this.#waiting;
  }

  get state(): QueueState {
    return {
      key: this.key,
      label: this.#name,
      waiting: this.#waiting,
      isStopped: this.#isStopped,
      failures: this.#failures,
      reason: this.#lastReason,
    };
  }

  accepts(event: Event): boolean {
    return !this.#isStopped && !this.#isClosed && this.#target.accepts(event);
  }

  add(entry: QueuedEvent): void {
    this.#waiting++;
    // Otherwise the store has older events that are not in the window; they are sent first.
    if (this.#window.length === this.#waiting - 1 && this.#window.length < WINDOW) {
      this.#window.push(entry);
    }
    const max = this.#options.store.isInMemory ? WAITING_IN_MEMORY_MAX : WAITING_MAX;
    if (this.#waiting > max)
      this.#expireOldest(`${max} events are waiting; the oldest become dead letters`);
    this.#startSending();
  }

  use(target: Target): void {
    this.#target = target;
    this.#skipPause();
  }

  reload(): void {
    if (this.#isStopped) return;
    this.#mustReload = true;
    this.#options.flush();
    this.#waiting = this.#options.store.outbox.count(this.key);
    // `wgmon outbox retry` takes effect at once, not after a pause of up to a quarter of an hour.
    if (!this.#isSending) this.#skipPause();
  }

  clockSet(step: ClockStep): void {
    this.#window = this.#window.map((entry) => ({
      ...entry,
      addedAtMs: moved(step, entry.addedAtMs),
    }));
  }

  warmUp(sample: Event): void {
    this.#channel.warmUp?.({ id: sample.id, events: [sample] });
  }

  /** One attempt with an event that is not in the queue; its result changes nothing else. */
  test(event: Event): Promise<DeliveryResult> {
    return this.#channel.attempt({ id: event.id, events: [event] }, this.#abort.signal);
  }

  drain(): Promise<void> {
    this.#isDraining = true;
    this.#skipPause();
    return this.#currentSend;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelPause?.();
    this.#abort.abort();
    const { log, store } = this.#options;
    if (!this.#isDraining || this.#waiting === 0) return;
    const outcome = store.isInMemory ? "not delivered" : "kept for the next start";
    log.warn(`${this.#name}: stopping, ${counted(this.#waiting, "event")} ${outcome}`);
  }

  #skipPause(): void {
    this.#cancelPause?.();
    this.#cancelPause = null;
    this.#startSending();
  }

  /** Starts sending if there may be something to send, no attempt is in progress, and no pause is running. */
  #startSending(): void {
    if (this.#isSending || this.#cancelPause !== null) return;
    if (this.#waiting === 0 && !this.#mustReload) return;
    this.#isSending = true;
    this.#currentSend = this.#send();
  }

  async #send(): Promise<void> {
    for (let message = this.#next(); message !== null; message = this.#next()) {
      this.#inFlight = this.#window.slice(0, message.events.length).map(({ seq }) => seq);
      const result = await this.#channel.attempt(message, this.#abort.signal);
      const mayContinue = !this.#isClosed && this.#handleResult(message, result);
      this.#inFlight = [];
      if (!mayContinue) break;
    }
    // Clear synchronously after the last #next(), otherwise an event added in between would not be sent.
    this.#isSending = false;
  }

  /** Returns the next message to send; null if no message is due. */
  #next(): Message | null {
    if (this.#mustReload) this.#resetWindow();
    this.#expire();
    const first = this.#window[0];
    if (first === undefined) return null;
    const { digestMs } = this.#target;
    if (first.message !== null) return this.#digest(first.message);
    if (digestMs === 0) return { id: first.event.id, events: [first.event] };
    const waitMs = first.addedAtMs + digestMs - this.#options.clock.now().wallMs;
    if (waitMs > 0 && !this.#isDraining) {
      this.#cancelPause = this.#options.clock.after(Math.min(waitMs, digestMs), () => {
        this.#skipPause();
      });
      return null;
    }
    return this.#newDigest();
  }

  #newDigest(): Message {
    this.#fill(DIGEST_MAX);
    const parts = this.#window.slice(0, DIGEST_MAX);
    const [first] = parts;
    if (parts.length === 1) return { id: first!.event.id, events: [first!.event] };
    const id = newId("msg");
    const seqs = parts.map(({ seq }) => seq);
    this.#options.store.outbox.assignDigest(this.key, seqs, id);
    this.#window.splice(0, parts.length, ...parts.map((part) => ({ ...part, message: id })));
    return this.#digest(id);
  }

  /** Builds the digest from its events. It keeps its id if some of its events were removed meanwhile. */
  #digest(id: string): Message {
    const parts = this.#window.filter(({ message }) => message === id);
    return { id, events: parts.map(({ event }) => event) as [Event, ...Event[]] };
  }

  /** Loads events from the store, so that the window has at least `count` events, or all if there are fewer. */
  #fill(count: number): void {
    if (this.#window.length >= Math.min(count, this.#waiting)) return;
    const { store, flush } = this.#options;
    flush();
    this.#window.push(...store.outbox.waiting(this.key, this.#window.at(-1)?.seq ?? 0, WINDOW));
    // Another process removed the missing events.
    if (this.#window.length < count) this.#waiting = this.#window.length;
  }

  #resetWindow(): void {
    this.#mustReload = false;
    this.#options.flush();
    this.#window = [];
    this.#waiting = this.#options.store.outbox.count(this.key);
  }

  #expire(): void {
    for (;;) {
      this.#fill(1);
      const first = this.#window[0];
      if (first === undefined) return;
      if (this.#options.clock.now().wallMs - first.addedAtMs <= AGE_MAX_MS) return;
      this.#expireOldest("events that have been waiting for 3 days become dead letters");
    }
  }

  /** Handles the result of an attempt. Returns whether the next message may be sent at once. */
  #handleResult({ id, events: sent }: Message, result: DeliveryResult): boolean {
    const { log, attempted } = this.#options;
    attempted(this.key, result.type);
    const count = sent.length;
    const fields = count === 1 ? { type: sent[0].type, id } : { events: count, id };
    switch (result.type) {
      case "delivered":
        log.debug(`${this.#name}: delivered`, fields);
        this.#retries = 0;
        if (this.#failures > 0) {
          const attempts = counted(this.#failures, "failed attempt");
          log.info(`${this.#name}: delivering again after ${attempts}`);
          this.#failures = 0;
          this.#lastReason = "";
          this.#saveState(0);
        }
        this.#options.delivered(this.key, this.#removeSent());
        this.#logEmptied();
        return true;
      case "drop":
        log.error(`${this.#name}: ${result.reason}; moved to the dead letters`, fields);
        this.#recordRejection(result.reason);
        this.#deadLetter(this.#removeSent(), result.reason);
        this.#logEmptied();
        return true;
      case "stop":
        if (this.#mustReload) this.#resetWindow();
        log.error(`${this.#name}: ${result.reason}; nothing more is sent to it until a reload`, {
          deadLetters: this.#waiting,
        });
        this.#recordRejection(result.reason);
        this.#isStopped = true;
        while (this.#waiting > 0) {
          this.#fill(WINDOW);
          this.#deadLetter(this.#removeFirst(this.#window.length), result.reason);
        }
        return false;
      case "retry":
        this.#failures++;
        this.#retries++;
        if (this.#isDraining) this.#recordFailure(result.reason, "stopping");
        // All waiting events were deleted during the attempt.
        else if (this.#waiting === 0) this.#recordFailure(result.reason, "nothing waits");
        else this.#pause(result.reason, result.afterMs);
        return false;
    }
  }

  /** Records a failure that is not retried. */
  #recordRejection(reason: string): void {
    this.#failures++;
    this.#retries = 0;
    this.#lastReason = reason;
    this.#saveState(0);
  }

  /** If the queue is empty now, logs how many events expired. */
  #logEmptied(): void {
    if (this.#waiting > 0 || this.#expired === 0) return;
    const { log } = this.#options;
    log.warn(
      `${this.#name}: queue empty; ${counted(this.#expired, "event")} became dead letters meanwhile`,
    );
    this.#expired = 0;
  }

  #pause(reason: string, afterMs: number | null): void {
    const { clock, random } = this.#options;
    const delayMs = pauseBeforeRetry(this.#retries, afterMs, random);
    this.#recordFailure(reason, `next in ${Math.ceil(delayMs / 1000)} s`);
    this.#saveState(clock.now().wallMs + delayMs);
    this.#cancelPause = clock.after(delayMs, () => this.#skipPause());
  }

  #saveState(nextAtMs: number): void {
    this.#options.store.outbox.saveTarget(this.key, this.#name, {
      failures: this.#failures,
      retries: this.#retries,
      nextAtMs,
      reason: this.#lastReason,
    });
  }

  /** Logs a warning for the first failure and whenever the reason changes, otherwise a debug line. */
  #recordFailure(reason: string, next: string): void {
    const level = reason === this.#lastReason ? "debug" : "warn";
    this.#lastReason = reason;
    this.#options.log[level](`${this.#name}: ${reason}, attempt ${this.#retries}, ${next}`);
  }

  /** Moves the oldest waiting event to the dead letters. */
  #expireOldest(reason: string): void {
    // The window is out of date; the next attempt begins with a new one.
    if (this.#mustReload) return;
    const skipped = this.#inFlight.length;
    this.#fill(skipped + 1);
    // Skip the events of the current attempt, which may still be delivered.
    const [entry] = this.#window.splice(skipped, 1);
    if (entry === undefined) return;
    this.#waiting--;
    this.#deadLetter([entry.seq], reason);
    if (this.#expired === 0) this.#options.log.warn(`${this.#name}: ${reason}`);
    this.#expired++;
  }

  /** Removes the first events from the window but not from the store. Returns their sequence numbers. */
  #removeFirst(count: number): number[] {
    const removed = this.#window.splice(0, count);
    this.#waiting -= removed.length;
    return removed.map(({ seq }) => seq);
  }

  /** Removes the events of the ended attempt that were not deleted meanwhile. Returns their sequence numbers. */
  #removeSent(): number[] {
    if (!this.#mustReload) return this.#removeFirst(this.#inFlight.length);
    this.#resetWindow();
    const queued = this.#options.store.outbox.stillQueued(this.key, this.#inFlight);
    this.#waiting -= queued.length;
    return queued;
  }

  #deadLetter(seqs: readonly number[], reason: string): void {
    this.#options.store.outbox.deadLetter(
      this.key,
      this.#name,
      seqs,
      reason,
      this.#options.clock.now().wallMs,
    );
  }
}
