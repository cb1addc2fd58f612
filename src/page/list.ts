/** The list of peers: parses the query of its address, makes addresses for links, selects one page of the rows. */

import { SEARCH_MAX } from "../base/text.ts";
import type { FoundPeer } from "../http/peer-lists.ts";
import type { PeerMatches, PeerQuery, Sort } from "../http/peer-query.ts";
import { stateNames } from "../http/schemas.ts";
import { type Range, rangeNames } from "../store/ranges.ts";
import { address } from "./format.ts";

const PAGE_SIZE = 50;
export const DEFAULT_SORT: ListSort = "state";
export const DEFAULT_RANGE: Range = "24h";

/** The sort keys that are columns of the list. */
export const listSorts = [
  "state",
  "name",
  "device",
  "startedAt",
  "lastSeenAt",
  "rxBytesPerSecond",
  "txBytesPerSecond",
] as const satisfies readonly Sort[];
export type ListSort = (typeof listSorts)[number];

/** Columns that are sorted in descending order by default: latest or fastest first. */
const largestFirst: ReadonlySet<ListSort> = new Set([
  "startedAt",
  "lastSeenAt",
  "rxBytesPerSecond",
  "txBytesPerSecond",
]);

export interface ListQuery extends PeerQuery {
  readonly sort: ListSort;
  /** Counted from 1. */
  readonly page: number;
  /** The range of the chart on the same page. */
  readonly range: Range;
  /** The page of a gateway that has the list, whose peers are listed; omitted: the overview. */
  readonly path?: string;
}

/** The peers on one page of the list. */
export interface PeerPage {
  readonly rows: readonly FoundPeer[];
  /** Peers found, on all pages. */
  readonly total: number;
  /** Counted from 1; the last page if the requested page is beyond it. */
  readonly page: number;
  readonly pages: number;
  /** Number of the first row, counted from 1. */
  readonly first: number;
}

/**
 * Parses the query. Ignores unknown parameters and values, because the address may be an old bookmark.
 *
 * @param isHub whether there are several gateways, one of which the query may select.
 */
export function readQuery(given: URLSearchParams, isHub = false): ListQuery {
  const gateway = isHub ? given.get("host") || null : null;
  const sort = oneOf(listSorts, given.get("sort")) ?? DEFAULT_SORT;
  const order = given.get("order");
  const page = Number(given.get("page") ?? 1);
  return {
    search: (given.get("q") ?? "").trim().slice(0, SEARCH_MAX) || null,
    ...(gateway === null ? {} : { gateway }),
    device: given.get("device") || null,
    state: oneOf(stateNames, given.get("state")),
    sort,
    isDescending: order === null || order === "" ? largestFirst.has(sort) : order === "desc",
    page: Number.isSafeInteger(page) && page > 0 ? page : 1,
    range: readRange(given),
  };
}

/** The address of the list, without parameters that have their default value. */
export function addressOf(query: ListQuery): string {
  const { search, gateway = null, device, state, sort, isDescending, page, range, path } = query;
  return address(path ?? "/", {
    q: search,
    host: path === undefined ? gateway : null,
    device,
    state,
    sort: sort === DEFAULT_SORT ? null : sort,
    order: isDescending === largestFirst.has(sort) ? null : isDescending ? "desc" : "asc",
    page: page === 1 ? null : String(page),
    range: range === DEFAULT_RANGE ? null : range,
  });
}

/** The query after a click on a column: sorted by it, in reverse order if the list is sorted by it already. */
export function sortedBy(query: ListQuery, sort: ListSort): ListQuery {
  const isDescending = query.sort === sort ? !query.isDescending : largestFirst.has(sort);
  return { ...query, sort, isDescending, page: 1 };
}

/** The rows of one page, or of the last page if the requested one is beyond it. */
export function pageOf(found: PeerMatches, requested: number): PeerPage {
  const pages = Math.max(1, Math.ceil(found.length / PAGE_SIZE));
  const page = Math.min(requested, pages);
  const start = (page - 1) * PAGE_SIZE;
  const rows = found.slice(start, start + PAGE_SIZE);
  return { rows, total: found.length, page, pages, first: start + 1 };
}

/** The range of a chart. */
export function readRange(given: URLSearchParams): Range {
  return oneOf(rangeNames, given.get("range")) ?? DEFAULT_RANGE;
}

export function oneOf<Word extends string>(
  words: readonly Word[],
  given: string | null,
): Word | null {
  return words.find((word) => word === given) ?? null;
}
