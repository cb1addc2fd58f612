/** Parses the command line into a command and flags. Pure. */

import { beginning, listed } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import { type Found, split } from "./resolve.ts";
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

export interface Line {
  readonly command: CommandName;
  /** `retry` of `outbox retry`; null: the command is not followed by a word. */
  readonly word: string | null;
  readonly found: Found;
  readonly help: boolean;
  readonly version: boolean;
  readonly licenses: boolean;
  readonly problems: readonly string[];
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
const ALONE: readonly string[] = ["h", "help", "version", "licenses"];

/** Reads all arguments before checking the flags, because the command may come last: `--tick 5s outbox`. */
export function readLine(argv: readonly string[]): Line {
  const problems: string[] = [];
  const { flags, words } = splitLine(argv);
  const isAsked = (...names: readonly string[]) =>
    flags.some(({ written }) => names.includes(written));
  const found: Found = new Map();
  const { command, word, wordProblems } = readWords(words);
  for (const flag of flags) readFlag(flag, command, { found, problems });
  problems.push(...wordProblems);
  return {
    command,
    word,
    found,
    help: isAsked("h", "help"),
    version: isAsked("version"),
    licenses: isAsked("licenses"),
    problems,
  };
}

/** Not node:util parseArgs: it reads `-monitor` as seven flags, and `--tick --help` as a tick of "--help". */
function splitLine(argv: readonly string[]): { flags: readonly Flag[]; words: readonly string[] } {
  const flags: Flag[] = [];
  const words: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    if (argument === "--") {
      words.push(...argv.slice(index + 1));
      break;
    }
    const [, dashes, name, attached] = /^(--?)(\w[^=]*)(?:=(.*))?$/s.exec(argument) ?? [];
    if (dashes === undefined || name === undefined) {
      words.push(argument);
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
  return { flags, words };
}

function takesValue(written: string, next: string): boolean {
  if (ALONE.includes(written) || isNegation(written)) return false;
  const owner = COMMANDS.find((command) => flagOf(command, written) !== null);
  // The argument after an unknown flag is probably its value, and may be a secret.
  if (owner === undefined) return !isCommand(next);
  return flagOf(owner, written)!.placeholder !== null;
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
      const guess = didYouMean(first, COMMANDS) || `; there are ${listed(COMMANDS, "and")}`;
      wordProblems.push(`"${beginning(first)}" is not a command${guess}`);
    }
  }
  const { words } = commandOf(command);
  let word: string | null = null;
  for (const [index, next] of rest.entries()) {
    if (index > 0 || words.length === 0) {
      wordProblems.push(`"${beginning(next)}" is not expected here`);
    } else if (words.includes(next)) {
      word = next;
    } else {
      const guess = didYouMean(next, words);
      wordProblems.push(`"${beginning(next)}" is not ${listed(words, "or")}${guess}`);
    }
  }
  return { command, word, wordProblems };
}

function readFlag(
  { dashes, written, attached, separate }: Flag,
  command: CommandName,
  into: { readonly found: Found; readonly problems: string[] },
): void {
  const { found, problems } = into;
  if (ALONE.includes(written)) return;
  const negated = isNegation(written);
  const name = negated ? written.slice("no-".length) : written;
  const setting = flagOf(command, name);
  if (setting === null) {
    problems.push(`${dashes}${beginning(written)}: ${notOurs(name, written, command)}`);
    return;
  }

  const where = `--${written}`;
  let text: string;
  if (negated) {
    if (attached !== null) problems.push(`${where}: takes no value; write --${name}=false`);
    text = "false";
  } else if (attached !== null || separate !== null) {
    text = attached ?? separate!;
  } else if (setting.placeholder === null) {
    text = "true";
  } else {
    problems.push(`${where}: the value is missing; write ${where} ${setting.example}`);
    return;
  }

  const before = found.get(name);
  if (before !== undefined && setting.separator === undefined) {
    problems.push(`--${name}: is given more than once; give it once`);
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
    return `is a flag of ${listed(
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

function isCommand(word: string): word is CommandName {
  return COMMANDS.some((command) => command === word);
}
