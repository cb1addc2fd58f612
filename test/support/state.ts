/** Folders for the stores of programs that tests start; gone when the test's process ends. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders: string[] = [];

process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A new one each time: two programs cannot share a store. */
export function newStateFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "wgmon-state-"));
  folders.push(folder);
  return folder;
}
