/** Parses the command line into a command and flags. Pure. */

import { formatList, safePrefix } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import {
  COMMAND_NAMES,
  type CommandName,
  commandOf,
  longName,
  operandOf,
} from "./commands-table.ts";
import { type RawSettings, split } from "./resolve.ts";
import { isSettingName, type Setting, SETTING_NAMES, settingOf, table } from "./settings-table.ts";

export interface ParsedArgs {
  readonly command: CommandName;
  /** Whether the arguments name a command. If not, it is `run`. */
  readonly commandWord: "absent" | "known" | "unknown";
  /** `retry` of `outbox retry`; null: no subcommand is given. */
  readonly subcommand: string | null;
  /** The first word of the user's own: `alice` of `peer alice`; null: none is given. */
  readonly argument: string | null;
  /** All words of the user's own: `peer=alice` and `device=wg0` of `silence add peer=alice device=wg0`. */
  readonly operands: readonly string[];
  /** The given flags, by name. */
  readonly found: RawSettings;
  readonly help: boolean;
  readonly version: boolean;
  readonly licenses: boolean;
  readonly errors: readonly string[];
}

interface Flag {
  /** As it is on the command line, without a value: `--tick`, `-f`. */
  readonly original: string;
  /** The long name, without dashes: `tick`, `no-announce-existing`. */
  readonly written: string;
  /** The text after `=`; null: there is no `=`. */
  readonly attached: string | null;
  /** The next argument if it is the flag's value; null otherwise. */
  readonly separate: string | null;
}

/** Flags without a value, valid for every command. */
const GLOBAL_FLAGS: readonly string[] = ["h", "help", "V", "version", "licenses"];

/**
 * Parses the arguments. Splits all of them before it checks the flags, because the command may come last:
 * `--tick 5s outbox`.
 */
export function parseArgs(argv: readonly string[]): ParsedArgs {
  const errors: string[] = [];
  const { flags, positionals } = splitArguments(argv);
  const isAsked = (...names: readonly string[]) =>
    flags.some(({ written }) => names.includes(written));
  const found: RawSettings = new Map();
  const { problems, ...words } = readPositionals(positionals);
  for (const flag of flags) readFlag(flag, words.command, { found, errors });
  errors.push(...problems);
  return {
    ...words,
    found,
    help: isAsked("h", "help"),
    // With a command, -v could also mean verbose, as for many other programs.
    version: isAsked("V", "version") || (positionals.length === 0 && isAsked("v")),
    licenses: isAsked("licenses"),
    errors,
  };
}

/**
 * Splits arguments into flags and positional arguments: the command and its subcommand. Does not use parseArgs of
 * node:util, which parses `-monitor` as seven flags, and `--tick --help` as the flag tick with the value `--help`.
 */
export function splitArguments(argv: readonly string[]): {
  flags: readonly Flag[];
  positionals: readonly string[];
} {
  const flags: Flag[] = [];
  const positionals: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    const count = /^-([a-z])(\d+)$/i.exec(argument);
    if (count !== null && longName(count[1]!) !== count[1]) {
      const [, letter, attached] = count as unknown as [string, string, string];
      flags.push({ original: `-${letter}`, written: longName(letter), attached, separate: null });
      continue;
    }
    if (argument === "--") {
      positionals.push(...argv.slice(index + 1));
      break;
    }
    const [, dashes, name, attached] = /^(--?)(\w[^=]*)(?:=(.*))?$/s.exec(argument) ?? [];
    if (dashes === undefined || name === undefined) {
      positionals.push(argument);
      continue;
    }
    const written = longName(name);
    const next = argv[index + 1];
    const isValue =
      attached === undefined &&
      next !== undefined &&
      !/^--?[a-z]|^--$/i.test(next) &&
      takesValue(written, next);
    if (isValue) index++;
    const original = `${dashes}${name}`;
    flags.push({ original, written, attached: attached ?? null, separate: isValue ? next : null });
  }
  return { flags, positionals };
}

/** The subcommands of a command of which help is wanted. */
function subcommandsOf(command: string | null): readonly string[] {
  return command !== null && isCommand(command) ? commandOf(command).subcommands : [];
}

function takesValue(written: string, next: string): boolean {
  if (GLOBAL_FLAGS.includes(written) || written === "v" || isNegation(written)) return false;
  const setting = findFlag(written);
  // The argument after an unknown flag is probably its value, and may be a secret.
  if (setting === null) return !isCommand(next);
  return setting.placeholder !== null;
}

function readPositionals([first, ...rest]: readonly string[]): {
  command: CommandName;
  commandWord: ParsedArgs["commandWord"];
  subcommand: string | null;
  argument: string | null;
  operands: readonly string[];
  problems: string[];
} {
  const problems: string[] = [];
  let command: CommandName = "run";
  let commandWord: ParsedArgs["commandWord"] = "absent";
  if (first !== undefined) {
    commandWord = isCommand(first) ? "known" : "unknown";
    if (isCommand(first)) command = first;
    else problems.push(explainUnknownCommand(first));
  }
  const { subcommands, argument } = commandOf(command);
  let wanted = argument;
  let subcommand: string | null = null;
  const operands: string[] = [];
  for (const [index, next] of rest.entries()) {
    const hasAll = operands.length > 0 && wanted?.isRepeated !== true;
    if (wanted !== undefined && !hasAll && next !== "") {
      operands.push(next);
    } else if (wanted !== undefined && hasAll) {
      const hint = "write a name with spaces in quotes";
      problems.push(`"${safePrefix(next)}" is not expected here; ${hint}`);
    } else if (command === "help" && index === 1 && subcommandsOf(subcommand).includes(next)) {
      operands.push(next);
    } else if (index > 0 || subcommands.length === 0) {
      problems.push(`"${safePrefix(next)}" is not expected here`);
    } else if (subcommands.includes(next)) {
      subcommand = next;
      wanted = operandOf(command, next);
    } else if (command === "help") {
      problems.push(explainUnknownCommand(next));
    } else {
      const guess = didYouMean(next, subcommands);
      problems.push(`"${safePrefix(next)}" is not ${formatList(subcommands, "or")}${guess}`);
    }
  }
  return {
    command,
    commandWord,
    subcommand,
    argument: operands[0] ?? null,
    operands,
    problems,
  };
}

function explainUnknownCommand(word: string): string {
  if (word === "reload") {
    return '"reload" is not a command: use systemctl reload wgmon, or kill -HUP';
  }
  const guess =
    didYouMean(word, COMMAND_NAMES) || `; there are ${formatList(COMMAND_NAMES, "and")}`;
  return `"${safePrefix(word)}" is not a command${guess}`;
}

function readFlag(
  { original, written, attached, separate }: Flag,
  command: CommandName,
  into: { readonly found: RawSettings; readonly errors: string[] },
): void {
  const { found, errors } = into;
  if (GLOBAL_FLAGS.includes(written)) return;
  if (written === "v") {
    errors.push("-v: there is no such flag; -V prints the version, --log-level debug logs more");
    return;
  }
  const negated = isNegation(written);
  const name = negated ? written.slice("no-".length) : written;
  const setting = flagOf(command, name);
  if (setting === null) {
    const [, dashes, letters] = /^(-+)(.*)$/s.exec(original)!;
    errors.push(`${dashes}${safePrefix(letters!)}: ${explainUnknownFlag(name, written, command)}`);
    return;
  }

  const where = `--${written}`;
  let text: string;
  if (negated) {
    if (attached !== null) errors.push(`${where}: takes no value; write --${name}=false`);
    text = "false";
  } else if (attached !== null || separate !== null) {
    text = attached ?? separate!;
  } else if (setting.placeholder === null) {
    text = "true";
  } else {
    errors.push(`${where}: the value is missing; write ${where} ${setting.example}`);
    return;
  }

  const before = found.get(name);
  if (before !== undefined && setting.separator === undefined) {
    errors.push(`--${name}: is given more than once; give it once`);
  }
  const texts = [...(before?.texts ?? []), ...split(setting, text)];
  found.set(name, { origin: "flag", where, texts });
}

/** The error for a flag that the command does not have; it names the commands that have the flag, or a similar flag. */
function explainUnknownFlag(name: string, written: string, command: CommandName): string {
  const owners = ownersOf(name);
  if (owners.length > 0) {
    // Many commands take the flags of the settings; naming the first one, `run`, is enough.
    const shown = isSettingName(name) ? owners.slice(0, 1) : owners;
    return `is a flag of ${formatList(
      shown.map((owner) => `wgmon ${owner}`),
      "and",
    )}`;
  }
  const { flags, takesSettings } = commandOf(command);
  const names = takesSettings ? [...SETTING_NAMES, "no-announce-existing"] : [];
  const all = [...names, ...Object.keys(flags), "help", "version", "licenses"];
  return `there is no such flag${didYouMean(written, all, (flag) => `--${flag}`)}`;
}

/** The commands that take a flag. */
function ownersOf(name: string): CommandName[] {
  return COMMAND_NAMES.filter((command) => flagOf(command, name) !== null);
}

/** The flag with this name, of the first command that takes it; null: no command takes it. */
export function findFlag(name: string): Setting<unknown> | null {
  const [owner] = ownersOf(name);
  return owner === undefined ? null : flagOf(owner, name);
}

function flagOf(command: CommandName, name: string): Setting<unknown> | null {
  const { flags, takesSettings } = commandOf(command);
  if (Object.hasOwn(flags, name)) return flags[name]!;
  return takesSettings && isSettingName(name) ? settingOf(name) : null;
}

/** Whether it is the negation of a setting: `no-announce-existing`. Switches that are not settings have no negation. */
function isNegation(written: string): boolean {
  const name = written.slice("no-".length);
  return written.startsWith("no-") && isSettingName(name) && table[name].placeholder === null;
}

export function isCommand(word: string): word is CommandName {
  return COMMAND_NAMES.some((command) => command === word);
}
