/**
 * The display and the keys of `wgmon top`: makes lines from the last responses of wgmon, the view and the size of the
 * terminal. The HTTP API sorts and filters, so that only the visible ones of 10,000 peers are requested. Pure.
 */

import { SEVERITIES } from "../alerts/rule.ts";
import { counted, sanitize, shortName } from "../base/text.ts";
import type { AlertApiView } from "../http/alert-schemas.ts";
import { describeOnHub } from "../http/hub-event.ts";
import type {
  DeviceView,
  PeerView,
  StatusView,
  StoredEventView,
  TargetView,
} from "../http/schemas.ts";
import type { Key } from "./keys.ts";
import { columnsOf, peerColumns } from "./peer-table.ts";
import { describeGateways } from "./status.ts";
import { cutTo, type Paint, since, type Style, tableOf } from "./text.ts";

/** The sortable columns, in the order in which `s` selects them. */
const SORTS = [
  "startedAt",
  "lastSeenAt",
  "rxBytesPerSecond",
  "txBytesPerSecond",
  "rxBytes",
  "txBytes",
  "roams",
  "name",
  "device",
] as const;

/** Number of events at the bottom, shown on terminals with at least MIN_ROWS_WITH_EVENTS rows. */
export const EVENTS = 3;
const MIN_ROWS_WITH_EVENTS = 18;
/** The rows besides peers and events: title, summary, alerts, range, header and keys. */
const OTHER_ROWS = 6;
/** Most alerts that are requested: more than a terminal has rows. */
export const ALERTS = 200;
/** The longest search text that the HTTP API accepts. */
const SEARCH_MAX = 64;

/** The state that keys change. */
export interface View {
  readonly sort: (typeof SORTS)[number];
  readonly isReversed: boolean;
  /** Empty: all peers. */
  readonly search: string;
  /** null: all devices. */
  readonly device: string | null;
  readonly connectedOnly: boolean;
  /** Number of peers above the first row. */
  readonly offset: number;
  /** The text typed after `/`; null: the filter is not being edited. */
  readonly prompt: string | null;
  readonly isHelpShown: boolean;
  /** The alerts are shown instead of the peers. */
  readonly areAlertsShown: boolean;
}

/** The last responses of wgmon. */
export interface TopData {
  readonly status: StatusView;
  readonly devices: readonly DeviceView[];
  /** The peers in the rows of the table. */
  readonly peers: readonly PeerView[];
  /** Number of peers on all pages. */
  readonly total: number;
  readonly targets: readonly TargetView[];
  /** The latest first. */
  readonly events: readonly StoredEventView[];
  /** Those that fire, the latest first, then those that are pending; at most ALERTS. */
  readonly alerts: readonly AlertApiView[];
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export function firstView(device: string | null): View {
  return {
    sort: "startedAt",
    isReversed: false,
    search: "",
    device,
    connectedOnly: false,
    offset: 0,
    prompt: null,
    isHelpShown: false,
    areAlertsShown: false,
  };
}

/** Number of rows for peers. */
export function tableRows({ rows }: Size): number {
  return Math.max(1, rows - OTHER_ROWS - (rows >= MIN_ROWS_WITH_EVENTS ? EVENTS + 1 : 0));
}

/** The request path for the visible peers. */
export function peersPath(view: View, size: Size): string {
  const { sort, search, device, connectedOnly, offset } = view;
  const query = new URLSearchParams({
    sort,
    order: isDescending(view) ? "desc" : "asc",
    limit: `${Math.min(tableRows(size), 1000)}`,
    offset: `${offset}`,
  });
  if (search !== "") query.set("search", search);
  if (device !== null) query.set("device", device);
  if (connectedOnly) query.set("state", "connected");
  return `/v1/peers?${query.toString()}`;
}

/** Texts are sorted ascending, numbers and times descending, unless reversed. */
function isDescending({ sort, isReversed }: View): boolean {
  return (sort !== "name" && sort !== "device") !== isReversed;
}

/** Limits the offset, so that the last page is full. */
export function clampOffset(view: View, total: number, size: Size): View {
  const offset = Math.max(0, Math.min(view.offset, total - tableRows(size)));
  return offset === view.offset ? view : { ...view, offset };
}

export interface Context extends Size {
  readonly shown: TopData | null;
}

/** Returns the view after a key, or the action of the key. */
export function handleKey(
  view: View,
  key: Key,
  { shown, ...size }: Context,
): View | "quit" | "suspend" | "redraw" {
  if (key === "ctrl-c") return "quit";
  if (key === "ctrl-z") return "suspend";
  if (key === "ctrl-l") return "redraw";
  if (view.prompt !== null) return handlePromptKey(view, view.prompt, key);
  const page = tableRows(size);
  const total = shown?.total ?? 0;
  const scrollTo = (offset: number) => clampOffset({ ...view, offset }, total, size);
  const sortBy = (step: number): View => {
    const index = (SORTS.indexOf(view.sort) + step + SORTS.length) % SORTS.length;
    return { ...view, sort: SORTS[index]!, isReversed: false, offset: 0 };
  };
  const atPeers: View = { ...view, isHelpShown: false, areAlertsShown: false };
  switch (typeof key === "string" ? key : key.text) {
    case "q":
      return view.isHelpShown || view.areAlertsShown ? atPeers : "quit";
    case "escape":
      return { ...atPeers, search: "", offset: 0 };
    case "?":
    case "h":
      return { ...atPeers, isHelpShown: !view.isHelpShown };
    case "a":
      return { ...atPeers, areAlertsShown: !view.areAlertsShown };
    case "s":
    case "right":
      return sortBy(1);
    case "left":
      return sortBy(-1);
    case "r":
      return { ...view, isReversed: !view.isReversed, offset: 0 };
    case "c":
      return { ...view, connectedOnly: !view.connectedOnly, offset: 0 };
    case "d": {
      const names = [null, ...(shown?.devices ?? []).map(({ name }) => name)];
      const next = names[(names.indexOf(view.device) + 1) % names.length] ?? null;
      return { ...view, device: next, offset: 0 };
    }
    case "/":
      return { ...atPeers, prompt: view.search };
    case "up":
    case "k":
      return scrollTo(view.offset - 1);
    case "down":
    case "j":
      return scrollTo(view.offset + 1);
    case "page-up":
      return scrollTo(view.offset - page);
    case "page-down":
    case " ":
      return scrollTo(view.offset + page);
    case "home":
    case "g":
      return scrollTo(0);
    case "end":
    case "G":
      return scrollTo(total);
    default:
      return view;
  }
}

/** Handles a key while the filter is edited. Each change of the filter applies at once. */
function handlePromptKey(view: View, prompt: string, key: Key): View {
  const search = (text: string): View => ({ ...view, prompt: text, search: text, offset: 0 });
  if (typeof key === "object") {
    return Array.from(prompt).length < SEARCH_MAX ? search(prompt + key.text) : view;
  }
  if (key === "enter") return { ...view, prompt: null };
  if (key === "escape") return { ...search(""), prompt: null };
  if (key === "backspace") return search(Array.from(prompt).slice(0, -1).join(""));
  return key === "ctrl-u" ? search("") : view;
}

const HELP = [
  "s, right, left       sort by another column",
  "r                    reverse the order",
  "/                    only peers with this text in name, key, tags or addresses",
  "d                    only peers of the next device, then all again",
  "c                    only connected peers, then all again",
  "a                    alerts instead of peers, then the peers again",
  "up, down, k, j       scroll by a row; page up, page down, space: by a page",
  "home, end, g, G      go to the first or the last row",
  "Ctrl-L, Ctrl-Z       redraw; suspend (fg resumes)",
  "q, Ctrl-C            quit",
  "",
  "SINCE      when the session began",
  "SEEN       the last activity; if not connected, the last handshake",
  "ADDRESS    the peer's first tunnel address, and how many more there are",
  "FROM PEER  what the peer sent to this gateway; TO PEER: what it received",
];

export interface Drawing extends Context {
  readonly nowMs: number;
  /** Why the shown data is out of date; null: it is current. */
  readonly problem: string | null;
  readonly paint: Paint;
}

/** Returns the lines of the screen: at most `rows`, each at most `columns` wide. */
export function render(view: View, drawing: Drawing): string[] {
  const { shown, columns, rows, nowMs, problem, paint } = drawing;
  const line = (text: string, style: Style | null = null) => {
    const cut = cutTo(text, columns);
    return style === null ? cut : paint(style, cut);
  };
  const lines = [
    line(titleOf(shown, nowMs), "bold"),
    line(summaryOf(shown)),
    alertLine(shown, line),
    problem === null ? line(rangeOf(view, drawing), "dim") : line(problem, "red"),
  ];
  const body = view.isHelpShown
    ? HELP.map((text) => line(text))
    : view.areAlertsShown
      ? alertLines(shown, drawing)
      : tableLines(shown?.peers ?? [], drawing);
  const bodyRows = tableRows(drawing) + 1;
  for (let row = 0; row < bodyRows; row++) lines.push(body[row] ?? "");
  if (rows >= MIN_ROWS_WITH_EVENTS) {
    lines.push("");
    const events = (shown?.events ?? []).slice(0, EVENTS).toReversed();
    for (let row = 0; row < EVENTS; row++) {
      const stored = events[row];
      const text = stored === undefined ? "" : eventLine(stored, nowMs);
      lines.push(line(text, "dim"));
    }
  }
  lines.push(
    view.prompt === null
      ? line(
          "q quit  ? help  s sort  r reverse  / filter  d device  c connected  a alerts",
          "inverse",
        )
      : line(`filter: ${shortName(view.prompt)}_   Enter: keep, Esc: clear`, "inverse"),
  );
  return lines.slice(0, rows);
}

function eventLine({ event, host }: StoredEventView, nowMs: number): string {
  return `${since(event.timestamp, nowMs)} ago: ${describeOnHub(event, host)}`;
}

function tableLines(peers: readonly PeerView[], { columns, nowMs, paint }: Drawing): string[] {
  const table = tableOf(columnsOf(peers, nowMs), peers, { maxWidth: columns, paint });
  return [paint("bold", table.header), ...peers.map((peer) => table.line(peer))];
}

const severityStyle = { info: null, warning: "bold", critical: "red" } as const;

/** `2 alerts fire: critical: office (wg1) is down ...; 1 held back` */
function alertLine(
  shown: TopData | null,
  line: (text: string, style: Style | null) => string,
): string {
  if (shown === null) return "";
  const { firing, heldBack } = shown.status.alerts;
  const held = heldBack === 0 ? "" : `; ${heldBack} held back`;
  const sent = shown.alerts.filter((alert) => alert.state !== "pending" && alert.heldBack === null);
  const ranks = sent.map(({ severity }) => SEVERITIES.indexOf(severity));
  const worst = sent[ranks.indexOf(Math.max(...ranks))];
  if (worst === undefined) return line(`no alert fires${held}`, "dim");
  const { severity, sentence } = worst;
  const fire = `${counted(firing, "alert")} ${firing === 1 ? "fires" : "fire"}${held}`;
  return line(`${fire}; ${severity}: ${sanitize(sentence)}`, severityStyle[severity]);
}

/** The alerts instead of the table of peers. */
function alertLines(shown: TopData | null, { columns, nowMs, paint }: Drawing): string[] {
  const alerts = shown?.alerts ?? [];
  if (alerts.length === 0) return ["no alert fires, and none is pending"];
  const table = tableOf<AlertApiView>(
    [
      {
        title: "SEVERITY",
        cell: ({ severity }) => severity,
        style: ({ severity, state, heldBack }) =>
          state === "pending" || heldBack !== null ? null : severityStyle[severity],
        priority: 1,
      },
      { title: "FOR", cell: (alert) => since(alert.since, nowMs), priority: 2 },
      { title: "ALERT", cell: ({ sentence }) => sanitize(sentence), priority: 0, shrinkTo: 30 },
      {
        title: "HELD BACK",
        cell: ({ state, heldBack }) =>
          state === "pending" ? "pending" : sanitize(heldBack?.sentence ?? ""),
        priority: 3,
      },
    ],
    alerts,
    { maxWidth: columns, paint },
  );
  return [paint("bold", table.header), ...alerts.map((alert) => table.line(alert))];
}

function titleOf(shown: TopData | null, nowMs: number): string {
  if (shown === null) return "wgmon";
  const { host, version, startedAt } = shown.status;
  return `${shortName(host)}: wgmon ${version}, up ${since(startedAt, nowMs)}`;
}

/** `2 devices, 3 of 5 peers connected; targets: 1 ok, 1 failing, 12 events waiting` */
function summaryOf(shown: TopData | null): string {
  if (shown === null) return "";
  const { devices, peers, connected, store } = shown.status;
  const { gateways, unknown = 0 } = shown.status;
  const parts = [
    `${counted(devices, "device")}, ${connected} of ${counted(peers, "peer")} connected${unknown === 0 ? "" : `, ${unknown} unknown`}`,
  ];
  if (gateways !== undefined) parts.unshift(describeGateways(gateways));
  if (shown.targets.length > 0) {
    const states = Object.entries(Object.groupBy(shown.targets, ({ state }) => state)).map(
      ([state, targets]) => `${targets.length} ${state}`,
    );
    const waiting = shown.targets.reduce((sum, target) => sum + target.waiting, 0);
    if (waiting > 0) states.push(`${counted(waiting, "event")} waiting`);
    parts.push(`targets: ${states.join(", ")}`);
  }
  if (store.problem !== null) parts.push(`store in memory only: ${shortName(store.problem)}`);
  return parts.join("; ");
}

/** `1-15 of 10000 peers by SINCE, descending; device wg0; filter: ali` */
function rangeOf(view: View, { shown, ...size }: Drawing): string {
  const { total = 0, peers = [] } = shown ?? {};
  const last = view.offset + peers.length;
  const range = total > tableRows(size) ? `${view.offset + 1}-${last} of ` : "";
  const parts = [
    `${range}${counted(total, "peer")} by ${peerColumns(0)[view.sort].title}, ${isDescending(view) ? "descending" : "ascending"}`,
  ];
  if (view.device !== null) parts.push(`device ${shortName(view.device)}`);
  if (view.connectedOnly) parts.push("connected only");
  if (view.search !== "") parts.push(`filter: ${shortName(view.search)}`);
  return parts.join("; ");
}
