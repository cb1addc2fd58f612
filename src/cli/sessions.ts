/** `wgmon sessions`: prints the sessions of peers as a table, as JSON or as CSV. */

import { shortName } from "../base/text.ts";
import { shortTunnelAddress } from "../base/tunnel-address.ts";
import type { SessionsRequest } from "../config/command-requests.ts";
import { duration } from "../events/event.ts";
import { csvLine, SESSION_COLUMNS, sessionLine } from "../http/csv.ts";
import type { SessionView } from "../http/schemas.ts";
import type { ApiReader } from "./client.ts";
import { checkDevices, findPeers, peerNotFound } from "./find-peers.ts";
import { type Page, PAGE_SIZE, pagesOf, periodOf } from "./history-query.ts";
import {
  bytes,
  type Column,
  json,
  type Output,
  peerName,
  since,
  type Table,
  tableOf,
} from "./text.ts";

interface Options extends Output {
  readonly request: SessionsRequest;
  /** Empty: all devices. */
  readonly devices: readonly string[];
  readonly nowMs: number;
}

/** A session of a daemon that may be older than this program. */
type GivenSession = Omit<SessionView, "allowedIps"> & Partial<Pick<SessionView, "allowedIps">>;

/** @throws SystemError; ConfigError when there is no such peer or device. */
export async function printSessions(api: ApiReader, options: Options): Promise<void> {
  const { request, devices, nowMs, print } = options;
  await checkDevices(api, request.requestedDevices, { allowsPast: true });
  const { peer } = request;
  const keys = peer === null ? null : (await findPeers(api, peer)).keys;
  if (keys?.length === 0) throw await peerNotFound(api, peer!);
  const format = formatter(options);
  let left = request.limit ?? Infinity;
  let hasFound = false;
  const pages = pagesOf<Page<GivenSession>>(api, "/v1/sessions", {
    ...periodOf(request, nowMs, "sessions"),
    // The API filters by one device and one peer; several are filtered here.
    device: devices.length === 1 ? devices[0]! : null,
    peer: keys?.length === 1 ? keys[0]! : null,
    limit: String(Math.min(left, PAGE_SIZE)),
  });
  for await (const { items } of pages) {
    const wanted = items.filter(
      ({ device, publicKey }) =>
        (devices.length === 0 || devices.includes(device)) &&
        (keys === null || keys.includes(publicKey)),
    );
    const found = wanted.slice(0, left).map((each) => ({ allowedIps: [], ...each }));
    if (found.length === 0) continue;
    hasFound = true;
    left -= found.length;
    if (!print(format(found)) || left === 0) return;
  }
  if (!hasFound) print(format([]));
}

/** Returns a function that formats the pages, one after the other. */
function formatter(options: Options): (sessions: readonly SessionView[]) => string {
  const { request, nowMs, maxWidth, paint } = options;
  switch (request.format) {
    case "json":
      return (sessions) => sessions.map((session) => `${json(session)}\n`).join("");
    case "csv": {
      let header = csvLine(SESSION_COLUMNS);
      return (sessions) => {
        const text = header + sessions.map(sessionLine).join("");
        header = "";
        return text;
      };
    }
    case "text": {
      let table: Table<SessionView> | null = null;
      return (sessions) => {
        const isFirst = table === null;
        // The first page determines the widths of the columns.
        table ??= tableOf(columns(nowMs), sessions, { maxWidth, paint });
        const { header, line } = table;
        if (isFirst && sessions.length === 0) return "no sessions\n";
        const lines = [...(isFirst ? [paint("dim", header)] : []), ...sessions.map(line)];
        return lines.map((each) => `${each}\n`).join("");
      };
    }
  }
}

function columns(nowMs: number): readonly Column<SessionView>[] {
  return [
    { title: "PEER", cell: peerName, priority: 0, minWidth: 12, shrinkTo: 12 },
    {
      title: "ADDRESS",
      cell: ({ allowedIps }) => shortTunnelAddress(allowedIps),
      priority: 5,
    },
    { title: "DEVICE", cell: ({ device }) => shortName(device), priority: 4 },
    { title: "STARTED", cell: ({ startedAt }) => `${since(startedAt, nowMs)} ago`, priority: 1 },
    { title: "LASTED", cell: ({ durationMs }) => duration(durationMs), priority: 2 },
    {
      title: "END",
      cell: ({ reason }) => reason ?? "open",
      style: ({ reason }) => (reason === null ? "green" : null),
      priority: 3,
    },
    { title: "ENDPOINT", cell: ({ endpoint }) => endpoint ?? "", priority: 6 },
    { title: "FROM PEER", cell: ({ rxBytes }) => bytes(rxBytes), isNumber: true, priority: 7 },
    { title: "TO PEER", cell: ({ txBytes }) => bytes(txBytes), isNumber: true, priority: 8 },
    { title: "ROAMS", cell: ({ roams }) => String(roams), isNumber: true, priority: 9 },
  ];
}
