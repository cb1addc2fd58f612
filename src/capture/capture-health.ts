/** Parses captured packets, counts them, and logs losses and floods: once for each outage. */

import type { Clock } from "../base/clock.ts";
import { ParseError } from "../base/errors.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../stats/counters.ts";
import { type CapturedDatagram, parsePacket } from "./packet.ts";

/** The reader reattaches every 250 ms; log a repeated loss only once per outage. */
const LOST_AGAIN_MS = 1000;

interface Options {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export class CaptureHealth {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #metrics: Metrics;
  /** The latest packet loss. */
  #lost = { reason: "", atMs: -Infinity };

  constructor({ clock, log, metrics }: Options) {
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
  }

  /** Returns null if the packet is not a WireGuard message. */
  parse(bytes: Uint8Array, way: "received" | "sent"): CapturedDatagram | null {
    try {
      return parsePacket(bytes, way);
    } catch (error) {
      // Any sender can produce malformed packets, so they are counted and not logged.
      if (!(error instanceof ParseError)) throw error;
      this.#metrics.malformedPackets++;
      return null;
    }
  }

  packetsLost(reason: string): void {
    this.#metrics.losses++;
    const { monotonicMs } = this.#clock.now();
    const isAgain = reason === this.#lost.reason && monotonicMs - this.#lost.atMs < LOST_AGAIN_MS;
    if (!isAgain) this.#log.warn(`${reason}; scanning all devices`);
    this.#lost = { reason, atMs: monotonicMs };
  }

  linksLost(reason: string): void {
    this.#metrics.losses++;
    this.#log.warn(`${reason}; scanning all devices`);
  }

  guardedModeChanged(isGuarded: boolean): void {
    if (isGuarded) this.#metrics.guarded++;
    const reading = isGuarded ? "only packets that complete a handshake" : "all handshake messages";
    this.#log.debug(`reading ${reading}`);
  }

  /** Called only for overload that lasts longer than many peers reconnecting at once. */
  floodChanged(isFlooded: boolean): void {
    this.#metrics.isFlooded = isFlooded;
    if (isFlooded) {
      this.#log.warn(
        "packet flood: reading only packets that complete a handshake that WireGuard has answered; peers are still reported",
      );
    } else this.#log.info("packet flood is over");
  }
}
