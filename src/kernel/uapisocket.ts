/**
 * The seam to the socket of a userspace WireGuard program. By libc and not by Bun's sockets: the answer
 * holds the private key, and Bun's pass through a buffer of its own, which keeps it.
 */

import { errno, libc } from "../../ffi/libc.ts";
import type { Clock } from "../clock.ts";
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
/** A program that is silent for this long is as good as gone. */
const SILENCE_MS = 1000;
/** One that goes on for this long must not keep other devices waiting; 10,000 peers take 60 ms. */
const ANSWER_MS = 5000;
/** About 40,000 peers; as text and as peers they take fifteen times as much memory. */
const ANSWER_MAX_BYTES = 16 * 1024 * 1024;
/** A program answers within a fraction of it. */
const PAUSE_MS = 1;
/** Far more than the longest line. */
const BUFFER_BYTES = 65_536;
/** struct sockaddr_un, linux/un.h: the family, and a path with its NUL. */
const SOCKADDR_UN_BYTES = 110;

/** Takes in an answer in pieces. */
export interface AnswerParser<Result> {
  readonly isComplete: boolean;
  /**
   * Reads the whole lines that there are. The bytes are valid during the call only.
   *
   * @param nowMs wall clock.
   * @returns how many bytes were read; the rest comes again, with more.
   * @throws ParseError
   */
  read(bytes: Uint8Array, nowMs: number): number;
  /** @throws ParseError when something is missing. */
  finish(): Result;
}

/**
 * Asks at the socket and has the answer parsed as it arrives, piece by piece, with a pause for the event
 * loop after each; the bytes are zeroed then. A program that ends in the middle is asked once more, to
 * see whether it is gone.
 *
 * @returns null when nobody listens there: the program is gone and left its socket behind.
 * @throws SystemError, ParseError
 */
export async function askUapi<Result>(
  operation: string,
  path: string,
  clock: Clock,
  newParser: () => AnswerParser<Result>,
): Promise<Result | null> {
  try {
    return await askOnce(operation, path, clock, newParser());
  } catch (error) {
    if (!(error instanceof SystemError && isHangUp(error))) throw error;
    return await askOnce(operation, path, clock, newParser());
  }
}

function isHangUp({ code }: SystemError): boolean {
  return code === errnoName(ECONNRESET) || code === errnoName(EPIPE);
}

async function askOnce<Result>(
  operation: string,
  path: string,
  clock: Clock,
  parser: AnswerParser<Result>,
): Promise<Result | null> {
  const descriptor = libc().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) throw systemError(operation, errno());
  const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
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
    const startMs = clock.now().monotonicMs;
    let heardMs = startMs;
    let totalBytes = 0;
    /** Of a line whose end is still to come, at the start of the buffer. */
    let restBytes = 0;
    for (;;) {
      const received = receive(operation, descriptor, buffer.subarray(restBytes));
      if (received === 0) throw systemError(operation, ECONNRESET);
      const { wallMs, monotonicMs } = clock.now();
      if (received !== null) {
        heardMs = monotonicMs;
        totalBytes += received;
        if (totalBytes > ANSWER_MAX_BYTES) {
          throw new ParseError(`${operation}: the answer has more than ${ANSWER_MAX_BYTES} bytes`);
        }
        const length = restBytes + received;
        const readBytes = parser.read(buffer.subarray(0, length), wallMs);
        if (parser.isComplete) return parser.finish();
        buffer.copyWithin(0, readBytes, length);
        restBytes = length - readBytes;
        buffer.fill(0, restBytes, length);
        if (restBytes === buffer.length) throw new ParseError(`${operation}: a line is too long`);
      } else if (monotonicMs - heardMs > SILENCE_MS) {
        throw new SystemError(operation, "ETIMEDOUT", "its program does not answer");
      }
      if (monotonicMs - startMs > ANSWER_MS) {
        const seconds = ANSWER_MS / 1000;
        throw new SystemError(operation, "ETIMEDOUT", `no end of the answer within ${seconds} s`);
      }
      await new Promise<void>((resolve) => {
        clock.after(received === null ? PAUSE_MS : 0, resolve);
      });
    }
  } finally {
    buffer.fill(0);
    libc().close(descriptor);
  }
}

/** @returns how many bytes came; 0: the other side closed; null: none yet. */
function receive(operation: string, descriptor: number, room: Uint8Array): number | null {
  const length = Number(libc().recv(descriptor, room, room.length, MSG_DONTWAIT));
  const code = length < 0 ? errno() : 0;
  if (code === EAGAIN || code === EINTR) return null;
  if (code !== 0) throw systemError(operation, code);
  return length;
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
