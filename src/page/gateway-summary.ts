/**
 * The numbers of the overview that cover all peers: who is connected, the traffic now, what happened today. Results
 * that take longer to read are cached, because each open page asks for them at each update.
 */

import type { EventType } from "../base/event-types.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { GatewayChart } from "../store/gateway-rows.ts";
import type { Range } from "../store/ranges.ts";
import type { TrafficSums } from "../store/traffic-rows.ts";

/** Maximum age of the chart and of the traffic of today. */
const CACHE_MS = 60_000;
export const TOP_MAX = 5;

export interface PeerCounts {
  readonly connected: number;
  readonly disconnected: number;
  readonly never: number;
  /** Bytes per second of all peers; null until they are known. */
  readonly rates: { readonly rx: number; readonly tx: number } | null;
}

/** Counts the peers by state, and adds up their rates. */
export function countPeers(source: ReadModel): PeerCounts {
  const counts = { connected: 0, disconnected: 0, never: 0 };
  const rates = { rx: 0, tx: 0 };
  let areKnown = false;
  for (const { name } of source.devices()) {
    for (const peer of source.peers(name)) {
      if (source.session(name, peer.publicKey) === null) {
        counts[peer.lastHandshakeMs === null ? "never" : "disconnected"]++;
        continue;
      }
      counts.connected++;
      const rate = source.rates(name, peer.publicKey);
      if (rate === null) continue;
      areKnown = true;
      rates.rx += rate.rxBytesPerSecond;
      rates.tx += rate.txBytesPerSecond;
    }
  }
  // Without a connection there is no traffic.
  return { ...counts, rates: areKnown || counts.connected === 0 ? rates : null };
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

export class GatewaySummary {
  readonly #source: ReadModel;
  readonly #charts = new Map<Range, Cached<GatewayChart>>();
  #events: Cached<ReadonlyMap<EventType, number>> | null = null;
  #top: Cached<Promise<readonly TrafficSums[]>> | null = null;

  constructor(source: ReadModel) {
    this.#source = source;
  }

  chart(range: Range): GatewayChart {
    const { clock, store } = this.#source;
    const nowMs = clock.now().wallMs;
    const key = String(Math.floor(nowMs / CACHE_MS));
    const cached = this.#charts.get(range);
    if (cached?.key === key) return cached.value;
    const value = store.totals.range(range, nowMs);
    // The last step is not over, and may not be recorded yet.
    value.connected[value.connected.length - 1] ??= this.#connected();
    this.#charts.set(range, { key, value });
    return value;
  }

  async today(): Promise<Today> {
    const { clock, store } = this.#source;
    const nowMs = clock.now().wallMs;
    const sinceMs = new Date(nowMs).setHours(0, 0, 0, 0);
    const eventsKey = `${sinceMs} ${store.events.sequenceRange().last}`;
    if (this.#events?.key !== eventsKey)
      this.#events = { key: eventsKey, value: store.events.countByType(sinceMs) };
    const topKey = `${sinceMs} ${Math.floor(nowMs / CACHE_MS)}`;
    if (this.#top?.key !== topKey)
      this.#top = { key: topKey, value: store.traffic.top(sinceMs, TOP_MAX) };
    const top = await this.#top.value;
    return { sinceMs, events: this.#events.value, ...this.#sumsSince(sinceMs), top };
  }

  #connected(): number {
    return this.#source
      .devices()
      .reduce((sum, { name }) => sum + this.#source.counts(name).connected, 0);
  }

  #sumsSince(sinceMs: number): { readonly rxBytes: number; readonly txBytes: number } {
    const chart = this.chart("24h");
    const first = Math.ceil((sinceMs - chart.startMs) / chart.stepMs);
    const sum = (values: readonly (number | null)[]) =>
      values.slice(Math.max(0, first)).reduce<number>((total, each) => total + (each ?? 0), 0);
    return { rxBytes: sum(chart.rxBytes), txBytes: sum(chart.txBytes) };
  }
}
