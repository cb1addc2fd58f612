/** The events of gateways in the terms of the hub, and the hub's own events. Pure. */

import { GATEWAYS_MAX } from "../base/event-types.ts";
import type { Event, EVENT_VERSION, FleetEvent } from "../events/event-schema.ts";
import { fleetDevice } from "../fleet/gateway-name.ts";
import type { GatewayView } from "./fleet-state.ts";
import type { WatchFinding } from "./gateway-watch.ts";

/** Declared with the contract's type instead of importing its value: loading the contract costs start-up time. */
const version: typeof EVENT_VERSION = 1;

/** Fields of an event that its cause does not contain. */
interface Head {
  readonly id: string;
  readonly host: string;
  readonly atMs: number;
}

/** The event as the hub's alerts see it: with the hub's name of the device, and in the hub's time. */
export function inHubTerms(event: Event, gateway: string, offsetMs: number): Event {
  const data = renamed(event.data, gateway);
  const moved = { ...event, data } as Event;
  if (offsetMs === 0) return moved;
  return JSON.parse(JSON.stringify(moved), (key, value: unknown) =>
    /^(?:timestamp|since|(?:started|ended|first|last)At)$/.test(key) && typeof value === "string"
      ? new Date(Date.parse(value) - offsetMs).toISOString()
      : value,
  ) as Event;
}

function renamed(data: Event["data"], gateway: string): Event["data"] {
  if (!("device" in data) || data.device === null) return data;
  return { ...data, device: fleetDevice(gateway, data.device) } as Event["data"];
}

/** @param view returns the gateway at the time of the finding. */
export function eventOfFinding(
  finding: WatchFinding,
  { id, host, atMs }: Head,
  view: (gateway: string) => GatewayView | null,
): FleetEvent {
  const head = { id, version, timestamp: isoTime(atMs), host };
  switch (finding.type) {
    case "lost": {
      const { gateway, seenMs } = finding;
      const { peers = 0, connected = 0 } = view(gateway) ?? {};
      const seenAt = seenMs === null ? null : isoTime(seenMs);
      return { ...head, type: "gateway.lost", data: { gateway, seenAt, peers, connected } };
    }
    case "back": {
      const { gateway, unobservedMs } = finding;
      return { ...head, type: "gateway.back", data: { gateway, unobservedMs } };
    }
    case "stopped":
      return { ...head, type: "gateway.stopped", data: { gateway: finding.gateway } };
    case "partition": {
      const { gateways, known } = finding;
      const data = { gateways: gateways.slice(0, GATEWAYS_MAX), count: gateways.length, known };
      return { ...head, type: "fleet.partition", data };
    }
  }
}

export function gapEvent(
  gap: {
    readonly gateway: string;
    readonly epoch: string;
    readonly firstSeq: number;
    readonly lastSeq: number;
  },
  { id, host, atMs }: Head,
): FleetEvent {
  const count = gap.lastSeq - gap.firstSeq + 1;
  const data = { ...gap, count };
  return { id, version, timestamp: isoTime(atMs), host, type: "fleet.gap", data };
}

export function duplicateEvent(gateway: string, { id, host, atMs }: Head): FleetEvent {
  const type = "fleet.duplicate-name";
  return { id, version, timestamp: isoTime(atMs), host, type, data: { gateway } };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
