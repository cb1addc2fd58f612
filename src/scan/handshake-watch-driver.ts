/** Runs the handshake watch: its timer, its scans, and its selection of packets in the kernel. */

import type { Clock } from "../base/clock.ts";
import type { Datagram } from "../capture/packet.ts";
import type { SentTap } from "../capture/sent-handshakes.ts";
import { HandshakeWatch, type HandshakeWatchOptions } from "./handshake-watch.ts";

/**
 * More sent packets than this in SENT_WINDOW_MS cannot come from our own WireGuard: a host whose packets are forwarded
 * here can forge outgoing packets. Then the tap is closed until guarded mode begins again.
 */
const SENT_MAX = 1000;
const SENT_WINDOW_MS = 100;

export interface HandshakeWatchDriverOptions extends HandshakeWatchOptions {
  readonly clock: Clock;
  /** See `Capture.select`. Returns whether it succeeded. */
  select(indexes: readonly number[] | null): boolean;
  /** Opens the tap, which delivers to `onSent` and `onPacketsLost`; null if the process may not open it. */
  openSentTap(): SentTap | null;
  /** Scans the devices that listen on the ports; resolves with the processor time in milliseconds. */
  scan(ports: ReadonlySet<number> | "all"): Promise<number>;
  /** Guarded mode began or ended. */
  onGuarded(isGuarded: boolean): void;
  /** A flood began or ended: too many hints for longer than a simultaneous reconnect of all peers takes. */
  onFlooded(isFlooded: boolean): void;
}

export class HandshakeWatchDriver {
  readonly #options: HandshakeWatchDriverOptions;
  readonly #watch: HandshakeWatch;
  #tap: SentTap | null = null;
  #isGuarded = false;
  #isFlooded = false;
  #selection: readonly number[] | null = null;
  #sent = 0;
  #sentSinceMs = -Infinity;
  #timerAtMs = Infinity;
  #cancelTimer = () => {};
  #isScanning = false;
  #isStopped = false;

  constructor(options: HandshakeWatchDriverOptions) {
    this.#options = options;
    this.#watch = new HandshakeWatch(options);
  }

  onReceived(datagram: Datagram | null): void {
    this.#watch.onReceived(datagram, this.#nowMs);
    this.#apply();
  }

  /** @param datagram null if the packet is not from our own WireGuard. */
  onSent(datagram: Datagram | null): void {
    const nowMs = this.#nowMs;
    if (nowMs - this.#sentSinceMs > SENT_WINDOW_MS) {
      this.#sentSinceMs = nowMs;
      this.#sent = 0;
    }
    this.#sent++;
    if (this.#sent > SENT_MAX) this.#closeTap();
    else if (datagram !== null) this.#watch.onSent(datagram, nowMs);
    this.#apply();
  }

  onPacketsLost(): void {
    this.#watch.onPacketsLost(this.#nowMs);
    this.#apply();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer();
    this.#closeTap();
  }

  get #nowMs(): number {
    return this.#options.clock.now().monotonicMs;
  }

  /** Applies the current state of the watch: mode, selection, timer. */
  #apply(): void {
    if (this.#isStopped) return;
    this.#applyMode();
    const { selection } = this.#watch;
    // After a failure, the next packet or timer tries again.
    if (selection !== this.#selection && this.#options.select(selection)) {
      this.#selection = selection;
    }
    if (!this.#isScanning) this.#setTimer();
  }

  #applyMode(): void {
    const { isGuarded, isFlooded } = this.#watch;
    if (isGuarded !== this.#isGuarded) {
      this.#isGuarded = isGuarded;
      if (!isGuarded) this.#closeTap();
      else {
        this.#tap = this.#options.openSentTap();
        this.#watch.onSentCapture(this.#tap !== null);
      }
      this.#options.onGuarded(isGuarded);
    }
    if (isFlooded !== this.#isFlooded) {
      this.#isFlooded = isFlooded;
      this.#options.onFlooded(isFlooded);
    }
  }

  #closeTap(): void {
    this.#tap?.close();
    this.#tap = null;
    this.#watch.onSentCapture(false);
  }

  #setTimer(): void {
    const nowMs = this.#nowMs;
    const atMs = this.#watch.nextMs(nowMs);
    // A timer that fires too early does no harm.
    if (atMs >= this.#timerAtMs) return;
    this.#cancelTimer();
    this.#timerAtMs = atMs;
    this.#cancelTimer = this.#options.clock.after(Math.max(0, atMs - nowMs), () => {
      this.#timerAtMs = Infinity;
      void this.#advance();
    });
  }

  async #advance(): Promise<void> {
    const startMs = this.#nowMs;
    const ports = this.#watch.advance(startMs);
    if (ports !== null) {
      this.#isScanning = true;
      // Apply the selection before the scan: the scan does not cover packets that arrive during it.
      this.#apply();
      const costMs = await this.#options.scan(ports);
      this.#isScanning = false;
      this.#watch.onScanned(costMs, this.#nowMs);
    }
    this.#apply();
  }
}
