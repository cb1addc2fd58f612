/**
 * Fires when more than N handshake messages arrived at a device within a span that no peer completed, from senders that
 * know the device's public key or a peer's private key: a wrong preshared key, a removed peer, or a blocked return path.
 * Resolved when the span contains N or fewer.
 */

import { duration } from "../../events/event.ts";
import type { Attempts } from "../facts.ts";
import { type DeviceKind, met, NOTHING } from "./kind.ts";

export const handshakes: DeviceKind<"handshakes"> = {
  judge({ messages, withinMs }, device, isSelected, nowMs) {
    const recent = device.attempts.filter(
      (each) => each.reportedAtMs > nowMs - withinMs && isSelected(each),
    );
    const total = recent.reduce((sum, each) => sum + each.messages, 0);
    if (total <= messages) return NOTHING;
    const networks = [...new Set(recent.map(({ network }) => network ?? "several networks"))];
    const where = networks.length > 3 ? `${networks.length} networks` : networks.join(", ");
    const sentence = `${device.name} received ${total} handshake messages from ${where} within ${duration(withinMs)} that no peer completed; check preshared keys, removed peers and the return path`;
    const { reportedAtMs } = recent.at(-1)!;
    const sinceMs = recent[0]!.reportedAtMs;
    return met(
      { what: "", sinceMs, countsFromMs: reportedAtMs, sentence },
      untilFew(recent, total - messages) + withinMs,
    );
  },

  resolved({ subject }) {
    const device = subject.type === "device" ? subject.device : "";
    return `${device} no longer receives many handshake messages that no peer completes`;
  },
};

/** Whether the sender can only be someone who has, or had, a configuration of this device. */
export function isInformed(
  mac1: "valid" | "invalid" | "mixed" | "not-checked",
  peers: number,
): boolean {
  return peers > 0 || mac1 === "valid" || mac1 === "mixed";
}

/** The time of the report whose end of the span leaves few enough messages. */
function untilFew(recent: readonly Attempts[], excess: number): number {
  let rest = excess;
  for (const { reportedAtMs, messages } of recent) {
    rest -= messages;
    if (rest <= 0) return reportedAtMs;
  }
  return recent.at(-1)!.reportedAtMs;
}
