/** Shared by the commands that query the API: the start time of a history, and paging. */

import type { HistoryRequest } from "../config/command-requests.ts";
import type { PeerView } from "../http/schemas.ts";
import type { ApiReader } from "./client.ts";

/** Maximum number of items in one response of the API. */
export const PAGE_SIZE = 1000;

/** The start time, `2026-11-22T16:19:04.417Z`; null: from the beginning. */
export function sinceOf({ since }: HistoryRequest, nowMs: number): string | null {
  if (since === null) return null;
  return new Date("atMs" in since ? since.atMs : nowMs - since.agoMs).toISOString();
}

/**
 * All peers that match the query. If the list of peers changes between two requests, a peer may be yielded twice or
 * not at all.
 */
export async function* listPeers(
  api: ApiReader,
  query: Readonly<Record<string, string>>,
): AsyncGenerator<PeerView, void> {
  for (let offset = 0; ; offset += PAGE_SIZE) {
    const search = new URLSearchParams({ ...query, limit: `${PAGE_SIZE}`, offset: `${offset}` });
    const { items } = await api.get<{ items: readonly PeerView[] }>(
      `/v1/peers?${search.toString()}`,
    );
    yield* items;
    if (items.length < PAGE_SIZE) return;
  }
}

/** One page of a list; `next` is the cursor of the following page, or null. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** Requests all pages of a list, one after the other. */
export async function* pagesOf<View extends Page<unknown>>(
  api: ApiReader,
  path: string,
  query: Readonly<Record<string, string | null>>,
): AsyncGenerator<View, void> {
  const given = Object.entries(query).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  const search = new URLSearchParams(given);
  for (;;) {
    const page = await api.get<View>(`${path}?${search.toString()}`);
    yield page;
    if (page.next === null) return;
    search.set("cursor", page.next);
  }
}
