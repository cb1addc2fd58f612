/**
 * What the program needs from the operating system at its start, through libc: node:fs, node:os and node:tty take as
 * long to load as the rest of the program (test/bench/start.ts).
 */

import { CString, type Pointer } from "bun:ffi";

import { clock, control, errno, libc, status } from "../../ffi/libc.ts";
import { SystemError } from "../base/errors.ts";
import { printable } from "../base/visible.ts";
import type { Machine } from "../base/wall-clock.ts";
import {
  AT_EMPTY_PATH,
  CAP_LAST_CAP,
  EACCES,
  EAGAIN,
  EINTR,
  ENODEV,
  ENOENT,
  ENOTDIR,
  EPIPE,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_CREAT,
  O_NOFOLLOW,
  O_RDWR,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_IS_SET,
  PR_CAP_AMBIENT_RAISE,
  PR_SET_DUMPABLE,
  S_IFMT,
  S_IFREG,
  STA_UNSYNC,
  STATX_BASIC_STATS,
  SYS_statx,
} from "./constants.ts";
import { errnoName, systemError } from "./errno.ts";

const STDOUT = 1;
const STDERR = 2;
/** limits.h: a pipe that is ready for writing accepts this many bytes in one atomic write. */
const PIPE_BUF = 4096;
/** poll.h */
const POLLOUT = 4;
/** HOST_NAME_MAX and its NUL, limits.h. */
const HOST_NAME_BYTES = 65;
/** struct timex, sys/timex.h */
const TIMEX_BYTES = 208;
const TIMEX_STATUS = 40;
/** struct statx, linux/stat.h: its size and the offsets of user and mode. */
const [STATX_BYTES, STATX_USER, STATX_MODE] = [256, 20, 28];
/** The kernel's limit of symbolic links, path_resolution(7). */
const LINKS_MAX = 40;
const CHUNK_BYTES = 65_536;
/** Offset of the name in a struct dirent; dirent.h, the same on all 64-bit machines. */
const DIRENT_NAME = 19;
/** linux/time.h */
const CLOCK_THREAD_CPUTIME_ID = 3;
const CLOCK_BOOTTIME = 7;
/** struct timespec: seconds and nanoseconds. */
const timespec = new BigInt64Array(new ArrayBuffer(16));

/**
 * Processor time of this thread, in milliseconds with microsecond resolution. On a busy machine elapsed time differs
 * from it. process.threadCpuUsage() follows the scheduler's tick and misses most shorter intervals.
 */
export function threadCpuMs(): number {
  return clockMs(CLOCK_THREAD_CPUTIME_ID);
}

function clockMs(id: number): number {
  clock().clock_gettime(id, timespec);
  return Number(timespec[0]) * 1000 + Number(timespec[1]) / 1e6;
}

export function thisMachine(): Machine {
  return {
    bootId: bootId(),
    bootMs: () => clockMs(CLOCK_BOOTTIME),
    // null where the unit has ProtectClock=. Then times before the step stay, unless they are in 1970.
    isSynchronised: () => isClockSynchronised() !== false,
  };
}

export function isTerminal(descriptor: number): boolean {
  return libc().isatty(descriptor) === 1;
}

/** Returns the machine's name, gethostname(2); empty if it has none. */
export function hostname(): string {
  const name = new Uint8Array(new ArrayBuffer(HOST_NAME_BYTES));
  libc().gethostname(name, name.length);
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

/** Whether the clock is synchronised, adjtimex(2); null if the kernel does not say. */
export function isClockSynchronised(): boolean | null {
  // `modes`, the first field, is 0, so the call sets nothing.
  const state = new DataView(new ArrayBuffer(TIMEX_BYTES));
  if (libc().adjtimex(new Uint8Array(state.buffer)) < 0) return null;
  return (state.getInt32(TIMEX_STATUS, true) & STA_UNSYNC) === 0;
}

/**
 * Returns the index of the network interface with this name; 0 if it does not exist in this namespace.
 *
 * @throws SystemError when the lookup fails, for example without a free descriptor.
 */
export function interfaceIndex(name: string): number {
  const index = libc().if_nametoindex(name);
  const code = index === 0 ? errno() : 0;
  if (code !== 0 && code !== ENODEV) throw systemError(`find interface ${name}`, code);
  return index;
}

/**
 * Writes to standard error, with one write(2) for up to 4 KiB. Never blocks for longer than `waitMs` per write, even if
 * a pipe is full and its reader has stopped.
 *
 * @param waitMs how long to wait for room.
 * @returns the number of bytes written.
 * @throws SystemError when nothing was written: EAGAIN for a full pipe, EPIPE for one without a reader.
 */
export function writeToStderr(bytes: Uint8Array, waitMs: number): number {
  return write(STDERR, bytes, waitMs);
}

/** Does the same for standard output. A `waitMs` of -1 waits without limit. */
export function writeToStdout(bytes: Uint8Array, waitMs: number): number {
  return write(STDOUT, bytes, waitMs);
}

/**
 * Writes the whole text to standard output. A closed reader is not an error. Control characters from other sources are
 * escaped (visible.ts).
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

/** Whether standard output still has a reader. */
export function isStdoutOpen(): boolean {
  const poll = Int32Array.of(STDOUT, 0);
  // poll(2) always reports a pipe or terminal whose other end is closed, even if no events are requested.
  return libc().poll(poll, 1, 0) <= 0;
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
      const taken = Number(libc().write(descriptor, part, part.length));
      if (taken < 0) code = errno();
      else written += taken;
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
  return readOpened(path, () => null)?.text ?? null;
}

/**
 * Reads a text file and its mode. The mode is that of the open descriptor, because the path may lead to another file by
 * then.
 *
 * @throws SystemError when it exists and cannot be read.
 */
export function readFileAndMode(path: string): TextFile | null {
  return readOpened(path, modeOf);
}

function modeOf(descriptor: number): FileMode | null {
  const facts = new DataView(new ArrayBuffer(STATX_BYTES));
  const bytes = new Uint8Array(facts.buffer);
  const { syscall } = status();
  if (Number(syscall(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS, bytes)) < 0) {
    return null;
  }
  const user = facts.getUint32(STATX_USER, true);
  const mode = facts.getUint16(STATX_MODE, true);
  return {
    bits: mode & 0o7777,
    isRegular: (mode & S_IFMT) === S_IFREG,
    isOwnedByUsOrRoot: user === 0 || user === process.geteuid!(),
  };
}

function readOpened(
  path: string,
  modeOf: (descriptor: number) => FileMode | null,
): TextFile | null {
  const descriptor = libc().open(path, O_CLOEXEC, 0);
  if (descriptor < 0) {
    const code = errno();
    if (code === ENOENT) return null;
    throw systemError(`read ${path}`, code);
  }
  try {
    const mode = modeOf(descriptor);
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

/** Returns the name of a process's program, proc_pid_comm(5); null if there is no such process. */
export function programOf(pid: number | string): string | null {
  return readTextFile(`/proc/${pid}/comm`)?.trim() ?? null;
}

/**
 * Returns how many files a process may have open: its soft RLIMIT_NOFILE, proc_pid_limits(5); null if there is no limit
 * or it is unknown.
 *
 * @param pid a process id, or `self`.
 */
export function openFilesLimit(pid: number | string): number | null {
  const limits = readTextFile(`/proc/${pid}/limits`) ?? "";
  const files = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return files === undefined ? null : Number(files);
}

/** Explains why this process may not connect to a Unix socket, unix(7): connecting needs write permission. */
export function whyNoAccess(path: string): string {
  const { statSync } = require("node:fs") as typeof import("node:fs");
  const own = process.geteuid!();
  // If stat fails, the socket is in a folder that this process may not search.
  for (let place = path; place !== ""; place = place.slice(0, place.lastIndexOf("/"))) {
    try {
      const { mode, uid, gid } = statSync(place);
      const bits = (mode & 0o7777).toString(8).padStart(3, "0");
      return `${place} belongs to user ${uid} and group ${gid}, mode ${bits}, and wgmon runs as user ${own}; run wgmon as root. Do not change the socket: wireguard-go ends, with its tunnels, when its owner or mode changes`;
    } catch {
      // Continue with the parent folder.
    }
  }
  return `permission denied for user ${own}`;
}

/**
 * Identifies the current boot, random(4); null if it cannot be read, for example if /proc is mounted with subset=pid.
 */
function bootId(): string | null {
  try {
    return readTextFile("/proc/sys/kernel/random/boot_id")?.trim() || null;
  } catch {
    return null;
  }
}

/**
 * Returns the first folder on the path of a file that users other than root and ours can change, so that they could
 * replace the file; null if there is no such folder. Follows symbolic links and checks the paths to their targets. In a
 * folder with the sticky bit, such as /tmp, users cannot replace files of others.
 *
 * @param path absolute.
 * @throws SystemError
 */
export function folderOpenToOthers(path: string): string | null {
  // Loaded on demand, because few callers need it.
  const { lstatSync, readlinkSync } = require("node:fs") as typeof import("node:fs");
  const ours = [0, process.geteuid!()];
  const names = path.split("/");
  let folder = "";
  try {
    for (let links = 0; names.length > 0;) {
      const name = names.shift()!;
      if (name === "" || name === ".") continue;
      if (name === "..") {
        folder = folder.slice(0, folder.lastIndexOf("/"));
        continue;
      }
      const { mode, uid } = lstatSync(folder || "/");
      const isSticky = (mode & 0o1000) !== 0;
      if (!ours.includes(uid) || ((mode & 0o022) !== 0 && !isSticky)) return folder || "/";
      const next = lstatSync(`${folder}/${name}`);
      if (isSticky && !ours.includes(next.uid)) return folder || "/";
      if (!next.isSymbolicLink()) {
        folder += `/${name}`;
        continue;
      }
      if (++links > LINKS_MAX) throw new SystemError(`resolve ${path}`, "ELOOP");
      const target = readlinkSync(`${folder}/${name}`);
      if (target.startsWith("/")) folder = "";
      names.unshift(...target.split("/"));
    }
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (error instanceof SystemError || typeof code !== "string") throw error;
    throw new SystemError(`resolve ${path}`, code);
  }
}

/**
 * Prevents other processes of the same user, such as the program of an exec target, from reading wgmon's memory, which
 * contains tokens, and the kernel from writing it to a core file, core(5). PR_SET_DUMPABLE, prctl(2). root may still
 * trace the process.
 */
export function protectMemory(): void {
  control().prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n);
}

/**
 * Calls `start`, which starts a program, without ambient capabilities, which the program would inherit,
 * capabilities(7). Ambient capabilities belong to a thread, and Bun starts a program from the calling thread. The
 * inheritable set stays: it gives a program nothing unless its file has inheritable capabilities, and the unit forbids
 * capset(2).
 */
export function withoutAmbientCapabilities<Result>(start: () => Result): Result {
  const ambient = (operation: number, capability = 0) =>
    control().prctl(PR_CAP_AMBIENT, BigInt(operation), BigInt(capability), 0n, 0n);
  const had: number[] = [];
  for (let capability = 0; capability <= CAP_LAST_CAP; capability++) {
    if (ambient(PR_CAP_AMBIENT_IS_SET, capability) === 1) had.push(capability);
  }
  if (had.length === 0) return start();
  ambient(PR_CAP_AMBIENT_CLEAR_ALL);
  try {
    return start();
  } finally {
    // nft, which wgmon also starts, needs them.
    for (const capability of had) ambient(PR_CAP_AMBIENT_RAISE, capability);
  }
}

/** The result of reading a file; `stamp` changes whenever the file does. */
export type FileReading<Value> =
  | { readonly type: "missing" | "folder" | "no file" | "unchanged" }
  | { readonly type: "read"; readonly stamp: string; readonly value: Value };

/**
 * Passes the bytes of a file that contains secrets to `use` and wipes them when it returns.
 *
 * @param seen the stamp of the last reading: a file that still has it is not read; null: always read.
 * @throws SystemError EFBIG: it is larger than `maxBytes`.
 */
export function readSecretFile<Value>(
  path: string,
  { seen, maxBytes }: { readonly seen: string | null; readonly maxBytes: number },
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
    if (!stat.isFile()) return { type: stat.isDirectory() ? "folder" : "no file" };
    const { dev, ino, size, mtimeNs, ctimeNs } = stat;
    const stamp = [dev, ino, size, mtimeNs, ctimeNs].join(":");
    if (stamp === seen) return { type: "unchanged" };
    if (size > maxBytes) throw new SystemError(`read ${path}`, "EFBIG", "it is too large");
    const bytes = new Uint8Array(Number(size));
    try {
      let length = 0;
      for (let taken = -1; taken !== 0 && length < bytes.length; length += taken) {
        taken = readSync(descriptor, bytes, length, bytes.length - length, null);
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
 *   link, which in a folder of another user could lead anywhere.
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
 * Returns the names in a folder; none if it does not exist or may not be read.
 *
 * @throws SystemError when it cannot be opened for another reason, for example without a free descriptor.
 */
export function listFolder(path: string): string[] {
  const folder = libc().opendir(path) as Pointer | null;
  if (folder === null) {
    const code = errno();
    if (code === ENOENT || code === ENOTDIR || code === EACCES) return [];
    throw systemError(`list ${path}`, code);
  }
  const names: string[] = [];
  for (;;) {
    const entry = libc().readdir(folder) as Pointer | null;
    if (entry === null) break;
    names.push(String(new CString(entry, DIRENT_NAME)));
  }
  libc().closedir(folder);
  return names;
}
