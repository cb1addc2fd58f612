/**
 * The seam to netlink: sends and receives bytes with libmnl. Requests are synchronous, because the kernel produces a
 * dump's answer during the system calls that request and receive it, and an unfinished dump of a device blocks the
 * deletion of the device.
 */

import type { Pointer } from "bun:ffi";

import { errno, libc } from "../../ffi/libc.ts";
import { libmnl } from "../../ffi/libmnl.ts";
import { ParseError } from "../base/errors.ts";
import { kernelError } from "../platform/capabilities.ts";
import {
  EINTR,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
  NLMSG_NOOP,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVTIMEO,
  SOCK_CLOEXEC,
  SOL_SOCKET,
} from "../platform/constants.ts";
import {
  type Attribute,
  type Bytes,
  bytesOf,
  encodeMessage,
  messageEnd,
  messageFlags,
  messageSequence,
  messageType,
  setSequence,
} from "./netlink.ts";

/**
 * The kernel fills a dump's datagrams up to the size of the largest buffer of an earlier call, at most 32 KiB; a
 * smaller buffer in a later call would lose data (ENOSPC). So the size is constant.
 */
const BUFFER_BYTES = 65_536;

/** Receive timeout. The kernel normally answers at once. */
const TIMEOUT_SECONDS = 5;

/** A request. It is encoded once per object, so use the same object to repeat it. */
export interface Request {
  readonly type: number;
  /** A dump is answered by many messages, other requests by one message or an acknowledgement. */
  readonly dump: boolean;
  readonly header: Uint8Array;
  readonly attributes: readonly Attribute[];
}

/** Called for each message of an answer; the bytes are valid during the call only. */
export type MessageVisitor = (answer: Bytes, start: number, end: number, type: number) => void;

/** Sends requests. Tests implement it with recorded bytes. */
export interface Requester {
  /**
   * Sends one request and visits each message of its answer. `interrupted`: the kernel's list changed during the dump
   * (NLM_F_DUMP_INTR), so the answer may be incomplete.
   *
   * @throws SystemError with the kernel's errno; ParseError.
   */
  request(operation: string, request: Request, visit: MessageVisitor): { interrupted: boolean };
}

/**
 * Sets the receive buffer size, beyond net.core.rmem_max if permitted. That needs CAP_NET_ADMIN in the initial user
 * namespace, which root in a container may lack; then rmem_max is the limit. Errors are ignored.
 */
export function setReceiveBuffer(descriptor: number, bytes: number): void {
  const value = Int32Array.of(bytes);
  const length = value.byteLength;
  if (libc().setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, value, length) === 0) return;
  libc().setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, value, length);
}

export class NetlinkSocket implements Requester, Disposable {
  readonly #protocol: number;
  readonly #groups: number;
  // Has its own ArrayBuffer, whose address never changes.
  readonly #buffer = bytesOf(new Uint8Array(new ArrayBuffer(BUFFER_BYTES)));
  readonly #encoded = new WeakMap<Request, Uint8Array>();
  #socket: Pointer | null = null;
  #sequence = 0;

  /** @param groups multicast groups to join, as bits; 0 = none. */
  constructor(protocol: number, groups = 0) {
    this.#protocol = protocol;
    this.#groups = groups;
  }

  /** The descriptor, for waiting on multicast messages. */
  get descriptor(): number {
    return libmnl().mnl_socket_get_fd(this.#open());
  }

  request(operation: string, request: Request, visit: MessageVisitor): { interrupted: boolean } {
    const sequence = ++this.#sequence;
    this.send(operation, this.#encode(request, sequence));
    return this.#receiveAnswer(operation, sequence, visit);
  }

  /** Sends a complete message, built by the caller, with NLM_F_ACK and waits for the answer. */
  acknowledge(operation: string, message: Uint8Array): void {
    const sequence = ++this.#sequence;
    const { view } = bytesOf(message);
    view.setUint16(6, view.getUint16(6, true) | NLM_F_REQUEST | NLM_F_ACK, true);
    setSequence(message, sequence);
    this.send(operation, message);
    this.#receiveAnswer(operation, sequence, () => {});
  }

  send(operation: string, message: Uint8Array): void {
    const socket = this.#open();
    const sent = Number(libmnl().mnl_socket_sendto(socket, message, message.length));
    if (sent < 0) throw kernelError(`${operation}: send`, errno());
  }

  [Symbol.dispose](): void {
    if (this.#socket === null) return;
    libmnl().mnl_socket_close(this.#socket);
    this.#socket = null;
  }

  #encode(request: Request, sequence: number): Uint8Array {
    const known = this.#encoded.get(request);
    if (known !== undefined) {
      setSequence(known, sequence);
      return known;
    }
    const flags = NLM_F_REQUEST | (request.dump ? NLM_F_DUMP : NLM_F_ACK);
    const { type, header, attributes } = request;
    const message = encodeMessage({ type, flags, sequence, header, attributes });
    this.#encoded.set(request, message);
    return message;
  }

  #receiveAnswer(
    operation: string,
    sequence: number,
    visit: MessageVisitor,
  ): { interrupted: boolean } {
    const { bytes, view } = this.#buffer;
    let interrupted = false;
    let used = 0;
    let done = false;
    try {
      while (!done) {
        const length = this.#receive(operation);
        used = Math.max(used, length);
        for (let offset = 0; offset < length;) {
          const end = messageEnd(view, offset, length);
          const type = messageType(view, offset);
          // An answer to an earlier, abandoned request.
          if (messageSequence(view, offset) !== sequence) {
            offset = (end + 3) & ~3;
            continue;
          }
          const flags = messageFlags(view, offset);
          if ((flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
          if (type === NLMSG_DONE || type === NLMSG_ERROR) {
            // Both carry a negated errno; 0 means success.
            if (end - offset < NLMSG_HDRLEN + 4) throw new ParseError(`${operation}: empty answer`);
            const code = -view.getInt32(offset + NLMSG_HDRLEN, true);
            if (code !== 0) throw kernelError(operation, code);
            done = true;
          } else if (type !== NLMSG_NOOP) {
            visit(this.#buffer, offset, end, type);
          }
          offset = (end + 3) & ~3;
        }
      }
    } catch (error) {
      // The rest of this answer must not be read as the next answer, and an unfinished dump blocks the deletion of the
      // device. So close the socket; the next request opens a new one.
      if (!done) this[Symbol.dispose]();
      throw error;
    } finally {
      // The answer for a device contains its private and preshared keys.
      bytes.fill(0, 0, used);
    }
    return { interrupted };
  }

  #receive(operation: string): number {
    const socket = this.#open();
    for (;;) {
      const { bytes } = this.#buffer;
      const length = Number(libmnl().mnl_socket_recvfrom(socket, bytes, BUFFER_BYTES));
      if (length >= 0) return length;
      const code = errno();
      if (code !== EINTR) {
        throw kernelError(`${operation}: receive`, code);
      }
    }
  }

  #open(): Pointer {
    if (this.#socket !== null) return this.#socket;
    const socket = libmnl().mnl_socket_open2(this.#protocol, SOCK_CLOEXEC) as Pointer | null;
    if (socket === null) throw kernelError("open a netlink socket", errno());
    if (libmnl().mnl_socket_bind(socket, this.#groups, 0) < 0) {
      const code = errno();
      libmnl().mnl_socket_close(socket);
      throw kernelError("bind a netlink socket", code);
    }
    const timeout = new BigInt64Array(new ArrayBuffer(16));
    timeout[0] = BigInt(TIMEOUT_SECONDS);
    const fd = libmnl().mnl_socket_get_fd(socket);
    libc().setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, 16);
    this.#socket = socket;
    return socket;
  }
}
