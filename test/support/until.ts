/**
 * How tests wait: for a condition, with one generous limit. No test may depend on how much time has
 * passed, because a busy machine can be ten times slower than an idle one.
 */

/**
 * How long a test waits for anything before it fails. A condition that comes true does so within
 * milliseconds, or seconds on an emulated processor; only a failure takes this long.
 */
export const REPORT_MS = 120_000;

/**
 * The limit of one test. It waits for several conditions, and the message of the one that does not come
 * true must come before this.
 */
export const TEST_MS = 600_000;

/** Time between two checks of a condition that nothing announces. */
const PAUSE_MS = 5;

/** Waits until `holds` answers true. @throws after REPORT_MS, an error that names `what`. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + REPORT_MS;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not in ${REPORT_MS / 1000} s: ${what}`);
    await Bun.sleep(PAUSE_MS);
  }
}

/**
 * For a time limit that is to be reached in the middle of something: tries `attempt` with longer and
 * longer limits until the answer is one of an attempt that came that far. A busy machine may need
 * a second for what takes a millisecond.
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

/** Waits until the process runs that program: until exec(3) has replaced what started it. */
export async function untilRuns(pid: number, program: string): Promise<void> {
  await until(
    `process ${pid} runs ${program}`,
    async () => (await Bun.file(`/proc/${pid}/comm`).text()) === `${program}\n`,
  );
}

/** Waits until a process that was sent SIGSTOP has stopped. */
export async function untilStopped(pid: number): Promise<void> {
  // The state stands behind the command's name, which is in brackets. proc_pid_stat(5)
  await until(`process ${pid} is stopped`, async () =>
    /\) T /.test(await Bun.file(`/proc/${pid}/stat`).text()),
  );
}
