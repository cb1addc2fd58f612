/** The keys that wgmon must not keep: which there are, and whether they are in a process's memory. */

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

/** A key as it may be written: in base64, without its padding, and in hexadecimal. */
export function texts(key: Buffer): string[] {
  return [key.toString("base64").replace("=", ""), key.toString("hex")];
}

/**
 * What gives a key away that lies in memory: the second half of its bytes, and of its texts with one
 * and with two bytes a character. What was freed has often lost no more than its beginning.
 */
export function traces(key: Buffer): Buffer[] {
  const copies = texts(key).flatMap((text) => [Buffer.from(text), Buffer.from(text, "utf16le")]);
  return [key, ...copies].map((copy) => copy.subarray(copy.length / 2));
}

/** Which of the wanted bytes are in memory that the process can write to and has used. */
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

/** Stretches of pages; most of what is mapped was never used. proc_pid_pagemap(5) */
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
          while (i < count && isThere(entries, i)) i++;
          if (i > first)
            yield { start: (page + first) * PAGE_BYTES, bytes: (i - first) * PAGE_BYTES };
        }
      }
    }
  } finally {
    closeSync(pagemap);
  }
}

/** In memory or swapped out: the upper two of its 64 bits. */
function isThere(entries: Uint8Array, page: number): boolean {
  return entries[page * ENTRY_BYTES + ENTRY_BYTES - 1]! >= 0x40;
}

/** Searches are repeated this often: see `searchBetweenScans`. */
const TRIES = 10;

/**
 * Searches the memory of a stopped wgmon for `secrets`, which must not be there, and `known`, which shows that the search
 * reads the right memory. The answer to a scan is in memory while it is read, which on a busy machine is most of the time.
 * So this searches again until no secret is found; a secret that stays in memory is found each time.
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
