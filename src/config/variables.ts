/** Settings from the environment. Pure. */

import { didYouMean } from "../suggest.ts";
import { type Found, type Sources, split } from "./given.ts";
import { type Name, NAMES, settingOf, variableOf } from "./table.ts";
import { beginning } from "./words.ts";

/** The variables of the Go program, whose users can switch without touching them. */
const BARE_VARIABLES: readonly Name[] = ["monitor", "group", "interface", "filter", "webhook"];

/**
 * Variables with our prefix that are not for us: those of the tests, and those that Kubernetes
 * gives to every container beside a service called wgmon.
 */
const FOREIGN_VARIABLE = /^WGMON_(KERNEL_TESTS|TEST_|(SERVICE_HOST|SERVICE_PORT|PORT)(_|$))/;

export function readVariables(env: Sources["env"], problems: string[]): Found {
  const found: Found = new Map();
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith("WGMON_") || FOREIGN_VARIABLE.test(variable)) continue;
    if (text === undefined || text === "") continue;
    const name = NAMES.find((candidate) => variableOf(candidate) === variable);
    if (name === undefined) {
      const written = variable.slice("WGMON_".length).replaceAll("_", "-");
      const guess = didYouMean(written, NAMES, variableOf);
      problems.push(`${beginning(variable)}: there is no such variable${guess}`);
      continue;
    }
    found.set(name, { origin: "variable", where: variable, texts: split(settingOf(name), text) });
  }
  return found;
}

/** Those that have no variable with our prefix. */
export function readBareVariables(env: Sources["env"], variables: Found): Found {
  const found: Found = new Map();
  for (const name of BARE_VARIABLES) {
    const text = env[name];
    if (text === undefined || text === "" || variables.has(name)) continue;
    const where = `variable ${name}`;
    found.set(name, { origin: "bare variable", where, texts: split(settingOf(name), text) });
  }
  return found;
}
