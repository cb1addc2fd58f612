/** The settings and commands as text: the output of `--help`, and the table in docs/settings.md. Pure. */

import { formatList } from "../base/redact.ts";
import {
  type CommandName,
  commandOf,
  commands,
  keyOf,
  type Setting,
  table,
  variableOf,
} from "../config/settings-table.ts";
import { ADDRESSES, targetOptions } from "../config/targets.ts";

const LINE_COLUMNS = 80;
const MEANING_COLUMN = 30;
const SUMMARY_COLUMN = 21;

const HELP_FLAG = ["-h, --help", "print this help"] as const;

/** The output of `wgmon --help` and `wgmon COMMAND --help`, with a newline at the end. null: the general help. */
export function helpText(command: CommandName | null = null): string {
  return command === null ? generalHelp() : commandHelp(command);
}

function generalHelp(): string {
  const flags = [
    ...settings().map(([name, setting]) => [usage(name, setting), meaning(setting)] as const),
    HELP_FLAG,
    ["--version", commands.version.summary] as const,
    ["--licenses", "print the licences of wgmon and its components"] as const,
  ];
  return `wgmon tells you the moment that a WireGuard peer connects, roams or disconnects.

Usage: wgmon [run] [flags]
       wgmon COMMAND [flags]

Commands:
${Object.entries(commands)
  .map(([name, { summary }]) => entry(name, summary, SUMMARY_COLUMN))
  .join("\n")}

Flags:
${flags.map(([flag, text]) => entry(flag, text, MEANING_COLUMN)).join("\n")}

A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d; a size 256MB or 1GiB.

Every flag is also a variable and a key of the settings file (TOML):
--idle-timeout is WGMON_IDLE_TIMEOUT and idle_timeout. A flag overrides a
variable, a variable overrides the file. The file can name peers and more
targets:

  [peers."<public key>"]
  name = "alice"
  idle_timeout = "75s"

  [[target]]
  name = "ops"
  url = "https://hooks.example.net/wgmon"
  peers = ["alice"]
  events = ["peer.disconnected"]

${wrap(targetKeys(), LINE_COLUMNS).join("\n")}
`;
}

function targetKeys(): string {
  const options = formatList(targetOptions(), "and");
  return `A target has ${formatList(ADDRESSES, "or")} (a list: a program and its arguments), and may have ${options}.`;
}

function commandHelp(command: CommandName): string {
  const { summary, subcommands, flags, takesSettings } = commandOf(command);
  // Switches of commands are off by default, so the default is not shown.
  const own = Object.entries(flags).map(([name, setting]) =>
    setting.placeholder === null
      ? ([`${short(setting)}--${name}`, setting.description] as const)
      : ([usage(name, setting), meaning(setting)] as const),
  );
  const lines = [...own, HELP_FLAG].map(([flag, text]) => entry(flag, text, MEANING_COLUMN));
  const choices = command === "help" ? "COMMAND" : subcommands.join("|");
  const choice = choices === "" ? "" : ` [${choices}]`;
  const more = takesSettings
    ? `\nIt reads the same settings as wgmon run and takes the same flags, such as\n--config; wgmon --help lists them.\n`
    : "";
  return `wgmon ${command}: ${summary}

Usage: wgmon ${command}${choice} [flags]

Flags:
${lines.join("\n")}
${more}`;
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

function usage(name: string, setting: Setting<unknown>): string {
  return setting.placeholder === null ? `--[no-]${name}` : `--${name} ${setting.placeholder}`;
}

/** The meaning of a setting and its default. */
export function meaning(setting: Setting<unknown>): string {
  const repeat = setting.separator === undefined ? "" : "; may be repeated";
  return `${setting.description}${repeat} (default: ${setting.defaultValue ?? setting.defaultNote})`;
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
