/** Reads the settings file: TOML, with a key for each setting, and tables for peers and targets. */

import { parse, TomlError } from "smol-toml";

import { SystemError } from "../base/errors.ts";
import { fileName, quoteSafely, safePrefix } from "../base/redact.ts";
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
const TAGS_MAX = 16;

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
  /** The mode of the file when it was read; null: there is no file, or its mode is unknown. */
  readonly mode: FileMode | null;
  /** The name of the file in messages. */
  readonly where: string;
  readonly found: RawSettings;
  readonly peers: ReadonlyMap<PublicKey, PeerSettings>;
  /** The unchecked value of the key `target`, which targets.ts reads; undefined: the key is absent. */
  readonly target: unknown;
}

/** Reads the settings file. `named` is null if there is no file to read. */
export function readSettingsFile(
  sources: Sources,
  named: NamedFile | null,
  errors: string[],
): SettingsFile {
  const found: RawSettings = new Map();
  const peers = new Map<PublicKey, PeerSettings>();
  const path = named?.path ?? "";
  const where = fileName(path);
  const empty: SettingsFile = { path: null, mode: null, where, found, peers, target: undefined };
  if (named === null) return empty;

  let file: TextFile | null;
  try {
    file = sources.readFile(path);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${where}: cannot be read: ${error.code}`);
    return empty;
  }
  if (file === null) {
    if (!named.isOptional) errors.push(`${named.where}: there is no file ${where}`);
    return empty;
  }

  const names = SETTING_NAMES.filter(inFile);
  const { peers: peerTables, target, ...root } = parseToml(file.text, where, errors);
  for (const [key, value] of Object.entries(root)) {
    const name = names.find((candidate) => keyOf(candidate) === key);
    if (name === undefined) {
      errors.push(unknownKey(key, where, [...names.map(keyOf), "peers", "target"]));
      continue;
    }
    const place = `${where}: ${key}`;
    const texts = textsOfToml(settingOf(name), { value, where: place }, errors);
    if (texts !== null) found.set(name, { origin: "file", where: place, texts });
  }
  if (peerTables !== undefined) readPeers(peerTables, where, { peers, errors });
  return { path, mode: file.mode, where, found, peers, target };
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

function readPeers(
  section: unknown,
  file: string,
  into: { peers: Map<PublicKey, PeerSettings>; errors: string[] },
): void {
  const { peers, errors } = into;
  if (!isTable(section)) {
    errors.push(`${file}: peers must be tables, such as [peers."<public key>"]`);
    return;
  }
  const types = {
    name: peerName(),
    tags: peerTag(),
    idle_timeout: table["idle-timeout"],
    mute: boolean(),
  };
  for (const [key, fields] of Object.entries(section)) {
    const where = `${file}: peers.${quoteSafely(key)}`;
    if (!isPublicKey(key)) {
      errors.push(`${where}: is not a public key (44 characters, as wg show prints it)`);
    } else if (!isTable(fields)) {
      errors.push(`${where}: must be a table, not ${typeName(fields)}`);
    } else {
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

type Fields<Types> = {
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
    if (!keys.includes(key)) errors.push(unknownKey(key, where, keys));
  }
  const entries = Object.entries(types).map(([key, type]) => {
    if (!Object.hasOwn(fields, key)) return [key, null];
    const place = `${where}${mark}${key}`;
    const texts = textsOfToml(type, { value: fields[key], where: place }, errors);
    return [key, texts === null ? [] : parseAll(type, { where: place, texts }, errors)];
  });
  return Object.fromEntries(entries) as Fields<Types>;
}

function unknownKey(key: string, where: string, keys: readonly string[]): string {
  return `${where}: there is no key "${safePrefix(key)}"${didYouMean(key, keys)}`;
}
