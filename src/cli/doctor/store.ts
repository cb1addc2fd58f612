/** `wgmon doctor`: checks the state directory and the store in it. */

import { accessSync, constants, statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { type Finding, ok, problem, skipped, warning } from "../../base/check.ts";
import { systemClock } from "../../base/clock.ts";
import { SystemError } from "../../base/errors.ts";
import { fileName } from "../../base/redact.ts";
import { formatSize } from "../../base/size.ts";
import { counted } from "../../base/text.ts";
import type { SettingsView } from "../../http/settings-view.ts";
import { lockOf, lockOwner } from "../../platform/instance-lock.ts";
import { OlderStore } from "../../store/store-errors.ts";
import { Store } from "../../store/store.ts";

/** With less free space, SQLite will soon fail to write. */
const FREE_MIN_BYTES = 16_000_000;

const MEGABYTE = 1e6;

export async function checkStore({
  stateDir,
  maxStoreBytes,
}: Pick<SettingsView, "stateDir" | "maxStoreBytes">): Promise<Finding[]> {
  // wgmon creates missing folders, so check the nearest one that exists.
  const folder = nearestExisting(stateDir);
  const path = `${stateDir}/wgmon.db`;
  const shown = fileName(stateDir);
  const writeError = writeErrorOf(folder, path);
  if (writeError !== null) {
    return [
      problem(
        `${shown} is not writable: ${writeError}`,
        "run this as the user that wgmon runs as; if it is not writable for that user either, chown it or choose another --state-dir",
      ),
    ];
  }
  const sizeBytes = statSync(path, { throwIfNoEntry: false })?.size ?? null;
  const { bavail, bsize } = statfsSync(folder);
  const owner = lockOwner(lockOf(stateDir))?.text ?? null;
  const facts = { stateDir: shown, freeBytes: bavail * bsize, sizeBytes, maxStoreBytes, owner };
  return [
    judgeFolder(facts),
    ...(sizeBytes === null ? [] : [await checkFile(stateDir, sizeBytes)]),
  ];
}

/** The folder, or its nearest parent that exists. */
function nearestExisting(path: string): string {
  return path === "/" || attempt(() => statSync(path)) !== "ENOENT"
    ? path
    : nearestExisting(dirname(path));
}

/** The errno name of the error with which wgmon could not write to the folder or the store; null: it can. */
function writeErrorOf(folder: string, path: string): string | null {
  const writeAccess = constants.W_OK | constants.X_OK;
  const inFolder = attempt(() => {
    if (!statSync(folder).isDirectory()) throw Object.assign(new Error(), { code: "ENOTDIR" });
    accessSync(folder, writeAccess);
  });
  if (inFolder !== null) return inFolder;
  const inFile = attempt(() => accessSync(path, constants.R_OK | constants.W_OK));
  return inFile === "ENOENT" ? null : inFile;
}

/** The errno name of the action's error; null if the action succeeded. */
function attempt(action: () => unknown): string | null {
  try {
    action();
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code !== "string") throw error;
    return code;
  }
}

export function judgeFolder({
  stateDir,
  freeBytes,
  sizeBytes,
  maxStoreBytes,
  owner,
}: {
  readonly stateDir: string;
  readonly freeBytes: number;
  /** null if there is no store yet. */
  readonly sizeBytes: number | null;
  readonly maxStoreBytes: number;
  /** The process that uses the directory; null: no process uses it. */
  readonly owner: string | null;
}): Finding {
  const free = `${Math.floor(freeBytes / MEGABYTE)} MB free`;
  if (freeBytes < FREE_MIN_BYTES) {
    return problem(`${stateDir}: only ${free}`, "free disk space, or choose another --state-dir");
  }
  if (freeBytes < maxStoreBytes - (sizeBytes ?? 0)) {
    return warning(
      `${stateDir}: ${free}, and the store may grow to ${formatSize(maxStoreBytes)}`,
      "free disk space, or set a smaller --max-store",
    );
  }
  const use = owner === null ? "" : `, used by ${owner}`;
  return ok(`${stateDir}, ${free}${use}`);
}

/** Opens the store as `wgmon outbox` does: without a lock, and without writing. */
async function checkFile(directory: string, size: number): Promise<Finding> {
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  try {
    using store = await Store.open({ directory, clock: systemClock, log, isExternalTool: true });
    const waiting = store.outbox.queues().reduce((sum, queue) => sum + queue.waiting, 0);
    const dead = store.outbox.deadCounts().reduce((sum, { count }) => sum + count, 0);
    return judgeFile({ sizeBytes: size, waiting, dead });
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (error instanceof OlderStore) return ok(error.message);
    if (/EACCES|EPERM/.test(error.code)) return skipped(error.message);
    return problem(error.message, "choose another --state-dir, or move the file away");
  }
}

export function judgeFile({
  sizeBytes,
  waiting,
  dead,
}: {
  readonly sizeBytes: number;
  /** Numbers of events queued for a target, and of dead letters. */
  readonly waiting: number;
  readonly dead: number;
}): Finding {
  const found = `wgmon.db is ${(sizeBytes / MEGABYTE).toFixed(1)} MB; ${waiting} waiting, ${counted(dead, "dead letter")}`;
  return dead > 0 ? warning(found, "wgmon outbox list; then retry or drop") : ok(found);
}
