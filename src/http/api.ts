/**
 * The HTTP API under /v1; more than 400 lines because all routes are in one table. Each route declares its parameters
 * and its responses as schemas. Elysia validates both, and the OpenAPI document is generated from them. server.ts loads
 * this file with the first request for it, because Elysia takes 5 MB of memory and some milliseconds.
 *
 * Never minify the program: Elysia reads source code at run time and, if it is minified, silently stops
 * validating (github.com/elysiajs/elysia/issues/1711).
 */

import { Type as T } from "@sinclair/typebox";
import { Elysia, t } from "elysia";

import { SEARCH_MAX } from "../base/text.ts";
import { keyFromUrl, urlKey } from "../base/wireguard.ts";
import { DAY_MS } from "../store/ranges.ts";
import { downloadSlots } from "./active-requests.ts";
import { type AlertActions, SILENCES_MAX } from "./alert-model.ts";
import {
  AlertDetailSchema,
  AlertSchema,
  RuleSchema,
  SilenceBody,
  SilenceSchema,
} from "./alert-schemas.ts";
import { listAlerts, parseSilence, viewAlertDetail, viewRule, viewSilence } from "./alert-view.ts";
import { downloadResponse, downloads, eventChunks, sessionChunks } from "./download.ts";
import { EventStream } from "./event-stream.ts";
import { openApi, type Route } from "./openapi.ts";
import { allowedMethods, parameterErrors, routeOf } from "./parameter-errors.ts";
import {
  AlertFilter,
  alertFilter,
  closed,
  Cursor,
  DeviceName,
  DownloadFormat,
  EventFilter,
  eventFilter,
  IdText,
  KeyText,
  Limit,
  pageOf,
  parseKeyCursor,
  parseSequence,
  RangeName,
  requireAlertCursor,
  requireSessionCursor,
  SessionFilter,
  sessionFilter,
} from "./parameters.ts";
import { findPeers, sorts } from "./peer-query.ts";
import { HttpError, problem, ProblemSchema } from "./problem.ts";
import type { ReadModel, ScanReport } from "./read-model.ts";
import {
  DeviceSchema,
  GatewayTrafficSchema,
  oneOf,
  OutboxMessageSchema,
  PastPeerSchema,
  PeerDetailSchema,
  PeerSchema,
  PeerTrafficSchema,
  ScanSchema,
  SessionSchema,
  stateNames,
  StatusSchema,
  StoredEventSchema,
  TargetSchema,
  TopPeerSchema,
} from "./schemas.ts";
import { formatSessionCursor } from "./session-cursor.ts";
import type { Slots } from "./slots.ts";
import {
  iso,
  viewChart,
  viewDevices,
  viewPeer,
  viewSessions,
  viewStatus,
  viewTargets,
  viewTraffic,
  viewUptime,
} from "./view.ts";

/** Most sessions in the response for one peer; /v1/sessions has the others. */
const PEER_SESSIONS = 50;
/** Minimum time between two requested scans: a scan of thousands of peers takes a few milliseconds. */
const SCAN_PAUSE_MS = 1000;

const failures = { 401: ProblemSchema, 403: ProblemSchema, 503: ProblemSchema } as const;
const refusals = { 422: ProblemSchema, ...failures } as const;

export interface Api extends Disposable {
  /** @param slots limits the number of downloads; omitted: a limit of the API itself. */
  handle(request: Request, slots?: Slots): Promise<Response>;
  /** The routes, with their schemas. */
  readonly routes: readonly Route[];
}

export interface ApiOptions {
  /** Called if a download fails after it has begun. */
  readonly onError?: (error: unknown) => void;
  /** null or omitted: the API only reads. */
  readonly actions?: AlertActions | null;
}

export function makeApi(source: ReadModel, options: ApiOptions = {}): Api {
  const eventStream = new EventStream(source);
  const ownSlots = downloadSlots();
  const slotsOf = new WeakMap<Request, Slots>();
  const app = makeRoutes(source, eventStream, (request) => slotsOf.get(request)!, options);
  const handle = async (request: Request, slots: Slots) => {
    slotsOf.set(request, slots);
    return await app.handle(request);
  };
  return {
    handle: async (request, slots = ownSlots) => {
      if (request.method !== "HEAD") return await handle(withFixedHost(request), slots);
      // For HEAD, Elysia waits for the end of the response, and the event stream never ends.
      const { body, status, headers } = await handle(withFixedHost(request, "GET"), slots);
      await body?.cancel();
      return new Response(null, { status, headers });
    },
    routes: app.routes,
    [Symbol.dispose]: () => eventStream[Symbol.dispose](),
  };
}

/**
 * Gives Elysia a URL with a fixed host. Elysia 1.4.30 counts characters to find where the path begins. It
 * finds no route if the host has fewer than four letters, or if its option for such hosts is set and the URL
 * is https.
 */
function withFixedHost(request: Request, method = request.method): Request {
  const { pathname, search } = new URL(request.url);
  const plain = new Request(`http://localhost${pathname}${search}`, request);
  return method === request.method ? plain : new Request(plain, { method });
}

function makeRoutes(
  source: ReadModel,
  eventStream: EventStream,
  slotsOf: (request: Request) => Slots,
  { onError = () => {}, actions = null }: ApiOptions,
) {
  const scan = limitScans(source);
  // The routes of `app`, set below: its handlers cannot use `app` while it is being built.
  let routes: readonly Route[] = [];
  const document = once(() => openApi(routes, source.version));
  const app = new Elysia({
    prefix: "/v1",
    // Reject properties that are not in a schema instead of silently removing them.
    normalize: false,
    // A path with a trailing slash is a different path.
    strictPath: true,
  })
    // Elysia passes to a handler only the values that the handler's source code names. This handler names all of
    // them, so that they are always passed (see the issue above).
    .onBeforeHandle(
      { as: "global" },
      ({ query, params, headers, body }) => void [query, params, headers, body],
    )
    .onError({ as: "global" }, ({ code, error, request }) => {
      if (error instanceof HttpError) return problem(error.status, error.details);
      if (code === "VALIDATION") {
        // A response that violates its schema is a bug in wgmon; the client must not see the content.
        if (error.type === "response") throw new Error("a response does not match its schema");
        return problem(422, {
          errors: parameterErrors(error.all, routeOf(routes, request), request),
        });
      }
      if (code === "PARSE") return problem(400, { detail: "the body cannot be parsed" });
      if (code !== "NOT_FOUND") throw error;
      const allow = allowedMethods(routes, new URL(request.url).pathname);
      if (allow.length === 0) return problem(404);
      return problem(405, { headers: { allow: allow.join(", ") } });
    })
    .get("/status", () => viewStatus(source), {
      response: { 200: StatusSchema, ...failures },
      detail: { summary: "the program and its state" },
    })
    .get("/devices", () => ({ items: viewDevices(source) }), {
      response: { 200: T.Object({ items: T.Array(DeviceSchema) }, closed), ...failures },
      detail: { summary: "the WireGuard devices" },
    })
    .get(
      "/peers",
      ({ query, request }) => {
        source.countersRequested(request.url);
        const { device = null, state = null, search = null, limit = 100, offset = 0 } = query;
        const { sort = "device", order } = query;
        const isDescending = order === "desc";
        const found = findPeers(source, { device, state, search, sort, isDescending });
        return {
          items: found
            .slice(offset, offset + limit)
            .map(({ device, peer }) => viewPeer(source, device, peer)),
          total: found.length,
        };
      },
      {
        query: T.Object(
          {
            device: T.Optional(DeviceName),
            state: T.Optional(oneOf(stateNames)),
            search: T.Optional(
              T.String({
                minLength: 1,
                maxLength: SEARCH_MAX,
                description: "part of name, tag, key, endpoint or allowed IP",
              }),
            ),
            sort: T.Optional(
              oneOf(
                sorts,
                "startedAt and later: fields of the session; peers without a session come last",
              ),
            ),
            order: T.Optional(oneOf(["asc", "desc"])),
            limit: Limit,
            offset: T.Optional(t.Integer({ minimum: 0, maximum: 1_000_000, default: 0 })),
          },
          closed,
        ),
        response: {
          200: T.Object(
            {
              items: T.Array(PeerSchema),
              total: T.Integer({ minimum: 0, description: "number of matches, on all pages" }),
            },
            closed,
          ),
          ...refusals,
        },
        detail: { summary: "the peers of all devices, filtered and sorted" },
      },
    )
    .get(
      "/peers/past",
      ({ query: { cursor, limit = 100 } }) => {
        const after = cursor === undefined ? "" : parseKeyCursor(cursor);
        const found = source.store.events.pastPeers(after, limit + 1);
        const items = found.slice(0, limit);
        return { items, next: found.length > limit ? urlKey(items.at(-1)!.publicKey) : null };
      },
      {
        query: T.Object({ cursor: Cursor, limit: Limit }, closed),
        response: { 200: pageOf(PastPeerSchema), ...refusals },
        detail: {
          summary: "the peers that occur in events, including peers that were removed since",
        },
      },
    )
    .get(
      "/peers/:device/:publicKey",
      ({ params: { device, publicKey }, request }) => {
        const key = keyFromUrl(publicKey);
        source.countersRequested(request.url);
        for (const peer of source.peers(device)) {
          if (peer.publicKey !== key) continue;
          const rows = source.store.sessions.query({
            device,
            publicKey: key,
            sinceMs: null,
            isOpen: null,
            from: null,
            limit: PEER_SESSIONS,
          });
          return {
            ...viewPeer(source, device, peer),
            sessions: viewSessions(source, rows),
            traffic: viewTraffic(source, device, key),
            uptime: viewUptime(source, device, key),
          };
        }
        throw new HttpError(404, { detail: "there is no such peer" });
      },
      {
        params: T.Object({ device: DeviceName, publicKey: KeyText }, closed),
        response: { 200: PeerDetailSchema, 404: ProblemSchema, ...refusals },
        detail: {
          summary: "one peer, with its sessions, its traffic of the last 24 hours and its uptime",
        },
      },
    )
    .get(
      "/peers/:device/:publicKey/traffic",
      ({ params: { device, publicKey }, query: { range = "24h" } }) => {
        const nowMs = source.clock.now().wallMs;
        return viewChart(source.store.traffic.range(device, keyFromUrl(publicKey)!, range, nowMs));
      },
      {
        params: T.Object({ device: DeviceName, publicKey: KeyText }, closed),
        query: T.Object({ range: RangeName }, closed),
        response: { 200: PeerTrafficSchema, ...refusals },
        detail: { summary: "the traffic of a peer over a range, also of a peer that was removed" },
      },
    )
    .get(
      "/traffic",
      ({ query: { range = "24h" } }) =>
        viewChart(source.store.totals.range(range, source.clock.now().wallMs)),
      {
        query: T.Object({ range: RangeName }, closed),
        response: { 200: GatewayTrafficSchema, ...refusals },
        detail: { summary: "connected peers and the traffic of all peers over a range" },
      },
    )
    .get(
      "/traffic/top",
      async ({ query: { since, limit = 100 } }) => {
        const nowMs = source.clock.now().wallMs;
        const sinceMs = since === undefined ? nowMs - DAY_MS : Date.parse(since);
        const found = await source.store.traffic.top(sinceMs, limit);
        const items = found.map(({ device, publicKey, rxBytes, txBytes }) => ({
          device,
          publicKey,
          name: source.nameOf(publicKey, device),
          rxBytes,
          txBytes,
        }));
        return { items };
      },
      {
        query: T.Object(
          {
            since: T.Optional(
              T.String({
                format: "date-time",
                maxLength: 40,
                description: "RFC 3339, rounded down to an hour; default: 24 hours ago",
              }),
            ),
            limit: Limit,
          },
          closed,
        ),
        response: { 200: T.Object({ items: T.Array(TopPeerSchema) }, closed), ...refusals },
        detail: { summary: "the peers with the most traffic since a time, most first" },
      },
    )
    .get(
      "/sessions",
      ({ query }) => {
        const { cursor, limit = 100 } = query;
        const rows = source.store.sessions.query({
          ...sessionFilter(query),
          from: cursor === undefined ? null : requireSessionCursor(cursor),
          limit: limit + 1,
        });
        const items = rows.slice(0, limit);
        const next = rows.length > limit ? formatSessionCursor(items.at(-1)!) : null;
        return { items: viewSessions(source, items), next };
      },
      {
        query: T.Object({ ...SessionFilter, cursor: Cursor, limit: Limit }, closed),
        response: { 200: pageOf(SessionSchema), ...refusals },
        detail: {
          summary:
            "sessions, the latest first; since: sessions that were open at that time or later",
        },
      },
    )
    .get(
      "/sessions/download",
      ({ query: { format, ...filter }, request }) =>
        downloadResponse({
          name: "wgmon-sessions",
          format,
          chunks: sessionChunks(source, sessionFilter(filter), format),
          slots: slotsOf(request),
          onError,
        }),
      {
        query: T.Object({ format: DownloadFormat, ...SessionFilter }, closed),
        response: refusals,
        detail: {
          summary: "all sessions that match, the latest first, as a file",
          responses: downloads("Session"),
        },
      },
    )
    .get(
      "/events",
      ({ query }) => {
        const { cursor, limit = 100 } = query;
        const found = source.store.events.query({
          ...eventFilter(query),
          from: cursor === undefined ? null : parseSequence(cursor),
          limit: limit + 1,
        });
        const items = found.slice(0, limit).map(({ seq, event }) => ({ seq, event }));
        return {
          items,
          next: found.length > limit ? String(items.at(-1)!.seq) : null,
          latest: source.store.events.sequenceRange().last,
        };
      },
      {
        query: T.Object({ ...EventFilter, cursor: Cursor, limit: Limit }, closed),
        response: {
          200: T.Object(
            {
              ...pageOf(StoredEventSchema).properties,
              latest: T.Integer({
                minimum: 0,
                description:
                  "sequence number of the latest event; /v1/stream?after= continues from here",
              }),
            },
            closed,
          ),
          ...refusals,
        },
        detail: { summary: "events, the latest first" },
      },
    )
    .get(
      "/events/download",
      ({ query: { format, ...filter }, request }) =>
        downloadResponse({
          name: "wgmon-events",
          format,
          chunks: eventChunks(source, eventFilter(filter), format),
          slots: slotsOf(request),
          onError,
        }),
      {
        query: T.Object({ format: DownloadFormat, ...EventFilter }, closed),
        response: refusals,
        detail: {
          summary: "all events that match, as a file",
          responses: downloads("PlacedEvent"),
        },
      },
    )
    .get(
      "/stream",
      ({ query, headers }) => {
        const last = headers["last-event-id"] ?? null;
        const after = last === null ? (query.after ?? null) : parseSequence(last);
        return new Response(eventStream.open(after), {
          headers: {
            "content-type": "text/event-stream",
            "cache-control": "no-store",
            // Keeps nginx from buffering the stream.
            "x-accel-buffering": "no",
          },
        });
      },
      {
        query: T.Object(
          {
            after: T.Optional(
              t.Integer({
                minimum: 0,
                maximum: Number.MAX_SAFE_INTEGER,
                description:
                  "a sequence number: all later events are sent. Default: new events only",
              }),
            ),
          },
          closed,
        ),
        response: refusals,
        detail: {
          summary:
            "events as they happen, by Server-Sent Events; Last-Event-ID continues an interrupted stream",
          description: `\`data\` is an event, \`id\` its sequence number. An event of the type \`gap\` says that events were deleted before they could be sent. A comment is sent every 10 s while there are no events.`,
        },
      },
    )
    .get("/targets", () => ({ items: viewTargets(source) }), {
      response: { 200: T.Object({ items: T.Array(TargetSchema) }, closed), ...failures },
      detail: { summary: "the targets of events and the state of delivery" },
    })
    .get(
      "/targets/:key/outbox",
      ({ params: { key }, query: { state = "waiting", cursor, limit = 100 } }) => {
        if (!viewTargets(source).some((target) => target.key === key)) {
          throw new HttpError(404, { detail: "there is no such target" });
        }
        const after = cursor === undefined ? 0 : parseSequence(cursor);
        const found =
          state === "waiting"
            ? source.store.outbox
                .waiting(key, after, limit + 1)
                .map(({ seq, event, addedAtMs }) => ({
                  seq,
                  state: "waiting" as const,
                  at: iso(addedAtMs),
                  reason: null,
                  event,
                }))
            : source.store.outbox
                .deadLetters({ target: key, after, limit: limit + 1 })
                .map(({ seq, event, atMs, reason }) => ({
                  seq,
                  state: "dead-letter" as const,
                  at: iso(atMs),
                  reason,
                  event,
                }));
        const items = found.slice(0, limit);
        return { items, next: found.length > limit ? String(items.at(-1)!.seq) : null };
      },
      {
        params: T.Object({ key: T.String({ minLength: 1, maxLength: 64 }) }, closed),
        query: T.Object(
          { state: T.Optional(oneOf(["waiting", "dead-letter"])), cursor: Cursor, limit: Limit },
          closed,
        ),
        response: { 200: pageOf(OutboxMessageSchema), 404: ProblemSchema, ...refusals },
        detail: {
          summary: "the messages that wait for a target, or its dead letters, oldest first",
        },
      },
    )
    .get(
      "/alerts",
      ({ query }) => {
        const { cursor, limit = 100 } = query;
        const from = cursor === undefined ? null : requireAlertCursor(cursor);
        return listAlerts(source, alertFilter(query), { cursor: from, limit });
      },
      {
        query: T.Object({ ...AlertFilter, cursor: Cursor, limit: Limit }, closed),
        response: { 200: pageOf(AlertSchema), ...refusals },
        detail: {
          summary:
            "alerts: those that fire, those that are pending, then those that are over, the latest first",
        },
      },
    )
    .get("/alerts/:id", ({ params: { id } }) => viewAlertDetail(source, id), {
      params: T.Object({ id: IdText }, closed),
      response: { 200: AlertDetailSchema, 404: ProblemSchema, ...refusals },
      detail: {
        summary: "one alert, with the messages about it: sent to whom, or held back and why",
      },
    })
    .get("/rules", () => ({ items: source.alerts.rules().map(viewRule) }), {
      response: { 200: T.Object({ items: T.Array(RuleSchema) }, closed), ...failures },
      detail: { summary: "the rules of alerts, in the order of the settings" },
    })
    .get("/silences", () => ({ items: source.alerts.silences().map(viewSilence) }), {
      response: { 200: T.Object({ items: T.Array(SilenceSchema) }, closed), ...failures },
      detail: { summary: "the silences that have not ended, the one that ends first in front" },
    })
    .post(
      "/silences",
      ({ body, status }) => {
        const silence = parseSilence(body, source.clock.now().wallMs);
        if (source.alerts.silences().length >= SILENCES_MAX) {
          throw new HttpError(422, { detail: `there are ${SILENCES_MAX} silences already` });
        }
        return status(201, viewSilence(requireActions(actions).addSilence(silence)));
      },
      {
        body: SilenceBody,
        response: { 201: SilenceSchema, ...refusals },
        detail: {
          summary: "add a silence, which begins now: it holds the messages of alerts back",
        },
      },
    )
    .delete(
      "/silences/:id",
      ({ params: { id } }) => {
        const silence = source.alerts.silences().find((each) => each.id === id);
        if (silence === undefined || !requireActions(actions).expireSilence(id)) {
          throw new HttpError(404, { detail: "there is no such silence" });
        }
        return { ...viewSilence(silence), endsAt: iso(source.clock.now().wallMs) };
      },
      {
        params: T.Object({ id: IdText }, closed),
        response: { 200: SilenceSchema, 404: ProblemSchema, ...refusals },
        detail: { summary: "end a silence now" },
      },
    )
    .post("/scan", async () => ({ ...(await scan()) }), {
      response: { 200: ScanSchema, 429: ProblemSchema, ...failures },
      detail: { summary: "scan all devices now" },
    })
    .get("/openapi.json", () => document(), {
      detail: { summary: "this document" },
    });

  routes = app.routes;
  return app;
}

/** The daemon always has them; a program that reads the store has not. */
function requireActions(actions: AlertActions | null): AlertActions {
  if (actions === null) throw new HttpError(503, { detail: "wgmon is not running" });
  return actions;
}

/**
 * Returns a function that runs one scan at a time: calls during a scan share its result.
 *
 * @throws HttpError 429 (the returned function) within SCAN_PAUSE_MS after a scan.
 */
function limitScans(source: ReadModel): () => Promise<ScanReport> {
  const { clock } = source;
  let current: Promise<ScanReport> | null = null;
  let endedMs = -Infinity;
  return async () => {
    if (current !== null) return await current;
    if (clock.now().monotonicMs - endedMs < SCAN_PAUSE_MS) {
      throw new HttpError(429, { detail: "one scan a second", headers: { "retry-after": "1" } });
    }
    current = source.scan();
    try {
      return await current;
    } finally {
      current = null;
      endedMs = clock.now().monotonicMs;
    }
  };
}

function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | null = null;
  return () => (made ??= { value: make() }).value;
}
