/** Writes to standard output and standard error. Uses libc for the reason given in files.ts. */

import { errno, libc } from "../../ffi/libc.ts";
import { SystemError } from "../base/errors.ts";
import { printable } from "../base/visible.ts";
import { EAGAIN, EINTR, EPIPE } from "./constants.ts";
import { errnoName, systemError } from "./errno.ts";

const STDOUT = 1;
const STDERR = 2;
/** limits.h: a pipe that poll(2) reports as writable accepts this many bytes in one atomic write. */
const PIPE_BUF = 4096;
/** poll.h */
const POLLOUT = 4;

export function isTerminal(descriptor: number): boolean {
  return libc().isatty(descriptor) === 1;
}

/** Whether standard output still has a reader. */
export function isStdoutOpen(): boolean {
  const poll = Int32Array.of(STDOUT, 0);
  // poll(2) always reports a pipe or terminal whose other end is closed, even if no events are requested.
  return libc().poll(poll, 1, 0) <= 0;
}

/**
 * Writes the whole text to standard output, and waits for a slow reader. It is not an error if the reader has closed
 * the pipe. Control characters from other sources are escaped (visible.ts).
 *
 * @returns whether standard output still has a reader.
 * @throws SystemError
 */
export function print(text: string): boolean {
  try {
    for (let rest: Uint8Array = Buffer.from(printable(text)); rest.length > 0;) {
      rest = rest.subarray(writeToStdout(rest, -1));
    }
    return true;
  } catch (error) {
    if (!(error instanceof SystemError && error.code === errnoName(EPIPE))) throw error;
    return false;
  }
}

/**
 * Writes to standard error, with one write(2) for up to 4 KiB. Waits at most `waitMs` for each write, even if a pipe is
 * full and its reader does not read.
 *
 * @param waitMs how long to wait for room in the pipe.
 * @returns the number of bytes written.
 * @throws SystemError when nothing was written: EAGAIN for a full pipe, EPIPE for one without a reader.
 */
export function writeToStderr(bytes: Uint8Array, waitMs: number): number {
  return write(STDERR, bytes, waitMs);
}

/** Like `writeToStderr`, for standard output. If `waitMs` is -1, waits without limit. */
export function writeToStdout(bytes: Uint8Array, waitMs: number): number {
  return write(STDOUT, bytes, waitMs);
}

function write(descriptor: number, bytes: Uint8Array, waitMs: number): number {
  // struct pollfd: descriptor, 16 bits of requested events, 16 bits of returned events.
  const poll = Int32Array.of(descriptor, POLLOUT);
  let written = 0;
  while (written < bytes.length) {
    const ready = libc().poll(poll, 1, waitMs);
    let code = ready < 0 ? errno() : ready === 0 ? EAGAIN : 0;
    if (code === 0) {
      const part = bytes.subarray(written, written + PIPE_BUF);
      const count = Number(libc().write(descriptor, part, part.length));
      if (count < 0) code = errno();
      else written += count;
    }
    if (code === 0 || code === EINTR) continue;
    if (written > 0) break;
    throw systemError(
      descriptor === STDERR ? "write to standard error" : "write to standard output",
      code,
    );
  }
  return written;
}
