/** Parses the command line into a command and flags. Pure. */

import { formatList, safePrefix } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import { type RawSettings, split } from "./resolve.ts";
import {
  type CommandName,
  commandOf,
  COMMANDS,
  isName,
  longName,
  NAMES,
  type Setting,
  settingOf,
  table,
} from "./settings-table.ts";

export interface ParsedArgs {
  readonly command: CommandName;
  /** `retry` of `outbox retry`; null: the command is not followed by a word. */
  readonly word: string | null;
  readonly found: RawSettings;
  readonly help: boolean;
  readonly version: boolean;
  readonly licenses: boolean;
  readonly errors: readonly string[];
}

interface Flag {
  /** `-` or `--` */
  readonly dashes: string;
  /** The flag without dashes: `tick`, `no-announce-existing`. */
  readonly written: string;
  /** The text after `=`; null: there is no `=`. */
  readonly attached: string | null;
  /** The next argument if it is the flag's value; null otherwise. */
  readonly separate: string | null;
}

/** Flags without a value, valid for every command. */
const GLOBAL_FLAGS: readonly string[] = ["h", "help", "version", "licenses"];

/** Reads all arguments before checking the flags, because the command may come last: `--tick 5s outbox`. */
export function parseArgs(argv: readonly string[]): ParsedArgs {
  const errors: string[] = [];
  const { flags, subcommands } = splitLine(argv);
  const isAsked = (...names: readonly string[]) =>
    flags.some(({ written }) => names.includes(written));
  const found: RawSettings = new Map();
  const { command, word, wordProblems } = readWords(subcommands);
  for (const flag of flags) readFlag(flag, command, { found, errors });
  errors.push(...wordProblems);
  return {
    command,
    word,
    found,
    help: isAsked("h", "help"),
    version: isAsked("version"),
    licenses: isAsked("licenses"),
    errors,
  };
}

/** Not node:util parseArgs: it reads `-monitor` as seven flags, and `--tick --help` as a tick of "--help". */
export function splitLine(argv: readonly string[]): {
  flags: readonly Flag[];
  subcommands: readonly string[];
} {
  const flags: Flag[] = [];
  const subcommands: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    if (argument === "--") {
      subcommands.push(...argv.slice(index + 1));
      break;
    }
    const [, dashes, name, attached] = /^(--?)(\w[^=]*)(?:=(.*))?$/s.exec(argument) ?? [];
    if (dashes === undefined || name === undefined) {
      subcommands.push(argument);
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
    flags.push({ dashes, written, attached: attached ?? null, separate: isValue ? next : null });
  }
  return { flags, subcommands };
}

function takesValue(written: string, next: string): boolean {
  if (GLOBAL_FLAGS.includes(written) || isNegation(written)) return false;
  const setting = flagOfAny(written);
  // The argument after an unknown flag is probably its value, and may be a secret.
  if (setting === null) return !isCommand(next);
  return setting.placeholder !== null;
}

function readWords([first, ...rest]: readonly string[]): {
  command: CommandName;
  word: string | null;
  wordProblems: string[];
} {
  const wordProblems: string[] = [];
  let command: CommandName = "run";
  if (first !== undefined) {
    if (isCommand(first)) command = first;
    else {
      const guess = didYouMean(first, COMMANDS) || `; there are ${formatList(COMMANDS, "and")}`;
      wordProblems.push(`"${safePrefix(first)}" is not a command${guess}`);
    }
  }
  const { subcommands } = commandOf(command);
  let word: string | null = null;
  for (const [index, next] of rest.entries()) {
    if (index > 0 || subcommands.length === 0) {
      wordProblems.push(`"${safePrefix(next)}" is not expected here`);
    } else if (subcommands.includes(next)) {
      word = next;
    } else {
      const guess = didYouMean(next, subcommands);
      wordProblems.push(`"${safePrefix(next)}" is not ${formatList(subcommands, "or")}${guess}`);
    }
  }
  return { command, word, wordProblems };
}

function readFlag(
  { dashes, written, attached, separate }: Flag,
  command: CommandName,
  into: { readonly found: RawSettings; readonly errors: string[] },
): void {
  const { found, errors } = into;
  if (GLOBAL_FLAGS.includes(written)) return;
  const negated = isNegation(written);
  const name = negated ? written.slice("no-".length) : written;
  const setting = flagOf(command, name);
  if (setting === null) {
    errors.push(`${dashes}${safePrefix(written)}: ${notOurs(name, written, command)}`);
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

/** Explains why the command does not have the flag. */
function notOurs(name: string, written: string, command: CommandName): string {
  const owners = ownersOf(name);
  if (owners.length > 0) {
    // For a flag of the settings, the first command that takes it is enough: `run`.
    const shown = isName(name) ? owners.slice(0, 1) : owners;
    return `is a flag of ${formatList(
      shown.map((owner) => `wgmon ${owner}`),
      "and",
    )}`;
  }
  const { flags, takesSettings } = commandOf(command);
  const names = takesSettings ? [...NAMES, "no-announce-existing"] : [];
  const all = [...names, ...Object.keys(flags), "help", "version", "licenses"];
  return `there is no such flag${didYouMean(written, all, (flag) => `--${flag}`)}`;
}

/** The commands that take a flag. */
function ownersOf(name: string): CommandName[] {
  return COMMANDS.filter((command) => flagOf(command, name) !== null);
}

/** The flag of this name, of the first command that takes one. null: no command does. */
export function flagOfAny(name: string): Setting<unknown> | null {
  const [owner] = ownersOf(name);
  return owner === undefined ? null : flagOf(owner, name);
}

function flagOf(command: CommandName, name: string): Setting<unknown> | null {
  const { flags, takesSettings } = commandOf(command);
  if (Object.hasOwn(flags, name)) return flags[name]!;
  return takesSettings && isName(name) ? settingOf(name) : null;
}

/** `no-announce-existing`. Switches of single commands are off by default, so they have no negation. */
function isNegation(written: string): boolean {
  const name = written.slice("no-".length);
  return written.startsWith("no-") && isName(name) && table[name].placeholder === null;
}

export function isCommand(word: string): word is CommandName {
  return COMMANDS.some((command) => command === word);
}
