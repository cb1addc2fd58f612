/**
 * Reads, lists and locks files. What is needed at start uses libc, because loading node:fs, node:os and node:tty takes
 * as long as loading the rest of the program (test/bench/start.ts).
 */

import { errno, libc, status } from "../../ffi/libc.ts";
import { SystemError } from "../base/errors.ts";
import {
  AT_EMPTY_PATH,
  EACCES,
  EINTR,
  ENOENT,
  ENOTDIR,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDWR,
  S_IFMT,
  S_IFREG,
  STATX_BASIC_STATS,
  SYS_getdents64,
  SYS_statx,
} from "./constants.ts";
import { systemError } from "./errno.ts";

/** struct statx, linux/stat.h: its size and the offsets of user and mode. */
const [STATX_BYTES, STATX_USER, STATX_MODE] = [256, 20, 28];
const CHUNK_BYTES = 65_536;
/** For the entries of about a hundred files. */
const FOLDER_BYTES = 4096;
/** struct linux_dirent64, getdents(2): the offsets of the length of the entry and of the name. */
const [DIRENT_LENGTH, DIRENT_NAME] = [16, 19];

/** Permissions and owner of a file. */
export interface FileMode {
  /** `0o644` */
  readonly bits: number;
  /** Whether it belongs to root or to wgmon's own user. */
  readonly isOwnedByUsOrRoot: boolean;
  /** false for a pipe or a device such as /dev/null. */
  readonly isRegular: boolean;
}

/** A text and the mode of its file; `mode` is null if the kernel does not report it. */
export interface TextFile {
  readonly text: string;
  readonly mode: FileMode | null;
}

/**
 * Reads a text file; returns null if it does not exist.
 *
 * @throws SystemError when it exists and cannot be read.
 */
export function readTextFile(path: string): string | null {
  return openAndRead(path, () => null)?.text ?? null;
}

/**
 * Reads a text file and its mode. The mode is read from the open descriptor, because the path may name another file in
 * the meantime.
 *
 * @throws SystemError when it exists and cannot be read.
 */
export function readFileAndMode(path: string): TextFile | null {
  return openAndRead(path, modeOf);
}

function modeOf(descriptor: number): FileMode | null {
  const statx = new DataView(new ArrayBuffer(STATX_BYTES));
  const bytes = new Uint8Array(statx.buffer);
  const { syscall } = status();
  if (Number(syscall(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS, bytes)) < 0) {
    return null;
  }
  const user = statx.getUint32(STATX_USER, true);
  const mode = statx.getUint16(STATX_MODE, true);
  return {
    bits: mode & 0o7777,
    isRegular: (mode & S_IFMT) === S_IFREG,
    isOwnedByUsOrRoot: user === 0 || user === process.geteuid!(),
  };
}

function openAndRead(
  path: string,
  readMode: (descriptor: number) => FileMode | null,
): TextFile | null {
  const descriptor = libc().open(path, O_CLOEXEC, 0);
  if (descriptor < 0) {
    const code = errno();
    if (code === ENOENT) return null;
    throw systemError(`read ${path}`, code);
  }
  try {
    const mode = readMode(descriptor);
    const decoder = new TextDecoder();
    const chunk = new Uint8Array(new ArrayBuffer(CHUNK_BYTES));
    let text = "";
    for (;;) {
      const length = Number(libc().read(descriptor, chunk, chunk.length));
      const code = length < 0 ? errno() : 0;
      if (code === EINTR) continue;
      if (code !== 0) throw systemError(`read ${path}`, code);
      if (length === 0) return { text: text + decoder.decode(), mode };
      text += decoder.decode(chunk.subarray(0, length), { stream: true });
    }
  } finally {
    libc().close(descriptor);
  }
}

/**
 * The result of reading a file. `stamp` identifies the content: it changes whenever the file changes. "not regular": a
 * pipe, a device, ...
 */
export type FileReading<Value> =
  | { readonly type: "missing" | "folder" | "not regular" | "unchanged" }
  | { readonly type: "read"; readonly stamp: string; readonly value: Value };

/**
 * Passes the bytes of a file that contains secrets to `use`, and zeroes them afterwards.
 *
 * @param lastStamp the stamp of the previous reading: a file that still has it is not read again; null: always read.
 * @throws SystemError EFBIG if the file is larger than `maxBytes`, another code if it cannot be read.
 */
export function readSecretFile<Value>(
  path: string,
  { lastStamp, maxBytes }: { readonly lastStamp: string | null; readonly maxBytes: number },
  use: (bytes: Uint8Array) => Value,
): FileReading<Value> {
  // Loaded on demand, because it is not needed before wgmon is ready.
  const { closeSync, constants, fstatSync, openSync, readSync } =
    require("node:fs") as typeof import("node:fs");
  let descriptor: number | null = null;
  try {
    // O_NONBLOCK: opening a pipe must not wait for a writer.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const stat = fstatSync(descriptor, { bigint: true });
    if (!stat.isFile()) return { type: stat.isDirectory() ? "folder" : "not regular" };
    const { dev, ino, size, mtimeNs, ctimeNs } = stat;
    const stamp = [dev, ino, size, mtimeNs, ctimeNs].join(":");
    if (stamp === lastStamp) return { type: "unchanged" };
    if (size > maxBytes) throw new SystemError(`read ${path}`, "EFBIG", "it is too large");
    const bytes = new Uint8Array(Number(size));
    try {
      let length = 0;
      for (let count = -1; count !== 0 && length < bytes.length; length += count) {
        count = readSync(descriptor, bytes, length, bytes.length - length, null);
      }
      return { type: "read", stamp, value: use(bytes.subarray(0, length)) };
    } finally {
      bytes.fill(0);
    }
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (error instanceof SystemError || typeof code !== "string") throw error;
    if (code === "ENOENT" || code === "ENOTDIR") return { type: "missing" };
    throw new SystemError(`read ${path}`, code);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

/**
 * Creates the file if it does not exist and locks it, flock(2), until the process ends.
 *
 * @throws SystemError EAGAIN: another process has it locked; ENOENT: the folder does not exist; ELOOP: it is a symbolic
 *   link, which another user may have created to point to any file.
 */
export function lockFile(path: string): void {
  const descriptor = libc().open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600);
  if (descriptor < 0) throw systemError(`open ${path}`, errno());
  const code = libc().flock(descriptor, LOCK_EX | LOCK_NB) === 0 ? 0 : errno();
  if (code === 0) return;
  libc().close(descriptor);
  throw systemError(`lock ${path}`, code);
}

/**
 * Returns the names in a folder; none if it does not exist, or, unless `isRequired`, may not be read.
 *
 * @throws SystemError when it cannot be listed for another reason, for example without a free descriptor. Then no name
 *   is returned, because the caller would take the other files for removed.
 */
export function listFolder(path: string, { isRequired = false } = {}): string[] {
  const descriptor = libc().open(path, O_DIRECTORY | O_CLOEXEC, 0);
  if (descriptor < 0) {
    const code = errno();
    if (code === ENOENT || code === ENOTDIR || (code === EACCES && !isRequired)) return [];
    throw systemError(`list ${path}`, code);
  }
  try {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const entries = new Uint8Array(new ArrayBuffer(FOLDER_BYTES));
    const view = new DataView(entries.buffer);
    const names: string[] = [];
    for (;;) {
      const length = Number(libc().syscall(SYS_getdents64, descriptor, entries, entries.length));
      if (length < 0) throw systemError(`list ${path}`, errno());
      if (length === 0) return names;
      for (let at = 0; at < length; at += view.getUint16(at + DIRENT_LENGTH, true)) {
        const start = at + DIRENT_NAME;
        names.push(decoder.decode(entries.subarray(start, entries.indexOf(0, start))));
      }
    }
  } finally {
    libc().close(descriptor);
  }
}
