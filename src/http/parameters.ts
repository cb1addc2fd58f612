/** The parameters that several routes of the API have: their schemas, and cursors, which mark a position in a list. */

import { type Static, type TObject, Type as T } from "@sinclair/typebox";
import { t } from "elysia";

import { EVENT_TYPES } from "../base/event-types.ts";
import { keyFromUrl, URL_KEY_PATTERN } from "../base/wireguard.ts";
import { rangeNames } from "../store/ranges.ts";
import type { SessionCursor } from "../store/stored-sessions.ts";
import { type AlertCursor, parseAlertCursor } from "./alert-cursor.ts";
import { downloadFormats } from "./download.ts";
import { eventPlace, placeOf } from "./fleet-model.ts";
import { HttpError } from "./problem.ts";
import type { ReadModel } from "./read-model.ts";
import { DEVICE_PATTERN, oneOf } from "./schemas.ts";
import { parseSessionCursor } from "./session-cursor.ts";

/** Most items in one response. */
const PAGE_MAX = 1000;
export const closed = { additionalProperties: false } as const;
export const Limit = T.Optional(
  // Elysia's own type: it accepts the text of a query parameter as a number.
  t.Integer({
    minimum: 1,
    maximum: PAGE_MAX,
    default: 100,
    description: "maximum number of items",
  }),
);
export const Since = T.Optional(
  T.String({ format: "date-time", maxLength: 40, description: "RFC 3339; write + as %2B" }),
);
export const Until = T.Optional(
  T.String({ format: "date-time", maxLength: 40, description: "RFC 3339; excluded" }),
);
export const RangeName = T.Optional(oneOf(rangeNames, "the time span up to now; default: 24h"));
/** The name of a device, on a hub with that of its gateway. */
export const DeviceName = T.String({ pattern: DEVICE_PATTERN });
export const Host = T.Optional(
  T.String({
    minLength: 1,
    maxLength: 253,
    description: "on a hub: the name of a gateway, or its --host",
  }),
);
// The format that keyFromUrl accepts: it must not return null, because a query with null matches all peers.
export const KeyText = T.String({
  pattern: URL_KEY_PATTERN,
  description: "base64 or base64url, which needs no escapes in a URL",
});
export const Cursor = T.Optional(
  T.String({ pattern: "^[A-Za-z0-9_-]{1,200}$", description: "`next` of the previous response" }),
);
/** Selects sessions; see SessionQuery. */
export const SessionFilter = {
  host: Host,
  device: T.Optional(DeviceName),
  peer: T.Optional(KeyText),
  since: Since,
  until: Until,
  state: T.Optional(oneOf(["open", "ended"])),
};

export function sessionFilter(source: ReadModel, filter: Static<TObject<typeof SessionFilter>>) {
  const { peer, since, until, state } = filter;
  return {
    ...placeOf(source, filter),
    publicKey: peer === undefined ? null : keyFromUrl(peer),
    sinceMs: since === undefined ? null : Date.parse(since),
    untilMs: until === undefined ? null : Date.parse(until),
    isOpen: state === undefined ? null : state === "open",
  };
}

/** Selects events; see EventQuery. */
export const EventFilter = {
  order: T.Optional(oneOf(["newest", "oldest"], "which events come first")),
  type: T.Optional(oneOf(EVENT_TYPES)),
  host: Host,
  device: T.Optional(DeviceName),
  peer: T.Optional(KeyText),
  since: Since,
  until: Until,
};

export function eventFilter(source: ReadModel, filter: Static<TObject<typeof EventFilter>>) {
  const { order = "newest", type = null, peer, since, until } = filter;
  return {
    order,
    type,
    ...eventPlace(placeOf(source, filter)),
    publicKey: peer === undefined ? null : keyFromUrl(peer),
    sinceMs: since === undefined ? null : Date.parse(since),
    untilMs: until === undefined ? null : Date.parse(until),
  };
}

/** The name of a gateway; fleet/gateway-name.ts. */
export const GatewayName = T.String({ pattern: "^[a-z0-9-]{1,63}$" });

/** The id of an alert or a silence. */
export const IdText = T.String({ pattern: "^[A-Za-z0-9_-]{1,64}$" });

/** Selects alerts; see AlertQuery. */
export const AlertFilter = {
  state: T.Optional(
    oneOf(
      ["current", "pending", "firing", "resolved"],
      "current: pending and firing; firing: recovering ones included; default: all",
    ),
  ),
  rule: T.Optional(T.String({ minLength: 1, maxLength: 64, description: "the name of a rule" })),
  host: Host,
  device: T.Optional(DeviceName),
  peer: T.Optional(KeyText),
  since: Since,
  until: Until,
};

export function alertFilter(source: ReadModel, filter: Static<TObject<typeof AlertFilter>>) {
  const { state = null, rule = null, peer, since, until } = filter;
  return {
    state,
    rule,
    ...placeOf(source, filter),
    publicKey: peer === undefined ? null : keyFromUrl(peer),
    sinceMs: since === undefined ? null : Date.parse(since),
    untilMs: until === undefined ? null : Date.parse(until),
  };
}

export const DownloadFormat = oneOf(downloadFormats);
export const pageOf = <Schema extends Parameters<typeof T.Array>[0]>(item: Schema) =>
  T.Object(
    {
      items: T.Array(item),
      next: T.Union([T.String(), T.Null()], {
        description: "the `cursor` of the next items; null if there are no more",
      }),
    },
    closed,
  );

/** Parses the cursor of /v1/peers/past, which is a public key. */
export function parseKeyCursor(cursor: string): string {
  const key = keyFromUrl(cursor);
  if (key === null) throw invalidCursor();
  return key;
}

/** Parses a cursor that is a sequence number. */
export function parseSequence(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw invalidCursor();
}

/** Parses a cursor of a list of sessions. */
export function requireSessionCursor(text: string): SessionCursor {
  const cursor = parseSessionCursor(text);
  if (cursor === null) throw invalidCursor();
  return cursor;
}

/** Parses a cursor of a list of alerts. */
export function requireAlertCursor(text: string): AlertCursor {
  const cursor = parseAlertCursor(text);
  if (cursor === null) throw invalidCursor();
  return cursor;
}

function invalidCursor(): HttpError {
  return new HttpError(422, { detail: "invalid cursor" });
}
