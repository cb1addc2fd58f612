/**
 * Finds peers and devices in the settings that do not exist now, most likely because of a typing mistake that keeps a
 * target from ever getting an event. This is only a warning, at the start, after a reload and in `wgmon doctor`,
 * because a peer or a device may be added later.
 */

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
  /** A null name: the settings give the peer no name. */
  readonly peers: ReadonlyMap<PublicKey, { readonly name: string | null }>;
}

interface TargetFilter {
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
export function unmatched({ targets, peers }: PeerSettings, present: Present): string[] {
  const { devices, publicKeys, names } = present;
  const warnings: string[] = [];
  const warn = (words: Map<string, string[]>, describe: (word: string) => string) => {
    for (const [word, users] of words) warnings.push(`${describe(word)} (${users.join(", ")})`);
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
    const shown = firstOf(absent, KEYS_MAX).join(", ");
    warnings.push(`no device has these peers of the settings now: ${shown}`);
  }
  return warnings;
}

/** Collects the words that the targets use, and for each word the targets that use it. */
function wordsOf(
  targets: readonly TargetFilter[],
  select: (target: TargetFilter) => readonly string[],
): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [index, target] of targets.entries()) {
    for (const word of new Set(select(target))) {
      const users = found.get(word) ?? [];
      users.push(`target ${target.name ?? index + 1}`);
      found.set(word, users);
    }
  }
  return found;
}

/** Logs the warnings. Lists the peers of all devices only if the settings mention any. */
export function warnOfUnmatched(
  settings: PeerSettings,
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
  const needsKeys = settings.peers.size > 0 || settings.targets.some(hasPeers);
  try {
    const peers = known.map((name) => ({
      name,
      publicKeys: needsKeys ? devices.peers(name).map(({ publicKey }) => publicKey) : [],
    }));
    for (const warning of unmatched(settings, presentOf(settings, peers, names))) log.warn(warning);
  } catch (error) {
    // Nothing can be said about peers that could not be read. If the scan of the device failed too, it logged the reason.
    if (!isUnreadable(error)) throw error;
  }
}

/** Collects what exists now. Reads the names of peers only if a target selects peers. */
export function presentOf(
  { targets, peers }: PeerSettings,
  devices: readonly { readonly name: string; readonly publicKeys: readonly PublicKey[] }[],
  peerNames: Pick<PeerNames, "nameOf">,
): Present {
  const names = new Set<string>();
  for (const { name } of peers.values()) if (name !== null) names.add(name);
  if (targets.some(hasPeers)) {
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

function hasPeers({ selection }: TargetFilter): boolean {
  return selection.peers.length > 0;
}
