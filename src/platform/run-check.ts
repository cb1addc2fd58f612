/** Runs a check with a time limit. */

import { LibraryError } from "../../ffi/errors.ts";
import { type Check, type Finding, skipped } from "../base/check.ts";
import { ParseError, SystemError } from "../base/errors.ts";

/**
 * Time limit of a check. Checks that wait for another program or host, such as a target, have a shorter limit and a
 * better message.
 */
const CHECK_MS = 10_000;

/**
 * Runs the check. Never rejects: an error becomes a skipped finding, and so does a check that takes longer than
 * `limitMs`.
 */
export async function runCheck(
  check: Pick<Check, "run">,
  limitMs = CHECK_MS,
): Promise<readonly Finding[]> {
  const { promise: timeout, resolve } = Promise.withResolvers<readonly Finding[]>();
  const timer = setTimeout(
    () => resolve([skipped(`it took more than ${limitMs / 1000} s`)]),
    limitMs,
  );
  try {
    return await Promise.race([Promise.try(() => check.run()), timeout]);
  } catch (error) {
    return [skipped(reasonOf(error))];
  } finally {
    clearTimeout(timer);
  }
}

/** The reason why a check could not be made: the message of an expected error, the class of any other. */
export function reasonOf(error: unknown): string {
  if (
    error instanceof SystemError ||
    error instanceof LibraryError ||
    error instanceof ParseError
  ) {
    return error.message;
  }
  // The message of any other error may contain a secret.
  return `the check failed, which is a bug in wgmon (${error instanceof Error ? error.name : typeof error})`;
}
