/**
 * Reads the datagrams of a C socket on the event loop. Bun.connect can read a given descriptor, but closes it after any
 * error of the socket, such as a full receive buffer or an interface that went down. So it gets a duplicate of the
 * descriptor, and a new duplicate after each error.
 */

import { errno, libc } from "../../ffi/libc.ts";
import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { MSG_DONTWAIT } from "../platform/constants.ts";
import { systemError } from "../platform/errno.ts";

/** Minimum time between two duplicates, so that a persistent error does not cause a busy loop. */
const REATTACH_INTERVAL_MS = 250;
/** More datagrams than a receive buffer holds. */
const QUEUED_MAX = 10_000;
/** The largest netlink datagram. */
const BUFFER_BYTES = 65_536;

export interface SocketHandler {
  /** One datagram. The handler may keep the bytes. */
  onData(bytes: Uint8Array): void;
  /** Datagrams may have been lost: `ENOBUFS`, `ENETDOWN`, ... Reading continues automatically. */
  onLost(code: string): void;
}

/**
 * Reads `descriptor` until the returned function is called. The caller keeps the descriptor and closes it.
 *
 * @throws SystemError if the descriptor cannot be duplicated.
 */
export async function readSocket(
  descriptor: number,
  clock: Clock,
  handler: SocketHandler,
): Promise<() => void> {
  let isStopped = false;
  let endReading = () => {};
  let attachedAtMs = -Infinity;

  const attach = async () => {
    attachedAtMs = clock.now().monotonicMs;
    const copy = libc().dup(descriptor);
    if (copy < 0) throw systemError("duplicate a socket", errno());
    const socket = await Bun.connect({
      fd: copy,
      socket: {
        data: (_socket: unknown, bytes: Uint8Array) => handler.onData(bytes),
        close: (_socket: unknown, error?: unknown) => {
          const { code = "closed" } = (error ?? {}) as { code?: string };
          reattach(code);
        },
      },
    } as unknown as Bun.UnixSocketOptions<undefined>);
    endReading = () => void socket.end();
    if (isStopped) endReading();
  };

  const reattach = (code: string) => {
    if (isStopped) return;
    // After an overflow, a netlink socket drops new datagrams and reports no error until its receive buffer is empty.
    // Empty it before the handler scans, so that later datagrams are not lost.
    for (const bytes of readQueued(descriptor)) handler.onData(bytes);
    handler.onLost(code);
    const isSoon = clock.now().monotonicMs - attachedAtMs < REATTACH_INTERVAL_MS;
    clock.after(isSoon ? REATTACH_INTERVAL_MS : 0, () => {
      if (isStopped) return;
      attach().catch((error: unknown) =>
        reattach(error instanceof SystemError ? error.code : "failed"),
      );
    });
  };

  await attach();
  return () => {
    isStopped = true;
    endReading();
  };
}

/** Reads up to `max` datagrams that are in the receive buffer. Does not block. */
export function* readQueued(descriptor: number, max = QUEUED_MAX): Iterable<Uint8Array> {
  for (let count = 0; count < max; count++) {
    const length = Number(libc().recv(descriptor, buffer, BUFFER_BYTES, MSG_DONTWAIT));
    if (length < 0) return;
    yield buffer.slice(0, length);
  }
}

/** Shared by all readers: each datagram is copied before the next read. */
const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
