/**
 * promtool, which comes with Prometheus and checks rules and metrics. deploy/setup.mjs fetches it where
 * it is not installed.
 */

import { homedir } from "node:os";
import { join } from "node:path";

import { skipIf } from "./kernel.ts";

const cache = join(
  process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"),
  "wgmon-test-promtool",
);

const promtool = Bun.which("promtool", { PATH: `${process.env["PATH"] ?? ""}:${cache}` });

export const promtoolNeeds = skipIf(
  promtool === null ? "no promtool here; try: node deploy/setup.mjs --test" : null,
);

/** Runs promtool; returns its output and whether it succeeded. */
export function runPromtool(
  args: readonly string[],
  stdin: string = "",
): { readonly isGood: boolean; readonly text: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync([promtool!, ...args], {
    stdin: Buffer.from(stdin),
    stderr: "pipe",
  });
  return { isGood: exitCode === 0, text: `${stdout.toString()}${stderr.toString()}` };
}
