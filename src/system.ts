/**
 * What the program asks of the operating system at its start, by libc: node:fs, node:os and node:tty
 * take as long to load as all the rest of it (test/bench/start.ts).
 */

import { errno, libc } from "../ffi/libc.ts";
import { systemError } from "./kernel/errno.ts";
import { EINTR, ENOENT, O_CLOEXEC, R_OK } from "./kernel/uapi.ts";

const STDERR = 2;
/** HOST_NAME_MAX and its NUL, limits.h. */
const HOST_NAME_BYTES = 65;
const CHUNK_BYTES = 65_536;

export function isTerminal(descriptor: number): boolean {
  return libc().isatty(descriptor) === 1;
}

/** The machine's name, gethostname(2); empty when it has none. */
export function hostname(): string {
  const name = new Uint8Array(new ArrayBuffer(HOST_NAME_BYTES));
  libc().gethostname(name, name.length);
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

/** The number of the network interface with this name; 0: there is none in this namespace. */
export function interfaceIndex(name: string): number {
  return libc().if_nametoindex(name);
}

/**
 * One write(2) to standard error.
 *
 * @returns how many bytes were taken.
 * @throws SystemError when it takes none: EAGAIN of a full pipe, EPIPE of one that nobody reads.
 */
export function writeToStderr(bytes: Uint8Array): number {
  const written = Number(libc().write(STDERR, bytes, bytes.length));
  if (written < 0) throw systemError("write to standard error", errno());
  return written;
}

/**
 * A text file as a whole; null when it does not exist.
 *
 * @throws SystemError when it exists and cannot be read.
 */
export function readTextFile(path: string): string | null {
  const descriptor = libc().open(path, O_CLOEXEC);
  if (descriptor < 0) {
    const code = errno();
    if (code === ENOENT) return null;
    throw systemError(`read ${path}`, code);
  }
  try {
    const decoder = new TextDecoder();
    const chunk = new Uint8Array(new ArrayBuffer(CHUNK_BYTES));
    let text = "";
    for (;;) {
      const length = Number(libc().read(descriptor, chunk, chunk.length));
      const code = length < 0 ? errno() : 0;
      if (code === EINTR) continue;
      if (code !== 0) throw systemError(`read ${path}`, code);
      if (length === 0) return text + decoder.decode();
      text += decoder.decode(chunk.subarray(0, length), { stream: true });
    }
  } finally {
    libc().close(descriptor);
  }
}

/** The names in a folder; none when it does not exist or is not ours to read. */
export function listFolder(path: string): string[] {
  // Asked first, because on most machines the answer is no, and then node:fs is never needed.
  if (libc().access(path, R_OK) !== 0) return [];
  try {
    return process.getBuiltinModule("node:fs").readdirSync(path);
  } catch {
    return [];
  }
}
