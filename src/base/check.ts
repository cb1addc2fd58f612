/**
 * The checks of `wgmon doctor`, which the daemon also uses. A check reads the state of the machine, changes nothing,
 * and returns findings, each with a remedy. The checks' functions named `judge...` are pure: they get what was read and
 * return findings.
 */

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
