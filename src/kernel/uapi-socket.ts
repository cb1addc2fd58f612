/**
 * The seam to the UAPI socket of a userspace WireGuard program. It uses libc instead of Bun's sockets, because the
 * answer contains the private key, and Bun would keep a copy of it in its own buffer.
 */

import { errno, libc } from "../../ffi/libc.ts";
import type { Clock } from "../base/clock.ts";
import { ParseError, SystemError } from "../base/errors.ts";
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
} from "../platform/constants.ts";
import { errnoName, systemError } from "../platform/errno.ts";
import { explainNoAccess } from "../platform/file-access.ts";
import { unixAddress } from "../platform/unix-address.ts";

/** The request ends with an empty line, and so does the answer. */
const REQUEST = new TextEncoder().encode("get=1\n\n");
/** Timeout if the program sends nothing. */
const SILENCE_MS = 1000;
/**
 * Timeout for the whole answer, so that one program cannot delay the scan of other devices; 10,000 peers take 60 ms.
 */
const ANSWER_MS = 5000;
/** About 40,000 peers. The text and the parsed peers together take fifteen times as much memory. */
const ANSWER_MAX_BYTES = 16 * 1024 * 1024;
/** Pause before the next read if nothing has arrived. Programs usually answer sooner. */
const PAUSE_MS = 1;
/** Far more than the longest line. */
const BUFFER_BYTES = 65_536;

/** Parses an answer in pieces. */
export interface AnswerParser<Result> {
  readonly isComplete: boolean;
  /**
   * Reads all complete lines. The bytes are valid during the call only.
   *
   * @param nowMs wall clock.
   * @returns how many bytes were read; the next call gets the rest again, followed by the bytes that arrived since.
   * @throws ParseError
   */
  read(bytes: Uint8Array, nowMs: number): number;
  /** @throws ParseError if the answer is incomplete. */
  finish(): Result;
}

/**
 * Sends the request and parses the answer in pieces as it arrives; after each piece its bytes are zeroed and the event
 * loop runs. If the program closes the connection early, the request is repeated once, to find out whether the program
 * still runs.
 *
 * @returns null if the program no longer runs: it does not listen on its socket, or the socket does not exist.
 * @throws SystemError, ParseError
 */
export async function queryUapi<Result>(
  operation: string,
  path: string,
  clock: Clock,
  newParser: () => AnswerParser<Result>,
): Promise<Result | null> {
  try {
    return await queryOnce(operation, path, clock, newParser());
  } catch (error) {
    if (!(error instanceof SystemError && isClosedByProgram(error))) throw error;
    return await queryOnce(operation, path, clock, newParser());
  }
}

function isClosedByProgram({ code }: SystemError): boolean {
  return code === errnoName(ECONNRESET) || code === errnoName(EPIPE);
}

async function queryOnce<Result>(
  operation: string,
  path: string,
  clock: Clock,
  parser: AnswerParser<Result>,
): Promise<Result | null> {
  const descriptor = libc().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) throw systemError(operation, errno());
  const buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
  try {
    const address = unixAddress(path);
    if (address === null) {
      throw new SystemError(operation, "ENAMETOOLONG", "the path of its socket is too long");
    }
    if (libc().connect(descriptor, address, address.length) < 0) {
      const code = errno();
      if (code === ENOENT || code === ECONNREFUSED) return null;
      if (code === EACCES) throw new SystemError(operation, "EACCES", explainNoAccess(path));
      throw systemError(operation, code);
    }
    if (Number(libc().write(descriptor, REQUEST, REQUEST.length)) < 0) {
      throw systemError(operation, errno());
    }
    const startMs = clock.now().monotonicMs;
    let lastReceivedMs = startMs;
    let totalBytes = 0;
    /** Length of the incomplete line at the start of the buffer. */
    let restBytes = 0;
    for (;;) {
      const received = receive(operation, descriptor, buffer.subarray(restBytes));
      if (received === 0) throw systemError(operation, ECONNRESET);
      const { wallMs, monotonicMs } = clock.now();
      if (received !== null) {
        lastReceivedMs = monotonicMs;
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
      } else if (monotonicMs - lastReceivedMs > SILENCE_MS) {
        throw new SystemError(operation, "ETIMEDOUT", "its program does not answer");
      }
      if (monotonicMs - startMs > ANSWER_MS) {
        const seconds = ANSWER_MS / 1000;
        throw new SystemError(
          operation,
          "ETIMEDOUT",
          `the answer was incomplete after ${seconds} s`,
        );
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

/** @returns how many bytes arrived; 0 if the program closed the socket; null if nothing has arrived yet. */
function receive(operation: string, descriptor: number, buffer: Uint8Array): number | null {
  const length = Number(libc().recv(descriptor, buffer, buffer.length, MSG_DONTWAIT));
  const code = length < 0 ? errno() : 0;
  if (code === EAGAIN || code === EINTR) return null;
  if (code !== 0) throw systemError(operation, code);
  return length;
}
