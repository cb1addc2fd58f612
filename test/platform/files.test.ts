/** Reads files and their modes. */

import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { listFolder, readFileAndMode, readTextFile } from "../../src/platform/files.ts";
import { until } from "../support/until.ts";

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

describe("listFolder", () => {
  test("returns the names in a folder, also those of a large one", () => {
    const path = join(folder, "large");
    const names = Array.from({ length: 3000 }, (_, index) => `${"x".repeat(100)}é${index}`);
    mkdirSync(path);
    for (const name of names) writeFileSync(join(path, name), "");
    expect(listFolder(path).filter((name) => !name.startsWith("."))).toHaveLength(names.length);
    expect(new Set(listFolder(path))).toEqual(new Set([...names, ".", ".."]));
  });

  test("returns no names for a folder that does not exist, and for a file", () => {
    expect(listFolder(join(folder, "none"))).toEqual([]);
    expect(listFolder(makeFile("no-folder"))).toEqual([]);
  });

  test("a folder that may not be read has no names, unless it is required", () => {
    const path = join(folder, "closed");
    mkdirSync(path, { mode: 0 });
    chmodSync(folder, 0o755);
    // Root may read every folder.
    if (isRoot) process.seteuid!(NOBODY);
    try {
      expect(listFolder(path)).toEqual([]);
      expect(() => listFolder(path, { isRequired: true })).toThrow(`list ${path}: EACCES`);
    } finally {
      if (isRoot) process.seteuid!(0);
    }
  });

  test("reports an error after the folder was opened", async () => {
    // The kernel opens this folder of a process that has ended, and then refuses to list it.
    const script = 'sleep 0 & echo "$!"; exec sleep 60';
    await using parent = Bun.spawn(["bash", "-c", script], { stdout: "pipe" });
    const { value } = await parent.stdout.getReader().read();
    const ended = new TextDecoder().decode(value).trim();
    await until("the process ends", () => readTextFile(`/proc/${ended}/stat`)!.includes(") Z "));
    expect(() => listFolder(`/proc/${ended}/net`)).toThrow(`list /proc/${ended}/net: EINVAL`);
  });
});

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
