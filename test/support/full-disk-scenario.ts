/**
 * Runs wgmon with its store on a small file system until it reports that the store is full, and with its store on a
 * read-only file system. Peers connect and disconnect meanwhile. As root:
 * `unshare --net --mount bun test/support/full-disk-scenario.ts`. Prints JSON. For test/e2e/store.test.ts.
 */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";

import { FakeDevice } from "./fake-uapi-device.ts";
import { Receiver } from "./receiver.ts";
import { startWgmon } from "./wgmon.ts";

/** A unique device name: all network namespaces share the folder of the sockets. */
const NAME = `wgdisk${process.pid}`;

export interface FullDisk {
  /** Messages of wgmon's error log lines, with the full disk. */
  readonly full: readonly unknown[];
  readonly readOnly: readonly unknown[];
  /** Whether the webhook received more events after the error. */
  readonly goesOn: boolean;
  readonly exitCode: number;
}

async function fillDisk(): Promise<FullDisk> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-disk-"));
  const [small, fixed] = [join(folder, "small"), join(folder, "fixed")];
  await $`ip link set lo up`.quiet();
  for (const place of [small, fixed]) {
    await mkdir(place);
    await $`mount -t tmpfs -o size=400k tmpfs ${place}`.quiet();
  }
  await $`mount -o remount,ro ${fixed}`.quiet();
  try {
    await using _device = await FakeDevice.create(NAME);
    using receiver = new Receiver();
    const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME];
    args.push("--webhook", receiver.url());
    const errors = (log: readonly { readonly level?: unknown; readonly msg?: unknown }[]) =>
      log.filter(({ level }) => level === "error").map(({ msg }) => msg);

    await using wgmon = startWgmon([...args, "--state-dir", small]);
    await wgmon.waitForLog(({ level }) => level === "error");
    const count = receiver.requests.length;
    await receiver.waitFor((requests) => requests.length > count + 50);
    const exitCode = await wgmon.stop();

    await using other = startWgmon([...args, "--state-dir", fixed]);
    await other.waitForLog(({ level }) => level === "error");
    await other.stop();
    const goesOn = receiver.requests.length > count + 50;
    return { full: errors(wgmon.log), readOnly: errors(other.log), goesOn, exitCode };
  } finally {
    await $`umount ${small} ${fixed}`.quiet();
    await rm(folder, { recursive: true });
  }
}

if (import.meta.main) {
  console.log(JSON.stringify(await fillDisk()));
  process.exit(0);
}
