/** The page of all sessions, and the table of sessions that a peer's page contains. */

import { keyFromUrl, type PublicKey, urlKey } from "../base/wireguard.ts";
import { duration } from "../events/event.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type SessionView } from "../http/schemas.ts";
import { viewSession } from "../http/view.ts";
import type { SessionCursor, SessionRow } from "../store/stored-sessions.ts";
import { Age, At, FilterForm, Name, None, PeerLink, State, Wide } from "./components.tsx";
import { address, bytes, idOf } from "./format.ts";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";

const PAGE_SIZE = 100;

const states = ["open", "ended"] as const;

export function sessions(
  { source, snapshot }: { source: ReadModel; snapshot: PageSnapshot },
  given: URLSearchParams,
): PageContent {
  const state = states.find((each) => each === given.get("state")) ?? null;
  const peer = keyFromUrl(given.get("peer") ?? "");
  const before = parseCursor(given.get("before") ?? "");
  const rows = source.store.sessions.query({
    device: null,
    publicKey: peer,
    sinceMs: null,
    isOpen: state === null ? null : state === "open",
    from: before,
    limit: PAGE_SIZE + 1,
  });
  const shown = rows.slice(0, PAGE_SIZE);
  const key = peer === null ? null : urlKey(peer);
  const olderThan = (cursor: SessionCursor | null) =>
    address("/sessions", {
      state,
      peer: key,
      before: cursor === null ? null : formatCursor(cursor),
    });
  return {
    title: "Sessions",
    body: (
      <>
        <h1>Sessions</h1>
        <FilterForm
          action="/sessions"
          label="State"
          name="state"
          choices={states}
          chosen={state}
          peer={peer}
        />
        <SessionTable
          source={source}
          rows={shown}
          snapshot={snapshot}
          isOnePeer={false}
          all={state === null && peer === null ? null : "/sessions"}
        />
        {snapshot.part(
          "more",
          <nav id="more" class="pages" aria-label="Pages of sessions">
            {before === null ? null : <a href={olderThan(null)}>Latest</a>}
            {rows.length > PAGE_SIZE ? <a href={olderThan(shown.at(-1)!)}>Older</a> : null}
          </nav>,
        )}
      </>
    ),
  };
}

interface SessionTableProps {
  readonly source: ReadModel;
  readonly rows: readonly SessionRow[];
  readonly snapshot: PageSnapshot;
  /** All rows are of one peer, so they have no columns for peer and device. */
  readonly isOnePeer: boolean;
  /** Address of the sessions without the filter; omitted or null if there is no filter. */
  readonly all?: string | null;
}

export function SessionTable({ source, rows, snapshot, isOnePeer, all = null }: SessionTableProps) {
  const items = rows.map((row) => sessionItem(viewSession(source, row), snapshot, isOnePeer));
  return (
    <Wide label="Sessions">
      <table>
        <caption class="unseen">Sessions, the latest first</caption>
        <thead>
          <tr>
            {isOnePeer ? null : (
              <>
                <th scope="col">Peer</th>
                <th scope="col">Device</th>
              </>
            )}
            <th scope="col">Start</th>
            <th scope="col">End</th>
            <th scope="col" class="number">
              Duration
            </th>
            <th scope="col">Why it ended</th>
            <th scope="col">Endpoint</th>
            <th scope="col" class="number">
              Received
            </th>
            <th scope="col" class="number">
              Sent
            </th>
            <th scope="col" class="number">
              Roams
            </th>
          </tr>
        </thead>
        <tbody id="sessions">{snapshot.list("sessions", items)}</tbody>
      </table>
      {snapshot.part(
        "sessions-none",
        <p id="sessions-none" class="empty">
          {items.length > 0 ? null : all === null ? (
            "There are no sessions yet."
          ) : (
            <>
              No session matches the filter. <a href={all}>Show all sessions</a>
            </>
          )}
        </p>,
      )}
    </Wide>
  );
}

function sessionItem(
  session: Omit<SessionView, "allowedIps">,
  snapshot: PageSnapshot,
  isOnePeer: boolean,
): Item {
  const { device, publicKey, name, startedAt, endedAt, durationMs, reason, endpoint } = session;
  const { rxBytes, txBytes, roams } = session;
  const id = idOf("s", device, publicKey, startedAt);
  const startMs = Date.parse(startedAt);
  const start = <At ms={startMs} snapshot={snapshot} />;
  return item(id, <tr id={id}></tr>, [
    ...(isOnePeer
      ? [<th scope="row">{start}</th>]
      : [
          <th scope="row">
            <PeerLink device={device} publicKey={publicKey} name={name} />
          </th>,
          <td>
            <Name text={device} />
          </td>,
          <td>{start}</td>,
        ]),
    <td>
      {endedAt === null ? (
        <State state="connected" />
      ) : (
        <At ms={Date.parse(endedAt)} snapshot={snapshot} />
      )}
    </td>,
    <td class="number">
      {endedAt === null ? <Age ms={startMs} snapshot={snapshot} as="for" /> : duration(durationMs)}
    </td>,
    <td>{reason === null ? <None /> : reason.replace("-", " ")}</td>,
    <td>{endpoint === null ? <None /> : <code>{endpoint}</code>}</td>,
    <td class="number">{bytes(rxBytes)}</td>,
    <td class="number">{bytes(txBytes)}</td>,
    <td class="number">{roams}</td>,
  ]);
}

/** `1767225600000.<key>.wg0`. The device is last because its name may contain dots. */
function formatCursor({ startedAtMs, device, publicKey }: SessionCursor): string {
  return `${startedAtMs}.${urlKey(publicKey)}.${device}`;
}

/** Returns null if the text is not a cursor. */
function parseCursor(text: string): SessionCursor | null {
  const [, startedAtMs, key, device] = /^(\d{1,15})\.([\w-]+)\.(.+)$/s.exec(text) ?? [];
  const publicKey = keyFromUrl(key ?? "");
  if (publicKey === null) return null;
  return { startedAtMs: Number(startedAtMs), device: device!, publicKey: publicKey as PublicKey };
}
