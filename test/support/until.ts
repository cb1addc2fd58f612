/**
 * Waiting in tests: for a condition, with one generous timeout. No test may depend on elapsed time, because a busy
 * machine can be ten times slower than an idle one.
 */

/**
 * Timeout of one condition. A condition normally becomes true within milliseconds, or seconds on an emulated
 * processor; only a failure takes this long.
 */
export const REPORT_MS = 300_000;

/**
 * Timeout of one test. Longer than that of a condition, so that the error of the failed condition is reported.
 */
export const TEST_MS = 1_800_000;

/** Interval between two checks of a condition. */
const PAUSE_MS = 5;

/** Waits until `holds` returns true. @throws after REPORT_MS, with an error that contains `what`. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + REPORT_MS;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${REPORT_MS / 1000} s: ${what}`);
    await Bun.sleep(PAUSE_MS);
  }
}

/**
 * Runs `attempt` with a time limit that is doubled until `isFarEnough` accepts the result. For tests in which a time
 * limit must expire in the middle of an operation: on a busy machine, a short limit may expire before it begins.
 */
export async function withLimit<Answer>(
  limitMs: number,
  attempt: (limitMs: number) => Promise<Answer>,
  isFarEnough: (answer: Answer) => boolean,
): Promise<Answer> {
  const answer = await attempt(limitMs);
  if (isFarEnough(answer) || limitMs > REPORT_MS / 4) return answer;
  return await withLimit(2 * limitMs, attempt, isFarEnough);
}

/** Waits until the process runs `program`, that is until exec(3) has replaced the program that started it. */
export async function untilRuns(pid: number, program: string): Promise<void> {
  await until(
    `process ${pid} runs ${program}`,
    async () => (await Bun.file(`/proc/${pid}/comm`).text()) === `${program}\n`,
  );
}

/** Waits until a process that was sent SIGSTOP has stopped. */
export async function untilStopped(pid: number): Promise<void> {
  // The state follows the command name, which is in parentheses. proc_pid_stat(5)
  await until(`process ${pid} is stopped`, async () =>
    /\) T /.test(await Bun.file(`/proc/${pid}/stat`).text()),
  );
}
