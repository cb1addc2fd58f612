/** The steps of the packaging tests: each prints a line, `ok`, `FAIL` or `SKIP name: reason`, and is counted. */

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export const counts: Counts = { passed: 0, failed: 0, skipped: 0 };

/** Length of the end of a failed program's output in the error message. */
const EXCERPT_CHARACTERS = 4000;

/** Runs one step. An exception counts as a failure and does not prevent the next steps. Resolves with success. */
export async function step(name: string, action: () => Promise<void> | void): Promise<boolean> {
  const startMs = performance.now();
  const seconds = (): string => `${((performance.now() - startMs) / 1000).toFixed(1)} s`;
  try {
    await action();
  } catch (error) {
    counts.failed++;
    const why = error instanceof Error ? error.message : String(error);
    console.log(`FAIL ${name}  ${seconds()}\n${why}`);
    return false;
  }
  counts.passed++;
  console.log(`ok   ${name}  ${seconds()}`);
  return true;
}

export function skip(name: string, reason: string): void {
  counts.skipped++;
  console.log(`SKIP ${name}: ${reason}`);
}

/** Counts the steps that another process printed. */
export function count(output: string): void {
  for (const [, word] of output.matchAll(/^(ok {2}|FAIL|SKIP) /gm)) {
    if (word === "FAIL") counts.failed++;
    else if (word === "SKIP") counts.skipped++;
    else counts.passed++;
  }
}

/** @throws an error with the message `otherwise` unless `holds`. */
export function expect(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}

interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** Accepts any exit code. */
  readonly mayFail?: true;
}

/** Runs a program; returns its standard output and error. @throws if the exit code is not 0. */
export function run(command: readonly string[], options: RunOptions = {}): string {
  const { cwd, env, stdin = "", mayFail } = options;
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], {
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, ...env },
    stdin: Buffer.from(stdin),
    stderr: "pipe",
  });
  const text = `${stdout.toString()}${stderr.toString()}`;
  if (exitCode !== 0 && mayFail !== true) {
    const end = text.trim().slice(-EXCERPT_CHARACTERS);
    throw new Error(`${command.join(" ")}: exit code ${exitCode}\n${end}`);
  }
  return text;
}
