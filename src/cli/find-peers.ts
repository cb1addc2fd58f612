/**
 * Resolves the peers, devices and targets that a flag of a command names. A name that the daemon, the kernel
 * and the store do not know is refused with a suggestion, because the output of a misspelt filter looks like
 * that of a quiet network.
 */

import { ConfigError } from "../base/errors.ts";
import { noSuch } from "../base/redact.ts";
import { isPublicKey, SHORT_KEY } from "../base/wireguard.ts";
import { keysOf as targetKeysOf } from "../channels/create-targets.ts";
import { shortName } from "../channels/formats/message-text.ts";
import { type Settings, targetAt, targetWords } from "../config/config.ts";
import type {
  DeviceView,
  PastPeerView,
  PeerView,
  SessionView,
  StoredEventView,
} from "../http/view.ts";
import type { OutboxRows } from "../store/outbox-rows.ts";
import type { Store } from "../store/store.ts";
import type { ApiReader } from "./client.ts";
import { listPeers, PAGE, type PageQuery, pagesOf } from "./history-query.ts";

/** The beginning of a public key, with or without an ellipsis. */
const KEY_START = new RegExp(`^([A-Za-z0-9+/]{${SHORT_KEY},43})\u2026?$`);
/** Past peers in one answer: each costs the daemon some microseconds. */
const PAST_PAGE = 200;

export interface NamedPeers {
  /** Public keys. Empty: no peer has the name now, or had it in its latest event. */
  readonly keys: readonly string[];
  /** Whether the word is a name, not a key or the beginning of one. */
  readonly isName: boolean;
}

/** The peers that a word matches: a name, a public key, or the beginning of a key as status and top show it. */
export async function findPeers(answers: ApiReader, word: string): Promise<NamedPeers> {
  if (isPublicKey(word)) {
    return { keys: (await isKnownKey(answers, word)) ? [word] : [], isName: false };
  }
  const present = new Set<string>();
  for await (const { name, publicKey } of listPeers(answers, { search: word })) {
    if (name === word) present.add(publicKey);
  }
  if (present.size > 0) return { keys: [...present], isName: true };
  const start = KEY_START.exec(word)?.[1] ?? null;
  const [named, begun] = [new Set<string>(), new Set<string>()];
  const take = ({ name, publicKey }: Pick<PeerView, "name" | "publicKey">) => {
    if (name === word) named.add(publicKey);
    if (start !== null && publicKey.startsWith(start)) begun.add(publicKey);
  };
  if (start !== null) for await (const peer of listPeers(answers, { search: start })) take(peer);
  for await (const peer of peersOfThePast(answers)) take(peer);
  const isName = named.size > 0 || begun.size === 0;
  return { keys: [...(isName ? named : begun)], isName };
}

async function isKnownKey(answers: ApiReader, key: string): Promise<boolean> {
  for await (const { publicKey } of listPeers(answers, { search: key })) {
    if (publicKey === key) return true;
  }
  const query = new URLSearchParams({ peer: key, limit: "1" }).toString();
  for (const path of ["/v1/events", "/v1/sessions"]) {
    const { items } = await answers.get<PageQuery<unknown>>(`${path}?${query}`);
    if (items.length > 0) return true;
  }
  return false;
}

async function* peersOfThePast(answers: ApiReader): AsyncGenerator<PastPeerView, void> {
  const pages = pagesOf<PageQuery<PastPeerView>>(answers, "/v1/peers/past", {
    limit: `${PAST_PAGE}`,
  });
  for await (const { items } of pages) yield* items;
}

/** The error for a --peer that `peersNamed` did not find. */
export async function peerNotFound(answers: ApiReader, word: string): Promise<ConfigError> {
  const names = new Set<string>();
  for await (const { name } of listPeers(answers, {})) if (name !== null) names.add(name);
  for await (const { name } of peersOfThePast(answers)) if (name !== null) names.add(name);
  return refusal("peer", word, [...names], "wgmon status lists the peers.");
}

/**
 * @param devices values of the flag --device.
 * @param hasPast whether past devices are valid too.
 * @throws ConfigError
 */
export async function checkDevices(
  answers: ApiReader,
  devices: readonly string[],
  { hasPast }: { readonly hasPast: boolean },
): Promise<void> {
  if (devices.length === 0) return;
  const { items } = await answers.get<{ items: readonly DeviceView[] }>("/v1/devices");
  const known = items.map(({ name }) => name);
  for (const word of devices) {
    if (known.includes(word) || (hasPast && (await isPastDevice(answers, word)))) continue;
    throw refusal("device", word, known, "wgmon status lists the devices.");
  }
}

async function isPastDevice(answers: ApiReader, device: string): Promise<boolean> {
  const query = new URLSearchParams({ device, limit: "1" }).toString();
  const { items } = await answers.get<PageQuery<SessionView>>(`/v1/sessions?${query}`);
  if (items.length > 0) return true;
  for (const type of ["device.added", "device.removed"]) {
    const pages = pagesOf<PageQuery<StoredEventView>>(answers, "/v1/events", {
      type,
      limit: `${PAGE}`,
    });
    for await (const { items: events } of pages) {
      if (events.some(({ event }) => event.data.device === device)) return true;
    }
  }
  return false;
}

/**
 * The store's key of the target that --target means: a target of the settings by its name or number, or a
 * former one by its key.
 *
 * @throws ConfigError
 */
export function targetKeyOf(
  word: string,
  { targets }: Pick<Settings, "targets">,
  store: Pick<Store, "targetKey"> & { readonly outbox: Pick<OutboxRows, "queues" | "deadCounts"> },
): string {
  const index = targetAt(targets, word);
  if (index !== null) return targetKeysOf(targets, (address) => store.targetKey(address))[index]!;
  const kept = [...store.outbox.queues(), ...store.outbox.deadCounts()].map(({ target }) => target);
  if (kept.includes(word)) return word;
  const known = new Set([...targetWords(targets), ...kept]);
  throw refusal(
    "target",
    word,
    [...known],
    "wgmon outbox list shows the targets that have events.",
  );
}

function refusal(
  what: "peer" | "device" | "target",
  word: string,
  known: readonly string[],
  nextStep: string,
): ConfigError {
  const names = known.map(shortName).filter((name) => name !== "");
  return new ConfigError([noSuch({ flag: what, what, word }, names)], nextStep);
}
