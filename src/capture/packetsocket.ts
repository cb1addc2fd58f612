/** The seam to packet sockets: AF_PACKET, packets from their IP header on, whatever the link. packet(7) */

import { errno, libc } from "../../ffi/libc.ts";
import { ownCapabilities, whyRefused } from "../capabilities.ts";
import { SystemError } from "../errors.ts";
import { systemError } from "../kernel/errno.ts";
import { setReceiveBuffer } from "../kernel/socket.ts";
import {
  AF_PACKET,
  ETH_P_ALL,
  PACKET_STATISTICS,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_PACKET,
} from "../kernel/uapi.ts";

/** Holds a burst of some 2,500 packets. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

/**
 * A socket that receives nothing before it is bound, when its program is in place.
 *
 * @throws SystemError
 */
export function openPacketSocket(): number {
  const type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const descriptor = libc().socket(AF_PACKET, type, 0);
  if (descriptor < 0) {
    const error = systemError("open a packet socket", errno());
    if (error.code !== "EPERM" && error.code !== "EACCES") throw error;
    const why = whyRefused("CAP_NET_RAW", ownCapabilities());
    throw new SystemError("open a packet socket", error.code, `${why}, or use --monitor poll`);
  }
  // Only a larger queue; capture works without.
  setReceiveBuffer(descriptor, RECEIVE_BUFFER_BYTES);
  return descriptor;
}

/**
 * @param index number of the interface; 0: all.
 * @param operation for the error.
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

/** How many packets the queue had no room for since the last call: struct tpacket_stats, which asking resets. */
export function takeDrops(descriptor: number): number {
  const stats = new Uint32Array(2);
  const length = Int32Array.of(stats.byteLength);
  if (libc().getsockopt(descriptor, SOL_PACKET, PACKET_STATISTICS, stats, length) < 0) return 0;
  return stats[1]!;
}

export function closePacketSocket(descriptor: number): void {
  libc().close(descriptor);
}
