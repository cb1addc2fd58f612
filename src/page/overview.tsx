/** The first page: devices, peers, the latest events and the state of the targets. */

import { shortName } from "../base/text.ts";
import { shortKey } from "../base/wireguard.ts";
import { findPeers, type FoundPeer, SEARCH_MAX } from "../http/peer-query.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type DeviceView, stateNames } from "../http/schemas.ts";
import { endpointOf, ratesOf, viewDevices, viewTargets } from "../http/view.ts";
import type { Rates } from "../stats/rates.ts";
import { Spark } from "./charts.tsx";
import { Age, Name, None, PeerLink, State } from "./components.tsx";
import { EventList } from "./events.tsx";
import { address, bytes, count, counted, idOf } from "./format.ts";
import {
  addressOf,
  type ListQuery,
  type ListSort,
  pageOf,
  type PeerPage,
  sortedBy,
} from "./list.ts";
import { Targets } from "./outbox.tsx";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import type { PeerDay, PeerHistory } from "./peer-history.ts";

const EVENTS_MAX = 10;

interface Column {
  readonly name: string;
  /** null if peers cannot be sorted by this column. */
  readonly sort: ListSort | null;
  readonly isNumber?: true;
}

const columns: readonly Column[] = [
  { name: "State", sort: "state" },
  { name: "Peer", sort: "name" },
  { name: "Device", sort: "device" },
  { name: "Endpoint", sort: null },
  { name: "Since", sort: "startedAt", isNumber: true },
  { name: "Last activity", sort: "lastSeenAt", isNumber: true },
  { name: "Receives", sort: "rxBytesPerSecond", isNumber: true },
  { name: "Sends", sort: "txBytesPerSecond", isNumber: true },
  { name: "Last 24 hours", sort: null },
];

export async function overview(
  {
    source,
    history,
    snapshot,
  }: { source: ReadModel; history: PeerHistory; snapshot: PageSnapshot },
  query: ListQuery,
): Promise<PageContent> {
  const devices = viewDevices(source);
  const sum = (counts: readonly number[]) => counts.reduce((total, each) => total + each, 0);
  const peers = sum(devices.map((device) => device.peers));
  const connected = sum(devices.map((device) => device.connected));
  const { store } = source;
  const found = pageOf(findPeers(source, query), query.page);
  const days = await history.ofAll(
    found.rows.map(({ device, peer }) => ({ device, publicKey: peer.publicKey })),
  );
  const rows = found.rows.map((row, index) =>
    peerItem(row, {
      snapshot,
      day: days[index]!,
      rate: ratesOf(source, row.session),
      tags: source.tagsOf(row.peer.publicKey),
    }),
  );
  const events = source.store.events.query({
    order: "newest",
    from: null,
    limit: EVENTS_MAX,
    type: null,
    publicKey: null,
    sinceMs: null,
  });
  const title = `${count(connected)} of ${counted(peers, "peer")} connected`;
  return {
    title,
    body: (
      <>
        <h1>Peers</h1>
        {snapshot.part(
          "summary",
          <div id="summary">
            <p class="lead">{title}</p>
            {store.isInMemory ? (
              <p class="warning">
                The store is in memory only and is lost at a restart
                {store.problem === null ? "" : `: ${store.problem}`}.
              </p>
            ) : null}
          </div>,
        )}
        <Devices devices={devices} snapshot={snapshot} />
        <section aria-label="Peers">
          <Search query={query} devices={devices.map(({ name }) => name)} />
          <PeerTable rows={rows} query={query} snapshot={snapshot} />
          {snapshot.part(
            "found",
            <FoundNote found={found} query={query} hasDevices={devices.length > 0} />,
          )}
        </section>
        <div class="columns">
          <section aria-labelledby="events-title">
            <h2 id="events-title">
              <a href="/events">Events</a>
            </h2>
            <EventList id="events" events={events} snapshot={snapshot} />
          </section>
          <section aria-labelledby="outbox-title">
            <h2 id="outbox-title">
              <a href="/outbox">Outbox</a>
            </h2>
            <Targets targets={viewTargets(source)} snapshot={snapshot} />
          </section>
        </div>
      </>
    ),
  };
}

function Devices({
  devices,
  snapshot,
}: {
  devices: readonly DeviceView[];
  snapshot: PageSnapshot;
}) {
  const rows = devices.map(({ name, publicKey, listenPort, peers, connected }): Item => {
    const id = idOf("d", name);
    return item(id, <tr id={id}></tr>, [
      <th scope="row">
        <a href={address("/", { device: name })}>
          <Name text={name} />
        </a>
      </th>,
      <td class="number">{listenPort === 0 ? <None /> : listenPort}</td>,
      <td class="number">
        {count(connected)} of {count(peers)}
      </td>,
      <td>
        {publicKey === null ? <None /> : <code title={publicKey}>{shortKey(publicKey)}</code>}
      </td>,
    ]);
  });
  return (
    <table class="devices">
      <caption>Devices</caption>
      <thead>
        <tr>
          <th scope="col">Device</th>
          <th scope="col" class="number">
            Port
          </th>
          <th scope="col" class="number">
            Connected
          </th>
          <th scope="col">Public key</th>
        </tr>
      </thead>
      <tbody id="devices">{snapshot.list("devices", rows)}</tbody>
    </table>
  );
}

/** A form that works without JavaScript. Its fields keep the filters and the order that were chosen by links. */
function Search({ query, devices }: { query: ListQuery; devices: readonly string[] }) {
  const { search, device, state, sort, isDescending } = query;
  return (
    <form class="search" role="search" action="/">
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
        />
      </label>
      <label>
        <span>State</span>
        <select name="state">
          <option value="">any</option>
          {stateNames.map((each) => (
            <option value={each} selected={each === state}>
              {each}
            </option>
          ))}
        </select>
      </label>
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
          {columns.map(({ name, sort: each }) =>
            each === null ? null : (
              <option value={each} selected={each === sort}>
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
          <option value="asc" selected={!isDescending && addressOf(query).includes("order=")}>
            smallest first
          </option>
          <option value="desc" selected={isDescending && addressOf(query).includes("order=")}>
            largest first
          </option>
        </select>
      </label>
      <button>Search</button>
      {search === null && device === null && state === null ? null : <a href="/">Show all</a>}
    </form>
  );
}

/**
 * On a small screen, CSS turns the rows into cards, which removes the ARIA roles of a table; so they are set
 * explicitly.
 */
function PeerTable({
  rows,
  query,
  snapshot,
}: {
  rows: readonly Item[];
  query: ListQuery;
  snapshot: PageSnapshot;
}) {
  return (
    <table class="peers" role="table">
      <caption class="unseen">Peers</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map(({ name, sort, isNumber }) => (
            <th
              role="columnheader"
              scope="col"
              class={isNumber ? "number" : undefined}
              aria-sort={
                sort !== query.sort ? null : query.isDescending ? "descending" : "ascending"
              }
            >
              {sort === null ? name : <a href={addressOf(sortedBy(query, sort))}>{name}</a>}
            </th>
          ))}
        </tr>
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
  readonly day: PeerDay;
  readonly rate: Rates | null;
  readonly tags: readonly string[];
}

function peerItem(row: FoundPeer, { snapshot, day, rate, tags }: RowData): Item {
  const { device, peer, session, state, name } = row;
  const { publicKey } = peer;
  const id = idOf("p", device, publicKey);
  const endpoint = endpointOf(peer, session);
  const seenMs = session?.lastActivity.wallMs ?? latest(day.lastEndMs, peer.lastHandshakeMs);
  const cell = (label: string, content: unknown, isNumber = false) => (
    <td role="cell" data-label={label} class={isNumber ? "number" : undefined}>
      {content as string}
    </td>
  );
  return item(id, <tr role="row" id={id} class={state}></tr>, [
    cell("State", <State state={state} />),
    <th role="rowheader" scope="row">
      <PeerLink device={device} publicKey={publicKey} name={name} />
      {tags.map((tag) => (
        <span class="tag">
          <Name text={tag} />
        </span>
      ))}
    </th>,
    cell("Device", <Name text={device} />),
    cell("Endpoint", endpoint === null ? <None /> : <code>{endpoint}</code>),
    cell(
      "Since",
      session === null ? <None /> : <Age ms={session.startedAtMs} snapshot={snapshot} as="for" />,
      true,
    ),
    cell(
      "Last activity",
      seenMs === null ? <None /> : <Age ms={seenMs} snapshot={snapshot} as="ago" />,
      true,
    ),
    cell("Receives", <Speed bytesPerSecond={rate?.rxBytesPerSecond ?? null} />, true),
    cell("Sends", <Speed bytesPerSecond={rate?.txBytesPerSecond ?? null} />, true),
    cell("24 hours", <Spark day={day} />),
  ]);
}

function Speed({ bytesPerSecond }: { bytesPerSecond: number | null }) {
  return bytesPerSecond === null ? <None /> : <>{`${bytes(bytesPerSecond)}/s`}</>;
}

/** The number of peers found, and links to the other pages. */
function FoundNote({
  found,
  query,
  hasDevices,
}: {
  found: PeerPage;
  query: ListQuery;
  hasDevices: boolean;
}) {
  const { rows, total, page, pages, first } = found;
  if (total === 0) {
    return (
      <p id="found" class="empty">
        {!hasDevices ? (
          "There is no WireGuard device yet. wgmon shows the first one when it appears."
        ) : query.search === null && query.device === null && query.state === null ? (
          "The devices have no peers yet."
        ) : (
          <>
            No peer matches the filter. <a href="/">Show all peers</a>
          </>
        )}
      </p>
    );
  }
  const to = (number: number) => addressOf({ ...query, page: number });
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
    </nav>
  );
}

function latest(...times: readonly (number | null)[]): number | null {
  const known = times.filter((time) => time !== null);
  return known.length === 0 ? null : Math.max(...known);
}
