/** What a scan can change: the values that the tracker passes on. events/event.ts makes the public form of it. */

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

/** A change of a peer or device. Times are wall clock. */
export type Change =
  | {
      readonly type: "peer.connected";
      readonly atMs: number;
      readonly device: string;
      readonly peer: Peer;
      readonly session: SessionSummary;
      /** The peer was already connected at wgmon's first scan of the device. */
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
      /** When the peer was last active. */
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
