/** The page of all sessions, and the table of sessions that a peer's page contains. */

import { showBytes } from "../base/size.ts";
import { duration } from "../events/event.ts";
import { isObserved } from "../http/fleet-model.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { PeerView, SessionView } from "../http/schemas.ts";
import { formatSessionCursor, parseSessionCursor } from "../http/session-cursor.ts";
import { type Transfer, viewSession, viewSessions } from "../http/view.ts";
import type { SessionRow } from "../store/stored-sessions.ts";
import { Addresses, Age, At, ListNote, Name, None, PeerLink, State } from "./components.tsx";
import { idOf } from "./format.ts";
import { readFilter } from "./history-filter.tsx";
import { HistoryPage } from "./history-page.tsx";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";

const PAGE_SIZE = 100;
const PATH = "/sessions";
const kinds = { name: "state", label: "State", choices: ["open", "ended"] } as const;

export function sessions(
  { source, snapshot }: { source: ReadModel; snapshot: PageSnapshot },
  given: URLSearchParams,
): PageContent {
  const filter = readFilter(source, given, kinds);
  const before = parseSessionCursor(given.get("before") ?? "");
  const { parameters, publicKey, sinceMs, untilMs } = filter;
  const rows =
    filter.candidates !== null
      ? []
      : source.store.sessions.query({
          ...filter.place,
          publicKey,
          sinceMs,
          untilMs,
          isOpen: parameters.kind === null ? null : parameters.kind === "open",
          from: before,
          limit: PAGE_SIZE + 1,
        });
  const shown = rows.slice(0, PAGE_SIZE);
  return {
    title: "Sessions",
    body: (
      <HistoryPage
        title="Sessions"
        source={source}
        filter={filter}
        path={PATH}
        kinds={kinds}
        snapshot={snapshot}
        isLatest={before === null}
        older={rows.length > PAGE_SIZE ? formatSessionCursor(shown.at(-1)!) : null}
      >
        <SessionTable
          source={source}
          rows={shown}
          snapshot={snapshot}
          isOnePeer={false}
          all={filter.isActive || before !== null ? PATH : null}
        />
      </HistoryPage>
    ),
  };
}

/** A session, with the addresses of its peer if they are shown. */
type Row = Omit<SessionView, "allowedIps"> & Partial<Pick<SessionView, "allowedIps">>;

interface SessionTableProps {
  readonly source: ReadModel;
  readonly rows: readonly SessionRow[];
  readonly snapshot: PageSnapshot;
  /** All rows are of one peer, so they have no columns for peer, address and device. */
  readonly isOnePeer: boolean;
  /** Transfer of the open session, if it is known from a later reading than the last scan. */
  readonly current?: Transfer | null;
  /** Address of the sessions without the filter; omitted or null if there is no filter. */
  readonly all?: string | null;
}

export function SessionTable(props: SessionTableProps) {
  const { source, rows, snapshot, isOnePeer, current = null, all = null } = props;
  // Without a column for the addresses, the peers need not be listed.
  const views: readonly Row[] = isOnePeer
    ? rows.map((row) => viewSession(source, row))
    : viewSessions(source, rows);
  const items = views.map((view) => {
    const transfer = view.endedAt === null ? current : null;
    const openState = isObserved(source, view.device) ? "connected" : "unknown";
    return sessionItem({ ...view, ...transfer }, { snapshot, isOnePeer, openState });
  });
  const heads = [
    ...(isOnePeer ? [] : ["Peer", "Address"]),
    "Start",
    "End",
    "Duration",
    "From peer",
    "To peer",
    "Endpoint",
    "Roams",
    "Ended by",
    ...(isOnePeer ? [] : ["Device"]),
  ];
  return (
    <>
      <table class={isOnePeer ? "cards sessions one" : "cards sessions"} role="table">
        <caption class="unseen">Sessions, the latest first</caption>
        <thead role="rowgroup">
          <tr role="row">
            {heads.map((each) => (
              <th role="columnheader" scope="col" class={headStyles[each]}>
                {each}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup" id="sessions">
          {snapshot.list("sessions", items)}
        </tbody>
      </table>
      <ListNote list="sessions" snapshot={snapshot}>
        {items.length > 0 ? null : all === null ? (
          "There are no sessions yet."
        ) : (
          <>
            No sessions match the filter. <a href={all}>Show all sessions</a>
          </>
        )}
      </ListNote>
    </>
  );
}

/** The CSS class of a column. */
const headStyles: Readonly<Record<string, string>> = {
  Duration: "number",
  "From peer": "number",
  "To peer": "number",
  Roams: "number",
  Endpoint: "endpoint",
};

interface SessionData extends Pick<SessionTableProps, "snapshot" | "isOnePeer"> {
  /** The state of the peer if the session is open. */
  readonly openState: PeerView["state"];
}

function sessionItem(session: Row, { snapshot, isOnePeer, openState }: SessionData): Item {
  const { device, publicKey, name, startedAt, endedAt, durationMs, reason, endpoint } = session;
  const { rxBytes, txBytes, roams, allowedIps = [] } = session;
  const id = idOf("s", device, publicKey, startedAt);
  const startMs = Date.parse(startedAt);
  const start = <At ms={startMs} snapshot={snapshot} />;
  return item(id, <tr role="row" id={id}></tr>, [
    ...(isOnePeer
      ? [
          <th role="rowheader" scope="row">
            {start}
          </th>,
        ]
      : [
          <th role="rowheader" scope="row">
            <PeerLink device={device} publicKey={publicKey} name={name} />
          </th>,
          <td role="cell" class="end">
            <Addresses allowedIps={allowedIps} />
          </td>,
          <td role="cell">{start}</td>,
        ]),
    <td role="cell" class="desk">
      {endedAt === null ? (
        <State state={openState} />
      ) : (
        <At ms={Date.parse(endedAt)} snapshot={snapshot} />
      )}
    </td>,
    <td role="cell" class="number end">
      {endedAt === null ? (
        <>
          <span class="phone">
            <State state={openState} />{" "}
          </span>
          {openState === "unknown" ? (
            <span>{duration(durationMs)}</span>
          ) : (
            <Age ms={startMs} snapshot={snapshot} as="for" />
          )}
        </>
      ) : (
        <span>{duration(durationMs)}</span>
      )}
    </td>,
    <td role="cell" class="number" data-label="From peer">
      {showBytes(rxBytes)}
    </td>,
    <td role="cell" class="number end" data-label="To peer">
      {showBytes(txBytes)}
    </td>,
    <td role="cell" class="endpoint desk" title={endpoint ?? undefined}>
      {endpoint === null ? <None /> : <code>{endpoint}</code>}
    </td>,
    <td role="cell" class="number desk">
      {roams}
    </td>,
    <td role="cell" class="desk">
      {reason === null ? <None /> : reason.replace("-", " ")}
    </td>,
    ...(isOnePeer
      ? []
      : [
          <td role="cell" class="desk">
            <Name text={device} />
          </td>,
        ]),
  ]);
}
