/**
 * Carries events to the targets. Each target has its own queue and waits for nobody else; its events
 * leave in order, one attempt at a time, until each is delivered or becomes a dead letter. What waits is
 * in the store: it outlives the process, however that ends. An event may be sent twice, under the
 * same id; none is lost.
 */

import type { Channel, Message, Target, Verdict } from "./channel/channel.ts";
import type { Clock } from "./clock.ts";
import type { Event } from "./contract.ts";
import type { Log } from "./log.ts";
import type { Store, Waiting } from "./store/store.ts";
import { type ClockStep, moved } from "./wallclock.ts";

/** The pause before the next attempt is anything up to a limit that doubles from the first to the last. */
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_LAST_MS = 15 * 60_000;

/** An event is about a kilobyte: a target that is down costs at most some 100 MB of disk ... */
const WAITING_MAX = 100_000;
/** ... or, where there is none, 10 MB of memory. */
const WAITING_IN_MEMORY_MAX = 10_000;

/** A long weekend. Older news would only mislead. */
const AGE_MAX_MS = 3 * 24 * 3_600_000;

/** Events of a target that are kept in memory; the rest stays in the store until it is their turn. */
const WINDOW = 256;
/** Events of one digest. */
const DIGEST_MAX = 100;

/** Deliveries are written to the store together. */
const SETTLE_MS = 50;

interface OutboxOptions {
  readonly store: Store;
  /** One whose steps are reported to `clockSet`. */
  readonly clock: Clock;
  readonly log: Log;
  /** 0 <= random() < 1 */
  readonly random?: () => number;
  /** Is told of each attempt and how it ended. */
  readonly attempted?: (target: string, result: Verdict["type"]) => void;
}

type Options = Required<OutboxOptions> & {
  readonly delivered: (target: string, seqs: readonly number[]) => void;
  /** Writes what was delivered, so that the store does not answer with it. */
  readonly flush: () => void;
};

/** How a target stands. */
interface QueueState {
  readonly key: string;
  /** Safe to show. */
  readonly label: string;
  readonly waiting: number;
  /** It said that it is gone for good. */
  readonly isStopped: boolean;
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** Why the newest attempt failed; empty: it succeeded, or there was none. */
  readonly reason: string;
}

/** An event that the store has just taken in, and the keys of the targets that it goes to. */
interface Added {
  readonly seq: number;
  readonly event: Event;
  readonly targets: readonly string[];
}

export class Outbox {
  readonly #options: Options;
  readonly #delivered: { readonly target: string; readonly seq: number }[] = [];
  #queues: Queue[] = [];
  #cancelSettle: (() => void) | null = null;
  #foreignVersion: string;

  constructor(options: OutboxOptions) {
    const { store, clock, log, random = Math.random, attempted = () => {} } = options;
    this.#options = {
      store,
      clock,
      log,
      random,
      attempted,
      delivered: (target, seqs) => this.#settle(target, seqs),
      flush: () => this.#flush(),
    };
    this.#foreignVersion = store.foreignVersion;
  }

  /** A target takes over what waits for one with its key, or else with its name, and is tried at once. */
  setTargets(targets: readonly Target[]): void {
    const keys = new Set(targets.map(({ key }) => key));
    const kept = new Map<string, Queue>();
    for (const queue of this.#queues) {
      if (keys.has(queue.key) && !queue.isStopped) kept.set(queue.key, queue);
      else queue.close();
    }
    this.#flush();
    this.#adopt(targets, keys);
    this.#queues = targets.map((target) => {
      const queue = kept.get(target.key);
      if (queue === undefined) return new Queue(target, this.#options);
      queue.use(target);
      return queue;
    });
  }

  /** The keys of the targets that an event goes to. */
  keysFor(event: Event): string[] {
    return this.#queues.filter((queue) => queue.accepts(event)).map(({ key }) => key);
  }

  /** The first attempt starts before this returns, where the target is free. */
  added(entries: readonly Added[]): void {
    const addedAtMs = this.#options.clock.now().wallMs;
    for (const { seq, event, targets } of entries) {
      for (const queue of this.#queues) {
        if (targets.includes(queue.key)) queue.add({ seq, event, addedAtMs, message: null });
      }
    }
  }

  /** Moves the times that it remembers. Those in the store are moved already. */
  clockSet(step: ClockStep): void {
    for (const queue of this.#queues) queue.clockSet(step);
  }

  /** Takes notice of what another process, `wgmon outbox`, has changed in the store. */
  refresh(): void {
    const version = this.#options.store.foreignVersion;
    if (version === this.#foreignVersion) return;
    this.#foreignVersion = version;
    for (const queue of this.#queues) queue.reload();
  }

  /** Readies the channels, so that the first attempt is neither the slowest nor the first to need things. */
  warmUp(sample: Event): void {
    for (const queue of this.#queues) queue.warmUp(sample);
  }

  /** How the targets stand. */
  get states(): readonly QueueState[] {
    return this.#queues.map((queue) => queue.state);
  }

  /** How many events wait, each counted once for each target. */
  get waiting(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.waiting, 0);
  }

  /**
   * The end: every target is tried once more, without a pause and up to its first failure; after
   * `withinMs` all is broken off. Events that are added later go nowhere.
   */
  async drain(withinMs: number): Promise<void> {
    const queues = this.#queues;
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(withinMs, resolve);
      void Promise.all(queues.map((queue) => queue.drain())).then(() => {
        cancel();
        resolve();
      });
    });
    this.#queues = [];
    for (const queue of queues) queue.close();
    this.#flush();
  }

  /**
   * Events whose target is no longer there. A webhook with a new token has a new key: it is known by
   * its name, if only one has it.
   */
  #adopt(targets: readonly Target[], keys: ReadonlySet<string>): void {
    const { store } = this.#options;
    const queues = store.queues();
    const orphans = queues.filter(({ target }) => !keys.has(target));
    for (const { target, label } of orphans) {
      const heirs = targets.filter(({ channel }) => channel.name === label);
      const rivals = orphans.filter((other) => other.label === label);
      const isFree = !queues.some((queue) => queue.target === heirs[0]?.key);
      if (heirs.length === 1 && rivals.length === 1 && isFree) store.rename(target, heirs[0]!.key);
      else this.#abandon(target, label);
    }
  }

  #abandon(target: string, label: string): void {
    const { store, clock, log } = this.#options;
    let count = 0;
    for (;;) {
      const seqs = store.waiting(target, 0, WINDOW).map(({ seq }) => seq);
      if (seqs.length === 0) break;
      store.bury(target, label, seqs, "no longer a target", clock.now().wallMs);
      count += seqs.length;
    }
    log.warn(`${label}: no longer a target, ${events(count)} became dead letters`);
  }

  #settle(target: string, seqs: readonly number[]): void {
    for (const seq of seqs) this.#delivered.push({ target, seq });
    this.#cancelSettle ??= this.#options.clock.after(SETTLE_MS, () => this.#flush());
  }

  #flush(): void {
    this.#cancelSettle?.();
    this.#cancelSettle = null;
    if (this.#delivered.length > 0) this.#options.store.delivered(this.#delivered.splice(0));
  }
}

/** What waits for one target, and the sending of it. */
class Queue {
  readonly #options: Options;
  readonly #abort = new AbortController();
  #target: Target;
  /** The oldest that wait. */
  #window: Waiting[] = [];
  /** How many wait in all, here and in the store. */
  #waiting: number;
  #sending = false;
  /** How many of the window's first are on their way. */
  #inFlight = 0;
  /** Set while a pause runs. */
  #endPause: (() => void) | null = null;
  /** Ends when there is nothing to send for now. */
  #done: Promise<void> = Promise.resolve();
  #draining = false;
  #closed = false;
  #isStopped = false;
  #mustReload = false;
  /** Failed attempts since the last success, whatever became of the events. */
  #failures = 0;
  /** Those of them since the last success or refusal: the pause grows with them. */
  #retries = 0;
  /** Of the newest attempt; empty: it succeeded. */
  #lastReason = "";
  /** Events that became dead letters unsent since the queue was last empty. */
  #givenUp = 0;

  constructor(target: Target, options: Options) {
    this.#target = target;
    this.#options = options;
    const { store, clock } = options;
    this.#waiting = store.count(target.key);
    const state = store.targetState(target.key);
    this.#failures = state?.failures ?? 0;
    this.#retries = state?.retries ?? 0;
    this.#lastReason = state?.reason ?? "";
    const pauseMs = Math.min(BACKOFF_LAST_MS, (state?.nextAtMs ?? 0) - clock.now().wallMs);
    // Before it was ended, wgmon had promised the target to wait so long.
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

  /** The target said that it is gone for good. */
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

  add(entry: Waiting): void {
    this.#waiting++;
    // Else the store has older ones that come first.
    if (this.#window.length === this.#waiting - 1 && this.#window.length < WINDOW) {
      this.#window.push(entry);
    }
    const max = this.#options.store.isInMemory ? WAITING_IN_MEMORY_MAX : WAITING_MAX;
    if (this.#waiting > max)
      this.#giveUpOldest(`${max} events wait, the oldest become dead letters`);
    this.#wake();
  }

  use(target: Target): void {
    this.#target = target;
    this.#skipPause();
  }

  reload(): void {
    if (this.#isStopped) return;
    this.#mustReload = true;
    // Whoever asks for a retry does not mean in a quarter of an hour.
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
    const fate = store.isInMemory ? "not delivered" : "left for the next start";
    log.warn(`${this.#name}: stopping, ${events(this.#waiting)} ${fate}`);
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
      if (this.#closed || !this.#settle(message, verdict)) break;
    }
    // In the same breath as the last look at the queue, or an event added in between would lie there.
    this.#sending = false;
  }

  /** What to send next; null: nothing, or not yet. */
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
    this.#options.store.join(this.key, seqs, id);
    this.#window.splice(0, parts.length, ...parts.map((part) => ({ ...part, message: id })));
    return this.#digest(id);
  }

  /** Also when a part of it was taken out meanwhile, it is the same message. */
  #digest(id: string): Message {
    const parts = this.#window.filter(({ message }) => message === id);
    return { id, events: parts.map(({ event }) => event) as [Event, ...Event[]] };
  }

  /** Reads from the store until the window has so many, or all. */
  #fill(least: number): void {
    if (this.#window.length >= Math.min(least, this.#waiting)) return;
    const { store, flush } = this.#options;
    flush();
    this.#window.push(...store.waiting(this.key, this.#window.at(-1)?.seq ?? 0, WINDOW));
    // Somebody else has taken them out.
    if (this.#window.length < least) this.#waiting = this.#window.length;
  }

  #readAgain(): void {
    this.#mustReload = false;
    this.#options.flush();
    this.#window = [];
    this.#waiting = this.#options.store.count(this.key);
  }

  #expire(): void {
    for (;;) {
      this.#fill(1);
      const first = this.#window[0];
      if (first === undefined) return;
      if (this.#options.clock.now().wallMs - first.addedAtMs <= AGE_MAX_MS) return;
      this.#giveUpOldest("events that have waited for 3 days become dead letters");
    }
  }

  /** Acts on the verdict on the first message. Whether the next may be tried at once. */
  #settle({ id, events: sent }: Message, verdict: Verdict): boolean {
    const { log, attempted } = this.#options;
    attempted(this.key, verdict.type);
    const count = sent.length;
    const fields = count === 1 ? { type: sent[0].type, id } : { events: count, id };
    switch (verdict.type) {
      case "delivered":
        log.debug(`${this.#name}: delivered`, fields);
        this.#retries = 0;
        if (this.#failures > 0) {
          const attempts = `${this.#failures} failed attempt${this.#failures === 1 ? "" : "s"}`;
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

  /** An answer that another attempt would not change. */
  #refused(reason: string): void {
    this.#failures++;
    this.#retries = 0;
    this.#lastReason = reason;
    this.#saveState(0);
  }

  #finish(): void {
    if (this.#waiting > 0 || this.#givenUp === 0) return;
    const { log } = this.#options;
    log.warn(`${this.#name}: queue empty; ${events(this.#givenUp)} became dead letters meanwhile`);
    this.#givenUp = 0;
  }

  #pause(reason: string, afterMs: number | null): void {
    const { clock, random } = this.#options;
    const limitMs = Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** (this.#retries - 1));
    // A target may ask for a moment's pause, but not for a flood.
    const delayMs = afterMs === null ? random() * limitMs : Math.max(afterMs, BACKOFF_FIRST_MS);
    this.#failed(reason, `next in ${Math.ceil(delayMs / 1000)} s`);
    this.#saveState(clock.now().wallMs + delayMs);
    this.#endPause = clock.after(delayMs, () => this.#skipPause());
  }

  #saveState(nextAtMs: number): void {
    this.#options.store.saveTarget(this.key, this.#name, {
      failures: this.#failures,
      retries: this.#retries,
      nextAtMs,
      reason: this.#lastReason,
    });
  }

  /** A warning when it begins and when the reason becomes another; between them it is no news. */
  #failed(reason: string, next: string): void {
    const level = reason === this.#lastReason ? "debug" : "warn";
    this.#lastReason = reason;
    this.#options.log[level](`${this.#name}: ${reason}, attempt ${this.#retries}, ${next}`);
  }

  #giveUpOldest(why: string): void {
    this.#fill(this.#inFlight + 1);
    // Those that are on their way may arrive.
    const [entry] = this.#window.splice(this.#inFlight, 1);
    if (entry === undefined) return;
    this.#waiting--;
    this.#bury([entry.seq], why);
    if (this.#givenUp === 0) this.#options.log.warn(`${this.#name}: ${why}`);
    this.#givenUp++;
  }

  /** Takes the first out of the window; their rows stay. */
  #take(count: number): number[] {
    const taken = this.#window.splice(0, count);
    this.#waiting -= taken.length;
    return taken.map(({ seq }) => seq);
  }

  #bury(seqs: readonly number[], reason: string): void {
    this.#options.store.bury(this.key, this.#name, seqs, reason, this.#options.clock.now().wallMs);
  }
}

function events(count: number): string {
  return `${count} event${count === 1 ? "" : "s"}`;
}
