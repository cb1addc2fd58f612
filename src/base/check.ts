/**
 * The checks of `wgmon doctor`, which the daemon also uses. A check reads the state of the machine, changes nothing,
 * and returns findings, each with a remedy. The checks' functions named `judge...` are pure: they get what was read and
 * return findings.
 */

import { LibraryError } from "../../ffi/errors.ts";
import { ParseError, SystemError } from "./errors.ts";

export type Verdict = "ok" | "warning" | "problem" | "skipped";

export interface Finding {
  readonly verdict: Verdict;
  /** Contains no secrets. Text that others chose (names, programs) is sanitised when it is printed. */
  readonly found: string;
  /** A command or a setting; null if nothing needs to be done. */
  readonly fix: string | null;
}

export interface Check {
  readonly group: string;
  readonly name: string;
  run(): readonly Finding[] | Promise<readonly Finding[]>;
}

/**
 * Time limit of a check. Checks that wait for another program or host, such as a target, have a shorter limit and a
 * better message.
 */
const CHECK_MS = 10_000;

export function ok(found: string): Finding {
  return { verdict: "ok", found, fix: null };
}

export function warning(found: string, fix: string | null): Finding {
  return { verdict: "warning", found, fix };
}

export function problem(found: string, fix: string): Finding {
  return { verdict: "problem", found, fix };
}

/** The check could not be made, for this reason. */
export function skipped(reason: string): Finding {
  return { verdict: "skipped", found: reason, fix: null };
}

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
