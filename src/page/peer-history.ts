/**
 * The history of peers over a range: when they were connected, and their traffic. The last 24 hours, which the list of
 * peers shows, are cached until the next slot begins or the peer's session starts or ends.
 */

import type { PublicKey } from "../base/wireguard.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { Range } from "../store/ranges.ts";
import { recordedUntil } from "./chart-data.ts";
import type { RenderCost } from "./render-cost.ts";

/** Most sessions read per peer: a peer with more sessions has a gap at the beginning of the range. */
const DAY_SESSIONS_MAX = 100;
const RANGE_SESSIONS_MAX = 2000;
/** Most cached peers. */
const CACHE_MAX = 300;
/** Peers read without a pause; more would delay the handling of packets by milliseconds. */
const BATCH = 10;

/** A part of the range, in slots since its beginning. The numbers are not integers. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** The history of one peer. */
export interface History {
  readonly startMs: number;
  readonly stepMs: number;
  /** The length of rxBytes and txBytes. */
  readonly slots: number;
  /** Bytes per slot, oldest first; the last slot is not over yet. */
  readonly rxBytes: readonly number[];
  readonly txBytes: readonly number[];
  /** When the peer was connected, latest interval first. */
  readonly connected: readonly Interval[];
  readonly connectedMs: number;
  /** The end of the last session; null if it is open, or if no session is known. */
  readonly lastEndMs: number | null;
}

interface CacheEntry {
  /** The end of the recorded traffic and the start of the session; the data is read again when one of them changes. */
  readonly version: string;
  readonly day: History;
}

export class PeerHistory {
  readonly #source: ReadModel;
  readonly #cache = new Map<string, CacheEntry>();

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
    const key = `${device} ${publicKey}`;
    const nowMs = this.#source.clock.now().wallMs;
    const version = `${recordedUntil(nowMs)} ${this.#source.session(device, publicKey)?.startedAtMs ?? ""}`;
    const cached = this.#cache.get(key);
    if (cached?.version === version) return cached.day;
    const day = this.of(device, publicKey, "24h");
    if (this.#cache.size >= CACHE_MAX) this.#cache.clear();
    this.#cache.set(key, { version, day });
    return day;
  }

  of(device: string, publicKey: PublicKey, range: Range): History {
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
    const slotAt = (ms: number) => (ms - startMs) / stepMs;
    let connectedMs = 0;
    const connected = rows.flatMap(({ startedAtMs, endedAtMs }): Interval[] => {
      const fromMs = Math.max(startedAtMs, startMs);
      const toMs = Math.min(endedAtMs ?? nowMs, nowMs);
      if (toMs < fromMs) return [];
      connectedMs += toMs - fromMs;
      // An open session reaches to the end of the last slot, so that the chart does not change as the session
      // grows.
      return [{ from: slotAt(fromMs), to: slotAt(endedAtMs === null ? endMs : toMs) }];
    });
    const lastEndMs = rows[0]?.endedAtMs ?? null;
    const slots = rxBytes.length;
    return { startMs, stepMs, slots, rxBytes, txBytes, connected, connectedMs, lastEndMs };
  }
}
