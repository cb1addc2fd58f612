/**
 * Shell completion: a script for each shell, and `wgmon __complete WORDS...`, which the scripts ask for the candidates.
 * The candidates come from the table of settings.
 */

import { SystemError } from "../base/errors.ts";
import { flagOfAny, isCommand, splitLine } from "../config/argv.ts";
import type { Shell } from "../config/command-requests.ts";
import {
  type CommandName,
  commandOf,
  COMMANDS,
  NAMES,
  type Setting,
  settingOf,
} from "../config/settings-table.ts";
import { listFolder } from "../platform/files.ts";
import bash from "./completion/wgmon.bash" with { type: "text" };
import fish from "./completion/wgmon.fish" with { type: "text" };
import zsh from "./completion/wgmon.zsh" with { type: "text" };

const scripts: Readonly<Record<Shell, string>> = { bash, zsh, fish };

export function completion(shell: Shell): string {
  return scripts[shell];
}

/**
 * The candidates for the last of the words, which were typed after `wgmon`; it may be empty. Candidates that do not
 * begin with it are included: the shells compare, each in its own way. Each line is one of:
 *
 * - `status<TAB>print who is connected, ...`: a candidate and, if it has one, its description. Behind `--monitor=` the
 *   candidates are `--monitor=auto` and so on.
 * - `:file`, `:folder`: the shell completes the word, or its part behind the `=`, as a path. It is the only line.
 */
export function complete(words: readonly string[]): string[] {
  const earlier = words.slice(0, -1);
  const current = words.at(-1) ?? "";
  const [prefix, name] = /^--?(\w[^=]*)=/.exec(current) ?? [];
  if (name !== undefined) {
    return valuesOf(name).map((value) => (value.startsWith(":") ? value : `${prefix}${value}`));
  }
  const { flags, subcommands } = splitLine(earlier);
  const last = /^--?\w/.test(earlier.at(-1) ?? "") ? flags.at(-1) : undefined;
  if (last?.attached === null && last.separate === null && takesValue(last.written)) {
    return valuesOf(last.written);
  }
  const [command, ...rest] = subcommands;
  if (command !== undefined && !isCommand(command)) return [];
  let plain: readonly string[] = [];
  if (command === undefined) plain = COMMANDS.map((each) => `${each}\t${commandOf(each).summary}`);
  else if (rest.length === 0) plain = commandOf(command).subcommands;
  return current.startsWith("-") || plain.length === 0 ? flagsFor(command) : [...plain];
}

function takesValue(flag: string): boolean {
  return (flagOfAny(flag)?.placeholder ?? null) !== null;
}

function valuesOf(flag: string): string[] {
  const suggests = flagOfAny(flag)?.suggests ?? [];
  switch (suggests) {
    case "file":
    case "folder":
      return [`:${suggests}`];
    case "interface":
      return interfaces();
    default:
      return [...suggests];
  }
}

function interfaces(): string[] {
  try {
    return listFolder("/sys/class/net").filter((name) => !name.startsWith("."));
  } catch (error) {
    if (error instanceof SystemError) return [];
    throw error;
  }
}

/** The command's own flags, those of the settings if the command takes them, and those that need no command. */
function flagsFor(command: CommandName | undefined): string[] {
  const { flags, takesSettings } = commandOf(command ?? "run");
  const settings = NAMES.map((name) => [name, settingOf(name)] as const);
  // A command's filter may have the name of a setting; then the filter wins.
  const all = { ...(takesSettings ? Object.fromEntries(settings) : {}), ...flags };
  const global =
    command === undefined ? ["--version\tprint versions", "--licenses\tprint licences"] : [];
  return [...Object.entries(all).flatMap(flagLines), "--help\tprint help", ...global];
}

function flagLines([name, setting]: readonly [string, Setting<unknown>]): string[] {
  // The first part of the sentence is enough for a list.
  const meaning = setting.description.split(/;| \(/)[0]!;
  const line = `--${name}\t${meaning}`;
  // A switch that is on by default also has a negated flag.
  const isOn = setting.placeholder === null && setting.defaultValue === "true";
  return isOn ? [line, `--no-${name}\tnot: ${meaning}`] : [line];
}
