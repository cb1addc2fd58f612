/**
 * Reads the settings file: TOML, with a key for each setting, and tables for peers, targets and alerts. The files of the
 * folder wgmon.d beside it may have more tables.
 */

import { parse, TomlError } from "smol-toml";

import { SystemError } from "../base/errors.ts";
import { fileName, formatList, quoteSafely, safePrefix } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import { isPublicKey, type PublicKey } from "../base/wireguard.ts";
import type { FileMode, TextFile } from "../platform/files.ts";
import {
  isTable,
  type NamedFile,
  parseAll,
  type Parsed,
  type RawSettings,
  type Sources,
  textsOfToml,
  typeName,
} from "./resolve.ts";
import { keyOf, SETTING_NAMES, type SettingName, settingOf, table } from "./settings-table.ts";
import { boolean, peerName, peerTag, type ValueType } from "./value-types.ts";

/** Maximum number of tags of one peer. Each event of the peer contains all of them. */
export const TAGS_MAX = 16;

export interface PeerSettings {
  readonly name: string | null;
  /** In the order of the settings file. */
  readonly tags: readonly string[];
  /** null: the idle timeout for all peers applies. */
  readonly idleTimeoutMs: number | null;
  /** Whether targets get no events about the peer. */
  readonly mute: boolean;
}

export interface SettingsFile {
  /** null: there is no settings file. */
  readonly path: string | null;
  readonly found: RawSettings;
  readonly peers: ReadonlyMap<PublicKey, PeerSettings>;
  /** The settings file, if there is one, and the files of wgmon.d in the order of their names. */
  readonly parts: readonly SettingsPart[];
}

/** A file with tables that other modules read. */
export interface SettingsPart {
  readonly path: string;
  /** The mode of the file when it was read; null: unknown. */
  readonly mode: FileMode | null;
  /** The name of the file in messages. */
  readonly where: string;
  readonly text: string;
  /** The unchecked value of the key `target`, which targets.ts reads; undefined: the key is absent. */
  readonly target: unknown;
  /** The same of `alert`, which alerts.ts reads. */
  readonly alert: unknown;
}

/** The keys of tables. */
const TABLES = ["peers", "target", "alert"] as const;

/** The folder with more files, beside the settings file. */
const FOLDER = "wgmon.d";

/** Reads the settings file and wgmon.d. `named` is null if there is no file to read. */
export function readSettingsFile(
  sources: Sources,
  named: NamedFile | null,
  errors: string[],
): SettingsFile {
  const found: RawSettings = new Map();
  const peers = new Map<PublicKey, PeerSettings>();
  const parts: SettingsPart[] = [];
  if (named === null) return { path: null, found, peers, parts };

  const main = readPart(sources, named, errors);
  if (main === null && !named.isOptional) return { path: null, found, peers, parts };
  const names = SETTING_NAMES.filter(inFile);
  const keys = [...names.map(keyOf), ...TABLES];
  for (const [key, value] of Object.entries(main?.others ?? {})) {
    const { where } = main!;
    const name = names.find((candidate) => keyOf(candidate) === key);
    if (name === undefined) {
      errors.push(unknownKey(key, where, keys));
      continue;
    }
    const place = `${where}: ${key}`;
    const texts = textsOfToml(settingOf(name), { value, where: place }, errors);
    if (texts !== null) found.set(name, { origin: "file", where: place, texts });
  }
  const read = main === null ? [] : [main];
  for (const path of filesOfFolder(sources, named.path, errors)) {
    const part = readPart(sources, { path, where: "", isOptional: true }, errors);
    if (part === null) continue;
    read.push(part);
    for (const key of Object.keys(part.others)) {
      errors.push(
        keys.includes(key)
          ? `${part.where}: ${key} is allowed only in ${fileName(named.path)}; here are allowed ${formatList(TABLES, "and")}`
          : unknownKey(key, part.where, TABLES),
      );
    }
  }
  const owners = new Map<string, string>();
  for (const { peers: section, where } of read) {
    if (section !== undefined) readPeers(section, where, { peers, owners, errors });
  }
  return { path: main?.path ?? null, found, peers, parts: read };
}

interface ReadPart extends SettingsPart {
  /** The unchecked value of the key `peers`; undefined: the key is absent. */
  readonly peers: unknown;
  /** The other keys. */
  readonly others: Readonly<Record<string, unknown>>;
}

/** null: there is no such file, or it cannot be read, which `errors` receives. */
function readPart(sources: Sources, named: NamedFile, errors: string[]): ReadPart | null {
  const { path } = named;
  const where = fileName(path);
  let file: TextFile | null;
  try {
    file = sources.readFile(path);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${where}: cannot be read: ${error.code}`);
    return null;
  }
  if (file === null) {
    if (!named.isOptional) errors.push(`${named.where}: there is no file ${where}`);
    return null;
  }
  const { text, mode } = file;
  const { peers, target, alert, ...others } = parseToml(text, where, errors);
  return { path, mode, where, text, peers, target, alert, others };
}

/** The paths of the files in wgmon.d, in the order of their names. Hidden files, and backups of editors, are left out. */
export function filesOfFolder(
  sources: Pick<Sources, "listFolder">,
  settingsPath: string,
  errors: string[],
): string[] {
  const folder = folderOf(settingsPath);
  try {
    const names = sources.listFolder(folder);
    return names
      .filter((name) => /^[^.].*\.toml$/.test(name))
      .sort()
      .map((name) => `${folder}/${name}`);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${fileName(folder)}: cannot be listed: ${error.code}`);
    return [];
  }
}

/** `/etc/wgmon/wgmon.d` for `/etc/wgmon/wgmon.toml` */
function folderOf(settingsPath: string): string {
  return `${settingsPath.replace(/[^/]*$/, "")}${FOLDER}`;
}

/** Whether a path is that of a file in wgmon.d. */
export function isPart(path: string): boolean {
  return /(^|\/)wgmon\.d\/[^/]+\.toml$/.test(path);
}

/** Whether the setting is allowed in the settings file. */
export function inFile(name: SettingName): boolean {
  return settingOf(name).flagOnly !== true;
}

function parseToml(text: string, where: string, errors: string[]): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The message continues with the text of the file, which may contain secrets.
    const [message] = error.message.split("\n");
    const problem = message!
      .replace("Invalid TOML document: ", "")
      .replace(/^invalid value$/, "$&; text must be in quotes");
    errors.push(`${where}, line ${error.line}, column ${error.column}: ${problem}`);
    return {};
  }
}

/** The types of the keys of a peer. */
export const peerTypes = () => ({
  name: peerName(),
  tags: peerTag(),
  idle_timeout: table["idle-timeout"],
  mute: boolean(),
});

function readPeers(
  section: unknown,
  file: string,
  into: {
    readonly peers: Map<PublicKey, PeerSettings>;
    /** The file of each peer. */
    readonly owners: Map<string, string>;
    readonly errors: string[];
  },
): void {
  const { peers, owners, errors } = into;
  if (!isTable(section)) {
    errors.push(`${file}: peers must be tables, such as [peers."<public key>"]`);
    return;
  }
  const types = peerTypes();
  for (const [key, fields] of Object.entries(section)) {
    const where = `${file}: peers.${quoteSafely(key)}`;
    if (!isPublicKey(key)) {
      errors.push(`${where}: is not a public key (44 characters, as wg show prints it)`);
    } else if (!isTable(fields)) {
      errors.push(`${where}: must be a table, not ${typeName(fields)}`);
    } else {
      const owner = owners.get(key);
      if (owner !== undefined) errors.push(`${where}: is also in ${owner}; remove one of them`);
      owners.set(key, file);
      const values = readFields(types, { fields, where, mark: "." }, errors);
      const tags = (values.tags ?? []).map(({ value }) => value);
      if (tags.length > TAGS_MAX) {
        errors.push(`${where}.tags: there are ${tags.length}; the maximum is ${TAGS_MAX}`);
      }
      peers.set(key, {
        name: values.name?.[0]?.value ?? null,
        tags: [...new Set(tags)],
        idleTimeoutMs: values.idle_timeout?.[0]?.value ?? null,
        mute: values.mute?.[0]?.value ?? false,
      });
    }
  }
}

export type Fields<Types> = {
  readonly [Key in keyof Types]: Types[Key] extends ValueType<infer Value>
    ? readonly Parsed<Value>[] | null
    : never;
};

/**
 * The values of a table in the settings file, by key, without the invalid ones; null: the key is absent. In messages,
 * `mark` separates the name of the table from the key. Keys in `others` are valid, but are not read here.
 */
export function readFields<const Types extends Readonly<Record<string, ValueType<unknown>>>>(
  types: Types,
  from: {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly where: string;
    readonly mark: string;
    readonly others?: readonly string[];
  },
  errors: string[],
): Fields<Types> {
  const { fields, where, mark, others = [] } = from;
  const keys = [...Object.keys(types), ...others];
  for (const key of Object.keys(fields)) {
    if (keys.includes(key)) continue;
    errors.push(isMisplaced(key, keys) ? misplacedKey(key, where) : unknownKey(key, where, keys));
  }
  const entries = Object.entries(types).map(([key, type]) => {
    if (!Object.hasOwn(fields, key)) return [key, null];
    const place = `${where}${mark}${key}`;
    const texts = textsOfToml(type, { value: fields[key], where: place }, errors);
    return [key, texts === null ? [] : parseAll(type, { where: place, texts }, errors)];
  });
  return Object.fromEntries(entries) as Fields<Types>;
}

/** Whether a key of a table is a setting, because in TOML each line after [table] belongs to the table. */
function isMisplaced(key: string, keys: readonly string[]): boolean {
  // device instead of devices, and names instead of name.
  const isPlural = keys.some((each) => each === `${key}s` || `${each}s` === key);
  return !isPlural && SETTING_NAMES.some((name) => inFile(name) && keyOf(name) === key);
}

function misplacedKey(key: string, where: string): string {
  return `${where}: "${key}" is a setting of the whole file: move it above the first [table]`;
}

function unknownKey(key: string, where: string, keys: readonly string[]): string {
  return `${where}: there is no key "${safePrefix(key)}"${didYouMean(key, keys)}`;
}

/** The line of each [[alert]] table, which the parser does not report; null: unknown, if a table is not written as [[alert]]. */
export function alertLines({ text }: SettingsPart, count: number): readonly number[] | null {
  const lines = text
    .split("\n")
    .flatMap((line, index) =>
      /^\s*\[\[\s*(alert|"alert"|'alert')\s*\]\]/.test(line) ? [index + 1] : [],
    );
  return lines.length === count ? lines : null;
}
