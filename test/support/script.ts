/**
 * Runs a script with bash, in which `$bun` is the path of bun. Resolves with its standard output.
 *
 * @param prefix a command that runs the command in its arguments, for example in a namespace.
 * @throws if the script fails or prints errors.
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
  if (exitCode !== 0 || complaint !== "") {
    throw new Error(`${script}\nexit code ${exitCode}: ${complaint}`);
  }
  return output;
}
