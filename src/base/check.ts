/**
 * What a check of `wgmon doctor` is. A check inspects, changes nothing, and says what it found and how to fix it. The
 * judge functions in this folder are pure: facts in, findings out.
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

/** Time limit of a check. Checks that wait for others, such as a target, have a shorter limit and a better message. */
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

/** The check could not be made; `reason` says why. */
export function skipped(reason: string): Finding {
  return { verdict: "skipped", found: reason, fix: null };
}

/** Never rejects, and takes at most `limitMs`. */
export async function runCheck(
  check: Pick<Check, "run">,
  limitMs = CHECK_MS,
): Promise<readonly Finding[]> {
  const { promise: late, resolve } = Promise.withResolvers<readonly Finding[]>();
  const timer = setTimeout(
    () => resolve([skipped(`it took more than ${limitMs / 1000} s`)]),
    limitMs,
  );
  try {
    return await Promise.race([Promise.try(() => check.run()), late]);
  } catch (error) {
    return [skipped(reasonOf(error))];
  } finally {
    clearTimeout(timer);
  }
}

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
