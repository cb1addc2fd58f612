/** `wgmon peer`: prints everything about one peer, for people or as JSON. */

import { counted, percent, sanitize, shortName } from "../base/text.ts";
import { withoutHostPrefix } from "../base/tunnel-address.ts";
import { visible } from "../base/visible.ts";
import { urlKey } from "../base/wireguard.ts";
import { describeShort } from "../channels/formats/message-text.ts";
import type { PeerRequest } from "../config/command-requests.ts";
import type { Event } from "../events/event-schema.ts";
import { duration } from "../events/event.ts";
import type { DeviceView, PeerDetailView, SessionView, StoredEventView } from "../http/schemas.ts";
import type { ApiReader } from "./client.ts";
import { findPeer } from "./find-peer.ts";
import { checkDevices } from "./find-peers.ts";
import type { Page } from "./history-query.ts";
import { lastSeen, stateStyles } from "./peer-table.ts";
import {
  bytes,
  type Column,
  json,
  localTime,
  type Output,
  peerName,
  rate,
  since,
  tableOf,
} from "./text.ts";

interface Options extends Output {
  readonly request: PeerRequest;
  /** Empty: all devices. */
  readonly devices: readonly string[];
  readonly nowMs: number;
}

/** The answer of a daemon that may be older than this program. */
type Detail = Omit<PeerDetailView, NewField> & Partial<Pick<PeerDetailView, NewField>>;
type NewField = "endpointName" | "uptime";

/** All that is printed. A peer that was removed has only sessions and events. */
interface Report {
  readonly publicKey: string;
  readonly name: string | null;
  /** null: no device has the peer. */
  readonly detail: Detail | null;
  /** null: the device is unknown. */
  readonly listenPort: number | null;
  /** The latest first. */
  readonly sessions: readonly SessionView[];
  readonly events: readonly Event[];
}

const MINUTE_MS = 60_000;
const MONTH_MS = 30 * 24 * 60 * MINUTE_MS;
/** Width of the terms before the values. */
const TERM_COLUMNS = 18;

/**
 * @throws SystemError
 * @throws NotFound when the word names no peer, or several.
 * @throws ConfigError when a device of the flag --device does not exist.
 */
export async function printPeer(api: ApiReader, options: Options): Promise<void> {
  const { request, devices, print } = options;
  await checkDevices(api, request.requestedDevices, { allowsPast: true });
  const found = await findPeer(api, request.word, devices);
  const report = await fetchReport(api, found, options);
  print(request.json ? `${json(jsonOf(report))}\n` : textOf(report, options));
}

async function fetchReport(
  api: ApiReader,
  found: Awaited<ReturnType<typeof findPeer>>,
  { request: { limit } }: Options,
): Promise<Report> {
  const { publicKey } = found.type === "present" ? found.peer : found;
  const device = found.type === "present" ? found.peer.device : null;
  const query = new URLSearchParams({ peer: publicKey, limit: `${limit}` });
  if (device !== null) query.set("device", device);
  const [detail, devices, sessions, events] = await Promise.all([
    device === null
      ? null
      : api.get<Detail>(`/v1/peers/${encodeURIComponent(device)}/${urlKey(publicKey)}`),
    api.get<{ items: readonly DeviceView[] }>("/v1/devices"),
    api.get<Page<SessionView>>(`/v1/sessions?${query.toString()}`),
    api.get<Page<StoredEventView>>(`/v1/events?${query.toString()}`),
  ]);
  const latest = events.items.map(({ event }) => event);
  const [lastPeer] = latest.flatMap(({ data }) => ("peer" in data ? (data.peer ?? []) : []));
  return {
    publicKey,
    name: detail?.name ?? sessions.items[0]?.name ?? lastPeer?.name ?? null,
    detail,
    listenPort: devices.items.find(({ name }) => name === device)?.listenPort ?? null,
    sessions: sessions.items,
    events: latest,
  };
}

/** As the API returns a peer, with its events. */
function jsonOf({ publicKey, name, detail, sessions, events }: Report): unknown {
  const peer = detail ?? { device: null, publicKey, name, state: "removed" };
  return { ...peer, sessions, events };
}

function textOf(report: Report, options: Options): string {
  const { paint, maxWidth, nowMs } = options;
  const { detail, sessions, events } = report;
  const state = detail?.state ?? "removed";
  const open = detail?.session ?? null;
  const sinceText = open === null ? "" : ` for ${since(open.startedAt, nowMs)}`;
  const style = detail === null ? "dim" : stateStyles[detail.state];
  const stateText = style === null ? state : paint(style, state);
  const lines = [`${paint("bold", peerName(report))}: ${stateText}${sinceText}`, ""];
  for (const [term, value] of termsOf(report, nowMs)) {
    lines.push(`  ${paint("dim", term.padEnd(TERM_COLUMNS))} ${visible(value)}`);
  }
  if (detail !== null) {
    lines.push("", ...trafficLines(detail, options).map((line) => `  ${line}`));
  }
  lines.push("", paint("bold", "Last sessions"));
  if (sessions.length === 0) lines.push("  none");
  else {
    const width = maxWidth === null ? null : maxWidth - 2;
    const table = tableOf(sessionColumns, sessions, { maxWidth: width, paint });
    lines.push(`  ${paint("dim", table.header)}`);
    for (const session of sessions) lines.push(`  ${table.line(session)}`);
  }
  lines.push("", paint("bold", "Last events"));
  if (events.length === 0) lines.push("  none");
  for (const event of events) {
    const text = visible(describeShort(event));
    lines.push(`  ${paint("dim", localTime(event.timestamp))}  ${text}`);
  }
  return `${lines.join("\n")}\n`;
}

function termsOf(report: Report, nowMs: number): readonly (readonly [string, string])[] {
  const { publicKey, detail, listenPort } = report;
  if (detail === null) return [["Public key", publicKey]];
  const { device, tags, allowedIps, endpoint, endpointName, lastHandshakeAt, session } = detail;
  const { persistentKeepaliveSeconds: keepalive } = detail;
  const port = listenPort === null || listenPort === 0 ? "" : `, port ${listenPort}`;
  const activity = lastSeen(detail);
  return [
    ["Public key", publicKey],
    ...(tags.length === 0 ? [] : [["Tags", tags.map(sanitize).join(", ")] as const]),
    ["Device", `${shortName(device)}${port}`],
    ["Tunnel addresses", allowedIps.map(withoutHostPrefix).join(", ") || "none"],
    ["Endpoint", endpoint ?? "none yet"],
    // Not verified, so not in place of the address.
    ...(typeof endpointName === "string"
      ? [["Reverse DNS", shortName(endpointName)] as const]
      : []),
    ["Keepalive", keepalive === 0 ? "off" : `every ${keepalive} s`],
    ...(session === null ? [] : [["Connected since", localTime(session.startedAt)] as const]),
    ["Last handshake", agoOf(lastHandshakeAt, nowMs)],
    ["Last activity", agoOf(activity, nowMs)],
    ["Uptime", uptimeText(detail.uptime)],
  ];
}

function agoOf(time: string | null, nowMs: number): string {
  return time === null ? "never" : `${localTime(time)}, ${since(time, nowMs)} ago`;
}

/** `24 h: 87.5 %, 7 d: 12.0 %, 30 d: 12.0 % (recorded for 8d)` */
function uptimeText(uptime: Detail["uptime"]): string {
  if (uptime === undefined) return "unknown; the running wgmon is older than this command";
  const spans = [
    ["24 h", uptime["24h"]],
    ["7 d", uptime["7d"]],
    ["30 d", uptime["30d"]],
  ] as const;
  const text = spans
    .map(([name, value]) => `${name}: ${value === null ? "unknown" : percent(value.fraction)}`)
    .join(", ");
  const longest = uptime["30d"];
  const isShort = longest !== null && longest.spanMs < MONTH_MS - MINUTE_MS;
  return isShort ? `${text} (recorded for ${duration(longest.spanMs)})` : text;
}

interface TrafficRow {
  readonly title: string;
  readonly received: string;
  readonly sent: string;
}

/** What the peer sent and received: now, in this session, and since it was added. */
function trafficLines(detail: Detail, { paint }: Options): readonly string[] {
  const { session, state, rxBytes, txBytes } = detail;
  const roams =
    session === null || session.roams === 0 ? "" : `, ${counted(session.roams, "roam")}`;
  const rows: TrafficRow[] = [];
  if (state === "connected") {
    const { rxBytesPerSecond = null, txBytesPerSecond = null } = session ?? {};
    rows.push(
      { title: "now", received: rate(rxBytesPerSecond), sent: rate(txBytesPerSecond) },
      {
        title: `this session${roams}`,
        received: bytes(session?.rxBytes ?? null),
        sent: bytes(session?.txBytes ?? null),
      },
    );
  }
  rows.push({ title: "since it was added", received: bytes(rxBytes), sent: bytes(txBytes) });
  const table = tableOf(trafficColumns, rows, { maxWidth: null, paint });
  return [paint("dim", table.header), ...rows.map(table.line)];
}

const trafficColumns: readonly Column<TrafficRow>[] = [
  { title: "TRAFFIC", cell: ({ title }) => title, priority: 0, minWidth: TERM_COLUMNS - 1 },
  { title: "FROM PEER", cell: ({ received }) => received, isNumber: true, priority: 1 },
  { title: "TO PEER", cell: ({ sent }) => sent, isNumber: true, priority: 2, minWidth: 10 },
];

const sessionColumns: readonly Column<SessionView>[] = [
  { title: "STARTED", cell: ({ startedAt }) => localTime(startedAt), priority: 0 },
  { title: "LASTED", cell: ({ durationMs }) => duration(durationMs), priority: 1, minWidth: 7 },
  {
    title: "END",
    cell: ({ reason }) => reason ?? "open",
    style: ({ reason }) => (reason === null ? "green" : null),
    priority: 2,
  },
  { title: "FROM PEER", cell: ({ rxBytes }) => bytes(rxBytes), isNumber: true, priority: 3 },
  { title: "TO PEER", cell: ({ txBytes }) => bytes(txBytes), isNumber: true, priority: 4 },
  { title: "ENDPOINT", cell: ({ endpoint }) => endpoint ?? "", priority: 5 },
];
