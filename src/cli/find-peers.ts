/**
 * Finds the peers, devices and targets that the flags of a command name. An unknown name is an error with a suggestion,
 * because the output for a misspelt name would look like that of an idle network.
 */

import { ConfigError } from "../base/errors.ts";
import { noSuch } from "../base/redact.ts";
import { SEARCH_MAX, shortName } from "../base/text.ts";
import { isAddress, longestPrefixLength } from "../base/tunnel-address.ts";
import { isPublicKey, SHORT_KEY } from "../base/wireguard.ts";
import { keysOf as targetKeysOf } from "../channels/create-targets.ts";
import type { Settings } from "../config/config.ts";
import { targetAt, targetWords } from "../config/targets.ts";
import { deviceOf } from "../events/event.ts";
import type {
  DeviceView,
  PastPeerView,
  PeerView,
  SessionView,
  StoredEventView,
} from "../http/schemas.ts";
import type { OutboxRows } from "../store/outbox-rows.ts";
import type { Store } from "../store/store.ts";
import { HUB_KEY } from "../uplink/hub-settings.ts";
import type { ApiReader } from "./client.ts";
import { listPeers, type Page, PAGE_SIZE, pagesOf } from "./history-query.ts";

/** A prefix of a public key, with or without an ellipsis. */
const KEY_PREFIX = new RegExp(`^([A-Za-z0-9+/]{${SHORT_KEY},43})\u2026?$`);
/** Past peers in one page. Small, because each peer takes the daemon some microseconds. */
const PAST_PAGE_SIZE = 200;

export interface NamedPeers {
  /** Public keys. Empty: no peer has the name now, or had it in its latest event. */
  readonly keys: readonly string[];
  /** Whether the word is a name, not a key or the prefix of one. */
  readonly isName: boolean;
}

/** The peers that a word names: by a name, a public key, the prefix of a key, an endpoint or a tunnel address. */
export async function findPeers(api: ApiReader, word: string): Promise<NamedPeers> {
  if (isPublicKey(word)) {
    return { keys: (await isKnownKey(api, word)) ? [word] : [], isName: false };
  }
  const present = new Set<string>();
  const hits = await searchPeers(api, word);
  for (const { name, publicKey } of hits) {
    if (name === word) present.add(publicKey);
  }
  if (present.size > 0) return { keys: [...present], isName: true };
  const prefix = KEY_PREFIX.exec(word)?.[1] ?? null;
  const [byName, byKey] = [new Set<string>(), new Set<string>()];
  const add = ({ name, publicKey }: Pick<PeerView, "name" | "publicKey">) => {
    if (name === word) byName.add(publicKey);
    if (prefix !== null && publicKey.startsWith(prefix)) byKey.add(publicKey);
  };
  if (prefix !== null) for await (const peer of listPeers(api, { search: prefix })) add(peer);
  for await (const peer of listPastPeers(api)) add(peer);
  if (byName.size === 0 && byKey.size === 0) {
    const at = await peersAt(api, word, hits);
    const keys = new Set(at.map(({ publicKey }) => publicKey));
    if (keys.size > 0) return { keys: [...keys], isName: false };
  }
  const isName = byName.size > 0 || byKey.size === 0;
  return { keys: [...(isName ? byName : byKey)], isName };
}

/** The peers with this text in their name, tags, key or addresses; none if the text is too long. */
export async function searchPeers(api: ApiReader, search: string): Promise<readonly PeerView[]> {
  const found: PeerView[] = [];
  if (search === "" || search.length > SEARCH_MAX) return found;
  for await (const peer of listPeers(api, { search })) found.push(peer);
  return found;
}

/** The peers with this endpoint, or those whose tunnel addresses contain this one: where WireGuard sends its packets. */
export async function peersAt(
  api: ApiReader,
  word: string,
  hits: readonly PeerView[],
): Promise<readonly PeerView[]> {
  const byEndpoint = hits.filter(
    ({ endpoint }) =>
      endpoint !== null &&
      [endpoint, endpoint.replace(/:\d+$/, ""), hostOf(endpoint)].includes(word),
  );
  if (byEndpoint.length > 0) return byEndpoint;
  if (!isAddress(word)) return [];
  let longest = -1;
  let found: PeerView[] = [];
  // A prefix that contains the address need not contain its text.
  for await (const peer of listPeers(api, {})) {
    const length = longestPrefixLength(peer.allowedIps, word);
    if (length === null || length < longest) continue;
    if (length > longest) found = [];
    longest = length;
    found.push(peer);
  }
  return found;
}

/** `2001:db8::1` of `[2001:db8::1]:51820` */
function hostOf(endpoint: string): string {
  return endpoint.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
}

async function isKnownKey(api: ApiReader, key: string): Promise<boolean> {
  for await (const { publicKey } of listPeers(api, { search: key })) {
    if (publicKey === key) return true;
  }
  const query = new URLSearchParams({ peer: key, limit: "1" }).toString();
  for (const path of ["/v1/events", "/v1/sessions"]) {
    const { items } = await api.get<Page<unknown>>(`${path}?${query}`);
    if (items.length > 0) return true;
  }
  return false;
}

async function* listPastPeers(api: ApiReader): AsyncGenerator<PastPeerView, void> {
  const pages = pagesOf<Page<PastPeerView>>(api, "/v1/peers/past", {
    limit: `${PAST_PAGE_SIZE}`,
  });
  for await (const { items } of pages) yield* items;
}

/** The error for a --peer that `findPeers` did not find. */
export async function peerNotFound(api: ApiReader, word: string): Promise<ConfigError> {
  return notFound("peer", word, await knownNames(api), "wgmon status lists the peers.");
}

/** The names of all peers, also of those that were removed. */
export async function knownNames(api: ApiReader): Promise<readonly string[]> {
  const names = new Set<string>();
  for await (const { name } of listPeers(api, {})) if (name !== null) names.add(name);
  for await (const { name } of listPastPeers(api)) if (name !== null) names.add(name);
  return [...names].map(shortName).filter((name) => name !== "");
}

/**
 * Checks that the devices exist.
 *
 * @param devices the values of the flag --device.
 * @param allowsPast whether devices that no longer exist are valid too.
 * @throws ConfigError when there is no such device.
 */
export async function checkDevices(
  api: ApiReader,
  devices: readonly string[],
  { allowsPast }: { readonly allowsPast: boolean },
): Promise<void> {
  if (devices.length === 0) return;
  const { items } = await api.get<{ items: readonly DeviceView[] }>("/v1/devices");
  const known = items.map(({ name }) => name);
  for (const word of devices) {
    if (known.includes(word) || (allowsPast && (await isPastDevice(api, word)))) continue;
    throw notFound("device", word, known, "wgmon status lists the devices.");
  }
}

async function isPastDevice(api: ApiReader, device: string): Promise<boolean> {
  const query = new URLSearchParams({ device, limit: "1" }).toString();
  const { items } = await api.get<Page<SessionView>>(`/v1/sessions?${query}`);
  if (items.length > 0) return true;
  for (const type of ["device.added", "device.removed"]) {
    const pages = pagesOf<Page<StoredEventView>>(api, "/v1/events", {
      type,
      limit: `${PAGE_SIZE}`,
    });
    for await (const { items: events } of pages) {
      if (events.some(({ event }) => deviceOf(event) === device)) return true;
    }
  }
  return false;
}

/**
 * The key in the store of the target that --target names: a target of the settings by its name or number, or a former
 * target by its key.
 *
 * @throws ConfigError when there is no such target.
 */
export function targetKeyOf(
  word: string,
  { targets, hub }: Pick<Settings, "targets" | "hub">,
  store: Pick<Store, "targetKey"> & { readonly outbox: Pick<OutboxRows, "queues" | "deadCounts"> },
): string {
  if (word === HUB_KEY && hub !== null) return HUB_KEY;
  const index = targetAt(targets, word);
  if (index !== null) return targetKeysOf(targets, (address) => store.targetKey(address))[index]!;
  const stored = [...store.outbox.queues(), ...store.outbox.deadCounts()].map(
    ({ target }) => target,
  );
  if (stored.includes(word)) return word;
  const known = new Set([...targetWords(targets), ...stored]);
  throw notFound(
    "target",
    word,
    [...known],
    "wgmon outbox list shows the targets that have events.",
  );
}

function notFound(
  what: "peer" | "device" | "target",
  word: string,
  known: readonly string[],
  nextStep: string,
): ConfigError {
  const names = known.map(shortName).filter((name) => name !== "");
  return new ConfigError([noSuch({ flag: what, what, word }, names)], nextStep);
}
