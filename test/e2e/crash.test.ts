/**
 * wgmon is killed 50 times under load, while its receiver fails in all ways: no event is lost, and no
 * secret is shown.
 */

import { expect, test } from "bun:test";
import { join } from "node:path";

import type { Figures } from "../support/crash.ts";
import { whyNoTunnel } from "../support/kernel.ts";
import { TEST_MS } from "../support/until.ts";

const KILLS = 50;
const missing = whyNoTunnel();
if (missing !== null && process.env["WGMON_KERNEL_TESTS"] === "require") {
  throw new Error(`WGMON_KERNEL_TESTS=require, but: ${missing}`);
}

test.skipIf(missing !== null)(
  `no event is lost if wgmon is killed ${KILLS} times under load${missing === null ? "" : ` [skipped: ${missing}]`}`,
  async () => {
    const script = join(import.meta.dir, "../support/crash.ts");
    const run = Bun.spawn(["unshare", "--net", process.execPath, script, String(KILLS)], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const figures = JSON.parse(await new Response(run.stdout).text()) as Figures;
    console.log(`crash test: ${JSON.stringify(figures)}`);
    expect(figures).toMatchObject({
      kills: KILLS,
      lost: 0,
      gaps: 0,
      outOfOrder: 0,
      wrongSignatures: 0,
      changedBodies: 0,
      leaks: [],
    });
    // Otherwise there was no load.
    expect(figures.events).toBeGreaterThan(KILLS * 5);
    expect(figures.requests).toBeGreaterThan(figures.events);
  },
  TEST_MS,
);
