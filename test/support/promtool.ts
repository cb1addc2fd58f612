/**
 * promtool, which comes with Prometheus and checks rules and metrics. deploy/setup.mjs fetches it where
 * it is not installed.
 */

import { homedir } from "node:os";
import { join } from "node:path";

const cache = join(
  process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"),
  "wgmon-test-promtool",
);

/** null if it is not installed. */
export const promtool = Bun.which("promtool", { PATH: `${process.env["PATH"] ?? ""}:${cache}` });

const isRequired =
  process.env["WGMON_KERNEL_TESTS"] === "require" || /^(true|1)$/.test(process.env["CI"] ?? "");
if (promtool === null && isRequired) {
  throw new Error("promtool is not installed; try: node deploy/setup.mjs --test");
}

/** Suffix for titles of tests that need promtool. */
export const whyNoPromtool = promtool === null ? " [skipped: no promtool]" : "";

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
