/**
 * A tap on the responses and first data messages that this machine's own WireGuard sends. WireGuard answers only
 * initiations that it accepts, and those cannot be forged without a peer's private key. The tap is open in guarded mode
 * only, because the kernel copies every outgoing packet while it is open.
 */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { sentFilter } from "./bpf-program.ts";
import {
  attachFilter,
  bindPacketSocket,
  closePacketSocket,
  openPacketSocket,
} from "./packet-socket.ts";
import { readSocket, type SocketHandler } from "./socket-reader.ts";

/** Holds the responses to about 2,500 handshakes. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

export interface SentTap {
  close(): void;
}

/**
 * @returns null if the process lacks CAP_NET_RAW.
 * @throws SystemError
 */
export function openSentTap(clock: Clock, handler: SocketHandler): SentTap | null {
  let descriptor: number;
  try {
    descriptor = openPacketSocket({
      receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      includesOutgoing: true,
    });
  } catch (error) {
    if (error instanceof SystemError && /^(EPERM|EACCES)$/.test(error.code)) return null;
    throw error;
  }
  try {
    attachFilter(descriptor, sentFilter());
    bindPacketSocket(descriptor, 0, "bind a packet socket");
  } catch (error) {
    closePacketSocket(descriptor);
    throw error;
  }
  // Packets that arrive before reading starts wait in the receive buffer.
  const reading = readSocket(descriptor, clock, handler).catch((error: unknown) => {
    handler.onLost(error instanceof SystemError ? error.code : "failed");
    return () => {};
  });
  return {
    close: () =>
      void reading.then((stop) => {
        stop();
        closePacketSocket(descriptor);
      }),
  };
}
