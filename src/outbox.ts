/**
 * Carries events to the targets. Each target has its own queue and waits for nobody else; its events
 * leave in order, one attempt at a time, until each is delivered, refused or given up. What waits is
 * in memory: it does not survive the process.
 */

import type { Channel, Verdict } from "./channel/channel.ts";
import type { Clock } from "./clock.ts";
import type { Event } from "./contract.ts";
import type { Log } from "./log.ts";

/** The pause before the next attempt is anything up to a limit that doubles from the first to the last. */
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_LAST_MS = 15 * 60_000;

/** An event is about a kilobyte: a target that is down costs at most some 10 MB. */
const WAITING_MAX = 10_000;

/** A long weekend. Older news would only mislead. */
const AGE_MAX_MS = 3 * 24 * 3_600_000;

interface OutboxOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** 0 <= random() < 1 */
  readonly random?: () => number;
}

export class Outbox {
  readonly #options: Required<OutboxOptions>;
  #targets: Target[] = [];

  constructor({ clock, log, random = Math.random }: OutboxOptions) {
    this.#options = { clock, log, random };
  }

  /**
   * A target with the address of an earlier one, or else with its name, takes its queue over and tries
   * it at once.
   */
  setTargets(channels: readonly Channel[]): void {
    const earlier = this.#targets;
    const take = (fits: (target: Target) => boolean): Target | undefined => {
      const index = earlier.findIndex((target) => !target.stopped && fits(target));
      return index === -1 ? undefined : earlier.splice(index, 1)[0];
    };
    // All by address before any by name: two at one host must not get each other's queue.
    const same = channels.map((channel) => take(({ address }) => address === addressOf(channel)));
    this.#targets = channels.map((channel, index) => {
      const target = same[index] ?? take(({ name }) => name === channel.name);
      if (target === undefined) return new Target(channel, this.#options);
      target.use(channel);
      return target;
    });
    for (const target of earlier) target.close("no longer a target");
  }

  /** The first attempt starts before this returns, where the target is free. */
  add(event: Event): void {
    for (const target of this.#targets) target.add(event);
  }

  /** Runs the code of an attempt without sending anything, so that the first one is not the slowest. */
  warmUp(sample: Event): void {
    for (const target of this.#targets) target.warmUp(sample);
  }

  /** How many events wait, each counted once for each target. */
  get waiting(): number {
    return this.#targets.reduce((sum, target) => sum + target.waiting, 0);
  }

  /**
   * The end: every target is tried once more, without a pause and up to its first failure; after
   * `withinMs` all is broken off. Events that are added later go nowhere.
   */
  async drain(withinMs: number): Promise<void> {
    const targets = this.#targets;
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(withinMs, resolve);
      void Promise.all(targets.map((target) => target.drain())).then(() => {
        cancel();
        resolve();
      });
    });
    this.#targets = [];
    for (const target of targets) target.close("stopping");
  }
}

/** Sends to one target. */
class Target {
  readonly #options: Required<OutboxOptions>;
  readonly #queue = new Queue();
  readonly #abort = new AbortController();
  #channel: Channel;
  #sending = false;
  /** Set while a pause runs between two attempts. */
  #endPause: (() => void) | null = null;
  /** Ends when there is nothing to send for now. */
  #done: Promise<void> = Promise.resolve();
  #draining = false;
  #stopped = false;
  /** Failed attempts since the last success. */
  #failures = 0;
  #lastReason = "";
  /** Events given up since the queue was last empty. */
  #givenUp = 0;

  constructor(channel: Channel, options: Required<OutboxOptions>) {
    this.#channel = channel;
    this.#options = options;
  }

  get name(): string {
    return this.#channel.name;
  }

  warmUp(sample: Event): void {
    // Broken off before it begins.
    void this.#channel.attempt(sample, AbortSignal.abort());
  }

  get address(): string {
    return addressOf(this.#channel);
  }

  /** The target said that it is gone for good. */
  get stopped(): boolean {
    return this.#stopped;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  add(event: Event): void {
    if (this.#stopped) return;
    if (this.#queue.length === WAITING_MAX) {
      this.#giveUp(`${WAITING_MAX} events wait, the oldest are given up`);
      // The first is on its way already and may arrive.
      this.#queue.remove(this.#sending ? 1 : 0);
    }
    this.#queue.add({ event, addedAtMs: this.#options.clock.now().monotonicMs });
    this.#wake();
  }

  use(channel: Channel): void {
    this.#channel = channel;
    this.#skipPause();
  }

  drain(): Promise<void> {
    this.#draining = true;
    this.#skipPause();
    return this.#done;
  }

  close(why: string): void {
    this.#endPause?.();
    this.#abort.abort();
    const count = this.#queue.length;
    if (count > 0) this.#options.log.warn(`${this.name}: ${why}, ${events(count)} not delivered`);
  }

  #skipPause(): void {
    this.#endPause?.();
    this.#endPause = null;
    this.#wake();
  }

  #wake(): void {
    if (this.#sending || this.#endPause !== null) return;
    this.#sending = true;
    this.#done = this.#send();
  }

  async #send(): Promise<void> {
    for (let entry = this.#next(); entry !== undefined; entry = this.#next()) {
      const verdict = await this.#channel.attempt(entry.event, this.#abort.signal);
      if (this.#abort.signal.aborted || !this.#settle(entry.event, verdict)) break;
    }
    // In the same breath as the last look at the queue, or an event added in between would lie there.
    this.#sending = false;
  }

  #next(): Entry | undefined {
    const nowMs = this.#options.clock.now().monotonicMs;
    for (;;) {
      const entry = this.#queue.first;
      if (entry === undefined || nowMs - entry.addedAtMs <= AGE_MAX_MS) return entry;
      this.#giveUp("events have waited for 3 days and are given up");
      this.#queue.remove(0);
    }
  }

  /** Acts on the verdict on the first event. Whether the next may be tried at once. */
  #settle(event: Event, verdict: Verdict): boolean {
    const { log } = this.#options;
    switch (verdict.type) {
      case "delivered":
        log.debug(`${this.name}: delivered`, { type: event.type, id: event.id });
        if (this.#failures > 0) {
          const attempts = `${this.#failures} failed attempt${this.#failures === 1 ? "" : "s"}`;
          log.info(`${this.name}: delivering again after ${attempts}`);
          this.#failures = 0;
          this.#lastReason = "";
        }
        this.#finish();
        return true;
      case "drop":
        log.error(`${this.name}: ${verdict.reason}; event dropped`, { type: event.type });
        this.#finish();
        return true;
      case "stop":
        log.error(`${this.name}: ${verdict.reason}; nothing more is sent to it until a reload`, {
          dropped: this.#queue.length,
        });
        this.#stopped = true;
        this.#queue.clear();
        return false;
      case "retry":
        this.#failures++;
        if (this.#draining) this.#failed(verdict.reason, "stopping");
        else this.#pause(verdict.reason, verdict.afterMs);
        return false;
    }
  }

  #finish(): void {
    this.#queue.remove(0);
    if (this.#queue.length > 0 || this.#givenUp === 0) return;
    const { log } = this.#options;
    log.warn(`${this.name}: nothing waits any more, ${events(this.#givenUp)} had been given up`);
    this.#givenUp = 0;
  }

  #pause(reason: string, afterMs: number | null): void {
    const { clock, random } = this.#options;
    const limitMs = Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** (this.#failures - 1));
    // A target may ask for a moment's pause, but not for a flood.
    const delayMs = afterMs === null ? random() * limitMs : Math.max(afterMs, BACKOFF_FIRST_MS);
    this.#failed(reason, `next in ${Math.ceil(delayMs / 1000)} s`);
    this.#endPause = clock.after(delayMs, () => this.#skipPause());
  }

  /** A warning when it begins and when the reason becomes another; between them it is no news. */
  #failed(reason: string, next: string): void {
    const level = reason === this.#lastReason ? "debug" : "warn";
    this.#lastReason = reason;
    this.#options.log[level](`${this.name}: ${reason}, attempt ${this.#failures}, ${next}`);
  }

  #giveUp(why: string): void {
    if (this.#givenUp === 0) this.#options.log.warn(`${this.name}: ${why}`);
    this.#givenUp++;
  }
}

interface Entry {
  readonly event: Event;
  /** On the clock that never jumps. */
  readonly addedAtMs: number;
}

/** What waits for one target, oldest first. */
class Queue {
  readonly #entries: Entry[] = [];

  get length(): number {
    return this.#entries.length;
  }

  get first(): Entry | undefined {
    return this.#entries[0];
  }

  add(entry: Entry): void {
    this.#entries.push(entry);
  }

  remove(index: number): void {
    this.#entries.splice(index, 1);
  }

  clear(): void {
    this.#entries.length = 0;
  }
}

function addressOf({ address, name }: Channel): string {
  return address ?? name;
}

function events(count: number): string {
  return `${count} event${count === 1 ? "" : "s"}`;
}
