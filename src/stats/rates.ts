/**
 * The current receive and send rates of peers, from the last two readings of their counters that are about a second or
 * more apart. The readings are the periodic scans, those for viewers among them, and the peer lists that users request.
 */

import { growth, type Peer } from "../base/wireguard.ts";

/**
 * Minimum time between readings: over a shorter time, a rate varies too much. 800 ms, so that a scan slightly less than
 * a second after the previous one still counts.
 */
const INTERVAL_MIN_MS = 800;
/** Maximum age of a reading. */
const AGE_MAX_MS = 60_000;

export interface Rates {
  readonly rxBytesPerSecond: number;
  readonly txBytesPerSecond: number;
}

type TransferCounters = Pick<Peer, "publicKey" | "rxBytes" | "txBytes">;

interface Reading {
  readonly atMs: number;
  readonly peers: readonly TransferCounters[];
  /** Counters by public key; null until the first lookup. */
  index: Map<string, TransferCounters> | null;
}

/** Keeps the readings. All times are monotonic. */
export class RateTracker {
  /** The last two readings per device, the newer one last. */
  readonly #readings = new Map<string, Reading[]>();

  /** Adds a reading of all peers of the device, or of its connected peers. */
  record(device: string, peers: readonly TransferCounters[], atMs: number): void {
    for (const [name, readings] of this.#readings) {
      if (atMs - readings.at(-1)!.atMs > AGE_MAX_MS) this.#readings.delete(name);
    }
    const readings = this.#readings.get(device) ?? [];
    if (readings.length > 0 && atMs - readings.at(-1)!.atMs < INTERVAL_MIN_MS) return;
    // Copy only the counters: the peers hold much more memory.
    const counters = peers.map(({ publicKey, rxBytes, txBytes }) => ({
      publicKey,
      rxBytes,
      txBytes,
    }));
    this.#readings.set(device, [...readings.slice(-1), { atMs, peers: counters, index: null }]);
  }

  /** Adds a reading of each device's connected peers. */
  recordAll(
    sessions: Iterable<{ readonly device: string; readonly peer: TransferCounters }>,
    atMs: number,
  ): void {
    for (const [device, ofDevice] of Map.groupBy(sessions, (each) => each.device)) {
      this.record(
        device,
        ofDevice.map(({ peer }) => peer),
        atMs,
      );
    }
  }

  /** Rates between the last two readings; null if the peer is missing in one of them or they are too old. */
  of(device: string, publicKey: string, nowMs: number): Rates | null {
    const [first, last] = this.#readings.get(device) ?? [];
    if (first === undefined || last === undefined || nowMs - first.atMs > AGE_MAX_MS) return null;
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

function countersOf(reading: Reading, publicKey: string): TransferCounters | undefined {
  if (reading.index === null) {
    reading.index = new Map();
    for (const peer of reading.peers) reading.index.set(peer.publicKey, peer);
  }
  return reading.index.get(publicKey);
}
