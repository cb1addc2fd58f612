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

/** A new one each time: two programs cannot share a store. */
export function newStateFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  folders.push(folder);
  return folder;
}

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/** For the environment of a wgmon: a store and a socket of its own, so that it starts beside any other. */
export function newFolders() {
  return {
    STATE_DIRECTORY: newStateFolder(),
    RUNTIME_DIRECTORY: `${newStateFolder()}/run`,
  } as const;
}
