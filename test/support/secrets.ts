/** Lists the secret keys of a device, and searches the memory of a process for them. */

import { closeSync, openSync, readFileSync, readSync } from "node:fs";

import { $ } from "bun";

import type { Watcher } from "./watcher.ts";

const PAGE_BYTES = 4096;
const ENTRY_BYTES = 8;
/** Entries are read this many at a time. */
const PAGES = 65_536;

/** A device's private key and its peers' preshared keys, by wg(8). */
export async function secretsOf(device: string): Promise<Buffer[]> {
  const privateKey = (await $`wg show ${device} private-key`.text()).trim();
  const presharedKeys = (await $`wg show ${device} preshared-keys`.text())
    .split("\n")
    .map((line) => line.split("\t")[1] ?? "(none)")
    .filter((key) => key !== "(none)");
  return [privateKey, ...presharedKeys].map((key) => Buffer.from(key, "base64"));
}

/** A key as text: in base64 without padding, and in hexadecimal. */
export function texts(key: Buffer): string[] {
  return [key.toString("base64").replace("=", ""), key.toString("hex")];
}

/**
 * Byte patterns that reveal a key in memory: the second half of its bytes, and of its texts as ASCII and UTF-16. Only
 * the second half, because the allocator often overwrites the beginning of freed memory.
 */
export function traces(key: Buffer): Buffer[] {
  const copies = texts(key).flatMap((text) => [Buffer.from(text), Buffer.from(text, "utf16le")]);
  return [key, ...copies].map((copy) => copy.subarray(copy.length / 2));
}

/** Returns those patterns of `wanted` that are in writable memory that the process has used. */
export function search(pid: number, wanted: readonly Buffer[]): Buffer[] {
  const found = new Set<Buffer>();
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    for (const { start, bytes } of usedMemory(pid)) {
      const content = Buffer.alloc(bytes);
      const length = readSync(memory, content, 0, bytes, start);
      for (const each of wanted) {
        if (content.subarray(0, length).includes(each)) found.add(each);
      }
    }
  } finally {
    closeSync(memory);
  }
  return [...found];
}

/** Ranges of used pages. Most mapped pages were never used. proc_pid_pagemap(5) */
function* usedMemory(pid: number): Generator<{ start: number; bytes: number }> {
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  const entries = Buffer.alloc(PAGES * ENTRY_BYTES);
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      if (from === undefined || to === undefined) continue;
      const end = Number.parseInt(to, 16) / PAGE_BYTES;
      for (let page = Number.parseInt(from, 16) / PAGE_BYTES; page < end; page += PAGES) {
        const count = Math.min(PAGES, end - page);
        readSync(pagemap, entries, 0, count * ENTRY_BYTES, page * ENTRY_BYTES);
        for (let i = 0; i < count; i++) {
          const first = i;
          while (i < count && isUsed(entries, i)) i++;
          if (i > first)
            yield { start: (page + first) * PAGE_BYTES, bytes: (i - first) * PAGE_BYTES };
        }
      }
    }
  } finally {
    closeSync(pagemap);
  }
}

/** Whether the page is in memory or swapped out: the upper two bits of its 64-bit entry. */
function isUsed(entries: Uint8Array, page: number): boolean {
  return entries[page * ENTRY_BYTES + ENTRY_BYTES - 1]! >= 0x40;
}

/** Maximum number of searches in `searchBetweenScans`. */
const TRIES = 10;

/**
 * Searches the memory of a stopped wgmon for `secrets`, which must not be there, and `known`, which shows that the
 * search reads the right memory. The answer to a scan is in memory while it is read, which on a busy machine is most of
 * the time. So this searches again until no secret is found; a secret that stays in memory is found each time.
 *
 * @param nextScan resolves when there is a reason to search again.
 */
export async function searchBetweenScans(
  watcher: Watcher,
  { secrets, known }: { readonly secrets: readonly Buffer[]; readonly known: readonly Buffer[] },
  nextScan: () => Promise<void>,
): Promise<readonly Buffer[]> {
  let found: readonly Buffer[] = [];
  for (let tries = 0; tries < TRIES; tries++) {
    await nextScan();
    await watcher.freeze();
    found = search(watcher.wgmon.pid, [...secrets.flatMap(traces), ...known]);
    watcher.resume();
    if (found.length <= known.length) break;
  }
  return found;
}
