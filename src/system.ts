/**
 * What the program asks of the operating system at its start, by libc: node:fs, node:os and node:tty
 * take as long to load as all the rest of it (test/bench/start.ts).
 */

import { CString, type Pointer } from "bun:ffi";

import { clock, control, errno, libc, status } from "../ffi/libc.ts";
import { SystemError } from "./errors.ts";
import { errnoName, systemError } from "./kernel/errno.ts";
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
} from "./kernel/uapi.ts";
import { printable } from "./visible.ts";
import type { Machine } from "./wallclock.ts";

const STDOUT = 1;
const STDERR = 2;
/** limits.h: a pipe that has room at all takes this much, whole and at once. */
const PIPE_BUF = 4096;
/** poll.h */
const POLLOUT = 4;
/** HOST_NAME_MAX and its NUL, limits.h. */
const HOST_NAME_BYTES = 65;
/** struct timex, sys/timex.h */
const TIMEX_BYTES = 208;
const TIMEX_STATUS = 40;
/** struct statx, linux/stat.h: its size, and where user and mode are in it. */
const [STATX_BYTES, STATX_USER, STATX_MODE] = [256, 20, 28];
/** As many as the kernel follows: path_resolution(7). */
const LINKS_MAX = 40;
const CHUNK_BYTES = 65_536;
/** Where the name begins in a struct dirent; dirent.h, the same on all 64-bit machines. */
const DIRENT_NAME = 19;
/** linux/time.h */
const CLOCK_THREAD_CPUTIME_ID = 3;
const CLOCK_BOOTTIME = 7;
/** struct timespec: seconds and nanoseconds. */
const timespec = new BigInt64Array(new ArrayBuffer(16));

/**
 * What this thread has used of a processor, to the microsecond; on a busy machine the clock tells
 * something else. process.threadCpuUsage() goes by the scheduler's tick, and misses most of what is shorter.
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
    // Unknown where the unit has ProtectClock=: then what is over keeps its times, unless they are of 1970.
    isSynchronised: () => isClockSynchronised() !== false,
  };
}

export function isTerminal(descriptor: number): boolean {
  return libc().isatty(descriptor) === 1;
}

/** The machine's name, gethostname(2); empty when it has none. */
export function hostname(): string {
  const name = new Uint8Array(new ArrayBuffer(HOST_NAME_BYTES));
  libc().gethostname(name, name.length);
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

/** Whether something keeps the clock right, adjtimex(2); null: the kernel does not tell. */
export function isClockSynchronised(): boolean | null {
  // `modes`, its beginning, is 0: nothing is set.
  const state = new DataView(new ArrayBuffer(TIMEX_BYTES));
  if (libc().adjtimex(new Uint8Array(state.buffer)) < 0) return null;
  return (state.getInt32(TIMEX_STATUS, true) & STA_UNSYNC) === 0;
}

/**
 * The number of the network interface with this name; 0: there is none in this namespace.
 *
 * @throws SystemError when nobody can tell: it takes a descriptor to ask.
 */
export function interfaceIndex(name: string): number {
  const index = libc().if_nametoindex(name);
  const code = index === 0 ? errno() : 0;
  if (code !== 0 && code !== ENODEV) throw systemError(`find interface ${name}`, code);
  return index;
}

/**
 * Writes to standard error, in one write(2) if it is no more than 4 KiB. Never stuck: a pipe may be
 * full, and whoever reads it have stopped.
 *
 * @param waitMs how long it may take until there is room.
 * @returns how many bytes were taken.
 * @throws SystemError when it takes none: EAGAIN of a full pipe, EPIPE of one that nobody reads.
 */
export function writeToStderr(bytes: Uint8Array, waitMs: number): number {
  return write(STDERR, bytes, waitMs);
}

/** The same to standard output. `waitMs` of -1: as long as it takes. */
export function writeToStdout(bytes: Uint8Array, waitMs: number): number {
  return write(STDOUT, bytes, waitMs);
}

/**
 * Writes all of the text to standard output; that its reader has seen enough is no failure. What others
 * put into the text does nothing to a terminal: visible.ts.
 *
 * @returns whether somebody still reads.
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

/** Whether somebody still reads standard output. */
export function hasReader(): boolean {
  const poll = Int32Array.of(STDOUT, 0);
  // Of a pipe or terminal whose other end is closed, poll(2) says so unasked.
  return libc().poll(poll, 1, 0) <= 0;
}

function write(descriptor: number, bytes: Uint8Array, waitMs: number): number {
  // struct pollfd: the descriptor, 16 bits of what is asked, 16 of the answer.
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

/** Who may write and read a file. */
export interface FileMode {
  /** `0o644` */
  readonly bits: number;
  /** Whether it belongs to root or to the user that we run as. */
  readonly isOurs: boolean;
  /** false: it is a pipe, or a device such as /dev/null. */
  readonly isRegular: boolean;
}

/** A text, and the mode of the file that it was read from; null: the kernel does not tell. */
export interface TextFile {
  readonly text: string;
  readonly mode: FileMode | null;
}

/**
 * A text file as a whole; null when it does not exist.
 *
 * @throws SystemError when it exists and cannot be read.
 */
export function readTextFile(path: string): string | null {
  return readOpened(path, () => null)?.text ?? null;
}

/**
 * The same with its mode, asked of the descriptor that is read: at the path another file may be by then.
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
    isOurs: user === 0 || user === process.geteuid!(),
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

/** The name of a process's program, proc_pid_comm(5); null if there is no such process. */
export function programOf(pid: number | string): string | null {
  return readTextFile(`/proc/${pid}/comm`)?.trim() ?? null;
}

/**
 * How many files a process may have open: its soft RLIMIT_NOFILE, proc_pid_limits(5); null: no limit, or
 * unknown.
 *
 * @param pid a process id, or `self`.
 */
export function openFilesLimit(pid: number | string): number | null {
  const limits = readTextFile(`/proc/${pid}/limits`) ?? "";
  const files = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return files === undefined ? null : Number(files);
}

/** Who may use a Unix socket that this process may not connect to, unix(7): it takes permission to write to it. */
export function whyNoAccess(path: string): string {
  const { statSync } = require("node:fs") as typeof import("node:fs");
  const own = process.geteuid!();
  // What may not even be examined is in a folder that is closed to us.
  for (let place = path; place !== ""; place = place.slice(0, place.lastIndexOf("/"))) {
    try {
      const { mode, uid, gid } = statSync(place);
      const bits = (mode & 0o7777).toString(8).padStart(3, "0");
      return `${place} belongs to user ${uid} and group ${gid}, mode ${bits}, and wgmon runs as user ${own}; run wgmon as root. Do not change the socket: wireguard-go ends, with its tunnels, when its owner or mode changes`;
    } catch {
      // One folder up.
    }
  }
  return `permission denied for user ${own}`;
}

/**
 * Identifies the time since the kernel was started, random(4); null where it cannot be read, as in a /proc that
 * is mounted with subset=pid.
 */
function bootId(): string | null {
  try {
    return readTextFile("/proc/sys/kernel/random/boot_id")?.trim() || null;
  } catch {
    return null;
  }
}

/**
 * The first folder on the way to a file that users other than root and ours can change, so that they could
 * put another file in its place; null: there is none. Links on the way are followed, and so are the ways to
 * them. In a folder with the sticky bit, such as /tmp, others cannot replace what is not theirs.
 *
 * @param path absolute.
 * @throws SystemError
 */
export function folderOpenToOthers(path: string): string | null {
  // Few need it, so only they pay for loading it.
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
      if (++links > LINKS_MAX) throw new SystemError(`look at ${path}`, "ELOOP");
      const target = readlinkSync(`${folder}/${name}`);
      if (target.startsWith("/")) folder = "";
      names.unshift(...target.split("/"));
    }
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (error instanceof SystemError || typeof code !== "string") throw error;
    throw new SystemError(`look at ${path}`, code);
  }
}

/**
 * Keeps other processes of the same user, such as a program of an exec target, from reading our memory,
 * where tokens are, and the kernel from writing it to a file, core(5). PR_SET_DUMPABLE, prctl(2). root may
 * still trace us.
 */
export function protectMemory(): void {
  control().prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n);
}

/**
 * Runs `start`, in which a program is started, without ambient capabilities, which the program would
 * inherit: capabilities(7). They belong to a thread, and Bun starts programs from the one that asks for it.
 * The inheritable set stays: it gives a program nothing unless its file has inheritable capabilities, and
 * the unit forbids capset(2).
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
    // nft, which wgmon starts too, needs them.
    for (const capability of had) ambient(PR_CAP_AMBIENT_RAISE, capability);
  }
}

/** What a file turned out to be; `stamp` changes whenever the file does. */
export type FileReading<Value> =
  | { readonly type: "missing" | "folder" | "no file" | "unchanged" }
  | { readonly type: "read"; readonly stamp: string; readonly value: Value };

/**
 * Lets `use` see the bytes of a file that has secrets in it; they are wiped when it returns.
 *
 * @param seen the stamp of the last reading: a file that still has it is not read; null: none.
 * @throws SystemError EFBIG: it is larger than `maxBytes`.
 */
export function readSecretFile<Value>(
  path: string,
  { seen, maxBytes }: { readonly seen: string | null; readonly maxBytes: number },
  use: (bytes: Uint8Array) => Value,
): FileReading<Value> {
  // Nobody needs it before wgmon is ready.
  const { closeSync, constants, fstatSync, openSync, readSync } =
    require("node:fs") as typeof import("node:fs");
  let descriptor: number | null = null;
  try {
    // A pipe must not keep us waiting for somebody who writes to it.
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
 * Makes the file if need be and locks it, flock(2), until the process ends.
 *
 * @throws SystemError EAGAIN: another process has it locked; ENOENT: there is no such folder; ELOOP: it
 *   is a symbolic link, which in a folder of another user could lead anywhere.
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
 * The names in a folder; none when it does not exist or is not ours to read.
 *
 * @throws SystemError when nobody can tell: it takes a descriptor to look.
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
