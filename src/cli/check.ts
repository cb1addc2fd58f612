/** `wgmon check`: checks the settings and rules, and prints what they mean. It changes and contacts nothing. */

import { ruleText } from "../alerts/rule-text.ts";
import type { Rule } from "../alerts/rule.ts";
import { matcherOf } from "../alerts/selectors.ts";
import { formatDuration } from "../base/duration.ts";
import { fileName, quoteSafely } from "../base/redact.ts";
import { didYouMean, nearest } from "../base/suggest.ts";
import { counted } from "../base/text.ts";
import { isPublicKey } from "../base/wireguard.ts";
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
  { settings, errors: found, warnings: others }: Checked,
  { print, warn }: Output,
): Promise<number> {
  const errors = [...found, ...(await readPlaces(settings.places)).problems];
  const absent = settings.alerts.flatMap((rule) => absentOf(rule, settings));
  const warnings = [...others, ...absent];
  for (const error of errors) warn(error);
  for (const warning of warnings) warn(`warning: ${warning}`);
  if (errors.length > 0) {
    const more = warnings.length === 0 ? "" : ` and ${counted(warnings.length, "warning")}`;
    print(`${fileOf(settings)}: ${counted(errors.length, "mistake")}${more}`);
    return 2;
  }
  for (const line of summary(settings)) print(line);
  if (absent.length === 0 && settings.alerts.some(({ peers }) => peers.length > 0)) {
    print("");
    print("names of peers are compared when wgmon runs: wgmon doctor shows what matches nothing");
  }
  return 0;
}

/**
 * Returns a warning for each tag that no peer has, because only the settings give tags, and for each name that is
 * probably a misspelling. Other names may be in files with names, which belong to devices.
 */
function absentOf({ name, tags, peers }: Rule, settings: Settings): string[] {
  const configured = [...settings.peers.values()];
  const knownTags = [...new Set(configured.flatMap((peer) => peer.tags))];
  const knownNames = configured.flatMap((peer) => (peer.name === null ? [] : [peer.name]));
  return [
    ...tags
      .filter((word) => !knownTags.some(matcherOf([word])))
      .map(
        (word) =>
          `alert ${name}: no peer in the settings has the tag ${quoteSafely(word)}${didYouMean(word, knownTags)}`,
      ),
    ...peers.flatMap((word) => {
      if (/[*?]/.test(word) || isPublicKey(word) || knownNames.includes(word)) return [];
      const near = nearest(word, knownNames);
      if (near === null || withoutDigits(near) === withoutDigits(word)) return [];
      return [
        `alert ${name}: the settings have no peer ${quoteSafely(word)}; did you mean ${near}?`,
      ];
    }),
  ];
}

/** `site-1` and `site-2` are two peers, not one mistyped. */
function withoutDigits(text: string): string {
  return text.replace(/\d+/g, "");
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
      ...(rule.kind === "down" ? [`    ${delayText(rule, settings)}`] : []),
    ]),
  ];
}

/** When a peer that is down is reported. One whose keepalives wgmon knows is absent before the idle timeout. */
function delayText({ forMs, waitMs }: Rule, { idleTimeoutMs }: Settings): string {
  const text = `first message about ${formatDuration(forMs + waitMs)} after the last activity`;
  if (idleTimeoutMs <= forMs) return text;
  return `${text}; of a peer without PersistentKeepalive ${formatDuration(idleTimeoutMs + waitMs)}`;
}

function fileOf({ file }: Settings): string {
  return file === null ? "no settings file" : fileName(file);
}
