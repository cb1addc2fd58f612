/** What the sources give for a setting, as texts, and how texts become values or errors. */

import { SystemError } from "../base/errors.ts";
import { quoteSafely } from "../base/redact.ts";
import type { TextFile } from "../platform/files.ts";
import { type Name, type Setting, settingOf, type ValueOf } from "./settings-table.ts";
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
   * Returns the first folder on the path of a file in which others could replace the file or a folder above
   * it; null: there is no such folder.
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

/** The values in force. */
export class ResolvedSettings {
  readonly #winners = new Map<Name, RawSetting & { readonly reads: readonly Parsed<unknown>[] }>();

  /** The first source that has a setting wins. All sources are checked, so that an overridden mistake is reported. */
  constructor(sources: readonly RawSettings[], names: readonly Name[], errors: string[]) {
    for (const name of names) {
      const given = sources.flatMap((found) => found.get(name) ?? []);
      if (given.length === 0) continue;
      // An overridden bare variable may belong to another program: `group` and `filter` are common words.
      const ours = given.filter(({ origin }, index) => index === 0 || origin !== "bare variable");
      const reads = ours.map((one) => readAll(settingOf(name), one, errors));
      this.#winners.set(name, { ...ours[0]!, reads: reads[0]! });
    }
  }

  /** The source in force; null: no source has the setting, so the default applies. */
  given(name: Name): RawSetting | null {
    return this.#winners.get(name) ?? null;
  }

  several<N extends Name>(name: N): readonly Parsed<ValueOf<N>>[] {
    const setting = settingOf(name);
    const reads = this.#winners.get(name)?.reads;
    return (reads ?? readInitial(setting)) as readonly Parsed<ValueOf<N>>[];
  }

  values<N extends Name>(name: N): readonly ValueOf<N>[] {
    return this.several(name).map(({ value }) => value);
  }

  /** The value of a setting that has a default in the table. The default replaces an invalid value. */
  one<N extends Name>(name: N): ValueOf<N> {
    return this.values(name)[0] ?? (readInitial(settingOf(name))[0]!.value as ValueOf<N>);
  }
}

export function readInitial<Value>(setting: Setting<Value>): Parsed<Value>[] {
  const texts = setting.defaultValue === null ? [] : [setting.defaultValue];
  return readAll(setting, { where: "default", texts }, []);
}

export function readAll<Value>(
  kind: ValueType<Value>,
  { where, texts }: Pick<RawSetting, "where" | "texts">,
  errors: string[],
): Parsed<Value>[] {
  return texts.flatMap((text, index) => {
    const place = texts.length > 1 ? `${where} (${index + 1} of ${texts.length})` : where;
    if (text.trim() === "") {
      errors.push(`${place}: the value is empty; an example is ${kind.example}`);
      return [];
    }
    const reading = kind.read(text);
    if ("value" in reading) return [{ where: place, value: reading.value }];
    errors.push(`${place}: ${kind.secret ? "(hidden)" : quoteSafely(text)} ${reading.problem}`);
    return [];
  });
}

/** Splits a text into its parts. Returns at least one part, so that an empty text is noticed. */
export function split(kind: ValueType<unknown>, text: string): string[] {
  if (kind.separator === undefined) return [text];
  const parts = text
    .split(kind.separator)
    .map((part) => part.trim())
    .filter((part) => part !== "");
  return parts.length === 0 ? [""] : parts;
}

/** The texts that a flag would have for this TOML value; null: the value has the wrong type. */
export function textsOfToml(
  kind: ValueType<unknown>,
  { value, where }: { readonly value: unknown; readonly where: string },
  errors: string[],
): string[] | null {
  const isList = kind.separator !== undefined && Array.isArray(value);
  const items: readonly unknown[] = isList ? value : [value];
  const texts: string[] = [];
  for (const item of items) {
    if (!kind.tomlTypes.some((type) => type === typeof item)) {
      const wanted = `a ${kind.tomlTypes[0]}${kind.separator === undefined ? "" : " or a list of strings"}`;
      errors.push(
        `${where}: must be ${wanted}, not ${isList ? "a list with " : ""}${typeName(item)}`,
      );
      return null;
    }
    texts.push(...(isList ? [String(item)] : split(kind, String(item))));
  }
  return texts;
}

export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  // Dates are also objects.
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
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

/** null: the file was not read. `errors` says why, unless an optional file is missing. */
export function readNamedFile(
  sources: Pick<Sources, "readFile">,
  { path, where, isOptional }: NamedFile,
  errors: string[],
): string | null {
  try {
    const text = sources.readFile(path)?.text ?? null;
    // The path is not shown: it may be a secret given instead of the file that contains it.
    if (text === null && !isOptional) errors.push(`${where}: there is no such file`);
    return text;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    errors.push(`${where}: the file cannot be read: ${error.code}`);
    return null;
  }
}
