/**
 * What a gateway and its hub say to each other: two messages, events and state, and one answer. Both transports, HTTPS
 * and NATS, carry the same JSON. docs/fleet.md describes the protocol. Fields may be added; a change that could mislead
 * the other side increases the version.
 *
 * An event is identified by (gateway, epoch, seq). The gateway's store numbers its events without holes. It has one epoch,
 * and begins a new one when the numbers would no longer be unique: with a new store, after a failure of the file, or when
 * the hub has events that the store does not have, because a copy of it was put back.
 */

import { type Static, Type as T } from "@sinclair/typebox";

export const FLEET_VERSION = 1;
/** Most events in one message. */
export const EVENTS_MAX = 500;
/** Longest message in bytes, both transports; NATS allows 1 MiB by default (max_payload). */
export const MESSAGE_BYTES_MAX = 1_000_000;
/** A gateway reports its state this often, and sooner if it changed. */
export const STATE_INTERVAL_MS = 15_000;

export const EPOCH = /^[0-9a-f]{8}$/;

const Epoch = T.String({ pattern: EPOCH.source });
/** The end of the year 9999; dates end there in RFC 3339. */
const MS_MAX = Date.UTC(10_000, 0) - 1;
const COUNT_MAX = Number.MAX_SAFE_INTEGER;
const Seq = T.Integer({ minimum: 1, maximum: COUNT_MAX });
const SeqOrNone = T.Integer({ minimum: 0, maximum: COUNT_MAX });
const Ms = T.Number({
  minimum: -MS_MAX,
  maximum: MS_MAX,
  description: "milliseconds since 1970, by the sender's clock",
});
const Bytes = T.Integer({ minimum: 0, maximum: COUNT_MAX });
const Key = T.String({ pattern: "^[A-Za-z0-9+/]{43}=$" });
const DeviceName = T.String({ minLength: 1, maxLength: 15, pattern: "^[^/\\s]+$" });

/** Consecutive events of one epoch. Where numbers are missing, the store no longer has the events. */
export const EventsMessage = T.Object({
  version: T.Literal(FLEET_VERSION),
  epoch: Epoch,
  first: T.Integer({
    minimum: 1,
    maximum: COUNT_MAX,
    description: "the first number of the epoch",
  }),
  after: T.Union([T.Object({ seq: Seq, id: T.String({ maxLength: 64 }) }), T.Null()], {
    description:
      "the event before these, by which the hub recognises a store that was put back; null: the store does not have it",
  }),
  events: T.Array(T.Object({ seq: Seq, event: T.Object({}, { additionalProperties: true }) }), {
    maxItems: EVENTS_MAX,
  }),
});
export type EventsMessage = Static<typeof EventsMessage>;

const PeerSession = T.Object({
  startedAtMs: Ms,
  lastActivityMs: Ms,
  rxBytes: Bytes,
  txBytes: Bytes,
  roams: T.Integer({ minimum: 0, maximum: COUNT_MAX }),
});

export const PeerReport = T.Object({
  device: DeviceName,
  publicKey: Key,
  name: T.Union([T.String({ maxLength: 255 }), T.Null()]),
  tags: T.Array(T.String({ maxLength: 255 }), { maxItems: 100 }),
  allowedIps: T.Array(T.String({ maxLength: 64 }), { maxItems: 10_000 }),
  endpoint: T.Union([T.String({ maxLength: 128 }), T.Null()]),
  lastHandshakeMs: T.Union([Ms, T.Null()]),
  rxBytes: Bytes,
  txBytes: Bytes,
  persistentKeepaliveSeconds: T.Integer({ minimum: 0, maximum: 65535 }),
  session: T.Union([PeerSession, T.Null()], { description: "null: not connected" }),
});
export type PeerReport = Static<typeof PeerReport>;

/** The state of the gateway: that it runs, and the peers that changed since the last message that was answered. */
export const StateMessage = T.Object({
  version: T.Literal(FLEET_VERSION),
  epoch: Epoch,
  first: Seq,
  last: T.Integer({
    minimum: 0,
    maximum: COUNT_MAX,
    description: "the last number that the store has used; first - 1: none",
  }),
  host: T.String({ minLength: 1, maxLength: 253 }),
  program: T.String({ maxLength: 64, description: "wgmon's version" }),
  startedAtMs: Ms,
  nowMs: Ms,
  order: T.Integer({
    minimum: 1,
    maximum: COUNT_MAX,
    description: "increases with each message since the start",
  }),
  isStopping: T.Boolean(),
  isComplete: T.Boolean({
    description:
      "the devices and peers are all that exist; false: peers has those that changed, and the others are as before",
  }),
  hasMore: T.Boolean({
    description: "a complete list continues in the next message, because it is longer than one",
  }),
  devices: T.Array(
    T.Object({
      name: DeviceName,
      listenPort: T.Integer({ minimum: 0, maximum: 65535 }),
      publicKey: T.Union([Key, T.Null()]),
      problem: T.Union([T.String({ maxLength: 500 }), T.Null()], {
        description: "why it could not be read at the last scan; null: it was read",
      }),
    }),
    { maxItems: 1000 },
  ),
  peers: T.Array(PeerReport),
  removed: T.Array(T.Object({ device: DeviceName, publicKey: Key })),
});
export type StateMessage = Static<typeof StateMessage>;

/** The hub's answer to both messages. */
export const HubAnswer = T.Object({
  version: T.Literal(FLEET_VERSION),
  nowMs: Ms,
  confirmed: T.Union([SeqOrNone, T.Null()], {
    description:
      "the hub has committed all events of the epoch up to this number; null: not known, because another epoch is current",
  }),
  replayAfter: T.Union([SeqOrNone, T.Null()], {
    description: "the hub asks for the events after this number again; null: it does not",
  }),
  wantsAllPeers: T.Boolean({ description: "the next state must be complete" }),
  problem: T.Union([
    T.Null(),
    T.Literal("diverged", {
      description: "the hub has other events with these numbers: begin a new epoch",
    }),
    T.Literal("duplicate-name", {
      description: "another gateway with this name reports to the hub: stop",
    }),
  ]),
});
export type HubAnswer = Static<typeof HubAnswer>;
