/** Numbers, times and addresses as the page shows them. Pure. */

import { showBytes } from "../base/size.ts";
import { counted as countedAs } from "../base/text.ts";
import { urlKey } from "../base/wireguard.ts";
import { duration } from "../events/event.ts";

/** `1.2 MiB/s` */
export function speed(bytesPerSecond: number): string {
  return `${showBytes(bytesPerSecond)}/s`;
}

/** `10,000` */
export function count(value: number): string {
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** `1 peer`, `10,000 peers` */
export function counted(value: number, noun: string): string {
  return countedAs(value, noun, count);
}

/** `2026-11-22 16:19:04`, in UTC. */
export function clockTime(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

/** `12s`, `3h 20m`; client.js has the same format. */
export function span(ms: number): string {
  return duration(Math.max(0, ms));
}

/** The address of a peer's page; base64url needs no escapes. */
export function peerAddress(device: string, publicKey: string): string {
  // encodeURIComponent throws for a lone surrogate.
  return `/peers/${encodeURIComponent(device.toWellFormed())}/${urlKey(publicKey)}`;
}

/** The address of a gateway's page on a hub. */
export function gatewayAddress(name: string): string {
  return `/gateways/${encodeURIComponent(name.toWellFormed())}`;
}

/** The path with those parameters of the query that are not null. */
export function address(path: string, query: Readonly<Record<string, string | null>>): string {
  const given = Object.entries(query).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
}

/** An id for an element, derived from the values that identify the object it shows. */
export function idOf(kind: string, ...parts: readonly (string | number)[]): string {
  return `${kind}${Bun.hash(parts.join(" ")).toString(36)}`;
}
