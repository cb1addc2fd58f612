/**
 * The inputs of the alert engine: the configured peers, changes of the tracker, scans, the state of the targets, and times
 * at which wgmon did not watch. Also converts changes and stored events to inputs. Pure.
 *
 * Pass what one scan shows in this order:
 *
 * 1. `peers`. A peer that is added and connects before the next scan is not yet known, so its addition is reported.
 * 2. The changes of the tracker: `connected`, `roamed`, `disconnected`, `device`.
 * 3. `scan`. After a time without scans, this is where the engine judges again, and it must know the changes by then.
 */

import type { ClockStep } from "../base/wall-clock.ts";
import { formatEndpoint, type Peer } from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import { isAlert, isFleetEvent } from "../events/event.ts";
import type { Change, DisconnectReason } from "../sessions/change.ts";
import type { Mac1 } from "../sessions/unknown-handshakes.ts";
import type { Silence } from "./silences.ts";

/** A peer with its name and tags, which are not from the kernel. */
export interface NamedPeer {
  readonly publicKey: string;
  readonly name: string | null;
  readonly tags: readonly string[];
}

/** A configured peer. */
export type ConfiguredPeer = NamedPeer &
  Pick<Peer, "allowedIps" | "persistentKeepaliveSeconds" | "lastHandshakeMs"> & {
    /** Only for peers that no scan has shown, because they never connected. Absent: unknown. */
    readonly counters?: Pick<Peer, "rxBytes" | "txBytes" | "endpoint">;
  };

/** A peer that changed since the previous scan. */
export type SampledPeer = Pick<
  Peer,
  "publicKey" | "rxBytes" | "txBytes" | "endpoint" | "lastHandshakeMs"
>;

export type Input =
  /**
   * Peers that were added, renamed, or whose settings may have changed. Peers that did not change may be listed, too.
   * `removed`: the public keys of peers that no longer exist. `complete`: the device has no other peers. Pass a complete
   * list at the first scan of a device.
   */
  | {
      readonly type: "peers";
      readonly device: string;
      readonly peers: readonly ConfiguredPeer[];
      readonly removed: readonly string[];
      readonly complete: boolean;
    }
  /** `handshakeAtMs`: the latest completed handshake; null: unknown, as in stored events. */
  | {
      readonly type: "connected";
      readonly device: string;
      readonly peer: NamedPeer;
      readonly endpoint: string | null;
      readonly handshakeAtMs: number | null;
      readonly startedAtMs: number;
    }
  | {
      readonly type: "roamed";
      readonly device: string;
      readonly peer: NamedPeer;
      readonly endpoint: string | null;
      readonly handshakeAtMs: number | null;
    }
  | {
      readonly type: "disconnected";
      readonly device: string;
      readonly peer: NamedPeer;
      /** The last activity. */
      readonly endedAtMs: number;
      readonly reason: DisconnectReason;
    }
  | { readonly type: "device"; readonly device: string; readonly present: boolean }
  /** A scan of the device, with the peers that changed. It comes after `peers` and the changes of the tracker. */
  | { readonly type: "scan"; readonly device: string; readonly peers: readonly SampledPeer[] }
  /** All devices were listed: those that the engine takes for absent are still absent. */
  | { readonly type: "devices-listed" }
  /** The devices could not be scanned; null: all. */
  | { readonly type: "scan-failed"; readonly device: string | null }
  /** Traffic of a time for which there are no scans: from the store's history. */
  | {
      readonly type: "traffic";
      readonly device: string;
      readonly publicKey: string;
      readonly rxBytes: number;
      readonly txBytes: number;
    }
  | {
      readonly type: "unknown-handshakes";
      readonly device: string;
      readonly messages: number;
      readonly mac1: Mac1;
      readonly network: string | null;
      readonly publicKeys: readonly string[];
    }
  | {
      readonly type: "target";
      readonly target: string;
      readonly state: "ok" | "failing" | "stopped";
      /** When this state began. */
      readonly sinceMs: number;
    }
  /** wgmon did not run, or the machine was suspended, from `fromMs` until now. */
  | {
      readonly type: "away";
      readonly fromMs: number;
      readonly reason: "not-running" | "suspended";
    }
  /** The wall clock was set. The time that is passed with this input is one of the new clock. */
  | { readonly type: "clock"; readonly step: ClockStep }
  /** wgmon was started with these devices only: the alerts of others end. Pass it after `away`. */
  | { readonly type: "watched-devices"; readonly devices: readonly string[] }
  /** On a hub: the devices whose names begin with this, those of one gateway, exist no more for wgmon. Their alerts end. */
  | { readonly type: "devices-forgotten"; readonly prefix: string }
  /** Adds or replaces a silence. */
  | { readonly type: "silence"; readonly silence: Silence }
  | { readonly type: "silence-expired"; readonly id: string }
  /** Only time has passed. It is due at `nextDeadlineMs`. It may be late: a tick of wgmon is soon enough. */
  | { readonly type: "tick" };

/** Converts a change of the tracker. @param named the names and tags of the peer. */
export function inputOfChange(change: Change, named: Pick<NamedPeer, "name" | "tags">): Input {
  const { device } = change;
  switch (change.type) {
    case "peer.connected":
    case "peer.roamed": {
      const { publicKey, endpoint, lastHandshakeMs } = change.peer;
      const rest = {
        device,
        peer: { publicKey, name: named.name, tags: named.tags },
        endpoint: endpoint === null ? null : formatEndpoint(endpoint),
        handshakeAtMs: lastHandshakeMs,
      };
      if (change.type === "peer.roamed") return { type: "roamed", ...rest };
      return { type: "connected", ...rest, startedAtMs: change.session.startedAtMs };
    }
    case "peer.disconnected": {
      const { endedAtMs, reason } = change;
      const peer = { publicKey: change.peer.publicKey, name: named.name, tags: named.tags };
      return { type: "disconnected", device, peer, endedAtMs, reason };
    }
    case "handshake.unknown": {
      const { packets, mac1, network, peers } = change;
      const publicKeys = peers.map(({ publicKey }) => publicKey);
      return { type: "unknown-handshakes", device, messages: packets, mac1, network, publicKeys };
    }
    case "device.added":
    case "device.removed":
      return { type: "device", device, present: change.type === "device.added" };
  }
}

/**
 * Converts a stored event, which has fewer details than the change that it was made from. Returns null for an event about
 * an alert, because the engine itself caused it, and for one about a gateway.
 *
 * @param atMs the time of the event.
 */
export function inputOfEvent(event: Event, atMs: number): Input | null {
  if (isAlert(event) || isFleetEvent(event)) return null;
  const { device } = event.data;
  // There may be a million events, and parsing times and copying objects take most of the time.
  const parse = (time: string) => (time === event.timestamp ? atMs : Date.parse(time));
  switch (event.type) {
    case "peer.connected": {
      const { peer, session } = event.data;
      const { endpoint } = peer;
      const startedAtMs = parse(session.startedAt);
      return { type: "connected", device, peer, endpoint, handshakeAtMs: null, startedAtMs };
    }
    case "peer.roamed": {
      const { peer } = event.data;
      return { type: "roamed", device, peer, endpoint: peer.endpoint, handshakeAtMs: null };
    }
    case "peer.disconnected": {
      const { peer, session, reason } = event.data;
      return { type: "disconnected", device, peer, endedAtMs: parse(session.endedAt), reason };
    }
    case "handshake.unknown": {
      const { packets, mac1, network, peers } = event.data;
      const publicKeys = peers.map(({ publicKey }) => publicKey);
      return { type: "unknown-handshakes", device, messages: packets, mac1, network, publicKeys };
    }
    case "device.added":
    case "device.removed":
      return { type: "device", device, present: event.type === "device.added" };
  }
}
