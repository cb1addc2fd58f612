/** The settings file: TOML, with keys as in the table of settings, and tables for peers and targets. */

import { SystemError } from "../base/errors.ts";
import { fileName, quoteSafely, safePrefix } from "../base/redact.ts";
import { didYouMean } from "../base/suggest.ts";
import { isPublicKey, type PublicKey } from "../base/wireguard.ts";
import type { FileMode, TextFile } from "../platform/files.ts";
import {
  isTable,
  type NamedFile,
  type Parsed,
  type RawSettings,
  readAll,
  type Sources,
  textsOfToml,
  typeName,
} from "./resolve.ts";
import { keyOf, type Name, NAMES, settingOf, table } from "./settings-table.ts";
import { boolean, peerName, peerTag, type ValueType } from "./value-types.ts";

/** Maximum number of a peer's tags: each of the peer's events contains them all. */
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
  /** How messages name the file. */
  readonly where: string;
  readonly found: RawSettings;
  readonly peers: ReadonlyMap<PublicKey, PeerSettings>;
  /** The value of the key `target`; undefined: the key is absent. */
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
  const nothing: SettingsFile = { path: null, mode: null, where, found, peers, target: undefined };
  if (named === null) return nothing;

  let file: TextFile | null;
  try {
    file = sources.readFile(path);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${where}: cannot be read: ${error.code}`);
    return nothing;
  }
  if (file === null) {
    if (!named.isOptional) errors.push(`${named.where}: there is no file ${where}`);
    return nothing;
  }

  const names = NAMES.filter(inFile);
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

export function inFile(name: Name): boolean {
  return settingOf(name).flagOnly !== true;
}

function parseToml(text: string, where: string, errors: string[]): Record<string, unknown> {
  try {
    return Bun.TOML.parse(text) as Record<string, unknown>;
  } catch (error) {
    // The parser's message quotes the file, which may contain secrets, and has no line number.
    const said = String(error).replace(/^\w+: (TOML Parse error: )?/, "");
    // "Expected ',' or ']' in an array but found '...'": the quotes before "but found" are the parser's own.
    const message = said.startsWith("Expected ")
      ? said.replace(/ but found (["']).{2,}\1$/s, "")
      : said.replace(/:? (["']).{2,}\1(?=$| as )/s, "");
    const line = brokenLine(text);
    errors.push(`${where}${line === null ? "" : `, line ${line}`}: ${message}`);
    return {};
  }
}

/** The line on which the first broken statement begins. Everything before it can be parsed. */
function brokenLine(text: string): number | null {
  const lines = text.split("\n");
  // Each attempt parses the file from its start, which is too slow for a long file.
  if (lines.length > 500) return null;
  for (let count = lines.length - 1; count > 0; count--) {
    try {
      Bun.TOML.parse(lines.slice(0, count).join("\n"));
      return count + 1;
    } catch {
      // The text still includes the broken statement.
    }
  }
  return 1;
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
  const kinds = {
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
      const reads = readFields(kinds, { fields, where, mark: "." }, errors);
      const tags = (reads.tags ?? []).map(({ value }) => value);
      if (tags.length > TAGS_MAX) {
        errors.push(`${where}.tags: there are ${tags.length}; the maximum is ${TAGS_MAX}`);
      }
      peers.set(key, {
        name: reads.name?.[0]?.value ?? null,
        tags: [...new Set(tags)],
        idleTimeoutMs: reads.idle_timeout?.[0]?.value ?? null,
        mute: reads.mute?.[0]?.value ?? false,
      });
    }
  }
}

type Fields<Kinds> = {
  readonly [Key in keyof Kinds]: Kinds[Key] extends ValueType<infer Value>
    ? readonly Parsed<Value>[] | null
    : never;
};

/**
 * The values of a table in the file, by key; null: the key is absent. `mark` separates the table's name from
 * the key in messages. Keys in `others` are valid but read elsewhere.
 */
export function readFields<const Kinds extends Readonly<Record<string, ValueType<unknown>>>>(
  kinds: Kinds,
  from: {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly where: string;
    readonly mark: string;
    readonly others?: readonly string[];
  },
  errors: string[],
): Fields<Kinds> {
  const { fields, where, mark, others = [] } = from;
  const keys = [...Object.keys(kinds), ...others];
  for (const key of Object.keys(fields)) {
    if (!keys.includes(key)) errors.push(unknownKey(key, where, keys));
  }
  const reads = Object.entries(kinds).map(([key, kind]) => {
    if (!Object.hasOwn(fields, key)) return [key, null];
    const place = `${where}${mark}${key}`;
    const texts = textsOfToml(kind, { value: fields[key], where: place }, errors);
    return [key, texts === null ? null : readAll(kind, { where: place, texts }, errors)];
  });
  return Object.fromEntries(reads) as Fields<Kinds>;
}

function unknownKey(key: string, where: string, keys: readonly string[]): string {
  return `${where}: there is no key "${safePrefix(key)}"${didYouMean(key, keys)}`;
}
