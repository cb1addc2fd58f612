/** The settings and commands as text: the output of `--help`, and the table in docs/settings.md. Pure. */

import type { RuleKind } from "../alerts/rule.ts";
import { formatList } from "../base/redact.ts";
import {
  commonKeys,
  defaultOf,
  type Key,
  keysOf,
  KIND_SUMMARIES,
  kindKeys,
  KINDS,
} from "../config/alert-keys.ts";
import {
  type Argument,
  COMMAND_NAMES,
  COMMAND_SECTIONS,
  type CommandName,
  commandOf,
  commands,
  operandOf,
} from "../config/commands-table.ts";
import {
  keyOf,
  type Setting,
  SETTING_NAMES,
  SETTING_SECTIONS,
  type SettingName,
  settingOf,
  type SettingSection,
  table,
  variableOf,
} from "../config/settings-table.ts";
import { ADDRESSES, targetOptions } from "../config/targets.ts";
import type { ValueType } from "../config/value-types.ts";

const LINE_COLUMNS = 80;
const MEANING_COLUMN = 30;
const SUMMARY_COLUMN = 22;

const HELP_FLAG = ["-h, --help", "print this help"] as const;
const VERSION_FLAG = ["-V, --version", commands.version.summary] as const;

type Row = readonly [term: string, meaning: string];

/**
 * The output of `wgmon --help`, `wgmon COMMAND --help` and `wgmon COMMAND SUBCOMMAND --help`, with a newline at the end.
 * null: the short help.
 */
export function helpText(command: CommandName | null = null, subcommand = ""): string {
  if (command === null) return shortHelp();
  if (Object.hasOwn(commandOf(command).helps ?? {}, subcommand)) {
    return subcommandHelp(command, subcommand);
  }
  return command === "run" ? runHelp() : commandHelp(command);
}

/** The commands, the flags that are used most, and examples. */
function shortHelp(): string {
  const flags = SETTING_NAMES.filter((name) => settingOf(name).isCommon === true).map(
    (name) => [usage(name, settingOf(name)), shortMeaning(settingOf(name))] as const,
  );
  const commandLists = Object.entries(COMMAND_SECTIONS).map(([section, title]) => {
    const names = COMMAND_NAMES.filter((name) => commandOf(name).section === section);
    return list(
      title,
      names.map((name) => [termOf(name), commandOf(name).summary]),
      SUMMARY_COLUMN,
    );
  });
  const examples = (["run", "events", "peer"] as const)
    .flatMap((name) => commandOf(name).examples.slice(0, 1))
    .map(([line, purpose]) => [`wgmon ${line}`, purpose] as const);
  return `wgmon tells you the moment that a WireGuard peer connects, roams or disconnects.

Usage: wgmon [COMMAND] [flags]

${commandLists.join("\n\n")}

${list("Flags of wgmon run that are used most", [...flags, HELP_FLAG, ["-V, --version", "print the version"]], MEANING_COLUMN)}

${list("Examples", examples, exampleColumn(examples))}

wgmon COMMAND --help lists the flags of a command, wgmon help --all all flags.
More: man 8 wgmon, and docs/README.md of the source.
`;
}

/** All settings, in groups. */
function runHelp(): string {
  const sections = Object.entries(SETTING_SECTIONS).map(([section, title]) =>
    list(
      title,
      settingsOf(section as SettingSection).map((name) => [
        usage(name, settingOf(name)),
        meaning(settingOf(name)),
      ]),
      MEANING_COLUMN,
    ),
  );
  const others: readonly Row[] = [
    HELP_FLAG,
    VERSION_FLAG,
    ["--licenses", "print the licences of wgmon and its components"],
  ];
  return `wgmon run: ${commands.run.summary}

Usage: wgmon [run] [flags]

${examplesOf("run")}

${sections.join("\n\n")}

${list("Other flags", others, MEANING_COLUMN)}

A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d; a size 256MB or 1GiB.

Every flag is also a variable and a key of the settings file (TOML):
--idle-timeout is WGMON_IDLE_TIMEOUT and idle_timeout. A flag overrides a
variable, a variable overrides the file. The file can name peers, more targets,
and alerts:

  [peers."<public key>"]
  name = "alice"
  idle_timeout = "75s"

  [[target]]
  name = "ops"
  url = "https://hooks.example.net/wgmon"
  peers = ["alice"]
  events = ["peer.disconnected"]

  [[alert]]
  name = "office-down"
  kind = "down"
  peers = ["office"]
  for = "2m"

${wrap(targetKeys(), LINE_COLUMNS).join("\n")}
${wrap(alertKinds(), LINE_COLUMNS).join("\n")}
`;
}

function targetKeys(): string {
  const options = formatList(targetOptions(), "and");
  return `A target has ${formatList(ADDRESSES, "or")} (a list: a program and its arguments), and may have ${options}.`;
}

function alertKinds(): string {
  return `An alert has one of the kinds ${formatList(KINDS, "and")}; wgmon alerts examples prints an alert of each. Files in wgmon.d, beside the settings file, may have more of these tables.`;
}

function commandHelp(command: CommandName): string {
  const { summary, flags, takesSettings, relevant = [] } = commandOf(command);
  const own = Object.entries(flags).map(([name, setting]) => commandFlagRow(name, setting));
  const parts = [
    `wgmon ${command}: ${summary}`,
    usagesOf(command)
      .map((line, index) => `${index === 0 ? "Usage:" : "      "} wgmon ${line} [flags]`)
      .join("\n"),
    operandsOf(command)
      .map(({ placeholder, description }) => entry(placeholder, description, MEANING_COLUMN))
      .join("\n"),
    list("Flags", [...own, HELP_FLAG], MEANING_COLUMN),
    relevant.length === 0
      ? ""
      : list(
          "Flags of wgmon run that matter here",
          relevant
            .filter((name) => !Object.hasOwn(flags, name))
            .map((name) => [usage(name, settingOf(name)), shortMeaning(settingOf(name))]),
          MEANING_COLUMN,
        ),
    commandOf(command).exitCodes === undefined
      ? ""
      : wrap(`Exit codes: ${commandOf(command).exitCodes}.`, LINE_COLUMNS).join("\n"),
    examplesOf(command),
    takesSettings
      ? wrap(
          "It reads the same settings as wgmon run, and accepts the flags of all; wgmon run --help lists them.",
          LINE_COLUMNS,
        ).join("\n")
      : "",
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** Only what is about the subcommand. */
function subcommandHelp(command: CommandName, subcommand: string): string {
  const { summary, flags } = commandOf(command).helps![subcommand]!;
  const words = `${command} ${subcommand}`;
  const operand = operandOf(command, subcommand);
  // In the help of the command, these texts begin with the subcommand that they are for.
  const own = (text: string) =>
    text.startsWith(`${subcommand}: `) ? text.slice(subcommand.length + 2) : text;
  const rows = Object.entries(flags).map(([name, setting]) =>
    commandFlagRow(name, { ...setting, description: own(setting.description) }),
  );
  const parts = [
    `wgmon ${words}: ${summary}`,
    `Usage: wgmon ${words}${operand === undefined ? "" : ` ${wordOf(operand)}`} [flags]`,
    operand === undefined
      ? ""
      : entry(operand.placeholder, own(operand.description), MEANING_COLUMN),
    list("Flags", [...rows, HELP_FLAG], MEANING_COLUMN),
    examplesOf(command, words),
    `wgmon ${command} --help describes the whole command.`,
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** A flag of a command and its meaning. Switches of commands are off by default, so the default is not shown. */
export function commandFlagRow(name: string, setting: Setting<unknown>): Row {
  return setting.placeholder === null
    ? [`${short(setting)}--${name}`, setting.description]
    : [usage(name, setting), meaning(setting)];
}

/** @param words what the examples begin with */
function examplesOf(command: CommandName, words = ""): string {
  const rows = commandOf(command)
    .examples.filter(([line]) => `${line} `.startsWith(words === "" ? "" : `${words} `))
    .map(([line, purpose]) => [`wgmon ${line}`, purpose] as const);
  return rows.length === 0 ? "" : list("Examples", rows, exampleColumn(rows));
}

/** The column of the purposes, so that each example fits on one line if possible. */
function exampleColumn(rows: readonly Row[]): number {
  const fitting = rows.filter(
    ([line, purpose]) => line.length + purpose.length + 4 <= LINE_COLUMNS,
  );
  return Math.max(0, ...fitting.map(([line]) => line.length)) + 4;
}

/** `peer NAME`, `outbox` */
function termOf(command: CommandName): string {
  const word = argumentOf(command);
  return word === "" ? command : `${command} ${word}`;
}

/** `NAME`, or `[TEXT]` if it may be left out; empty: the command takes no word. */
function argumentOf(command: CommandName): string {
  const { argument } = commandOf(command);
  return argument === undefined ? "" : wordOf(argument);
}

/** `NAME`, `[TEXT]`, `MATCHER...` */
function wordOf({ placeholder, isOptional, isRepeated }: Argument): string {
  const word = isRepeated === true ? `${placeholder}...` : placeholder;
  return isOptional ? `[${word}]` : word;
}

/** The command with its words: one line, or one for each subcommand if some of them take words of their own. */
export function usagesOf(command: CommandName): string[] {
  const { subcommands, operands } = commandOf(command);
  if (operands !== undefined) {
    const lines = subcommands.map((subcommand) => {
      const operand = operandOf(command, subcommand);
      const word = operand === undefined ? "" : ` ${wordOf(operand)}`;
      return `${command} ${subcommand}${word}`;
    });
    return [command, ...lines];
  }
  // The words of help are the names of all commands.
  const choices = command === "help" ? "COMMAND" : subcommands.join("|");
  const words = [command, choices === "" ? "" : `[${choices}]`, argumentOf(command)];
  return [words.filter((word) => word !== "").join(" ")];
}

/** What the words of the user's own mean. */
export function operandsOf(command: CommandName): Argument[] {
  const { argument, operands = {} } = commandOf(command);
  return [...(argument === undefined ? [] : [argument]), ...Object.values(operands)];
}

export function settingsOf(section: SettingSection): SettingName[] {
  return SETTING_NAMES.filter((name) => table[name].section === section);
}

function list(title: string, rows: readonly Row[], column: number): string {
  return `${title}:\n${rows.map(([term, text]) => entry(term, text, column)).join("\n")}`;
}

/** The kinds of alerts and their keys as a Markdown table. */
export function alertKindsTable(): string {
  const rows = KINDS.flatMap((kind) => {
    const keys = Object.entries<Key<unknown>>(kindKeys[kind]());
    const kindRow = [code(kind), "", "", KIND_SUMMARIES[kind]];
    return [
      kindRow,
      ...keys.map(([name, { description }]) => [
        "",
        code(name),
        shownDefault(kind, name),
        description,
      ]),
    ];
  });
  return markdownTable(["Kind", "Key", "Default", "Meaning"], rows);
}

/** The keys of all rules as a Markdown table. */
export function alertKeysTable(): string {
  const rows = Object.entries<Key<unknown>>(commonKeys()).map(([name, key]) => {
    const usual = shownDefault("hours", name);
    const others = KINDS.filter(
      (kind) => Object.hasOwn(keysOf(kind), name) && shownDefault(kind, name) !== usual,
    );
    const notes = others.map((kind) => `${kind}: ${shownDefault(kind, name)}`);
    return [
      code(name),
      code(tomlExample(key)),
      [usual, ...notes].filter(Boolean).join("; "),
      key.description,
    ];
  });
  return markdownTable(["Key", "Example", "Default", "Meaning"], rows);
}

/** Empty: there is no default. */
function shownDefault(kind: RuleKind, name: string): string {
  const value = defaultOf(kind, name);
  return value === undefined ? "" : code(JSON.stringify(value).replaceAll(",", ", "));
}

function tomlExample({ tomlTypes, example }: ValueType<unknown>): string {
  return tomlTypes[0] === "string" ? JSON.stringify(example) : example;
}

/** The settings as a Markdown table. */
export function settingsTable(): string {
  const rows = settings().map(([name, setting]) => [
    code(usage(name, setting)),
    code(variableOf(name)),
    setting.flagOnly === true ? "" : code(keyOf(name)),
    setting.defaultValue === null ? (setting.defaultNote ?? "") : code(setting.defaultValue),
    setting.description + (setting.separator === undefined ? "" : "; may be repeated"),
  ]);
  return markdownTable(["Flag", "Variable", "Key in the file", "Default", "Meaning"], rows);
}

export function markdownTable(header: readonly string[], rows: readonly string[][]): string {
  return [header, header.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`)
    .join("");
}

function settings(): [string, Setting<unknown>][] {
  return Object.entries(table);
}

/** `-f, ` */
function short(setting: Setting<unknown>): string {
  return setting.short === undefined ? "" : `-${setting.short}, `;
}

/** `--tick DURATION`, `-n, --limit NUMBER`, `--[no-]hold` */
export function usage(name: string, setting: Setting<unknown>): string {
  return setting.placeholder === null
    ? `--[no-]${name}`
    : `${short(setting)}--${name} ${setting.placeholder}`;
}

/** The meaning of a setting and its default. */
export function meaning(setting: Setting<unknown>): string {
  const repeat = setting.separator === undefined ? "" : "; may be repeated";
  return `${setting.description}${repeat} (default: ${setting.defaultValue ?? setting.defaultNote})`;
}

/** The first part of the description, for short lists. */
export function shortMeaning({ description }: Setting<unknown>): string {
  return description.split(/;| \(/)[0]!;
}

function code(text: string): string {
  return `\`${text}\``;
}

/** A flag or command and its meaning, in two columns. The meaning of a long flag begins on the next line. */
function entry(name: string, text: string, column: number): string {
  const left = `  ${name}`;
  const indent = " ".repeat(column);
  const right = wrap(text, LINE_COLUMNS - column).join(`\n${indent}`);
  return left.length < column - 1 ? left.padEnd(column) + right : `${left}\n${indent}${right}`;
}

export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}
