/** The pause before the next attempt to deliver a message. Pure. */

/** The pause is random. Its limit doubles with each retry, from this value to PAUSE_MAX_MS. */
const PAUSE_FIRST_MS = 1000;
/** The longest pause, also for a target that requests a longer one. */
export const PAUSE_MAX_MS = 15 * 60_000;

/**
 * @param retries number of this retry, from 1.
 * @param requestedMs the pause that the target requests; null: it requests none. A shorter one is lengthened to
 *   PAUSE_FIRST_MS.
 * @param random returns a number from 0 to 1.
 */
export function pauseBeforeRetry(
  retries: number,
  requestedMs: number | null,
  random: () => number,
): number {
  if (requestedMs !== null) return Math.max(requestedMs, PAUSE_FIRST_MS);
  return random() * Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (retries - 1));
}
