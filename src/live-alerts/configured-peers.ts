/**
 * Finds peers that were added, removed, renamed, or whose settings changed, for the alert engine. A scan reports only
 * peers whose handshake, endpoint or counters changed. Other peers are in the complete list of a device, which is a dump
 * of its own and takes as long as the first scan. So it is read at the first scan of a device, when the number of its
 * peers changed, and, if a rule is about settings, at some of the scans that a timer or a link change causes.
 */

import type { ConfiguredPeer, Input } from "../alerts/input.ts";
import type { Rule } from "../alerts/rule.ts";
import type { Clock } from "../base/clock.ts";
import { isUnreadable } from "../base/errors.ts";
import { areEqual } from "../base/text.ts";
import { inCurrentClock, type WallClock } from "../base/wall-clock.ts";
import type { DeviceScan, Peer, PublicKey } from "../base/wireguard.ts";
import type { Naming } from "./engine-inputs.ts";

/**
 * The peers of a device are configured after it is created, in several steps. A list is used when the device has existed
 * for this long; an empty list when it has been empty for this long.
 */
const SETTLE_MS = 5000;
/** Lists that are read because a rule is about settings use at most this share of the time. */
const SETTINGS_SHARE = 1 / 1000;
/** The same for lists that are read because the number of peers changed. */
const COUNT_SHARE = 1 / 100;

export interface ConfiguredPeersOptions {
  /** `current` converts a time of the kernel to the present wall clock. */
  readonly clock: Clock & Pick<WallClock, "current">;
  readonly devices: {
    count(device: string): number;
    /** @throws SystemError, ParseError */
    peers(device: string): readonly Peer[];
  };
  readonly naming: Naming;
}

type PeersInput = Extract<Input, { type: "peers" }>;

/** What is known of one device. */
interface Known {
  readonly peers: Map<string, ConfiguredPeer>;
  reading: Reading;
}

/** When the list was last read, and how long that took. */
interface Reading {
  readonly atMs: number;
  readonly tookMs: number;
}

export class ConfiguredPeers {
  readonly #options: ConfiguredPeersOptions;
  readonly #known = new Map<string, Known>();
  /** Devices whose list is not to be used before this monotonic time. */
  readonly #settlesMs = new Map<string, number>();
  #hasSettingsRule = false;

  constructor(options: ConfiguredPeersOptions) {
    this.#options = options;
  }

  setRules(rules: readonly Rule[]): void {
    this.#hasSettingsRule = rules.some(({ kind }) => kind === "changed");
  }

  /** A device appeared, or was removed. */
  deviceChanged(device: string, isPresent: boolean): void {
    this.#known.delete(device);
    if (isPresent) this.#settlesMs.set(device, this.#nowMs + SETTLE_MS);
    else this.#settlesMs.delete(device);
  }

  /** Returns the peers of a scanned device that differ. @param isWide whether a timer or a link change caused the scan. */
  ofScan({ device: { name }, changed, removed }: DeviceScan, isWide: boolean): PeersInput | null {
    const known = this.#known.get(name);
    if (known === undefined) return this.#first(name, changed);
    for (const publicKey of removed) known.peers.delete(publicKey);
    const differing = this.#differing(
      known,
      name,
      changed.map(({ peer }) => peer),
    );
    const hasCountChanged = this.#options.devices.count(name) !== known.peers.size;
    const { atMs, tookMs } = known.reading;
    const ageMs = this.#nowMs - atMs;
    const isDue =
      (hasCountChanged && tookMs <= ageMs * COUNT_SHARE) ||
      (isWide && this.#hasSettingsRule && tookMs <= ageMs * SETTINGS_SHARE);
    if (!isDue) return inputOf(name, differing, removed);
    const { peers, reading } = this.#read(name);
    known.reading = reading;
    if (peers === null) return inputOf(name, differing, removed);
    const present = new Set<string>(peers.map(({ publicKey }) => publicKey));
    const gone = [...known.peers.keys()].filter((key) => !present.has(key));
    for (const key of gone) known.peers.delete(key);
    differing.push(...this.#differing(known, name, peers));
    return inputOf(name, differing, [...removed, ...gone]);
  }

  /** Returns the peers that have another name, or other tags, than before. */
  renamed(): PeersInput[] {
    return Array.from(this.#known, ([device, { peers }]) => {
      const renamed: ConfiguredPeer[] = [];
      for (const [publicKey, before] of peers) {
        const named = this.#options.naming(publicKey as PublicKey, device);
        if (isSameName(before, named)) continue;
        const peer = { ...before, ...named };
        peers.set(publicKey, peer);
        renamed.push(peer);
      }
      return inputOf(device, renamed, []);
    }).filter((input) => input !== null);
  }

  /** The complete list at the first scan of a device. */
  #first(device: string, changed: DeviceScan["changed"]): PeersInput | null {
    const settlesMs = this.#settlesMs.get(device);
    if (settlesMs !== undefined && this.#nowMs < settlesMs) return null;
    const { peers, reading } = this.#read(device);
    if (peers === null || (peers.length === 0 && settlesMs === undefined)) {
      this.#settlesMs.set(device, this.#nowMs + SETTLE_MS);
      return null;
    }
    this.#settlesMs.delete(device);
    const known: Known = { peers: new Map(), reading };
    this.#known.set(device, known);
    // The counters of the others are in the scan. Those in the list may be later, and would look like a restart.
    const scanned = new Set<string>(changed.map(({ peer }) => peer.publicKey));
    const idle = new Map<string, Peer>(
      peers.flatMap((peer) =>
        scanned.has(peer.publicKey) ? [] : [[peer.publicKey, peer] as const],
      ),
    );
    const configured = this.#differing(known, device, peers).map((peer) => {
      const counted = idle.get(peer.publicKey);
      if (counted === undefined) return peer;
      const { rxBytes, txBytes, endpoint } = counted;
      return { ...peer, counters: { rxBytes, txBytes, endpoint } };
    });
    return { type: "peers", device, peers: configured, removed: [], complete: true };
  }

  /** `peers` is null if the device cannot be read now. */
  #read(device: string): { readonly peers: readonly Peer[] | null; readonly reading: Reading } {
    const startMs = this.#nowMs;
    let peers: readonly Peer[] | null = null;
    try {
      peers = this.#options.devices.peers(device);
    } catch (error) {
      // The scan of the device reports its problem.
      if (!isUnreadable(error)) throw error;
    }
    const atMs = this.#nowMs;
    return { peers, reading: { atMs, tookMs: atMs - startMs } };
  }

  /** Returns the peers that differ from what is known, and remembers them. */
  #differing({ peers: known }: Known, device: string, peers: readonly Peer[]): ConfiguredPeer[] {
    const differing: ConfiguredPeer[] = [];
    for (const peer of peers) {
      const { publicKey, allowedIps, persistentKeepaliveSeconds } = peer;
      const before = known.get(publicKey);
      if (before !== undefined && isSameSettings(before, peer)) continue;
      const { lastHandshakeMs } = inCurrentClock(peer, this.#options.clock);
      const named = this.#options.naming(publicKey, device);
      const rest = { publicKey, allowedIps, persistentKeepaliveSeconds, lastHandshakeMs };
      const configured = { ...rest, ...named };
      known.set(publicKey, configured);
      differing.push(configured);
    }
    return differing;
  }

  get #nowMs(): number {
    return this.#options.clock.now().monotonicMs;
  }
}

function inputOf(
  device: string,
  peers: readonly ConfiguredPeer[],
  removed: readonly string[],
): PeersInput | null {
  if (peers.length + removed.length === 0) return null;
  return { type: "peers", device, peers, removed, complete: false };
}

function isSameSettings(before: ConfiguredPeer, peer: Peer): boolean {
  return (
    before.persistentKeepaliveSeconds === peer.persistentKeepaliveSeconds &&
    areEqual(before.allowedIps, peer.allowedIps)
  );
}

function isSameName(
  before: ConfiguredPeer,
  { name, tags }: Pick<ConfiguredPeer, "name" | "tags">,
): boolean {
  return before.name === name && (before.tags === tags || areEqual(before.tags, tags));
}
