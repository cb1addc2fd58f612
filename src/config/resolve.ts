/** Parses settings: the texts that the sources have for a setting become values or errors. */

import { SystemError } from "../base/errors.ts";
import { quoteSafely } from "../base/redact.ts";
import type { TextFile } from "../platform/files.ts";
import { type Setting, type SettingName, settingOf, type ValueOf } from "./settings-table.ts";
import type { ValueType } from "./value-types.ts";

/** Everything that the settings are read from. */
export interface Sources {
  /** The arguments without the program's own name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
  /**
   * Returns the file's text and its mode; null when the file does not exist.
   *
   * @throws SystemError when it exists and cannot be read.
   */
  readFile(path: string): TextFile | null;
  /**
   * Returns the names in a folder; none if it does not exist.
   *
   * @throws SystemError when it exists and cannot be listed.
   */
  listFolder(path: string): readonly string[];
  /**
   * Returns the first parent folder of a file in which other users could replace the file or a parent folder of it;
   * null: there is no such folder.
   *
   * @throws SystemError
   */
  folderOpenToOthers(path: string): string | null;
}

/** A setting as given by one source. */
export interface RawSetting {
  readonly origin: "flag" | "variable" | "bare variable" | "file";
  /** How messages name the setting: `--tick`, `WGMON_TICK`, `/etc/wgmon/wgmon.toml: tick`. */
  readonly where: string;
  readonly texts: readonly string[];
}

/** The given settings, by the name of the setting or flag. */
export type RawSettings = Map<string, RawSetting>;

/** A value, and where it was given: `--webhook (2 of 3)`. */
export interface Parsed<Value> {
  readonly where: string;
  readonly value: Value;
}

/** The values of the settings, each from the source with the highest precedence. */
export class ResolvedSettings {
  readonly #settings = new Map<
    SettingName,
    RawSetting & { readonly parsed: readonly Parsed<unknown>[] }
  >();

  /**
   * @param sources the highest precedence first. Overridden values are parsed too, so that their mistakes are reported.
   * @param errors receives the mistakes.
   */
  constructor(sources: readonly RawSettings[], names: readonly SettingName[], errors: string[]) {
    for (const name of names) {
      const given = sources.flatMap((found) => found.get(name) ?? []);
      if (given.length === 0) continue;
      // An overridden bare variable may belong to another program: `group` and `filter` are common words.
      const checked = given.filter(
        ({ origin }, index) => index === 0 || origin !== "bare variable",
      );
      const parsed = checked.map((each) => parseAll(settingOf(name), each, errors));
      this.#settings.set(name, { ...checked[0]!, parsed: parsed[0]! });
    }
  }

  /** The setting as given by the source with the highest precedence; null: no source has it, so the default applies. */
  given(name: SettingName): RawSetting | null {
    return this.#settings.get(name) ?? null;
  }

  /** The valid values, or the default. Empty: no valid value and no default. */
  parsed<N extends SettingName>(name: N): readonly Parsed<ValueOf<N>>[] {
    const setting = settingOf(name);
    const parsed = this.#settings.get(name)?.parsed;
    return (parsed ?? parseDefault(setting)) as readonly Parsed<ValueOf<N>>[];
  }

  values<N extends SettingName>(name: N): readonly ValueOf<N>[] {
    return this.parsed(name).map(({ value }) => value);
  }

  /** The only value of a setting that has a default in the table. The default replaces an invalid value. */
  value<N extends SettingName>(name: N): ValueOf<N> {
    return this.values(name)[0] ?? (parseDefault(settingOf(name))[0]!.value as ValueOf<N>);
  }
}

export function parseDefault<Value>(setting: Setting<Value>): Parsed<Value>[] {
  const texts = setting.defaultValue === null ? [] : [setting.defaultValue];
  return parseAll(setting, { where: "default", texts }, []);
}

/** The valid values of the texts. `errors` receives a message for each invalid one. */
export function parseAll<Value>(
  type: ValueType<Value>,
  { where, texts }: Pick<RawSetting, "where" | "texts">,
  errors: string[],
): Parsed<Value>[] {
  return texts.flatMap((text, index) => {
    const place = texts.length > 1 ? `${where} (${index + 1} of ${texts.length})` : where;
    if (text.trim() === "") {
      errors.push(`${place}: the value is empty; an example is ${type.example}`);
      return [];
    }
    const result = type.parse(text);
    if ("value" in result) return [{ where: place, value: result.value }];
    errors.push(`${place}: ${type.secret ? "(hidden)" : quoteSafely(text)} ${result.problem}`);
    return [];
  });
}

/** Splits a text at the separators of its type. An empty text is returned as one empty part, which is then an error. */
export function split(type: ValueType<unknown>, text: string): string[] {
  if (type.separator === undefined) return [text];
  const parts = text
    .split(type.separator)
    .map((part) => part.trim())
    .filter((part) => part !== "");
  return parts.length === 0 ? [""] : parts;
}

/** Converts a TOML value to texts as a flag has them; null: the value has a wrong type, which `errors` receives. */
export function textsOfToml(
  type: ValueType<unknown>,
  { value, where }: { readonly value: unknown; readonly where: string },
  errors: string[],
): string[] | null {
  const isList = type.separator !== undefined && Array.isArray(value);
  const items: readonly unknown[] = isList ? value : [value];
  const texts: string[] = [];
  for (const item of items) {
    if (!type.tomlTypes.some((allowed) => allowed === typeof item)) {
      const [name] = type.tomlTypes;
      const wanted = `a ${name}${type.separator === undefined ? "" : ` or a list of ${name}s`}`;
      errors.push(
        `${where}: must be ${wanted}, not ${isList ? "a list with " : ""}${typeName(item)}`,
      );
      return null;
    }
    texts.push(...(isList ? [String(item)] : split(type, String(item))));
  }
  return texts;
}

export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  // The parser makes tables without a prototype. Dates are also objects.
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === null;
}

export function typeName(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (isTable(value)) return "a table";
  return typeof value === "object" ? "a date or time" : `a ${typeof value}`;
}

/** A file named by a setting. */
export interface NamedFile {
  readonly path: string;
  readonly where: string;
  /** Whether the file may be missing. */
  readonly isOptional: boolean;
}

/**
 * The file that a setting names, otherwise the credential of systemd, which is optional, because the variable is also set
 * for other credentials; null: there is neither.
 */
export function fileOrCredential(
  name: "webhook-file" | "webhook-secret-file" | "listen-token-file" | "hub-file" | "nats-file",
  credential: string,
  {
    resolved,
    sources,
  }: { readonly resolved: ResolvedSettings; readonly sources: Pick<Sources, "env"> },
): NamedFile | null {
  const given = resolved.parsed(name)[0];
  if (given !== undefined) return { path: given.value, where: given.where, isOptional: false };
  const folder = sources.env["CREDENTIALS_DIRECTORY"];
  if (folder === undefined || !folder.startsWith("/")) return null;
  const path = `${folder}/${credential}`;
  return { path, where: `$CREDENTIALS_DIRECTORY/${credential}`, isOptional: true };
}

/** The file's text; null: it cannot be read. `errors` receives the reason, unless the file is optional and missing. */
export function readNamedFile(
  sources: Pick<Sources, "readFile">,
  { path, where, isOptional }: NamedFile,
  errors: string[],
): string | null {
  try {
    const text = sources.readFile(path)?.text ?? null;
    // Do not show the path: a user may have given a secret instead of the file that contains it.
    if (text === null && !isOptional) errors.push(`${where}: there is no such file`);
    return text;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${where}: the file cannot be read: ${error.code}`);
    return null;
  }
}
