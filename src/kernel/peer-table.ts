/**
 * Keeps the peers of a device as of its last scan, and finds the changes since then in the kernel's answers to
 * WG_CMD_GET_DEVICE. Pure.
 *
 * A scan must cost almost nothing for unchanged peers. A message that equals the one in the previous dump is skipped.
 * In other messages, each peer is compared word by word with its known state, a row of words; only a peer that differs
 * is parsed (peer-parser.ts) and becomes an object. Private and preshared keys are skipped and never become values.
 */

import { ParseError } from "../base/errors.ts";
import type { Device, DeviceScan, Peer, PeerChange, PublicKey } from "../base/wireguard.ts";
import {
  AF_INET,
  AF_INET6,
  GENL_HDRLEN,
  NLA_HDRLEN,
  NLMSG_HDRLEN,
  WG_KEY_LEN,
  WGDEVICE_A_PEERS,
  WGPEER_A_ENDPOINT,
  WGPEER_A_LAST_HANDSHAKE_TIME,
  WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
  WGPEER_A_PUBLIC_KEY,
  WGPEER_A_RX_BYTES,
  WGPEER_A_TX_BYTES,
} from "../platform/constants.ts";
import { DeviceHeader } from "./device-header.ts";
import { KnownMessages } from "./known-messages.ts";
import { align, type Bytes, headerEnd, headerType, wordsOf } from "./netlink.ts";
import { PeerParser, SOCKADDR_IN6_BYTES, SOCKADDR_IN_BYTES } from "./peer-parser.ts";
import {
  copyWords,
  HANDSHAKE_WORDS,
  keyText,
  PeerRows,
  ROW_ENDPOINT,
  ROW_HANDSHAKE,
  ROW_RX,
  ROW_TX,
  ROW_WORDS,
  sameWords,
  STATE_WORDS,
  timespecMs,
  u64,
} from "./peer-rows.ts";

/** Headers of a peer's attributes as the kernel writes them: nla_len and nla_type in one word. */
const headerOf = (type: number, length: number) => (NLA_HDRLEN + length) | (type << 16);
const PUBLIC_KEY = headerOf(WGPEER_A_PUBLIC_KEY, WG_KEY_LEN);
const HANDSHAKE = headerOf(WGPEER_A_LAST_HANDSHAKE_TIME, 16);
const KEEPALIVE = headerOf(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 2);
const TX = headerOf(WGPEER_A_TX_BYTES, 8);
const RX = headerOf(WGPEER_A_RX_BYTES, 8);
const ENDPOINT_IN = headerOf(WGPEER_A_ENDPOINT, SOCKADDR_IN_BYTES);
const ENDPOINT_IN6 = headerOf(WGPEER_A_ENDPOINT, SOCKADDR_IN6_BYTES);
/** The types of these attributes, as a bit mask. */
const COMPARED_TYPES =
  (1 << WGPEER_A_PUBLIC_KEY) |
  (1 << WGPEER_A_LAST_HANDSHAKE_TIME) |
  (1 << WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL) |
  (1 << WGPEER_A_TX_BYTES) |
  (1 << WGPEER_A_RX_BYTES) |
  (1 << WGPEER_A_ENDPOINT);
/** One bit for each part of the state that was found unchanged. */
const HAS_HANDSHAKE = 1;
const HAS_TX = 2;
const HAS_RX = 4;
const HAS_ENDPOINT = 8;
const HAS_ALL = HAS_HANDSHAKE | HAS_TX | HAS_RX | HAS_ENDPOINT;

const NO_KEYS: readonly PublicKey[] = [];

/** A changed peer whose allowed IPs may continue in the next message. */
interface PartialPeer extends Peer {
  readonly allowedIps: string[];
}

/** The peers of one device as of the last scan. */
export class PeerTable {
  readonly #rows = new PeerRows();
  readonly #messages = new KnownMessages();
  readonly #header = new DeviceHeader();
  readonly #parser = new PeerParser();
  /** Rows of the peers in the current message. */
  #messageRows: number[] = [];
  /** The first row of a peer that is new in this scan: rows before it are from earlier scans. */
  #firstNewRow = 0;
  /** Whether new peers without a handshake are reported. */
  #reportsIdlePeers: boolean;
  #scan = 0;
  #seenCount = 0;
  /** By row: the changes that `finish` will return. */
  readonly #changed = new Map<number, PeerChange>();
  #previousRow = -1;
  #previousPeer: PartialPeer | null = null;

  /** The device in this dump; null before its first message. */
  #device: Device | null = null;
  /** The result of `finish` while nothing changes. */
  #unchangedResult: DeviceScan | null = null;

  /** The buffer of the answers and its words, cached because every answer uses the same buffer. */
  #answer: Bytes | null = null;
  #words: Int32Array = new Int32Array();

  /**
   * @param options.reportsIdlePeers whether new peers without a handshake are reported. If false, the first scan of a
   *   large device costs much less. It becomes true once a peer with a handshake was removed, because that peer may be
   *   added again.
   */
  constructor({ reportsIdlePeers = true }: { readonly reportsIdlePeers?: boolean } = {}) {
    this.#reportsIdlePeers = reportsIdlePeers;
  }

  /** How many peers the device has. */
  get size(): number {
    return this.#rows.count;
  }

  /**
   * Starts a dump. Keeps the changes that an earlier, unfinished dump found, and parses their peers again, because that
   * dump may have ended in the middle of a peer.
   */
  begin(): void {
    // Wraps to 32 bits, the size of a word in a row.
    this.#scan = (this.#scan + 1) | 0;
    this.#messages.begin();
    this.#seenCount = 0;
    this.#device = null;
    this.#previousRow = -1;
    this.#previousPeer = null;
  }

  /**
   * Processes one message of the answer. `start` is the offset of its netlink header, a multiple of four.
   *
   * @throws ParseError
   */
  read(answer: Bytes, start: number, end: number): void {
    const { isKnown, rows } = this.#messages.next(answer.bytes, start, end);
    // After a changed peer, even a known message may continue that peer with more allowed IPs.
    if (isKnown && this.#previousPeer === null && this.#skipMessage(rows)) return;
    rows.length = 0;
    this.#messageRows = rows;
    this.#readMessage(answer, start, end);
  }

  /**
   * Marks the peers of a known message as seen. Returns false if one was already seen in this dump: then the message
   * must be parsed.
   */
  #skipMessage(rows: readonly number[]): boolean {
    this.#device ??= this.#header.known;
    for (const row of rows) {
      if (!this.#rows.markSeen(row, this.#scan)) return false;
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
    const device = this.#header;
    device.begin();
    for (let offset = start + NLMSG_HDRLEN + GENL_HDRLEN; offset < end;) {
      const header = words[offset >> 2]!;
      const stop = headerEnd(header, offset, end);
      const payload = offset + NLA_HDRLEN;
      const type = headerType(header);
      if (type === WGDEVICE_A_PEERS) {
        for (let peer = payload; peer < stop;) {
          const peerEnd = headerEnd(words[peer >> 2]!, peer, stop);
          const isUnchanged =
            this.#firstNewRow > 0 && this.#skipUnchanged(peer + NLA_HDRLEN, peerEnd);
          if (!isUnchanged) this.#readPeer(answer, peer + NLA_HDRLEN, peerEnd);
          peer = align(peerEnd);
        }
      } else {
        device.readAttribute(type, answer, payload, stop);
      }
      offset = align(stop);
    }
    // Messages that continue a device repeat only its name and index.
    this.#device ??= device.finish(answer, words);
  }

  /**
   * Ends the scan. After an interrupted dump `removed` is empty, because a peer missing from it may still exist.
   *
   * @throws ParseError if no message was read.
   */
  finish({ interrupted }: { interrupted: boolean }): DeviceScan {
    const device = this.#device;
    if (device === null) throw new ParseError("WG_CMD_GET_DEVICE: answer without a device");
    const areAllSeen = this.#seenCount === this.#rows.count;
    const removed = interrupted || areAllSeen ? NO_KEYS : this.#removeUnseen();
    this.#firstNewRow = this.#rows.count;
    // Removing rows moves others, so the messages stay known only if no row was removed.
    this.#messages.end(!interrupted && areAllSeen);
    if (this.#changed.size > 0 || removed.length > 0) {
      const changed = [...this.#changed.values()];
      this.#changed.clear();
      return { device, changed, removed };
    }
    if (this.#unchangedResult?.device !== device)
      this.#unchangedResult = { device, changed: [], removed };
    return this.#unchangedResult;
  }

  /**
   * Skips a peer that equals its row, as almost all do in each scan. Returns false in all other cases, also for
   * unexpected or invalid attributes: then the peer must be parsed.
   */
  #skipUnchanged(start: number, end: number): boolean {
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
    // The peer may continue here, or an earlier dump may have ended in the middle of it.
    if (this.#changed.size > 0 && this.#changed.has(row)) return false;

    const at = row * ROW_WORDS;
    let matched = known[at + ROW_ENDPOINT] === 0 ? HAS_ENDPOINT : 0;
    for (let offset = rest; offset < end;) {
      const header = words[offset >> 2]!;
      const length = header & 0xffff;
      if (length < NLA_HDRLEN || length > end - offset) return false;
      const payload = (offset + NLA_HDRLEN) >> 2;
      switch (header) {
        case HANDSHAKE:
          if (!sameWords(known, at + ROW_HANDSHAKE, words, payload, HANDSHAKE_WORDS)) return false;
          matched |= HAS_HANDSHAKE;
          break;
        case TX:
          if (!sameWords(known, at + ROW_TX, words, payload, 2)) return false;
          matched |= HAS_TX;
          break;
        case RX:
          if (!sameWords(known, at + ROW_RX, words, payload, 2)) return false;
          matched |= HAS_RX;
          break;
        case ENDPOINT_IN:
          if ((words[payload]! & 0xffff) !== AF_INET) return false;
          if (!sameWords(known, at + ROW_ENDPOINT, words, payload, 2)) return false;
          matched |= HAS_ENDPOINT;
          break;
        case ENDPOINT_IN6:
          if ((words[payload]! & 0xffff) !== AF_INET6) return false;
          if (words[payload] !== known[at + ROW_ENDPOINT]) return false;
          if (!sameWords(known, at + ROW_ENDPOINT + 1, words, payload + 2, 5)) return false;
          matched |= HAS_ENDPOINT;
          break;
        case KEEPALIVE:
          break;
        default:
          // A known type with an unexpected length or flags. (The shift wraps, so an unknown type from 32 on may match
          // too; then the peer is parsed needlessly.)
          if (((COMPARED_TYPES >>> headerType(header)) & 1) !== 0) return false;
      }
      offset = align(offset + length);
    }
    if (matched !== HAS_ALL) return false;
    this.#markSeen(row);
    return true;
  }

  /** Reads a peer that differs from its row, or may differ. */
  #readPeer(answer: Bytes, start: number, end: number): void {
    const parser = this.#parser;
    parser.read(answer.view, this.#words, start, end);
    const found = parser.row;
    // Everything that may throw a ParseError, except the allowed IPs, comes before the rows change. After an error in
    // the allowed IPs the peer stays in #changed, so the next dump parses it again.
    const handshakeMs = timespecMs(found, ROW_HANDSHAKE);

    const rows = this.#rows;
    let row = rows.find(found, 0);
    if (row !== -1 && row === this.#previousRow) {
      // The peer continues from the previous message; only its allowed IPs are new.
      const peer = this.#previousPeer;
      if (peer !== null) parser.readAllowedIps(answer, this.#words, peer.allowedIps);
      this.#messages.forgetCurrent();
      return;
    }
    const isKnown = row !== -1;
    if (row === -1) row = rows.add(found);
    this.#markSeen(row);

    const at = row * ROW_WORDS;
    const known = rows.words;
    const pending = this.#changed.get(row);
    const beforeMs = timespecMs(known, at + ROW_HANDSHAKE);
    const isSame =
      handshakeMs === beforeMs &&
      sameWords(known, at + ROW_RX, found, ROW_RX, STATE_WORDS - HANDSHAKE_WORDS);
    if (isKnown && isSame && pending === undefined) return;
    let before: PeerChange["before"] = null;
    if (row < this.#firstNewRow) {
      before = pending?.before ?? {
        lastHandshakeMs: beforeMs || null,
        rxBytes: u64(known, at + ROW_RX),
        txBytes: u64(known, at + ROW_TX),
      };
    }
    copyWords(known, at + ROW_HANDSHAKE, found, ROW_HANDSHAKE, STATE_WORDS);
    if (before === null && handshakeMs === 0 && !this.#reportsIdlePeers) {
      this.#changed.delete(row);
      return;
    }
    const peer: PartialPeer = {
      publicKey: keyText(found, 0),
      endpoint: parser.endpoint(),
      allowedIps: [],
      lastHandshakeMs: handshakeMs || null,
      rxBytes: u64(found, ROW_RX),
      txBytes: u64(found, ROW_TX),
      persistentKeepaliveSeconds: parser.keepaliveSeconds,
    };
    this.#changed.set(row, { peer, before });
    this.#previousPeer = peer;
    parser.readAllowedIps(answer, this.#words, peer.allowedIps);
  }

  #markSeen(row: number): void {
    this.#previousRow = row;
    this.#previousPeer = null;
    this.#messageRows.push(row);
    if (this.#rows.markSeen(row, this.#scan)) this.#seenCount++;
  }

  /** Removes the peers that this scan did not see. Returns the keys of those that were in the previous scan. */
  #removeUnseen(): PublicKey[] {
    const rows = this.#rows;
    const removed: PublicKey[] = [];
    for (let row = 0; row < rows.count; row++) {
      if (rows.isSeen(row, this.#scan)) continue;
      // A peer that was added and removed between two scans was never reported.
      this.#changed.delete(row);
      const at = row * ROW_WORDS;
      if (row < this.#firstNewRow) removed.push(keyText(rows.words, at));
      if (timespecMs(rows.words, at + ROW_HANDSHAKE) !== 0) this.#reportsIdlePeers = true;
    }
    rows.removeUnseen(this.#scan);
    return removed;
  }
}
