/** What the operating system tells of this process, and of files and who can change them. */

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

import {
  folderOpenToOthers,
  readFileAndMode,
  readTextFile,
  threadCpuMs,
} from "../../src/platform/os.ts";

const NOBODY = 65_534;
const isRoot = process.geteuid!() === 0;
const forRoot = isRoot ? "" : " [skipped: only root can give files away]";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "wgmon-system-")));
afterAll(() => rmSync(folder, { recursive: true }));

function made(name: string, mode = 0o644): string {
  const path = join(folder, name);
  writeFileSync(path, "text");
  chmodSync(path, mode);
  return path;
}

function madeFolder(name: string, mode: number): string {
  const path = join(folder, name);
  mkdirSync(path);
  chmodSync(path, mode);
  return path;
}

describe("a file that is read", () => {
  test("has the mode that it has", () => {
    expect(readFileAndMode(made("plain", 0o640))).toEqual({
      text: "text",
      mode: { bits: 0o640, isOwnedByUsOrRoot: true, isRegular: true },
    });
    expect(readFileAndMode(join(folder, "none"))).toBeNull();
    expect(readTextFile(made("second"))).toBe("text");
  });

  test.skipIf(!isRoot)(`of another user is not ours${forRoot}`, () => {
    const path = made("given-away");
    chownSync(path, NOBODY, NOBODY);
    expect(readFileAndMode(path)!.mode).toEqual({
      bits: 0o644,
      isOwnedByUsOrRoot: false,
      isRegular: true,
    });
  });

  test("is asked for its mode itself, whatever is at its path by then", () => {
    const path = join(folder, "pipe");
    Bun.spawnSync(["mkfifo", "-m", "622", path]);
    chmodSync(path, 0o622);
    made("other", 0o600);
    const swap = `exec 3> pipe; ln -s other link; mv link pipe; printf evil >&3`;
    Bun.spawn(["sh", "-c", swap], { cwd: folder });
    expect(readFileAndMode(path)).toEqual({
      text: "evil",
      mode: { bits: 0o622, isOwnedByUsOrRoot: true, isRegular: false },
    });
    expect(readTextFile(path)).toBe("text");
  });
});

describe("a file is open to others by a folder", () => {
  test("that they can write to, at any place on the way", () => {
    const safe = madeFolder("safe", 0o755);
    writeFileSync(join(safe, "file"), "");
    expect(folderOpenToOthers(join(safe, "file"))).toBeNull();
    const open = madeFolder("open", 0o777);
    mkdirSync(join(open, "below"), { mode: 0o755 });
    writeFileSync(join(open, "below", "file"), "");
    expect(folderOpenToOthers(join(open, "below", "file"))).toBe(open);
    chmodSync(open, 0o775);
    expect(folderOpenToOthers(join(open, "below", "file"))).toBe(open);
  });

  test("that a link stands in, or leads to", () => {
    const [safe, open] = [madeFolder("safe-2", 0o755), madeFolder("open-2", 0o777)];
    writeFileSync(join(safe, "file"), "");
    writeFileSync(join(open, "file"), "");
    symlinkSync(join(safe, "file"), join(open, "link"));
    symlinkSync("../open-2/file", join(safe, "link"));
    expect(folderOpenToOthers(join(open, "link"))).toBe(open);
    expect(folderOpenToOthers(join(safe, "link"))).toBe(open);
    symlinkSync("loop", join(safe, "loop"));
    expect(() => folderOpenToOthers(join(safe, "loop"))).toThrow("ELOOP");
  });

  test("but not where only owners can replace files, as in /tmp", () => {
    const sticky = madeFolder("sticky", 0o1777);
    writeFileSync(join(sticky, "file"), "");
    expect(folderOpenToOthers(join(sticky, "file"))).toBeNull();
  });

  test.skipIf(!isRoot)(`that is another user's${forRoot}`, () => {
    const theirs = madeFolder("theirs", 0o755);
    writeFileSync(join(theirs, "file"), "");
    chownSync(theirs, NOBODY, NOBODY);
    expect(folderOpenToOthers(join(theirs, "file"))).toBe(theirs);
    const sticky = madeFolder("sticky-2", 0o1777);
    writeFileSync(join(sticky, "file"), "");
    chownSync(join(sticky, "file"), NOBODY, NOBODY);
    expect(folderOpenToOthers(join(sticky, "file"))).toBe(sticky);
  });
});

test("the processor time of this thread moves in steps much finer than a scan takes", () => {
  const steps: number[] = [];
  for (let lastMs = threadCpuMs(); steps.length < 100;) {
    const nowMs = threadCpuMs();
    if (nowMs > lastMs) steps.push(nowMs - lastMs);
    lastMs = nowMs;
  }
  expect(steps.toSorted((a, b) => a - b)[50]).toBeLessThan(0.1);
});

test("and stands still while the thread sleeps", async () => {
  const startMs = threadCpuMs();
  const startedAtMs = performance.now();
  await Bun.sleep(200);
  expect(threadCpuMs() - startMs).toBeLessThan((performance.now() - startedAtMs) / 2);
});
