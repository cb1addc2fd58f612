/**
 * Finds out who moved the endpoint of a peer. Only authenticated data moves it, unless it is set. But the kernel moves it,
 * answers, and only then counts what it received (receive.c), and the answer may have caused the scan. So a scan that
 * shows an endpoint that moved without received data decides nothing; a later one does. Pure.
 */

import { type Endpoint, formatEndpoint, sameEndpoint } from "../base/wireguard.ts";
import type { DeviceFacts } from "./facts.ts";
import type { SettingsMoment } from "./kinds/kind.ts";
import type { AlertState, PeerEntry } from "./state.ts";

/** An endpoint was set if a scan this long after its move shows no received data. */
const DECIDED_MS = 2000;

/** The endpoint moved, and no received data was counted. */
export function moved(state: AlertState, entry: PeerEntry, from: Endpoint): void {
  const { peer, device } = entry;
  const first = peer.unexplainedMove;
  peer.unexplainedMove = {
    from: first?.from ?? from,
    movedAtMs: state.nowMs,
    wasAway: (first?.wasAway ?? false) || device.blind !== null,
  };
  state.unexplainedMoves.add(entry);
  state.markPeer(entry);
}

/** Received data moved the endpoint, or it no longer matters who moved it. */
export function explained(state: AlertState, entry: PeerEntry): void {
  if (entry.peer.unexplainedMove === null) return;
  entry.peer.unexplainedMove = null;
  state.unexplainedMoves.delete(entry);
  state.markPeer(entry);
}

/** After a scan of the device: takes the peers whose endpoint was set. */
export function takeSet(
  state: AlertState,
  device: DeviceFacts,
): { readonly entry: PeerEntry; readonly moment: SettingsMoment }[] {
  const decided = [...state.unexplainedMoves].filter(
    (entry) =>
      entry.device === device && state.nowMs - entry.peer.unexplainedMove!.movedAtMs >= DECIDED_MS,
  );
  // The order must be the same after a restart.
  decided.sort((a, b) => a.peer.order - b.peer.order);
  return decided.flatMap((entry) => {
    const { from, wasAway } = entry.peer.unexplainedMove!;
    const { endpoint } = entry.sample;
    explained(state, entry);
    // It may have been set back.
    if (endpoint === null || sameEndpoint(from, endpoint)) return [];
    const details = `${formatEndpoint(from)} -> ${formatEndpoint(endpoint)}`;
    return [{ entry, moment: { change: "endpoint", details, wasAway } as const }];
  });
}
