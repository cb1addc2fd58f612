/**
 * Delivers the datagrams of a C socket on the main loop. The only file that knows how: Bun.connect takes a
 * descriptor and reads it, but closes it on any error of the socket (a full queue, an interface that went down).
 * So it gets a copy, and another one after each error.
 */

import { errno, libc } from "../../ffi/libc.ts";
import type { Clock } from "../clock.ts";
import { SystemError } from "../errors.ts";
import { systemError } from "../kernel/errno.ts";
import { MSG_DONTWAIT } from "../kernel/uapi.ts";

/** An error that comes back at once must not become a busy loop. */
const PAUSE_MS = 250;
/** More than a queue holds. */
const BACKLOG_MAX = 10_000;
/** The largest datagram of netlink. */
const BUFFER_BYTES = 65_536;

export interface SocketHandler {
  /** One datagram; the bytes are the handler's to keep. */
  onData(bytes: Uint8Array): void;
  /** Datagrams may have been lost: `ENOBUFS`, `ENETDOWN`, ... Reading goes on by itself. */
  onLost(code: string): void;
}

/**
 * Reads `descriptor` until the answer is called. The descriptor stays the caller's, who closes it.
 *
 * @throws SystemError when no copy of the descriptor can be had.
 */
export async function readSocket(
  descriptor: number,
  clock: Clock,
  handler: SocketHandler,
): Promise<() => void> {
  let isStopped = false;
  let end = () => {};
  let attachedAtMs = -Infinity;

  const attach = async () => {
    attachedAtMs = clock.now().monotonicMs;
    const copy = libc().dup(descriptor);
    if (copy < 0) throw systemError("copy a socket", errno());
    const socket = await Bun.connect({
      fd: copy,
      socket: {
        data: (_socket: unknown, bytes: Uint8Array) => handler.onData(bytes),
        close: (_socket: unknown, error?: unknown) => {
          const { code = "closed" } = (error ?? {}) as { code?: string };
          attachAgain(code);
        },
      },
    } as unknown as Bun.UnixSocketOptions<undefined>);
    end = () => void socket.end();
    if (isStopped) end();
  };

  const attachAgain = (code: string) => {
    if (isStopped) return;
    // A netlink queue that overflowed takes nothing in before it is empty, and reports nothing then: what the
    // handler scans for must not be lost meanwhile.
    for (const bytes of backlog(descriptor)) handler.onData(bytes);
    handler.onLost(code);
    const isSoon = clock.now().monotonicMs - attachedAtMs < PAUSE_MS;
    clock.after(isSoon ? PAUSE_MS : 0, () => {
      if (isStopped) return;
      attach().catch((error: unknown) =>
        attachAgain(error instanceof SystemError ? error.code : "failed"),
      );
    });
  };

  await attach();
  return () => {
    isStopped = true;
    end();
  };
}

/** The datagrams that wait now, without waiting for one. */
export function* backlog(descriptor: number, most = BACKLOG_MAX): Iterable<Uint8Array> {
  for (let count = 0; count < most; count++) {
    const length = Number(libc().recv(descriptor, buffer, BUFFER_BYTES, MSG_DONTWAIT));
    if (length < 0) return;
    yield buffer.slice(0, length);
  }
}

/** One for all: what is read is copied before anybody else reads. */
const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
