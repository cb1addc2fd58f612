/**
 * Of two hubs on one NATS server, the one that holds the lease works. The lease is a message that its holder replaces every
 * few seconds, always naming the message that it replaces, so that of two hubs only one can succeed. Each hub judges by its
 * own monotonic clock: a lease that was not replaced for a while is taken over. nats-lease.ts is the place of the lease.
 */

import type { Clock } from "../base/clock.ts";
import { requestReason } from "../fleet/nats-connection.ts";
import type { Log } from "../platform/log.ts";
import type { GatewayCondition } from "./fleet-state.ts";

/** The holder renews the lease this often, and the other reads it. */
const STEP_MS = 3000;
/** A lease that did not change for this long is taken over. */
const TAKEOVER_MS = 15_000;
/**
 * The holder reports how far it has read the stream with this delay: what it has committed should be sent by then. The other
 * sends what comes after, with the same ids.
 */
const PROGRESS_DELAY_MS = 15_000;

export interface Lease {
  readonly version: 1;
  /** Of the holder's store. */
  readonly id: string;
  /** The holder's `--host`. */
  readonly hub: string;
  /** The holder stops, and does not wait to be replaced. */
  readonly isReleased: boolean;
  /** The holder has committed the stream up to this number, and had time to send it; null: unknown. */
  readonly committed: number | null;
  /** The gateways that it has enrolled, and whether they report to it. */
  readonly gateways: Readonly<Record<string, GatewayCondition>>;
}

/** Where the lease is. The methods throw if the server cannot be reached. */
export interface LeasePlace {
  /** The server, for messages. */
  readonly name: string;
  /** null: there is no lease. */
  read(): Promise<{ readonly seq: number; readonly lease: Lease } | null>;
  /** Replaces the lease if its number still is `seq`; 0: there is no lease. Returns whether it did. */
  write(lease: Lease, seq: number): Promise<boolean>;
  close(): Promise<void>;
}

/** What the lease says of the hub that runs here. */
export interface Holder {
  /** How far it has read and committed the stream; null: nothing since it started. */
  committed(): number | null;
  gateways(): Lease["gateways"];
}

interface Options {
  readonly place: LeasePlace;
  readonly id: string;
  readonly hub: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class HubLease {
  readonly #options: Options;
  #isActive = false;
  /** The lease as it was last read or written. */
  #lease: Lease | null = null;
  #problem: string | null = "not connected yet";
  /** The number of the lease of another hub, and when it was first seen. Monotonic. */
  #seen: { readonly seq: number; readonly atMs: number } | null = null;
  #holder: Holder = { committed: () => null, gateways: () => ({}) };
  /** What was committed when. Monotonic. */
  #progress: { readonly atMs: number; readonly seq: number }[] = [];
  #running: Promise<void> = Promise.resolve();
  #cancel = () => {};
  #isStopped = false;
  #onStep = () => {};

  constructor(options: Options) {
    this.#options = options;
  }

  /** Whether this hub works; false: it stands by. */
  get isActive(): boolean {
    return this.#isActive;
  }

  /** The hub that works, as far as known. */
  get active(): string | null {
    if (this.#isActive) return this.#options.hub;
    return this.#lease?.hub ?? null;
  }

  /** Why the lease cannot be read; null: it can. */
  get problem(): string | null {
    return this.#problem;
  }

  /** What the hub that works has said last; null: nothing. */
  get lease(): Lease | null {
    return this.#lease;
  }

  /** The hub that runs here from now on. */
  hold(holder: Holder): void {
    this.#holder = holder;
    this.#progress = [];
  }

  /** Renews or reads the lease every few seconds. @param onStep called after each time. */
  start(onStep: () => void): void {
    this.#onStep = onStep;
    this.#schedule();
  }

  /** Renews, takes or reads the lease. Does not throw. */
  async step(): Promise<void> {
    this.#running = this.#running.then(() => this.#step());
    await this.#running;
    if (!this.#isStopped) this.#onStep();
  }

  /** Lets the other hub take over at once. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#running;
    const { place } = this.#options;
    try {
      if (this.#isActive) {
        const held = await place.read();
        if (held !== null && held.lease.id === this.#options.id) {
          await place.write({ ...this.#own(), isReleased: true }, held.seq);
        }
      }
    } catch {
      // The other hub takes over when the lease is not renewed.
    }
    this.#isActive = false;
    await place.close();
  }

  #schedule(): void {
    if (this.#isStopped) return;
    this.#cancel = this.#options.clock.after(STEP_MS, () => {
      void this.step().then(() => this.#schedule());
    });
  }

  async #step(): Promise<void> {
    const { place, log } = this.#options;
    try {
      await this.#renew();
      this.#problem = null;
    } catch (error) {
      const reason = requestReason(error);
      if (this.#problem !== reason)
        log.warn(`${place.name}: which hub works is unknown: ${reason}`);
      this.#problem = reason;
    }
  }

  async #renew(): Promise<void> {
    const { place, id, clock, hub, log } = this.#options;
    const held = await place.read();
    const isOwn = held === null || held.lease.id === id;
    if (!isOwn) {
      const { monotonicMs } = clock.now();
      if (this.#isActive) log.warn(`${held.lease.hub} works instead of this hub`);
      this.#isActive = false;
      this.#lease = held.lease;
      if (this.#seen?.seq !== held.seq) this.#seen = { seq: held.seq, atMs: monotonicMs };
      const isExpired = monotonicMs - this.#seen!.atMs >= TAKEOVER_MS;
      if (!isExpired && !held.lease.isReleased) return;
    }
    this.#lease = held?.lease ?? this.#lease;
    const own = this.#own();
    const isWritten = await place.write(own, held?.seq ?? 0);
    // Another hub was faster. The next step shows which.
    if (!isWritten) return;
    if (!isOwn) log.warn(`${held.lease.hub} does not work any more: ${hub} takes over`);
    this.#lease = own;
    this.#isActive = true;
    this.#seen = null;
  }

  #own(): Lease {
    const { id, hub, clock } = this.#options;
    const { monotonicMs } = clock.now();
    const seq = this.#isActive ? this.#holder.committed() : null;
    if (seq !== null) this.#progress.push({ atMs: monotonicMs, seq });
    const old = this.#progress.filter(({ atMs }) => monotonicMs - atMs >= PROGRESS_DELAY_MS);
    const latest = old.at(-1) ?? null;
    if (latest !== null) this.#progress.splice(0, old.length - 1);
    const before = this.#lease?.gateways ?? {};
    // While it stands by, it may not know all gateways yet.
    const gateways = this.#isActive ? this.#holder.gateways() : before;
    const committed = latest?.seq ?? this.#lease?.committed ?? null;
    return { version: 1, id, hub, isReleased: false, committed, gateways };
  }
}
