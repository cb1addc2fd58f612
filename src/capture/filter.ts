/**
 * What the kernel is to pass: handshakes, and nothing of the sessions that run. As a tcpdump expression
 * for packets, and as a BPF program for what NFLOG sends. Pure.
 */

import { NFULA_PAYLOAD, NLA_HDRLEN, NLMSG_HDRLEN } from "../kernel/uapi.ts";
import { MessageType } from "../wireguard.ts";
import { PROTOCOL_UDP } from "./packet.ts";

/**
 * A tcpdump expression that passes initiations, responses and first data messages (counter 0) to
 * `ports`, or to any port; data of running sessions stays in the kernel. null when there is no port to
 * listen to.
 *
 * `udp[...]` exists for IPv4 only, so IPv6 counts from its own header; one with extension headers is
 * not matched.
 */
export function handshakeFilter(ports: readonly number[] | "any"): string | null {
  if (ports.length === 0) return null;
  const destination =
    ports === "any" ? "" : `(${ports.map((port) => `dst port ${port}`).join(" or ")}) and `;
  const messages = (field: (offset: number) => string) =>
    [
      `${field(0)} = ${header(MessageType.initiation)}`,
      `${field(0)} = ${header(MessageType.response)}`,
      `(${field(0)} = ${header(MessageType.data)} and ${field(8)} = 0 and ${field(12)} = 0)`,
    ].join(" or ");
  const ipv4 = messages((offset) => `udp[${8 + offset}:4]`);
  const ipv6 = messages((offset) => `ip6[${48 + offset}:4]`);
  return `udp and ${destination}((ip and (${ipv4})) or (ip6 and (${ipv6})))`;
}

/** The first four bytes of a message, as tcpdump reads them: big-endian. */
function header(type: number): string {
  return `0x0${type}000000`;
}

/** Behind struct nlmsghdr and struct nfgenmsg. */
const ATTRIBUTES_AT = NLMSG_HDRLEN + 4;
/** linux/filter.h: finds the attribute X from A on; its offset, or 0. */
const SKF_AD_NLATTR = 0xfffff000 + 12;
/** The same: whether it comes or goes, linux/if_packet.h. */
const SKF_AD_PKTTYPE = 0xfffff000 + 4;
const PACKET_OUTGOING = 4;
const UDP_BYTES = 8;

// linux/bpf_common.h
const LD = 0x00;
const LDX = 0x01;
const ADD_K = 0x04;
const ADD_X = 0x0c;
const AND = 0x54;
const LSH = 0x64;
const RSH = 0x74;
const JA = 0x05;
const JEQ = 0x15;
const RET = 0x06;
const TAX = 0x07;
const TXA = 0x87;
const LDX_IPV4_LENGTH = 0xb1;
const ABSOLUTE = 0x20;
const INDIRECT = 0x40;
const HALF = 0x08;
const BYTE = 0x10;

/**
 * For the socket of an NFLOG group: drops later data of WireGuard sessions, and passes all else that it
 * does not know. BPF instructions, struct sock_filter of linux/filter.h.
 */
export function loggedFilter(): Uint8Array {
  const data = MessageType.data << 24;
  return assemble([
    [LD, ATTRIBUTES_AT],
    [LDX, NFULA_PAYLOAD],
    [LD | ABSOLUTE, SKF_AD_NLATTR],
    [JEQ, 0, 20, 0],
    // X: where the IP header is.
    [ADD_K, NLA_HDRLEN],
    [TAX, 0],
    [LD | BYTE | INDIRECT, 0],
    [RSH, 4],
    [JEQ, 4, 0, 5],
    // IPv4: its length is in it.
    [LD | BYTE | INDIRECT, 0],
    [AND, 0x0f],
    [LSH, 2],
    [ADD_X, 0],
    [JA, 3],
    [JEQ, 6, 0, 9],
    [TXA, 0],
    [ADD_K, 40],
    // X: where the UDP header is.
    [TAX, 0],
    [LD | INDIRECT, UDP_BYTES],
    [JEQ, data, 0, 4],
    // The counter.
    [LD | INDIRECT, UDP_BYTES + 8],
    [JEQ, 0, 0, 3],
    [LD | INDIRECT, UDP_BYTES + 12],
    [JEQ, 0, 0, 1],
    [RET, 0xffffffff],
    [RET, 0],
  ]);
}

/**
 * For a tap whose packets start with their IP header: passes responses to a handshake and first data
 * messages (counter 0) that this machine sends from one of `ports`, and nothing else. BPF instructions.
 */
export function answerFilter(ports: readonly number[]): Uint8Array {
  return assemble([
    [LD | ABSOLUTE, SKF_AD_PKTTYPE],
    [JEQ, PACKET_OUTGOING, 0, 18],
    [LD | BYTE | ABSOLUTE, 0],
    [RSH, 4],
    [JEQ, 4, 0, 4],
    [LD | BYTE | ABSOLUTE, 9],
    [JEQ, PROTOCOL_UDP, 0, 13],
    // X: the length of the IPv4 header, which is in it.
    [LDX_IPV4_LENGTH, 0],
    [JA, 4],
    [JEQ, 6, 0, 10],
    [LD | BYTE | ABSOLUTE, 6],
    [JEQ, PROTOCOL_UDP, 0, 8],
    [LDX, 40],
    [LD | INDIRECT, UDP_BYTES],
    [JEQ, MessageType.response << 24, 6, 0],
    [JEQ, MessageType.data << 24, 0, 4],
    // The counter.
    [LD | INDIRECT, UDP_BYTES + 8],
    [JEQ, 0, 0, 2],
    [LD | INDIRECT, UDP_BYTES + 12],
    [JEQ, 0, 1, 0],
    [RET, 0],
    // The port that it comes from.
    [LD | HALF | INDIRECT, 0],
    ...ports.flatMap((port): Instruction[] => [
      [JEQ, port, 0, 1],
      [RET, 0xffffffff],
    ]),
    [RET, 0],
  ]);
}

/** Code, operand, and how many instructions are left out if it holds, and if not. */
type Instruction = readonly [code: number, k: number, jt?: number, jf?: number];

/** struct sock_filter of linux/filter.h. */
function assemble(program: readonly Instruction[]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(program.length * 8));
  for (const [index, [code, k, jt = 0, jf = 0]] of program.entries()) {
    bytes.setUint16(index * 8, code, true);
    bytes.setUint8(index * 8 + 2, jt);
    bytes.setUint8(index * 8 + 3, jf);
    bytes.setUint32(index * 8 + 4, k, true);
  }
  return new Uint8Array(bytes.buffer);
}
