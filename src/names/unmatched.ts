/**
 * Finds peers and devices in the settings that do not exist now, most likely because of a typing mistake that keeps a
 * target from ever getting an event, or a rule from ever firing. This is only a warning, at the start, after a reload
 * and in `wgmon doctor`, because a peer or a device may be added later.
 */

import { matcherOf } from "../alerts/selectors.ts";
import { isUnreadable } from "../base/errors.ts";
import { quoteSafely } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import { firstOf } from "../base/text.ts";
import { isPublicKey, type PublicKey } from "../base/wireguard.ts";
import type { EventFilter } from "../events/event-filter.ts";
import type { Log } from "../platform/log.ts";
import type { PeerNames } from "./peer-names.ts";

/** Maximum number of public keys in one warning. */
const KEYS_MAX = 3;

/** The settings that mention peers and devices. */
export interface PeerSettings {
  readonly targets: readonly TargetFilter[];
  readonly alerts: readonly AlertFilter[];
  /** A null name: the settings give the peer no name. */
  readonly peers: ReadonlyMap<PublicKey, { readonly name: string | null }>;
}

/** As in `PeerSettings`, with their tags. */
type TaggedPeers = ReadonlyMap<
  PublicKey,
  { readonly name: string | null; readonly tags: readonly string[] }
>;

interface TargetFilter {
  /** null: the target has no name and is identified by its number. */
  readonly name: string | null;
  readonly selection: Pick<EventFilter, "devices" | "peers">;
}

/** The selectors of a rule. In `peers`, `*` and `?` are wildcards. */
export interface AlertFilter {
  readonly name: string;
  readonly devices: readonly string[];
  readonly peers: readonly string[];
  readonly tags: readonly string[];
}

/** What selects peers, for messages. */
interface User {
  /** `target ops`, `alert office-down` */
  readonly label: string;
  readonly devices: readonly string[];
  readonly peers: readonly string[];
  readonly tags: readonly string[];
  /** Whether a word selects a text. */
  readonly matches: (word: string) => (text: string) => boolean;
}

/** What exists now. */
interface Present {
  /** Names of the watched devices. */
  readonly devices: readonly string[];
  readonly publicKeys: ReadonlySet<string>;
  /** Names of peers, from the settings and from files. */
  readonly names: ReadonlySet<string>;
  /** Tags of peers, which only the settings give. */
  readonly tags: readonly string[];
}

/** Returns a warning for each name, key, tag and device that matches nothing. */
export function unmatched(settings: PeerSettings, present: Present): string[] {
  const { devices, publicKeys, names, tags } = present;
  const users = usersOf(settings);
  const warnings: string[] = [];
  const warn = (words: Map<string, string[]>, describe: (word: string) => string) => {
    for (const [word, users] of words) warnings.push(`${describe(word)} (${users.join(", ")})`);
  };
  warn(
    wordsOf(users, ({ devices: words, matches }) =>
      words.filter((word) => !devices.some(matches(word))),
    ),
    (word) => `wgmon watches no device ${quoteSafely(word)} now${didYouMean(word, devices)}`,
  );
  // Without a device there are no peers to compare with.
  if (devices.length === 0) return warnings;
  const known = [...names, ...publicKeys];
  warn(
    wordsOf(users, ({ peers, matches }) =>
      peers.filter(
        (word) => !names.has(word) && !publicKeys.has(word) && !known.some(matches(word)),
      ),
    ),
    (word) =>
      isPublicKey(word)
        ? `no device has the peer ${word} now`
        : `no peer is called ${quoteSafely(word)} now${didYouMean(word, [...names])}`,
  );
  warn(
    wordsOf(users, (user) => user.tags.filter((word) => !tags.some(matcherOf([word])))),
    (word) => `no peer in the settings has the tag ${quoteSafely(word)}${didYouMean(word, tags)}`,
  );
  const absent = [...settings.peers.keys()].filter((key) => !publicKeys.has(key));
  if (absent.length > 0) {
    const shown = firstOf(absent, KEYS_MAX).join(", ");
    warnings.push(`no device has these peers of the settings now: ${shown}`);
  }
  return warnings;
}

function usersOf({ targets, alerts }: PeerSettings): User[] {
  const isSame = (word: string) => (text: string) => text === word;
  return [
    ...targets.map(({ name, selection: { devices, peers } }, index) => ({
      label: `target ${name ?? index + 1}`,
      devices,
      peers,
      tags: [],
      matches: isSame,
    })),
    ...alerts.map(({ name, devices, peers, tags }) => ({
      label: `alert ${name}`,
      devices,
      peers,
      tags,
      matches: (word: string) => (/[*?]/.test(word) ? matcherOf([word]) : isSame(word)),
    })),
  ];
}

/** Collects the words that the targets and rules use, and for each word those that use it. */
function wordsOf(
  users: readonly User[],
  select: (user: User) => readonly string[],
): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const user of users) {
    for (const word of new Set(select(user))) {
      const labels = found.get(word) ?? [];
      labels.push(user.label);
      found.set(word, labels);
    }
  }
  return found;
}

/** Logs the warnings, and returns them. Lists the peers of all devices only if the settings mention any. */
export function warnOfUnmatched(
  settings: Omit<PeerSettings, "peers"> & { readonly peers: TaggedPeers },
  {
    devices,
    names,
    log,
  }: {
    readonly devices: {
      readonly lastScanned: readonly { readonly name: string }[];
      peers(name: string): readonly { readonly publicKey: PublicKey }[];
    };
    readonly names: Pick<PeerNames, "nameOf">;
    readonly log: Pick<Log, "warn">;
  },
): string[] {
  const known = devices.lastScanned.map(({ name }) => name);
  const needsKeys = settings.peers.size > 0 || selectPeers(settings);
  try {
    const peers = known.map((name) => ({
      name,
      publicKeys: needsKeys ? devices.peers(name).map(({ publicKey }) => publicKey) : [],
    }));
    const tags = [...new Set([...settings.peers.values()].flatMap((peer) => peer.tags))];
    const warnings = unmatched(settings, { ...presentOf(settings, peers, names), tags });
    for (const warning of warnings) log.warn(warning);
    return warnings;
  } catch (error) {
    // Nothing can be said about peers that could not be read. If the scan of the device failed too, it logged the reason.
    if (!isUnreadable(error)) throw error;
    return [];
  }
}

/** Collects what exists now. Reads the names of peers only if a target or a rule selects peers. */
export function presentOf(
  settings: PeerSettings,
  devices: readonly { readonly name: string; readonly publicKeys: readonly PublicKey[] }[],
  peerNames: Pick<PeerNames, "nameOf">,
): Omit<Present, "tags"> {
  const names = new Set<string>();
  for (const { name } of settings.peers.values()) if (name !== null) names.add(name);
  if (selectPeers(settings)) {
    for (const { name: device, publicKeys } of devices) {
      for (const key of publicKeys) {
        const name = peerNames.nameOf(key, device);
        if (name !== null) names.add(name);
      }
    }
  }
  return {
    devices: devices.map(({ name }) => name),
    publicKeys: new Set(devices.flatMap(({ publicKeys }) => publicKeys)),
    names,
  };
}

function selectPeers(settings: PeerSettings): boolean {
  return usersOf(settings).some(({ peers }) => peers.length > 0);
}
