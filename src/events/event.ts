/**
 * Turns changes into events and text: `Change` has the program's own values, `Event` is the public form, and
 * `describeEvent` renders an event for people. Pure.
 */

import { isKnownType } from "../base/event-types.ts";
import { counted } from "../base/text.ts";
import { formatEndpoint, type Peer } from "../base/wireguard.ts";
import type { Change, SessionSummary } from "../sessions/change.ts";
import type {
  AlertEvent,
  Event,
  EVENT_VERSION,
  FleetEvent,
  PeerPart,
  SessionPart,
} from "./event-schema.ts";

/** Fields of an event that its change does not contain. */
export interface EventMetadata {
  /** `evt_` and 32 hexadecimal digits; unique. */
  readonly id: string;
  readonly host: string;
  /** The peer's name; null if it has no name. */
  readonly name: string | null;
  /** The peer's tags from the settings; absent if it has none. */
  readonly tags?: readonly string[];
}

/** The gateways that a sentence names. */
const NAMED_GATEWAYS = 3;

/** Declared with the contract's type instead of importing its value: loading the contract costs start-up time. */
const version: typeof EVENT_VERSION = 1;

/** Returns the event for `change`. */
export function eventOf(change: Change, metadata: EventMetadata): Event {
  const { id, host } = metadata;
  const timestamp = isoTime(change.atMs);
  const head = { id, version, timestamp, host };
  const { device } = change;
  switch (change.type) {
    case "peer.connected": {
      const { initial } = change;
      const peer = peerPart(change.peer, metadata);
      const data = { device, peer, session: sessionPart(change.session), initial };
      return { ...head, type: change.type, data };
    }
    case "peer.roamed": {
      const previousEndpoint = formatEndpoint(change.previousEndpoint);
      const peer = peerPart(change.peer, metadata);
      const data = { device, peer, session: sessionPart(change.session), previousEndpoint };
      return { ...head, type: change.type, data };
    }
    case "peer.disconnected": {
      const { endedAtMs, reason } = change;
      const session = {
        ...sessionPart(change.session),
        endedAt: isoTime(endedAtMs),
        durationMs: Math.round(change.durationMs),
      };
      const data = { device, peer: peerPart(change.peer, metadata), session, reason };
      return { ...head, type: change.type, data };
    }
    case "handshake.unknown": {
      const { type, atMs: _, firstAtMs, lastAtMs, ...rest } = change;
      const data = {
        ...rest,
        sources: [...rest.sources],
        peers: rest.peers.map((peer) => ({ ...peer })),
        firstAt: isoTime(firstAtMs),
        lastAt: isoTime(lastAtMs),
      };
      return { ...head, type, data };
    }
    case "device.added":
    case "device.removed":
      return { ...head, type: change.type, data: { device, listenPort: change.listenPort } };
  }
}

/** How `describeEvent` writes what users choose. Absent: unchanged. */
interface Writers {
  /** Formats the names of peers, devices and rules. */
  readonly name?: Format;
  /** Formats the public key of a peer without a name. */
  readonly key?: Format;
  /** Formats the sentence of an alert, which contains names. */
  readonly sentence?: Format;
}

/** Renders one line for people, without a full stop: `alice (wg0) connected from 198.51.100.7:51820`. */
export function describeEvent(event: Event, writers: Writers = {}): string {
  const { name: write = identity, key: writeKey = identity } = writers;
  if (!isKnownType(event.type)) return describeNewer(event, write);
  const subject = ({ device, peer }: { device: string; peer: PeerPart }) =>
    `${nameOrKey(peer, write, writeKey)} (${write(device)})`;
  switch (event.type) {
    case "peer.connected": {
      const { data } = event;
      const already = data.initial ? " already when wgmon started" : "";
      return `${subject(data)} connected${fromEndpoint(data.peer.endpoint)}${already}`;
    }
    case "peer.roamed": {
      const { data } = event;
      return `${subject(data)} roamed from ${data.previousEndpoint} to ${data.peer.endpoint ?? "an unknown endpoint"}`;
    }
    case "peer.disconnected": {
      const { data } = event;
      const cause = {
        idle: "",
        "peer-removed": ", peer removed",
        "device-removed": ", device removed",
      };
      return `${subject(data)} disconnected after ${duration(data.session.durationMs)}${cause[data.reason]}`;
    }
    case "handshake.unknown":
      return describeUnknown(event.data, write, writeKey);
    case "device.added": {
      const { device, listenPort } = event.data;
      return `${write(device)} added${listenPort === 0 ? "" : `, listening on port ${listenPort}`}`;
    }
    case "device.removed":
      return `${write(event.data.device)} removed`;
    case "alert.firing":
    case "alert.resolved": {
      const { rule, sentence } = event.data;
      const { sentence: writeSentence = identity } = writers;
      // The sentence of several alerts contains the rule's name.
      const ofRule = sentence.includes(`rule ${rule}`) ? "" : ` (rule ${write(rule)})`;
      const reminder = event.type === "alert.firing" && event.data.reminder ? " (reminder)" : "";
      return `${signalOf(event)}${reminder}: ${writeSentence(sentence)}${ofRule}`;
    }
    case "gateway.lost":
    case "gateway.back":
    case "gateway.stopped":
    case "fleet.partition":
    case "fleet.gap":
    case "fleet.duplicate-name":
      return describeFleetEvent(event, write);
  }
}

/** The event's device; null: it is not about one device. */
export function deviceOf({ data }: Event): string | null {
  return "device" in data ? data.device : null;
}

/** Whether the event is about the gateways of a hub. */
export function isFleetEvent(event: Event): event is FleetEvent {
  return event.type.startsWith("gateway.") || event.type.startsWith("fleet.");
}

/** Whether the event is about alerts. */
export function isAlert(event: Event): event is AlertEvent {
  return event.type === "alert.firing" || event.type === "alert.resolved";
}

/** What an alert's event signals, by which its colour, sign and priority are chosen. */
export type Signal = AlertEvent["data"]["severity"] | "resolved";

export function signalOf({ type, data }: AlertEvent): Signal {
  return type === "alert.resolved" ? "resolved" : data.severity;
}

/** The level of the event's log line. */
export function logLevel(event: Event): "info" | "warn" {
  if (event.type === "alert.firing") return event.data.severity === "info" ? "info" : "warn";
  const isGood = event.type === "gateway.back" || event.type === "gateway.stopped";
  return isFleetEvent(event) && !isGood ? "warn" : "info";
}

/** Returns the fields of an event for its log line, flat, for machines. */
export function logFields(event: Event): Record<string, unknown> {
  const { id, data } = event;
  if (!isKnownType(event.type)) return { event: (event as Event).type, id };
  if ("alerts" in data) {
    // The sentence is the text of the line.
    const { sentence: _, peer, alerts, ...rest } = data;
    const ids = alerts.map((alert) => alert.id);
    return { event: event.type, id, ...rest, ...(peer === null ? {} : named(peer)), alerts: ids };
  }
  if (!("peer" in data)) return { event: event.type, id, ...data };
  const { peer, session, device, ...rest } = data;
  const peerFields = { ...named(peer), endpoint: peer.endpoint };
  return { event: event.type, id, device, ...peerFields, ...rest, ...session };
}

function named({ publicKey, name, tags }: Pick<PeerPart, "publicKey" | "name" | "tags">) {
  return { publicKey, name, ...(tags.length === 0 ? {} : { tags }) };
}

type Format = (text: string) => string;

function nameOrKey(
  { name, publicKey }: Pick<PeerPart, "name" | "publicKey">,
  write: Format,
  writeKey: Format,
): string {
  const written = name === null ? "" : write(name);
  return written === "" ? writeKey(publicKey) : written;
}

/** Describes how much the senders know, which distinguishes a misconfigured peer from a scanner. */
function describeUnknown(
  data: Extract<Event, { type: "handshake.unknown" }>["data"],
  write: Format,
  writeKey: Format,
): string {
  const { packets, network, networks, mac1, peers } = data;
  const device = write(data.device);
  const where = network ?? `${networks} more networks`;
  const what = `${device}: ${counted(packets, "handshake")} from ${where} that no peer completed`;
  if (peers.length > 0) {
    const names = peers.map((peer) => nameOrKey(peer, write, writeKey)).join(", ");
    return `${what}; ${names} tried (wrong preshared key, or no return path?)`;
  }
  const why = {
    valid: `; they know ${device}'s public key (wrong preshared key, or a peer that was removed?)`,
    invalid: `; they do not know ${device}'s public key (a scanner, or an old configuration?)`,
    mixed: `; some of them know ${device}'s public key`,
    "not-checked": "",
  };
  return `${what}${why[mac1]}`;
}

/** An event of a gateway that is newer than this hub. */
function describeNewer(event: Event, write: Format): string {
  const device = deviceOf(event);
  const where = device === null ? "" : ` (${write(device)})`;
  return `${event.type}${where}: an event of a newer version of wgmon`;
}

function describeFleetEvent(event: FleetEvent, write: Format): string {
  switch (event.type) {
    case "gateway.lost": {
      const { gateway, peers } = event.data;
      const unknown = peers === 0 ? "" : `; the state of its ${counted(peers, "peer")} is unknown`;
      return `gateway ${write(gateway)} does not report any more${unknown}`;
    }
    case "gateway.back": {
      const { gateway, unobservedMs } = event.data;
      return `gateway ${write(gateway)} reports again after ${duration(unobservedMs)}`;
    }
    case "gateway.stopped":
      return `wgmon on gateway ${write(event.data.gateway)} was stopped`;
    case "fleet.partition": {
      const { gateways, count, known } = event.data;
      const named = gateways.slice(0, NAMED_GATEWAYS).map(write);
      const more = count > named.length ? ` and ${count - named.length} more` : "";
      return `${count} of ${counted(known, "gateway")} do not report any more: ${named.join(", ")}${more}; the hub's network may have failed`;
    }
    case "fleet.gap": {
      const { gateway, count, firstSeq, lastSeq } = event.data;
      const numbers = firstSeq === lastSeq ? `number ${firstSeq}` : `${firstSeq} to ${lastSeq}`;
      return `gateway ${write(gateway)} does not have ${counted(count, "event")} any more (${numbers}), so the hub cannot get ${count === 1 ? "it" : "them"}`;
    }
    case "fleet.duplicate-name":
      return `two gateways report as ${write(event.data.gateway)}; give one of them another --host, and enroll it`;
  }
}

function identity(text: string): string {
  return text;
}

function fromEndpoint(endpoint: string | null): string {
  return endpoint === null ? "" : ` from ${endpoint}`;
}

/** Formats with the two largest units: `45s`, `12m 5s`, `3h 20m`, `2d 4h`. */
export function duration(ms: number): string {
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

function peerPart(peer: Peer, { name, tags = [] }: EventMetadata): PeerPart {
  return {
    publicKey: peer.publicKey,
    name,
    tags: [...tags],
    allowedIps: [...peer.allowedIps],
    endpoint: peer.endpoint === null ? null : formatEndpoint(peer.endpoint),
  };
}

function sessionPart(session: SessionSummary): SessionPart {
  const { rxBytes, txBytes, roams } = session;
  return { startedAt: isoTime(session.startedAtMs), rxBytes, txBytes, roams };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
