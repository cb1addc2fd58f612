/**
 * Samples incoming handshake messages from any sender, for `handshake.unknown`. The socket is read at fixed intervals,
 * and the kernel drops packets that do not fit into its small receive buffer. So a flood causes no additional wake-ups.
 */

import type { Clock } from "../base/clock.ts";
import { DROP_ALL, handshakeExpression } from "./bpf-program.ts";
import { compileExpression } from "./bpf.ts";
import {
  attachFilter,
  bindPacketSocket,
  closePacketSocket,
  openPacketSocket,
} from "./packet-socket.ts";
import { readQueued } from "./socket-reader.ts";

const READ_INTERVAL_MS = 250;
/** Maximum number of packets per read. */
const READ_MAX = 50;
/** For about READ_MAX messages: the kernel counts about 700 bytes for each. */
const RECEIVE_BUFFER_BYTES = 32 * 1024;

export interface HandshakeSample {
  /** Sets the ports on which WireGuard listens; empty: nothing is sampled. @throws SystemError */
  setPorts(ports: readonly number[]): void;
  close(): void;
}

/**
 * @param onPacket receives each packet, which starts with its IP header, and may keep the bytes.
 * @throws SystemError: EPERM without CAP_NET_RAW. LibraryError without libpcap.
 */
export function openHandshakeSample(
  clock: Clock,
  onPacket: (packet: Uint8Array) => void,
): HandshakeSample {
  // Compiled now, because a missing libpcap must be reported at start, not when the first device appears.
  compileExpression("udp");
  const descriptor = openPacketSocket({
    receiveBufferBytes: RECEIVE_BUFFER_BYTES,
    includesOutgoing: false,
  });
  let isBound = false;
  /** The attached filter; null: nothing is sampled. */
  let current: string | null = null;
  let cancel = () => {};
  const read = (): void => {
    for (const packet of readQueued(descriptor, READ_MAX)) onPacket(packet);
    cancel = clock.after(READ_INTERVAL_MS, read);
  };
  return {
    setPorts(ports) {
      const expression = handshakeExpression(ports);
      if (expression === current) return;
      attachFilter(descriptor, expression === null ? DROP_ALL : compileExpression(expression));
      if (!isBound) {
        bindPacketSocket(descriptor, 0, "bind a packet socket");
        isBound = true;
        read();
      }
      // After an error, the next call tries again.
      current = expression;
    },
    close() {
      cancel();
      closePacketSocket(descriptor);
    },
  };
}
