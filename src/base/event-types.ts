/**
 * The types of events, in the order in which they are listed, and a limit. They are separate from the schema of events, because
 * loading TypeBox costs start-up time; the compiler checks that schema and list have the same types.
 */

export const EVENT_TYPES = [
  "peer.connected",
  "peer.roamed",
  "peer.disconnected",
  "handshake.unknown",
  "device.added",
  "device.removed",
  "alert.firing",
  "alert.resolved",
  "gateway.lost",
  "gateway.back",
  "gateway.stopped",
  "fleet.partition",
  "fleet.gap",
  "fleet.duplicate-name",
] as const;

export type EventType = (typeof EVENT_TYPES)[number];

const known: ReadonlySet<string> = new Set(EVENT_TYPES);

/** Whether this version knows the type. If not, the event is from a newer gateway, and its data may have any form. */
export function isKnownType(type: string): type is EventType {
  return known.has(type);
}

/** Alerts that one event lists at most. */
export const ALERTS_MAX = 50;

/** Gateways that one event lists at most. */
export const GATEWAYS_MAX = 100;
