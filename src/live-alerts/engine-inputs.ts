/** What the tracker and the scans found, as inputs of the alert engine. Pure. */

import { type Input, inputOfChange, type NamedPeer } from "../alerts/input.ts";
import { inCurrentClock, type WallClock } from "../base/wall-clock.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { ScanResult } from "../kernel/devices.ts";
import type { Change } from "../sessions/change.ts";
import type { Session } from "../sessions/session.ts";

/** Returns the name and the tags of a peer, which are not from the kernel. */
export type Naming = (publicKey: PublicKey, device: string) => Pick<NamedPeer, "name" | "tags">;

export function inputsOfChanges(changes: readonly Change[], naming: Naming): Input[] {
  return changes.map((change) => {
    if (!("peer" in change)) return inputOfChange(change, { name: null, tags: [] });
    return inputOfChange(change, naming(change.peer.publicKey, change.device));
  });
}

/** Open sessions, as if their peers had connected now. */
export function inputsOfSessions(sessions: readonly Session[], naming: Naming): Input[] {
  const changes = sessions.map(
    ({ device, peer, startedAtMs, rxBytes, txBytes, roams }): Change => ({
      type: "peer.connected",
      atMs: startedAtMs,
      device,
      peer,
      session: { startedAtMs, rxBytes, txBytes, roams },
      initial: true,
    }),
  );
  return inputsOfChanges(changes, naming);
}

export function inputsOfScan(scan: ScanResult, clock: Pick<WallClock, "current">): Input[] {
  const inputs = scan.devices.map(({ device, changed }): Input => {
    const peers = changed.map(({ peer }) => inCurrentClock(peer, clock));
    return { type: "scan", device: device.name, peers };
  });
  if (scan.present !== null) inputs.push({ type: "devices-listed" });
  for (const device of scan.failed ?? []) inputs.push({ type: "scan-failed", device });
  return inputs;
}
