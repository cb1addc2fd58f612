/**
 * The schemas of the API's responses, as TypeBox, which is JSON Schema; more than 400 lines because they refer to each
 * other. The types follow from them.
 */

import { type Static, Type as T } from "@sinclair/typebox";

import { DigestSchema, type Event, EventSchema, NewerEventSchema } from "../events/event-schema.ts";
import { SLOT_MS } from "../store/ranges.ts";
import { gatewayConditions } from "./fleet-model.ts";

export const Timestamp = T.String({
  format: "date-time",
  description: "RFC 3339 with milliseconds, UTC",
});
const Bytes = T.Integer({ minimum: 0 });
const Count = T.Integer({ minimum: 0 });
const Milliseconds = T.Number({ minimum: 0 });
export const orNull = <Schema extends Parameters<typeof T.Optional>[0]>(
  schema: Schema,
  description: string,
) => T.Union([schema, T.Null()], { description });
/** The pattern of a text without control characters. */
export const ONE_LINE = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$";
/** The pattern of a device: `wg0`, on a hub `berlin/wg0`. */
export const DEVICE_PATTERN = "^([a-z0-9-]{1,63}/)?[^/]{1,15}$";
export const closed = { additionalProperties: false } as const;

/** The schema of a string that is one of the words. */
export function oneOf<const Words extends readonly string[]>(words: Words, description?: string) {
  // At run time this is the union itself; T.Union cannot infer this type from a mapped list.
  return T.Unsafe<Words[number]>(
    T.Union(
      words.map((word) => T.Literal(word)),
      description === undefined ? {} : { description },
    ),
  );
}

export const PublicKeyText = T.String({ description: "base64, 44 characters" });
export const DeviceName = T.String({
  description: "interface name, such as wg0; on a hub with the gateway: berlin/wg0",
});
/** A hub returns it; a gateway does not. */
export const Host = T.Optional(T.String({ description: "on a hub: the name of the gateway" }));
const EndpointText = T.String({ description: "address:port, an IPv6 address in brackets" });

export const StatusSchema = T.Object(
  {
    version: T.String(),
    host: T.String({ description: "the gateway's name" }),
    startedAt: Timestamp,
    devices: Count,
    peers: Count,
    connected: T.Integer({ minimum: 0, description: "peers that are connected" }),
    store: T.Object(
      {
        inMemory: T.Boolean({ description: "true: the store is lost at a restart" }),
        problem: orNull(T.String(), "the reason; null: not in memory"),
      },
      closed,
    ),
    wakeUp: orNull(
      T.Object(
        {
          monitor: oneOf(["nflog", "bpf", "poll"], "what wakes wgmon"),
          group: orNull(
            T.Integer({ minimum: 0, maximum: 65535 }),
            "nflog: the group; null: another monitor",
          ),
          interface: orNull(
            T.String(),
            "bpf: the capture interface, or any; null: another monitor",
          ),
          reason: orNull(T.String(), "why monitor auto chose it; null: the settings name it"),
          problem: orNull(
            T.String(),
            "why packets do not wake wgmon, and the fix; null: no problem is known",
          ),
        },
        closed,
      ),
      "null: this is a hub",
    ),
    alerts: T.Object(
      {
        firing: T.Integer({ minimum: 0, description: "alerts that fire and are not held back" }),
        heldBack: T.Integer({ minimum: 0, description: "alerts that fire and are held back" }),
        pending: Count,
        silences: T.Integer({ minimum: 0, description: "silences that have not ended" }),
      },
      closed,
    ),
    latestEvent: T.Integer({
      minimum: 0,
      description: "sequence number of the latest event; 0: no event yet",
    }),
    unknown: T.Optional(
      T.Integer({
        minimum: 0,
        description: "on a hub: peers of gateways that do not report, whose state is unknown",
      }),
    ),
    gateways: T.Optional(
      T.Object(
        { up: Count, lost: Count, stopped: Count, waiting: Count },
        { ...closed, description: "on a hub: the number of gateways in each condition" },
      ),
    ),
  },
  { $id: "Status", ...closed },
);

export const DeviceSchema = T.Object(
  {
    name: DeviceName,
    host: Host,
    publicKey: orNull(PublicKeyText, "null: the device has no private key yet"),
    listenPort: T.Integer({ minimum: 0, maximum: 65535, description: "0: not listening yet" }),
    peers: Count,
    connected: Count,
    unknown: T.Optional(
      T.Integer({
        minimum: 1,
        description:
          "on a hub: the peers whose state is unknown, because the gateway does not report",
      }),
    ),
  },
  { $id: "Device", ...closed },
);

export const GatewaySchema = T.Object(
  {
    name: T.String({ description: "the name by which the hub knows it" }),
    host: orNull(T.String(), "its --host; null: it has not reported yet"),
    version: orNull(T.String(), "its version of wgmon"),
    condition: oneOf(
      gatewayConditions,
      "lost: it did not report for a minute; stopped: it said that it stops; waiting: it has not reported since the hub started, or since it was enrolled",
    ),
    since: T.String({ format: "date-time", description: "when the condition began" }),
    lastSeenAt: orNull(Timestamp, "its last message; null: none yet"),
    startedAt: orNull(Timestamp, "when its wgmon started"),
    clockOffsetMs: orNull(T.Integer(), "its clock minus the hub's"),
    epoch: orNull(T.String(), "the current epoch of its store"),
    lastSeq: orNull(Count, "the last number that its store has used in this epoch"),
    confirmedSeq: orNull(Count, "the hub has all events of this epoch up to this number"),
    lag: orNull(Count, "events that the hub does not have yet; null: unknown"),
    devices: Count,
    peers: Count,
    connected: orNull(Count, "null: unknown, because it does not report"),
  },
  { $id: "Gateway", ...closed },
);

/** prometheus.io/docs/prometheus/latest/http_sd */
export const ScrapeTargetSchema = T.Object(
  {
    targets: T.Array(T.String(), { description: "the host, with the port of the request" }),
    labels: T.Record(T.String(), T.String()),
  },
  { $id: "ScrapeTarget", ...closed },
);

/** In the order of a list of peers that is sorted by state. */
export const stateNames = ["connected", "unknown", "disconnected", "never"] as const;
const StateSchema = oneOf(
  stateNames,
  "never: no handshake since the peer was added; unknown, on a hub: its gateway does not report",
);

/** An open session. */
const CurrentSessionSchema = T.Object(
  {
    startedAt: Timestamp,
    lastSeenAt: T.String({ format: "date-time", description: "the last activity" }),
    rxBytes: Bytes,
    txBytes: Bytes,
    rxBytesPerSecond: orNull(
      Bytes,
      "bytes per second received, between the last two scans; null: not known yet",
    ),
    txBytesPerSecond: orNull(
      Bytes,
      "bytes per second sent, between the last two scans; null: not known yet",
    ),
    roams: Count,
  },
  closed,
);

const peerProperties = {
  device: DeviceName,
  host: Host,
  publicKey: PublicKeyText,
  name: orNull(T.String(), "null: the peer has no name"),
  tags: T.Array(T.String(), { description: "from the settings" }),
  state: StateSchema,
  endpoint: orNull(
    EndpointText,
    "the outer address of the last packet received from the peer; null: none yet",
  ),
  endpointName: orNull(
    T.String(),
    "the name that reverse DNS has for the address of the endpoint, not verified; null: no name is known, or the setting resolve-endpoints is off",
  ),
  allowedIps: T.Array(T.String(), { description: "inner prefixes, CIDR" }),
  lastHandshakeAt: orNull(Timestamp, "null: no handshake yet"),
  rxBytes: T.Integer({ minimum: 0, description: "bytes received since the peer was added" }),
  txBytes: T.Integer({ minimum: 0, description: "bytes sent since the peer was added" }),
  persistentKeepaliveSeconds: T.Integer({ minimum: 0, description: "0: off" }),
  session: orNull(CurrentSessionSchema, "null: the peer is not connected, or its state is unknown"),
};

export const PeerSchema = T.Object(peerProperties, { $id: "Peer", ...closed });

export const SessionSchema = T.Object(
  {
    device: DeviceName,
    host: Host,
    publicKey: PublicKeyText,
    name: orNull(T.String(), "null: the peer has no name"),
    startedAt: Timestamp,
    endedAt: orNull(Timestamp, "the last activity; null: the session is open"),
    durationMs: T.Integer({ minimum: 0, description: "until now, if the session is open" }),
    reason: orNull(
      T.Union([
        T.Literal("idle"),
        T.Literal("peer-removed"),
        T.Literal("device-removed"),
        T.Literal("not-watched"),
      ]),
      "why it ended; null: the session is open",
    ),
    endpoint: orNull(EndpointText, "the last endpoint; null: unknown"),
    allowedIps: T.Array(T.String(), {
      description: "the peer's present inner prefixes, CIDR; empty: it was removed",
    }),
    rxBytes: Bytes,
    txBytes: Bytes,
    roams: Count,
  },
  { $id: "Session", ...closed },
);

const TrafficSchema = T.Object(
  {
    startAt: Timestamp,
    stepMs: T.Literal(SLOT_MS, { description: "duration of each step" }),
    rxBytes: T.Array(Bytes, {
      description: "bytes received in each step; the last step is not complete",
    }),
    txBytes: T.Array(Bytes, { description: "bytes sent in each step" }),
  },
  { $id: "Traffic", ...closed, description: "the last 24 hours" },
);

/** The traffic of one peer over a range. */
export const PeerTrafficSchema = T.Object(
  {
    startAt: Timestamp,
    stepMs: T.Integer({ minimum: 1, description: "duration of each step" }),
    rxBytes: T.Array(Bytes, {
      description:
        "bytes received in each step; the last step is not complete, and its last minute is not recorded yet",
    }),
    txBytes: T.Array(Bytes, { description: "bytes sent in each step" }),
  },
  { $id: "PeerTraffic", ...closed },
);

const perStep = (description: string) =>
  T.Array(T.Union([Bytes, T.Null()]), {
    description: `${description}; null: nothing is recorded, because wgmon did not run or the step has just begun`,
  });

/** The gateway over a range. */
export const GatewayTrafficSchema = T.Object(
  {
    startAt: Timestamp,
    stepMs: T.Integer({ minimum: 1, description: "duration of each step" }),
    rxBytes: perStep("bytes received from all peers in each step"),
    txBytes: perStep("bytes sent to all peers in each step"),
    connected: perStep("the most peers that were connected at once in each step"),
  },
  { $id: "GatewayTraffic", ...closed },
);

export const TopPeerSchema = T.Object(
  {
    device: DeviceName,
    host: Host,
    publicKey: PublicKeyText,
    name: orNull(T.String(), "null: the peer has no name"),
    rxBytes: Bytes,
    txBytes: Bytes,
  },
  { $id: "TopPeer", ...closed },
);

const UptimeSchema = orNull(
  T.Object(
    {
      fraction: T.Number({ minimum: 0, maximum: 1, description: "the connected part of the span" }),
      spanMs: T.Integer({
        minimum: 1,
        description: "shorter than the range if the store has no record of its beginning",
      }),
    },
    closed,
  ),
  "null: the store has no record of the range",
);

export const PeerDetailSchema = T.Object(
  {
    ...peerProperties,
    sessions: T.Array(SessionSchema, { description: "the latest, newest first" }),
    traffic: TrafficSchema,
    uptime: T.Object(
      { "24h": UptimeSchema, "7d": UptimeSchema, "30d": UptimeSchema },
      { ...closed, description: "how long the peer was connected, by range" },
    ),
  },
  { $id: "PeerDetail", ...closed },
);

export const StoredEventSchema = T.Object(
  {
    seq: T.Integer({ minimum: 1, description: "its sequence number" }),
    host: T.Optional(
      T.String({
        description:
          "on a hub: the name of the gateway that it is from, or that the hub reports it about",
      }),
    ),
    event: T.Unsafe<Event>(T.Union([EventSchema, NewerEventSchema])),
  },
  { $id: "PlacedEvent", ...closed },
);

export const TargetSchema = T.Object(
  {
    key: T.String({ description: "its name in the settings, or a hash of its address" }),
    label: T.String({ description: "a label for display" }),
    state: T.Union(
      [T.Literal("ok"), T.Literal("failing"), T.Literal("stopped"), T.Literal("gone")],
      {
        description:
          "failing: attempts failed, and an event waits or is a dead letter; stopped: the target responded that it no longer exists; gone: it is no longer in the settings",
      },
    ),
    waiting: T.Integer({ minimum: 0, description: "events that wait for delivery" }),
    oldestAt: orNull(Timestamp, "when the oldest waiting event was added; null: no event waits"),
    failures: T.Integer({ minimum: 0, description: "failed attempts since the last success" }),
    reason: orNull(
      T.String(),
      "why the latest attempt failed; null: it succeeded, or there was no attempt",
    ),
    nextAttemptAt: orNull(Timestamp, "when the next attempt is due; null: none is scheduled"),
    dead: T.Integer({
      minimum: 0,
      description: "dead letters: events that were refused or waited for too long",
    }),
    hub: orNull(
      T.Object(
        {
          epoch: T.String(),
          last: T.Integer({ minimum: 0, description: "the last number of the epoch in use" }),
          sent: T.Integer({ minimum: 0 }),
          confirmed: T.Integer({ minimum: 0 }),
          unconfirmedSince: orNull(
            Timestamp,
            "when the oldest event happened that the hub has not confirmed; null: it has confirmed all",
          ),
          clockOffsetMs: orNull(
            T.Integer(),
            "the gateway's clock minus the hub's; null: the hub has not answered yet",
          ),
        },
        closed,
      ),
      "sequence numbers of the events that the hub has; null: the target is not the hub",
    ),
  },
  { $id: "Target", ...closed },
);

export const OutboxMessageSchema = T.Object(
  {
    seq: T.Integer({ minimum: 1 }),
    state: T.Union([T.Literal("waiting"), T.Literal("dead-letter")]),
    at: T.String({
      format: "date-time",
      description: "when it was added, or became a dead letter",
    }),
    reason: orNull(T.String(), "why it became a dead letter"),
    event: EventSchema,
  },
  { $id: "Letter", ...closed },
);

export const ScanSchema = T.Object(
  {
    tookMs: Milliseconds,
    problems: T.Array(T.String(), { description: "what could not be read" }),
  },
  { $id: "Scan", ...closed },
);

export const PastPeerSchema = T.Object(
  {
    publicKey: PublicKeyText,
    name: orNull(T.String(), "the name in its latest event; null: it had none"),
  },
  { $id: "PastPeer", ...closed },
);

/** Names in the OpenAPI document for the schemas of events/event-schema.ts; the other schemas have an `$id`. */
export const schemaNames: ReadonlyMap<unknown, string> = new Map<unknown, string>([
  [EventSchema, "Event"],
  [DigestSchema, "Digest"],
]);

export type StatusView = Static<typeof StatusSchema>;
export type DeviceView = Static<typeof DeviceSchema>;
export type GatewayView = Static<typeof GatewaySchema>;
export type ScrapeTargetView = Static<typeof ScrapeTargetSchema>;
export type PeerView = Static<typeof PeerSchema>;
export type PeerDetailView = Static<typeof PeerDetailSchema>;
export type StoredEventView = Static<typeof StoredEventSchema>;
export type PastPeerView = Static<typeof PastPeerSchema>;
export type SessionView = Static<typeof SessionSchema>;
export type TargetView = Static<typeof TargetSchema>;
