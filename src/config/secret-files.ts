/** Checks whether other users can read the files that contain secrets, for `wgmon doctor` and for the log at start. */

import { statSync } from "node:fs";
import { dirname } from "node:path";

import { type Finding, ok, problem, warning } from "../base/check.ts";
import { SystemError } from "../base/errors.ts";
import { fileName, hasUrl } from "../base/redact.ts";
import { type FileMode, listFolder, readTextFile } from "../platform/files.ts";
import type { Settings } from "./config.ts";
import { filesOfFolder, isPart } from "./settings-file.ts";

/** The files that a command's settings were read from, by their paths as given. */
export type FilesRead = ReadonlyMap<string, FileRead>;

/** A file that settings were read from. */
export interface FileRead {
  /** Absolute path. */
  readonly path: string;
  /** The mode when the file was read; null if unknown. */
  readonly mode: FileMode | null;
  readonly hasUrl: boolean;
  /** Whether all may read it: a certificate. */
  readonly isPublic: boolean;
}

export function checkSecrets(
  files: FilesRead,
  { file, listenTls }: Pick<Settings, "file" | "listenTls">,
): Finding[] {
  const findings = [...files].flatMap(([given, { path, mode, hasUrl, isPublic }]) => {
    const isSettings = given === file || isPart(given);
    return judgeFile(path, mode?.isRegular === true ? mode.bits & 0o777 : null, {
      isSecret: (!isSettings && !isPublic) || hasUrl,
      isSettings,
    });
  });
  // The daemon's settings file, which this process has not read.
  if (file !== null && file.startsWith("/") && !files.has(file)) {
    for (const path of [file, ...partsOf(file)]) {
      const what = { isSecret: hasUrlIn(path), isSettings: true };
      findings.push(...judgeFile(path, modeOf(path), what));
    }
  }
  if (listenTls !== null) {
    const bits = modeOf(listenTls.key);
    findings.push(...judgeFile(listenTls.key, bits, { isSecret: true, isSettings: false }));
  }
  const bad = findings.filter(({ verdict }) => verdict !== "ok");
  if (bad.length > 0) return bad;
  const checked =
    findings.length === 1
      ? "the permissions of 1 file"
      : `the permissions of ${findings.length} files`;
  return findings.length === 0 ? [] : [ok(`${checked} are correct`)];
}

/** The files in wgmon.d that this process can list. */
function partsOf(file: string): string[] {
  return filesOfFolder({ listFolder }, file, []);
}

function hasUrlIn(path: string): boolean {
  try {
    return hasUrl(readTextFile(path) ?? "");
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}

function judgeFile(
  path: string,
  /** null: the mode is unknown, or this is not a regular file. */
  bits: number | null,
  what: { readonly isSecret: boolean; readonly isSettings: boolean },
): Finding[] {
  if (bits === null) return [];
  return [judgeMode({ path, bits: isReachableByAll(path) ? bits : bits & ~0o007, ...what })];
}

/** Whether each parent folder of the file grants search permission to all users. */
function isReachableByAll(path: string): boolean {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (((modeOf(folder) ?? 0o001) & 0o001) === 0) return false;
    if (folder === "/") return true;
  }
}

/** The file's mode; null if the file does not exist or cannot be examined. */
function modeOf(path: string): number | null {
  try {
    return statSync(path).mode & 0o777;
  } catch {
    return null;
  }
}

export function judgeMode({
  path,
  bits,
  isSecret,
  isSettings,
}: {
  readonly path: string;
  /** For example `0o644`. */
  readonly bits: number;
  readonly isSecret: boolean;
  /** Whether this is the settings file, which the service's user must be able to read: src/cli/settings-example.ts. */
  readonly isSettings: boolean;
}): Finding {
  const shown = fileName(path);
  const mode = bits.toString(8).padStart(3, "0");
  if ((bits & 0o002) !== 0) {
    const rest = isSettings ? "o-w" : "o-rwx";
    return problem(`all users can change ${shown}, mode ${mode}`, `chmod ${rest} ${shown}`);
  }
  if (isSecret && (bits & 0o004) !== 0) {
    return warning(
      `all users can read ${shown}, mode ${mode}, and it may contain secrets`,
      isSettings
        ? "move its URLs to a file with mode 600: webhook_file, url_file of a [[target]], or the service's /etc/credstore/wgmon.webhooks"
        : `chmod o-rwx ${shown}`,
    );
  }
  return ok(`${shown}, mode ${mode}`);
}
