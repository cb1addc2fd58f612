/**
 * What the kernel answers to WG_CMD_GET_DEVICE, and how it differs from the answer before. Pure.
 *
 * A look must cost next to nothing for peers that did not change. A message that is as in the dump before is
 * skipped. In the others, what is known of each peer lies in a row of words, the answer is compared with it word by
 * word, and only a peer that differs becomes an object. The attribute tree is that of linux/wireguard.h. The
 * attributes of private and preshared keys are stepped over: they never become values.
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
import { KnownMessages } from "./known-messages.ts";
import {
  align,
  type Bytes,
  expectLength,
  headerEnd,
  headerType,
  readText,
  wordsOf,
} from "./netlink.ts";
import {
  HANDSHAKE_WORDS,
  KEY_WORDS,
  PeerRows,
  ROW_ENDPOINT,
  ROW_HANDSHAKE,
  ROW_RX,
  ROW_TX,
  ROW_WORDS,
  sameWords,
  STATE_WORDS,
} from "./rows.ts";
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

/** sizeof(struct sockaddr_in) and sizeof(struct sockaddr_in6), linux/in.h and linux/in6.h. */
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
/** The first second that a Date cannot hold to its end. */
const SECONDS_END = 8.64e12;

/** The headers of a peer's attributes as the kernel writes them: nla_len and nla_type in one word. */
const headerOf = (type: number, length: number) => (NLA_HDRLEN + length) | (type << 16);
const PUBLIC_KEY = headerOf(WGPEER_A_PUBLIC_KEY, WG_KEY_LEN);
const HANDSHAKE = headerOf(WGPEER_A_LAST_HANDSHAKE_TIME, 16);
const KEEPALIVE = headerOf(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 2);
const TX = headerOf(WGPEER_A_TX_BYTES, 8);
const RX = headerOf(WGPEER_A_RX_BYTES, 8);
const ENDPOINT_IN = headerOf(WGPEER_A_ENDPOINT, SOCKADDR_IN_BYTES);
const ENDPOINT_IN6 = headerOf(WGPEER_A_ENDPOINT, SOCKADDR_IN6_BYTES);
/** Their types as bits. */
const TYPES =
  (1 << WGPEER_A_PUBLIC_KEY) |
  (1 << WGPEER_A_LAST_HANDSHAKE_TIME) |
  (1 << WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL) |
  (1 << WGPEER_A_TX_BYTES) |
  (1 << WGPEER_A_RX_BYTES) |
  (1 << WGPEER_A_ENDPOINT);
/** What must be there and the same for a peer to be unchanged, as bits. */
const HAS_HANDSHAKE = 1;
const HAS_TX = 2;
const HAS_RX = 4;
const HAS_ENDPOINT = 8;
const HAS_ALL = HAS_HANDSHAKE | HAS_TX | HAS_RX | HAS_ENDPOINT;

const NOBODY: readonly PublicKey[] = [];

/** A peer that differs, while its allowed IPs may still continue in the next message. */
interface Growing extends Peer {
  readonly allowedIps: string[];
}

/** The peers of one device as the looks so far found them. */
export class PeerTable {
  readonly #rows = new PeerRows();
  readonly #messages = new KnownMessages();
  /** Of the message that is read. */
  #messageRows: number[] = [];
  /** The rows from this one on are of peers that the look before did not have. */
  #newFrom = 0;
  /** Whether new peers are told that never completed a handshake. */
  #tellsAll: boolean;
  #look = 0;
  #seenCount = 0;
  /** By row: what `finish` will answer with. */
  readonly #changed = new Map<number, PeerChange>();
  #previousRow = -1;
  #previousPeer: Growing | null = null;

  /** As this dump has it; null before its first message. */
  #device: Device | null = null;
  /** As the last dump had it, and its key as words. */
  #knownDevice: Device | null = null;
  readonly #deviceKey = new Int32Array(KEY_WORDS);
  /** What `finish` answers with while nothing changes. */
  #quiet: DeviceLook | null = null;

  /** The words of the buffer that answers come in, which is always the same one. */
  #answer: Bytes | null = null;
  #words: Int32Array = new Int32Array();
  /** The peer that is read: its row as it will be, and the rest of it. */
  readonly #found = new Int32Array(ROW_WORDS);
  readonly #foundEndpoint = new Uint8Array(this.#found.buffer, ROW_ENDPOINT * 4);
  #keepaliveSeconds = 0;
  #allowedIps = 0;
  #allowedIpsEnd = 0;

  /**
   * @param options.tellsAll false: new peers that never completed a handshake are not told, which
   *   spares most of the first look at a large device; until one that did is removed, because it may
   *   be one of them that comes back.
   */
  constructor({ tellsAll = true }: { readonly tellsAll?: boolean } = {}) {
    this.#tellsAll = tellsAll;
  }

  /** How many peers the device has. */
  get size(): number {
    return this.#rows.count;
  }

  /**
   * Starts a dump. What an earlier one found and could not `finish` is kept, and read again: the
   * earlier one may have ended in the middle of a peer.
   */
  begin(): void {
    // As it fits into a row.
    this.#look = (this.#look + 1) | 0;
    this.#messages.begin();
    this.#seenCount = 0;
    this.#device = null;
    this.#previousRow = -1;
    this.#previousPeer = null;
  }

  /**
   * Takes in one message of the answer, from its netlink header at `start`, a multiple of four.
   *
   * @throws ParseError
   */
  read(answer: Bytes, start: number, end: number): void {
    const { isKnown, rows } = this.#messages.next(answer.bytes, start, end);
    // After a peer that differs, even a known message may continue with more of its allowed IPs.
    if (isKnown && this.#previousPeer === null && this.#skip(rows)) return;
    rows.length = 0;
    this.#messageRows = rows;
    this.#readMessage(answer, start, end);
  }

  /** Marks the peers of a known message as seen. false: one was in an earlier message, too, so this must be read. */
  #skip(rows: readonly number[]): boolean {
    this.#device ??= this.#knownDevice;
    for (const row of rows) {
      if (!this.#rows.see(row, this.#look)) return false;
      this.#seenCount++;
      this.#previousRow = row;
    }
    return true;
  }

  #readMessage(answer: Bytes, start: number, end: number): void {
    if (answer !== this.#answer) {
      this.#answer = answer;
      this.#words = wordsOf(answer);
    }
    const words = this.#words;
    const { view } = answer;
    let index = 0;
    let listenPort = 0;
    let name = 0;
    let nameEnd = 0;
    let key = -1;
    for (let offset = start + NLMSG_HDRLEN + GENL_HDRLEN; offset < end;) {
      const header = words[offset >> 2]!;
      const stop = headerEnd(header, offset, end);
      const payload = offset + NLA_HDRLEN;
      switch (headerType(header)) {
        case WGDEVICE_A_IFINDEX:
          expectLength("WGDEVICE_A_IFINDEX", payload, stop, 4);
          index = view.getUint32(payload, true);
          break;
        case WGDEVICE_A_IFNAME:
          name = payload;
          nameEnd = stop;
          break;
        case WGDEVICE_A_PUBLIC_KEY:
          expectLength("WGDEVICE_A_PUBLIC_KEY", payload, stop, WG_KEY_LEN);
          key = payload;
          break;
        case WGDEVICE_A_LISTEN_PORT:
          expectLength("WGDEVICE_A_LISTEN_PORT", payload, stop, 2);
          listenPort = view.getUint16(payload, true);
          break;
        case WGDEVICE_A_PEERS:
          for (let peer = payload; peer < stop;) {
            const peerEnd = headerEnd(words[peer >> 2]!, peer, stop);
            const isUnchanged = this.#newFrom > 0 && this.#stepOver(peer + NLA_HDRLEN, peerEnd);
            if (!isUnchanged) this.#readPeer(answer, peer + NLA_HDRLEN, peerEnd);
            peer = align(peerEnd);
          }
          break;
      }
      offset = align(stop);
    }
    // The messages that continue a device repeat its name and number only.
    if (this.#device !== null) return;
    const known = this.#knownDevice;
    if (
      known !== null &&
      known.index === index &&
      known.listenPort === listenPort &&
      isText(answer.bytes, name, nameEnd, known.name) &&
      (key === -1
        ? known.publicKey === null
        : known.publicKey !== null && sameWords(this.#deviceKey, 0, words, key >> 2, KEY_WORDS))
    ) {
      this.#device = known;
      return;
    }
    if (key !== -1) copyWords(this.#deviceKey, 0, words, key >> 2, KEY_WORDS);
    this.#device = {
      name: readText(answer.bytes, name, nameEnd),
      index,
      listenPort,
      publicKey: key === -1 ? null : keyText(words, key >> 2),
    };
    this.#knownDevice = this.#device;
  }

  /**
   * Ends the look. After an interrupted dump `removed` is empty: a peer that is not in it may still
   * exist.
   *
   * @throws ParseError when no message came.
   */
  finish({ interrupted }: { interrupted: boolean }): DeviceLook {
    const device = this.#device;
    if (device === null) throw new ParseError("WG_CMD_GET_DEVICE: answer without a device");
    const areAllThere = this.#seenCount === this.#rows.count;
    const removed = interrupted || areAllThere ? NOBODY : this.#removeUnseen();
    this.#newFrom = this.#rows.count;
    // The rows move when some are removed.
    this.#messages.end(!interrupted && areAllThere);
    if (this.#changed.size > 0 || removed.length > 0) {
      const changed = [...this.#changed.values()];
      this.#changed.clear();
      return { device, changed, removed };
    }
    if (this.#quiet?.device !== device) this.#quiet = { device, changed: [], removed };
    return this.#quiet;
  }

  /**
   * Steps over a peer that is as its row says, as almost all are at each look. What is unusual about
   * one, or wrong, is not for here: false, it must be read.
   */
  #stepOver(start: number, end: number): boolean {
    const words = this.#words;
    const rows = this.#rows;
    const known = rows.words;
    const rest = start + NLA_HDRLEN + WG_KEY_LEN;
    if (rest > end || words[start >> 2] !== PUBLIC_KEY) return false;
    const key = (start + NLA_HDRLEN) >> 2;
    // The kernel lists the peers in the same order each time.
    let row = this.#previousRow + 1;
    if (row >= rows.count || !rows.hasKey(row, words, key)) row = rows.find(words, key);
    if (row === -1) return false;
    // It may continue, or an earlier dump may have ended in the middle of it.
    if (this.#changed.size > 0 && this.#changed.has(row)) return false;

    const at = row * ROW_WORDS;
    let has = known[at + ROW_ENDPOINT] === 0 ? HAS_ENDPOINT : 0;
    for (let offset = rest; offset < end;) {
      const header = words[offset >> 2]!;
      const length = header & 0xffff;
      if (length < NLA_HDRLEN || length > end - offset) return false;
      const payload = (offset + NLA_HDRLEN) >> 2;
      switch (header) {
        case HANDSHAKE:
          if (!sameWords(known, at + ROW_HANDSHAKE, words, payload, HANDSHAKE_WORDS)) return false;
          has |= HAS_HANDSHAKE;
          break;
        case TX:
          if (!sameWords(known, at + ROW_TX, words, payload, 2)) return false;
          has |= HAS_TX;
          break;
        case RX:
          if (!sameWords(known, at + ROW_RX, words, payload, 2)) return false;
          has |= HAS_RX;
          break;
        case ENDPOINT_IN:
          if ((words[payload]! & 0xffff) !== AF_INET) return false;
          if (!sameWords(known, at + ROW_ENDPOINT, words, payload, 2)) return false;
          has |= HAS_ENDPOINT;
          break;
        case ENDPOINT_IN6:
          if ((words[payload]! & 0xffff) !== AF_INET6) return false;
          if (words[payload] !== known[at + ROW_ENDPOINT]) return false;
          if (!sameWords(known, at + ROW_ENDPOINT + 1, words, payload + 2, 5)) return false;
          has |= HAS_ENDPOINT;
          break;
        case KEEPALIVE:
          break;
        default:
          // With another length, or flags. (An unknown type may look like one of them; no harm.)
          if (((TYPES >>> headerType(header)) & 1) !== 0) return false;
      }
      offset = align(offset + length);
    }
    if (has !== HAS_ALL) return false;
    this.#saw(row);
    return true;
  }

  /** Reads all of a peer that differs from its row, or may. */
  #readPeer(answer: Bytes, start: number, end: number): void {
    this.#readAttributes(answer.view, start, end);
    const found = this.#found;
    // All that may be a ParseError comes before the rows are touched.
    const handshakeMs = timespecMs(found, ROW_HANDSHAKE);

    const rows = this.#rows;
    let row = rows.find(found, 0);
    if (row !== -1 && row === this.#previousRow) {
      // The peer continues from the message before, with more of its allowed IPs and nothing else.
      const peer = this.#previousPeer;
      if (peer !== null) this.#readAllowedIps(answer, peer.allowedIps);
      this.#messages.readAlways();
      return;
    }
    const isKnown = row !== -1;
    if (row === -1) row = rows.add(found);
    this.#saw(row);

    const at = row * ROW_WORDS;
    const known = rows.words;
    const unfinished = this.#changed.get(row);
    const beforeMs = timespecMs(known, at + ROW_HANDSHAKE);
    const isSame =
      handshakeMs === beforeMs &&
      sameWords(known, at + ROW_RX, found, ROW_RX, STATE_WORDS - HANDSHAKE_WORDS);
    if (isKnown && isSame && unfinished === undefined) return;
    let before: PeerChange["before"] = null;
    if (row < this.#newFrom) {
      before = unfinished?.before ?? {
        lastHandshakeMs: beforeMs || null,
        rxBytes: u64(known, at + ROW_RX),
        txBytes: u64(known, at + ROW_TX),
      };
    }
    copyWords(known, at + ROW_HANDSHAKE, found, ROW_HANDSHAKE, STATE_WORDS);
    if (before === null && handshakeMs === 0 && !this.#tellsAll) {
      this.#changed.delete(row);
      return;
    }
    const peer: Growing = {
      publicKey: keyText(found, 0),
      endpoint: this.#endpoint(),
      allowedIps: [],
      lastHandshakeMs: handshakeMs || null,
      rxBytes: u64(found, ROW_RX),
      txBytes: u64(found, ROW_TX),
      persistentKeepaliveSeconds: this.#keepaliveSeconds,
    };
    this.#changed.set(row, { peer, before });
    this.#previousPeer = peer;
    this.#readAllowedIps(answer, peer.allowedIps);
  }

  /** @throws ParseError */
  #readAttributes(view: DataView, start: number, end: number): void {
    const words = this.#words;
    const found = this.#found.fill(0);
    let hasKey = false;
    this.#keepaliveSeconds = 0;
    this.#allowedIps = 0;
    this.#allowedIpsEnd = 0;
    for (let offset = start; offset < end;) {
      const header = words[offset >> 2]!;
      const stop = headerEnd(header, offset, end);
      const payload = offset + NLA_HDRLEN;
      switch (headerType(header)) {
        case WGPEER_A_PUBLIC_KEY:
          expectLength("WGPEER_A_PUBLIC_KEY", payload, stop, WG_KEY_LEN);
          copyWords(found, 0, words, payload >> 2, KEY_WORDS);
          hasKey = true;
          break;
        case WGPEER_A_ENDPOINT:
          this.#readEndpoint(view, payload, stop);
          break;
        case WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
          expectLength("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", payload, stop, 2);
          this.#keepaliveSeconds = view.getUint16(payload, true);
          break;
        case WGPEER_A_LAST_HANDSHAKE_TIME:
          expectLength("WGPEER_A_LAST_HANDSHAKE_TIME", payload, stop, 16);
          copyWords(found, ROW_HANDSHAKE, words, payload >> 2, HANDSHAKE_WORDS);
          break;
        case WGPEER_A_RX_BYTES:
          expectLength("WGPEER_A_RX_BYTES", payload, stop, 8);
          copyWords(found, ROW_RX, words, payload >> 2, 2);
          break;
        case WGPEER_A_TX_BYTES:
          expectLength("WGPEER_A_TX_BYTES", payload, stop, 8);
          copyWords(found, ROW_TX, words, payload >> 2, 2);
          break;
        case WGPEER_A_ALLOWEDIPS:
          this.#allowedIps = payload;
          this.#allowedIpsEnd = stop;
          break;
      }
      offset = align(stop);
    }
    if (!hasKey) throw new ParseError("WGDEVICE_A_PEERS: peer without WGPEER_A_PUBLIC_KEY");
  }

  /** Takes in the socket address at `offset`; one of another family is none. */
  #readEndpoint(view: DataView, offset: number, end: number): void {
    if (end - offset < 2) throw new ParseError(`WGPEER_A_ENDPOINT: ${end - offset} bytes`);
    const found = this.#found.fill(0, ROW_ENDPOINT);
    const at = offset >> 2;
    switch (view.getUint16(offset, true)) {
      case AF_INET:
        expectLength("WGPEER_A_ENDPOINT of family 2", offset, end, SOCKADDR_IN_BYTES);
        copyWords(found, ROW_ENDPOINT, this.#words, at, 2);
        break;
      case AF_INET6:
        expectLength("WGPEER_A_ENDPOINT of family 10", offset, end, SOCKADDR_IN6_BYTES);
        copyWords(found, ROW_ENDPOINT, this.#words, at, 1);
        // Between them is sin6_flowinfo, which is no part of the place.
        copyWords(found, ROW_ENDPOINT + 1, this.#words, at + 2, 5);
        break;
    }
  }

  #endpoint(): Endpoint | null {
    const bytes = this.#foundEndpoint;
    // In network order.
    const port = (bytes[2]! << 8) | bytes[3]!;
    switch (this.#found[ROW_ENDPOINT]! & 0xffff) {
      case AF_INET:
        return { address: formatAddress(bytes, 4, 4), port, scopeId: 0 };
      case AF_INET6: {
        const scopeId = this.#found[ROW_ENDPOINT + 5]! >>> 0;
        return { address: formatAddress(bytes, 4, 16), port, scopeId };
      }
      default:
        return null;
    }
  }

  #readAllowedIps({ bytes, view }: Bytes, into: string[]): void {
    const words = this.#words;
    const end = this.#allowedIpsEnd;
    for (let entry = this.#allowedIps; entry < end;) {
      const entryEnd = headerEnd(words[entry >> 2]!, entry, end);
      let family = 0;
      let address = -1;
      let addressLength = 0;
      let mask = -1;
      for (let offset = entry + NLA_HDRLEN; offset < entryEnd;) {
        const header = words[offset >> 2]!;
        const stop = headerEnd(header, offset, entryEnd);
        const payload = offset + NLA_HDRLEN;
        switch (headerType(header)) {
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

  #saw(row: number): void {
    this.#previousRow = row;
    this.#previousPeer = null;
    this.#messageRows.push(row);
    if (this.#rows.see(row, this.#look)) this.#seenCount++;
  }

  /** Forgets the peers that this look did not see, and names them. */
  #removeUnseen(): PublicKey[] {
    const rows = this.#rows;
    const removed: PublicKey[] = [];
    for (let row = 0; row < rows.count; row++) {
      if (rows.isSeen(row, this.#look)) continue;
      // One that came and went between two looks was never told of.
      this.#changed.delete(row);
      const at = row * ROW_WORDS;
      if (row < this.#newFrom) removed.push(keyText(rows.words, at));
      if (timespecMs(rows.words, at + ROW_HANDSHAKE) !== 0) this.#tellsAll = true;
    }
    rows.keepSeen(this.#look);
    return removed;
  }
}

function copyWords(
  to: Int32Array,
  at: number,
  from: Int32Array,
  start: number,
  count: number,
): void {
  for (let word = 0; word < count; word++) to[at + word] = from[start + word]!;
}

/** A u64 as a number; exact up to 2^53, which is 9 petabytes. */
function u64(words: Int32Array, at: number): number {
  return (words[at]! >>> 0) + (words[at + 1]! >>> 0) * 0x1_0000_0000;
}

/** struct __kernel_timespec: seconds and nanoseconds, 64 bits each; in whole milliseconds, 0 = never. */
function timespecMs(words: Int32Array, at: number): number {
  const seconds = u64(words, at);
  const nanoseconds = u64(words, at + 2);
  if (seconds >= SECONDS_END || nanoseconds >= 1e9) {
    throw new ParseError(`WGPEER_A_LAST_HANDSHAKE_TIME: ${seconds} s ${nanoseconds} ns is no time`);
  }
  return seconds * 1000 + Math.floor(nanoseconds / 1e6);
}

const keyWords = new Int32Array(KEY_WORDS);
const keyBytes = new Uint8Array(keyWords.buffer);

/** For public keys. */
function keyText(words: Int32Array, at: number): PublicKey {
  copyWords(keyWords, 0, words, at, KEY_WORDS);
  return keyBytes.toBase64() as PublicKey;
}

/** Whether the attribute is this text and its NUL. */
function isText(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  if (end - start !== text.length + 1 || bytes[end - 1] !== 0) return false;
  for (let i = 0; i < text.length; i++) {
    if (bytes[start + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}
