/**
 * Gives back the memory that only starting took. A third of what wgmon has in memory is then code of Bun
 * that ran once; the kernel keeps such pages for as long as they are mapped.
 */

import type { Pointer } from "bun:ffi";

import { libc } from "../ffi/libc.ts";
import type { Clock } from "./clock.ts";
import { SystemError } from "./errors.ts";
import { MADV_DONTNEED } from "./kernel/uapi.ts";
import { readTextFile } from "./system.ts";

/** When the first looks and the server have run, too. */
const FIRST_MS = 10_000;
/** Code that compiles other code runs now and then, and is large: whenever somebody has looked at the page. */
const AGAIN_MS = 60_000;
/** What idling needs comes back at once; only more than that is worth a step. */
const GROWTH_PAGES = 2048;

/** From now on, and never in a hurry. */
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

/** What is needed again comes back from the page cache: a quarter of a millisecond in all. */
function giveBackCode(): void {
  for (const { start, bytes } of codeOf(textOf("/proc/self/maps"), process.execPath)) {
    libc().madvise(start as Pointer, bytes, MADV_DONTNEED);
  }
}

/**
 * Where the program's code is in memory. Nobody writes to it, so that the file has all of it; of other
 * parts, the file has not what the loader has changed since. Pure.
 *
 * @param maps as in proc_pid_maps(5).
 */
export function codeOf(maps: string, program: string): { start: number; bytes: number }[] {
  return maps.split("\n").flatMap((line) => {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \d+ +(.*)$/.exec(line);
    if (match?.[3] !== program) return [];
    const start = Number.parseInt(match[1]!, 16);
    return [{ start, bytes: Number.parseInt(match[2]!, 16) - start }];
  });
}

/** How many pages of files are in memory: the third number of proc_pid_statm(5). */
function filePages(): number {
  return Number(textOf("/proc/self/statm").split(" ")[2] ?? 0);
}

/** Empty where there is no /proc. */
function textOf(path: string): string {
  try {
    return readTextFile(path) ?? "";
  } catch (error) {
    if (error instanceof SystemError) return "";
    throw error;
  }
}
