/**
 * How fast peers receive and send just now: from the last two readings of their counters that are at
 * least a second apart. Nothing is read for it: looks at all who are connected are readings, and so are
 * the lists that somebody asked the kernel for.
 */

import type { Peer } from "./wireguard.ts";

/** Readings that are closer together tell of chance. */
const APART_MS = 1000;
/** What older ones tell is the past. */
const OLD_MS = 60_000;

export interface Rates {
  readonly rxBytesPerSecond: number;
  readonly txBytesPerSecond: number;
}

type Counters = Pick<Peer, "publicKey" | "rxBytes" | "txBytes">;

interface Reading {
  readonly atMs: number;
  readonly peers: readonly Counters[];
  /** By public key; null: nobody has asked yet. */
  index: Map<string, Counters> | null;
}

/** All times are on the monotonic clock. */
export class RateBook {
  /** By device: the last two, the newer one last. */
  readonly #readings = new Map<string, Reading[]>();

  /** A reading of the device's peers, or of those that are connected. */
  note(device: string, peers: readonly Counters[], atMs: number): void {
    for (const [name, kept] of this.#readings) {
      if (atMs - kept.at(-1)!.atMs > OLD_MS) this.#readings.delete(name);
    }
    const kept = this.#readings.get(device) ?? [];
    if (kept.length > 0 && atMs - kept.at(-1)!.atMs < APART_MS) return;
    // Not the peers themselves, which hold much more.
    const counters = peers.map(({ publicKey, rxBytes, txBytes }) => ({
      publicKey,
      rxBytes,
      txBytes,
    }));
    this.#readings.set(device, [...kept.slice(-1), { atMs, peers: counters, index: null }]);
  }

  /** What came between the last two readings; null: there are no two of the peer, or they are old. */
  of(device: string, publicKey: string, nowMs: number): Rates | null {
    const [first, last] = this.#readings.get(device) ?? [];
    if (first === undefined || last === undefined || nowMs - first.atMs > OLD_MS) return null;
    const before = countersOf(first, publicKey);
    const after = countersOf(last, publicKey);
    if (before === undefined || after === undefined) return null;
    const seconds = (last.atMs - first.atMs) / 1000;
    return {
      rxBytesPerSecond: Math.round(growth(before.rxBytes, after.rxBytes) / seconds),
      txBytesPerSecond: Math.round(growth(before.txBytes, after.txBytes) / seconds),
    };
  }
}

function countersOf(reading: Reading, publicKey: string): Counters | undefined {
  reading.index ??= new Map(reading.peers.map((peer) => [peer.publicKey, peer]));
  return reading.index.get(publicKey);
}

/** A counter that fell has started again from zero. */
function growth(before: number, now: number): number {
  return now >= before ? now - before : now;
}
