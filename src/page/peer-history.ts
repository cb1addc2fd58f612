/**
 * The last 24 hours of peers: when they were connected, and their traffic. Cached until the next slot begins
 * or the peer's session starts or ends.
 */

import type { PublicKey } from "../base/wireguard.ts";
import type { ReadModel } from "../http/read-model.ts";
import { TRAFFIC_SLOT_MS } from "../store/traffic-rows.ts";

/** Most sessions read per peer: a peer with more sessions has a gap at the beginning of the 24 hours. */
const SESSIONS_MAX = 100;
/** Most cached peers. */
const CACHE_MAX = 300;
/** Peers read without a pause; more would delay the handling of packets by milliseconds. */
const BATCH = 10;

/** A part of the last 24 hours, in slots since their beginning. The numbers are not integers. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** One peer's last 24 hours. */
export interface PeerDay {
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
  /** The slot and the start of the session; the data is read again when one of them changes. */
  readonly version: string;
  readonly day: PeerDay;
}

export class PeerHistory {
  readonly #source: ReadModel;
  readonly #cache = new Map<string, CacheEntry>();

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /** The data of several peers, in order. Other work runs between batches of peers. */
  async ofAll(
    peers: readonly { readonly device: string; readonly publicKey: PublicKey }[],
  ): Promise<PeerDay[]> {
    const found: PeerDay[] = [];
    for (const [index, { device, publicKey }] of peers.entries()) {
      if (index % BATCH === BATCH - 1) {
        await new Promise<void>((resolve) => void setImmediate(resolve));
      }
      found.push(this.of(device, publicKey));
    }
    return found;
  }

  of(device: string, publicKey: PublicKey): PeerDay {
    const key = `${device} ${publicKey}`;
    const nowMs = this.#source.clock.now().wallMs;
    const slot = Math.floor(nowMs / TRAFFIC_SLOT_MS);
    const version = `${slot} ${this.#source.session(device, publicKey)?.startedAtMs ?? ""}`;
    const cached = this.#cache.get(key);
    if (cached?.version === version) return cached.day;
    const day = this.#read(device, publicKey, nowMs);
    if (this.#cache.size >= CACHE_MAX) this.#cache.clear();
    this.#cache.set(key, { version, day });
    return day;
  }

  #read(device: string, publicKey: PublicKey, nowMs: number): PeerDay {
    const { startMs, rxBytes, txBytes } = this.#source.store.traffic.day(device, publicKey, nowMs);
    const endMs = startMs + rxBytes.length * TRAFFIC_SLOT_MS;
    const rows = this.#source.store.sessions.query({
      device,
      publicKey,
      sinceMs: null,
      isOpen: null,
      from: null,
      limit: SESSIONS_MAX,
    });
    const slotAt = (ms: number) => (ms - startMs) / TRAFFIC_SLOT_MS;
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
    return { slots: rxBytes.length, rxBytes, txBytes, connected, connectedMs, lastEndMs };
  }
}
