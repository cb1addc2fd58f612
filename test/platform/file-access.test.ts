/** Which users can replace a file. */

import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { folderOpenToOthers } from "../../src/platform/file-access.ts";

const NOBODY = 65_534;
const isRoot = process.geteuid!() === 0;
const forRoot = isRoot ? "" : " [skipped: only root can change the owner of a file]";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "wgmon-system-")));
afterAll(() => rmSync(folder, { recursive: true }));

function makeFolder(name: string, mode: number): string {
  const path = join(folder, name);
  mkdirSync(path);
  chmodSync(path, mode);
  return path;
}

describe("folderOpenToOthers", () => {
  test("folderOpenToOthers returns a folder that other users can write to, at any level of the path", () => {
    const safe = makeFolder("safe", 0o755);
    writeFileSync(join(safe, "file"), "");
    expect(folderOpenToOthers(join(safe, "file"))).toBeNull();
    const open = makeFolder("open", 0o777);
    mkdirSync(join(open, "below"), { mode: 0o755 });
    writeFileSync(join(open, "below", "file"), "");
    expect(folderOpenToOthers(join(open, "below", "file"))).toBe(open);
    chmodSync(open, 0o775);
    expect(folderOpenToOthers(join(open, "below", "file"))).toBe(open);
  });

  test("folderOpenToOthers returns a folder that contains a link in the path, or that a link leads to", () => {
    const [safe, open] = [makeFolder("safe-2", 0o755), makeFolder("open-2", 0o777)];
    writeFileSync(join(safe, "file"), "");
    writeFileSync(join(open, "file"), "");
    symlinkSync(join(safe, "file"), join(open, "link"));
    symlinkSync("../open-2/file", join(safe, "link"));
    expect(folderOpenToOthers(join(open, "link"))).toBe(open);
    expect(folderOpenToOthers(join(safe, "link"))).toBe(open);
    symlinkSync("loop", join(safe, "loop"));
    expect(() => folderOpenToOthers(join(safe, "loop"))).toThrow("ELOOP");
  });

  test("folderOpenToOthers returns null if only owners can replace files in the folder, as in /tmp", () => {
    const sticky = makeFolder("sticky", 0o1777);
    writeFileSync(join(sticky, "file"), "");
    expect(folderOpenToOthers(join(sticky, "file"))).toBeNull();
  });

  test.skipIf(!isRoot)(
    `folderOpenToOthers returns a folder that another user owns${forRoot}`,
    () => {
      const theirs = makeFolder("theirs", 0o755);
      writeFileSync(join(theirs, "file"), "");
      chownSync(theirs, NOBODY, NOBODY);
      expect(folderOpenToOthers(join(theirs, "file"))).toBe(theirs);
      const sticky = makeFolder("sticky-2", 0o1777);
      writeFileSync(join(sticky, "file"), "");
      chownSync(join(sticky, "file"), NOBODY, NOBODY);
      expect(folderOpenToOthers(join(sticky, "file"))).toBe(sticky);
    },
  );
});
