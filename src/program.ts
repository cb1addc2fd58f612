/**
 * Runs the programs of the system that wgmon needs: nft, iptables-save, systemctl. root runs them, so the
 * PATH and the rest of the environment that wgmon was started with have no say.
 */

import { SystemError } from "./errors.ts";

/** Where distributions put them. */
export const SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/** Of each of the two outputs; a program that writes more is killed. */
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;

export interface Ran {
  readonly exitCode: number;
  readonly output: string;
  /** What it wrote to standard error. */
  readonly complaint: string;
}

/**
 * Runs a program to its end, in a process group of its own: Ctrl-C is for wgmon, which may need it then.
 *
 * @param signal kills it; the answer comes when it has ended all the same.
 * @returns null when it is not installed.
 * @throws SystemError when it cannot be started.
 */
export async function runProgram(
  [name, ...args]: readonly [string, ...string[]],
  { input = null, signal }: { readonly input?: string | null; readonly signal: AbortSignal },
): Promise<Ran | null> {
  const program = findProgram(name);
  if (program === null) return null;
  const child = started(program, () =>
    Bun.spawn([program, ...args], {
      // Bun makes a file in memory of it, memfd_create(2): it does not matter whether it is read.
      stdin: input === null ? "ignore" : new TextEncoder().encode(input),
      stdout: "pipe",
      stderr: "pipe",
      ...surroundings,
      detached: true,
      signal,
      killSignal: "SIGKILL",
      maxBuffer: OUTPUT_MAX_BYTES,
    }),
  );
  const [output, complaint, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, output, complaint };
}

/**
 * Runs a program that writes to our own standard output and error.
 *
 * @returns its exit code; null when it is not installed.
 * @throws SystemError when it cannot be started.
 */
export function runShown(name: string, args: readonly string[]): number | null {
  const program = findProgram(name);
  if (program === null) return null;
  const stdio = ["ignore", "inherit", "inherit"] as const;
  return started(program, () =>
    Bun.spawnSync([program, ...args], { ...surroundings, stdio: [...stdio] }),
  ).exitCode;
}

const surroundings = { env: { PATH: SEARCH_PATH }, cwd: "/" } as const;

export function findProgram(name: string): string | null {
  return Bun.which(name, { PATH: SEARCH_PATH });
}

function started<Child>(program: string, start: () => Child): Child {
  try {
    return start();
  } catch (error) {
    throw new SystemError(`start ${program}`, String((error as { code?: unknown }).code));
  }
}
