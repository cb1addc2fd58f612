/** `wgmon check`: checks the settings and rules, and prints what they mean. It changes and contacts nothing. */

import { ruleText } from "../alerts/rule-text.ts";
import { fileName } from "../base/redact.ts";
import { counted } from "../base/text.ts";
import type { Settings } from "../config/config.ts";
import { describe } from "../config/describe-settings.ts";
import { receiversOf } from "../config/receivers.ts";
import { readPlaces } from "../names/places.ts";

interface Checked {
  readonly settings: Settings;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

interface Output {
  readonly print: (line: string) => void;
  /** Prints a line to standard error. */
  readonly warn: (line: string) => void;
}

/** Returns the exit code: 2 if there are mistakes. */
export async function runCheck(
  { settings, errors: found, warnings }: Checked,
  { print, warn }: Output,
): Promise<number> {
  const errors = [...found, ...(await readPlaces(settings.places)).problems];
  for (const error of errors) warn(error);
  for (const warning of warnings) warn(`warning: ${warning}`);
  if (errors.length > 0) {
    const others = warnings.length === 0 ? "" : ` and ${counted(warnings.length, "warning")}`;
    print(`${fileOf(settings)}: ${counted(errors.length, "mistake")}${others}`);
    return 2;
  }
  for (const line of summary(settings)) print(line);
  return 0;
}

/** The targets, and the rules in words. */
function summary(settings: Settings): string[] {
  const { targets, alerts, peers } = settings;
  const described = describe(settings)["targets"] as readonly string[];
  return [
    `${fileOf(settings)}: correct; ${counted(targets.length, "target")}, ${counted(alerts.length, "alert")}, ${counted(peers.size, "peer")}`,
    ...(targets.length === 0 ? [] : ["", "Targets:", ...described.map((each) => `  ${each}`)]),
    ...(alerts.length === 0 ? [] : ["", "Alerts:"]),
    ...alerts.flatMap((rule) => [
      `  ${rule.name} (${rule.kind})`,
      ...ruleText(rule, receiversOf(rule, targets)).map((each) => `    ${each}`),
    ]),
  ];
}

function fileOf({ file }: Settings): string {
  return file === null ? "no settings file" : fileName(file);
}
