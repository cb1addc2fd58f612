/** Temporary folders for the stores of programs that tests start. Removed when the test process exits. */

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = "wgmon-state-";
const folders: string[] = [];

// `bun test` does not emit "exit", so the next process removes the folders of processes that have ended.
process.on("exit", () => folders.forEach(remove));
for (const name of readdirSync(tmpdir())) {
  const pid = /^wgmon-state-(\d+)-/.exec(name)?.[1];
  if (pid !== undefined && !existsSync(`/proc/${pid}`)) remove(join(tmpdir(), name));
}

/**
 * Environment variables with new folders for the store and the socket of a program. Without them, programs of root
 * share /var/lib/wgmon and /run/wgmon.
 */
export function ownFolders(): { STATE_DIRECTORY: string; RUNTIME_DIRECTORY: string } {
  return { STATE_DIRECTORY: newStateFolder(), RUNTIME_DIRECTORY: join(newStateFolder(), "run") };
}

/** Creates a new folder with each call, because two programs cannot share a store. */
export function newStateFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  folders.push(folder);
  return folder;
}

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
