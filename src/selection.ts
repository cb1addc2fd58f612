/** Which events a target wants. Pure. */

import type { Event } from "./contract.ts";

/** Each list: what may be; empty: all. */
export interface Selection {
  readonly events: readonly EventPattern[];
  readonly devices: readonly string[];
  /** Names, as they are written in the settings, and public keys. */
  readonly peers: readonly string[];
}

/** The types of events; `peer.*` stands for all that begin with `peer.`. */
export type EventPattern = Event["type"] | "peer.*" | "device.*";

/** A record, so that a type of the contract that is missing here does not compile. */
const types: Readonly<Record<Event["type"], true>> = {
  "peer.connected": true,
  "peer.roamed": true,
  "peer.disconnected": true,
  "handshake.unknown": true,
  "device.added": true,
  "device.removed": true,
};

const EVENT_TYPES = Object.keys(types) as Event["type"][];

export const EVENT_PATTERNS: readonly EventPattern[] = [...EVENT_TYPES, "peer.*", "device.*"];

export function isSelected(event: Event, { events, devices, peers }: Selection): boolean {
  if (!isTypeSelected(event.type, events)) return false;
  if (devices.length > 0 && !devices.includes(event.data.device)) return false;
  if (peers.length === 0) return true;
  // Who asks for a peer has not asked for devices.
  if (!("peer" in event.data)) return false;
  const { name, publicKey } = event.data.peer;
  return peers.includes(publicKey) || (name !== null && peers.includes(name));
}

/** Whether no event could ever be selected: only devices' are wanted, and only of some peers. */
export function selectsNothing({ events, peers }: Selection): boolean {
  const ofPeers = EVENT_TYPES.filter((type) => type.startsWith("peer."));
  return peers.length > 0 && !ofPeers.some((type) => isTypeSelected(type, events));
}

function isTypeSelected(type: Event["type"], patterns: readonly EventPattern[]): boolean {
  return (
    patterns.length === 0 ||
    patterns.some((pattern) =>
      pattern.endsWith(".*") ? type.startsWith(pattern.slice(0, -1)) : type === pattern,
    )
  );
}
