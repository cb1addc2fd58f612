/** Selects the events that a target wants. Pure. */

import { EVENT_TYPES } from "../base/event-types.ts";
import type { Event, PeerPart } from "./event-schema.ts";
import { deviceOf } from "./event.ts";

/** Filters. An event must match each list; an empty list matches everything. */
export interface EventFilter {
  readonly events: readonly EventPattern[];
  readonly devices: readonly string[];
  /** Public keys, and names as written in the settings. */
  readonly peers: readonly string[];
}

/** Event types; `peer.*`, `device.*` and so on stand for all types with that prefix. */
export type EventPattern =
  Event["type"] | "peer.*" | "device.*" | "alert.*" | "gateway.*" | "fleet.*";

/** An event type without a schema is a compile error here. */
export const EVENT_PATTERNS: readonly EventPattern[] = [
  ...EVENT_TYPES,
  "peer.*",
  "device.*",
  "alert.*",
  "gateway.*",
  "fleet.*",
];

export function matchesFilter(event: Event, { events, devices, peers }: EventFilter): boolean {
  if (!isTypeSelected(event.type, events)) return false;
  if (devices.length > 0 && !devicesOf(event).some((device) => devices.includes(device))) {
    return false;
  }
  // A filter by peer excludes events without a peer, such as those of devices.
  return (
    peers.length === 0 ||
    peersOf(event).some(
      ({ name, publicKey }) => peers.includes(publicKey) || (name !== null && peers.includes(name)),
    )
  );
}

/** An event about alerts has the devices and the peers of all its alerts. */
function devicesOf(event: Event): readonly string[] {
  const { data } = event;
  const ofAlerts = "alerts" in data ? data.alerts.map(({ device }) => device) : [];
  const devices = [deviceOf(event), ...ofAlerts];
  return devices.filter((device) => device !== null);
}

function peersOf({ data }: Event): readonly Pick<PeerPart, "publicKey" | "name">[] {
  if ("alerts" in data) return data.alerts.map(({ peer }) => peer).filter((peer) => peer !== null);
  return "peer" in data ? [data.peer] : [];
}

/** Whether no event can match: the filter selects peers, but only event types without a peer. */
export function matchesNothing({ events, peers }: EventFilter): boolean {
  const peerTypes = EVENT_TYPES.filter((type) => /^(peer|alert)\./.test(type));
  return peers.length > 0 && !peerTypes.some((type) => isTypeSelected(type, events));
}

/** Whether a filter selects a type; an empty list selects all. */
export function isTypeSelected(type: Event["type"], patterns: readonly EventPattern[]): boolean {
  return (
    patterns.length === 0 ||
    patterns.some((pattern) =>
      pattern.endsWith(".*") ? type.startsWith(pattern.slice(0, -1)) : type === pattern,
    )
  );
}
