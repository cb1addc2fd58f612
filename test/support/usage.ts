/** Processor time and memory of a process. */

import { dlopen } from "bun:ffi";
import { readFileSync } from "node:fs";

const libc = dlopen("libc.so.6", {
  // int clock_gettime(clockid_t clockid, struct timespec *tp);
  clock_gettime: { args: ["i32", "buffer"], returns: "i32" },
});

/** CPUCLOCK_SCHED, include/linux/posix-timers.h. */
const CPUCLOCK_SCHED = 2;

/**
 * Processor time of a process in seconds: all threads, including ended ones, in user space and in the kernel. The same
 * as in /proc/PID/stat, but not rounded to hundredths.
 */
export function cpuSeconds(pid: number): number {
  const time = new BigInt64Array(new ArrayBuffer(16));
  // The clock id that clock_getcpuclockid(3) returns for a process.
  const clock = (~pid << 3) | CPUCLOCK_SCHED;
  if (libc.symbols.clock_gettime(clock, time) !== 0) throw new Error(`no process ${pid}`);
  return Number(time[0]) + Number(time[1]) / 1e9;
}

/** Processor time in seconds, rounded to hundredths: proc_pid_stat(5). */
export async function cpuTimes(pid: number): Promise<{ user: number; system: number }> {
  const text = await Bun.file(`/proc/${pid}/stat`).text();
  // The second field is a name in parentheses, which may have spaces.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { user: Number(fields[11]) / 100, system: Number(fields[12]) / 100 };
}

/**
 * Private memory in megabytes: RssAnon of proc_pid_status(5). Pages of the program's file are left out, because the
 * kernel drops them when it needs memory.
 */
export function privateMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return (Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024) / 1e6;
}
