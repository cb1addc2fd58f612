/**
 * Returns memory that only the start needed. After the start, a third of wgmon's resident memory is Bun code that ran
 * once, and the kernel keeps these pages as long as they are mapped.
 */

import type { Pointer } from "bun:ffi";

import { libc } from "../../ffi/libc.ts";
import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { MADV_DONTNEED } from "./constants.ts";
import { readTextFile } from "./files.ts";

/** Delay of the first step: by then the first scans and the server have run. */
const FIRST_MS = 10_000;
/**
 * Interval of further steps. The JIT compiler's code is large and is loaded again at times, for example after a request
 * for the page.
 */
const AGAIN_MS = 60_000;
/** Pages needed while idle are loaded again at once; only a larger growth is worth a step. */
const GROWTH_PAGES = 2048;

/** Starts the periodic check. */
export function keepSmall(clock: Clock): void {
  let leftPages = 0;
  clock.after(FIRST_MS, function again() {
    if (filePages() > leftPages + GROWTH_PAGES) {
      giveBackCode();
      leftPages = filePages();
    }
    clock.after(AGAIN_MS, again);
  });
}

/**
 * Drops the pages, not the mapping. Pages that are needed again come from the page cache: a quarter of a millisecond in
 * all.
 */
function giveBackCode(): void {
  for (const { start, bytes } of codeOf(textOf("/proc/self/maps"), process.execPath)) {
    libc().madvise(start as Pointer, bytes, MADV_DONTNEED);
  }
}

/**
 * Returns the address ranges of the program's code. These pages are never written, so the file has the same content;
 * other parts of memory contain changes by the loader. Pure.
 *
 * @param maps the text of proc_pid_maps(5).
 */
export function codeOf(maps: string, program: string): { start: number; bytes: number }[] {
  return maps.split("\n").flatMap((line) => {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \d+ +(.*)$/.exec(line);
    if (match?.[3] !== program) return [];
    const start = Number.parseInt(match[1]!, 16);
    return [{ start, bytes: Number.parseInt(match[2]!, 16) - start }];
  });
}

/** Resident pages that are backed by files: the third number of proc_pid_statm(5). */
function filePages(): number {
  return Number(textOf("/proc/self/statm").split(" ")[2] ?? 0);
}

/** Returns an empty text if there is no /proc. */
function textOf(path: string): string {
  try {
    return readTextFile(path) ?? "";
  } catch (error) {
    if (error instanceof SystemError) return "";
    throw error;
  }
}
