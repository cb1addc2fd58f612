/** Runs shell scripts in tests. */

import { expect } from "bun:test";

/**
 * Runs a script with bash, in which `$bun` is the path of bun. It must succeed and print no errors.
 *
 * @param prefix a command that runs the command in its arguments, for example in a namespace.
 */
export async function runScript(script: string, prefix: readonly string[] = []): Promise<string> {
  const child = Bun.spawn([...prefix, "bash", "-euo", "pipefail", "-c", script], {
    env: { ...process.env, bun: process.execPath },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, complaint, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  expect({ script, complaint, exitCode }).toEqual({ script, complaint: "", exitCode: 0 });
  return output;
}
