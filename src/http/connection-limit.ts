/**
 * Limits the connections of the TCP server. Bun.serve accepts connections without limit, and once the process
 * has no free file descriptors it retries in a busy loop. So this class counts the open files once a second and,
 * above the limit, closes all connections, because it cannot distinguish good ones from bad ones. The listening
 * socket stays open: if it were closed, any local user could bind its port and receive the bearer token.
 */

import { readdirSync } from "node:fs";

import { libc, sockets } from "../../ffi/libc.ts";
import type { Clock } from "../base/clock.ts";
import {
  AF_INET,
  AF_INET6,
  IPPROTO_TCP,
  SHUT_RDWR,
  SO_ACCEPTCONN,
  SO_PROTOCOL,
  SOL_SOCKET,
} from "../platform/constants.ts";
import type { Log } from "../platform/log.ts";
import { openFilesLimit } from "../platform/process.ts";

const OPEN_FILES_MAX = 1024;
/** Interval between counts of the open files. */
const COUNT_MS = 1000;
/** After this long below the limit, the next excess of connections is logged again. */
const EXCESS_OVER_MS = 60_000;

/** Default of fs.nr_open, proc(5): the highest limit that RLIMIT_NOFILE can have. */
const NR_OPEN = 1_048_576;

/** Size of struct sockaddr_storage, linux/socket.h, which can hold any address. */
const ADDRESS_BYTES = 128;

interface Options {
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
}

export class ConnectionLimit implements Disposable {
  readonly #port: number;
  readonly #options: Options;
  readonly #filesMax: number;
  /** Soft limit of the process (RLIMIT_NOFILE): every descriptor is less than this. */
  readonly #descriptorsEnd: number;
  #cancelCount = () => {};
  #excessMs = -Infinity;

  /** @param port the TCP port that this process listens on. */
  constructor(port: number, options: Options) {
    this.#port = port;
    this.#options = options;
    this.#descriptorsEnd = softLimit();
    // At most half of the descriptors of the process: the rest of wgmon needs some.
    this.#filesMax = Math.min(OPEN_FILES_MAX, this.#descriptorsEnd / 2);
    this.#schedule();
  }

  [Symbol.dispose](): void {
    this.#cancelCount();
  }

  #schedule(): void {
    this.#cancelCount = this.#options.clock.after(COUNT_MS, () => {
      const open = openFiles() ?? Array.from({ length: this.#descriptorsEnd }, (_, fd) => fd);
      if (open.length > this.#filesMax) this.#closeAll(open);
      this.#schedule();
    });
  }

  #closeAll(descriptors: readonly number[]): void {
    const { log, clock } = this.#options;
    const { monotonicMs } = clock.now();
    if (monotonicMs - this.#excessMs > EXCESS_OVER_MS) {
      log.warn("too many connections; closing all of them every second until the number falls");
    }
    this.#excessMs = monotonicMs;
    closeConnections(this.#port, descriptors);
  }
}

/** Shuts down the connections accepted on the port; Bun then closes them. Other sockets are left alone. */
function closeConnections(port: number, descriptors: readonly number[]): void {
  const found = descriptors.flatMap((descriptor) => tcpSocketAt(port, descriptor) ?? []);
  const listening = found.filter(({ isListening }) => isListening);
  for (const { descriptor, isListening, address } of found) {
    // An outgoing connection of wgmon may have the same port, at another address of this machine.
    const isAccepted = listening.some(
      (listener) => listener.address === address || /^0+$/.test(listener.address),
    );
    if (!isListening && isAccepted) sockets().shutdown(descriptor, SHUT_RDWR);
  }
}

interface TcpSocket {
  readonly descriptor: number;
  readonly isListening: boolean;
  /** The local address, in hexadecimal. */
  readonly address: string;
}

/** The socket of a descriptor; null if it is not a TCP socket with this local port. */
function tcpSocketAt(port: number, descriptor: number): TcpSocket | null {
  if (option(descriptor, SO_PROTOCOL) !== IPPROTO_TCP) return null;
  const name = new DataView(new ArrayBuffer(ADDRESS_BYTES));
  const length = Uint32Array.of(ADDRESS_BYTES);
  const bytes = new Uint8Array(name.buffer);
  if (sockets().getsockname(descriptor, bytes, length) !== 0) return null;
  // struct sockaddr_in and sockaddr_in6: family, port, then the address; in IPv6 it follows the flow label.
  if (name.getUint16(2) !== port) return null;
  const range = { [AF_INET]: [4, 8], [AF_INET6]: [8, 24] }[name.getUint16(0, true)];
  if (range === undefined) return null;
  const address = Buffer.from(bytes.subarray(...range)).toString("hex");
  return { descriptor, isListening: option(descriptor, SO_ACCEPTCONN) === 1, address };
}

/** An integer option of a socket; null if the descriptor is not a socket or the socket lacks this option. */
function option(descriptor: number, name: number): number | null {
  const value = new Int32Array(new ArrayBuffer(4));
  const length = Uint32Array.of(value.byteLength);
  const result = libc().getsockopt(descriptor, SOL_SOCKET, name, value, length);
  return result === 0 ? value[0]! : null;
}

/** RLIMIT_NOFILE of this process; NR_OPEN if it is unknown or unlimited. */
function softLimit(): number {
  try {
    return openFilesLimit("self") ?? NR_OPEN;
  } catch {
    return NR_OPEN;
  }
}

/**
 * The open descriptors of this process. null if none is free to read /proc/self/fd with; empty if it cannot be read
 * for another reason.
 */
function openFiles(): readonly number[] | null {
  try {
    return readdirSync("/proc/self/fd").map(Number);
  } catch (error) {
    const { code } = error as { code?: unknown };
    return code === "EMFILE" || code === "ENFILE" ? null : [];
  }
}
