/**
 * What a check of `wgmon doctor` is: it looks, changes nothing, and says what it found and what to do
 * about it. The judges beside it are pure: facts in, findings out.
 */

import { LibraryError, ParseError, SystemError } from "../errors.ts";

export type Verdict = "ok" | "warning" | "problem" | "skipped";

export interface Finding {
  readonly verdict: Verdict;
  /** Without secrets. What others chose (names, programs) is made harmless when it is printed. */
  readonly found: string;
  /** A command or a setting; null: nothing is to be done. */
  readonly fix: string | null;
}

export interface Check {
  readonly group: string;
  readonly name: string;
  run(): readonly Finding[] | Promise<readonly Finding[]>;
}

/** What asks others, such as a target, gives up earlier by itself, and says more. */
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

/** It could not be seen, and why. */
export function skipped(reason: string): Finding {
  return { verdict: "skipped", found: reason, fix: null };
}

/** Never fails, and takes no longer than `limitMs`. */
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
  // In the message of any other there might be a secret.
  return `the check failed, which is a bug in wgmon (${error instanceof Error ? error.name : typeof error})`;
}
