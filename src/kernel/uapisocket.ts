/**
 * The seam to the socket of a userspace WireGuard program. By libc and not by Bun's sockets: the answer
 * holds the private key, and Bun's pass through a buffer of its own, which keeps it.
 */

import { errno, libc } from "../../ffi/libc.ts";
import { ParseError, SystemError } from "../errors.ts";
import { whyNoAccess } from "../system.ts";
import { errnoName, systemError } from "./errno.ts";
import {
  AF_UNIX,
  EACCES,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EINTR,
  ENOENT,
  EPIPE,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from "./uapi.ts";

/** Ends with an empty line, as the answer does. */
const REQUEST = new TextEncoder().encode("get=1\n\n");
const NEWLINE = 0x0a;
/** A program that does not answer within this is as good as gone. */
const TIMEOUT_MS = 1000;
/** It answers within a fraction of it. */
const PAUSE_MS = 1;
const CHUNK_BYTES = 65_536;
/** Far more than 100,000 peers need. */
const ANSWER_LIMIT_BYTES = 256 * 1024 * 1024;
/** struct sockaddr_un, linux/un.h: the family, and a path with its NUL. */
const SOCKADDR_UN_BYTES = 110;

/**
 * Asks at the socket and has the answer parsed; the bytes are zeroed when that is done. A program that
 * ends in the middle is asked for once more, to see whether it is gone.
 *
 * @returns null when nobody listens there: the program is gone and left its socket behind.
 * @throws SystemError, ParseError, and what `parse` throws.
 */
export async function askUapi<Result>(
  operation: string,
  path: string,
  parse: (answer: Uint8Array) => Result,
): Promise<Result | null> {
  try {
    return await askOnce(operation, path, parse);
  } catch (error) {
    if (!(error instanceof SystemError && isHangUp(error))) throw error;
    return await askOnce(operation, path, parse);
  }
}

function isHangUp({ code }: SystemError): boolean {
  return code === errnoName(ECONNRESET) || code === errnoName(EPIPE);
}

async function askOnce<Result>(
  operation: string,
  path: string,
  parse: (answer: Uint8Array) => Result,
): Promise<Result | null> {
  const descriptor = libc().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) throw systemError(operation, errno());
  const answer = new Answer();
  try {
    const address = socketAddress(operation, path);
    if (libc().connect(descriptor, address, address.length) < 0) {
      const code = errno();
      if (code === ENOENT || code === ECONNREFUSED) return null;
      if (code === EACCES) throw new SystemError(operation, "EACCES", whyNoAccess(path));
      throw systemError(operation, code);
    }
    if (Number(libc().write(descriptor, REQUEST, REQUEST.length)) < 0) {
      throw systemError(operation, errno());
    }
    const endMs = performance.now() + TIMEOUT_MS;
    while (!answer.isComplete) {
      const length = answer.receive(descriptor);
      if (length === 0) throw systemError(operation, ECONNRESET);
      if (length === null) {
        if (performance.now() > endMs) {
          throw new SystemError(operation, "ETIMEDOUT", "its program does not answer");
        }
        await Bun.sleep(PAUSE_MS);
      }
      if (answer.bytes.length > ANSWER_LIMIT_BYTES) {
        throw new ParseError(`${operation}: the answer does not end`);
      }
    }
    return parse(answer.bytes);
  } finally {
    answer.wipe();
    libc().close(descriptor);
  }
}

function socketAddress(operation: string, path: string): Uint8Array {
  const text = new TextEncoder().encode(path);
  if (text.length + 3 > SOCKADDR_UN_BYTES) {
    throw new SystemError(operation, "ENAMETOOLONG", "the path of its socket is too long");
  }
  const address = new Uint8Array(SOCKADDR_UN_BYTES);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(text, 2);
  return address;
}

/** The bytes so far, in one buffer; what is outgrown is zeroed. */
class Answer {
  #buffer = new Uint8Array(new ArrayBuffer(CHUNK_BYTES));
  #length = 0;

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  get isComplete(): boolean {
    const { bytes } = this;
    return bytes.at(-1) === NEWLINE && bytes.at(-2) === NEWLINE;
  }

  /** @returns how much came; 0: the other side closed; null: nothing yet. */
  receive(descriptor: number): number | null {
    if (this.#length === this.#buffer.length) this.#grow();
    const room = this.#buffer.subarray(this.#length);
    const length = Number(libc().recv(descriptor, room, room.length, MSG_DONTWAIT));
    const code = length < 0 ? errno() : 0;
    if (code === EAGAIN || code === EINTR) return null;
    if (code !== 0) throw systemError("read the answer of a userspace device", code);
    this.#length += length;
    return length;
  }

  wipe(): void {
    this.#buffer.fill(0);
  }

  #grow(): void {
    const larger = new Uint8Array(new ArrayBuffer(this.#buffer.length * 2));
    larger.set(this.#buffer);
    this.wipe();
    this.#buffer = larger;
  }
}
