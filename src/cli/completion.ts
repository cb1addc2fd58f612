/**
 * `wgmon completion`: scripts for bash, zsh and fish that complete commands, flags and values, made from the
 * table of settings. The scripts list network interfaces at completion time. Pure.
 */

import type { Shell } from "../config/config.ts";
import { commandOf, COMMANDS, NAMES, type Setting, settingOf } from "../config/settings-table.ts";

/** A flag; `name` has no dashes, such as `tick`. */
interface Flag {
  readonly name: string;
  readonly meaning: string;
  /** Whether the flag needs a value. */
  readonly takesValue: boolean;
  readonly isRepeated: boolean;
  readonly suggests: Setting<unknown>["suggests"];
}

/** How a value is completed: as a file, a folder, an interface or one of some words; null: not completed. */
type Suggestion = NonNullable<Setting<unknown>["suggests"]> | null;

const HELP: Flag = {
  name: "help",
  meaning: "print help",
  takesValue: false,
  isRepeated: false,
  suggests: undefined,
};

export function completion(shell: Shell): string {
  switch (shell) {
    case "bash":
      return bash();
    case "zsh":
      return zsh();
    case "fish":
      return fish();
  }
}

function flagsOf(settings: Iterable<readonly [string, Setting<unknown>]>): Flag[] {
  return [...settings].flatMap(([name, setting]) => {
    const flag: Flag = {
      name,
      // The first part of the sentence is enough for a list.
      meaning: setting.description.split(/;| \(/)[0]!,
      takesValue: setting.placeholder !== null,
      isRepeated: setting.separator !== undefined,
      suggests: setting.suggests,
    };
    // A setting that is a switch and on by default also has a negated flag.
    const isOn = !flag.takesValue && setting.defaultValue === "true";
    return isOn ? [flag, { ...flag, name: `no-${name}`, meaning: `not: ${flag.meaning}` }] : [flag];
  });
}

const settingFlags = () => flagsOf(NAMES.map((name) => [name, settingOf(name)]));

/** The command's own flags, those of the settings if the command takes them, and --help. */
function flagsOfCommand(command: (typeof COMMANDS)[number]): Flag[] {
  const { flags, takesSettings } = commandOf(command);
  // A command's filter may have the name of a setting; then the filter wins.
  const settings = settingFlags().filter(({ name }) => !Object.hasOwn(flags, name));
  return [...flagsOf(Object.entries(flags)), ...(takesSettings ? settings : []), HELP];
}

/** Groups the flags by their suggestion. A flag's suggestion is the same in all commands. */
function bySuggestion(): Map<string, { suggestion: Suggestion; names: string[] }> {
  const groups = new Map<string, { suggestion: Suggestion; names: string[] }>();
  const seen = new Set<string>();
  for (const { name, takesValue, suggests } of COMMANDS.flatMap(flagsOfCommand)) {
    if (!takesValue || seen.has(name)) continue;
    seen.add(name);
    const suggestion = suggests ?? null;
    const key = JSON.stringify(suggestion);
    const group = groups.get(key) ?? { suggestion, names: [] };
    group.names.push(name);
    groups.set(key, group);
  }
  return groups;
}

// ---- bash ----

function bash(): string {
  const values = [...bySuggestion().values()].map(({ suggestion, names }) => {
    const pattern = names.map((name) => `--${name}|-${name}`).join("|");
    return `    ${pattern})\n      ${bashSuggestion(suggestion)}\n      return ;;`;
  });
  const withValue = [...bySuggestion().values()].flatMap(({ names }) => names);
  const commands = COMMANDS.map((command) => {
    const flags = flagsOfCommand(command).map(({ name }) => `--${name}`);
    return `    ${command}) words='${commandOf(command).subcommands.join(" ")}' flags='${flags.join(" ")}' ;;`;
  });
  const ofRun = [
    ...flagsOfCommand("run").map(({ name }) => `--${name}`),
    "--version",
    "--licenses",
    "--licenses",
  ];
  return `# Completion of wgmon for bash, made by: wgmon completion bash
_wgmon() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local command= word= index path words flags
  COMPREPLY=()
  # To bash, --flag=value is three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $previous in
${values.join("\n")}
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    case \${COMP_WORDS[index]} in
      ${withValue.map((name) => `--${name}|-${name}`).join("|")})
        [[ \${COMP_WORDS[index+1]} == = ]] && ((index++))
        ((index++)) ;;
      -*|=) ;;
      *) if [[ -z $command ]]; then command=\${COMP_WORDS[index]}; else word=\${COMP_WORDS[index]}; fi ;;
    esac
  done
  case $command in
    '') words='${COMMANDS.join(" ")}' flags='${ofRun.join(" ")}' ;;
${commands.join("\n")}
    *) return ;;
  esac
  [[ -n $word ]] && words=
  [[ $current == -* ]] && words=$flags
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _wgmon wgmon
`;
}

function bashSuggestion(suggestion: Suggestion): string {
  switch (suggestion) {
    case null:
      return ":";
    case "file":
      return 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current")';
    case "folder":
      return 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$current")';
    case "interface":
      // Interface names may contain almost any character, so offer only those that are safe on a command line.
      return `for path in /sys/class/net/"$current"*; do
        [[ \${path##*/} =~ ^[[:alnum:]_.@-]+$ ]] && COMPREPLY+=("\${path##*/}")
      done`;
    default:
      return `mapfile -t COMPREPLY < <(compgen -W '${suggestion.join(" ")}' -- "$current")`;
  }
}

// ---- zsh ----

function zsh(): string {
  const commands = COMMANDS.map(
    (command) => `    ${quoted(`${command}:${commandOf(command).summary}`)}`,
  );
  const cases = COMMANDS.map((command) => {
    const { subcommands, flags, takesSettings } = commandOf(command);
    const specs = [
      ...[...flagsOf(Object.entries(flags)), HELP].map(zshSpec),
      ...(takesSettings ? ['"$settings[@]"'] : []),
      ...(subcommands.length === 0 ? [] : [quoted(`1:word:(${subcommands.join(" ")})`)]),
    ];
    return `        ${command}) _arguments ${specs.join(" ")} ;;`;
  });
  return `#compdef wgmon
# Completion of wgmon for zsh, made by: wgmon completion zsh
_wgmon() {
  local curcontext=$curcontext state line
  local -a settings commands
  settings=(
${settingFlags()
  .map((flag) => `    ${zshSpec(flag)}`)
  .join("\n")}
  )
  commands=(
${commands.join("\n")}
  )
  _arguments -C "$settings[@]" ${zshSpec(HELP)} '--version[print versions]' '--licenses[print licences]' '1: :->command' '*:: :->rest'
  case $state in
    command) _describe command commands ;;
    rest)
      case $words[1] in
${cases.join("\n")}
      esac ;;
  esac
}
_wgmon_interfaces() {
  local -a names
  names=(/sys/class/net/*(N:t))
  compadd -a names
}
if [[ $funcstack[1] == _wgmon ]]; then _wgmon "$@"; else compdef _wgmon wgmon; fi
`;
}

function zshSpec({ name, meaning, takesValue, isRepeated, suggests }: Flag): string {
  const explanation = meaning.replace(/[[\]\\]/g, String.raw`\$&`);
  const value = takesValue
    ? `=[${explanation}]:value:${zshAction(suggests ?? null)}`
    : `[${explanation}]`;
  return quoted(`${isRepeated ? "*" : ""}--${name}${value}`);
}

function zshAction(suggestion: Suggestion): string {
  switch (suggestion) {
    case null:
      return " ";
    case "file":
      return "_files";
    case "folder":
      return "_files -/";
    case "interface":
      return "_wgmon_interfaces";
    default:
      return `(${escaped(suggestion)})`;
  }
}

// ---- fish ----

function fish(): string {
  const takers = COMMANDS.filter((command) => !commandOf(command).takesSettings);
  const hasNone = `not __fish_seen_subcommand_from ${COMMANDS.join(" ")}`;
  const takesSettings = `not __fish_seen_subcommand_from ${takers.join(" ")}`;
  const lines = [
    ...COMMANDS.map(
      (command) =>
        `complete -c wgmon -n ${quoted(hasNone)} -a ${command} -d ${quoted(commandOf(command).summary)}`,
    ),
    ...settingFlags().map((flag) => fishFlag(flag, takesSettings)),
    `complete -c wgmon -l help -d ${quoted(HELP.meaning)}`,
    `complete -c wgmon -n ${quoted(hasNone)} -l version -d 'print versions'`,
    `complete -c wgmon -n ${quoted(hasNone)} -l licenses -d 'print licences'`,
    ...COMMANDS.flatMap((command) => {
      const { subcommands, flags } = commandOf(command);
      const isGiven = `__fish_seen_subcommand_from ${command}`;
      const wantsWord = `${isGiven}; and not __fish_seen_subcommand_from ${subcommands.join(" ")}`;
      return [
        ...(subcommands.length === 0
          ? []
          : [`complete -c wgmon -n ${quoted(wantsWord)} -a ${quoted(subcommands.join(" "))}`]),
        ...flagsOf(Object.entries(flags)).map((flag) => fishFlag(flag, isGiven)),
      ];
    }),
  ];
  return `# Completion of wgmon for fish, made by: wgmon completion fish
function __wgmon_interfaces
    for path in /sys/class/net/*
        string replace /sys/class/net/ '' -- $path
    end
end
complete -c wgmon -f
${lines.join("\n")}
`;
}

function fishFlag({ name, meaning, takesValue, suggests }: Flag, condition: string): string {
  const value = takesValue ? ` ${fishValue(suggests ?? null)}` : "";
  return `complete -c wgmon -n ${quoted(condition)} -l ${name}${value} -d ${quoted(meaning)}`;
}

function fishValue(suggestion: Suggestion): string {
  switch (suggestion) {
    case null:
      return "-x";
    case "file":
      return "-r -F";
    case "folder":
      return "-x -a '(__fish_complete_directories)'";
    case "interface":
      return "-x -a '(__wgmon_interfaces)'";
    default:
      return `-x -a ${quoted(escaped(suggestion))}`;
  }
}

/** zsh and fish parse the words as a list of their own, in which an unescaped * would match files. */
function escaped(words: readonly string[]): string {
  return words.map((word) => word.replace(/[^\w.-]/g, String.raw`\$&`)).join(" ");
}

/** Quotes a text for all three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
