/** The binary and its store: a full disk, a read-only one, a second wgmon, and a folder that is not there. */

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import type { FullDisk } from "../support/fulldisk.ts";
import { whyNoTunnel } from "../support/kernel.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const missing = whyNoTunnel();
if (missing !== null && process.env["WGMON_KERNEL_TESTS"] === "require") {
  throw new Error(`WGMON_KERNEL_TESTS=require, but: ${missing}`);
}
const note = missing === null ? "" : ` [skipped: ${missing}]`;
const POLL = ["--monitor", "poll", "--device", "wgtest-none"];

test.skipIf(missing !== null)(
  `a disk that fills up, and one that is read-only, stop nobody from being told${note}`,
  async () => {
    const script = join(import.meta.dir, "../support/fulldisk.ts");
    const run = Bun.spawn(["unshare", "--net", "--mount", process.execPath, script], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const found = JSON.parse(await new Response(run.stdout).text()) as FullDisk;
    expect(found).toMatchObject({ goesOn: true, exitCode: 0 });
    expect(found.full).toHaveLength(1);
    expect(found.full[0]).toMatch(
      /wgmon\.db: database or disk is full \(make room, or give another --state-dir\); going on in memory/,
    );
    expect(found.readOnly).toHaveLength(1);
    expect(found.readOnly[0]).toMatch(/EROFS .*--state-dir.*kept in memory only/);
  },
  TEST_MS,
);

/** The store is opened after it is ready, and before it tells its settings. */
async function started(wgmon: Wgmon): Promise<void> {
  await wgmon.waitForLog(({ msg }) => /^wgmon \d/.test(String(msg)));
}

test("a second wgmon on the same store says so and goes on without", async () => {
  const folder = join(newStateFolder(), "deep", "er");
  await using first = startWgmon([...POLL, "--state-dir", folder]);
  await started(first);
  expect(existsSync(join(folder, "wgmon.db"))).toBe(true);
  await using second = startWgmon([...POLL, "--state-dir", folder]);
  await started(second);
  const errors = second.log.filter(({ level }) => level === "error");
  expect(errors.map(({ msg }) => msg)).toEqual([
    `use ${folder}: EAGAIN (another wgmon uses it; give this one another --state-dir); sessions and waiting events are kept in memory only`,
  ]);
  expect(first.log.filter(({ level }) => level === "error")).toEqual([]);
  expect(await first.stop()).toBe(0);
  await using third = startWgmon([...POLL, "--state-dir", folder]);
  await started(third);
  expect(third.log.filter(({ level }) => level === "error")).toEqual([]);
});
