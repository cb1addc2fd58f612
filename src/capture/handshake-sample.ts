/**
 * A sample of the handshake messages that come in, whoever sends them: for `handshake.unknown`. It is read by the
 * clock, and what its small buffer has no room for is dropped by the kernel: a flood causes no wake-up.
 */

import type { Clock } from "../clock.ts";
import { handshakeExpression } from "./bpf-program.ts";
import { compileExpression } from "./bpf.ts";
import {
  attachFilter,
  bindPacketSocket,
  closePacketSocket,
  openPacketSocket,
} from "./packet-socket.ts";
import { backlog } from "./socket-reader.ts";

const READ_EVERY_MS = 250;
const READ_MAX = 50;
/** Room for about as many: the kernel counts some 700 bytes for each. */
const RECEIVE_BUFFER_BYTES = 32 * 1024;

export interface HandshakeSample {
  /** The ports that WireGuard listens to now. @throws SystemError */
  setPorts(ports: readonly number[]): void;
  close(): void;
}

/**
 * @param onPacket is called for each, from its IP header on; the bytes are its to keep.
 * @throws SystemError: EPERM without CAP_NET_RAW. LibraryError without libpcap.
 */
export function openHandshakeSample(
  clock: Clock,
  onPacket: (packet: Uint8Array) => void,
): HandshakeSample {
  // Needed when the first device comes: that libpcap is missing must be known before.
  compileExpression("udp");
  const descriptor = openPacketSocket({
    receiveBufferBytes: RECEIVE_BUFFER_BYTES,
    isOutgoing: false,
  });
  let isBound = false;
  let current = "";
  let cancel = () => {};
  const read = (): void => {
    for (const packet of backlog(descriptor, READ_MAX)) onPacket(packet);
    cancel = clock.after(READ_EVERY_MS, read);
  };
  return {
    setPorts(ports) {
      const expression = handshakeExpression(ports);
      if (expression === null || expression === current) return;
      attachFilter(descriptor, compileExpression(expression));
      current = expression;
      if (isBound) return;
      bindPacketSocket(descriptor, 0, "bind a packet socket");
      isBound = true;
      read();
    },
    close() {
      cancel();
      closePacketSocket(descriptor);
    },
  };
}
