/** The packets that wake wgmon: from an NFLOG group, from a BPF tap, or none. */

import type { Clock } from "../base/clock.ts";
import type { LinkEvent } from "../kernel/links.ts";
import { openTap } from "./bpf.ts";
import { openGroup } from "./nflog.ts";

export interface PacketHandler {
  /** An incoming packet, which starts with its IP header and may be truncated. The handler may keep the bytes. */
  onReceived(packet: Uint8Array): void;
  /** The same for a packet that this machine sends; only if firewall rules log it. */
  onSent(packet: Uint8Array): void;
  /** Packets may have been lost; `reason` says why. */
  onPacketsLost(reason: string): void;
}

export interface Capture {
  /** Sets the ports on which WireGuard listens. */
  setPorts(ports: readonly number[]): void;
  /** Captures only first data messages with these receiver indexes; null: all handshake messages again. */
  select(indexes: readonly number[] | null): void;
  linkChanged(event: LinkEvent): void;
  /** Link changes may have been missed. */
  linksLost(): void;
  close(): void;
}

/** How wgmon notices peers; `poll` captures no packets. */
export type Monitor = "nflog" | "bpf" | "poll";

export interface CaptureSettings {
  readonly monitor: Monitor;
  readonly group: number;
  readonly captureInterface: string;
  readonly filter: string | null;
}

/** @throws ConfigError, SystemError or LibraryError if packets cannot be captured this way. */
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
      return { setPorts() {}, select() {}, linkChanged() {}, linksLost() {}, close() {} };
  }
}
