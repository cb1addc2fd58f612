/**
 * Handles the inputs: passes received and sent packets and their losses to the handshake watch, and link changes and
 * their losses to the scan loop.
 */

import type { Clock } from "../base/clock.ts";
import { isUnreadable } from "../base/errors.ts";
import { CaptureHealth } from "../capture/capture-health.ts";
import type { CapturedDatagram } from "../capture/packet.ts";
import { UnknownSampler } from "../capture/unknown-sampler.ts";
import { type LinkEvent, mayBeWireguard, parseLinkEvents } from "../kernel/links.ts";
import { bytesOf } from "../kernel/netlink.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../stats/counters.ts";
import { HandshakeWatchDriver } from "./handshake-watch-driver.ts";
import type { HandshakeWatchOptions } from "./handshake-watch.ts";
import type { InputHandler, Inputs } from "./inputs.ts";
import type { ScanLoop } from "./scan-loop.ts";

interface Options extends HandshakeWatchOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly inputs: Inputs;
  readonly scanLoop: Pick<ScanLoop, "scanAll" | "scanPorts" | "linkChanged">;
  /** Called with the destination port of each received WireGuard message. */
  readonly onMessage: (port: number) => void;
  /** Whether handshake.unknown is enabled. */
  readonly reportsUnknown: () => boolean;
  /** Called with each received WireGuard message while handshake.unknown is enabled. */
  readonly onUnknown: (datagram: CapturedDatagram) => void;
}

export class PacketIntake implements InputHandler {
  readonly #options: Options;
  readonly #health: CaptureHealth;
  readonly #watch: HandshakeWatchDriver;
  readonly #sampler: UnknownSampler;

  constructor(options: Options) {
    const { clock, log, metrics, inputs, scanLoop, reportsUnknown, onUnknown, handshakeAtMs } =
      options;
    this.#options = options;
    const health = new CaptureHealth({ clock, log, metrics });
    this.#health = health;
    this.#watch = new HandshakeWatchDriver({
      clock,
      select: (indexes) => this.#changeCapture(() => inputs.capture.select(indexes)),
      openSentTap: () => this.#openSentTap(),
      scan: (ports) => scanLoop.scanPorts(ports),
      onGuarded: (isGuarded) => health.guardedModeChanged(isGuarded),
      onFlooded: (isFlooded) => health.floodChanged(isFlooded),
      handshakeAtMs,
    });
    this.#sampler = new UnknownSampler({
      log,
      isEnabled: reportsUnknown,
      open: (onPacket) => inputs.openSample(onPacket),
      onPacket(bytes) {
        const datagram = health.parse(bytes, "received");
        if (datagram !== null) onUnknown(datagram);
      },
    });
  }

  packetReceived(bytes: Uint8Array): void {
    const { metrics, onMessage, reportsUnknown, onUnknown } = this.#options;
    metrics.packets++;
    const datagram = this.#health.parse(bytes, "received");
    this.#watch.onReceived(datagram);
    if (datagram === null) return;
    onMessage(datagram.destinationPort);
    if (reportsUnknown() && !this.#sampler.isOpen) onUnknown(datagram);
  }

  packetSent(bytes: Uint8Array): void {
    const datagram = this.#health.parse(bytes, "sent");
    // It was parsed as if the peer had sent it, so our port is its destination. Forwarded packets look the same as ours,
    // for example those of WireGuard in a container.
    const isOurs = this.#options.inputs.devices.lastScanned.some(
      ({ listenPort }) => listenPort === datagram?.destinationPort,
    );
    this.#watch.onSent(isOurs ? datagram : null);
  }

  packetsLost(reason: string): void {
    this.#health.packetsLost(reason);
    this.#watch.onPacketsLost();
  }

  /** Firewall rules were loaded now. They did not log earlier handshakes, so this counts as a loss of packets. */
  rulesLoaded(): void {
    this.#watch.onPacketsLost();
  }

  linksChanged(bytes: Uint8Array): void {
    let events: LinkEvent[];
    try {
      events = parseLinkEvents(bytesOf(bytes));
    } catch (error) {
      this.linksLost(`cannot parse a link change: ${(error as Error).message}`);
      return;
    }
    const { inputs, scanLoop } = this.#options;
    for (const event of events) this.#changeCapture(() => inputs.capture.linkChanged(event));
    if (events.some(({ link }) => mayBeWireguard(link))) scanLoop.linkChanged();
  }

  linksLost(reason: string): void {
    this.#health.linksLost(reason);
    this.#changeCapture(() => this.#options.inputs.capture.linksLost());
    void this.#options.scanLoop.scanAll("lost");
  }

  /** The ports of all devices after a scan. */
  setPorts(ports: readonly number[]): void {
    this.#changeCapture(() => this.#options.inputs.capture.setPorts(ports));
    this.#changeCapture(() => this.#sampler.setPorts(ports));
  }

  /** Opens the sample for handshake.unknown if it is enabled. */
  openSample(): void {
    void this.#sampler.open();
  }

  stop(): void {
    this.#watch.stop();
    this.#sampler.close();
  }

  #openSentTap() {
    try {
      return this.#options.inputs.openSentTap();
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.#options.log.warn(error.message);
      return null;
    }
  }

  /** Changes what is captured. Logs a failure; returns whether the change succeeded. */
  #changeCapture(change: () => void): boolean {
    try {
      change();
      return true;
    } catch (error) {
      this.#options.log.warn((error as Error).message);
      return false;
    }
  }
}
