/**
 * Delivers the datagrams of a C socket on the main loop. The only file that knows how: Bun.connect
 * takes a descriptor and reads it, but closes it on any error of the socket (a full queue, an
 * interface that went down). So it gets a copy, and another one after each error.
 */

import { batch, errno, libc } from "../ffi/libc.ts";
import type { Clock } from "./clock.ts";
import { SystemError } from "./errors.ts";
import { errnoName, systemError } from "./kernel/errno.ts";
import { EAGAIN, MSG_DONTWAIT } from "./kernel/uapi.ts";

/**
 * Waking up for each datagram costs ten times as much as reading it. From so many wake-ups in so much
 * time on, datagrams are fetched by the clock, until hardly any come.
 */
const BUSY_WAKES = 10;
const BUSY_WINDOW_MS = 100;
const FETCH_MS = 20;
const QUIET_FETCHES = 10;
const QUIET_DATAGRAMS = 2;
/** Each fetch may take this long, and make up for those before that took less; but a few are always read. */
const FETCH_WORK_MS = 0.1;
const BURST_WORK_MS = 20;
const FETCH_LEAST = 8;
/**
 * A queue that so many fetches in a row do not empty, or that overflows between two, is a flood: many
 * peers at once are none. To read a flood costs more than to look for who may be in it.
 */
const FLOOD_FETCHES = 10;
/**
 * A flood is not read. Every now and then what the kernel has kept of it is thrown away, to see
 * whether it is over.
 */
const FLOOD_MS = 250;
const FLOOD_DATAGRAMS = 100;
const DISCARD_MAX = 10_000;
/** Of these, in one call. */
const DISCARD_BATCH = 256;
/** sizeof(struct mmsghdr) on 64-bit machines. */
const MMSGHDR_BYTES = 64;

/** An error that comes back at once must not become a busy loop. */
const PAUSE_MS = 250;

/** A queue that overflowed is emptied, or it takes nothing in; but a flood must not keep us here. */
const BACKLOG_WORK_MS = 20;
/** The largest datagram of netlink. */
const BUFFER_BYTES = 65_536;

export interface DatagramHandler {
  /** One datagram; the bytes are the handler's to keep. */
  data(bytes: Uint8Array): void;
  /** Datagrams may have been lost: `ENOBUFS`, `ENETDOWN`, ... Reading goes on by itself. */
  lost(code: string): void;
  /**
   * A flood came, and is not read: told again every 250 ms while it lasts, and for the last of it. Present:
   * floods cost next to nothing, and a busy time costs little; what comes then is told up to 20 ms late.
   */
  readonly overrun?: () => void;
  /**
   * For sockets that drop what they have no room for and report no error: whether they did since this
   * was asked last. That happens in busy times only, and then `overrun` is told.
   */
  readonly dropped?: () => boolean;
  /** So much comes that reading has become slow work: told when it begins, and again while a flood lasts. */
  readonly busy?: () => void;
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
  let cancelFetch = () => {};
  let windowAtMs = -Infinity;
  let wakes = 0;
  let creditMs = BURST_WORK_MS;
  let fullFetches = 0;

  const woken = (socket: Pausable, bytes: Uint8Array) => {
    handler.data(bytes);
    if (handler.overrun === undefined) return;
    const { monotonicMs } = clock.now();
    if (monotonicMs - windowAtMs > BUSY_WINDOW_MS) {
      windowAtMs = monotonicMs;
      wakes = 0;
    }
    wakes++;
    if (wakes < BUSY_WAKES) return;
    // What Bun has read already still comes.
    wakes = -Infinity;
    handler.busy?.();
    socket.pause();
    fetch(socket, 0);
  };

  const flood = () => {
    if (stopped) return;
    // Or an overflowing queue would wake us all the time.
    end();
    handler.busy?.();
    handler.overrun?.();
    cancelFetch = clock.after(FLOOD_MS, () => {
      const discarded = discardQueue(descriptor);
      if (discarded > FLOOD_DATAGRAMS) {
        flood();
        return;
      }
      if (discarded > 0) handler.overrun?.();
      // Those of the flood are no news any more.
      handler.dropped?.();
      start();
    });
  };

  const fetch = (socket: Pausable, quiet: number) => {
    cancelFetch = clock.after(FETCH_MS, () => {
      const startMs = clock.now().monotonicMs;
      const { count, code } = readQueue(descriptor, handler, { clock, workMs: creditMs });
      const spentMs = clock.now().monotonicMs - startMs;
      creditMs = Math.min(BURST_WORK_MS, Math.max(0, creditMs - spentMs) + FETCH_WORK_MS);
      fullFetches = code === "more" ? fullFetches + 1 : 0;
      if (fullFetches === FLOOD_FETCHES || code === "ENOBUFS") {
        fullFetches = 0;
        flood();
        return;
      }
      if (code !== null && code !== "more") handler.lost(code);
      if (handler.dropped?.() === true) handler.overrun?.();
      const isQuiet = code === null && count <= QUIET_DATAGRAMS;
      if (isQuiet && quiet === QUIET_FETCHES) {
        windowAtMs = -Infinity;
        socket.resume();
      } else fetch(socket, isQuiet ? quiet + 1 : 0);
    });
  };

  const attach = async () => {
    attachedAtMs = clock.now().monotonicMs;
    windowAtMs = -Infinity;
    let isEnded = false;
    const copy = libc().dup(descriptor);
    if (copy < 0) throw systemError("copy a socket", errno());
    const socket = await Bun.connect({
      fd: copy,
      socket: {
        data: (from: Pausable, bytes: Uint8Array) => woken(from, bytes),
        close: (_socket: unknown, error?: unknown) => {
          if (isEnded) return;
          const { code = "closed" } = (error ?? {}) as { code?: string };
          // So many came before we were even woken.
          if (code === "ENOBUFS" && handler.overrun !== undefined) flood();
          else again(code);
        },
      },
    } as unknown as Bun.UnixSocketOptions<undefined>);
    end = () => {
      cancelFetch();
      if (isEnded) return;
      // It is told of its close at once.
      isEnded = true;
      socket.end();
    };
    if (stopped) end();
  };

  const start = () => {
    attach().catch((error: unknown) => again(error instanceof SystemError ? error.code : "failed"));
  };

  const again = (code: string) => {
    if (stopped) return;
    // A netlink queue that overflowed takes nothing in before it is empty, and does not say so again:
    // what `lost` makes the handler look for must not be lost in the meantime.
    cancelFetch();
    readQueue(descriptor, handler, { clock, workMs: BACKLOG_WORK_MS });
    handler.lost(code);
    const soon = clock.now().monotonicMs - attachedAtMs < PAUSE_MS;
    clock.after(soon ? PAUSE_MS : 0, () => {
      if (!stopped) start();
    });
  };

  await attach();
  return () => {
    stopped = true;
    end();
  };
}

interface Pausable {
  pause(): void;
  resume(): void;
}

/**
 * Delivers what the queue holds now, as far as the time goes. `code`: null when it is empty; "more";
 * or an error of the socket.
 */
function readQueue(
  descriptor: number,
  handler: DatagramHandler,
  { clock, workMs }: { readonly clock: Clock; readonly workMs: number },
): { readonly count: number; readonly code: string | null } {
  const startMs = clock.now().monotonicMs;
  for (let count = 0; ; count++) {
    const isTimeUp =
      count >= FETCH_LEAST && count % 8 === 0 && clock.now().monotonicMs - startMs > workMs;
    if (isTimeUp) return { count, code: "more" };
    const length = Number(libc().recv(descriptor, buffer, BUFFER_BYTES, MSG_DONTWAIT));
    const code = length < 0 ? errno() : 0;
    if (code !== 0) return { count, code: code === EAGAIN ? null : errnoName(code) };
    handler.data(buffer.slice(0, length));
  }
}

/** Empties the queue, and the socket of its errors. How many datagrams it held. */
function discardQueue(descriptor: number): number {
  const { recvmmsg } = batch();
  for (let count = 0; count < DISCARD_MAX;) {
    const discarded = recvmmsg(descriptor, noRoom, DISCARD_BATCH, MSG_DONTWAIT, null);
    if (discarded < 0 && errno() === EAGAIN) return count;
    count += Math.max(discarded, 1);
  }
  return DISCARD_MAX;
}

/** One for all: what is read is copied before anybody else reads. */
const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
/** For a call that takes in datagrams and nothing of what they hold: struct mmsghdr, linux/socket.h. */
const noRoom = new Uint8Array(new ArrayBuffer(DISCARD_BATCH * MMSGHDR_BYTES));
