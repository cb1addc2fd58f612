/**
 * BPF programs that select which packets a socket receives: classic BPF, struct sock_filter in linux/filter.h. Also the
 * tcpdump expression that libpcap compiles to such a program. Pure.
 */

import { MessageType } from "../base/wireguard.ts";
import {
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFULA_PACKET_HDR,
  NFULA_PAYLOAD,
  NLA_HDRLEN,
  NLMSG_HDRLEN,
} from "../platform/constants.ts";
import { PROTOCOL_UDP } from "./packet.ts";

/**
 * A tcpdump expression that passes initiations, responses and first data messages (counter 0) to `ports`, or to any
 * port. The kernel drops the data of established sessions. null if `ports` is empty.
 *
 * `udp[...]` works for IPv4 only, so for IPv6 the offsets count from the IPv6 header, and packets with extension
 * headers do not match.
 */
export function handshakeExpression(ports: readonly number[] | "any"): string | null {
  if (ports.length === 0) return null;
  const destination =
    ports === "any" ? "" : `(${ports.map((port) => `dst port ${port}`).join(" or ")}) and `;
  const messages = (field: (offset: number) => string) =>
    [
      `${field(0)} = ${hex(MessageType.initiation)}`,
      `${field(0)} = ${hex(MessageType.response)}`,
      `(${field(0)} = ${hex(MessageType.data)} and ${field(8)} = 0 and ${field(12)} = 0)`,
    ].join(" or ");
  const ipv4 = messages((offset) => `udp[${8 + offset}:4]`);
  const ipv6 = messages((offset) => `ip6[${48 + offset}:4]`);
  return `udp and ${destination}((ip and (${ipv4})) or (ip6 and (${ipv6})))`;
}

/** The first four bytes of a message as a number in network byte order: the type and three zero bytes. */
const typeWord = (type: number): number => type << 24;
const hex = (type: number): string => `0x0${type}000000`;

// linux/bpf_common.h; A is the accumulator, X the index register.
const LOAD_WORD = 0x20;
const LOAD_WORD_AT_X = 0x40;
const LOAD_BYTE_AT_X = 0x50;
const LOAD_CONSTANT = 0x00;
const SET_X = 0x01;
const ADD = 0x04;
const ADD_X = 0x0c;
const AND = 0x54;
const SHIFT_LEFT = 0x64;
const SHIFT_RIGHT = 0x74;
const JUMP = 0x05;
const IF_EQUAL = 0x15;
const RETURN = 0x06;
const A_TO_X = 0x07;
const X_TO_A = 0x87;

/**
 * linux/filter.h: SKF_AD_OFF + SKF_AD_NLATTR. A load from this address returns the offset of the first attribute of
 * type X at or after offset A; 0 if there is no such attribute.
 */
const FIND_ATTRIBUTE = 0xfffff000 + 12;
/**
 * linux/filter.h: SKF_AD_OFF + SKF_AD_PKTTYPE. A load from this address returns PACKET_OUTGOING or another packet type
 * of linux/if_packet.h.
 */
const PACKET_TYPE = 0xfffff000 + 4;
const PACKET_OUTGOING = 4;
/** In an NFLOG message the attributes follow struct nlmsghdr and struct nfgenmsg. */
const ATTRIBUTES_AT = NLMSG_HDRLEN + 4;
const UDP_BYTES = 8;

/**
 * A label, or an instruction. A comparison jumps to the label `then` or `otherwise`; without a label it continues with
 * the next instruction.
 */
type Line = string | Instruction;
type Instruction = readonly [
  code: number,
  operand: number,
  then?: string | undefined,
  otherwise?: string,
];

const PASS: readonly Line[] = ["pass", [RETURN, 0xffffffff]];
const DROP: readonly Line[] = ["drop", [RETURN, 0]];

/** Sets X to the offset of the IP header in an NFLOG message; jumps to `otherwise` if the message has no packet. */
const FIND_PAYLOAD = (otherwise: string): readonly Line[] => [
  [LOAD_CONSTANT, ATTRIBUTES_AT],
  [SET_X, NFULA_PAYLOAD],
  [LOAD_WORD, FIND_ATTRIBUTE],
  [IF_EQUAL, 0, otherwise],
  [ADD, NLA_HDRLEN],
  [A_TO_X, 0],
];

/**
 * Moves X from the IP header to the UDP header. IPv4 without UDP jumps to `otherIpv4`; IPv6 with extension headers or
 * without UDP, and other versions, jump to `otherwise`.
 */
const FIND_UDP = (otherwise: string, otherIpv4 = otherwise): readonly Line[] => [
  [LOAD_BYTE_AT_X, 0],
  [SHIFT_RIGHT, 4],
  [IF_EQUAL, 4, "ipv4"],
  [IF_EQUAL, 6, "ipv6", otherwise],
  "ipv4",
  [LOAD_BYTE_AT_X, 9],
  [IF_EQUAL, PROTOCOL_UDP, undefined, otherIpv4],
  [LOAD_BYTE_AT_X, 0],
  [AND, 0x0f],
  [SHIFT_LEFT, 2],
  [ADD_X, 0],
  [JUMP, 0, "udp"],
  "ipv6",
  [LOAD_BYTE_AT_X, 6],
  [IF_EQUAL, PROTOCOL_UDP, undefined, otherwise],
  [X_TO_A, 0],
  [ADD, 40],
  "udp",
  [A_TO_X, 0],
];

/** For a data message: jumps to `then` if its counter is 0, to `otherwise` if not. */
const IF_FIRST_DATA = (then: string, otherwise: string): readonly Line[] => [
  [LOAD_WORD_AT_X, UDP_BYTES + 8],
  [IF_EQUAL, 0, undefined, otherwise],
  [LOAD_WORD_AT_X, UDP_BYTES + 12],
  [IF_EQUAL, 0, then, otherwise],
];

/** Drops every packet. */
export const DROP_ALL: Uint8Array = assemble(DROP);

/**
 * For the socket of an NFLOG group: passes initiations, responses and first data messages, like `handshakeExpression`.
 * Also passes all IPv6 packets with extension headers, which the program does not parse.
 */
export function handshakeFilter(): Uint8Array {
  return assemble([
    ...FIND_PAYLOAD("pass"),
    ...FIND_UDP("pass", "drop"),
    [LOAD_WORD_AT_X, UDP_BYTES],
    [IF_EQUAL, typeWord(MessageType.initiation), "pass"],
    [IF_EQUAL, typeWord(MessageType.response), "pass"],
    [IF_EQUAL, typeWord(MessageType.data), undefined, "drop"],
    ...IF_FIRST_DATA("pass", "drop"),
    ...PASS,
    ...DROP,
  ]);
}

/**
 * Passes first data messages with one of these receiver indexes and, from an NFLOG group, all logged packets that this
 * machine sends.
 *
 * @param indexes in network byte order; at most 250, because a jump reaches 255 instructions.
 * @param socket "tap": packets start with their IP header; "nflog": messages of an NFLOG group.
 */
export function indexFilter(indexes: readonly number[], socket: "tap" | "nflog"): Uint8Array {
  const nflog: readonly Line[] = [
    [LOAD_CONSTANT, ATTRIBUTES_AT],
    [SET_X, NFULA_PACKET_HDR],
    [LOAD_WORD, FIND_ATTRIBUTE],
    [A_TO_X, 0],
    // struct nfulnl_msg_packet_hdr, linux/netfilter/nfnetlink_log.h: protocol, hook.
    [LOAD_BYTE_AT_X, NLA_HDRLEN + 2],
    [IF_EQUAL, NF_INET_LOCAL_OUT, "sent"],
    [IF_EQUAL, NF_INET_POST_ROUTING, "sent", "received"],
    "sent",
    [RETURN, 0xffffffff],
    "received",
    ...FIND_PAYLOAD("drop"),
  ];
  return assemble([
    ...(socket === "nflog" ? nflog : ([[SET_X, 0]] as const)),
    ...FIND_UDP("drop"),
    [LOAD_WORD_AT_X, UDP_BYTES],
    [IF_EQUAL, typeWord(MessageType.data), undefined, "drop"],
    ...IF_FIRST_DATA("index", "drop"),
    ...DROP,
    "index",
    [LOAD_WORD_AT_X, UDP_BYTES + 4],
    ...indexes.map((index): Line => [IF_EQUAL, index, "pass"]),
    [RETURN, 0],
    ...PASS,
  ]);
}

/** For a tap: passes the responses and first data messages that this machine sends. */
export function sentFilter(): Uint8Array {
  return assemble([
    [LOAD_WORD, PACKET_TYPE],
    [IF_EQUAL, PACKET_OUTGOING, undefined, "drop"],
    [SET_X, 0],
    ...FIND_UDP("drop"),
    [LOAD_WORD_AT_X, UDP_BYTES],
    [IF_EQUAL, typeWord(MessageType.response), "pass"],
    [IF_EQUAL, typeWord(MessageType.data), undefined, "drop"],
    ...IF_FIRST_DATA("pass", "drop"),
    ...PASS,
    ...DROP,
  ]);
}

/**
 * Encodes the instructions as struct sock_filter[]: code, two jumps, an operand.
 *
 * @throws RangeError if a jump is backward or too long.
 */
function assemble(lines: readonly Line[]): Uint8Array {
  const labels = new Map<string, number>();
  const instructions: Instruction[] = [];
  for (const line of lines) {
    if (typeof line === "string") labels.set(line, instructions.length);
    else instructions.push(line);
  }
  const bytes = new DataView(new ArrayBuffer(instructions.length * 8));
  for (const [at, [code, operand, then, otherwise]] of instructions.entries()) {
    const distance = (label: string | undefined): number => {
      const jump = label === undefined ? 0 : labels.get(label)! - at - 1;
      if (jump >= 0 && jump <= 0xff) return jump;
      throw new RangeError(`a jump of ${jump} instructions to ${label}`);
    };
    bytes.setUint16(at * 8, code, true);
    bytes.setUint8(at * 8 + 2, code === JUMP ? 0 : distance(then));
    bytes.setUint8(at * 8 + 3, distance(otherwise));
    bytes.setUint32(at * 8 + 4, code === JUMP ? distance(then) : operand, true);
  }
  return new Uint8Array(bytes.buffer);
}
