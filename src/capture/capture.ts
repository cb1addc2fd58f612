/** What wakes wgmon: packets from an NFLOG group, from a BPF tap, or nothing at all. */

import type { Clock } from "../clock.ts";
import type { LinkEvent } from "../kernel/link.ts";
import { openTap } from "./bpf.ts";
import { openGroup } from "./nflog.ts";

export interface PacketHandler {
  /** A packet that came in, from its IP header on, perhaps cut off; the handler's to keep. */
  onReceived(packet: Uint8Array): void;
  /** One that this machine sends, where firewall rules log that. */
  onSent(packet: Uint8Array): void;
  /** Packets may have been missed, and why. */
  onPacketsLost(reason: string): void;
}

export interface Capture {
  /** The ports that WireGuard listens to now. */
  setPorts(ports: readonly number[]): void;
  /**
   * From now on, of what comes in only first data messages with these receiver indexes; null: all handshake
   * messages again.
   */
  select(indexes: readonly number[] | null): void;
  linkChanged(event: LinkEvent): void;
  /** Links may have changed, and nobody knows how. */
  linksMissed(): void;
  close(): void;
}

/** What wakes wgmon. */
export type Monitor = "nflog" | "bpf" | "poll";

export interface CaptureSettings {
  readonly monitor: Monitor;
  readonly group: number;
  readonly captureInterface: string;
  readonly filter: string | null;
}

/** @throws ConfigError, SystemError or LibraryError when packets cannot be had this way. */
export async function openCapture(
  settings: CaptureSettings,
  clock: Clock,
  handler: PacketHandler,
): Promise<Capture> {
  switch (settings.monitor) {
    case "nflog":
      return openGroup(settings.group, clock, handler);
    case "bpf":
      return openTap(settings.captureInterface, settings.filter, clock, handler);
    case "poll":
      return { setPorts() {}, select() {}, linkChanged() {}, linksMissed() {}, close() {} };
  }
}
