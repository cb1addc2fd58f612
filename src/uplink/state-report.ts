/**
 * Makes the state messages. The hub keeps the peers of the gateway, so a message has only those that differ from what
 * the hub has; a complete list is sent at the start, and when the hub asks for it. A message counts once it is answered.
 */

import { type Device, formatEndpoint, type Peer, type PublicKey } from "../base/wireguard.ts";
import {
  FLEET_VERSION,
  MESSAGE_BYTES_MAX,
  type PeerReport,
  type StateMessage,
} from "../fleet/messages.ts";
import type { ScanResult } from "../kernel/devices.ts";
import type { Change } from "../sessions/change.ts";
import type { Session } from "../sessions/session.ts";

/** Names, tags and allowed IPs change without a scan that shows it, so all peers are compared this often. */
const COMPARE_MS = 600_000;
/** The bytes of a message besides the peers, at most. */
const OTHER_BYTES = 200_000;
const TEXT_MAX = 255;
const TAGS_MAX = 100;
const ALLOWED_IPS_MAX = 10_000;
const DEVICES_MAX = 1000;
/** Most peers in one message that were removed. */
const REMOVED_MAX = 1000;
const PROBLEM_MAX = 500;

/** What the report reads of the program. */
export interface StateSource {
  readonly program: string;
  readonly startedAtMs: number;
  now(): { readonly wallMs: number; readonly monotonicMs: number };
  host(): string;
  /** As of the last scan. */
  devices(): readonly Device[];
  /** How many peers a device had in the last scan. */
  count(device: string): number;
  /**
   * All peers of a device.
   *
   * @throws SystemError, ParseError
   */
  peers(device: string): readonly Peer[];
  /** A peer with its times in the present wall clock. */
  inCurrentClock(peer: Peer): Peer;
  session(device: string, publicKey: PublicKey): Session | null;
  nameOf(publicKey: PublicKey, device: string): string | null;
  tagsOf(publicKey: PublicKey): readonly string[];
}

interface Head {
  readonly epoch: string;
  readonly first: number;
  readonly last: number;
  readonly isStopping: boolean;
  /** Whether the message has no peers, because the hub did not answer the last one. Reading all peers costs time. */
  readonly isProbe: boolean;
}

/** A peer of a device, to be compared with what the hub has. */
interface Entry {
  readonly device: string;
  readonly peer: Peer;
}

const UNSURE = -1n;

type Removed = StateMessage["removed"][number];

/** What the message in flight changes at the hub. */
interface Pending {
  readonly message: StateMessage;
  /** Of each peer in it: the hash of its report, and what the report was made of. */
  readonly sent: ReadonlyMap<string, { readonly hash: bigint; readonly entry: Entry }>;
}

export class StateReport {
  readonly #source: StateSource;
  /** What the hub has: a hash of the report of each peer; UNSURE: it may have the peer. */
  readonly #known = new Map<string, bigint>();
  /** Peers that may differ from what the hub has. */
  readonly #changed = new Map<string, Entry>();
  readonly #removed = new Map<string, Removed>();
  readonly #problems = new Map<string, string>();
  /** The rest of a complete list; null: none is being sent. */
  #rest: Entry[] | null = null;
  #mustSendAll = true;
  #mustCompare = false;
  #comparedMs = 0;
  #order = 0;
  #pending: Pending | null = null;

  constructor(source: StateSource) {
    this.#source = source;
  }

  /** Call it with each scan. Returns whether connected peers changed. */
  onScan(
    { devices, removed, failed = [], reasons }: ScanResult,
    changes: readonly Change[],
  ): boolean {
    for (const { device, changed, removed: keys } of devices) {
      this.#problems.delete(device.name);
      for (const { peer } of changed) this.#add({ device: device.name, peer });
      for (const publicKey of keys) this.#remove({ device: device.name, publicKey });
    }
    for (const name of failed) {
      const reason = reasons?.get(name) ?? "the device cannot be read";
      this.#problems.set(name, reason.slice(0, PROBLEM_MAX));
    }
    if (removed.length > 0) this.#mustCompare = true;
    for (const change of changes) {
      if ("peer" in change && !("peers" in change)) {
        this.#add({ device: change.device, peer: change.peer });
      }
    }
    return changes.length > 0;
  }

  /** Names, tags, or the clock have changed, so all peers must be compared. */
  compareSoon(): void {
    this.#mustCompare = true;
  }

  /** The hub asks for all peers: the next message begins a complete list. */
  wantAll(): void {
    this.#rest = null;
    this.#mustSendAll = true;
  }

  /** Another hub, or the same one in another way, receives the messages from now on. */
  startAgain(): void {
    this.failed();
    this.wantAll();
  }

  /** The next message. Call `answered` or `failed` before the next call. */
  next({ isProbe, ...head }: Head): StateMessage {
    const { monotonicMs } = this.#source.now();
    const devices = this.#source.devices();
    if (isProbe) this.#restart();
    else if (this.#mustSendAll) {
      this.#mustSendAll = false;
      this.#comparedMs = monotonicMs;
      this.#mustCompare = false;
      for (const [name] of this.#countsByDevice(devices)) this.#readAll(name, devices);
      this.#rest = [...this.#changed.values()];
      this.#changed.clear();
    }
    const isComplete = this.#rest !== null && !isProbe;
    if (!isComplete && !isProbe) this.#compare(devices, monotonicMs);
    const peers: PeerReport[] = [];
    const sent = new Map<string, { hash: bigint; entry: Entry }>();
    let bytes = OTHER_BYTES;
    let isFull = false;
    const entries = isProbe ? [] : (this.#rest ?? this.#changed.values());
    for (const entry of entries) {
      const report = this.#reportOf(entry);
      const text = JSON.stringify(report);
      bytes += Buffer.byteLength(text) + 1;
      if (bytes > MESSAGE_BYTES_MAX && peers.length > 0) {
        isFull = true;
        break;
      }
      const key = keyOf(entry.device, entry.peer.publicKey);
      const hash = Bun.hash.wyhash(text);
      if (!isComplete && this.#known.get(key) === hash) {
        this.#changed.delete(key);
        continue;
      }
      peers.push(report);
      sent.set(key, { hash, entry });
    }
    const message: StateMessage = {
      version: FLEET_VERSION,
      ...head,
      host: this.#source.host().slice(0, 253),
      program: this.#source.program,
      startedAtMs: this.#source.startedAtMs,
      nowMs: this.#source.now().wallMs,
      order: ++this.#order,
      isComplete,
      hasMore: isComplete && isFull,
      devices: devices.slice(0, DEVICES_MAX).map(({ name, listenPort, publicKey }) => ({
        name,
        listenPort,
        publicKey,
        problem: this.#problems.get(name) ?? null,
      })),
      peers,
      removed: isComplete || isProbe ? [] : [...this.#removed.values()].slice(0, REMOVED_MAX),
    };
    this.#pending = { message, sent };
    return message;
  }

  /** The hub has the message. Returns whether the next one is due at once. */
  answered(): boolean {
    const { message, sent } = this.#pending!;
    this.#pending = null;
    for (const [key, { hash, entry }] of sent) {
      this.#known.set(key, hash);
      // It may have changed again meanwhile.
      if (this.#changed.get(key) === entry) this.#changed.delete(key);
    }
    for (const removed of message.removed) {
      const key = keyOf(removed.device, removed.publicKey);
      this.#known.delete(key);
      this.#removed.delete(key);
    }
    if (message.isComplete) {
      this.#rest = message.hasMore ? this.#rest!.slice(message.peers.length) : null;
    }
    const isDue = this.#mustSendAll || this.#rest !== null;
    return isDue || this.#changed.size > 0 || this.#removed.size > 0;
  }

  /** The hub may have the message or not. A complete list begins again. */
  failed(): void {
    if (this.#pending === null) return;
    const { message, sent } = this.#pending;
    this.#pending = null;
    for (const key of sent.keys()) this.#known.set(key, UNSURE);
    if (message.isComplete) this.wantAll();
  }

  /** A complete list that was interrupted begins again. */
  #restart(): void {
    if (this.#rest !== null) this.wantAll();
  }

  #add(entry: Entry): void {
    const key = keyOf(entry.device, entry.peer.publicKey);
    this.#removed.delete(key);
    this.#changed.set(key, entry);
  }

  #remove(removed: Removed): void {
    const key = keyOf(removed.device, removed.publicKey);
    this.#changed.delete(key);
    this.#removed.set(key, removed);
  }

  /** Reads all peers of the devices whose number of peers is not the one that the hub has, or of all devices. */
  #compare(devices: readonly Device[], monotonicMs: number): void {
    const isDue = this.#mustCompare || monotonicMs - this.#comparedMs >= COMPARE_MS;
    if (isDue) {
      this.#mustCompare = false;
      this.#comparedMs = monotonicMs;
    }
    for (const [name, known] of this.#countsByDevice(devices)) {
      const exists = devices.some((device) => device.name === name);
      const count = exists ? this.#source.count(name) : 0;
      if (isDue || count !== known) this.#readAll(name, devices);
    }
  }

  /** How many peers of each device the hub has, with those that it will be sent. */
  #countsByDevice(devices: readonly Device[]): Map<string, number> {
    const counts = new Map(devices.map(({ name }) => [name, 0]));
    for (const key of new Set([...this.#known.keys(), ...this.#changed.keys()])) {
      const { device } = entryOf(key);
      counts.set(device, (counts.get(device) ?? 0) + 1);
    }
    return counts;
  }

  /** Compares all peers of a device with those that the hub has. */
  #readAll(device: string, devices: readonly Device[]): void {
    const exists = devices.some(({ name }) => name === device);
    const entries = exists ? this.#entriesOf(device) : [];
    // The hub keeps the peers of a device that cannot be read, or forgets them with a complete list.
    const present = new Set(entries?.map(({ peer }) => peer.publicKey as string));
    for (const key of [...this.#known.keys(), ...this.#changed.keys()]) {
      const entry = entryOf(key);
      if (entry.device !== device || present.has(entry.publicKey)) continue;
      if (entries !== null) this.#remove(entry);
      else if (this.#known.has(key)) this.#known.set(key, UNSURE);
    }
    if (entries === null) this.#mustCompare = true;
    for (const entry of entries ?? []) this.#add(entry);
  }

  /** null: the device cannot be read; its scan reports why. */
  #entriesOf(device: string): Entry[] | null {
    try {
      return this.#source.peers(device).map((peer) => ({ device, peer }));
    } catch (error) {
      this.#problems.set(device, String((error as Error).message).slice(0, PROBLEM_MAX));
      return null;
    }
  }

  #reportOf({ device, peer: scanned }: Entry): PeerReport {
    const source = this.#source;
    const { publicKey } = scanned;
    const session = source.session(device, publicKey);
    const peer = source.inCurrentClock(scanned);
    return {
      device,
      publicKey,
      name: source.nameOf(publicKey, device)?.slice(0, TEXT_MAX) ?? null,
      tags: source
        .tagsOf(publicKey)
        .slice(0, TAGS_MAX)
        .map((tag) => tag.slice(0, TEXT_MAX)),
      allowedIps: peer.allowedIps.slice(0, ALLOWED_IPS_MAX),
      endpoint: peer.endpoint === null ? null : formatEndpoint(peer.endpoint),
      lastHandshakeMs: peer.lastHandshakeMs,
      rxBytes: peer.rxBytes,
      txBytes: peer.txBytes,
      persistentKeepaliveSeconds: peer.persistentKeepaliveSeconds,
      session:
        session === null
          ? null
          : {
              startedAtMs: session.startedAtMs,
              lastActivityMs: session.lastActivity.wallMs,
              rxBytes: session.rxBytes,
              txBytes: session.txBytes,
              roams: session.roams,
            },
    };
  }
}

function keyOf(device: string, publicKey: string): string {
  return `${device} ${publicKey}`;
}

function entryOf(key: string): { readonly device: string; readonly publicKey: string } {
  const at = key.indexOf(" ");
  return { device: key.slice(0, at), publicKey: key.slice(at + 1) };
}
