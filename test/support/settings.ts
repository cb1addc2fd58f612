/** Command lines, environments and files for the tests of settings. */

import { ConfigError, SystemError } from "../../src/base/errors.ts";
import { type FormatName, formats } from "../../src/channels/formats/index.ts";
import type { TargetSettings } from "../../src/channels/target-settings.ts";
import { type Command, parseCommand, type Settings } from "../../src/config/config.ts";
import type { TextFile } from "../../src/platform/files.ts";

export const SETTINGS_FILE = "/etc/wgmon/wgmon.toml";

export interface Given {
  readonly env?: Readonly<Record<string, string>>;
  /** The default settings file's text. */
  readonly toml?: string;
  /** Texts by path; a SystemError is thrown when the file is read. */
  readonly files?: Readonly<Record<string, string | SystemError>>;
  /** Replaces the result of `listFolder`; a SystemError is thrown. */
  readonly listing?: readonly string[] | SystemError;
  readonly mode?: TextFile["mode"];
  /** The result of `folderOpenToOthers`; a SystemError is thrown. */
  readonly openFolder?: string | null | SystemError;
}

export function parse(argv: readonly string[], given: Given = {}): Command {
  const {
    env = {},
    toml,
    listing,
    mode = { bits: 0o600, isOwnedByUsOrRoot: true, isRegular: true },
    openFolder = null,
  } = given;
  const files = new Map(Object.entries(given.files ?? {}));
  if (toml !== undefined) files.set(SETTINGS_FILE, toml);
  const orThrow = <Value>(value: Value | SystemError): Value => {
    if (value instanceof SystemError) throw value;
    return value;
  };
  return parseCommand({
    argv,
    env,
    hostname: "gw1",
    readFile(path) {
      const text = orThrow(files.get(path) ?? null);
      return text === null ? null : { text, mode };
    },
    listFolder: (folder) => {
      const names = [...files.keys()].filter((path) => path.startsWith(`${folder}/`));
      return orThrow(listing ?? names.map((path) => path.slice(folder.length + 1)));
    },
    folderOpenToOthers: () => orThrow(openFolder),
  });
}

export function run(
  argv: readonly string[],
  given: Given = {},
): { settings: Settings; warnings: readonly string[] } {
  const command = parse(argv, given);
  if (command.type !== "run") throw new Error(`expected the command run, got ${command.type}`);
  return command;
}

/** The errors in the settings; empty if they are valid. */
export function errors(argv: readonly string[], given: Given = {}): readonly string[] {
  try {
    parse(argv, given);
  } catch (error) {
    if (error instanceof ConfigError) return error.errors;
    throw error;
  }
  return [];
}

/** Settings of a target that has a URL, with defaults for the rest. */
export function webhook(
  url: string,
  formatName: FormatName = "json",
  more: Partial<TargetSettings> = {},
): TargetSettings {
  return {
    name: null,
    destination: { type: "webhook", url, formatName, format: formats[formatName], secrets: [] },
    selection: { events: [], devices: [], peers: [] },
    digestMs: 0,
    timeoutMs: 10_000,
    ...more,
  };
}
