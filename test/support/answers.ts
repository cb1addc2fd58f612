/** Builds netlink messages in the kernel's format: small, and malformed where a test needs that. */

import type { PublicKey } from "../../src/base/wireguard.ts";
import {
  align,
  type Attribute,
  type Bytes,
  bytesOf,
  encodeMessage,
  text,
  u16,
  u32,
} from "../../src/kernel/netlink.ts";
import {
  AF_INET,
  AF_INET6,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  RTM_NEWLINK,
  WGALLOWEDIP_A_CIDR_MASK,
  WGALLOWEDIP_A_FAMILY,
  WGALLOWEDIP_A_IPADDR,
  WGDEVICE_A_IFINDEX,
  WGDEVICE_A_IFNAME,
  WGDEVICE_A_LISTEN_PORT,
  WGDEVICE_A_PEERS,
  WGPEER_A_ALLOWEDIPS,
  WGPEER_A_ENDPOINT,
  WGPEER_A_LAST_HANDSHAKE_TIME,
  WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
  WGPEER_A_PUBLIC_KEY,
  WGPEER_A_RX_BYTES,
  WGPEER_A_TX_BYTES,
} from "../../src/platform/constants.ts";

/** The family number in the recordings of test/golden. */
export const FAMILY = 32;

export interface PeerFields {
  /** The public key is this byte, repeated 32 times, so that two keys differ in every byte. */
  readonly key: number;
  /** `192.0.2.1:51820` or `[2001:db8::1]:51820`; `%7` in the brackets is a scope. */
  readonly endpoint?: string;
  readonly handshake?: readonly [seconds: number, nanoseconds: number];
  readonly rxBytes?: number;
  readonly txBytes?: number;
  readonly keepalive?: number;
  /** CIDR. */
  readonly allowedIps?: readonly string[];
  /** Replaces all attributes that the other fields would produce. */
  readonly attributes?: readonly Attribute[];
}

export interface DeviceFields {
  readonly name?: string;
  readonly index?: number;
  readonly listenPort?: number;
  readonly peers?: readonly PeerFields[];
  readonly interrupted?: boolean;
}

/** The key that `PeerFields.key` stands for. */
export function keyOf(key: number): PublicKey {
  return keyBytes(key).toBase64() as PublicKey;
}

function keyBytes(key: number): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  for (let word = 0; word < 8; word++) view.setUint32(word * 4, key * 0x01010101, true);
  return bytes;
}

export function deviceMessage(fields: DeviceFields = {}): Uint8Array {
  const { name = "wg0", index = 7, listenPort = 51_820, peers = [], interrupted = false } = fields;
  return encodeMessage({
    type: FAMILY,
    flags: interrupted ? NLM_F_DUMP_INTR : 0,
    sequence: 1,
    header: Uint8Array.of(0, 1, 0, 0),
    attributes: [
      [WGDEVICE_A_LISTEN_PORT, u16(listenPort)],
      [WGDEVICE_A_IFINDEX, u32(index)],
      [WGDEVICE_A_IFNAME, text(name)],
      [WGDEVICE_A_PEERS, peers.map((peer) => [0, peerAttributes(peer)] as const)],
    ],
  });
}

function peerAttributes(peer: PeerFields): readonly Attribute[] {
  if (peer.attributes !== undefined) return peer.attributes;
  const attributes: Attribute[] = [[WGPEER_A_PUBLIC_KEY, keyBytes(peer.key)]];
  const { endpoint, handshake, rxBytes, txBytes, keepalive, allowedIps } = peer;
  if (endpoint !== undefined) attributes.push([WGPEER_A_ENDPOINT, socketAddress(endpoint)]);
  if (handshake !== undefined) {
    attributes.push([WGPEER_A_LAST_HANDSHAKE_TIME, Buffer.concat(handshake.map(u64))]);
  }
  if (rxBytes !== undefined) attributes.push([WGPEER_A_RX_BYTES, u64(rxBytes)]);
  if (txBytes !== undefined) attributes.push([WGPEER_A_TX_BYTES, u64(txBytes)]);
  if (keepalive !== undefined) {
    attributes.push([WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, u16(keepalive)]);
  }
  if (allowedIps !== undefined) {
    attributes.push([WGPEER_A_ALLOWEDIPS, allowedIps.map((prefix) => [0, allowedIp(prefix)])]);
  }
  return attributes;
}

function allowedIp(prefix: string): readonly Attribute[] {
  const [address, mask] = prefix.split("/");
  const bytes = addressBytes(address!);
  return [
    [WGALLOWEDIP_A_FAMILY, u16(bytes.length === 4 ? AF_INET : AF_INET6)],
    [WGALLOWEDIP_A_IPADDR, bytes],
    [WGALLOWEDIP_A_CIDR_MASK, Uint8Array.of(Number(mask))],
  ];
}

/** struct sockaddr_in or sockaddr_in6. */
export function socketAddress(endpoint: string): Uint8Array {
  const [, v6, scope, v4, port] = /^(?:\[(.*?)(?:%(\d+))?\]|(.*)):(\d+)$/.exec(endpoint)!;
  const address = addressBytes(v6 ?? v4!);
  const bytes = new Uint8Array(v6 === undefined ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, v6 === undefined ? AF_INET : AF_INET6, true);
  view.setUint16(2, Number(port), false);
  bytes.set(address, v6 === undefined ? 4 : 8);
  if (scope !== undefined) view.setUint32(24, Number(scope), true);
  return bytes;
}

/** The 4 or 16 bytes of an address. IPv6 with a dotted IPv4 part is not supported. */
export function addressBytes(address: string): Uint8Array {
  if (!address.includes(":")) return Uint8Array.from(address.split("."), Number);
  const [head = [], tail = []] = address
    .split("::")
    .map((half) => half.split(":").filter((group) => group !== ""));
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  const groups = address.includes("::") ? [...head, ...zeros, ...tail] : head;
  return Uint8Array.from(
    groups.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]),
  );
}

export function u64(value: number): Uint8Array {
  return new Uint8Array(new BigUint64Array([BigInt(value)]).buffer);
}

/** NLMSG_DONE; its errno is not 0 if the dump failed. */
export function done({ errno = 0, interrupted = false } = {}): Uint8Array {
  const flags = interrupted ? NLM_F_DUMP_INTR : 0;
  return encodeMessage({
    type: NLMSG_DONE,
    flags,
    sequence: 1,
    header: i32(-errno),
    attributes: [],
  });
}

/** NLMSG_ERROR: the errno, and the header of the request; 0 is an acknowledgement. */
export function error(errno: number): Uint8Array {
  const header = Buffer.concat([i32(-errno), new Uint8Array(16)]);
  return encodeMessage({ type: NLMSG_ERROR, flags: 0, sequence: 1, header, attributes: [] });
}

function i32(value: number): Uint8Array {
  return u32(value >>> 0);
}

export interface LinkFields {
  readonly name: string;
  readonly index: number;
  readonly kind?: string;
  readonly type?: number;
  readonly interrupted?: boolean;
}

export function linkMessage(fields: LinkFields): Uint8Array {
  const { name, index, kind = "wireguard", type = RTM_NEWLINK, interrupted = false } = fields;
  const header = new Uint8Array(16);
  new DataView(header.buffer).setInt32(4, index, true);
  return encodeMessage({
    type,
    flags: interrupted ? NLM_F_DUMP_INTR : 0,
    sequence: 1,
    header,
    attributes: [
      [IFLA_IFNAME, text(name)],
      [IFLA_LINKINFO, [[IFLA_INFO_KIND, text(kind)]]],
    ],
  });
}

/** The arguments of a MessageVisitor for a single message: the buffer, start and end. */
export function whole(message: Uint8Array): [answer: Bytes, start: number, end: number] {
  return [bytesOf(message), 0, message.length];
}

/** The same for each message of a datagram, without NLMSG_DONE. */
export function messagesOf(datagram: Uint8Array): [answer: Bytes, start: number, end: number][] {
  const answer = bytesOf(datagram);
  const messages: [Bytes, number, number][] = [];
  for (let start = 0; start < datagram.length;) {
    const end = start + answer.view.getUint32(start, true);
    if (answer.view.getUint16(start + 4, true) !== NLMSG_DONE) messages.push([answer, start, end]);
    start = align(end);
  }
  return messages;
}
