/** The interface to the gateways of a hub for the API, the metrics and the page. A gateway itself has none. */

import { fleetDevice, gatewayName, splitDevice } from "../fleet/gateway-name.ts";
import { HttpError } from "./problem.ts";
import type { ReadModel } from "./read-model.ts";

/**
 * `up`: it reports. `lost`: it did not report for a minute. `stopped`: it said that it stops. `waiting`: it has not reported
 * since the hub started, or since it was enrolled. The first one is the healthy one.
 */
export const gatewayConditions = ["up", "lost", "stopped", "waiting"] as const;
export type GatewayCondition = (typeof gatewayConditions)[number];

/** A gateway. What it reports is null until it has reported for the first time. */
export interface GatewayState {
  readonly name: string;
  /** Its `--host`. */
  readonly host: string | null;
  /** Its version of wgmon. */
  readonly program: string | null;
  readonly condition: GatewayCondition;
  /** When the condition began. */
  readonly sinceMs: number;
  /** The last message. */
  readonly seenMs: number | null;
  readonly startedAtMs: number | null;
  /** Its clock minus the hub's. */
  readonly clockOffsetMs: number | null;
  readonly epoch: string | null;
  /** The last number that its store has used in this epoch. */
  readonly lastSeq: number | null;
  /** The hub has all events of this epoch up to this number. */
  readonly confirmedSeq: number | null;
  readonly devices: number;
  readonly peers: number;
  /** As it reported last. */
  readonly connected: number;
}

/** Of two hubs, one works and the other stands by. */
export interface HubRole {
  /** Whether this one works. */
  readonly isActive: boolean;
  /** The hub that works; null: unknown, or there is only this one. */
  readonly active: string | null;
}

/** A hub that stands by, in words; null: this hub works. */
export function standbyText({ isActive, active }: HubRole): string | null {
  if (isActive) return null;
  return active === null ? "this hub stands by" : `this hub stands by: ${active} works`;
}

export interface FleetModel {
  role(): HubRole;
  /** Ordered by name. */
  gateways(): readonly GatewayState[];
  /** null: not enrolled. */
  gateway(name: string): GatewayState | null;
  /** Whether the gateway of a device reports now. If not, the state of its peers is unknown. */
  isObserved(device: string): boolean;
  /** Converts a time of a gateway's clock, such as that of a session in the store, to the hub's. */
  hubTime(name: string, ms: number): number;
}

/** How many events of the gateway the hub does not have yet; null: it is not known. */
export function lagOf({ lastSeq, confirmedSeq }: GatewayState): number | null {
  return lastSeq === null || confirmedSeq === null ? null : Math.max(0, lastSeq - confirmedSeq);
}

/** Whether the state of the device's peers is known: always on a gateway. */
export function isObserved({ fleet }: Pick<ReadModel, "fleet">, device: string): boolean {
  return fleet === null || fleet.isObserved(device);
}

/** A time in the store of a device's sessions, in the clock of this machine. */
export function timeOfDevice({ fleet }: Pick<ReadModel, "fleet">, device: string, ms: number) {
  return fleet === null ? ms : fleet.hubTime(splitDevice(device).gateway ?? "", ms);
}

/** The field `host` of what has a device: the gateway's name on a hub, no field on a gateway. */
export function hostField(
  { fleet }: Pick<ReadModel, "fleet">,
  device: string | null,
): { host?: string } {
  if (fleet === null || device === null) return {};
  const { gateway } = splitDevice(device);
  return gateway === null ? {} : { host: gateway };
}

/** A device of an event, with its name on the hub. @param gateway the event's; undefined: this is not a hub. */
export function deviceOnHub(device: string, gateway: string | undefined): string {
  const isLocal = gateway !== undefined && splitDevice(device).gateway === null;
  return isLocal ? fleetDevice(gateway, device) : device;
}

/** What a request selects: the gateway, and the device with its name on the hub; null: all. */
export interface Place {
  readonly gateway: string | null;
  readonly device: string | null;
}

/**
 * @param given host: the name of a gateway, or its `--host`. device: `berlin/wg0`, or `wg0` if there is a host.
 * @throws HttpError 422 if this is not a hub.
 */
export function placeOf(
  { fleet }: Pick<ReadModel, "fleet">,
  given: { readonly host?: string | undefined; readonly device?: string | undefined },
): Place {
  const { host, device = null } = given;
  if (host === undefined) return { gateway: null, device };
  if (fleet === null) {
    throw new HttpError(422, {
      errors: [{ parameter: "host", detail: "this is not a hub: it has one gateway" }],
    });
  }
  const gateway = gatewayName(host) ?? host;
  const isLocal = device !== null && splitDevice(device).gateway === null;
  return { gateway, device: isLocal ? fleetDevice(gateway, device) : device };
}

/** The same for events, in which a device has the name that its gateway gives it. */
export function eventPlace({ gateway, device }: Place): Place {
  if (device === null) return { gateway, device };
  const split = splitDevice(device);
  // Of two gateways, no event is selected: no device has such a name.
  if (split.gateway === null || (gateway !== null && gateway !== split.gateway)) {
    return { gateway, device };
  }
  return split;
}
