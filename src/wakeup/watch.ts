/**
 * Checks whether the wake-up works: at start, when ports change, and when a handshake completed that no packet
 * announced. Each warning names the remedy; docs/troubleshooting.md.
 */

import { type Finding, runCheck } from "../base/check.ts";
import type { Clock } from "../base/clock.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import type { Monitor } from "../capture/capture.ts";
import type { Log } from "../platform/log.ts";
import type { WakeUp } from "./wakeup.ts";

/** A device is created first and configured later: only the ports after this time are checked. */
const SETTLE_MS = 1000;
/** The same if wgmon loads the rules itself: nft may take 10 s, firewall/nft.ts. */
const SETTLE_MANAGED_MS = 15_000;
/** While messages are captured, a known problem is checked again at most this often. */
const RECHECK_MS = 10_000;
/** An initiation precedes the end of its handshake by a round trip; the rest allows for inaccurate clocks. */
const ANNOUNCED_BEFORE_MS = 15_000;

interface WatchOptions {
  readonly wakeUp: WakeUp;
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
  /** Whether wgmon loads the rules itself (--manage-rules). */
  readonly isManaged: boolean;
  readonly check: () => Promise<readonly Finding[]>;
}

/** A peer that became connected in a scan that no packet caused. */
interface Unannounced {
  readonly device: string;
  readonly port: number;
  /** Wall clock of the handshake; null if there was none. */
  readonly handshakeMs: number | null;
}

export class WakeUpWatch {
  readonly #options: WatchOptions;
  #startMs: number;
  /** Wall clock of the last WireGuard message to each port. */
  readonly #heardMs = new Map<number, number>();
  /** Devices whose unannounced handshake was examined; only the first one of a device is. */
  readonly #explained = new Set<string>();
  #problem: string | null;
  /** When the last check was made, or is scheduled, on the monotonic clock. */
  #checkedMs = -Infinity;
  #ports = "";
  #cancelCheck = () => {};

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#startMs = options.clock.now().wallMs;
    const { monitor, reason } = options.wakeUp;
    this.#problem = monitor === "poll" && reason !== null ? noWakeUp(reason) : null;
    if (this.#problem !== null) options.log.warn(this.#problem);
  }

  /** Why packets may not wake wgmon, and the remedy; null if no problem is known. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Checks the wake-up if the ports have changed. */
  setPorts(ports: readonly number[]): void {
    const sorted = ports.toSorted((a, b) => a - b).join();
    if (sorted === this.#ports) return;
    this.#ports = sorted;
    this.checkSoon();
  }

  /** Adjusts the remembered wall-clock times to a clock step. */
  clockSet(step: ClockStep): void {
    this.#startMs = moved(step, this.#startMs);
    for (const [port, heardMs] of this.#heardMs) this.#heardMs.set(port, moved(step, heardMs));
  }

  /** A WireGuard message to this port was captured. */
  heard(port: number): void {
    const { wallMs, monotonicMs } = this.#options.clock.now();
    this.#heardMs.set(port, wallMs);
    // The rules may have been loaded meanwhile.
    if (this.#problem !== null && monotonicMs - this.#checkedMs >= RECHECK_MS) this.checkSoon();
  }

  async unannounced({ device, port, handshakeMs }: Unannounced): Promise<void> {
    const { wakeUp, log } = this.#options;
    if (wakeUp.monitor === "poll" || this.#explained.has(device)) return;
    // Without a handshake since the start there was no packet to capture: the peer resumed with keys that are still
    // valid, or connected before wgmon started.
    if (handshakeMs === null || handshakeMs <= this.#startMs) return;
    const isAnnounced = () =>
      (this.#heardMs.get(port) ?? -Infinity) > handshakeMs - ANNOUNCED_BEFORE_MS;
    if (isAnnounced()) return;
    this.#explained.add(device);
    const known = this.#problem;
    const found = await this.#check();
    // The packet was in the queue during a long scan, and has been read during the check.
    if (isAnnounced()) {
      this.#explained.delete(device);
      return;
    }
    if (found !== null && found === known) return;
    // Messages were captured before, and the check finds no problem, so this message was lost.
    if (found === null && this.#heardMs.has(port)) return;
    log.warn(
      `a peer of ${device} connected and no packet announced it: ${found ?? remedies[wakeUp.monitor](port)}`,
    );
  }

  stop(): void {
    this.#cancelCheck();
  }

  /** Checks the wake-up after a delay, when current changes have settled. */
  checkSoon(): void {
    const { wakeUp, isManaged, clock } = this.#options;
    if (wakeUp.monitor === "poll") return;
    this.#cancelCheck();
    const delayMs = isManaged ? SETTLE_MANAGED_MS : SETTLE_MS;
    this.#checkedMs = clock.now().monotonicMs + delayMs;
    this.#cancelCheck = clock.after(delayMs, () => void this.#warn());
  }

  async #warn(): Promise<void> {
    const known = this.#problem;
    const found = await this.#check();
    if (found === null || found === known) return;
    this.#options.log.warn(`packets may not wake wgmon: ${found}`);
  }

  async #check(): Promise<string | null> {
    // `runCheck` never rejects: what it could not find out is "skipped".
    const findings = await runCheck({ run: this.#options.check });
    this.#checkedMs = this.#options.clock.now().monotonicMs;
    if (findings.some(({ verdict }) => verdict === "skipped")) return this.#problem;
    const bad = findings.filter(({ verdict }) => verdict === "problem" || verdict === "warning");
    this.#problem = bad.length === 0 ? null : bad.map(asSentence).join("; ");
    return this.#problem;
  }
}

function asSentence({ found, fix }: Finding): string {
  return fix === null ? found : `${found}. Fix: ${fix}`;
}

function noWakeUp(reason: string): string {
  return `packets do not wake wgmon; connects are reported at the next tick. Reason: ${reason}`;
}

/** Remedies for causes that the checks cannot find. */
const remedies: Readonly<Record<Exclude<Monitor, "poll">, (port: number) => string>> = {
  nflog: (port) =>
    `the rules seem to log port ${port}, but a rule before them may accept or drop the packets. Fix: wgmon rules --install, or --monitor bpf`,
  bpf: (port) =>
    `no packet to port ${port} arrived on the captured interface; they may arrive in another network namespace. Fix: --interface any, or --monitor poll`,
};
