/** The rows of sessions that events of a gateway begin, change and end. They have the times of the events. Pure. */

import { formatEndpoint, type Instant, type PublicKey } from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import { fleetDevice } from "../fleet/gateway-name.ts";
import { saved, type SavedSession } from "../sessions/session.ts";
import type { EndedSession } from "../store/stored-sessions.ts";
import type { FleetState } from "./fleet-state.ts";
import { peerOfEvent } from "./reported-peer.ts";

interface Context {
  readonly gateway: string;
  readonly state: Pick<FleetState, "storedSession">;
  readonly now: Instant;
}

export function sessionRows(
  events: readonly Event[],
  { gateway, state, now }: Context,
): { readonly sessions: SavedSession[]; readonly ended: EndedSession[] } {
  const sessions: SavedSession[] = [];
  const ended: EndedSession[] = [];
  for (const event of events) {
    if (event.type === "peer.connected" || event.type === "peer.roamed") {
      const device = fleetDevice(gateway, event.data.device);
      const { startedAt, rxBytes, txBytes, roams } = event.data.session;
      const startedAtMs = Date.parse(startedAt);
      const peer = peerOfEvent(event.data.peer);
      const current = state.storedSession(device, peer.publicKey);
      const atMs = Date.parse(event.timestamp);
      const times = { handshakeAtMs: atMs, lastActivityMs: atMs, silentSinceMs: atMs };
      const { endpoint } = peer;
      const session = { device, peer, startedAtMs, endpoint, rxBytes, txBytes, roams };
      sessions.push(
        current?.startedAtMs === startedAtMs
          ? saved(current, now)
          : { ...session, ...times, ending: null },
      );
    }
    if (event.type === "peer.disconnected") {
      const { peer, session, reason } = event.data;
      const { startedAt, endedAt, durationMs, rxBytes, txBytes, roams } = session;
      ended.push({
        device: fleetDevice(gateway, event.data.device),
        publicKey: peer.publicKey,
        startedAtMs: Date.parse(startedAt),
        endedAtMs: Date.parse(endedAt),
        durationMs,
        reason,
        endpoint: peer.endpoint,
        rxBytes,
        txBytes,
        roams,
        // Only a tracker compares them with its next scan.
        peer: { lastHandshakeMs: null, rxBytes: 0, txBytes: 0 },
      });
    }
  }
  return { sessions, ended };
}

/** The row of a session that ended without an event, as of its last known activity. */
export function endedWithoutEvent(
  session: Omit<SavedSession, "handshakeAtMs" | "lastActivityMs" | "silentSinceMs" | "ending"> & {
    readonly lastActivity: Pick<Instant, "wallMs">;
  },
): EndedSession {
  const { device, peer, startedAtMs, lastActivity, endpoint, rxBytes, txBytes, roams } = session;
  return {
    device,
    publicKey: peer.publicKey as PublicKey,
    startedAtMs,
    endedAtMs: Math.max(startedAtMs, lastActivity.wallMs),
    durationMs: Math.max(0, Math.round(lastActivity.wallMs - startedAtMs)),
    reason: "not-watched",
    endpoint: endpoint === null ? null : formatEndpoint(endpoint),
    rxBytes,
    txBytes,
    roams,
    peer: { lastHandshakeMs: peer.lastHandshakeMs, rxBytes: peer.rxBytes, txBytes: peer.txBytes },
  };
}
