/** Errors of SQLite and of the store's file: which kind they are, and what to do about them. */

import { SystemError } from "../base/errors.ts";

/** An older wgmon wrote the file, and an external tool must not migrate it. */
export class OlderStore extends SystemError {
  constructor(path: string) {
    super(`open ${path}`, "an older wgmon wrote it; the daemon converts it when it starts");
  }
}

const IS_LINK =
  "a file of the store is a symbolic link there; set --state-dir to the folder that it points to, or remove the link";

/** The error of a directory that cannot be used, with the remedy. */
export function explainDirectory(error: SystemError, directory: string): SystemError {
  switch (error.code) {
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "ENOTDIR":
      return new SystemError(
        `use ${directory}`,
        error.code,
        "set --state-dir to a directory that wgmon can write to",
      );
    case "ELOOP":
      return new SystemError(`use ${directory}`, error.code, IS_LINK);
    default:
      return error;
  }
}

/** @throws SystemError if there is no store, or this user may not open it. SQLite's own message says less. */
export function checkAccess(path: string): void {
  const { accessSync, constants } = process.getBuiltinModule("node:fs");
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ENOENT" || code === "ENOTDIR") {
      const advice = "there is no store yet: start wgmon first, or check --state-dir";
      throw new SystemError(`open ${path}`, advice);
    }
    if (code === "EACCES") {
      const advice = "run this as root, with sudo, or as the user that wgmon runs as";
      throw new SystemError(`open ${path}`, code, advice);
    }
  }
}

/** The error for a file that SQLite cannot open. */
export function cannotOpen(path: string, error: unknown): SystemError {
  return new SystemError(`open ${path}`, codeOf(error), describeError(error));
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "SQLITE_ERROR";
}

export function isSqliteError(error: unknown): boolean {
  return error instanceof Error && error.name === "SQLiteError";
}

/** Whether the file is damaged or is not an SQLite database: sqlite.org/rescode.html. */
export function isCorrupt(error: unknown): boolean {
  return isSqliteError(error) && /^SQLITE_(CORRUPT|NOTADB)/.test(codeOf(error));
}

/** Whether SQLite refused the values of a row, so that the same write would fail in any file. Triggers are not wgmon's. */
export function isRefusedRow(error: unknown): boolean {
  return isSqliteError(error) && /^SQLITE_(?:CONSTRAINT(?!_TRIGGER)|MISMATCH)/.test(codeOf(error));
}

/** SQLite's message, and what to do about it. */
export function describeError(error: unknown): string {
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  if (code === "SQLITE_CANTOPEN_SYMLINK") return `${message} (${IS_LINK})`;
  if (code.startsWith("SQLITE_FULL"))
    return `${message} (free disk space, or choose another --state-dir)`;
  // Such as SQLITE_IOERR_SHMSIZE: there is no space for the files that SQLite creates beside the store.
  if (code.startsWith("SQLITE_IOERR"))
    return `${message} (the disk may be full or failing: check df and dmesg)`;
  if (code.startsWith("SQLITE_READONLY") || code.startsWith("SQLITE_CANTOPEN")) {
    return `${message} (set --state-dir to a directory that wgmon can write to)`;
  }
  if (code.startsWith("SQLITE_BUSY")) return `${message} (another program has locked it)`;
  return message;
}
