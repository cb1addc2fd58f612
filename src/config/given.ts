/** What somebody gave for a setting, as texts, and from these to values or to problems. */

import { SystemError } from "../errors.ts";
import type { TextFile } from "../system.ts";
import type { Kind } from "./kinds.ts";
import { type Name, type Setting, settingOf, type ValueOf } from "./table.ts";
import { quoted } from "./words.ts";

/** All that the settings are made from. */
export interface Sources {
  /** Without the program's own name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
  /**
   * The file's text and its mode, null when it does not exist.
   *
   * @throws SystemError when it exists and cannot be read.
   */
  readFile(path: string): TextFile | null;
  /**
   * The first folder on the way to a file in which others could put another one in its place; null: none.
   *
   * @throws SystemError
   */
  folderOpenToOthers(path: string): string | null;
}

/** A setting as one source has it. */
export interface Given {
  readonly origin: "flag" | "variable" | "bare variable" | "file";
  /** What to name in a message: `--tick`, `WGMON_TICK`, `/etc/wgmon/wgmon.toml: tick`. */
  readonly where: string;
  readonly texts: readonly string[];
}

/** By the setting's or flag's name. */
export type Found = Map<string, Given>;

/** A value, and where it stands: `--webhook (2 of 3)`. */
export interface Read<Value> {
  readonly where: string;
  readonly value: Value;
}

/** The values that hold. */
export class Chosen {
  readonly #winners = new Map<Name, Given & { readonly reads: readonly Read<unknown>[] }>();

  /** The first source that has a setting wins. All are checked: a mistake does not hide. */
  constructor(sources: readonly Found[], names: readonly Name[], problems: string[]) {
    for (const name of names) {
      const given = sources.flatMap((found) => found.get(name) ?? []);
      if (given.length === 0) continue;
      // An overruled bare variable may be somebody else's: `group` and `filter` are common words.
      const ours = given.filter(({ origin }, index) => index === 0 || origin !== "bare variable");
      const reads = ours.map((one) => readAll(settingOf(name), one, problems));
      this.#winners.set(name, { ...ours[0]!, reads: reads[0]! });
    }
  }

  /** Who set it; null: nobody, the default holds. */
  given(name: Name): Given | null {
    return this.#winners.get(name) ?? null;
  }

  several<N extends Name>(name: N): readonly Read<ValueOf<N>>[] {
    const setting = settingOf(name);
    const reads = this.#winners.get(name)?.reads;
    return (reads ?? readInitial(setting)) as readonly Read<ValueOf<N>>[];
  }

  values<N extends Name>(name: N): readonly ValueOf<N>[] {
    return this.several(name).map(({ value }) => value);
  }

  /** Of the settings that have a default in the table, which stands in for a mistake. */
  one<N extends Name>(name: N): ValueOf<N> {
    return this.values(name)[0] ?? (readInitial(settingOf(name))[0]!.value as ValueOf<N>);
  }
}

export function readInitial<Value>(setting: Setting<Value>): Read<Value>[] {
  const texts = setting.initial === null ? [] : [setting.initial];
  return readAll(setting, { where: "default", texts }, []);
}

export function readAll<Value>(
  kind: Kind<Value>,
  { where, texts }: Pick<Given, "where" | "texts">,
  problems: string[],
): Read<Value>[] {
  return texts.flatMap((text, index) => {
    const place = texts.length > 1 ? `${where} (${index + 1} of ${texts.length})` : where;
    if (text.trim() === "") {
      problems.push(`${place}: the value is empty; an example is ${kind.example}`);
      return [];
    }
    const reading = kind.read(text);
    if ("value" in reading) return [{ where: place, value: reading.value }];
    problems.push(`${place}: ${kind.secret ? "(hidden)" : quoted(text)} ${reading.problem}`);
    return [];
  });
}

/** The parts of a text; at least one, so that an empty text is noticed. */
export function split(kind: Kind<unknown>, text: string): string[] {
  if (kind.separator === undefined) return [text];
  const parts = text
    .split(kind.separator)
    .map((part) => part.trim())
    .filter((part) => part !== "");
  return parts.length === 0 ? [""] : parts;
}

/** What one would have written as a flag for this value of TOML; null: a type that cannot be. */
export function textsOfToml(
  kind: Kind<unknown>,
  { value, where }: { readonly value: unknown; readonly where: string },
  problems: string[],
): string[] | null {
  const isList = kind.separator !== undefined && Array.isArray(value);
  const items: readonly unknown[] = isList ? value : [value];
  const texts: string[] = [];
  for (const item of items) {
    if (!kind.tomlTypes.some((type) => type === typeof item)) {
      const wanted = `a ${kind.tomlTypes[0]}${kind.separator === undefined ? "" : " or a list of strings"}`;
      problems.push(
        `${where}: must be ${wanted}, not ${isList ? "a list with " : ""}${typeName(item)}`,
      );
      return null;
    }
    texts.push(...(isList ? [String(item)] : split(kind, String(item))));
  }
  return texts;
}

export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  // Dates are objects too.
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

export function typeName(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (isTable(value)) return "a table";
  return typeof value === "object" ? "a date or time" : `a ${typeof value}`;
}

/** A file that is read because of a setting. */
export interface NamedFile {
  readonly path: string;
  readonly where: string;
  /** That there is none is no mistake. */
  readonly isOptional: boolean;
}

/** null: it cannot be had, and `problems` says why. */
export function readNamedFile(
  sources: Pick<Sources, "readFile">,
  { path, where, isOptional }: NamedFile,
  problems: string[],
): string | null {
  try {
    const text = sources.readFile(path)?.text ?? null;
    // The path is not shown: it may be a secret that stands in the place of its file.
    if (text === null && !isOptional) problems.push(`${where}: there is no such file`);
    return text;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    problems.push(`${where}: the file cannot be read: ${error.code}`);
    return null;
  }
}
