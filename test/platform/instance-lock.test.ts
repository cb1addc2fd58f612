/** Only one wgmon can use a state directory or a socket: the locks, and the process that owns them. */

import { afterEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import {
  findOwner,
  lockInstance,
  lockOf,
  lockOfSocket,
  lockOwner,
} from "../../src/platform/instance-lock.ts";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wgmon-exclusive-"));
  folders.push(path);
  return path;
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

test("both folders are created, and only this user can open the locks", () => {
  const [state, runtime] = [join(folder(), "a", "state"), join(folder(), "run")];
  expect(lockInstance(state, runtime)).toEqual({ stateDir: null, socket: null });
  expect([modeOf(state), modeOf(lockOf(state))]).toEqual(["700", "600"]);
  expect([modeOf(runtime), modeOf(lockOfSocket(join(runtime, "wgmon.sock")))]).toEqual([
    "755",
    "600",
  ]);
});

test("a second process is refused with the name of the process that owns the lock", () => {
  const [state, runtime] = [folder(), folder()];
  lockInstance(state, runtime);
  // Locks belong to open files, not to processes: a second open file of this process is refused as well.
  const stop = `Stop it \\(systemctl stop wgmon, or kill ${process.pid}\\)`;
  expect(() => lockInstance(state, folder())).toThrow(
    new RegExp(
      `^already running: process ${process.pid} \\(.+\\) uses ${state}\\. ${stop}, or start this one with another --state-dir$`,
    ),
  );
  expect(() => lockInstance(folder(), runtime)).toThrow(
    new RegExp(
      `^already running: process ${process.pid} \\(.+\\) uses ${runtime}/wgmon.sock\\. ${stop}, .*RUNTIME_DIRECTORY`,
    ),
  );
  expect(lockOwner(lockOf(state))?.pid).toBe(process.pid);
  expect(lockOwner(lockOf(folder()))).toBeNull();
});

describe("the owner of a lock", () => {
  const programs = new Map([
    [9, "wgmon"],
    [10, "postgres"],
  ]);
  const owner = (dev: bigint, locks: string) =>
    findOwner({ dev, ino: 2n }, locks, (pid) => programs.get(pid) ?? null)?.text ?? null;
  /** makedev(3) of major 0 and minor 0x34, of 259 and 1, of 8 and 0x100. */
  const [TMPFS, NVME, LARGE] = [0x34n, 0x1_0301n, 0x10_0800n];

  test("the owner of a lock is found by device and inode, because each tmpfs begins with the same inodes", () => {
    const locks =
      "1: FLOCK  ADVISORY  WRITE 10 00:35:2 0 EOF\n2: POSIX  ADVISORY  WRITE 7 00:34:2 0 EOF\n" +
      "3: FLOCK  ADVISORY  WRITE 11 00:34:2 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 12 00:34:2 0 EOF\n";
    expect(owner(TMPFS, locks)).toBe("process 11");
    expect(owner(NVME, "1: FLOCK  ADVISORY  WRITE 10 103:01:2 0 EOF\n")).toBe(
      "process 10 (postgres)",
    );
    expect(owner(LARGE, "1: FLOCK  ADVISORY  WRITE 10 08:100:2 0 EOF\n")).toBe(
      "process 10 (postgres)",
    );
  });

  test("the owner of a lock is found by inode if the device differs, as on btrfs, but only if it is a wgmon", () => {
    const otherProgram = "1: FLOCK  ADVISORY  WRITE 10 00:35:2 0 EOF\n";
    expect(owner(TMPFS, otherProgram)).toBeNull();
    expect(owner(TMPFS, `${otherProgram}2: FLOCK  ADVISORY  WRITE 9 00:36:2 0 EOF\n`)).toBe(
      "process 9 (wgmon)",
    );
    expect(owner(TMPFS, "1: FLOCK  ADVISORY  WRITE 0 00:34:2 0 EOF\n")).toBeNull();
  });
});

test("a lock file of a process that has ended does not prevent a lock", () => {
  const [state, runtime] = [folder(), folder()];
  const script = `require(${JSON.stringify(join(import.meta.dir, "../../src/platform/instance-lock.ts"))})
    .lockInstance(${JSON.stringify(state)}, ${JSON.stringify(runtime)}); process.kill(process.pid, "SIGKILL")`;
  expect(Bun.spawnSync([process.execPath, "-e", script]).signalCode).toBe("SIGKILL");
  expect(existsSync(lockOf(state))).toBe(true);
  expect(lockInstance(state, runtime)).toEqual({ stateDir: null, socket: null });
});

test("an unusable folder for a lock is not a refusal, and its error is returned", () => {
  const file = join(folder(), "file");
  writeFileSync(file, "");
  const { stateDir, socket } = lockInstance(join(file, "state"), join(file, "run"));
  expect([stateDir?.code, socket?.code]).toEqual(["ENOTDIR", "ENOTDIR"]);
});

test("a symbolic link in the place of a lock is not followed", () => {
  const [state, runtime, elsewhere] = [folder(), folder(), folder()];
  const victim = join(elsewhere, "victim");
  symlinkSync(victim, lockOf(state));
  symlinkSync(join(elsewhere, "second"), join(runtime, "wgmon.sock.lock"));
  writeFileSync(join(elsewhere, "second"), "precious");
  const { stateDir, socket } = lockInstance(state, runtime);
  expect([stateDir?.code, socket?.code]).toEqual(["ELOOP", "ELOOP"]);
  expect(existsSync(victim)).toBe(false);
  expect(readFileSync(join(elsewhere, "second"), "utf8")).toBe("precious");
});

test("a folder of a lock that is a link is followed, as /var/lib/wgmon is with DynamicUser=yes", () => {
  const [real, runtime] = [folder(), folder()];
  const state = join(folder(), "wgmon");
  mkdirSync(join(real, "private"));
  symlinkSync(join(real, "private"), state);
  expect(lockInstance(state, runtime).stateDir).toBeNull();
  expect(existsSync(join(real, "private", "wgmon.lock"))).toBe(true);
});
