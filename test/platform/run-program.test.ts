/** Runs programs of the system: where they are searched, and their environment. */

import { afterAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { runProgram, runWithInheritedOutput, SEARCH_PATH } from "../../src/platform/run-program.ts";

const folder = mkdtempSync(join(tmpdir(), "wgmon-program-"));
const path = process.env["PATH"];
afterAll(() => {
  process.env["PATH"] = path!;
  rmSync(folder, { recursive: true });
});

const { signal } = new AbortController();

test("a program of the same name in the caller's PATH is not run", async () => {
  const mark = join(folder, "mark");
  for (const name of ["true", "cat"]) {
    writeFileSync(join(folder, name), `#!/bin/sh\ntouch ${mark}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  process.env["PATH"] = `${folder}:${path}`;
  // A shell would run it.
  expect(Bun.spawnSync(["true"], { env: process.env }).exitCode).toBe(0);
  expect(existsSync(mark)).toBe(true);
  rmSync(mark);
  expect(runWithInheritedOutput("true", [])).toBe(0);
  expect(await runProgram(["cat"], { input: "text", signal })).toMatchObject({ stdout: "text" });
  expect(existsSync(mark)).toBe(false);
});

test("a program gets only the variable PATH, and starts in /", async () => {
  const ran = await runProgram(["sh", "-c", "env; pwd >&2; exit 3"], { signal });
  const variables = ran!.stdout.trim().split("\n");
  expect(variables.filter((line) => !/^(PWD|SHLVL|_|OLDPWD)=/.test(line))).toEqual([
    `PATH=${SEARCH_PATH}`,
  ]);
  expect(ran).toMatchObject({ exitCode: 3, stderr: "/\n" });
});

test("a missing program has the result null, and an aborted one is killed", async () => {
  expect(runWithInheritedOutput("wgmon-no-such-program", [])).toBeNull();
  expect(await runProgram(["wgmon-no-such-program"], { signal })).toBeNull();
  const stop = new AbortController();
  const running = runProgram(["sleep", "60"], { signal: stop.signal });
  stop.abort();
  expect((await running)!.exitCode).not.toBe(0);
});
