/** Reads files and their modes. */

import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readFileAndMode, readTextFile } from "../../src/platform/files.ts";

const NOBODY = 65_534;
const isRoot = process.geteuid!() === 0;
const forRoot = isRoot ? "" : " [skipped: only root can change the owner of a file]";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "wgmon-system-")));
afterAll(() => rmSync(folder, { recursive: true }));

function makeFile(name: string, mode = 0o644): string {
  const path = join(folder, name);
  writeFileSync(path, "text");
  chmodSync(path, mode);
  return path;
}

describe("readFileAndMode", () => {
  test("readFileAndMode returns the text and the mode of a file, or null if it does not exist", () => {
    expect(readFileAndMode(makeFile("plain", 0o640))).toEqual({
      text: "text",
      mode: { bits: 0o640, isOwnedByUsOrRoot: true, isRegular: true },
    });
    expect(readFileAndMode(join(folder, "none"))).toBeNull();
    expect(readTextFile(makeFile("second"))).toBe("text");
  });

  test.skipIf(!isRoot)(
    `readFileAndMode returns that a file of another user is not owned by us or root${forRoot}`,
    () => {
      const path = makeFile("given-away");
      chownSync(path, NOBODY, NOBODY);
      expect(readFileAndMode(path)!.mode).toEqual({
        bits: 0o644,
        isOwnedByUsOrRoot: false,
        isRegular: true,
      });
    },
  );

  test("readFileAndMode returns the mode of the opened file, even if its path is replaced meanwhile", () => {
    const path = join(folder, "pipe");
    Bun.spawnSync(["mkfifo", "-m", "622", path]);
    chmodSync(path, 0o622);
    makeFile("other", 0o600);
    const swap = `exec 3> pipe; ln -s other link; mv link pipe; printf evil >&3`;
    Bun.spawn(["sh", "-c", swap], { cwd: folder });
    expect(readFileAndMode(path)).toEqual({
      text: "evil",
      mode: { bits: 0o622, isOwnedByUsOrRoot: true, isRegular: false },
    });
    expect(readTextFile(path)).toBe("text");
  });
});
