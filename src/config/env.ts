/** Settings from environment variables. Pure. */

import { safePrefix } from "../base/redact.ts";
import { didYouMean, nearest, suggest } from "../base/suggest.ts";
import { firstOf } from "../base/text.ts";
import { type RawSettings, type Sources, split } from "./resolve.ts";
import { SETTING_NAMES, type SettingName, settingOf, variableOf } from "./settings-table.ts";

/** Variables of the Go program, so that its users can switch without changing them. */
const LEGACY_VARIABLES: readonly SettingName[] = [
  "monitor",
  "group",
  "interface",
  "filter",
  "webhook",
];

/** Variables with our prefix that are not settings: those of the tests. */
const TEST_VARIABLE = /^WGMON_(KERNEL_TESTS|TEST_)/;

/** Maximum number of variables in the warning about unknown ones. */
const SHOWN_MAX = 5;

/**
 * @param errors receives a message for each misspelt variable.
 * @param warnings receives one message about all other unknown variables.
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
    const name = SETTING_NAMES.find((candidate) => variableOf(candidate) === variable);
    if (name !== undefined) {
      found.set(name, { origin: "variable", where: variable, texts: split(settingOf(name), text) });
      continue;
    }
    if (TEST_VARIABLE.test(variable) || isOfService(variable, text)) continue;
    const written = variable.slice("WGMON_".length).replaceAll("_", "-");
    if (nearest(written, SETTING_NAMES) === null) {
      const guess = suggest(written, SETTING_NAMES) as SettingName | null;
      const meant = guess === null ? "" : ` (did you mean ${variableOf(guess)}?)`;
      unknown.push(`${safePrefix(variable)}${meant}`);
    } else {
      const guess = didYouMean(written, SETTING_NAMES, variableOf);
      errors.push(`${safePrefix(variable)}: there is no such variable${guess}`);
    }
  }
  if (unknown.length > 0) warnings.push(unknownWarning(unknown));
  return found;
}

function unknownWarning(unknown: readonly string[]): string {
  return `unknown environment variables are ignored: ${firstOf(unknown, SHOWN_MAX).join(", ")}`;
}

/**
 * Whether Kubernetes or Docker has set the variable in a container for a service whose name begins with wgmon.
 * Kubernetes sets variables of the first, the second and the fourth form ("Accessing the Service", environment
 * variables). Docker links set those of the second form and all later ones ("Legacy container links").
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

/** Settings from the bare variables of the Go program, such as `monitor`, if no variable with our prefix sets them. */
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
