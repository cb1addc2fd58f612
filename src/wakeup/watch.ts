/**
 * Watches whether the wake-up is effective: at the start, when ports change, and when a handshake completed
 * that no packet announced. Each warning names what to do about it; README, "Messages".
 */

import type { Clock } from "../clock.ts";
import type { Finding } from "../doctor/check.ts";
import { isUnreadable, LibraryError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Monitor, WakeUp } from "./wakeup.ts";

/** A device is made, then configured: only the ports that it has after this are checked. */
const SETTLE_MS = 1000;
/** An initiation precedes the end of its handshake by a round trip; the rest is the clocks' accuracy. */
const ANNOUNCED_BEFORE_MS = 15_000;

interface WatchOptions {
  readonly wakeUp: WakeUp;
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
  readonly check: () => Promise<readonly Finding[]>;
}

/** A peer that a scan found connected, though no packet had caused the scan. */
interface Unannounced {
  readonly device: string;
  readonly port: number;
  /** Wall clock of the handshake; null: none. */
  readonly handshakeMs: number | null;
}

export class WakeUpWatch {
  readonly #options: WatchOptions;
  readonly #startMs: number;
  /** Wall clock of the last WireGuard message to each port. */
  readonly #heardMs = new Map<number, number>();
  /** Devices whose unannounced handshake was explained. */
  readonly #explained = new Set<string>();
  #problem: string | null;
  #ports = "";
  #cancelCheck = () => {};

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#startMs = options.clock.now().wallMs;
    const { monitor, reason } = options.wakeUp;
    this.#problem = monitor === "poll" && reason !== null ? noWakeUp(reason) : null;
    if (this.#problem !== null) options.log.warn(this.#problem);
  }

  /** What keeps packets from waking wgmon, and the remedy; null: nothing that is known. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Checks the wake-up when the ports are others than before. */
  setPorts(ports: readonly number[]): void {
    const sorted = ports.toSorted((a, b) => a - b).join();
    if (sorted === this.#ports) return;
    this.#ports = sorted;
    this.#checkSoon();
  }

  /** A WireGuard message to this port was captured. */
  heard(port: number): void {
    const isFirst = !this.#heardMs.has(port);
    this.#heardMs.set(port, this.#options.clock.now().wallMs);
    // Rules may have been loaded meanwhile.
    if (isFirst && this.#problem !== null) this.#checkSoon();
  }

  async unannounced({ device, port, handshakeMs }: Unannounced): Promise<void> {
    const { wakeUp, log } = this.#options;
    if (wakeUp.monitor === "poll" || this.#explained.has(device)) return;
    // Without a handshake since the start there was nothing to capture: the peer returned on keys that are
    // still valid, or connected before wgmon ran.
    if (handshakeMs === null || handshakeMs <= this.#startMs) return;
    const heardMs = this.#heardMs.get(port) ?? -Infinity;
    if (heardMs > handshakeMs - ANNOUNCED_BEFORE_MS) return;
    this.#explained.add(device);
    const known = this.#problem;
    const found = await this.#check();
    if (found !== null && found === known) return;
    // Messages were captured before, and nothing is wrong now: this one was lost.
    if (found === null && heardMs !== -Infinity) return;
    log.warn(
      `a peer of ${device} connected and no packet announced it: ${found ?? remedies[wakeUp.monitor](port)}`,
    );
  }

  stop(): void {
    this.#cancelCheck();
  }

  #checkSoon(): void {
    if (this.#options.wakeUp.monitor === "poll") return;
    this.#cancelCheck();
    this.#cancelCheck = this.#options.clock.after(SETTLE_MS, () => void this.#warn());
  }

  async #warn(): Promise<void> {
    const known = this.#problem;
    const found = await this.#check();
    if (found === null || found === known) return;
    this.#options.log.warn(`packets may not wake wgmon: ${found}`);
  }

  async #check(): Promise<string | null> {
    let findings: readonly Finding[];
    try {
      findings = await this.#options.check();
    } catch (error) {
      // Such as EMFILE: the check found out nothing, and must not end the daemon.
      if (!(isUnreadable(error) || error instanceof LibraryError)) throw error;
      return this.#problem;
    }
    const bad = findings.filter(({ verdict }) => verdict === "problem" || verdict === "warning");
    this.#problem = bad.length === 0 ? null : bad.map(asSentence).join("; ");
    return this.#problem;
  }
}

function asSentence({ found, fix }: Finding): string {
  return fix === null ? found : `${found}. Fix: ${fix}`;
}

function noWakeUp(reason: string): string {
  return `no packet wakes wgmon, so that it reports connects at the next tick: ${reason}`;
}

/** For what the checks cannot see. */
const remedies: Readonly<Record<Exclude<Monitor, "poll">, (port: number) => string>> = {
  nflog: (port) =>
    `the rules seem to log port ${port}, but a rule before them may accept or drop the packets. Fix: wgmon rules --install, or --monitor bpf`,
  bpf: (port) =>
    `no packet to port ${port} came in on the captured interface, as where packets arrive in another network namespace. Fix: --interface any, or --monitor poll`,
};
