/**
 * Decodes and encodes netlink messages and attributes. Pure: bytes and offsets, no sockets. linux/netlink.h. Readers
 * use offsets instead of objects because a dump of 10,000 peers has 100,000 attributes.
 */

import { ParseError } from "../base/errors.ts";
import { NLA_HDRLEN, NLA_TYPE_MASK, NLMSG_HDRLEN } from "../platform/constants.ts";

/** sizeof(struct nfgenmsg), linux/netfilter/nfnetlink.h: family, version, and a 16-bit resource in network order. */
export const NFGENMSG_BYTES = 4;

/** Bytes and a DataView of them. Netlink uses host byte order, which is little-endian on all supported machines. */
export interface Bytes {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export function bytesOf(bytes: Uint8Array): Bytes {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** The same bytes as 32-bit words; they must start at a multiple of four, as an ArrayBuffer does. */
export function wordsOf({ bytes }: Bytes): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
}

/** Messages and attributes start at multiples of four: NLMSG_ALIGN, NLA_ALIGN. */
export function align(offset: number): number {
  return (offset + 3) & ~3;
}

/** Header fields of the message at `offset`: nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq. */
export const messageType = (view: DataView, offset: number) => view.getUint16(offset + 4, true);
export const messageFlags = (view: DataView, offset: number) => view.getUint16(offset + 6, true);
export const messageSequence = (view: DataView, offset: number) => view.getUint32(offset + 8, true);

/**
 * The offset at which the message at `offset` ends.
 *
 * @throws ParseError if its length is smaller than its header or exceeds the bytes before `end`.
 */
export function messageEnd(view: DataView, offset: number, end: number): number {
  if (end - offset < NLMSG_HDRLEN) {
    throw new ParseError(`netlink message: ${end - offset} bytes, but the header alone has 16`);
  }
  const length = view.getUint32(offset, true);
  if (length < NLMSG_HDRLEN || length > end - offset) {
    throw new ParseError(
      `netlink message: length is ${length} bytes, but ${end - offset} are left`,
    );
  }
  return offset + length;
}

/**
 * The offset at which the attribute at `offset` ends, without padding; its payload starts at `offset + 4`.
 *
 * @throws ParseError if its length is smaller than its header or exceeds the bytes before `end`.
 */
export function attributeEnd(view: DataView, offset: number, end: number): number {
  if (end - offset < NLA_HDRLEN) {
    throw new ParseError(`netlink attribute: ${end - offset} bytes, but the header alone has 4`);
  }
  return headerEnd(view.getUint32(offset, true), offset, end);
}

/** The type of the attribute at `offset`, without its flag bits. */
export function attributeType(view: DataView, offset: number): number {
  return headerType(view.getUint32(offset, true));
}

/** Like `attributeEnd`, for callers that read 32-bit words: `header` is nla_len and nla_type in one word. */
export function headerEnd(header: number, offset: number, end: number): number {
  const length = header & 0xffff;
  if (length < NLA_HDRLEN || length > end - offset) {
    throw new ParseError(
      `netlink attribute: length is ${length} bytes, but ${end - offset} are left`,
    );
  }
  return offset + length;
}

export function headerType(header: number): number {
  return (header >>> 16) & NLA_TYPE_MASK;
}

/** @throws ParseError unless the payload from `start` to `end` has exactly `length` bytes. */
export function expectLength(name: string, start: number, end: number, length: number): void {
  if (end - start !== length) {
    throw new ParseError(`${name}: ${end - start} bytes instead of ${length}`);
  }
}

/** Text up to its NUL, or to the end of the attribute. */
export function readText(bytes: Uint8Array, start: number, end: number): string {
  const nul = bytes.subarray(start, end).indexOf(0);
  return new TextDecoder().decode(bytes.subarray(start, nul === -1 ? end : start + nul));
}

/** One attribute to send: type and payload. A payload that is a list of attributes makes a nested attribute. */
export type Attribute = readonly [type: number, payload: Uint8Array | readonly Attribute[]];

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** The family's header between netlink header and attributes: genlmsghdr, ifinfomsg, ... */
  readonly header: Uint8Array;
  readonly attributes: readonly Attribute[];
}

/** The message as bytes; the kernel fills in the port id of the sender. */
export function encodeMessage(message: Message): Uint8Array {
  const body = [message.header, ...message.attributes.map(encodeAttribute)];
  const length = NLMSG_HDRLEN + body.reduce((sum, part) => sum + align(part.length), 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, true);
  view.setUint16(4, message.type, true);
  view.setUint16(6, message.flags, true);
  view.setUint32(8, message.sequence, true);
  let offset = NLMSG_HDRLEN;
  for (const part of body) {
    bytes.set(part, offset);
    offset += align(part.length);
  }
  return bytes;
}

/** Sets nlmsg_seq, for a message that is sent again. */
export function setSequence(message: Uint8Array, sequence: number): void {
  bytesOf(message).view.setUint32(8, sequence, true);
}

function encodeAttribute([type, payload]: Attribute): Uint8Array {
  const parts = payload instanceof Uint8Array ? [payload] : payload.map(encodeAttribute);
  const length = NLA_HDRLEN + parts.reduce((sum, part) => sum + align(part.length), 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  // nla_len excludes the padding of a plain attribute, but includes the padding inside a nested one.
  const counted = payload instanceof Uint8Array ? NLA_HDRLEN + payload.length : length;
  view.setUint16(0, counted, true);
  view.setUint16(2, type, true);
  let offset = NLA_HDRLEN;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += align(part.length);
  }
  return bytes;
}

/** Payloads of attributes to send. */
export const u16 = (value: number) => new Uint8Array(new Uint16Array([value]).buffer);
export const u32 = (value: number) => new Uint8Array(new Uint32Array([value]).buffer);
export const text = (value: string) => new TextEncoder().encode(`${value}\0`);
