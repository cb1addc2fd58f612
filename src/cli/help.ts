/** The settings for people to read: the text of `--help`, and the table in the README. Pure. */

import { keyOf, type Setting, table, variableOf } from "../config.ts";

const LINE_COLUMNS = 80;
const MEANING_COLUMN = 30;

/** What `wgmon --help` prints, with the newline at its end. */
export function helpText(): string {
  const flags = [
    ...all().map(([name, setting]) => [usage(name, setting), meaning(setting)] as const),
    ["-h, --help", "print this"] as const,
    ["--version", "print the versions of wgmon and of what it stands on"] as const,
  ];
  return `wgmon tells you the moment that a WireGuard peer connects, roams or disconnects.

Usage: wgmon [run] [flags]
       wgmon help
       wgmon version

Flags:
${flags.map(([flag, text]) => entry(flag, text)).join("\n")}

A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d.

Every flag is also a variable and a key of the settings file (TOML):
--idle-timeout is WGMON_IDLE_TIMEOUT and idle_timeout. A flag overrules a
variable, and a variable the file. The file can name peers as well:

  [peers."<public key>"]
  name = "alice"
  idle_timeout = "75s"
`;
}

/** The same as a Markdown table. */
export function settingsTable(): string {
  const rows = all().map(([name, setting]) => [
    code(usage(name, setting)),
    code(variableOf(name)),
    setting.flagOnly === true ? "" : code(keyOf(name)),
    setting.initial === null ? (setting.otherwise ?? "") : code(setting.initial),
    setting.meaning + (setting.separator === undefined ? "" : "; may be repeated"),
  ]);
  const header = ["Flag", "Variable", "Key in the file", "Default", "Meaning"];
  return [header, header.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`)
    .join("");
}

function all(): [string, Setting<unknown>][] {
  return Object.entries(table);
}

function usage(name: string, setting: Setting<unknown>): string {
  return setting.placeholder === null ? `--[no-]${name}` : `--${name} ${setting.placeholder}`;
}

function meaning(setting: Setting<unknown>): string {
  const repeat = setting.separator === undefined ? "" : "; may be repeated";
  return `${setting.meaning}${repeat} (default: ${setting.initial ?? setting.otherwise})`;
}

function code(text: string): string {
  return `\`${text}\``;
}

/** A flag and its meaning in two columns; a long flag has a line of its own. */
function entry(flag: string, text: string): string {
  const left = `  ${flag}`;
  const indent = " ".repeat(MEANING_COLUMN);
  const right = wrap(text, LINE_COLUMNS - MEANING_COLUMN).join(`\n${indent}`);
  return left.length < MEANING_COLUMN - 1
    ? left.padEnd(MEANING_COLUMN) + right
    : `${left}\n${indent}${right}`;
}

function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}
