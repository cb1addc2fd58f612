/**
 * The history of peers over a range: when they were connected, and their traffic. It is cached until the next slot
 * begins or the peer's session starts or ends.
 */

import type { PublicKey } from "../base/wireguard.ts";
import { timeOfDevice } from "../http/fleet-model.ts";
import type { ReadModel } from "../http/read-model.ts";
import { observedUntilMs } from "../http/view.ts";
import { type Range, rangeNames, ranges } from "../store/ranges.ts";
import type { Uptime } from "../store/stored-sessions.ts";
import { recordedSlot, recordedUntil } from "./chart-data.ts";
import type { RenderCost } from "./render-cost.ts";

/** Most sessions read per peer: a peer with more sessions has a gap at the beginning of the range. */
const DAY_SESSIONS_MAX = 100;
const RANGE_SESSIONS_MAX = 2000;
/** Most peers whose last 24 hours are cached: the list of peers shows them. */
const DAYS_MAX = 300;
/** Most peers of which the other data is cached, which only their own pages show. */
const PAGES_MAX = 30;
/** Peers read without a pause; more would delay the handling of packets by milliseconds. */
const BATCH = 10;

/** A part of the range, in steps since its beginning. The numbers are not integers. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** The history of one peer. */
export interface History {
  readonly startMs: number;
  readonly stepMs: number;
  /** The length of rxBytes and txBytes. */
  readonly steps: number;
  /** Bytes per step, oldest first; the last step is not over yet. */
  readonly rxBytes: readonly number[];
  readonly txBytes: readonly number[];
  /** See `ratesPerStep`. */
  readonly untilMs: number;
  /** When the peer was connected, latest interval first. */
  readonly connected: readonly Interval[];
  readonly connectedMs: number;
  /** The end of the last session; null if it is open, or if no session is known. */
  readonly lastEndMs: number | null;
}

/** Results by key, until their version changes. At most `max` of them. */
class Cache<Value> {
  readonly #max: number;
  readonly #entries = new Map<string, { readonly version: string; readonly value: Value }>();

  constructor(max: number) {
    this.#max = max;
  }

  get(key: string, version: string, make: () => Value): Value {
    const cached = this.#entries.get(key);
    if (cached?.version === version) return cached.value;
    const value = make();
    if (this.#entries.size >= this.#max) this.#entries.clear();
    this.#entries.set(key, { version, value });
    return value;
  }
}

export class PeerHistory {
  readonly #source: ReadModel;
  readonly #days = new Cache<History>(DAYS_MAX);
  /** By range and peer. */
  readonly #ranges = new Cache<History>(PAGES_MAX);
  readonly #uptimes = new Cache<Uptime | null>(PAGES_MAX * rangeNames.length);
  /** By range: for each step, whether wgmon ran. */
  readonly #running = new Cache<readonly boolean[]>(rangeNames.length);

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /** The last 24 hours of several peers, in order. Other work runs between batches of peers. */
  async daysOf(
    peers: readonly { readonly device: string; readonly publicKey: PublicKey }[],
    cost: RenderCost,
  ): Promise<History[]> {
    const found: History[] = [];
    for (const [index, { device, publicKey }] of peers.entries()) {
      if (index % BATCH === BATCH - 1) {
        await cost.without(new Promise<void>((resolve) => void setImmediate(resolve)));
      }
      found.push(this.dayOf(device, publicKey));
    }
    return found;
  }

  dayOf(device: string, publicKey: PublicKey): History {
    const version = this.#version(device, publicKey);
    return this.#days.get(`${device} ${publicKey}`, version, () =>
      this.#read(device, publicKey, "24h"),
    );
  }

  of(device: string, publicKey: PublicKey, range: Range): History {
    if (range === "24h") return this.dayOf(device, publicKey);
    const version = this.#version(device, publicKey);
    return this.#ranges.get(`${range} ${device} ${publicKey}`, version, () =>
      this.#read(device, publicKey, range),
    );
  }

  /** A peer's bytes in each step of a range; null where wgmon did not run, so that a chart has a gap there. */
  withGaps(bytes: readonly number[], range: Range): (number | null)[] {
    const nowMs = this.#source.clock.now().wallMs;
    const running = this.#running.get(range, `${recordedSlot(nowMs)}`, () =>
      this.#source.store.totals.range(range, nowMs).rxBytes.map((each) => each !== null),
    );
    return bytes.map((each, step) => (each === 0 && running[step] === false ? null : each));
  }

  uptime(device: string, publicKey: PublicKey, range: Range): Uptime | null {
    const version = this.#version(device, publicKey);
    return this.#uptimes.get(`${range} ${device} ${publicKey}`, version, () => {
      const nowMs = this.#source.clock.now().wallMs;
      const { spanMs } = ranges[range];
      return this.#source.store.sessions.uptime(device, publicKey, spanMs, nowMs);
    });
  }

  /** The end of the recorded traffic and the start of the session: the data is read again when one of them changes. */
  #version(device: string, publicKey: PublicKey): string {
    const nowMs = this.#source.clock.now().wallMs;
    return `${recordedSlot(nowMs)} ${this.#source.session(device, publicKey)?.startedAtMs ?? ""}`;
  }

  #read(device: string, publicKey: PublicKey, range: Range): History {
    const nowMs = this.#source.clock.now().wallMs;
    const { traffic, sessions } = this.#source.store;
    const { startMs, stepMs, rxBytes, txBytes } = traffic.range(device, publicKey, range, nowMs);
    const endMs = startMs + rxBytes.length * stepMs;
    const isDay = range === "24h";
    const rows = sessions.query({
      device,
      publicKey,
      sinceMs: isDay ? null : startMs,
      isOpen: null,
      from: null,
      limit: isDay ? DAY_SESSIONS_MAX : RANGE_SESSIONS_MAX,
    });
    const stepAt = (ms: number) => (ms - startMs) / stepMs;
    let connectedMs = 0;
    // On a hub, whose gateway may not report, and may have another time.
    const knownMs = observedUntilMs(this.#source, device);
    const isOpenNow = (endedAtMs: number | null) => endedAtMs === null && knownMs >= nowMs;
    const inOwnTime = (ms: number) => timeOfDevice(this.#source, device, ms);
    const connected = rows.flatMap(({ startedAtMs, endedAtMs }): Interval[] => {
      const fromMs = Math.max(inOwnTime(startedAtMs), startMs);
      const toMs = Math.min(endedAtMs === null ? knownMs : inOwnTime(endedAtMs), nowMs);
      if (toMs < fromMs) return [];
      connectedMs += toMs - fromMs;
      // An open session reaches to the end of the last step, so that the chart does not change as the session
      // grows.
      return [{ from: stepAt(fromMs), to: stepAt(isOpenNow(endedAtMs) ? endMs : toMs) }];
    });
    const last = rows[0]?.endedAtMs ?? null;
    const lastEndMs = last === null ? null : inOwnTime(last);
    const steps = rxBytes.length;
    const untilMs = recordedUntil(nowMs);
    return { startMs, stepMs, steps, untilMs, rxBytes, txBytes, connected, connectedMs, lastEndMs };
  }
}
