/** Parses captured packets, counts malformed and lost ones, and logs losses and floods. */

import type { Clock } from "../base/clock.ts";
import { ParseError } from "../base/errors.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../stats/counters.ts";
import { type CapturedDatagram, parsePacket } from "./packet.ts";

/** The reader reports a loss every 250 ms during an outage. One with the same reason within this time is not logged. */
const REPEAT_MS = 1000;

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
  #lastLoss = { reason: "", atMs: -Infinity };

  constructor({ clock, log, metrics }: Options) {
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
  }

  /** Returns null if the packet is not a WireGuard message. */
  parse(bytes: Uint8Array, direction: "received" | "sent"): CapturedDatagram | null {
    try {
      return parsePacket(bytes, direction);
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
    const isRepeat =
      reason === this.#lastLoss.reason && monotonicMs - this.#lastLoss.atMs < REPEAT_MS;
    if (!isRepeat) this.#log.warn(`${reason}; scanning all devices`);
    this.#lastLoss = { reason, atMs: monotonicMs };
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

  /**
   * A flood begins or ends. An overload counts as a flood only if it lasts longer than many peers take to reconnect.
   */
  floodChanged(isFlooded: boolean): void {
    this.#metrics.isFlooded = isFlooded;
    if (isFlooded) {
      this.#log.warn(
        "packet flood: reading only packets that complete a handshake that WireGuard has answered; peers are still reported",
      );
    } else this.#log.info("packet flood is over");
  }
}
