/**
 * How fast peers receive and send just now: from two readings of their counters, which are at least a
 * second apart. Nothing is read for it: the looks of the tick are readings, and so are the lists that
 * somebody asked for.
 */

import type { Peer } from "./wireguard.ts";

/** Readings that are closer together tell of chance. */
const APART_MS = 1000;
/** What an older one tells is the past. */
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

  /** From the last reading that is old enough to the counters at `atMs`; null: there is none. */
  of(device: string, { publicKey, rxBytes, txBytes }: Counters, atMs: number): Rates | null {
    const reading = this.#readings
      .get(device)
      ?.findLast((each) => atMs - each.atMs >= APART_MS && atMs - each.atMs <= OLD_MS);
    if (reading === undefined) return null;
    reading.index ??= new Map(reading.peers.map((peer) => [peer.publicKey, peer]));
    const before = reading.index.get(publicKey);
    if (before === undefined) return null;
    const seconds = (atMs - reading.atMs) / 1000;
    return {
      rxBytesPerSecond: Math.round(growth(before.rxBytes, rxBytes) / seconds),
      txBytesPerSecond: Math.round(growth(before.txBytes, txBytes) / seconds),
    };
  }
}

/** A counter that fell has started again from zero. */
function growth(before: number, now: number): number {
  return now >= before ? now - before : now;
}
