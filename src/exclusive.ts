/**
 * Keeps a second wgmon from starting beside a running one: two with one state directory would send each
 * event twice, and one Unix socket has room for one. The locks are flock(2) locks, which the kernel
 * releases when the process ends, however it ends.
 */

import { SystemError } from "./errors.ts";
import { socketIn } from "./http/place.ts";
import { lockFile, readTextFile } from "./system.ts";

/** Why each of the two cannot be used; null: it can, and no other wgmon does until this process ends. */
export interface Claims {
  readonly stateDir: SystemError | null;
  readonly socket: SystemError | null;
}

/**
 * Makes the state directory and the socket's folder if need be, and locks both.
 *
 * @throws SystemError when another process has one of them.
 */
export function claim(stateDir: string, runtimeDir: string): Claims {
  const socket = socketIn(runtimeDir);
  return {
    stateDir: take(stateDir, {
      lock: lockOf(stateDir),
      mode: 0o700,
      advice: "give this one another --state-dir",
    }),
    socket: take(socket, {
      lock: `${socket}.lock`,
      mode: 0o755,
      advice: "give this one another --state-dir, and another folder in RUNTIME_DIRECTORY",
    }),
  };
}

/** The file that the user of a state directory has locked. */
export function lockOf(stateDir: string): string {
  return `${stateDir}/wgmon.lock`;
}

interface Taking {
  readonly lock: string;
  /** Of the folder that the lock is in, where it must be made. */
  readonly mode: number;
  readonly advice: string;
}

function take(name: string, { lock, mode, advice }: Taking): SystemError | null {
  try {
    lockInFolder(lock, mode);
    return null;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (error.code !== "EAGAIN") return error;
    const owner = ownerOf(lock);
    const [who, stop] =
      owner === null
        ? ["another wgmon", `stop it first (fuser -v ${lock} finds it)`]
        : [owner.text, `stop it first (systemctl stop wgmon, or kill ${owner.pid})`];
    throw new SystemError("start", "already running", `${who} uses ${name}; ${stop}, or ${advice}`);
  }
}

function lockInFolder(lock: string, mode: number): void {
  try {
    lockFile(lock);
  } catch (error) {
    if (!(error instanceof SystemError && error.code === "ENOENT")) throw error;
    // Only the first start needs these, which take as long to load as all the rest of a start.
    const { mkdirSync } = require("node:fs") as typeof import("node:fs");
    const { dirname } = require("node:path") as typeof import("node:path");
    try {
      mkdirSync(dirname(lock), { recursive: true, mode });
    } catch (failure) {
      const { code = "EIO" } = failure as { code?: string };
      throw new SystemError(`make ${dirname(lock)}`, code);
    }
    lockFile(lock);
  }
}

/** The process that has this file locked, by /proc/locks; null: none, or none that can be seen from here. */
export function ownerOf(lock: string): { readonly pid: number; readonly text: string } | null {
  const { statSync } = require("node:fs") as typeof import("node:fs");
  const inode = statSync(lock, { throwIfNoEntry: false })?.ino;
  if (inode === undefined) return null;
  const locks = readTextFile("/proc/locks") ?? "";
  const line = new RegExp(`^\\d+: FLOCK .* WRITE (\\d+) \\S+:${inode} `, "m").exec(locks);
  const pid = Number(line?.[1] ?? 0);
  // 0: it is in another PID namespace, such as that of another container.
  if (pid === 0) return null;
  const program = readTextFile(`/proc/${pid}/comm`)?.trim();
  return { pid, text: `process ${pid}${program === undefined ? "" : ` (${program})`}` };
}
