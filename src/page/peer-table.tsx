/** The list of peers: its search form, its table, and the links to its other pages. */

import type { AlertView } from "../alerts/alert.ts";
import { SEARCH_MAX, shortName } from "../base/text.ts";
import type { FoundPeer } from "../http/peer-lists.ts";
import { stateNames } from "../http/schemas.ts";
import { endpointOf } from "../http/view.ts";
import type { Rates } from "../stats/rates.ts";
import { AlertMark } from "./alert-list.tsx";
import { Tape } from "./charts.tsx";
import { Addresses, Age, Name, None, PeerLink, State, Tags } from "./components.tsx";
import { count, counted, idOf, speed } from "./format.ts";
import {
  addressOf,
  DEFAULT_RANGE,
  DEFAULT_SORT,
  type ListQuery,
  type ListSort,
  type PeerPage,
  sortedBy,
} from "./list.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import type { History } from "./peer-history.ts";
import type { FiringTime } from "./recent-alerts.ts";

interface Column {
  readonly name: string;
  /** null if peers cannot be sorted by this column. */
  readonly sort: ListSort | null;
  readonly style?: "number" | "endpoint";
}

const columns: readonly Column[] = [
  { name: "Peer", sort: "name" },
  { name: "Address", sort: null },
  { name: "State", sort: "state" },
  { name: "Last activity", sort: "lastSeenAt", style: "number" },
  { name: "From peer", sort: "rxBytesPerSecond", style: "number" },
  { name: "To peer", sort: "txBytesPerSecond", style: "number" },
  { name: "Last 24 hours", sort: null },
  { name: "Endpoint", sort: null, style: "endpoint" },
  { name: "Device", sort: "device" },
];

/** Orders that have no column of their own. */
const otherSorts = [{ name: "Connected since", sort: "startedAt" }] as const;

export function isFiltered({ search, gateway = null, device, state, path }: ListQuery): boolean {
  const isOfGateway = gateway !== null && path === undefined;
  return search !== null || isOfGateway || device !== null || state !== null;
}

/**
 * A form that works without JavaScript. Its fields keep the filters and the order that were chosen by links. With
 * JavaScript, the list follows the text while it is typed.
 */
export function Search({
  query,
  devices,
  gateways,
}: {
  query: ListQuery;
  devices: readonly string[];
  /** The names of the gateways of a hub; empty on a gateway, and on the page of one. */
  gateways: readonly string[];
}) {
  const { search, gateway = null, device, state, sort, isDescending, range, path } = query;
  const hasOrder = addressOf(query).includes("order=");
  return (
    <form class="search" role="search" action={path ?? "/"} data-live>
      <label class="wider">
        <span>Search</span>
        <input
          id="q"
          type="search"
          name="q"
          value={search ?? ""}
          maxlength={SEARCH_MAX}
          placeholder="name, tag, key, address"
          aria-keyshortcuts="/"
          autocomplete="off"
        />
      </label>
      <label>
        <span>State</span>
        <select name="state">
          <option value="">any</option>
          {statesOf(query, gateways).map((each) => (
            <option value={each} selected={each === state}>
              {each}
            </option>
          ))}
        </select>
      </label>
      {gateways.length === 0 ? null : (
        <label>
          <span>Gateway</span>
          <select name="host">
            <option value="">all</option>
            {[...new Set([...gateways, ...(gateway === null ? [] : [gateway])])].map((each) => (
              <option value={each} selected={each === gateway}>
                {shortName(each)}
              </option>
            ))}
          </select>
        </label>
      )}
      {devices.length < 2 && device === null ? null : (
        <label>
          <span>Device</span>
          <select name="device">
            <option value="">all</option>
            {[...new Set([...devices, ...(device === null ? [] : [device])])].map((each) => (
              <option value={each} selected={each === device}>
                {shortName(each)}
              </option>
            ))}
          </select>
        </label>
      )}
      <label class="narrow">
        <span>Sort by</span>
        <select name="sort">
          {[...columns, ...otherSorts].map(({ name, sort: each }) =>
            each === null ? null : (
              <option value={each === DEFAULT_SORT ? "" : each} selected={each === sort}>
                {name.toLowerCase()}
              </option>
            ),
          )}
        </select>
      </label>
      <label class="narrow">
        <span>Order</span>
        <select name="order">
          <option value="">default</option>
          <option value="asc" selected={!isDescending && hasOrder}>
            smallest first
          </option>
          <option value="desc" selected={isDescending && hasOrder}>
            largest first
          </option>
        </select>
      </label>
      {range === DEFAULT_RANGE ? null : <input type="hidden" name="range" value={range} />}
      <button>Search</button>
    </form>
  );
}

/** The states that peers can have here: without gateways, each state is known. */
function statesOf({ gateway = null, state }: ListQuery, gateways: readonly string[]) {
  const isHub = gateway !== null || gateways.length > 0;
  return stateNames.filter((each) => each !== "unknown" || isHub || state === each);
}

interface PeerTableProps {
  readonly rows: readonly Item[];
  readonly query: ListQuery;
  readonly hasDevices: boolean;
  readonly snapshot: PageSnapshot;
}

/**
 * On a small screen, CSS turns the rows into cards, which removes the ARIA roles of a table; so they are set
 * explicitly.
 */
export function PeerTable({ rows, query, hasDevices, snapshot }: PeerTableProps) {
  return (
    <table class={hasDevices ? "peers cards" : "peers cards one-device"} role="table">
      <caption class="unseen">Peers</caption>
      <thead role="rowgroup">
        {snapshot.part(
          "columns",
          <tr role="row" id="columns">
            {columns.map(({ name, sort, style }) => (
              <th
                role="columnheader"
                scope="col"
                class={style}
                aria-sort={
                  sort !== query.sort ? null : query.isDescending ? "descending" : "ascending"
                }
              >
                {sort === null ? name : <a href={addressOf(sortedBy(query, sort))}>{name}</a>}
              </th>
            ))}
          </tr>,
        )}
      </thead>
      <tbody role="rowgroup" id="peers">
        {snapshot.list("peers", rows)}
      </tbody>
    </table>
  );
}

/** What a row shows in addition to FoundPeer. */
interface RowData {
  readonly snapshot: PageSnapshot;
  readonly day: History;
  readonly rate: Rates | null;
  readonly tags: readonly string[];
  /** The name that reverse DNS has for the endpoint; null: none is known. */
  readonly endpointName: string | null;
  /** The worst alert about the peer that fires; null: none. */
  readonly alert: AlertView | null;
  /** Its alerts of the last 24 hours. */
  readonly alerts: readonly FiringTime[];
}

export function peerItem(row: FoundPeer, data: RowData): Item {
  const { snapshot, day, rate, tags, endpointName, alert, alerts } = data;
  const { device, peer, session, state, name } = row;
  const { publicKey } = peer;
  const id = idOf("p", device, publicKey);
  const endpoint = endpointOf(peer, session);
  const seenMs = session?.lastActivity.wallMs ?? latest(day.lastEndMs, peer.lastHandshakeMs);
  return item(id, <tr role="row" id={id} class={state}></tr>, [
    <th role="rowheader" scope="row">
      <PeerLink device={device} publicKey={publicKey} name={name} />
      {alert === null ? null : <AlertMark alert={alert} />}
      <Tags tags={tags} />
    </th>,
    <td role="cell" class="second">
      <Addresses allowedIps={peer.allowedIps} />
    </td>,
    <td role="cell" class="state-cell">
      <State state={state} />
      {session === null ? null : (
        <>
          {" "}
          <Age ms={session.startedAtMs} snapshot={snapshot} as="for" />
        </>
      )}
    </td>,
    <td role="cell" class="number end">
      {seenMs === null ? <None /> : <Age ms={seenMs} snapshot={snapshot} as="ago" />}
    </td>,
    <td role="cell" data-label="From peer" class={session === null ? "number desk" : "number"}>
      <Speed bytesPerSecond={rate?.rxBytesPerSecond ?? null} />
    </td>,
    <td role="cell" data-label="To peer" class={session === null ? "number desk" : "number end"}>
      <Speed bytesPerSecond={rate?.txBytesPerSecond ?? null} />
    </td>,
    <td role="cell" class="full tape-cell">
      <Tape day={day} alerts={alerts} />
    </td>,
    <EndpointCell endpoint={endpoint} name={endpointName} />,
    <td role="cell" class="desk">
      <Name text={device} />
    </td>,
  ]);
}

function EndpointCell({ endpoint, name }: { endpoint: string | null; name: string | null }) {
  if (endpoint === null || name === null) {
    return (
      <td role="cell" class="endpoint desk" title={endpoint ?? undefined}>
        {endpoint === null ? <None /> : <code>{endpoint}</code>}
      </td>
    );
  }
  return (
    <td role="cell" class="endpoint desk" title={`${endpoint} (${name})`}>
      <code>{endpoint}</code>
      <small>
        <Name text={name} />
      </small>
    </td>
  );
}

function Speed({ bytesPerSecond }: { bytesPerSecond: number | null }) {
  return bytesPerSecond === null ? <None /> : <>{speed(bytesPerSecond)}</>;
}

/** The number of peers found, and links to the other pages. */
export function FoundNote({
  found,
  query,
  hasDevices,
}: {
  found: PeerPage;
  query: ListQuery;
  hasDevices: boolean;
}) {
  const { rows, total, page, pages, first } = found;
  const { range } = query;
  const { gateway: _, ...rest } = query;
  const kept = query.path === undefined ? rest : query;
  const all = addressOf({ ...kept, search: null, device: null, state: null, page: 1 });
  if (total === 0) {
    return (
      <p id="found" class="empty">
        {!hasDevices && query.gateway !== undefined ? (
          "The gateway has not reported a WireGuard device yet."
        ) : !hasDevices ? (
          "There is no WireGuard device yet. wgmon shows the first one when it appears."
        ) : !isFiltered(query) ? (
          "The devices have no peers yet."
        ) : (
          <>
            No peer matches the filter. <a href={all}>Show all peers</a>
          </>
        )}
      </p>
    );
  }
  const to = (number: number) => addressOf({ ...query, page: number, range });
  return (
    <nav id="found" class="pages" aria-label="Pages of peers">
      {page > 1 ? (
        <a href={to(page - 1)} rel="prev">
          Previous
        </a>
      ) : null}
      <span>
        {pages === 1
          ? counted(total, "peer")
          : `${count(first)} to ${count(first + rows.length - 1)} of ${counted(total, "peer")}`}
      </span>
      {page < pages ? (
        <a href={to(page + 1)} rel="next">
          Next
        </a>
      ) : null}
      {isFiltered(query) ? <a href={all}>Show all</a> : null}
    </nav>
  );
}

function latest(...times: readonly (number | null)[]): number | null {
  const known = times.filter((time) => time !== null);
  return known.length === 0 ? null : Math.max(...known);
}
