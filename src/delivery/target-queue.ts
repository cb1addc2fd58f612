/**
 * The queue of one target: sends its events in order, one attempt at a time, with growing pauses after failures. It keeps
 * the oldest waiting events in memory; the store has all of them.
 */

import type { Clock } from "../base/clock.ts";
import { counted } from "../base/text.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import type { Event } from "../events/event-schema.ts";
import type { Log } from "../platform/log.ts";
import type { QueuedEvent } from "../store/outbox-rows.ts";
import type { Store } from "../store/store.ts";
import type { Channel, DeliveryResult, Message, Target } from "./target.ts";

/** The pause before the next attempt is random, up to a limit that doubles from the first value to the last. */
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_LAST_MS = 15 * 60_000;

/**
 * Maximum number of waiting events per target. An event is about 1 KB, so a target that is down costs at most about 100
 * MB of disk ...
 */
const WAITING_MAX = 100_000;
/** ... or 10 MB of memory if the store is in memory. */
const WAITING_IN_MEMORY_MAX = 10_000;

/** Older events become dead letters: this covers a long weekend, and older reports would mislead. */
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
  /** Whether the target answered that it is permanently gone. */
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
  #sending = false;
  /** How many events at the front of the window are in the current attempt. */
  #inFlight = 0;
  /** Cancels the running pause; null: no pause is running. */
  #endPause: (() => void) | null = null;
  /** Resolves when there is nothing to send for now. */
  #done: Promise<void> = Promise.resolve();
  #draining = false;
  #closed = false;
  #isStopped = false;
  #mustReload = false;
  /** Failed attempts since the last success, including refusals. */
  #failures = 0;
  /** Failed attempts since the last success or refusal; they determine the pause. */
  #retries = 0;
  /** Why the latest attempt failed; empty if it succeeded. */
  #lastReason = "";
  /** Events that became dead letters unsent since the queue was last empty. */
  #givenUp = 0;

  constructor(target: Target, options: QueueOptions) {
    this.#target = target;
    this.#options = options;
    const { store, clock } = options;
    this.#waiting = store.outbox.count(target.key);
    const state = store.outbox.targetState(target.key);
    this.#failures = state?.failures ?? 0;
    this.#retries = state?.retries ?? 0;
    this.#lastReason = state?.reason ?? "";
    const pauseMs = Math.min(BACKOFF_LAST_MS, (state?.nextAtMs ?? 0) - clock.now().wallMs);
    // Continue the pause that the previous run had started.
    if (pauseMs > 0 && this.#waiting > 0) {
      this.#endPause = clock.after(pauseMs, () => this.#skipPause());
    } else this.#wake();
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

  /** Whether the target answered that it is permanently gone. */
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
    return !this.#isStopped && !this.#closed && this.#target.accepts(event);
  }

  add(entry: QueuedEvent): void {
    this.#waiting++;
    // Otherwise the store has older events, which come first.
    if (this.#window.length === this.#waiting - 1 && this.#window.length < WINDOW) {
      this.#window.push(entry);
    }
    const max = this.#options.store.isInMemory ? WAITING_IN_MEMORY_MAX : WAITING_MAX;
    if (this.#waiting > max)
      this.#expireOldest(`${max} events are waiting; the oldest become dead letters`);
    this.#wake();
  }

  use(target: Target): void {
    this.#target = target;
    this.#skipPause();
  }

  reload(): void {
    if (this.#isStopped) return;
    this.#mustReload = true;
    // `wgmon outbox retry` means now, not after a pause of up to a quarter of an hour.
    if (!this.#sending) this.#skipPause();
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

  drain(): Promise<void> {
    this.#draining = true;
    this.#skipPause();
    return this.#done;
  }

  close(): void {
    this.#closed = true;
    this.#endPause?.();
    this.#abort.abort();
    const { log, store } = this.#options;
    if (!this.#draining || this.#waiting === 0) return;
    const fate = store.isInMemory ? "not delivered" : "kept for the next start";
    log.warn(`${this.#name}: stopping, ${counted(this.#waiting, "event")} ${fate}`);
  }

  #skipPause(): void {
    this.#endPause?.();
    this.#endPause = null;
    this.#wake();
  }

  #wake(): void {
    if (this.#sending || this.#endPause !== null) return;
    if (this.#waiting === 0 && !this.#mustReload) return;
    this.#sending = true;
    this.#done = this.#send();
  }

  async #send(): Promise<void> {
    for (let message = this.#next(); message !== null; message = this.#next()) {
      this.#inFlight = message.events.length;
      const verdict = await this.#channel.attempt(message, this.#abort.signal);
      this.#inFlight = 0;
      if (this.#closed || !this.#applyResult(message, verdict)) break;
    }
    // Clear synchronously after the last #next(), otherwise an event added in between would not be sent.
    this.#sending = false;
  }

  /** Returns the next message to send; null if no message is due. */
  #next(): Message | null {
    if (this.#mustReload) this.#readAgain();
    this.#expire();
    const first = this.#window[0];
    if (first === undefined) return null;
    const { digestMs } = this.#target;
    if (first.message !== null) return this.#digest(first.message);
    if (digestMs === 0) return { id: first.event.id, events: [first.event] };
    const waitMs = first.addedAtMs + digestMs - this.#options.clock.now().wallMs;
    if (waitMs > 0 && !this.#draining) {
      this.#endPause = this.#options.clock.after(Math.min(waitMs, digestMs), () => {
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
    const id = `msg_${Bun.randomUUIDv7().replaceAll("-", "")}`;
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

  /** Loads events from the store until the window has `least` events or all. */
  #fill(least: number): void {
    if (this.#window.length >= Math.min(least, this.#waiting)) return;
    const { store, flush } = this.#options;
    flush();
    this.#window.push(...store.outbox.waiting(this.key, this.#window.at(-1)?.seq ?? 0, WINDOW));
    // Another process removed the missing events.
    if (this.#window.length < least) this.#waiting = this.#window.length;
  }

  #readAgain(): void {
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

  /** Applies the verdict on the first message. Returns whether the next message may be sent at once. */
  #applyResult({ id, events: sent }: Message, verdict: DeliveryResult): boolean {
    const { log, attempted } = this.#options;
    attempted(this.key, verdict.type);
    const count = sent.length;
    const fields = count === 1 ? { type: sent[0].type, id } : { events: count, id };
    switch (verdict.type) {
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
        this.#options.delivered(this.key, this.#take(count));
        this.#finish();
        return true;
      case "drop":
        log.error(`${this.#name}: ${verdict.reason}; moved to the dead letters`, fields);
        this.#refused(verdict.reason);
        this.#bury(this.#take(count), verdict.reason);
        this.#finish();
        return true;
      case "stop":
        log.error(`${this.#name}: ${verdict.reason}; nothing more is sent to it until a reload`, {
          deadLetters: this.#waiting,
        });
        this.#refused(verdict.reason);
        this.#isStopped = true;
        while (this.#waiting > 0) {
          this.#fill(WINDOW);
          this.#bury(this.#take(this.#window.length), verdict.reason);
        }
        return false;
      case "retry":
        this.#failures++;
        this.#retries++;
        if (this.#draining) this.#failed(verdict.reason, "stopping");
        else this.#pause(verdict.reason, verdict.afterMs);
        return false;
    }
  }

  /** Records an answer that another attempt would not change. */
  #refused(reason: string): void {
    this.#failures++;
    this.#retries = 0;
    this.#lastReason = reason;
    this.#saveState(0);
  }

  #finish(): void {
    if (this.#waiting > 0 || this.#givenUp === 0) return;
    const { log } = this.#options;
    log.warn(
      `${this.#name}: queue empty; ${counted(this.#givenUp, "event")} became dead letters meanwhile`,
    );
    this.#givenUp = 0;
  }

  #pause(reason: string, afterMs: number | null): void {
    const { clock, random } = this.#options;
    const limitMs = Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** (this.#retries - 1));
    // Enforce a minimum delay: a target may request a short pause, but not a flood of attempts.
    const delayMs = afterMs === null ? random() * limitMs : Math.max(afterMs, BACKOFF_FIRST_MS);
    this.#failed(reason, `next in ${Math.ceil(delayMs / 1000)} s`);
    this.#saveState(clock.now().wallMs + delayMs);
    this.#endPause = clock.after(delayMs, () => this.#skipPause());
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
  #failed(reason: string, next: string): void {
    const level = reason === this.#lastReason ? "debug" : "warn";
    this.#lastReason = reason;
    this.#options.log[level](`${this.#name}: ${reason}, attempt ${this.#retries}, ${next}`);
  }

  #expireOldest(why: string): void {
    this.#fill(this.#inFlight + 1);
    // Skip the events of the current attempt, which may still be delivered.
    const [entry] = this.#window.splice(this.#inFlight, 1);
    if (entry === undefined) return;
    this.#waiting--;
    this.#bury([entry.seq], why);
    if (this.#givenUp === 0) this.#options.log.warn(`${this.#name}: ${why}`);
    this.#givenUp++;
  }

  /** Removes the first events from the window; their rows in the store stay. */
  #take(count: number): number[] {
    const taken = this.#window.splice(0, count);
    this.#waiting -= taken.length;
    return taken.map(({ seq }) => seq);
  }

  #bury(seqs: readonly number[], reason: string): void {
    this.#options.store.outbox.deadLetter(
      this.key,
      this.#name,
      seqs,
      reason,
      this.#options.clock.now().wallMs,
    );
  }
}
