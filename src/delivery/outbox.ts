/**
 * Delivers events to the targets. Each target has its own queue, independent of the others. Its events are sent in
 * order, one attempt at a time, until each is delivered or becomes a dead letter. Waiting events are in the store, so
 * they survive a crash. An event may be sent twice, with the same id; no event is lost.
 */

import type { Clock } from "../base/clock.ts";
import { counted } from "../base/text.ts";
import type { ClockStep } from "../base/wall-clock.ts";
import type { Event } from "../events/event-schema.ts";
import type { Log } from "../platform/log.ts";
import type { MessageKind, MessageSlice } from "../store/outbox-rows.ts";
import type { Store } from "../store/store.ts";
import { type QueueOptions, type QueueState, TargetQueue, WINDOW } from "./target-queue.ts";
import type { DeliveryResult, Target } from "./target.ts";

/** Deliveries are collected for this long and written to the store together. */
const DELIVERED_FLUSH_MS = 50;
/** Most dead letters that one call of `retry` queues again. */
const RETRIED_MAX = 10_000;
/** Messages that are moved or deleted without a pause; more would delay packets by milliseconds. */
const SLICE = 2000;

interface OutboxOptions {
  readonly store: Store;
  /** Steps of this clock are passed to `clockSet`. */
  readonly clock: Clock;
  readonly log: Log;
  /** 0 <= random() < 1 */
  readonly random?: () => number;
  /** Called with each attempt's target and result. */
  readonly attempted?: (target: string, result: DeliveryResult["type"]) => void;
}

/** A newly stored event, and the keys of the targets that receive it. */
interface Added {
  readonly seq: number;
  readonly event: Event;
  readonly targets: readonly string[];
}

export class Outbox {
  readonly #options: QueueOptions;
  readonly #delivered: { readonly target: string; readonly seq: number }[] = [];
  #queues: TargetQueue[] = [];
  #cancelFlush: (() => void) | null = null;
  /** For each change in slices that has not ended: does the rest at once. */
  readonly #finishSlices = new Set<() => void>();
  #externalDataVersion: string;

  constructor(options: OutboxOptions) {
    const { store, clock, log, random = Math.random, attempted = () => {} } = options;
    this.#options = {
      store,
      clock,
      log,
      random,
      attempted,
      delivered: (target, seqs) => this.#markDelivered(target, seqs),
      flush: () => this.#flush(),
    };
    this.#externalDataVersion = store.externalDataVersion;
  }

  /**
   * Replaces the targets. A new target takes over the waiting events of a target with its key, or else with its name.
   * Targets that existed before are tried at once; new ones first wait for the rest of the pause in the store.
   */
  setTargets(targets: readonly Target[]): void {
    const keys = new Set(targets.map(({ key }) => key));
    const kept = new Map<string, TargetQueue>();
    for (const queue of this.#queues) {
      if (keys.has(queue.key) && !queue.isStopped) kept.set(queue.key, queue);
      else queue.close();
    }
    this.#flush();
    this.#reassignOrphans(targets, keys);
    this.#queues = targets.map((target) => {
      const queue = kept.get(target.key);
      if (queue === undefined) return new TargetQueue(target, this.#options);
      queue.use(target);
      return queue;
    });
  }

  /** Returns the keys of the targets that an event goes to. */
  keysFor(event: Event): string[] {
    return this.#queues.filter((queue) => queue.accepts(event)).map(({ key }) => key);
  }

  /** The targets, for those that choose some of them. */
  get targets(): readonly Pick<TargetQueue, "key" | "accepts" | "state">[] {
    return this.#queues;
  }

  /** Queues stored events. An idle target starts its first attempt before this returns. */
  added(entries: readonly Added[]): void {
    const addedAtMs = this.#options.clock.now().wallMs;
    for (const { seq, event, targets } of entries) {
      for (const queue of this.#queues) {
        if (targets.includes(queue.key)) queue.add({ seq, event, addedAtMs, message: null });
      }
    }
  }

  /** Moves the times in memory. Those in the store are already moved. */
  clockSet(step: ClockStep): void {
    for (const queue of this.#queues) queue.clockSet(step);
  }

  /** Reads the changes that another process, such as `wgmon outbox`, made in the store. */
  refresh(): void {
    const version = this.#options.store.externalDataVersion;
    if (version === this.#externalDataVersion) return;
    this.#externalDataVersion = version;
    for (const queue of this.#queues) queue.reload();
  }

  /**
   * Queues the dead letters of a target again, and tries its waiting events at once.
   *
   * @returns the number of dead letters that were queued; null if there is no such target, or it has stopped.
   */
  retry(key: string): number | null {
    const queue = this.#queueOf(key);
    if (queue === undefined || queue.isStopped) return null;
    const { store, clock } = this.#options;
    const nowMs = clock.now().wallMs;
    return this.#inSlices(
      key,
      "dead",
      RETRIED_MAX,
      (slice, durability) => store.outbox.requeueSlice(slice, nowMs, durability),
      () => queue.reload(),
    );
  }

  /** Deletes the dead letters or the waiting events of a target, also of one that no longer exists. */
  deleteMessages(key: string, kind: MessageKind): number {
    const { store, log } = this.#options;
    const labelInStore = () =>
      [...store.outbox.queues(), ...store.outbox.deadCounts()].find(({ target }) => target === key)
        ?.label;
    const label = this.#queueOf(key)?.state.label ?? labelInStore() ?? key;
    const count = this.#inSlices(
      key,
      kind,
      Infinity,
      (slice, durability) => store.outbox.deleteSlice(slice, kind, durability),
      () => {
        if (kind === "waiting") this.#queueOf(key)?.reload();
      },
    );
    const noun = kind === "dead" ? "dead letter" : "waiting event";
    if (count > 0) log.info(`${label}: ${counted(count, noun)} deleted on the page`);
    return count;
  }

  /** Sends one event to a target, outside of its queue. Returns null if there is no such target. */
  async test(key: string, event: Event): Promise<DeliveryResult | null> {
    return (await this.#queueOf(key)?.test(event)) ?? null;
  }

  /** Prepares the channels, so that the first attempt is as fast as later ones and already has its resources. */
  warmUp(sample: Event): void {
    for (const queue of this.#queues) queue.warmUp(sample);
  }

  /** The state of each target's queue. */
  get states(): readonly QueueState[] {
    return this.#queues.map((queue) => queue.state);
  }

  /** Number of waiting events; an event counts once per target. */
  get waiting(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.waiting, 0);
  }

  /**
   * Shuts down: tries every target once more, without a pause, until its first failure. Aborts everything after
   * `withinMs`. Events added later are not sent.
   */
  async drain(withinMs: number): Promise<void> {
    for (const finish of this.#finishSlices) finish();
    this.#finishSlices.clear();
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
   * Reassigns the events of targets that no longer exist to the new target with the same name, if the name is unique: a
   * webhook with a new token has a new key. Events without a new target become dead letters.
   */
  #reassignOrphans(targets: readonly Target[], keys: ReadonlySet<string>): void {
    const { store } = this.#options;
    const queues = store.outbox.queues();
    const orphans = queues.filter(({ target }) => !keys.has(target));
    for (const { target, label } of orphans) {
      const candidates = targets.filter(({ channel }) => channel.name === label);
      const sameName = orphans.filter((other) => other.label === label);
      const hasBacklog = queues.some((queue) => queue.target === candidates[0]?.key);
      if (candidates.length === 1 && sameName.length === 1 && !hasBacklog)
        store.outbox.moveBacklog(target, candidates[0]!.key);
      else this.#deadLetterAll(target, label);
    }
  }

  #deadLetterAll(target: string, label: string): void {
    const { store, clock, log } = this.#options;
    let count = 0;
    for (;;) {
      const seqs = store.outbox.waiting(target, 0, WINDOW).map(({ seq }) => seq);
      if (seqs.length === 0) break;
      store.outbox.deadLetter(target, label, seqs, "no longer a target", clock.now().wallMs);
      count += seqs.length;
    }
    log.warn(`${label}: no longer a target, ${counted(count, "event")} became dead letters`);
  }

  /**
   * Changes the present messages of a target, at most `max`. The first slice is changed at once, the others one by one.
   *
   * @param changed called after the last slice.
   * @returns the number of messages.
   */
  #inSlices(
    key: string,
    kind: MessageKind,
    max: number,
    change: (slice: MessageSlice, durability: "now" | "soon") => void,
    changed: () => void,
  ): number {
    const { store, clock } = this.#options;
    this.#flush();
    const whole = store.outbox.slice(key, kind, 0, Math.min(max, Number.MAX_SAFE_INTEGER));
    let after = 0;
    /** Returns whether there are more. */
    const next = () => {
      const slice = whole && store.outbox.slice(key, kind, after, SLICE);
      const isLast = slice === null || slice.last >= whole!.last;
      if (slice !== null) {
        after = slice.last;
        const last = Math.min(slice.last, whole!.last);
        change({ ...slice, last }, isLast ? "now" : "soon");
      }
      if (isLast) changed();
      return !isLast;
    };
    if (next()) {
      let cancel = () => {};
      const schedule = () => {
        cancel = clock.after(0, () => {
          if (next()) schedule();
          else this.#finishSlices.delete(finish);
        });
      };
      const finish = () => {
        cancel();
        while (next());
      };
      this.#finishSlices.add(finish);
      schedule();
    }
    return whole?.count ?? 0;
  }

  #queueOf(key: string): TargetQueue | undefined {
    return this.#queues.find((queue) => queue.key === key);
  }

  #markDelivered(target: string, seqs: readonly number[]): void {
    for (const seq of seqs) this.#delivered.push({ target, seq });
    this.#cancelFlush ??= this.#options.clock.after(DELIVERED_FLUSH_MS, () => this.#flush());
  }

  #flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
    if (this.#delivered.length > 0) this.#options.store.outbox.delivered(this.#delivered.splice(0));
  }
}
