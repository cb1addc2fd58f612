/** What `wgmon sessions` and `wgmon events` have in common: whose past, since when, page by page. */

import { shortName } from "../channel/text.ts";
import type { PastRequest } from "../config.ts";
import { quoted } from "../config/words.ts";
import { SystemError } from "../errors.ts";
import type { PeerView } from "../http/view.ts";
import { didYouMean } from "../suggest.ts";
import type { Answers } from "./daemon.ts";

/** The most that one answer has. */
export const PAGE = 1000;

/** Base64 of 32 bytes. */
const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** `2026-11-22T16:19:04.417Z`; null: from the beginning. */
export function sinceOf({ since }: PastRequest, nowMs: number): string | null {
  if (since === null) return null;
  return new Date("atMs" in since ? since.atMs : nowMs - since.agoMs).toISOString();
}

/** The public keys of the peers that are meant, by a key or a name; null: all. */
export async function keysOf(
  answers: Answers,
  peer: string | null,
): Promise<readonly string[] | null> {
  if (peer === null) return null;
  if (KEY.test(peer)) return [peer];
  const keys = new Set<string>();
  for await (const { name, publicKey } of peersFound(answers, { search: peer })) {
    if (name === peer) keys.add(publicKey);
  }
  return [...keys];
}

/** All peers that the query finds. Between two answers peers come and go, and one may be told twice. */
export async function* peersFound(
  answers: Answers,
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

/** An answer that goes on at `next`. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** All of it, page by page. */
export async function* pagesOf<View extends Page<unknown>>(
  answers: Answers,
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

/** That nobody has the name, and who may have been meant. */
export async function nobodyCalled(answers: Answers, peer: string): Promise<SystemError> {
  const names: string[] = [];
  for await (const { name } of peersFound(answers, {})) if (name !== null) names.push(name);
  const guess = didYouMean(peer, names, shortName);
  const hint = `one that was removed is known by its public key only${guess}`;
  return new SystemError(`find peer ${quoted(peer)}`, "no such peer", hint);
}
