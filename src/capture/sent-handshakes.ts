/**
 * The tap on what this machine's own WireGuard sends: responses, and the first data of sessions. It answers only
 * initiations that it has accepted, which nobody can forge without a peer's key. Open in guarded mode only: the
 * kernel makes a copy of each packet that leaves as long as it is.
 */

import type { Clock } from "../clock.ts";
import { SystemError } from "../errors.ts";
import { sentFilter } from "./bpf-program.ts";
import {
  attachFilter,
  bindPacketSocket,
  closePacketSocket,
  openPacketSocket,
} from "./packet-socket.ts";
import { readSocket, type SocketHandler } from "./socket-reader.ts";

/** Holds the responses to some 2,500 handshakes. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

export interface SentTap {
  close(): void;
}

/**
 * @returns null where it may not be opened (CAP_NET_RAW).
 * @throws SystemError
 */
export function openSentTap(clock: Clock, handler: SocketHandler): SentTap | null {
  let descriptor: number;
  try {
    descriptor = openPacketSocket({ receiveBufferBytes: RECEIVE_BUFFER_BYTES, isOutgoing: true });
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
  // What comes before it is read waits in the queue.
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
