/** The binary with its store on a full file system, and on a read-only one. */

import { expect, test } from "bun:test";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { $ } from "bun";

import { FakeUapiDevice } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { Receiver } from "../support/receiver.ts";
import { newStateFolder } from "../support/state.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const NAME = "wgdisk";
const tools = needs("own namespaces");

test.skipIf(tools.missing)(
  tools.title("events are delivered even if the disk is full or read-only"),
  async () => {
    const folder = newStateFolder();
    const [small, fixed] = [join(folder, "small"), join(folder, "fixed")];
    for (const place of [small, fixed]) {
      await mkdir(place);
      await $`mount -t tmpfs -o size=400k tmpfs ${place}`.quiet();
    }
    await $`mount -o remount,ro ${fixed}`.quiet();
    await using device = await FakeUapiDevice.create(NAME);
    device.onQuery = () => device.changeAtRandom();
    using receiver = new Receiver();
    const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME];
    args.push("--webhook", receiver.url());

    await using wgmon = startWgmon([...args, "--state-dir", small]);
    await wgmon.waitForLog(({ level }) => level === "error");
    // wgmon continues in memory.
    const count = receiver.requests.length;
    await receiver.waitFor((requests) => requests.length > count + 50);
    expect(await wgmon.stop()).toBe(0);
    expect(errors(wgmon)).toEqual([
      expect.stringMatching(
        /wgmon\.db: database or disk is full \(free disk space, or choose another --state-dir\); continuing in memory/,
      ),
    ]);

    await using other = startWgmon([...args, "--state-dir", fixed]);
    await other.waitForLog(({ level }) => level === "error");
    await other.stop();
    expect(errors(other)).toEqual([
      expect.stringMatching(/EROFS .*--state-dir.*kept in memory only/),
    ]);
  },
);

test.skipIf(tools.missing)(
  tools.title("a disk that is full when wgmon starts again is named with the remedy"),
  async () => {
    const place = join(newStateFolder(), "small");
    await mkdir(place);
    await $`mount -t tmpfs -o size=1m tmpfs ${place}`.quiet();
    await using device = await FakeUapiDevice.create(NAME);
    device.onQuery = () => device.changeAtRandom();
    const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME, "--state-dir", place];

    await using first = startWgmon(args);
    await first.ready;
    expect(await first.stop()).toBe(0);

    const filler = join(place, "filler");
    await $`cat /dev/zero > ${filler}`.nothrow().quiet();
    await using second = startWgmon(args);
    await second.waitForLog(({ level }) => level === "error");
    await second.stop();
    expect(errors(second)).toEqual([
      expect.stringMatching(
        /wgmon\.db: disk I\/O error \(the disk may be full or failing: check df and dmesg\); .*kept in memory only; fix this, then restart wgmon/,
      ),
    ]);

    await rm(filler);
    await using third = startWgmon(args);
    await third.ready;
    await third.stop();
    expect(errors(third)).toEqual([]);
  },
);

function errors({ log }: Wgmon): unknown[] {
  return log.filter(({ level }) => level === "error").map(({ msg }) => msg);
}
