/** `wgmon alerts`: prints the alerts that fire, are held back, are pending, and with a period those that are over. */

import { counted, shortName } from "../base/text.ts";
import type { AlertListRequest } from "../config/command-requests.ts";
import type { AlertApiView } from "../http/alert-schemas.ts";
import type { ApiReader } from "./client.ts";
import { checkDevices, findPeers, peerNotFound } from "./find-peers.ts";
import { type Page, PAGE_SIZE, pagesOf, periodOf } from "./history-query.ts";
import { type Column, json, type Output, since, type Style, tableOf } from "./text.ts";

interface Options extends Output {
  readonly request: AlertListRequest;
  readonly nowMs: number;
}

/** @throws SystemError; ConfigError when there is no such peer or device. */
export async function printAlerts(api: ApiReader, options: Options): Promise<void> {
  const { request, nowMs, print } = options;
  const { peer, rule, requestedDevices: devices, isPast } = request;
  await checkDevices(api, devices, { allowsPast: true });
  const keys = peer === null ? null : (await findPeers(api, peer)).keys;
  if (keys?.length === 0) throw await peerNotFound(api, peer!);
  let left = (isPast ? request.limit : null) ?? Infinity;
  const found: AlertApiView[] = [];
  const pages = pagesOf<Page<AlertApiView>>(api, "/v1/alerts", {
    ...periodOf(request, nowMs, "alerts"),
    state: isPast ? null : "current",
    rule,
    // The API filters by one device and one peer; several are filtered here.
    device: devices.length === 1 ? devices[0]! : null,
    peer: keys?.length === 1 ? keys[0]! : null,
    limit: String(Math.min(left, PAGE_SIZE)),
  });
  for await (const { items } of pages) {
    const wanted = items.filter(
      (alert) =>
        (devices.length === 0 || devices.includes(alert.device ?? "")) &&
        (keys === null || keys.includes(alert.peer?.publicKey ?? "")),
    );
    const shown = wanted.slice(0, left);
    left -= shown.length;
    if (request.json) {
      if (!print(shown.map((alert) => `${json(alert)}\n`).join(""))) return;
    } else {
      found.push(...shown);
    }
    if (left === 0) break;
  }
  if (!request.json) print(textOf(found, options));
}

function textOf(alerts: readonly AlertApiView[], options: Options): string {
  const { request, nowMs, maxWidth, paint } = options;
  if (alerts.length === 0) {
    return request.isPast ? "no alerts\n" : "no alert fires, and none is pending\n";
  }
  const table = tableOf(columns(nowMs, request.isPast), alerts, { maxWidth, paint });
  const lines = [summaryOf(alerts), paint("dim", table.header), ...alerts.map(table.line)];
  return lines.map((line) => `${line}\n`).join("");
}

/** `2 alerts fire, 1 is held back, 1 is pending` */
function summaryOf(alerts: readonly AlertApiView[]): string {
  const count = (word: string) => alerts.filter((alert) => stateOf(alert) === word).length;
  const firing = alerts.filter(isFiring).length;
  const others = ["held back", "pending", "resolved"].map((word) => [word, count(word)] as const);
  return [
    `${counted(firing, "alert")} ${firing === 1 ? "fires" : "fire"}`,
    ...others
      .filter(([, number]) => number > 0)
      .map(([word, number]) => `${number} ${number === 1 ? "is" : "are"} ${word}`),
  ].join(", ");
}

/** Why no target receives a message. */
function heldBackText(alert: AlertApiView): string {
  const { heldBack, dryRun, sent, accepted } = alert;
  if (heldBack !== null) return heldBack.sentence;
  if (dryRun) return "recorded only (dry_run)";
  return isFiring(alert) && sent && accepted === false ? "no target accepts it" : "";
}

function isFiring(alert: AlertApiView): boolean {
  return ["firing", "recovering"].includes(stateOf(alert));
}

function stateOf({ state, heldBack }: AlertApiView): string {
  return heldBack !== null && state !== "pending" && state !== "resolved" ? "held back" : state;
}

function columns(nowMs: number, isPast: boolean): readonly Column<AlertApiView>[] {
  return [
    {
      title: "STATE",
      cell: stateOf,
      style: (alert) => (isFiring(alert) ? severityStyle[alert.severity] : null),
      priority: 1,
    },
    { title: "SEVERITY", cell: ({ severity }) => severity, priority: 4 },
    { title: "RULE", cell: ({ rule }) => shortName(rule), priority: 3 },
    { title: "SINCE", cell: ({ since: at }) => `${since(at, nowMs)} ago`, priority: 2 },
    ...(isPast
      ? [
          {
            title: "RESOLVED",
            cell: ({ resolvedAt, moment }: AlertApiView) =>
              resolvedAt === null || moment ? "" : `${since(resolvedAt, nowMs)} ago`,
            priority: 6,
          },
        ]
      : []),
    { title: "ALERT", cell: ({ sentence }) => sentence, priority: 0, shrinkTo: 30 },
    { title: "HELD BACK", cell: heldBackText, priority: 7 },
    { title: "ID", cell: ({ id }) => id ?? "", priority: 5 },
  ];
}

const severityStyle: Readonly<Record<AlertApiView["severity"], Style | null>> = {
  info: null,
  warning: "bold",
  critical: "red",
};
