/** Numbers, times and addresses as the page shows them. Pure. */

import { urlKey } from "../base/wireguard.ts";
import { duration } from "../events/event.ts";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** `0 B`, `999 B`, `1.2 kB`, `340 MB` */
export function bytes(count: number): string {
  let value = Math.max(0, count);
  let unit = 0;
  // A value that would be rounded to 1000 is 1.0 of the next unit.
  while (value >= (unit === 0 ? 1000 : 999.5) && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** `10,000` */
export function count(value: number): string {
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** `1 peer`, `2 peers` */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
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
