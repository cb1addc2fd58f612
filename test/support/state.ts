/** Folders for the stores of programs that tests start; gone when the test's process has ended. */

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = "wgmon-state-";
const folders: string[] = [];

// Under `bun test` nobody is told of the end: what is left is for whoever comes next.
process.on("exit", () => folders.forEach(remove));
for (const name of readdirSync(tmpdir())) {
  const pid = /^wgmon-state-(\d+)-/.exec(name)?.[1];
  if (pid !== undefined && !existsSync(`/proc/${pid}`)) remove(join(tmpdir(), name));
}

/**
 * The environment of a program that is to meet no other: a store, and a folder for its socket. Without
 * these, root's programs share /var/lib/wgmon and /run/wgmon.
 */
export function ownFolders(): { STATE_DIRECTORY: string; RUNTIME_DIRECTORY: string } {
  return { STATE_DIRECTORY: newStateFolder(), RUNTIME_DIRECTORY: join(newStateFolder(), "run") };
}

/** A new one each time: two programs cannot share a store. */
export function newStateFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  folders.push(folder);
  return folder;
}

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
