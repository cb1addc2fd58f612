/** Processes: the name and limits of any process, and the protection of wgmon and of the programs that it starts. */

import { control } from "../../ffi/libc.ts";
import {
  CAP_LAST_CAP,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_IS_SET,
  PR_CAP_AMBIENT_RAISE,
  PR_SET_DUMPABLE,
} from "./constants.ts";
import { readTextFile } from "./files.ts";

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

/**
 * Protects wgmon's memory, which contains tokens: other processes of the same user, such as the program of an exec
 * target, cannot read it, and the kernel does not write it to a core file, core(5). PR_SET_DUMPABLE, prctl(2). root may
 * still trace the process.
 */
export function protectMemory(): void {
  control().prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n);
}

/**
 * Calls `start`, which starts a program, and removes the ambient capabilities, capabilities(7), during the call, so
 * that the program does not inherit them. Ambient capabilities belong to a thread, and Bun starts a program from the
 * calling thread. The inheritable set is not changed: it has no effect on a program whose file has no inheritable
 * capabilities, and the unit forbids capset(2).
 */
export function withoutAmbientCapabilities<Result>(start: () => Result): Result {
  const ambient = (operation: number, capability = 0) =>
    control().prctl(PR_CAP_AMBIENT, BigInt(operation), BigInt(capability), 0n, 0n);
  const removed: number[] = [];
  for (let capability = 0; capability <= CAP_LAST_CAP; capability++) {
    if (ambient(PR_CAP_AMBIENT_IS_SET, capability) === 1) removed.push(capability);
  }
  if (removed.length === 0) return start();
  ambient(PR_CAP_AMBIENT_CLEAR_ALL);
  try {
    return start();
  } finally {
    // Restore them, because nft, which wgmon also starts, needs them.
    for (const capability of removed) ambient(PR_CAP_AMBIENT_RAISE, capability);
  }
}
