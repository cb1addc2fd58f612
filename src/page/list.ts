/** Selects and sorts the peers that the first page lists: all are searched, one page of them is rendered. */

import { formatEndpoint, type Peer } from "../base/wireguard.ts";
import { shortName } from "../channels/formats/message-text.ts";
import { inOrder, type PeerCursor } from "../http/order.ts";
import type { ReadModel } from "../http/read-model.ts";
import { stateNames, stateOf } from "../http/view.ts";
import type { Session } from "../sessions/session.ts";
import type { Rates } from "../stats/rates.ts";
import { address } from "./format.ts";

export const PAGE = 100;
const SEARCH_MAX = 100;

export type State = (typeof stateNames)[number];
export const sorts = ["state", "name", "device", "since", "seen", "rx", "tx"] as const;
export type Sort = (typeof sorts)[number];

/** Descending by default: latest or fastest first. */
const largestFirst: ReadonlySet<Sort> = new Set(["since", "seen", "rx", "tx"]);

export interface PeerQuery {
  /** Part of name, tag, key, endpoint or allowed IP; empty: all. */
  readonly q: string;
  /** null selects all devices. */
  readonly device: string | null;
  readonly state: State | null;
  readonly sort: Sort;
  readonly isDescending: boolean;
  /** Counted from 1. */
  readonly page: number;
}

/** A peer of the list. */
export interface Row {
  readonly device: string;
  readonly peer: Peer;
  readonly session: Session | null;
  readonly state: State;
  /** Sanitized; null if the peer has no name. */
  readonly name: string | null;
}

export interface Found {
  readonly rows: readonly Row[];
  /** Peers found, on all pages. */
  readonly total: number;
  /** Counted from 1; the last page if the requested one is beyond it. */
  readonly page: number;
  readonly pages: number;
}

/** Ignores unknown parameters and values: the address may be an old bookmark. */
export function readQuery(given: URLSearchParams): PeerQuery {
  const sort = oneOf(sorts, given.get("sort")) ?? "state";
  const order = given.get("order");
  const page = Number(given.get("page") ?? 1);
  return {
    q: (given.get("q") ?? "").trim().slice(0, SEARCH_MAX),
    device: given.get("device") || null,
    state: oneOf(stateNames, given.get("state")),
    sort,
    isDescending: order === null || order === "" ? largestFirst.has(sort) : order === "desc",
    page: Number.isSafeInteger(page) && page > 0 ? page : 1,
  };
}

/** The address of the list, without parameters that have their default value. */
export function addressOf({ q, device, state, sort, isDescending, page }: PeerQuery): string {
  return address("/", {
    q: q === "" ? null : q,
    device,
    state,
    sort: sort === "state" ? null : sort,
    order: isDescending === largestFirst.has(sort) ? null : isDescending ? "desc" : "asc",
    page: page === 1 ? null : String(page),
  });
}

/** The query for the same peers in another order; the present order is reversed. */
export function sortedBy(query: PeerQuery, sort: Sort): PeerQuery {
  const isDescending = query.sort === sort ? !query.isDescending : largestFirst.has(sort);
  return { ...query, sort, isDescending, page: 1 };
}

export function findPeers(source: ReadModel, query: PeerQuery): Found {
  const found: Row[] = [];
  const wanted = query.q.toLowerCase();
  for (const { name: device } of source.devices()) {
    if (query.device !== null && query.device !== device) continue;
    for (const peer of source.peers(device)) {
      const row = rowOf(source, device, peer);
      if (query.state !== null && query.state !== row.state) continue;
      if (wanted !== "" && !has(row, source.tagsOf(peer.publicKey), wanted)) continue;
      found.push(row);
    }
  }
  const placeOf = (row: Row): PeerCursor => {
    const { device, peer, state, name } = row;
    const value = valueOf(source, row, query.sort);
    return { value, state, name, publicKey: peer.publicKey, device };
  };
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  const page = Math.min(query.page, pages);
  const ordered = inOrder(found, placeOf, query.isDescending);
  const rows = ordered.slice((page - 1) * PAGE, page * PAGE);
  return { rows, total: found.length, page, pages };
}

export function rowOf(source: ReadModel, device: string, peer: Peer): Row {
  const session = source.session(device, peer.publicKey);
  const state = stateOf(peer, session);
  const name = shortName(source.nameOf(peer.publicKey, device) ?? "");
  return { device, peer, session, state, name: name === "" ? null : name };
}

/** The endpoint that was last verified: a handshake attempt alone can change the kernel's endpoint. */
export function endpointOf({ session, peer }: Row): string | null {
  const endpoint = session?.endpoint ?? peer.endpoint;
  return endpoint === null ? null : formatEndpoint(endpoint);
}

/** Transfer rates; null if the peer is not connected or the rates are not known yet. */
export function speedOf(source: ReadModel, { device, peer, session }: Row): Rates | null {
  return session === null ? null : source.rates(device, peer.publicKey);
}

/** The value that the row is sorted by; null if the row has no such value. */
function valueOf(source: ReadModel, row: Row, sort: Sort): number | string | null {
  const { device, peer, session, state, name } = row;
  switch (sort) {
    case "state":
      return stateNames.indexOf(state);
    case "name":
      return name?.toLowerCase() ?? null;
    case "device":
      return device;
    case "since":
      return session?.startedAtMs ?? null;
    case "seen":
      return session?.lastActivity.wallMs ?? peer.lastHandshakeMs;
    case "rx":
      return speedOf(source, row)?.rxBytesPerSecond ?? null;
    case "tx":
      return speedOf(source, row)?.txBytesPerSecond ?? null;
  }
}

function has(row: Row, tags: readonly string[], wanted: string): boolean {
  const { peer, name } = row;
  const texts = [name, ...tags, peer.publicKey, endpointOf(row), ...peer.allowedIps];
  return texts.some((text) => text !== null && text.toLowerCase().includes(wanted));
}

function oneOf<Word extends string>(words: readonly Word[], given: string | null): Word | null {
  return words.find((word) => word === given) ?? null;
}
