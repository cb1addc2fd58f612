/**
 * A disk that is full, and one that is read-only: starts wgmon with its store on a small file system, while
 * peers come and go, until it says that the store is full. In namespaces of its own, as root:
 * `unshare --net --mount bun test/support/full-disk-scenario.ts`. Prints JSON. For test/e2e/store.test.ts.
 */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";

import { FakeDevice } from "./fake-uapi-device.ts";
import { Receiver } from "./receiver.ts";
import { startWgmon } from "./wgmon.ts";

/** No other's: the folder of the sockets is the same in all namespaces. */
const NAME = `wgdisk${process.pid}`;

export interface FullDisk {
  /** What wgmon logged as errors. */
  readonly full: readonly unknown[];
  readonly readOnly: readonly unknown[];
  /** Whether a receiver still got events after the error. */
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
