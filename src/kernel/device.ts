/**
 * What the kernel answers to WG_CMD_GET_DEVICE, and how it differs from the answer before. Pure.
 *
 * A look must cost nothing for peers that did not change: what is known of each peer lies in columns
 * (typed arrays), the answer is compared with them byte by byte, and only a peer that differs becomes
 * an object. The attribute tree is that of linux/wireguard.h. The attributes of private and
 * preshared keys are stepped over: they never become values.
 */

import { ParseError } from "../errors.ts";
import {
  type Device,
  type DeviceLook,
  type Endpoint,
  formatAddress,
  type Peer,
  type PeerChange,
  type PublicKey,
} from "../wireguard.ts";
import {
  align,
  attributeEnd,
  attributeType,
  type Bytes,
  expectLength,
  readText,
  readU64,
} from "./netlink.ts";
import {
  AF_INET,
  AF_INET6,
  GENL_HDRLEN,
  NLA_HDRLEN,
  NLMSG_HDRLEN,
  WG_KEY_LEN,
  WGALLOWEDIP_A_CIDR_MASK,
  WGALLOWEDIP_A_FAMILY,
  WGALLOWEDIP_A_IPADDR,
  WGDEVICE_A_IFINDEX,
  WGDEVICE_A_IFNAME,
  WGDEVICE_A_LISTEN_PORT,
  WGDEVICE_A_PEERS,
  WGDEVICE_A_PUBLIC_KEY,
  WGPEER_A_ALLOWEDIPS,
  WGPEER_A_ENDPOINT,
  WGPEER_A_LAST_HANDSHAKE_TIME,
  WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
  WGPEER_A_PUBLIC_KEY,
  WGPEER_A_RX_BYTES,
  WGPEER_A_TX_BYTES,
} from "./uapi.ts";

const KEY_WORDS = WG_KEY_LEN / 4;
/** sizeof(struct sockaddr_in) and sizeof(struct sockaddr_in6), linux/in.h and linux/in6.h. */
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
const ENDPOINT_WORDS = SOCKADDR_IN6_BYTES / 4;
/** The first second that a Date cannot hold to its end. */
const SECONDS_END = 8.64e12;

/** A peer that differs, while its allowed IPs may still continue in the next message. */
interface Growing extends Peer {
  readonly allowedIps: string[];
}

/** The peers of one device as the looks so far found them. */
export class PeerTable {
  #capacity = 64;
  #count = 0;
  #keys = new Uint32Array(this.#capacity * KEY_WORDS);
  #endpoints = new Uint32Array(this.#capacity * ENDPOINT_WORDS);
  /** 0 = never. */
  #handshakeMs = new Float64Array(this.#capacity);
  #rxBytes = new Float64Array(this.#capacity);
  #txBytes = new Float64Array(this.#capacity);
  /** Number of the look that saw the row last. */
  #seen = new Uint32Array(this.#capacity);
  /** Open addressing from key to row + 1; 0 = free. Never more than half full. */
  #index = new Uint32Array(this.#capacity * 2);

  #look = 0;
  #seenCount = 0;
  #device: Device | null = null;
  /** By row: what `finish` will answer with. */
  readonly #changed = new Map<number, PeerChange>();
  #previousRow = -1;
  #previousPeer: Growing | null = null;
  readonly #endpoint = new Uint32Array(ENDPOINT_WORDS);

  /** How many peers the device has. */
  get size(): number {
    return this.#count;
  }

  /**
   * Starts a dump. What an earlier one found and could not `finish` is kept, and read again: the
   * earlier one may have ended in the middle of a peer.
   */
  begin(): void {
    this.#look++;
    this.#seenCount = 0;
    this.#device = null;
    this.#previousRow = -1;
    this.#previousPeer = null;
  }

  /**
   * Takes in one message of the answer, from its netlink header at `start`.
   *
   * @throws ParseError
   */
  read(answer: Bytes, start: number, end: number): void {
    const { bytes, view } = answer;
    let name = "";
    let index = 0;
    let listenPort = 0;
    let publicKey: PublicKey | null = null;
    for (let offset = start + NLMSG_HDRLEN + GENL_HDRLEN; offset < end;) {
      const stop = attributeEnd(view, offset, end);
      const payload = offset + NLA_HDRLEN;
      switch (attributeType(view, offset)) {
        case WGDEVICE_A_IFINDEX:
          expectLength("WGDEVICE_A_IFINDEX", payload, stop, 4);
          index = view.getUint32(payload, true);
          break;
        case WGDEVICE_A_IFNAME:
          name = readText(bytes, payload, stop);
          break;
        case WGDEVICE_A_PUBLIC_KEY:
          expectLength("WGDEVICE_A_PUBLIC_KEY", payload, stop, WG_KEY_LEN);
          publicKey = keyText(bytes, payload);
          break;
        case WGDEVICE_A_LISTEN_PORT:
          expectLength("WGDEVICE_A_LISTEN_PORT", payload, stop, 2);
          listenPort = view.getUint16(payload, true);
          break;
        case WGDEVICE_A_PEERS:
          for (let peer = payload; peer < stop;) {
            const peerEnd = attributeEnd(view, peer, stop);
            this.#readPeer(answer, peer + NLA_HDRLEN, peerEnd);
            peer = align(peerEnd);
          }
          break;
      }
      offset = align(stop);
    }
    // The messages that continue a device repeat its name and number only.
    this.#device ??= { name, index, listenPort, publicKey };
  }

  /**
   * Ends the look. After an interrupted dump `removed` is empty: a peer that is not in it may still
   * exist.
   *
   * @throws ParseError when no message came.
   */
  finish({ interrupted }: { interrupted: boolean }): DeviceLook {
    if (this.#device === null) throw new ParseError("WG_CMD_GET_DEVICE: answer without a device");
    const removed = interrupted || this.#seenCount === this.#count ? [] : this.#removeUnseen();
    const changed = [...this.#changed.values()];
    this.#changed.clear();
    return { device: this.#device, changed, removed };
  }

  #readPeer(answer: Bytes, start: number, end: number): void {
    const { view } = answer;
    // Offsets of the payloads; -1: not there.
    let key = -1;
    let endpoint = -1;
    let endpointEnd = -1;
    let keepalive = -1;
    let handshake = -1;
    let rx = -1;
    let tx = -1;
    let allowedIps = -1;
    let allowedIpsEnd = -1;
    for (let offset = start; offset < end;) {
      const stop = attributeEnd(view, offset, end);
      const payload = offset + NLA_HDRLEN;
      switch (attributeType(view, offset)) {
        case WGPEER_A_PUBLIC_KEY:
          expectLength("WGPEER_A_PUBLIC_KEY", payload, stop, WG_KEY_LEN);
          key = payload;
          break;
        case WGPEER_A_ENDPOINT:
          endpoint = payload;
          endpointEnd = stop;
          break;
        case WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
          expectLength("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", payload, stop, 2);
          keepalive = payload;
          break;
        case WGPEER_A_LAST_HANDSHAKE_TIME:
          expectLength("WGPEER_A_LAST_HANDSHAKE_TIME", payload, stop, 16);
          handshake = payload;
          break;
        case WGPEER_A_RX_BYTES:
          expectLength("WGPEER_A_RX_BYTES", payload, stop, 8);
          rx = payload;
          break;
        case WGPEER_A_TX_BYTES:
          expectLength("WGPEER_A_TX_BYTES", payload, stop, 8);
          tx = payload;
          break;
        case WGPEER_A_ALLOWEDIPS:
          allowedIps = payload;
          allowedIpsEnd = stop;
          break;
      }
      offset = align(stop);
    }
    if (key === -1) throw new ParseError("WGDEVICE_A_PEERS: peer without WGPEER_A_PUBLIC_KEY");

    // All that may be a ParseError comes before the columns are touched.
    const handshakeMs = handshake === -1 ? 0 : readTimespecMs(view, handshake);
    const rxBytes = rx === -1 ? 0 : readU64(view, rx);
    const txBytes = tx === -1 ? 0 : readU64(view, tx);
    this.#readEndpoint(view, endpoint, endpointEnd);

    const { row, isNew } = this.#rowOf(view, key);
    if (row === this.#previousRow) {
      // The peer continues from the message before, with more of its allowed IPs and nothing else.
      if (this.#previousPeer !== null && allowedIps !== -1) {
        readAllowedIps(answer, allowedIps, allowedIpsEnd, this.#previousPeer.allowedIps);
      }
      return;
    }
    this.#previousRow = row;
    this.#previousPeer = null;
    if (this.#seen[row] !== this.#look) this.#seenCount++;
    this.#seen[row] = this.#look;

    const unfinished = this.#changed.get(row);
    const isSame =
      !isNew &&
      unfinished === undefined &&
      handshakeMs === this.#handshakeMs[row] &&
      rxBytes === this.#rxBytes[row] &&
      txBytes === this.#txBytes[row] &&
      this.#hasEndpoint(row);
    if (isSame) return;

    let before: PeerChange["before"] = null;
    if (unfinished !== undefined) before = unfinished.before;
    else if (!isNew) {
      before = {
        lastHandshakeMs: this.#handshakeMs[row]! || null,
        rxBytes: this.#rxBytes[row]!,
        txBytes: this.#txBytes[row]!,
      };
    }
    this.#handshakeMs[row] = handshakeMs;
    this.#rxBytes[row] = rxBytes;
    this.#txBytes[row] = txBytes;
    this.#endpoints.set(this.#endpoint, row * ENDPOINT_WORDS);
    const peer: Growing = {
      publicKey: keyText(answer.bytes, key),
      endpoint: endpointOf(this.#endpoint),
      allowedIps: [],
      lastHandshakeMs: handshakeMs || null,
      rxBytes,
      txBytes,
      persistentKeepaliveSeconds: keepalive === -1 ? 0 : view.getUint16(keepalive, true),
    };
    this.#changed.set(row, { peer, before });
    this.#previousPeer = peer;
    if (allowedIps !== -1) readAllowedIps(answer, allowedIps, allowedIpsEnd, peer.allowedIps);
  }

  /** The row of the key at `offset`, a new one if there is none yet. */
  #rowOf(view: DataView, offset: number): { row: number; isNew: boolean } {
    const mask = this.#index.length - 1;
    let slot = hash(view.getUint32(offset, true), view.getUint32(offset + 4, true)) & mask;
    for (;;) {
      const entry = this.#index[slot]!;
      if (entry === 0) break;
      if (this.#hasKey(entry - 1, view, offset)) return { row: entry - 1, isNew: false };
      slot = (slot + 1) & mask;
    }
    const row = this.#count++;
    for (let word = 0; word < KEY_WORDS; word++) {
      this.#keys[row * KEY_WORDS + word] = view.getUint32(offset + word * 4, true);
    }
    this.#index[slot] = row + 1;
    if (this.#count === this.#capacity) this.#grow();
    return { row, isNew: true };
  }

  #hasKey(row: number, view: DataView, offset: number): boolean {
    for (let word = 0; word < KEY_WORDS; word++) {
      if (this.#keys[row * KEY_WORDS + word] !== view.getUint32(offset + word * 4, true)) {
        return false;
      }
    }
    return true;
  }

  #hasEndpoint(row: number): boolean {
    for (let word = 0; word < ENDPOINT_WORDS; word++) {
      if (this.#endpoints[row * ENDPOINT_WORDS + word] !== this.#endpoint[word]) return false;
    }
    return true;
  }

  /** Copies the socket address at `offset` into `#endpoint`; all zero where there is none. */
  #readEndpoint(view: DataView, offset: number, end: number): void {
    this.#endpoint.fill(0);
    if (offset === -1) return;
    if (end - offset < 2) throw new ParseError(`WGPEER_A_ENDPOINT: ${end - offset} bytes`);
    const family = view.getUint16(offset, true);
    const length =
      family === AF_INET ? SOCKADDR_IN_BYTES : family === AF_INET6 ? SOCKADDR_IN6_BYTES : 0;
    if (length === 0) return;
    expectLength(`WGPEER_A_ENDPOINT of family ${family}`, offset, end, length);
    for (let word = 0; word * 4 < length; word++) {
      this.#endpoint[word] = view.getUint32(offset + word * 4, true);
    }
    // sin6_flowinfo is no part of the place; the padding of sockaddr_in neither.
    if (family === AF_INET6) this.#endpoint[1] = 0;
    else this.#endpoint.fill(0, 2);
  }

  #grow(): void {
    const capacity = this.#capacity * 2;
    this.#keys = grown(this.#keys, capacity * KEY_WORDS);
    this.#endpoints = grown(this.#endpoints, capacity * ENDPOINT_WORDS);
    this.#handshakeMs = grown(this.#handshakeMs, capacity);
    this.#rxBytes = grown(this.#rxBytes, capacity);
    this.#txBytes = grown(this.#txBytes, capacity);
    this.#seen = grown(this.#seen, capacity);
    this.#capacity = capacity;
    this.#index = new Uint32Array(capacity * 2);
    this.#rebuildIndex();
  }

  #rebuildIndex(): void {
    this.#index.fill(0);
    const mask = this.#index.length - 1;
    for (let row = 0; row < this.#count; row++) {
      let slot = hash(this.#keys[row * KEY_WORDS]!, this.#keys[row * KEY_WORDS + 1]!) & mask;
      while (this.#index[slot] !== 0) slot = (slot + 1) & mask;
      this.#index[slot] = row + 1;
    }
  }

  /** Closes the gaps that peers leave which this look did not see, and names those peers. */
  #removeUnseen(): PublicKey[] {
    const removed: PublicKey[] = [];
    const keyBytes = new Uint8Array(this.#keys.buffer);
    let kept = 0;
    for (let row = 0; row < this.#count; row++) {
      if (this.#seen[row] !== this.#look) {
        // One that came and went between two looks was never told of.
        const unfinished = this.#changed.get(row);
        this.#changed.delete(row);
        if (unfinished?.before !== null) removed.push(keyText(keyBytes, row * WG_KEY_LEN));
        continue;
      }
      this.#keys.copyWithin(kept * KEY_WORDS, row * KEY_WORDS, (row + 1) * KEY_WORDS);
      this.#endpoints.copyWithin(
        kept * ENDPOINT_WORDS,
        row * ENDPOINT_WORDS,
        (row + 1) * ENDPOINT_WORDS,
      );
      this.#handshakeMs[kept] = this.#handshakeMs[row]!;
      this.#rxBytes[kept] = this.#rxBytes[row]!;
      this.#txBytes[kept] = this.#txBytes[row]!;
      this.#seen[kept] = this.#seen[row]!;
      kept++;
    }
    this.#count = kept;
    this.#rebuildIndex();
    return removed;
  }
}

function grown<Column extends Uint32Array | Float64Array>(column: Column, length: number): Column {
  const copy = new (column.constructor as new (length: number) => Column)(length);
  copy.set(column);
  return copy;
}

/** Keys are random already; the multiplications spread the two words over the low bits. */
function hash(a: number, b: number): number {
  return Math.imul(a ^ Math.imul(b, 0x85ebca6b), 0x9e3779b1) >>> 8;
}

/** struct __kernel_timespec: seconds and nanoseconds, 64 bits each; in whole milliseconds. */
function readTimespecMs(view: DataView, offset: number): number {
  const seconds = readU64(view, offset);
  const nanoseconds = readU64(view, offset + 8);
  if (seconds >= SECONDS_END || nanoseconds >= 1e9) {
    throw new ParseError(`WGPEER_A_LAST_HANDSHAKE_TIME: ${seconds} s ${nanoseconds} ns is no time`);
  }
  return seconds * 1000 + Math.floor(nanoseconds / 1e6);
}

function keyText(bytes: Uint8Array, offset: number): PublicKey {
  return bytes.subarray(offset, offset + WG_KEY_LEN).toBase64() as PublicKey;
}

/** struct sockaddr_in or sockaddr_in6 as words; ports are in network order. */
function endpointOf(words: Uint32Array): Endpoint | null {
  const bytes = new Uint8Array(words.buffer);
  const family = words[0]! & 0xffff;
  const port = (bytes[2]! << 8) | bytes[3]!;
  if (family === AF_INET) return { address: formatAddress(bytes, 4, 4), port, scopeId: 0 };
  if (family === AF_INET6) {
    return { address: formatAddress(bytes, 8, 16), port, scopeId: words[6]! };
  }
  return null;
}

function readAllowedIps({ bytes, view }: Bytes, start: number, end: number, into: string[]): void {
  for (let entry = start; entry < end;) {
    const entryEnd = attributeEnd(view, entry, end);
    let family = 0;
    let address = -1;
    let addressLength = 0;
    let mask = -1;
    for (let offset = entry + NLA_HDRLEN; offset < entryEnd;) {
      const stop = attributeEnd(view, offset, entryEnd);
      const payload = offset + NLA_HDRLEN;
      switch (attributeType(view, offset)) {
        case WGALLOWEDIP_A_FAMILY:
          expectLength("WGALLOWEDIP_A_FAMILY", payload, stop, 2);
          family = view.getUint16(payload, true);
          break;
        case WGALLOWEDIP_A_IPADDR:
          address = payload;
          addressLength = stop - payload;
          break;
        case WGALLOWEDIP_A_CIDR_MASK:
          expectLength("WGALLOWEDIP_A_CIDR_MASK", payload, stop, 1);
          mask = bytes[payload]!;
          break;
      }
      offset = align(stop);
    }
    const length = family === AF_INET ? 4 : family === AF_INET6 ? 16 : null;
    if (length !== null) {
      if (addressLength !== length || mask === -1) {
        throw new ParseError(`WGPEER_A_ALLOWEDIPS: ${addressLength} bytes of family ${family}`);
      }
      if (mask > length * 8) throw new ParseError(`WGALLOWEDIP_A_CIDR_MASK: ${mask}`);
      const text = formatAddress(bytes, address, length);
      // Here IPv4-mapped is no other way to say IPv4: its mask counts from the start of IPv6.
      const mapped = length === 16 && !text.includes(":") ? "::ffff:" : "";
      into.push(`${mapped}${text}/${mask}`);
    }
    entry = align(entryEnd);
  }
}
