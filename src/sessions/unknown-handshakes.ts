/**
 * Reports unknown handshakes: handshake messages from an address and port that have no session 5 s later, counted by
 * network and minute. Such packets can be forged, so memory, computation and reports are bounded, and sources beyond
 * the bounds are not reported.
 */

import type { Clock } from "../base/clock.ts";
import {
  type Device,
  type Endpoint,
  formatEndpoint,
  INITIATION_BYTES,
  type Instant,
  isSameHandshake,
  MessageType,
  type PeerChange,
  type PublicKey,
  type Scan,
} from "../base/wireguard.ts";
import type { CapturedDatagram } from "../capture/packet.ts";

/** A peer authenticates within a round trip. After this time WireGuard retries (REKEY_TIMEOUT). */
const SETTLE_MS = 5000;
const MINUTE_MS = 60_000;
/** Interval for checking the sources. */
const SWEEP_MS = 1000;
/** Maximum number of mac1 checks per interval; the other sources wait for the next one. */
const CHECKS_PER_SWEEP = 100;

const NETWORKS_MAX = 1000;
const SOURCES_MAX = 4096;
/** Keeps a flood from one network from using all of SOURCES_MAX. */
const SOURCES_PER_NETWORK_MAX = 64;

/** Networks that get their own event per minute; the others share one event per device. */
const EVENTS_MAX = 60;
/** Maximum number of sources, and of peers, in an event. */
const LISTED_MAX = 5;

/**
 * Whether the senders know the device's public key. valid: all checked ones do, like a peer with a wrong preshared key
 * or a removed peer. invalid: none does, like scanners. mixed: some do. not-checked: unknown.
 */
export type Mac1 = "valid" | "invalid" | "mixed" | "not-checked";

interface Messages {
  readonly initiation: number;
  readonly response: number;
  /** Data messages with counter 0. */
  readonly data: number;
}

/** Handshakes that no peer completed, from one network or several. Times are wall clock. */
export interface UnknownHandshakesChange {
  readonly type: "handshake.unknown";
  readonly atMs: number;
  readonly device: string;
  readonly listenPort: number;
  /** `198.51.100.0/24` or `2001:db8::/48`; null if there are several. */
  readonly network: string | null;
  /** Number of networks. */
  readonly networks: number;
  /** Some of the senders, the most informative first. */
  readonly sources: readonly string[];
  readonly packets: number;
  readonly messages: Messages;
  readonly mac1: Mac1;
  /** Peers of the device among the senders. They proved their private keys to WireGuard. */
  readonly peers: readonly { readonly publicKey: PublicKey; readonly name: string | null }[];
  readonly firstAtMs: number;
  readonly lastAtMs: number;
}

export interface UnknownHandshakesOptions {
  readonly clock: Clock;
  /** Returns the device that listens on the port; null if no device does. */
  deviceAt(port: number): Device | null;
  /**
   * The monotonic time of the latest handshake of the session with this endpoint; null if no session matches. See
   * `Tracker.handshakeAtMs`.
   */
  handshakeAtMs(address: string, port: number, listenPort: number): number | null;
  /** Returns the function that checks a mac1; null while it is being loaded. */
  mac1Check(): ((handshake: Uint8Array, publicKey: PublicKey) => boolean) | null;
  /** Returns null if the peer has no name. */
  nameOf(publicKey: PublicKey, device: string): string | null;
  report(found: readonly UnknownHandshakesChange[]): void;
}

/** An address and port that sent handshake messages. Times are monotonic. */
interface Source {
  readonly address: string;
  readonly port: number;
  readonly firstMs: number;
  lastMs: number;
  readonly messages: { -readonly [Name in keyof Messages]: Messages[Name] };
  /** A handshake message whose mac1 is to be checked; otherwise null. */
  handshake: Uint8Array | null;
  /** Whether the mac1 of its handshake message is valid; null until it is checked. */
  isMac1Valid: boolean | null;
  /** The peer that proved its private key from this address and port; null if unknown. */
  peer: PublicKey | null;
}

interface Network {
  readonly device: Device;
  /** CIDR. */
  readonly network: string;
  readonly sources: Map<string, Source>;
}

/** The sources of a network that are reported. */
interface SourceGroup {
  readonly device: Device;
  readonly network: string;
  readonly sources: readonly Source[];
}

export class UnknownHandshakes {
  readonly #options: UnknownHandshakesOptions;
  readonly #networks = new Map<string, Network>();
  /** Number of sources in all networks. */
  #sources = 0;
  #minuteAtMs = 0;
  #cancelSweep: (() => void) | null = null;
  #stopped = false;

  constructor(options: UnknownHandshakesOptions) {
    this.#options = options;
  }

  /** Handles a captured WireGuard message. */
  onDatagram(datagram: CapturedDatagram): void {
    const message = messageOf(datagram);
    if (message === null || this.#stopped) return;
    const { sourceAddress: address, sourcePort: port, destinationPort } = datagram;
    const device = this.#options.deviceAt(destinationPort);
    // A renewal by a connected peer is not unknown, even if it fails.
    if (device === null || this.#isKnown(address, port, device)) return;
    const { monotonicMs } = this.#options.clock.now();
    const source = this.#sourceAt(address, port, device, monotonicMs);
    if (source === null) return;
    source.lastMs = monotonicMs;
    source.messages[message]++;
    if (device.publicKey !== null && source.isMac1Valid === null) {
      // Copy the bytes: a view would keep the whole receive buffer alive.
      source.handshake ??= datagram.handshake?.slice() ?? null;
    }
    if (this.#cancelSweep === null) {
      this.#minuteAtMs = monotonicMs;
      this.#schedule();
    }
  }

  /**
   * Handles a scan, after the tracker. If a peer without a session gained rx bytes by initiations alone, it proved its
   * private key but did not complete a handshake.
   */
  onScan({ devices }: Scan): void {
    // A scan may have thousands of changes, and usually there are no sources to compare them with.
    if (this.#sources === 0) return;
    for (const { device, changed } of devices) {
      for (const change of changed) {
        const { endpoint, publicKey } = change.peer;
        if (endpoint === null) continue;
        const key = networkKey(device, networkOf(endpoint.address));
        const network = this.#networks.get(key);
        const source = network?.sources.get(sourceKey(endpoint));
        if (network === undefined || source === undefined) continue;
        if (this.#isKnown(source.address, source.port, device)) this.#forget(network, source);
        else if (isAttempt(change)) source.peer = publicKey;
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelSweep?.();
  }

  /** Whether a session of this device has this endpoint. */
  #isKnown(address: string, port: number, { listenPort }: Device): boolean {
    return this.#options.handshakeAtMs(address, port, listenPort) !== null;
  }

  /** Returns null if a limit is reached. */
  #sourceAt(address: string, port: number, device: Device, nowMs: number): Source | null {
    const cidr = networkOf(address);
    const networkId = networkKey(device, cidr);
    const sourceId = sourceKey({ address, port });
    const network = this.#networks.get(networkId);
    const known = network?.sources.get(sourceId);
    if (known !== undefined) return known;
    const isNetworkFull =
      network === undefined
        ? this.#networks.size >= NETWORKS_MAX
        : network.sources.size >= SOURCES_PER_NETWORK_MAX;
    if (isNetworkFull || this.#sources >= SOURCES_MAX) return null;
    const source: Source = {
      address,
      port,
      firstMs: nowMs,
      lastMs: nowMs,
      messages: { initiation: 0, response: 0, data: 0 },
      handshake: null,
      isMac1Valid: null,
      peer: null,
    };
    if (network === undefined) {
      this.#networks.set(networkId, {
        device,
        network: cidr,
        sources: new Map([[sourceId, source]]),
      });
    } else {
      network.sources.set(sourceId, source);
    }
    this.#sources++;
    return source;
  }

  #forget(network: Network, source: Source): void {
    network.sources.delete(sourceKey(source));
    this.#sources--;
    if (network.sources.size === 0) {
      this.#networks.delete(networkKey(network.device, network.network));
    }
  }

  #schedule(): void {
    this.#cancelSweep = this.#options.clock.after(SWEEP_MS, () => {
      this.#cancelSweep = null;
      this.#sweep(this.#options.clock.now());
      if (this.#sources > 0) this.#schedule();
    });
  }

  #sweep(now: Instant): void {
    const hasValidMac1 = this.#options.mac1Check();
    let checksLeft = hasValidMac1 === null ? 0 : CHECKS_PER_SWEEP;
    for (const network of this.#networks.values()) {
      const { device } = network;
      for (const source of network.sources.values()) {
        if (this.#isKnown(source.address, source.port, device)) {
          this.#forget(network, source);
        } else if (checksLeft > 0 && source.handshake !== null && isSettled(source, now)) {
          checksLeft--;
          const { handshake } = source;
          source.isMac1Valid = hasValidMac1!(handshake, device.publicKey!);
          source.handshake = null;
        }
      }
    }
    if (now.monotonicMs - this.#minuteAtMs < MINUTE_MS) return;
    this.#minuteAtMs = now.monotonicMs;
    const found = this.#takeSettled(now);
    if (found.length === 0) return;
    this.#options.report(groupsOf(found).map((group) => this.#summary(group, now)));
  }

  /** Removes and returns the sources that had time to authenticate; the others stay for the next minute. */
  #takeSettled(now: Instant): SourceGroup[] {
    const found: SourceGroup[] = [];
    for (const network of this.#networks.values()) {
      const sources = [...network.sources.values()].filter((source) => isSettled(source, now));
      if (sources.length === 0) continue;
      found.push({ device: network.device, network: network.network, sources });
      for (const source of sources) this.#forget(network, source);
    }
    return found;
  }

  #summary(group: readonly SourceGroup[], now: Instant): UnknownHandshakesChange {
    const [{ device, network }] = group as [SourceGroup, ...SourceGroup[]];
    const sources = group.flatMap((each) => each.sources).toSorted((a, b) => rank(a) - rank(b));
    const peers = [...new Set(sources.flatMap(({ peer }) => peer ?? []))].slice(0, LISTED_MAX);
    const messages = {
      initiation: sum(sources, "initiation"),
      response: sum(sources, "response"),
      data: sum(sources, "data"),
    };
    const wallMs = (monotonicMs: number) => now.wallMs - (now.monotonicMs - monotonicMs);
    return {
      type: "handshake.unknown",
      atMs: now.wallMs,
      device: device.name,
      listenPort: device.listenPort,
      network: group.length === 1 ? network : null,
      networks: group.length,
      sources: sources
        .slice(0, LISTED_MAX)
        .map(({ address, port }) => formatEndpoint({ address, port, scopeId: 0 })),
      packets: messages.initiation + messages.response + messages.data,
      messages,
      mac1: mac1Of(sources),
      peers: peers.map((publicKey) => ({
        publicKey,
        name: this.#options.nameOf(publicKey, device.name),
      })),
      firstAtMs: wallMs(Math.min(...sources.map(({ firstMs }) => firstMs))),
      lastAtMs: wallMs(Math.max(...sources.map(({ lastMs }) => lastMs))),
    };
  }
}

function messageOf({ type, isFirstData }: CapturedDatagram): keyof Messages | null {
  switch (type) {
    case MessageType.initiation:
      return "initiation";
    case MessageType.response:
      return "response";
    case MessageType.data:
      return isFirstData ? "data" : null;
    case MessageType.cookie:
      return null;
  }
}

function isSettled({ firstMs }: Source, { monotonicMs }: Instant): boolean {
  return monotonicMs - firstMs >= SETTLE_MS;
}

/** Whether the peer's rx grew by initiations alone, without a completed handshake. */
function isAttempt({ peer, before }: PeerChange): boolean {
  if (before === null) return false;
  if (!isSameHandshake(before.lastHandshakeMs, peer.lastHandshakeMs)) return false;
  const bytes = peer.rxBytes - before.rxBytes;
  return bytes > 0 && bytes % INITIATION_BYTES === 0;
}

/** One group per network for the first EVENTS_MAX; the remaining networks form one group per device. */
function groupsOf(found: readonly SourceGroup[]): SourceGroup[][] {
  const ranked = found.toSorted((a, b) => rankOf(a) - rankOf(b) || sizeOf(b) - sizeOf(a));
  const rest = Map.groupBy(ranked.slice(EVENTS_MAX), ({ device }) => device.name);
  return [...ranked.slice(0, EVENTS_MAX).map((each) => [each]), ...rest.values()];
}

function mac1Of(sources: readonly Source[]): Mac1 {
  const isSomeValid = sources.some(({ isMac1Valid }) => isMac1Valid === true);
  const isSomeInvalid = sources.some(({ isMac1Valid }) => isMac1Valid === false);
  if (isSomeValid) return isSomeInvalid ? "mixed" : "valid";
  return isSomeInvalid ? "invalid" : "not-checked";
}

/**
 * Sort order of sources, so that scanners do not hide misconfigured peers: peers first, then senders with a valid mac1.
 */
function rank({ peer, isMac1Valid }: Source): number {
  if (peer !== null) return 0;
  if (isMac1Valid === null) return 2;
  return isMac1Valid ? 1 : 3;
}

function rankOf({ sources }: SourceGroup): number {
  return Math.min(...sources.map(rank));
}

function sizeOf({ sources }: SourceGroup): number {
  return sum(sources, "initiation") + sum(sources, "response") + sum(sources, "data");
}

function sum(sources: readonly Source[], name: keyof Messages): number {
  return sources.reduce((total, { messages }) => total + messages[name], 0);
}

/**
 * Returns the network of an address, roughly what a provider assigns to one customer: `198.51.100.0/24`,
 * `2001:db8::/48`.
 */
export function networkOf(address: string): string {
  if (!address.includes(":")) return `${address.slice(0, address.lastIndexOf("."))}.0/24`;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const after = tail === "" ? [] : tail.split(":");
    while (groups.length + after.length < 8) groups.push("0");
    groups.push(...after);
  }
  const first = groups.slice(0, 3);
  // The remaining groups are zero: RFC 5952 compresses the zeros before them into the same gap.
  while (first.at(-1) === "0") first.pop();
  return `${first.join(":")}::/48`;
}

function networkKey({ name }: Device, network: string): string {
  return `${name} ${network}`;
}

function sourceKey({ address, port }: Pick<Endpoint, "address" | "port">): string {
  return `${address} ${port}`;
}
