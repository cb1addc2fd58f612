/** Changes of peers and devices, as the program's own values. events/event.ts converts them to public events. */

import type { Endpoint, Peer } from "../base/wireguard.ts";
import type { UnknownHandshakesChange } from "./unknown-handshakes.ts";

/** Why a session ended: it was idle, or the peer or its device was removed. */
export type DisconnectReason = "idle" | "peer-removed" | "device-removed";

/** The state of a session at the time of a change. */
export interface SessionSummary {
  readonly startedAtMs: number;
  /** Bytes received and sent in this session, handshakes included. */
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
}

/** A change of a peer or device, or unknown handshakes. Times are wall clock. */
export type Change =
  | {
      readonly type: "peer.connected";
      readonly atMs: number;
      readonly device: string;
      readonly peer: Peer;
      readonly session: SessionSummary;
      /** Whether the peer was already connected at the first scan of a run without a saved state. */
      readonly initial: boolean;
    }
  | {
      readonly type: "peer.roamed";
      readonly atMs: number;
      readonly device: string;
      readonly peer: Peer;
      readonly session: SessionSummary;
      readonly previousEndpoint: Endpoint;
    }
  | {
      readonly type: "peer.disconnected";
      readonly atMs: number;
      readonly device: string;
      readonly peer: Peer;
      readonly session: SessionSummary;
      /** The time of the last activity. */
      readonly endedAtMs: number;
      /** From the start to `endedAtMs`. Unaffected if the wall clock was set in between. */
      readonly durationMs: number;
      readonly reason: DisconnectReason;
    }
  | UnknownHandshakesChange
  | {
      readonly type: "device.added" | "device.removed";
      readonly atMs: number;
      readonly device: string;
      readonly listenPort: number;
    };
