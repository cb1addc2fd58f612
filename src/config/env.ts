/** Settings from environment variables. Pure. */

import { safePrefix } from "../base/redact.ts";
import { didYouMean, nearest, suggest } from "../base/suggest.ts";
import { type RawSettings, type Sources, split } from "./resolve.ts";
import { type Name, NAMES, settingOf, variableOf } from "./settings-table.ts";

/** Variables of the Go program, so that its users can switch without changing them. */
const LEGACY_VARIABLES: readonly Name[] = ["monitor", "group", "interface", "filter", "webhook"];

/** Our own variables that are not settings: those of the tests. */
const TEST_VARIABLE = /^WGMON_(KERNEL_TESTS|TEST_)/;

/** Maximum number of names in the warning about unknown variables. */
const SHOWN_MAX = 5;

/**
 * @param errors receives the misspelt variables.
 * @param warnings receives one sentence about all other unknown variables.
 */
export function readVariables(
  env: Sources["env"],
  errors: string[],
  warnings: string[],
): RawSettings {
  const found: RawSettings = new Map();
  const unknown: string[] = [];
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith("WGMON_") || text === undefined || text === "") continue;
    const name = NAMES.find((candidate) => variableOf(candidate) === variable);
    if (name !== undefined) {
      found.set(name, { origin: "variable", where: variable, texts: split(settingOf(name), text) });
      continue;
    }
    if (TEST_VARIABLE.test(variable) || isOfService(variable, text)) continue;
    const written = variable.slice("WGMON_".length).replaceAll("_", "-");
    if (nearest(written, NAMES) === null) {
      const guess = suggest(written, NAMES) as Name | null;
      const meant = guess === null ? "" : ` (did you mean ${variableOf(guess)}?)`;
      unknown.push(`${safePrefix(variable)}${meant}`);
    } else {
      const guess = didYouMean(written, NAMES, variableOf);
      errors.push(`${safePrefix(variable)}: there is no such variable${guess}`);
    }
  }
  if (unknown.length > 0) warnings.push(unknownNote(unknown));
  return found;
}

function unknownNote(unknown: readonly string[]): string {
  const more = unknown.length - SHOWN_MAX;
  const shown = [...unknown.slice(0, SHOWN_MAX), ...(more > 0 ? [`${more} more`] : [])];
  return `unknown environment variables are ignored: ${shown.join(", ")}`;
}

/**
 * Whether the variable is set in a container because of a service whose name begins with wgmon. Kubernetes
 * sets the first four forms ("Accessing the Service", environment variables). Docker links set the forms of a
 * port and the last two ("Legacy container links").
 */
function isOfService(variable: string, text: string): boolean {
  if (/_SERVICE_(HOST|PORT(_.+)?)$/.test(variable)) return true;
  if (/_PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?$/.test(variable)) return true;
  if (/_ENV_./.test(variable)) return true;
  if (variable.endsWith("_PORT")) return /^(tcp|udp|sctp):\/\//.test(text);
  // WGMON_WEB_NAME=/other/wgmon-web
  const alias = /^(.+)_NAME$/.exec(variable)?.[1];
  const last = /^\/[^/]+\/([^/]+)$/.exec(text)?.[1];
  return alias !== undefined && last?.toUpperCase().replace(/[^A-Z\d]/g, "_") === alias;
}

/** Settings from bare variables, for those that no variable with our prefix sets. */
export function readLegacyVariables(env: Sources["env"], variables: RawSettings): RawSettings {
  const found: RawSettings = new Map();
  for (const name of LEGACY_VARIABLES) {
    const text = env[name];
    if (text === undefined || text === "" || variables.has(name)) continue;
    const where = `variable ${name}`;
    found.set(name, { origin: "bare variable", where, texts: split(settingOf(name), text) });
  }
  return found;
}
