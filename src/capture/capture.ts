/** What wakes wgmon: packets from an NFLOG group, from a BPF tap, or nothing at all. */

import type { Clock } from "../clock.ts";
import type { LinkEvent } from "../kernel/link.ts";
import { openTap } from "./bpf.ts";
import { openGroup } from "./nflog.ts";

export interface PacketHandler {
  /** A packet from its IP header on, perhaps cut off; the handler's to keep. */
  packet(bytes: Uint8Array): void;
  /** Packets may have been missed, and why: one look is due. */
  lost(reason: string): void;
  /**
   * A flood came, and its packets are thrown away unread while it lasts: looks must go on without them.
   * Left out: all are read, whatever it costs.
   */
  readonly overrun?: () => void;
}

export interface Capture {
  /** The ports that WireGuard listens to now. */
  setPorts(ports: readonly number[]): void;
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
      return { setPorts() {}, linkChanged() {}, linksMissed() {}, close() {} };
  }
}
