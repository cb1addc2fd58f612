/**
 * The public contract for events, as a TypeBox schema, which is JSON Schema. Fields may be added; a change that could
 * mislead a receiver increases the version.
 */

import { type Static, Type as T } from "@sinclair/typebox";

import { ALERTS_MAX, type EventType, GATEWAYS_MAX } from "../base/event-types.ts";

export const EVENT_VERSION = 1;

const Timestamp = T.String({
  format: "date-time",
  description: "RFC 3339 with milliseconds, UTC",
});
/** Larger numbers are not exact in JSON. */
const COUNT_MAX = Number.MAX_SAFE_INTEGER;
const Bytes = T.Integer({ minimum: 0, maximum: COUNT_MAX });
const Count = T.Integer({ minimum: 0, maximum: COUNT_MAX });
const EndpointText = T.String({ description: "address:port, an IPv6 address in brackets" });

const PeerSchema = T.Object({
  publicKey: T.String({
    description: "base64, 44 characters; with the device, the peer's identity",
  }),
  name: T.Union([T.String(), T.Null()], {
    description: "from the settings, or from a comment in wg-quick's file; null: none given",
  }),
  tags: T.Array(T.String(), { description: "from the settings" }),
  allowedIps: T.Array(T.String(), { description: "inner prefixes, CIDR" }),
  endpoint: T.Union([EndpointText, T.Null()], {
    description: "the outer address of the last packet received from the peer",
  }),
});
const SessionSchema = T.Object({
  startedAt: Timestamp,
  rxBytes: Bytes,
  txBytes: Bytes,
  roams: Count,
});
const EndedSessionSchema = T.Object({
  ...SessionSchema.properties,
  endedAt: T.String({ format: "date-time", description: "the last activity" }),
  durationMs: Count,
});

const DeviceName = T.String({ description: "interface name, such as wg0" });
const envelope = <Type extends EventType, Data extends ReturnType<typeof T.Object>>(
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
    peer: PeerSchema,
    session: SessionSchema,
    initial: T.Boolean({ description: "the peer was already connected when wgmon started" }),
  }),
);
const PeerRoamed = envelope(
  "peer.roamed",
  T.Object({
    device: DeviceName,
    peer: PeerSchema,
    session: SessionSchema,
    previousEndpoint: EndpointText,
  }),
);
const PeerDisconnected = envelope(
  "peer.disconnected",
  T.Object({
    device: DeviceName,
    peer: PeerSchema,
    session: EndedSessionSchema,
    reason: T.Union([T.Literal("idle"), T.Literal("peer-removed"), T.Literal("device-removed")]),
  }),
);
const DeviceSchema = T.Object({
  device: DeviceName,
  listenPort: T.Integer({ minimum: 0, maximum: 65535, description: "0: not listening yet" }),
});
const DeviceAdded = envelope("device.added", DeviceSchema);
const DeviceRemoved = envelope("device.removed", DeviceSchema);
const AlertPeer = T.Union([T.Pick(PeerSchema, ["publicKey", "name", "tags"]), T.Null()]);
const AlertSchema = T.Object({
  id: T.String({
    description: "`alert-1`, `alert-2` and so on; the same when it fires and when it is resolved",
  }),
  device: T.Union([DeviceName, T.Null()], { description: "null: it is about a target" }),
  peer: AlertPeer,
  target: T.Union([T.String(), T.Null()], {
    description: "name of the target that fails, or its key if it has no name",
  }),
  since: Timestamp,
  sentence: T.String(),
});
const alertData = {
  rule: T.String({ description: "name of the rule in the settings" }),
  kind: T.String({ description: "kind of the rule, such as `down` or `traffic`" }),
  severity: T.Union([T.Literal("info"), T.Literal("warning"), T.Literal("critical")]),
  device: T.Union([DeviceName, T.Null()], {
    description: "null: the alerts are about several devices, or about a target",
  }),
  peer: T.Union(AlertPeer.anyOf, {
    description: "null: there are several alerts, or the alert is not about a peer",
  }),
  since: T.String({
    format: "date-time",
    description: "when the condition of the earliest alert began",
  }),
  sentence: T.String({
    description: "one sentence for people, without a full stop; it contains names that users chose",
  }),
  count: T.Integer({ minimum: 1, description: "number of alerts" }),
  alerts: T.Array(AlertSchema, {
    minItems: 1,
    maxItems: ALERTS_MAX,
    description: `the alerts; of more than ${ALERTS_MAX}, the first ${ALERTS_MAX}`,
  }),
};
const AlertFiring = envelope(
  "alert.firing",
  T.Object({
    ...alertData,
    cause: T.Union([T.Literal("device-down"), T.Literal("all-peers"), T.Null()], {
      description:
        "why several alerts are one event: the device does not exist, or all its peers are silent",
    }),
    reminder: T.Boolean({ description: "the alerts were sent before, and still fire" }),
  }),
);
const AlertResolved = envelope("alert.resolved", T.Object(alertData));
const HandshakeUnknown = envelope(
  "handshake.unknown",
  T.Object({
    device: DeviceName,
    listenPort: T.Integer({ minimum: 1, maximum: 65535 }),
    network: T.Union([T.String(), T.Null()], {
      description: "the source network, CIDR: IPv4 /24, IPv6 /48; null: from several networks",
    }),
    networks: T.Integer({ minimum: 1, description: "number of networks that this event covers" }),
    sources: T.Array(EndpointText, { maxItems: 5, description: "some of the senders" }),
    packets: Count,
    messages: T.Object({ initiation: Count, response: Count, data: Count }),
    mac1: T.Union(
      [T.Literal("valid"), T.Literal("invalid"), T.Literal("mixed"), T.Literal("not-checked")],
      { description: "whether the senders know the device's public key" },
    ),
    peers: T.Array(T.Pick(PeerSchema, ["publicKey", "name"]), {
      maxItems: 5,
      description:
        "peers of the device that are among the senders; they have the right private key",
    }),
    firstAt: Timestamp,
    lastAt: Timestamp,
  }),
);

const GatewayName = T.String({ description: "name of the gateway on the hub" });
const GatewayLost = envelope(
  "gateway.lost",
  T.Object({
    gateway: GatewayName,
    seenAt: T.Union([Timestamp, T.Null()], {
      description: "the last message, by the hub's clock; null: none since the hub started",
    }),
    peers: Count,
    connected: T.Integer({ minimum: 0, description: "peers that were connected at that time" }),
  }),
);
const GatewayBack = envelope(
  "gateway.back",
  T.Object({
    gateway: GatewayName,
    unobservedMs: T.Integer({
      minimum: 0,
      description: "for this long, the hub did not hear from the gateway",
    }),
  }),
);
const GatewayStopped = envelope("gateway.stopped", T.Object({ gateway: GatewayName }));
const FleetPartition = envelope(
  "fleet.partition",
  T.Object({
    gateways: T.Array(T.String(), {
      minItems: 1,
      maxItems: GATEWAYS_MAX,
      description: `names of the gateways; of more than ${GATEWAYS_MAX}, the first ${GATEWAYS_MAX}`,
    }),
    count: T.Integer({ minimum: 1, description: "number of gateways that are lost" }),
    known: T.Integer({ minimum: 1, description: "number of gateways that reported before" }),
  }),
);
const FleetGap = envelope(
  "fleet.gap",
  T.Object({
    gateway: GatewayName,
    epoch: T.String({ description: "the epoch of the gateway's store" }),
    firstSeq: T.Integer({ minimum: 1 }),
    lastSeq: T.Integer({ minimum: 1 }),
    count: T.Integer({ minimum: 1, description: "number of events that the gateway lost" }),
  }),
);
const FleetDuplicateName = envelope("fleet.duplicate-name", T.Object({ gateway: GatewayName }));

/** The contract as JSON Schema. */
export const EventSchema = T.Union(
  [
    PeerConnected,
    PeerRoamed,
    PeerDisconnected,
    HandshakeUnknown,
    DeviceAdded,
    DeviceRemoved,
    AlertFiring,
    AlertResolved,
    GatewayLost,
    GatewayBack,
    GatewayStopped,
    FleetPartition,
    FleetGap,
    FleetDuplicateName,
  ],
  { $id: `wgmon-event-v${EVENT_VERSION}`, title: "wgmon event" },
);

/**
 * An event of a type that this version does not know, which a hub stores and shows for a newer gateway. Its device and
 * peer, if it has them, are of the usual form.
 */
export const NewerEventSchema = T.Object(
  {
    id: PeerConnected.properties.id,
    version: PeerConnected.properties.version,
    type: T.String({
      pattern: "^[a-z][a-z-]{0,30}\\.[a-z][a-z-]{0,30}$",
      description: "a type of a newer version of wgmon",
    }),
    timestamp: Timestamp,
    host: PeerConnected.properties.host,
    data: T.Object({ device: T.Optional(T.Union([DeviceName, T.Null()])) }),
  },
  { description: "on a hub: an event that a newer version of wgmon sent" },
);

/** Several events in one message, in the order they happened. Used if the target's settings enable digests. */
export const DigestSchema = T.Object(
  {
    id: T.String({ pattern: "^msg_[0-9a-f]{32}$", description: "the same in every attempt" }),
    version: T.Literal(EVENT_VERSION),
    type: T.Literal("digest"),
    timestamp: T.String({ format: "date-time", description: "that of the last event" }),
    host: T.String({ description: "the gateway's name" }),
    data: T.Object({ events: T.Array(EventSchema, { minItems: 2 }) }),
  },
  { $id: `wgmon-digest-v${EVENT_VERSION}`, title: "wgmon digest" },
);

/** An event as it is stored and sent. */
export type Event =
  | Static<typeof PeerConnected>
  | Static<typeof PeerRoamed>
  | Static<typeof PeerDisconnected>
  | Static<typeof HandshakeUnknown>
  | Static<typeof DeviceAdded>
  | Static<typeof DeviceRemoved>
  | AlertEvent
  | FleetEvent;

/** An event of a hub about its gateways. It has no device. */
export type FleetEvent =
  | Static<typeof GatewayLost>
  | Static<typeof GatewayBack>
  | Static<typeof GatewayStopped>
  | Static<typeof FleetPartition>
  | Static<typeof FleetGap>
  | Static<typeof FleetDuplicateName>;

export type AlertEvent = Static<typeof AlertFiring> | Static<typeof AlertResolved>;
export type Severity = AlertEvent["data"]["severity"];

export type Digest = Static<typeof DigestSchema>;

export type PeerPart = Static<typeof PeerSchema>;
export type SessionPart = Static<typeof SessionSchema>;
