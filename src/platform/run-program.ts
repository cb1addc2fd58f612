/**
 * Runs the system's programs that wgmon needs: nft, iptables-save, systemctl. They run as root, so they do not get the
 * PATH and environment that wgmon was started with.
 */

import { SystemError } from "../base/errors.ts";

/** The folders where distributions install these programs. */
export const SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/** Maximum size of standard output and of standard error; a program that writes more is killed. */
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;

export interface ProgramResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program until it ends, in its own process group: Ctrl-C must reach only wgmon, which may still need the
 * program.
 *
 * @param signal kills the program; the promise settles when the program has ended.
 * @returns null if it is not installed.
 * @throws SystemError when it cannot be started.
 */
export async function runProgram(
  [name, ...args]: readonly [string, ...string[]],
  { input = null, signal }: { readonly input?: string | null; readonly signal: AbortSignal },
): Promise<ProgramResult | null> {
  const program = findProgram(name);
  if (program === null) return null;
  const child = spawn(program, () =>
    Bun.spawn([program, ...args], {
      // Bun stores the input in a memory file, memfd_create(2), so the program need not read it.
      stdin: input === null ? "ignore" : new TextEncoder().encode(input),
      stdout: "pipe",
      stderr: "pipe",
      ...spawnOptions,
      detached: true,
      signal,
      killSignal: "SIGKILL",
      maxBuffer: OUTPUT_MAX_BYTES,
    }),
  );
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

/**
 * Runs a program with wgmon's own standard output and error.
 *
 * @returns its exit code; null if it is not installed.
 * @throws SystemError when it cannot be started.
 */
export function runWithInheritedOutput(name: string, args: readonly string[]): number | null {
  const program = findProgram(name);
  if (program === null) return null;
  const stdio = ["ignore", "inherit", "inherit"] as const;
  return spawn(program, () =>
    Bun.spawnSync([program, ...args], { ...spawnOptions, stdio: [...stdio] }),
  ).exitCode;
}

const spawnOptions = { env: { PATH: SEARCH_PATH }, cwd: "/" } as const;

export function findProgram(name: string): string | null {
  return Bun.which(name, { PATH: SEARCH_PATH });
}

function spawn<Child>(program: string, start: () => Child): Child {
  try {
    return start();
  } catch (error) {
    throw new SystemError(`start ${program}`, String((error as { code?: unknown }).code));
  }
}
