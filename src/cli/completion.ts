/**
 * Shell completion: a script for each shell, and `wgmon __complete WORDS...`, which prints the candidates for the
 * scripts. The candidates come from the tables of settings and commands.
 */

import { MATCHER_FIELDS } from "../alerts/silences.ts";
import { SystemError } from "../base/errors.ts";
import { findFlag, isCommand, splitArguments } from "../config/argv.ts";
import type { Shell } from "../config/command-requests.ts";
import { COMMAND_NAMES, type CommandName, commandOf, operandOf } from "../config/commands-table.ts";
import { type Setting, SETTING_NAMES, settingOf } from "../config/settings-table.ts";
import { listFolder } from "../platform/files.ts";
import bash from "./completion/wgmon.bash" with { type: "text" };
import fish from "./completion/wgmon.fish" with { type: "text" };
import zsh from "./completion/wgmon.zsh" with { type: "text" };

const scripts: Readonly<Record<Shell, string>> = { bash, zsh, fish };

export function completion(shell: Shell): string {
  return scripts[shell];
}

/**
 * Returns the candidates for the last word. They include candidates that do not begin with this word, because the
 * shells filter them. Each line has one of these forms:
 *
 * - `status<TAB>print which peers are connected, ...`: a candidate and, if it has one, its description. For the word
 *   `--monitor=`, the candidates are `--monitor=auto` and so on.
 * - `:file`, `:folder`: the shell completes the word, or the part after its `=`, as a path. It is the only line.
 * - `:rule`, `:alert`, `:silence`, `:gateway`: names that only the running wgmon knows, and after a tab the text before them.
 *   completion-names.ts replaces the line, so the shells do not see it.
 *
 * @param words the words of the command line after `wgmon`. The last one is being completed, and may be empty.
 */
export function complete(words: readonly string[]): string[] {
  const previous = words.slice(0, -1);
  const current = words.at(-1) ?? "";
  const [prefix, name] = /^--?(\w[^=]*)=/.exec(current) ?? [];
  if (name !== undefined) {
    return valuesOf(name).map((value) => {
      if (value === ":rule") return `${value}\t${prefix}`;
      return value.startsWith(":") ? value : `${prefix}${value}`;
    });
  }
  const { flags, positionals } = splitArguments(previous);
  const lastFlag = /^--?\w/.test(previous.at(-1) ?? "") ? flags.at(-1) : undefined;
  if (lastFlag?.attached === null && lastFlag.separate === null && takesValue(lastFlag.written)) {
    return valuesOf(lastFlag.written);
  }
  const [command, ...rest] = positionals;
  if (command !== undefined && !isCommand(command)) return [];
  let candidates: readonly string[] = [];
  if (command === undefined)
    candidates = COMMAND_NAMES.map((each) => `${each}\t${commandOf(each).summary}`);
  else if (rest.length === 0) candidates = wordsAfter(command);
  else candidates = wordsAfterSubcommand(command, rest);
  return current.startsWith("-") || candidates.length === 0 ? flagsFor(command) : [...candidates];
}

/** The subcommands, or the operand of the command itself. */
function wordsAfter(command: CommandName): readonly string[] {
  const { subcommands, argument } = commandOf(command);
  return argument?.suggests === undefined ? subcommands : [`:${argument.suggests}`];
}

function wordsAfterSubcommand(
  command: CommandName,
  [subcommand, ...rest]: readonly string[],
): readonly string[] {
  const operand = operandOf(command, subcommand!);
  const isWanted = operand !== undefined && (rest.length === 0 || operand.isRepeated === true);
  if (!isWanted) return [];
  if (operand.placeholder === "MATCHER") return MATCHER_FIELDS.map((field) => `${field}=`);
  return operand.suggests === undefined ? [] : [`:${operand.suggests}`];
}

function takesValue(flag: string): boolean {
  return (findFlag(flag)?.placeholder ?? null) !== null;
}

function valuesOf(flag: string): string[] {
  const suggests = findFlag(flag)?.suggests ?? [];
  switch (suggests) {
    case "file":
    case "folder":
    case "rule":
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

/** The flags of the command, those of the settings if the command takes them, and the global flags. */
function flagsFor(command: CommandName | undefined): string[] {
  const { flags, takesSettings } = commandOf(command ?? "run");
  const settings = SETTING_NAMES.map((name) => [name, settingOf(name)] as const);
  // A command's flag overrides the setting with the same name.
  const all = { ...(takesSettings ? Object.fromEntries(settings) : {}), ...flags };
  const global =
    command === undefined ? ["--version\tprint versions", "--licenses\tprint licences"] : [];
  return [...Object.entries(all).flatMap(flagLines), "--help\tprint help", ...global];
}

function flagLines([name, setting]: readonly [string, Setting<unknown>]): string[] {
  // Only the first part of the description, to keep the list short.
  const meaning = setting.description.split(/;| \(/)[0]!;
  const line = `--${name}\t${meaning}`;
  // A switch that is on by default also has a negated flag.
  const isOn = setting.placeholder === null && setting.defaultValue === "true";
  return isOn ? [line, `--no-${name}\tnot: ${meaning}`] : [line];
}
