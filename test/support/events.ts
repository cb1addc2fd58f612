/** Events for tests: one of each type as in docs/events.md, and events with hostile names. */

import fc from "fast-check";

import type { Peer } from "../../src/base/wireguard.ts";
import type { Message } from "../../src/delivery/target.ts";
import type { AlertEvent, Event, FleetEvent, Severity } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { makeFleetSamples } from "../../src/events/samples.ts";
import { type Change } from "../../src/sessions/change.ts";
import { ALICE, mustEndpoint, peer } from "./peers.ts";

const AT_MS = Date.UTC(2026, 10, 22, 16, 19, 4, 417);
const session = { startedAtMs: AT_MS, rxBytes: 212, txBytes: 92, roams: 0 };

export interface EventFields {
  readonly device?: string;
  readonly host?: string;
  /** null: the peer has no name. */
  readonly name?: string | null;
  readonly peer?: Peer;
  readonly initial?: boolean;
  readonly alert?: AlertFields;
}

/** What events about alerts have in addition. */
export interface AlertFields {
  readonly rule?: string;
  readonly severity?: Severity;
  /** Of the notice; by default that of its only alert. */
  readonly sentence?: string;
  /** Several alerts: names of their peers. */
  readonly names?: readonly string[];
}

/** The types of events about gateways, which only a hub reports. */
export const fleetTypes = [
  "gateway.lost",
  "gateway.back",
  "gateway.stopped",
  "fleet.partition",
  "fleet.gap",
  "fleet.duplicate-name",
] as const;

/** The types that a gateway reports. */
export const eventTypes = [
  "peer.connected",
  "peer.roamed",
  "peer.disconnected",
  "device.added",
  "device.removed",
  "handshake.unknown",
  "alert.firing",
  "alert.resolved",
] as const;

/** An event about gateways. */
export function aFleetEvent(type: FleetEvent["type"], host = "hub1"): FleetEvent {
  const id = `evt_${"abcdef"[fleetTypes.indexOf(type)]!.repeat(32)}`;
  const sample = makeFleetSamples(AT_MS, host).find((each) => each.type === type)!;
  return { ...sample, id };
}

export function anEvent(type: (typeof eventTypes)[number], fields: EventFields = {}): Event {
  const { device = "wg0", host = "gw1", name = "alice", initial = false } = fields;
  const eventPeer = fields.peer ?? peer({ publicKey: ALICE, endpoint: "198.51.100.7:40001" });
  const id = `evt_${String(eventTypes.indexOf(type)).repeat(32)}`;
  if (type === "alert.firing" || type === "alert.resolved") {
    const { publicKey } = eventPeer;
    const parts = { device, name, publicKey, ...fields.alert };
    const head = { id, version: 1, timestamp: new Date(AT_MS).toISOString(), host } as const;
    const data = alertData(type, parts);
    return type === "alert.resolved"
      ? { ...head, type, data }
      : { ...head, type, data: { ...data, cause: null, reminder: false } };
  }
  return eventOf(changeOf(type, { device, peer: eventPeer, initial }), { id, host, name });
}

interface AlertParts extends AlertFields {
  readonly device: string;
  readonly name: string | null;
  readonly publicKey: string;
}

function alertData(type: AlertEvent["type"], parts: AlertParts): AlertEvent["data"] {
  const { device, publicKey, rule = "offices", severity = "critical" } = parts;
  const names = parts.names ?? [parts.name];
  const since = new Date(AT_MS - 300_000).toISOString();
  const alerts = names.map((name, index) => {
    const who = `${name ?? publicKey} (${device})`;
    const sentence =
      type === "alert.firing"
        ? `${who} is down: no data for 5m; check the peer and its network`
        : `${who} is back after 5m`;
    const peer = { publicKey, name, tags: [] };
    return { id: `alert-${index + 1}`, device, peer, target: null, since, sentence };
  });
  const several = `${alerts.length} alerts of rule ${rule}: ${alerts.map((alert) => alert.sentence).join("; ")}`;
  return {
    rule,
    kind: "down",
    severity,
    device,
    peer: alerts.length === 1 ? alerts[0]!.peer : null,
    since,
    sentence: parts.sentence ?? (alerts.length === 1 ? alerts[0]!.sentence : several),
    count: alerts.length,
    alerts,
  };
}

function changeOf(
  type: Exclude<Event["type"], (AlertEvent | FleetEvent)["type"]>,
  { device, peer: eventPeer, initial }: { device: string; peer: Peer; initial: boolean },
): Change {
  const head = { atMs: AT_MS, device, peer: eventPeer, session };
  switch (type) {
    case "peer.connected":
      return { ...head, type, initial };
    case "peer.roamed":
      return { ...head, type, previousEndpoint: mustEndpoint("192.0.2.1:51820") };
    case "peer.disconnected":
      return { ...head, type, endedAtMs: AT_MS + 4395, durationMs: 4395, reason: "idle" };
    case "handshake.unknown":
      return {
        type,
        atMs: AT_MS,
        device,
        listenPort: 51820,
        network: "198.51.100.0/24",
        networks: 1,
        sources: ["198.51.100.7:40001"],
        packets: 3,
        messages: { initiation: 3, response: 0, data: 0 },
        mac1: "valid",
        peers: [],
        firstAtMs: AT_MS - 60_000,
        lastAtMs: AT_MS - 49_600,
      };
    case "device.added":
    case "device.removed":
      return { type, atMs: AT_MS, device, listenPort: 51820 };
  }
}

/** A message as the outbox creates it: several events get an id of their own. */
export function messageOf(first: Event, ...rest: Event[]): Message {
  const id = rest.length === 0 ? first.id : `msg_${"a".repeat(32)}`;
  return { id, events: [first, ...rest] };
}

const mentions = [
  "@everyone",
  "@here",
  "@all",
  "@alice",
  "<@1>",
  "<@&1>",
  "<!channel>",
  "<users/all>",
];
const controls = [
  "\n",
  "\r\n",
  "\u2028",
  "\u2029",
  "\u0085",
  "\t",
  "\0",
  "\x1b[31m",
  "\u202e",
  "\u2066",
];
const markup = [
  "*",
  "**",
  "_",
  "__",
  "~~",
  "`",
  "```",
  "||",
  "# ",
  "> ",
  "- ",
  "1. ",
  "[a](https://b.example)",
];
const syntax = ["\\", '"', "'", "&", "&amp;", "<", ">", "{{text}}", "${x}", "%0a", "+", "="];
const invisible = ["\u200b", "\u200d", "\ufe0f", "\ufeff", "\u{e0020}", "\u3164"];
const letters = ["a", "é", "漢", "😀", "e\u0301", "\u0301", "👩‍👩‍👧", "🇩🇪", "&", "*", '"'];

/** Names that contain mentions, markup, control characters and escapes; up to 6,000 characters. */
export const hostileText: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 20 }),
      fc.string({ unit: "grapheme", maxLength: 20 }),
      // Includes unpaired surrogates.
      fc
        .array(fc.integer({ min: 0xd700, max: 0xe0ff }), { maxLength: 5 })
        .map((units) => String.fromCharCode(...units)),
      fc.constantFrom(...mentions, ...controls, ...markup, ...syntax, ...invisible, ...letters),
      fc
        .tuple(fc.constantFrom(...letters), fc.nat(6000))
        .map(([text, length]) => text.repeat(Math.ceil(length / text.length))),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join("").slice(0, 6000));

export const hostileEvent: fc.Arbitrary<Event> = fc
  .record({
    type: fc.constantFrom(...eventTypes),
    name: fc.option(hostileText, { nil: null }),
    device: fc.oneof(fc.constant("wg0"), hostileText),
    host: fc.oneof(fc.constant("gw1"), hostileText),
    endpoint: fc.constantFrom("198.51.100.7:40001", "[2001:db8::7]:40002", null),
    initial: fc.boolean(),
    alert: fc.record({
      rule: fc.oneof(fc.constant("offices"), hostileText),
      severity: fc.constant("critical" as const),
    }),
  })
  .map(({ type, endpoint, ...fields }) => anEvent(type, { ...fields, peer: peer({ endpoint }) }));

export const hostileMessage: fc.Arbitrary<Message> = fc
  .oneof(
    fc.array(hostileEvent, { minLength: 1, maxLength: 3 }),
    fc
      .tuple(hostileEvent, fc.integer({ min: 1, max: 300 }))
      .map(([event, count]) => Array.from({ length: count }, () => event)),
  )
  .map((events) => messageOf(...(events as [Event, ...Event[]])));
