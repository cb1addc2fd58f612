/**
 * Delivers the datagrams of a C socket on the main loop. The only file that knows how: Bun.connect
 * takes a descriptor and reads it, but closes it on any error of the socket (a full queue, an
 * interface that went down). So it gets a copy, and another one after each error.
 */

import { errno, libc } from "../ffi/libc.ts";
import type { Clock } from "./clock.ts";
import { SystemError } from "./errors.ts";
import { systemError } from "./kernel/errno.ts";
import { MSG_DONTWAIT } from "./kernel/uapi.ts";

/** An error that comes back at once must not become a busy loop. */
const PAUSE_MS = 250;

/** More than the largest of our queues holds; a sender that fills it as fast must not keep us here. */
const BACKLOG_MAX = 50_000;
/** The largest datagram of netlink. */
const BUFFER_BYTES = 65_536;

export interface DatagramHandler {
  /** One datagram; the bytes are the handler's to keep. */
  data(bytes: Uint8Array): void;
  /** Datagrams may have been lost: `ENOBUFS`, `ENETDOWN`, ... Reading goes on by itself. */
  lost(code: string): void;
}

/**
 * Reads `descriptor` until the answer is called. The descriptor stays the caller's, who closes it.
 *
 * @throws SystemError when no copy of the descriptor can be had.
 */
export async function readDatagrams(
  descriptor: number,
  clock: Clock,
  handler: DatagramHandler,
): Promise<() => void> {
  let stopped = false;
  let end = () => {};
  let attachedAtMs = -Infinity;

  const attach = async () => {
    attachedAtMs = clock.now().monotonicMs;
    const copy = libc().dup(descriptor);
    if (copy < 0) throw systemError("copy a socket", errno());
    const socket = await Bun.connect({
      fd: copy,
      socket: {
        data: (_socket: unknown, bytes: Uint8Array) => handler.data(bytes),
        close: (_socket: unknown, error?: unknown) => {
          if (!stopped) again((error as { code?: string } | undefined)?.code ?? "closed");
        },
      },
    } as unknown as Bun.UnixSocketOptions<undefined>);
    end = () => socket.end();
    if (stopped) end();
  };

  const again = (code: string) => {
    // A netlink queue that overflowed takes nothing in before it is empty, and does not say so again:
    // what `lost` makes the handler look for must not be lost in the meantime.
    readBacklog(descriptor, handler);
    handler.lost(code);
    const soon = clock.now().monotonicMs - attachedAtMs < PAUSE_MS;
    clock.after(soon ? PAUSE_MS : 0, () => {
      if (stopped) return;
      attach().catch((error: unknown) =>
        again(error instanceof SystemError ? error.code : "failed"),
      );
    });
  };

  await attach();
  return () => {
    stopped = true;
    end();
  };
}

/** Delivers what the queue holds now. */
function readBacklog(descriptor: number, handler: DatagramHandler): void {
  const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
  for (let count = 0; count < BACKLOG_MAX; count++) {
    const length = Number(libc().recv(descriptor, buffer, BUFFER_BYTES, MSG_DONTWAIT));
    // It is empty, or broken, which the next attempt at reading will tell.
    if (length < 0) return;
    handler.data(buffer.slice(0, length));
  }
}
