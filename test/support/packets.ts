/** Builds IP packets that contain UDP datagrams and WireGuard messages. */

import { INITIATION_BYTES, MessageType } from "../../src/base/wireguard.ts";
import { addressBytes } from "./answers.ts";

export interface UdpFields {
  readonly source?: string;
  readonly sourcePort?: number;
  readonly destination?: string;
  readonly destinationPort?: number;
  /** The length in the UDP header; default: the real length. */
  readonly udpBytes?: number;
}

export interface Ipv4Fields extends UdpFields {
  /** Length: a multiple of four bytes. */
  readonly options?: Uint8Array;
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
  readonly protocol?: number;
}

export interface Ipv6Fields extends UdpFields {
  /** Extension headers between IPv6 and UDP. The first byte of each is overwritten with the next header's type. */
  readonly extensions?: readonly (readonly [type: number, bytes: Uint8Array])[];
  readonly protocol?: number;
}

export function ipv4(payload: Uint8Array, fields: Ipv4Fields = {}): Uint8Array {
  const { source = "192.0.2.1", destination = "198.51.100.1", protocol = 17 } = fields;
  const { options = new Uint8Array(), fragmentOffset = 0, moreFragments = false } = fields;
  const datagram = udp(payload, fields);
  const header = new Uint8Array(20);
  const view = new DataView(header.buffer);
  view.setUint8(0, 0x40 | (5 + options.length / 4));
  view.setUint16(2, 20 + options.length + datagram.length);
  view.setUint16(6, (moreFragments ? 0x2000 : 0) | fragmentOffset);
  view.setUint8(8, 64);
  view.setUint8(9, protocol);
  header.set(addressBytes(source), 12);
  header.set(addressBytes(destination), 16);
  return Buffer.concat([header, options, datagram]);
}

export function ipv6(payload: Uint8Array, fields: Ipv6Fields = {}): Uint8Array {
  const { source = "2001:db8::1", destination = "2001:db8::2" } = fields;
  const { extensions = [], protocol = 17 } = fields;
  const datagram = udp(payload, fields);
  const types = [...extensions.map(([type]) => type), protocol];
  const chain = extensions.map(([, bytes], i) => {
    const linked = bytes.slice();
    linked[0] = types[i + 1]!;
    return linked;
  });
  const header = new Uint8Array(40);
  const view = new DataView(header.buffer);
  view.setUint8(0, 0x60);
  view.setUint16(
    4,
    chain.reduce((sum, { length }) => sum + length, datagram.length),
  );
  view.setUint8(6, types[0]!);
  view.setUint8(7, 64);
  header.set(addressBytes(source), 8);
  header.set(addressBytes(destination), 24);
  return Buffer.concat([header, ...chain, datagram]);
}

function udp(payload: Uint8Array, fields: UdpFields): Uint8Array {
  const { sourcePort = 40_000, destinationPort = 51_820 } = fields;
  const header = new Uint8Array(8);
  const view = new DataView(header.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, fields.udpBytes ?? 8 + payload.length);
  return Buffer.concat([header, payload]);
}

/** WireGuard messages with the correct lengths; all bytes after the type are 0xee. */
export const initiation = (): Uint8Array => message(MessageType.initiation, INITIATION_BYTES);
export const response = (): Uint8Array => message(MessageType.response, 92);
export const cookie = (): Uint8Array => message(MessageType.cookie, 64);

export function data(counter: number, bytes = 32): Uint8Array {
  const made = message(MessageType.data, bytes);
  new DataView(made.buffer).setBigUint64(8, BigInt(counter), true);
  return made;
}

export function message(type: number, bytes: number): Uint8Array {
  const made = new Uint8Array(bytes).fill(0xee);
  new DataView(made.buffer).setUint32(0, type, true);
  return made;
}
