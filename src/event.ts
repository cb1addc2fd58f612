/**
 * The events that wgmon reports: the public contract, its JSON Schema, and the sentence for people.
 * Pure. `Change` is what happened, in the program's own values; `Event` is what leaves the program.
 */

import { type Static, Type as T } from "@sinclair/typebox";

import { type Endpoint, formatEndpoint, type Peer } from "./wireguard.ts";

/** Raised when a receiver that understands the old envelope could misread the new one. */
export const EVENT_VERSION = 1;

/** Why a session ended: silence, or the peer or its device was taken away. */
export type DisconnectReason = "idle" | "peer-removed" | "device-removed";

/** A session as far as it has come. */
export interface SessionSummary {
  readonly startedAtMs: number;
  /** Received and sent in this session, handshakes included. */
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly roams: number;
}

/** What happened, with times on the wall clock. */
export type Change =
  | {
      readonly type: "peer.connected";
      readonly atMs: number;
      readonly device: string;
      readonly peer: Peer;
      readonly session: SessionSummary;
      /** The peer was connected already when wgmon took its first look at the device. */
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
      /** The last sign of life. */
      readonly endedAtMs: number;
      readonly reason: DisconnectReason;
    }
  | {
      readonly type: "device.added" | "device.removed";
      readonly atMs: number;
      readonly device: string;
      readonly listenPort: number;
    };

const Timestamp = T.String({
  format: "date-time",
  description: "RFC 3339 with milliseconds, UTC",
});
const Bytes = T.Integer({ minimum: 0 });
const EndpointText = T.String({ description: "address:port, an IPv6 address in brackets" });

const PeerPart = T.Object({
  publicKey: T.String({
    description: "base64, 44 characters; with the device, the peer's identity",
  }),
  name: T.Union([T.String(), T.Null()], { description: "from the settings; null: none given" }),
  allowedIps: T.Array(T.String(), { description: "inner prefixes, CIDR" }),
  endpoint: T.Union([EndpointText, T.Null()], {
    description: "the outer address that the peer was last heard from",
  }),
});
const SessionPart = T.Object({
  startedAt: Timestamp,
  rxBytes: Bytes,
  txBytes: Bytes,
  roams: T.Integer({ minimum: 0 }),
});
const EndedSessionPart = T.Object({
  ...SessionPart.properties,
  endedAt: T.String({ format: "date-time", description: "the last sign of life" }),
  durationMs: T.Integer({ minimum: 0 }),
});

const DeviceName = T.String({ description: "interface name, such as wg0" });
const envelope = <Type extends string, Data extends ReturnType<typeof T.Object>>(
  type: Type,
  data: Data,
) =>
  T.Object({
    id: T.String({ pattern: "^evt_[0-9a-f]{32}$", description: "the same in every attempt" }),
    version: T.Literal(EVENT_VERSION),
    type: T.Literal(type),
    timestamp: Timestamp,
    host: T.String({ description: "the gateway's name" }),
    data,
  });

const PeerConnected = envelope(
  "peer.connected",
  T.Object({
    device: DeviceName,
    peer: PeerPart,
    session: SessionPart,
    initial: T.Boolean({ description: "it was connected already when wgmon started" }),
  }),
);
const PeerRoamed = envelope(
  "peer.roamed",
  T.Object({
    device: DeviceName,
    peer: PeerPart,
    session: SessionPart,
    previousEndpoint: EndpointText,
  }),
);
const PeerDisconnected = envelope(
  "peer.disconnected",
  T.Object({
    device: DeviceName,
    peer: PeerPart,
    session: EndedSessionPart,
    reason: T.Union([T.Literal("idle"), T.Literal("peer-removed"), T.Literal("device-removed")]),
  }),
);
const DevicePart = T.Object({
  device: DeviceName,
  listenPort: T.Integer({ minimum: 0, maximum: 65535, description: "0: not listening yet" }),
});
const DeviceAdded = envelope("device.added", DevicePart);
const DeviceRemoved = envelope("device.removed", DevicePart);

/** The contract as JSON Schema. */
export const EventSchema = T.Union(
  [PeerConnected, PeerRoamed, PeerDisconnected, DeviceAdded, DeviceRemoved],
  { $id: `wgmon-event-v${EVENT_VERSION}`, title: "wgmon event" },
);

export type Event =
  | Static<typeof PeerConnected>
  | Static<typeof PeerRoamed>
  | Static<typeof PeerDisconnected>
  | Static<typeof DeviceAdded>
  | Static<typeof DeviceRemoved>;

/** What a change does not know of itself. */
export interface Stamp {
  /** `evt_` and 32 hexadecimal digits, unique. */
  readonly id: string;
  readonly host: string;
  /** The peer's name in the settings. */
  readonly name: string | null;
}

/** The event that tells of `change`. */
export function eventOf(change: Change, stamp: Stamp): Event {
  const { id, host } = stamp;
  const timestamp = isoTime(change.atMs);
  const head = { id, version: EVENT_VERSION, timestamp, host } as const;
  const { device } = change;
  switch (change.type) {
    case "peer.connected": {
      const { initial } = change;
      const peer = peerPart(change.peer, stamp.name);
      const data = { device, peer, session: sessionPart(change.session), initial };
      return { ...head, type: change.type, data };
    }
    case "peer.roamed": {
      const previousEndpoint = formatEndpoint(change.previousEndpoint);
      const peer = peerPart(change.peer, stamp.name);
      const data = { device, peer, session: sessionPart(change.session), previousEndpoint };
      return { ...head, type: change.type, data };
    }
    case "peer.disconnected": {
      const { endedAtMs, reason } = change;
      const durationMs = Math.max(0, Math.round(endedAtMs - change.session.startedAtMs));
      const session = {
        ...sessionPart(change.session),
        endedAt: isoTime(endedAtMs),
        durationMs,
      };
      const data = { device, peer: peerPart(change.peer, stamp.name), session, reason };
      return { ...head, type: change.type, data };
    }
    case "device.added":
    case "device.removed":
      return { ...head, type: change.type, data: { device, listenPort: change.listenPort } };
  }
}

/** `alice (wg0) connected from 198.51.100.7:51820`: one line for people, without a full stop. */
export function sentence(event: Event): string {
  switch (event.type) {
    case "peer.connected": {
      const { data } = event;
      const already = data.initial ? " already when wgmon started" : "";
      return `${who(data)} connected${from(data.peer.endpoint)}${already}`;
    }
    case "peer.roamed": {
      const { data } = event;
      return `${who(data)} roamed from ${data.previousEndpoint} to ${data.peer.endpoint ?? "nowhere"}`;
    }
    case "peer.disconnected": {
      const { data } = event;
      const why = {
        idle: "",
        "peer-removed": ", peer removed",
        "device-removed": ", device removed",
      };
      return `${who(data)} disconnected after ${duration(data.session.durationMs)}${why[data.reason]}`;
    }
    case "device.added": {
      const { device, listenPort } = event.data;
      return `${device} added${listenPort === 0 ? "" : `, listening on port ${listenPort}`}`;
    }
    case "device.removed":
      return `${event.data.device} removed`;
  }
}

function who(data: { device: string; peer: Static<typeof PeerPart> }): string {
  return `${data.peer.name ?? data.peer.publicKey} (${data.device})`;
}

function from(endpoint: string | null): string {
  return endpoint === null ? "" : ` from ${endpoint}`;
}

/** `45s`, `12m 5s`, `3h 20m`, `2d 4h`: the two largest units. */
function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const units: [string, number][] = [
    ["d", Math.floor(seconds / 86_400)],
    ["h", Math.floor(seconds / 3600) % 24],
    ["m", Math.floor(seconds / 60) % 60],
    ["s", seconds % 60],
  ];
  const first = units.findIndex(([, count]) => count > 0);
  if (first === -1) return "0s";
  return units
    .slice(first, first + 2)
    .filter(([, count]) => count > 0)
    .map(([unit, count]) => `${count}${unit}`)
    .join(" ");
}

function peerPart(peer: Peer, name: string | null): Static<typeof PeerPart> {
  return {
    publicKey: peer.publicKey,
    name,
    allowedIps: [...peer.allowedIps],
    endpoint: peer.endpoint === null ? null : formatEndpoint(peer.endpoint),
  };
}

function sessionPart(session: SessionSummary): Static<typeof SessionPart> {
  const { rxBytes, txBytes, roams } = session;
  return { startedAt: isoTime(session.startedAtMs), rxBytes, txBytes, roams };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
