/**
 * The seam to packet sockets (AF_PACKET; packets start with their IP header, regardless of the link type) and to socket
 * filters. packet(7), socket(7).
 */

import { ptr } from "bun:ffi";

import { errno, libc } from "../../ffi/libc.ts";
import { SystemError } from "../base/errors.ts";
import { setReceiveBuffer } from "../kernel/netlink-socket.ts";
import { explainRefusal, ownCapabilities } from "../platform/capabilities.ts";
import {
  AF_PACKET,
  ETH_P_ALL,
  PACKET_IGNORE_OUTGOING,
  SO_ATTACH_FILTER,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_PACKET,
  SOL_SOCKET,
} from "../platform/constants.ts";
import { systemError } from "../platform/errno.ts";

/** struct sock_filter, linux/filter.h: code, two jumps, a 32-bit operand. */
export const INSTRUCTION_BYTES = 8;
const SOCK_FPROG_BYTES = 16;

export interface PacketSocketOptions {
  /** The kernel counts about 400 bytes for each handshake message. */
  readonly receiveBufferBytes: number;
  /** Whether the socket also receives packets that this machine sends. If so, the kernel copies each of them. */
  readonly includesOutgoing: boolean;
}

/**
 * Opens a packet socket and returns its descriptor. It receives nothing until it is bound, so that a filter can be
 * attached first.
 *
 * @throws SystemError
 */
export function openPacketSocket({
  receiveBufferBytes,
  includesOutgoing,
}: PacketSocketOptions): number {
  const type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const descriptor = libc().socket(AF_PACKET, type, 0);
  if (descriptor < 0) {
    const error = systemError("open a packet socket", errno());
    if (error.code !== "EPERM" && error.code !== "EACCES") throw error;
    const why = explainRefusal("CAP_NET_RAW", ownCapabilities());
    throw new SystemError("open a packet socket", error.code, `${why}, or use --monitor poll`);
  }
  // Capture also works without these two options.
  setReceiveBuffer(descriptor, receiveBufferBytes);
  const on = Int32Array.of(1);
  if (!includesOutgoing) {
    libc().setsockopt(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, on, on.byteLength);
  }
  return descriptor;
}

/**
 * Binds the socket to an interface; then it receives packets.
 *
 * @param index interface index; 0 = all interfaces.
 * @param operation names the operation in the error.
 * @throws SystemError
 */
export function bindPacketSocket(descriptor: number, index: number, operation: string): void {
  // struct sockaddr_ll, linux/if_packet.h; the protocol is in network order.
  const address = new DataView(new ArrayBuffer(20));
  address.setUint16(0, AF_PACKET, true);
  address.setUint16(2, ETH_P_ALL, false);
  address.setInt32(4, index, true);
  const bytes = new Uint8Array(address.buffer);
  if (libc().bind(descriptor, bytes, bytes.length) < 0) throw systemError(operation, errno());
}

export function closePacketSocket(descriptor: number): void {
  libc().close(descriptor);
}

/**
 * Attaches a BPF program, struct sock_filter[]; it replaces the previous one.
 *
 * @throws SystemError
 */
export function attachFilter(descriptor: number, instructions: Uint8Array): void {
  // struct sock_fprog, linux/filter.h: a 16-bit count, padding, a pointer to the instructions. They are in the same
  // buffer, so that the pointer is valid during the call.
  const bytes = new Uint8Array(new ArrayBuffer(SOCK_FPROG_BYTES + instructions.length));
  bytes.set(instructions, SOCK_FPROG_BYTES);
  const program = new DataView(bytes.buffer);
  program.setUint16(0, instructions.length / INSTRUCTION_BYTES, true);
  program.setBigUint64(8, BigInt(ptr(bytes) + SOCK_FPROG_BYTES), true);
  const failed = libc().setsockopt(
    descriptor,
    SOL_SOCKET,
    SO_ATTACH_FILTER,
    bytes,
    SOCK_FPROG_BYTES,
  );
  if (failed < 0) throw systemError("attach a BPF program", errno());
}
