/** What `wgmon sessions` and `wgmon events` have in common: the time that they begin at, and paging. */

import type { HistoryRequest } from "../config/command-requests.ts";
import type { PeerView } from "../http/view.ts";
import type { ApiReader } from "./client.ts";

/** Maximum number of items in one answer. */
export const PAGE = 1000;

/** `2026-11-22T16:19:04.417Z`; null: from the beginning. */
export function sinceOf({ since }: HistoryRequest, nowMs: number): string | null {
  if (since === null) return null;
  return new Date("atMs" in since ? since.atMs : nowMs - since.agoMs).toISOString();
}

/** All peers that match the query. Peers may come and go between two answers, so one may be yielded twice. */
export async function* listPeers(
  answers: ApiReader,
  query: Readonly<Record<string, string>>,
): AsyncGenerator<PeerView, void> {
  for (let offset = 0; ; offset += PAGE) {
    const search = new URLSearchParams({ ...query, limit: `${PAGE}`, offset: `${offset}` });
    const { items } = await answers.get<{ items: readonly PeerView[] }>(
      `/v1/peers?${search.toString()}`,
    );
    yield* items;
    if (items.length < PAGE) return;
  }
}

/** One page of an answer; `next` points to the following page. */
export interface PageQuery<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** All pages of an answer, one after the other. */
export async function* pagesOf<View extends PageQuery<unknown>>(
  answers: ApiReader,
  path: string,
  query: Readonly<Record<string, string | null>>,
): AsyncGenerator<View, void> {
  const given = Object.entries(query).filter(
    (entry): entry is [string, string] => entry[1] !== null,
  );
  const search = new URLSearchParams(given);
  for (;;) {
    const page = await answers.get<View>(`${path}?${search.toString()}`);
    yield page;
    if (page.next === null) return;
    search.set("cursor", page.next);
  }
}
