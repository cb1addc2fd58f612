/**
 * Parses an IP packet: the source, the destination port and the type of its WireGuard message. Pure. RFC 791, RFC 8200,
 * RFC 768; message formats: WireGuard paper section 5.4, messages.h.
 */

import { ParseError } from "../base/errors.ts";
import { formatAddress, INITIATION_BYTES, MessageType } from "../base/wireguard.ts";

/** A UDP datagram that has the form of a WireGuard message. Anyone can forge one, so it proves nothing. */
export interface Datagram {
  readonly sourceAddress: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly type: (typeof MessageType)[keyof typeof MessageType];
  /**
   * Whether it is the first data message with its keys. The responder completes the handshake when it receives this
   * message.
   */
  readonly isFirstData: boolean;
  /**
   * The 32-bit index by which one side identifies the handshake, in network byte order: sender_index of an initiation,
   * receiver_index of data and cookie replies, and of a response the one that this machine chose. messages.h.
   */
  readonly index: number;
  /** Whether this machine's WireGuard chose the index. */
  readonly isOwnIndex: boolean;
}

/** A datagram with the bytes needed to check whether its sender knows the device's public key. */
export interface CapturedDatagram extends Datagram {
  /**
   * An initiation or a response up to the end of its mac1, as a view of the packet; null for other messages, and if the
   * packet is truncated before the end of mac1.
   */
  readonly handshake: Uint8Array | null;
}

/** IPPROTO_UDP, linux/in.h. */
export const PROTOCOL_UDP = 17;
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;
const UDP_HEADER_BYTES = 8;
const RESPONSE_BYTES = 92;
const COOKIE_BYTES = 64;
/** Size of mac1 and mac2, with which an initiation and a response end. COOKIE_LEN, messages.h. */
export const MAC_BYTES = 16;
/** Type, receiver index, counter, and the authentication tag of an empty payload: the size of a keepalive. */
const DATA_BYTES_MIN = 32;
/** The part of a data message that must be captured: up to the end of its counter. */
const DATA_HEADER_BYTES = 16;

/** IPv6 extension headers that may precede UDP: hop-by-hop, routing, destination options. */
const EXTENSION_HEADERS: ReadonlySet<number> = new Set([0, 43, 60]);
const FRAGMENT_HEADER = 44;
/** Packets usually have at most two; packets with more than this are ignored. */
const EXTENSION_HEADERS_MAX = 8;

/** The direction of a packet. The peer is the source of a received packet and the destination of a sent one. */
type Direction = "received" | "sent";

/**
 * Parses a packet that starts with its IP header and may be truncated after the WireGuard header.
 *
 * @param direction "sent": source and destination are swapped, as if the peer had sent the packet to us.
 * @returns null if it is not a WireGuard message: another protocol, a later fragment, another length.
 * @throws ParseError if a header is invalid or truncated.
 */
export function parsePacket(
  packet: Uint8Array,
  direction: Direction = "received",
): CapturedDatagram | null {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  requireBytes(view, 0, 1, "IP header");
  const version = view.getUint8(0) >> 4;
  if (version === 4) return parseIpv4(packet, view, direction);
  if (version === 6) return parseIpv6(packet, view, direction);
  return null;
}

function parseIpv4(
  packet: Uint8Array,
  view: DataView,
  direction: Direction,
): CapturedDatagram | null {
  requireBytes(view, 0, IPV4_HEADER_BYTES, "IPv4 header");
  const headerBytes = (view.getUint8(0) & 0x0f) * 4;
  if (headerBytes < IPV4_HEADER_BYTES) {
    throw new ParseError(`IPv4 header: length ${headerBytes} is less than 20 bytes`);
  }
  const fragmentOffset = view.getUint16(6) & 0x1fff;
  if (view.getUint8(9) !== PROTOCOL_UDP || fragmentOffset !== 0) return null;
  const addressAt = direction === "received" ? 12 : 16;
  return parseUdp(view, headerBytes, direction, () => formatAddress(packet, addressAt, 4));
}

function parseIpv6(
  packet: Uint8Array,
  view: DataView,
  direction: Direction,
): CapturedDatagram | null {
  requireBytes(view, 0, IPV6_HEADER_BYTES, "IPv6 header");
  let next = view.getUint8(6);
  let offset = IPV6_HEADER_BYTES;
  for (let count = 0; next !== PROTOCOL_UDP; count++) {
    if (count === EXTENSION_HEADERS_MAX) return null;
    if (EXTENSION_HEADERS.has(next)) {
      requireBytes(view, offset, 8, "IPv6 extension header");
      next = view.getUint8(offset);
      offset += (view.getUint8(offset + 1) + 1) * 8;
    } else if (next === FRAGMENT_HEADER) {
      requireBytes(view, offset, 8, "IPv6 fragment header");
      if (view.getUint16(offset + 2) >> 3 !== 0) return null;
      next = view.getUint8(offset);
      offset += 8;
    } else {
      return null;
    }
  }
  const addressAt = direction === "received" ? 8 : 24;
  return parseUdp(view, offset, direction, () => formatAddress(packet, addressAt, 16));
}

function parseUdp(
  view: DataView,
  offset: number,
  direction: Direction,
  address: () => string,
): CapturedDatagram | null {
  requireBytes(view, offset, UDP_HEADER_BYTES, "UDP header");
  const length = view.getUint16(offset + 4) - UDP_HEADER_BYTES;
  const start = offset + UDP_HEADER_BYTES;
  if (length < DATA_BYTES_MIN) return null;
  requireBytes(view, start, 4, "WireGuard message type");
  // The three reserved bytes after the type are zero, so all four are one little-endian number.
  const type = view.getUint32(start, true);
  let isFirstData = false;
  // Offset of sender_index, or of receiver_index in data messages and cookie replies.
  let indexAt = 4;
  let handshake: Uint8Array | null = null;
  switch (type) {
    case MessageType.initiation:
      if (length !== INITIATION_BYTES) return null;
      handshake = viewOf(view, start, length - MAC_BYTES);
      break;
    case MessageType.response:
      if (length !== RESPONSE_BYTES) return null;
      // receiver_index, which this machine chose.
      if (direction === "received") indexAt = 8;
      handshake = viewOf(view, start, length - MAC_BYTES);
      break;
    case MessageType.cookie:
      if (length !== COOKIE_BYTES) return null;
      break;
    case MessageType.data:
      requireBytes(view, start, DATA_HEADER_BYTES, "WireGuard data header");
      isFirstData = view.getUint32(start + 8, true) === 0 && view.getUint32(start + 12, true) === 0;
      break;
    default:
      return null;
  }
  requireBytes(view, start + indexAt, 4, "WireGuard index");
  return {
    sourceAddress: address(),
    sourcePort: view.getUint16(direction === "received" ? offset : offset + 2),
    destinationPort: view.getUint16(direction === "received" ? offset + 2 : offset),
    type,
    isFirstData,
    index: view.getUint32(start + indexAt),
    isOwnIndex:
      type === MessageType.response ||
      (direction === "received") !== (type === MessageType.initiation),
    handshake,
  };
}

/** A part of the packet; null if the packet is truncated before the end of the part. */
function viewOf(view: DataView, offset: number, bytes: number): Uint8Array | null {
  if (view.byteLength - offset < bytes) return null;
  return new Uint8Array(view.buffer, view.byteOffset + offset, bytes);
}

/** @throws ParseError if the packet has fewer bytes from `offset` on; `name` is the part that was expected. */
function requireBytes(view: DataView, offset: number, bytes: number, name: string): void {
  if (view.byteLength - offset < bytes) {
    const available = Math.max(0, view.byteLength - offset);
    throw new ParseError(`${name}: truncated to ${available} of ${bytes} bytes`);
  }
}
