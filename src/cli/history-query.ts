/** Shared by the commands that query the API: the period of a history, and paging. */

import { ConfigError } from "../base/errors.ts";
import type { HistoryRequest } from "../config/command-requests.ts";
import { helpHint } from "../config/config.ts";
import type { Time } from "../config/value-types.ts";
import type { PeerView } from "../http/schemas.ts";
import type { ApiReader } from "./client.ts";
import { localTime } from "./text.ts";

/** Maximum number of items in one response of the API. */
export const PAGE_SIZE = 1000;

/**
 * The period of a request in RFC 3339, such as `2026-11-22T16:19:04.417Z`; null: from the beginning, or until now.
 *
 * @throws ConfigError when it ends before it begins.
 */
export function periodOf(
  { since, until }: Pick<HistoryRequest, "since" | "until">,
  nowMs: number,
  command: "sessions" | "events" | "alerts",
): { readonly since: string | null; readonly until: string | null } {
  const [from, to] = [since, until].map((time) => (time === null ? null : timeOf(time, nowMs)));
  if (from !== null && to !== null && from! >= to!) {
    throw new ConfigError(
      [`--until: ${localTime(to!)} is not after ${localTime(from!)}, which --since names`],
      helpHint(command),
    );
  }
  return { since: from ?? null, until: to ?? null };
}

/** In RFC 3339. */
export function timeOf(time: Time, nowMs: number): string {
  if ("atMs" in time) return new Date(time.atMs).toISOString();
  if ("agoMs" in time) return new Date(nowMs - time.agoMs).toISOString();
  const now = new Date(nowMs);
  const day = now.getDate() - time.daysAgo;
  return new Date(now.getFullYear(), now.getMonth(), day, ...time.clock).toISOString();
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
