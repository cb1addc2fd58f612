/** Selects the events that a target wants. Pure. */

import { EVENT_TYPES } from "../base/event-types.ts";
import type { Event } from "./event-schema.ts";

/** Filters. An event must match each list; an empty list matches everything. */
export interface EventFilter {
  readonly events: readonly EventPattern[];
  readonly devices: readonly string[];
  /** Public keys, and names as written in the settings. */
  readonly peers: readonly string[];
}

/** Event types; `peer.*` and `device.*` stand for all types with that prefix. */
export type EventPattern = Event["type"] | "peer.*" | "device.*";

/** An event type without a schema is a compile error here. */
export const EVENT_PATTERNS: readonly EventPattern[] = [...EVENT_TYPES, "peer.*", "device.*"];

export function matchesFilter(event: Event, { events, devices, peers }: EventFilter): boolean {
  if (!isTypeSelected(event.type, events)) return false;
  if (devices.length > 0 && !devices.includes(event.data.device)) return false;
  if (peers.length === 0) return true;
  // A filter by peer excludes events without a peer, such as those of devices.
  if (!("peer" in event.data)) return false;
  const { name, publicKey } = event.data.peer;
  return peers.includes(publicKey) || (name !== null && peers.includes(name));
}

/** Whether no event can match: the filter selects peers, but only event types without a peer. */
export function matchesNothing({ events, peers }: EventFilter): boolean {
  const peerTypes = EVENT_TYPES.filter((type) => type.startsWith("peer."));
  return peers.length > 0 && !peerTypes.some((type) => isTypeSelected(type, events));
}

function isTypeSelected(type: Event["type"], patterns: readonly EventPattern[]): boolean {
  return (
    patterns.length === 0 ||
    patterns.some((pattern) =>
      pattern.endsWith(".*") ? type.startsWith(pattern.slice(0, -1)) : type === pattern,
    )
  );
}
