/**
 * Reads the attributes of one peer in the kernel's answer to WG_CMD_GET_DEVICE into a row. The attribute tree is that
 * of linux/wireguard.h. Skips the preshared key, which never becomes a value. Pure.
 */

import { ParseError } from "../base/errors.ts";
import { type Endpoint, formatAddress } from "../base/wireguard.ts";
import {
  AF_INET,
  AF_INET6,
  NLA_HDRLEN,
  WG_KEY_LEN,
  WGALLOWEDIP_A_CIDR_MASK,
  WGALLOWEDIP_A_FAMILY,
  WGALLOWEDIP_A_IPADDR,
  WGPEER_A_ALLOWEDIPS,
  WGPEER_A_ENDPOINT,
  WGPEER_A_LAST_HANDSHAKE_TIME,
  WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
  WGPEER_A_PUBLIC_KEY,
  WGPEER_A_RX_BYTES,
  WGPEER_A_TX_BYTES,
} from "../platform/constants.ts";
import { align, type Bytes, expectLength, headerEnd, headerType } from "./netlink.ts";
import {
  copyWords,
  HANDSHAKE_WORDS,
  KEY_WORDS,
  ROW_ENDPOINT,
  ROW_HANDSHAKE,
  ROW_RX,
  ROW_TX,
  ROW_WORDS,
} from "./peer-rows.ts";

/** sizeof(struct sockaddr_in) and sizeof(struct sockaddr_in6), linux/in.h and linux/in6.h. */
export const SOCKADDR_IN_BYTES = 16;
export const SOCKADDR_IN6_BYTES = 28;

/** Reads one peer at a time; its values replace those of the previous peer. */
export class PeerParser {
  /** The current peer as a row. */
  readonly row = new Int32Array(ROW_WORDS);
  readonly #endpointBytes = new Uint8Array(this.row.buffer, ROW_ENDPOINT * 4);
  /** Values of the current peer that are not in the row; of the allowed IPs, the offsets in the answer. */
  keepaliveSeconds = 0;
  #allowedIpsStart = 0;
  #allowedIpsEnd = 0;

  /**
   * Reads the attributes of one peer, but not its allowed IPs.
   *
   * @param words the words of `view`.
   * @throws ParseError
   */
  read(view: DataView, words: Int32Array, start: number, end: number): void {
    const row = this.row.fill(0);
    let hasKey = false;
    this.keepaliveSeconds = 0;
    this.#allowedIpsStart = 0;
    this.#allowedIpsEnd = 0;
    for (let offset = start; offset < end;) {
      const header = words[offset >> 2]!;
      const stop = headerEnd(header, offset, end);
      const payload = offset + NLA_HDRLEN;
      switch (headerType(header)) {
        case WGPEER_A_PUBLIC_KEY:
          expectLength("WGPEER_A_PUBLIC_KEY", payload, stop, WG_KEY_LEN);
          copyWords(row, 0, words, payload >> 2, KEY_WORDS);
          hasKey = true;
          break;
        case WGPEER_A_ENDPOINT:
          this.#readEndpoint(view, words, payload, stop);
          break;
        case WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
          expectLength("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", payload, stop, 2);
          this.keepaliveSeconds = view.getUint16(payload, true);
          break;
        case WGPEER_A_LAST_HANDSHAKE_TIME:
          expectLength("WGPEER_A_LAST_HANDSHAKE_TIME", payload, stop, 16);
          copyWords(row, ROW_HANDSHAKE, words, payload >> 2, HANDSHAKE_WORDS);
          break;
        case WGPEER_A_RX_BYTES:
          expectLength("WGPEER_A_RX_BYTES", payload, stop, 8);
          copyWords(row, ROW_RX, words, payload >> 2, 2);
          break;
        case WGPEER_A_TX_BYTES:
          expectLength("WGPEER_A_TX_BYTES", payload, stop, 8);
          copyWords(row, ROW_TX, words, payload >> 2, 2);
          break;
        case WGPEER_A_ALLOWEDIPS:
          this.#allowedIpsStart = payload;
          this.#allowedIpsEnd = stop;
          break;
      }
      offset = align(stop);
    }
    if (!hasKey) throw new ParseError("WGDEVICE_A_PEERS: peer without WGPEER_A_PUBLIC_KEY");
  }

  /** Reads the socket address at `offset`. An address of an unknown family counts as no endpoint. */
  #readEndpoint(view: DataView, words: Int32Array, offset: number, end: number): void {
    if (end - offset < 2) throw new ParseError(`WGPEER_A_ENDPOINT: ${end - offset} bytes`);
    const row = this.row.fill(0, ROW_ENDPOINT);
    const at = offset >> 2;
    switch (view.getUint16(offset, true)) {
      case AF_INET:
        expectLength("WGPEER_A_ENDPOINT of family 2", offset, end, SOCKADDR_IN_BYTES);
        copyWords(row, ROW_ENDPOINT, words, at, 2);
        break;
      case AF_INET6:
        expectLength("WGPEER_A_ENDPOINT of family 10", offset, end, SOCKADDR_IN6_BYTES);
        copyWords(row, ROW_ENDPOINT, words, at, 1);
        // Leaves out sin6_flowinfo, which is not part of the endpoint.
        copyWords(row, ROW_ENDPOINT + 1, words, at + 2, 5);
        break;
    }
  }

  /** The endpoint in the row; null if it has no endpoint. */
  endpoint(): Endpoint | null {
    const bytes = this.#endpointBytes;
    // The port is in network byte order.
    const port = (bytes[2]! << 8) | bytes[3]!;
    switch (this.row[ROW_ENDPOINT]! & 0xffff) {
      case AF_INET:
        return { address: formatAddress(bytes, 4, 4), port, scopeId: 0 };
      case AF_INET6: {
        const scopeId = this.row[ROW_ENDPOINT + 5]! >>> 0;
        return { address: formatAddress(bytes, 4, 16), port, scopeId };
      }
      default:
        return null;
    }
  }

  /**
   * Appends the allowed IPs of the current peer to `into`.
   *
   * @param words the words of the answer.
   * @throws ParseError
   */
  readAllowedIps({ bytes, view }: Bytes, words: Int32Array, into: string[]): void {
    const end = this.#allowedIpsEnd;
    for (let entry = this.#allowedIpsStart; entry < end;) {
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
        // An IPv4-mapped prefix must stay IPv6 here: its mask counts from the first bit of the IPv6 address.
        const mapped = length === 16 && !text.includes(":") ? "::ffff:" : "";
        into.push(`${mapped}${text}/${mask}`);
      }
      entry = align(entryEnd);
    }
  }
}
