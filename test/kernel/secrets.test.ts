/**
 * Each look at a device brings wgmon its private key and its peers' preshared keys. They are nowhere:
 * not in the log, not in what a webhook gets, not in its memory once the look is over.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

import { $ } from "bun";

import { needs } from "../support/kernel.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { startWgmon } from "../support/wgmon.ts";

const kernel = needs("root", "wireguard", "ip", "wg", "nft", "tc", "ping");

const TEST_MS = 180_000;
const PAGE_BYTES = 4096;
const ENTRY_BYTES = 8;
/** Entries are read this many at a time. */
const PAGES = 65_536;

describe.skipIf(kernel.missing)(kernel.title("private and preshared keys"), () => {
  const receiver = new Receiver();
  let lab: Lab;
  let wg0: LabDevice;
  let clients: Client[];

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    await lab.addPlainRule(wg0.port, 1);
    clients = await wg0.clients(["alice", "bob", "carol"], { presharedKey: true });
    // The answer to a look fills more than one message.
    await wg0.addSilentPeers(400);
  }, TEST_MS);

  afterAll(() => {
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  async function secrets() {
    const privateKey = (await $`wg show wg0 private-key`.text()).trim();
    const presharedKeys = (await $`wg show wg0 preshared-keys`.text())
      .split("\n")
      .map((line) => line.split("\t")[1] ?? "(none)")
      .filter((key) => key !== "(none)");
    expect(presharedKeys).toHaveLength(clients.length);
    return [privateKey, ...presharedKeys].map((key) => Buffer.from(key, "base64"));
  }

  test(
    "are in no log line, no webhook and no memory, after looks for every reason",
    async () => {
      const args = ["--tick", "200ms", "--reconcile", "500ms", "--log-level", "debug"];
      await using wgmon = startWgmon([...args, "--webhook", receiver.url()]);
      await wgmon.ready;
      for (const client of clients) await client.connect();
      await receiver.waitFor((requests) => requests.length >= clients.length, 60_000);
      await clients[0]!.roam();
      await clients[0]!.connect();
      await wg0.removePeer(clients[1]!);
      await wg0.restorePeer(clients[1]!);
      await $`ip link set wg0 mtu 1400`;
      for (const reason of ["start", "packet", "tick", "reconcile", "link"]) {
        let count = 0;
        const enough = reason === "tick" ? 20 : 1;
        await wgmon.waitForLog(
          (line) => line["reason"] === reason && line.msg === "look" && ++count === enough,
          60_000,
        );
      }

      const keys = await secrets();
      // Not in the middle of a look, whose answer is there as long as it is read.
      wgmon.signal("SIGSTOP");
      while (!/\) T /.test(readFileSync(`/proc/${wgmon.pid}/stat`, "utf8"))) await Bun.sleep(1);
      const publicKeys = clients.map(({ publicKey }) => Buffer.from(publicKey, "base64"));
      const found = search(wgmon.pid, [...keys, ...keys.flatMap(texts), ...publicKeys]);
      // It reads the right memory: what is no secret is there.
      for (const key of publicKeys) expect(found).toContain(key);
      expect(found).toHaveLength(publicKeys.length);
      wgmon.signal("SIGCONT");
      expect(await wgmon.stop()).toBe(0);

      const told = [wgmon.logText, await wgmon.stdout(), ...receiver.requests.map(said)].join("\n");
      expect(told).toContain(clients[0]!.publicKey);
      for (const text of keys.flatMap(texts)) expect(told.includes(text.toString())).toBe(false);
    },
    TEST_MS,
  );
});

function said({ body, headers, path }: Receiver["requests"][number]): string {
  return [path, body, ...headers.values()].join("\n");
}

/** A key as it is written. */
function texts(key: Buffer) {
  return [key.toString("base64").replace("=", ""), key.toString("hex")].map((text) =>
    Buffer.from(text),
  );
}

/** Which of the wanted bytes are in memory that the process can write to and has used. */
function search(pid: number, wanted: readonly Buffer[]): Buffer[] {
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
