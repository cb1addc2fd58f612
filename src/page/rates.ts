/** How fast connected peers receive and send: from how their counters grow while somebody looks. */

import type { Source } from "../http/source.ts";

/** Shorter, and a single packet would look like a flood. */
const LEAST_MS = 1000;
/** What grew over longer than this is no rate of now. */
const MOST_MS = 600_000;

/** Bytes a second. */
export interface Rate {
  readonly rxBytes: number;
  readonly txBytes: number;
}

interface Counted extends Rate {
  /** null: it was counted only once. */
  readonly rate: Rate | null;
}

export class Rates {
  readonly #source: Source;
  #counted = new Map<string, Counted>();
  #atMs = -Infinity;

  constructor(source: Source) {
    this.#source = source;
  }

  /** null: the peer is not connected, or it was not looked at for long enough. */
  of(device: string, publicKey: string): Rate | null {
    return this.#counted.get(`${device} ${publicKey}`)?.rate ?? null;
  }

  /** Counts; whoever shows rates calls it first. */
  sample(): void {
    const nowMs = this.#source.clock.now().monotonicMs;
    const elapsedMs = nowMs - this.#atMs;
    if (elapsedMs < LEAST_MS) return;
    const before = elapsedMs > MOST_MS ? null : this.#counted;
    this.#atMs = nowMs;
    this.#counted = new Map();
    for (const { name } of this.#source.devices()) {
      for (const { publicKey, rxBytes, txBytes } of this.#source.peers(name)) {
        if (this.#source.session(name, publicKey) === null) continue;
        const key = `${name} ${publicKey}`;
        const old = before?.get(key) ?? null;
        const growth = (now: number, then: number) => (Math.max(0, now - then) * 1000) / elapsedMs;
        const rate =
          old === null
            ? null
            : { rxBytes: growth(rxBytes, old.rxBytes), txBytes: growth(txBytes, old.txBytes) };
        this.#counted.set(key, { rxBytes, txBytes, rate });
      }
    }
  }
}
