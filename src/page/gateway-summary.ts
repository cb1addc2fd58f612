/**
 * The numbers of the overview that cover all peers: who is connected, the traffic now, what happened today. Results
 * that take longer to read are cached, because each open page asks for them at each update.
 */

import type { EventType } from "../base/event-types.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import { countsOf, type PeerCounts } from "../http/peer-lists.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { GatewayChart } from "../store/gateway-rows.ts";
import { DAY_MS, type Range, SLOT_MS } from "../store/ranges.ts";
import type { TrafficSums } from "../store/traffic-rows.ts";
import { recordedUntil } from "./chart-data.ts";
import type { RenderCost } from "./render-cost.ts";

/** Maximum age of the numbers of events, if only new events are counted: the clock may have been set. */
const RECOUNT_MS = 10 * 60_000;
/** Most new events that are read to count them; counting all of today takes less time than reading more. */
const NEW_EVENTS_MAX = 100;
export const TOP_MAX = 5;

/** The peers of each gateway of a hub by state, and their rates, by name; empty on a gateway. */
export function countByGateway(source: ReadModel): Map<string, PeerCounts> {
  const devices = Map.groupBy(source.devices(), ({ name }) => splitDevice(name).gateway ?? "");
  return new Map(
    (source.fleet?.gateways() ?? []).map(({ name }) => [
      name,
      countPeers(source, devices.get(name) ?? []),
    ]),
  );
}

/** The sum over devices or gateways. */
export function sumOf(all: Iterable<PeerCounts>): PeerCounts {
  const sum = { connected: 0, disconnected: 0, never: 0, unknown: 0 };
  const rates = { rx: 0, tx: 0 };
  let areKnown = false;
  for (const counts of all) {
    sum.connected += counts.connected;
    sum.disconnected += counts.disconnected;
    sum.never += counts.never;
    sum.unknown += counts.unknown;
    // Without a connection there is no traffic, which does not make that of others known.
    if (counts.rates === null || counts.connected === 0) continue;
    areKnown = true;
    rates.rx += counts.rates.rx;
    rates.tx += counts.rates.tx;
  }
  return { ...sum, rates: areKnown || sum.connected === 0 ? rates : null };
}

/** Counts the peers by state, and adds up their rates. */
export function countPeers(source: ReadModel, devices = source.devices()): PeerCounts {
  return sumOf(devices.map(({ name }) => countsOf(source, name)));
}

export interface Today {
  /** Midnight in the gateway's time zone. */
  readonly sinceMs: number;
  readonly events: ReadonlyMap<EventType, number>;
  /** Received from all peers, and sent to them. */
  readonly rxBytes: number;
  readonly txBytes: number;
  /** The peers with the most traffic, most first. */
  readonly top: readonly TrafficSums[];
}

interface Cached<Value> {
  readonly key: string;
  readonly value: Value;
}

interface EventCounts {
  readonly sinceMs: number;
  /** When all events were counted. */
  readonly countedMs: number;
  /** Sequence number of the last counted event. */
  last: number;
  readonly byType: Map<EventType, number>;
}

export class GatewaySummary {
  readonly #source: ReadModel;
  readonly #charts = new Map<Range, Cached<GatewayChart & { readonly untilMs: number }>>();
  #events: EventCounts | null = null;
  #sums: Cached<{ readonly rxBytes: number; readonly txBytes: number }> | null = null;
  #top: Cached<Promise<readonly TrafficSums[]>> | null = null;

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /** `untilMs`: see `ratesPerStep`. */
  chart(range: Range): GatewayChart & { readonly untilMs: number } {
    const { clock, store } = this.#source;
    const nowMs = clock.now().wallMs;
    const key = keyAt(nowMs);
    const cached = this.#charts.get(range);
    if (cached?.key === key) return cached.value;
    const untilMs = recordedUntil(nowMs);
    const value = { ...store.totals.range(range, nowMs), untilMs };
    // The last step is not over, and may not be recorded yet.
    value.connected[value.connected.length - 1] ??= this.#connected();
    this.#charts.set(range, { key, value });
    return value;
  }

  async today(cost: RenderCost): Promise<Today> {
    const nowMs = this.#source.clock.now().wallMs;
    const sinceMs = new Date(nowMs).setHours(0, 0, 0, 0);
    const events = this.#eventsSince(sinceMs, nowMs);
    const sums = this.#sumsSince(sinceMs, nowMs);
    return { sinceMs, events, ...sums, top: await cost.without(this.#topSince(sinceMs, nowMs)) };
  }

  #connected(): number {
    return this.#source
      .devices()
      .reduce((sum, { name }) => sum + this.#source.counts(name).connected, 0);
  }

  /** Counts all events rarely, and only the new ones otherwise. */
  #eventsSince(sinceMs: number, nowMs: number): ReadonlyMap<EventType, number> {
    const { events } = this.#source.store;
    const { last } = events.sequenceRange();
    const known = this.#events;
    const isUsable =
      known?.sinceMs === sinceMs &&
      Math.abs(nowMs - known.countedMs) < RECOUNT_MS &&
      last >= known.last &&
      last - known.last <= NEW_EVENTS_MAX;
    if (known === null || !isUsable) {
      const byType = events.countByType(sinceMs);
      this.#events = { sinceMs, countedMs: nowMs, last, byType };
      return byType;
    }
    if (last === known.last) return known.byType;
    const added = events.query({
      order: "oldest",
      from: known.last,
      limit: NEW_EVENTS_MAX,
      type: null,
      publicKey: null,
      sinceMs: null,
    });
    for (const { event } of added) {
      if (Date.parse(event.timestamp) < sinceMs) continue;
      known.byType.set(event.type, (known.byType.get(event.type) ?? 0) + 1);
    }
    known.last = last;
    return known.byType;
  }

  async #topSince(sinceMs: number, nowMs: number): Promise<readonly TrafficSums[]> {
    const key = `${sinceMs} ${keyAt(nowMs)}`;
    if (this.#top?.key !== key) {
      const value = this.#source.store.traffic.top(sinceMs, TOP_MAX);
      const cached = { key, value };
      this.#top = cached;
      // Not kept after an error. The caller handles the error.
      value.catch(() => {
        if (this.#top === cached) this.#top = null;
      });
    }
    return await this.#top.value;
  }

  #sumsSince(sinceMs: number, nowMs: number) {
    const key = `${sinceMs} ${keyAt(nowMs)}`;
    if (this.#sums?.key === key) return this.#sums.value;
    const { totals } = this.#source.store;
    const sums = { rxBytes: 0, txBytes: 0 };
    // A range of 24 hours that ends at a time also has the slot that begins then.
    const firstEndMs = sinceMs + DAY_MS;
    const add = (endMs: number, fromMs: number) => {
      const { startMs, stepMs, rxBytes, txBytes } = totals.range("24h", endMs);
      for (const [index, rx] of rxBytes.entries()) {
        if (startMs + index * stepMs < fromMs) continue;
        sums.rxBytes += rx ?? 0;
        sums.txBytes += txBytes[index] ?? 0;
      }
    };
    add(firstEndMs, sinceMs);
    // A day may have 25 hours.
    if (nowMs >= firstEndMs + SLOT_MS) add(nowMs, firstEndMs + SLOT_MS);
    this.#sums = { key, value: sums };
    return sums;
  }
}

/** What is cached under this key is read again when the next minute has been recorded. */
function keyAt(nowMs: number): string {
  return String(recordedUntil(nowMs));
}
