/**
 * Finds peers and devices in the settings that do not exist now, most likely because of a typing mistake that keeps a
 * target from ever getting an event. This is only a warning, at the start, after a reload and in `wgmon doctor`,
 * because a peer or a device may be added later.
 */

import { isUnreadable } from "../base/errors.ts";
import { quoteSafely } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import { isPublicKey, type PublicKey } from "../base/wireguard.ts";
import type { EventFilter } from "../events/event-filter.ts";
import type { Log } from "../platform/log.ts";
import type { PeerNames } from "./peer-names.ts";

/** Maximum number of public keys in one warning. */
const KEYS_MAX = 3;

/** The settings that name peers and devices. */
export interface Watched {
  readonly targets: readonly WatchedTarget[];
  /** A null name: the settings give the peer no name. */
  readonly peers: ReadonlyMap<PublicKey, { readonly name: string | null }>;
}

interface WatchedTarget {
  /** null: the target has no name and is identified by its number. */
  readonly name: string | null;
  readonly selection: Pick<EventFilter, "devices" | "peers">;
}

/** What exists now. */
interface Present {
  /** Names of the watched devices. */
  readonly devices: readonly string[];
  readonly publicKeys: ReadonlySet<string>;
  /** Names of peers, from the settings and from files. */
  readonly names: ReadonlySet<string>;
}

/** Returns a warning for each name, key and device that matches nothing. */
export function unmatched({ targets, peers }: Watched, present: Present): string[] {
  const { devices, publicKeys, names } = present;
  const warnings: string[] = [];
  const warn = (wanted: Map<string, string[]>, what: (word: string) => string) => {
    for (const [word, where] of wanted) warnings.push(`${what(word)} (${where.join(", ")})`);
  };
  warn(
    wordsOf(targets, ({ selection }) =>
      selection.devices.filter((word) => !devices.includes(word)),
    ),
    (word) => `wgmon watches no device ${quoteSafely(word)} now${didYouMean(word, devices)}`,
  );
  // Without a device there are no peers to compare with.
  if (devices.length === 0) return warnings;
  warn(
    wordsOf(targets, ({ selection }) =>
      selection.peers.filter((word) => !names.has(word) && !publicKeys.has(word)),
    ),
    (word) =>
      isPublicKey(word)
        ? `no device has the peer ${word} now`
        : `no peer is called ${quoteSafely(word)} now${didYouMean(word, [...names])}`,
  );
  const absent = [...peers.keys()].filter((key) => !publicKeys.has(key));
  if (absent.length > 0) {
    const more = absent.length - KEYS_MAX;
    const shown = [...absent.slice(0, KEYS_MAX), ...(more > 0 ? [`${more} more`] : [])];
    warnings.push(`no device has these peers of the settings now: ${shown.join(", ")}`);
  }
  return warnings;
}

/** Collects the words that the targets use, and for each word the targets that use it. */
function wordsOf(
  targets: readonly WatchedTarget[],
  choose: (target: WatchedTarget) => readonly string[],
): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [index, target] of targets.entries()) {
    for (const word of new Set(choose(target))) {
      const where = found.get(word) ?? [];
      where.push(`target ${target.name ?? index + 1}`);
      found.set(word, where);
    }
  }
  return found;
}

/** Logs the warnings. Lists the peers of all devices only if the settings mention any. */
export function warnOfUnmatched(
  settings: Watched,
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
): void {
  const known = devices.lastScanned.map(({ name }) => name);
  const isAsked = settings.peers.size > 0 || settings.targets.some(hasPeers);
  try {
    const peers = known.map((name) => ({
      name,
      publicKeys: isAsked ? devices.peers(name).map(({ publicKey }) => publicKey) : [],
    }));
    for (const warning of unmatched(settings, presentOf(settings, peers, names))) log.warn(warning);
  } catch (error) {
    // The scan of this device failed too and logged the reason.
    if (!isUnreadable(error)) throw error;
  }
}

export function presentOf(
  { targets, peers }: Watched,
  devices: readonly { readonly name: string; readonly publicKeys: readonly PublicKey[] }[],
  book: Pick<PeerNames, "nameOf">,
): Present {
  const names = new Set<string>();
  for (const { name } of peers.values()) if (name !== null) names.add(name);
  if (targets.some(hasPeers)) {
    for (const { name: device, publicKeys } of devices) {
      for (const key of publicKeys) {
        const name = book.nameOf(key, device);
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

function hasPeers({ selection }: WatchedTarget): boolean {
  return selection.peers.length > 0;
}
