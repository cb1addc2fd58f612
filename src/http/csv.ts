/** Sessions and events as CSV, for the API and for `wgmon sessions`. */

import { sanitize } from "../base/text.ts";
import { isPublicKey } from "../base/wireguard.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import { deviceOnHub } from "./fleet-model.ts";
import type { SessionView } from "./schemas.ts";

type Cell = string | number | null;

/** The columns of sessions, in order. Their names are those of the JSON. */
export const SESSION_COLUMNS = [
  "device",
  "publicKey",
  "name",
  "startedAt",
  "endedAt",
  "durationMs",
  "reason",
  "endpoint",
  "rxBytes",
  "txBytes",
  "roams",
  "allowedIps",
] as const satisfies readonly (keyof SessionView)[];

/** The columns of events, in order: fields of the event, of its peer, its session and its alerts. */
export const EVENT_COLUMNS = [
  "seq",
  "id",
  "timestamp",
  "type",
  "host",
  "device",
  "publicKey",
  "name",
  "endpoint",
  "previousEndpoint",
  "reason",
  "startedAt",
  "endedAt",
  "durationMs",
  "rxBytes",
  "txBytes",
  "roams",
  "listenPort",
  "network",
  "packets",
  "rule",
  "kind",
  "severity",
  "since",
  "count",
  "sentence",
] as const;

export function sessionLine(session: SessionView): string {
  // A list is one cell.
  const cells = { ...session, allowedIps: session.allowedIps.join(" ") };
  return csvLine(SESSION_COLUMNS.map((column) => cells[column]));
}

export function eventLine({ seq, event, gateway }: StoredEvent): string {
  const { data, ...envelope } = event;
  // Only `id` could collide; peers and sessions have none.
  const cells: Readonly<Record<string, unknown>> = {
    seq,
    ...envelope,
    ...data,
    ...("device" in data && data.device !== null
      ? { device: deviceOnHub(data.device, gateway) }
      : {}),
    ...("peer" in data ? data.peer : {}),
    ...("session" in data ? data.session : {}),
  };
  return csvLine(EVENT_COLUMNS.map((column) => (cells[column] ?? null) as Cell));
}

/** A line of CSV (RFC 4180). */
export function csvLine(values: readonly Cell[]): string {
  return `${values.map(csvField).join(",")}\r\n`;
}

/**
 * A spreadsheet evaluates a text that begins with one of these characters as a formula. A leading apostrophe
 * prevents that (owasp.org/www-community/attacks/CSV_Injection). A public key may begin with + and is left
 * unchanged: it ends with =, which no formula does.
 */
function csvField(value: Cell): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const text = sanitize(value);
  const safe = /^[=+\-@＝＋－＠]/.test(text) && !isPublicKey(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
