/**
 * Checks whether packets wake wgmon: at start, when ports change, and when a handshake completed of which no packet was
 * captured. Each warning names the remedy; docs/troubleshooting.md.
 */

import type { Finding } from "../base/check.ts";
import type { Clock } from "../base/clock.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import type { Peer } from "../base/wireguard.ts";
import type { Monitor } from "../capture/capture.ts";
import type { Log } from "../platform/log.ts";
import { runCheck } from "../platform/run-check.ts";
import type { WakeUp } from "./wakeup.ts";

/** Delay of a check after a change of the ports, because a device is first created and then configured. */
const SETTLE_MS = 1000;
/** The same delay if wgmon loads the rules itself: nft may take 10 s, see firewall/nft.ts. */
const SETTLE_MANAGED_MS = 15_000;
/** A captured message causes a new check of a known problem, at most once in this time. */
const RECHECK_MS = 10_000;
/**
 * A message belongs to a handshake if it was captured at most this long before the handshake completed. That takes a
 * round trip; the rest is a tolerance for inaccurate clocks.
 */
const MESSAGE_BEFORE_MS = 15_000;

interface WakeUpWatchOptions {
  readonly wakeUp: WakeUp;
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
  /** Whether wgmon loads the rules itself (--manage-rules). */
  readonly isManaged: boolean;
  /** The port on which the device listens; null if it does not exist. */
  readonly portOf: (device: string) => number | null;
  readonly check: () => Promise<readonly Finding[]>;
}

interface ConnectedPeer {
  readonly device: string;
  readonly peer: Pick<Peer, "lastHandshakeMs">;
}

export class WakeUpWatch {
  readonly #options: WakeUpWatchOptions;
  #startMs: number;
  /** Wall clock of the last captured WireGuard message to each port. */
  readonly #lastMessageMs = new Map<number, number>();
  /** Devices for which a handshake without a captured packet was already examined. This happens once per device. */
  readonly #examined = new Set<string>();
  #problem: string | null;
  /** Monotonic time of the last check, or of the scheduled one. */
  #checkedMs = -Infinity;
  #ports = "";
  #cancelCheck = () => {};

  constructor(options: WakeUpWatchOptions) {
    this.#options = options;
    this.#startMs = options.clock.now().wallMs;
    const { monitor, reason } = options.wakeUp;
    this.#problem = monitor === "poll" && reason !== null ? pollWarning(reason) : null;
    if (this.#problem !== null) options.log.warn(this.#problem);
  }

  /** Why packets may not wake wgmon, and the remedy; null if no problem is known. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Sets the listen ports. Schedules a check if they have changed. */
  setPorts(ports: readonly number[]): void {
    const sorted = ports.toSorted((a, b) => a - b).join();
    if (sorted === this.#ports) return;
    this.#ports = sorted;
    this.checkSoon();
  }

  /** Converts the recorded wall-clock times after a step of the clock. */
  clockSet(step: ClockStep): void {
    this.#startMs = moved(step, this.#startMs);
    for (const [port, atMs] of this.#lastMessageMs) {
      this.#lastMessageMs.set(port, moved(step, atMs));
    }
  }

  /** Notes that a WireGuard message to this port was captured. */
  messageCaptured(port: number): void {
    const { wallMs, monotonicMs } = this.#options.clock.now();
    this.#lastMessageMs.set(port, wallMs);
    // The rules may have been loaded meanwhile.
    if (this.#problem !== null && monotonicMs - this.#checkedMs >= RECHECK_MS) this.checkSoon();
  }

  /**
   * Warns if no packet of a peer's handshake was captured, with the reason and the remedy. For a peer that was found
   * connected in a scan that no packet caused.
   */
  async warnOfMissingPackets({ device, peer }: ConnectedPeer): Promise<void> {
    const { wakeUp, log, portOf } = this.#options;
    const port = portOf(device);
    const handshakeMs = peer.lastHandshakeMs;
    if (wakeUp.monitor === "poll" || port === null || this.#examined.has(device)) return;
    // If the last handshake was before the start, there was no packet to capture: the peer resumed with keys that are
    // still valid, or connected before wgmon started.
    if (handshakeMs === null || handshakeMs <= this.#startMs) return;
    const wasCaptured = () =>
      (this.#lastMessageMs.get(port) ?? -Infinity) > handshakeMs - MESSAGE_BEFORE_MS;
    if (wasCaptured()) return;
    this.#examined.add(device);
    const known = this.#problem;
    const found = await this.#check();
    // The packet waited in the receive buffer during a long scan, and was read during the check.
    if (wasCaptured()) {
      this.#examined.delete(device);
      return;
    }
    if (found !== null && found === known) return;
    // Earlier messages to the port were captured and the check finds no problem, so this message was lost.
    if (found === null && this.#lastMessageMs.has(port)) return;
    log.warn(
      `a peer of ${device} connected, but no packet of its handshake was captured: ${found ?? remedies[wakeUp.monitor](port)}`,
    );
  }

  stop(): void {
    this.#cancelCheck();
  }

  /** Schedules a check after a delay, so that it sees the state after all related changes. */
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
    // `runCheck` never rejects: a check that fails is "skipped".
    const findings = await runCheck({ run: this.#options.check });
    this.#checkedMs = this.#options.clock.now().monotonicMs;
    if (findings.some(({ verdict }) => verdict === "skipped")) return this.#problem;
    const bad = findings.filter(({ verdict }) => verdict === "problem" || verdict === "warning");
    this.#problem = bad.length === 0 ? null : bad.map(formatFinding).join("; ");
    return this.#problem;
  }
}

function formatFinding({ found, fix }: Finding): string {
  return fix === null ? found : `${found}. Fix: ${fix}`;
}

function pollWarning(reason: string): string {
  return `packets do not wake wgmon; connects are reported at the next tick. Reason: ${reason}`;
}

/** Likely causes and remedies if the checks find no problem. */
const remedies: Readonly<Record<Exclude<Monitor, "poll">, (port: number) => string>> = {
  nflog: (port) =>
    `the rules seem to log port ${port}, but a rule before them may accept or drop the packets. Fix: wgmon rules --install, or --monitor bpf`,
  bpf: (port) =>
    `no packet to port ${port} arrived on the captured interface; they may arrive in another network namespace. Fix: --interface any, or --monitor poll`,
};
