/**
 * Prevents two wgmon daemons from sharing a state directory or a Unix socket: with one state directory, each event
 * would be sent twice. The kernel releases the locks, flock(2), when the process ends for any reason.
 */

import { AlreadyRunning, SystemError } from "../base/errors.ts";
import { lockFile, readTextFile } from "./files.ts";
import { programOf } from "./process.ts";
import { socketPath } from "./socket-path.ts";

/**
 * The result for each lock. null: this process holds the lock until it ends; otherwise why the lock file cannot be
 * used.
 */
export interface InstanceLocks {
  readonly stateDir: SystemError | null;
  readonly socket: SystemError | null;
}

/**
 * Creates the state directory and the socket's folder if they do not exist, and locks both.
 *
 * @throws AlreadyRunning when another process holds one of the locks.
 */
export function lockInstance(stateDir: string, runtimeDir: string): InstanceLocks {
  const socket = socketPath(runtimeDir);
  return {
    stateDir: acquire(stateDir, {
      lock: lockOf(stateDir),
      mode: 0o700,
      advice: "start this one with another --state-dir",
    }),
    socket: acquire(socket, {
      lock: lockOfSocket(socket),
      mode: 0o755,
      advice: "start this one with another --state-dir and another folder in RUNTIME_DIRECTORY",
    }),
  };
}

/** The lock file of a state directory. */
export function lockOf(stateDir: string): string {
  return `${stateDir}/wgmon.lock`;
}

/** The lock file of a Unix socket. */
export function lockOfSocket(socket: string): string {
  return `${socket}.lock`;
}

interface LockRequest {
  /** The lock file. */
  readonly lock: string;
  /** Mode of the lock's folder, if it must be created. */
  readonly mode: number;
  /** What the error message suggests if another process holds the lock. */
  readonly advice: string;
}

/** @param name what the lock protects, for the error message. */
function acquire(name: string, { lock, mode, advice }: LockRequest): SystemError | null {
  try {
    lockInFolder(lock, mode);
    return null;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (error.code !== "EAGAIN") return error;
    const owner = lockOwner(lock);
    const [user, command] =
      owner === null
        ? ["another wgmon", `fuser -v ${lock} finds it`]
        : [owner.text, `systemctl stop wgmon, or kill ${owner.pid}`];
    throw new AlreadyRunning(
      `already running: ${user} uses ${name}. Stop it (${command}), or ${advice}`,
    );
  }
}

function lockInFolder(lock: string, mode: number): void {
  try {
    lockFile(lock);
  } catch (error) {
    if (!(error instanceof SystemError && error.code === "ENOENT")) throw error;
    // Loaded on demand: only the first start needs these modules, and loading them takes as long as the rest of the
    // start.
    const { mkdirSync } = require("node:fs") as typeof import("node:fs");
    const { dirname } = require("node:path") as typeof import("node:path");
    try {
      mkdirSync(dirname(lock), { recursive: true, mode });
    } catch (failure) {
      const { code = "EIO" } = failure as { code?: string };
      throw new SystemError(`create ${dirname(lock)}`, code);
    }
    lockFile(lock);
  }
}

export interface LockOwner {
  readonly pid: number;
  /** For messages: `process 412 (wgmon)`. */
  readonly text: string;
}

/**
 * The process that holds a lock on this file; null if no process does or if it cannot be determined, for example
 * because it is in another PID namespace.
 */
export function lockOwner(lock: string): LockOwner | null {
  const { statSync } = require("node:fs") as typeof import("node:fs");
  const stat = statSync(lock, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : findOwner(stat, readTextFile("/proc/locks") ?? "", programOf);
}

/**
 * Finds the process that has a flock(2) lock on the file, in the text of /proc/locks, proc_locks(5).
 *
 * @param programOf returns the name of a process; null: unknown.
 */
export function findOwner(
  file: { readonly dev: bigint; readonly ino: bigint },
  locks: string,
  programOf: (pid: number) => string | null,
): LockOwner | null {
  const owners = [...locks.matchAll(/^\d+: FLOCK .* WRITE (\d+) (\S+):(\d+) /gm)]
    .map(([, pid, device, inode]) => ({ pid: Number(pid), device, inode: BigInt(inode!) }))
    // pid 0: the process is in another PID namespace, such as that of another container.
    .filter(({ pid, inode }) => pid !== 0 && inode === file.ino)
    .map(({ pid, device }) => ({ pid, device, program: programOf(pid) }));
  const device = deviceName(file.dev);
  // On btrfs, stat(2) and /proc/locks report different devices, and inode numbers repeat across file systems.
  const owner =
    owners.find((each) => each.device === device) ??
    owners.find(({ program }) => program === "wgmon");
  if (owner === undefined) return null;
  const { pid, program } = owner;
  return { pid, text: `process ${pid}${program === null ? "" : ` (${program})`}` };
}

/**
 * Formats a device as in /proc/locks: major and minor number of st_dev (makedev(3)), at least two hexadecimal digits
 * each.
 */
function deviceName(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return [major, minor].map((part) => part.toString(16).padStart(2, "0")).join(":");
}
