/** The binary that build.ts makes, and the errors of build.ts. */

import { dlopen } from "bun:ffi";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { buildFlags } from "../../build.ts";
import { version } from "../../package.json";
import { TEST_MS } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const ROOT = join(import.meta.dir, "../..");
const USAGE = "Usage: bun build.ts [--target x64|arm64] [--outfile FILE | --release]\n";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "wgmon-build-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function run(command: readonly string[], cwd = folder) {
  const child = Bun.spawn([...command], { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

async function build(...args: readonly string[]) {
  return await run([process.execPath, join(ROOT, "build.ts"), ...args]);
}

/** e_machine of an executable file, elf(5). Checks the magic number, too. */
async function machineOf(path: string): Promise<number> {
  const view = new DataView(await Bun.file(path).slice(0, 20).arrayBuffer());
  expect(view.getUint32(0)).toBe(0x7f454c46);
  return view.getUint16(18, true);
}

describe("the build flags", () => {
  test("the build flags stop the binary from reading .env and bunfig.toml of the working directory", () => {
    expect(buildFlags).toContain("--no-compile-autoload-dotenv");
    expect(buildFlags).toContain("--no-compile-autoload-bunfig");
  });

  test("the build flags minify only the syntax, and include a source map", () => {
    expect(buildFlags.filter((flag) => /^--minify(?!-syntax$)/.test(flag))).toEqual([]);
    expect(buildFlags).toContain("--sourcemap");
  });
});

describe("the binary", () => {
  let binary: string;

  beforeAll(async () => {
    // A relative path is relative to the caller's working directory, not to build.ts.
    const { exitCode, stdout, stderr } = await build("--outfile", "wgmon");
    binary = join(folder, "wgmon");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(/^\/.*\/wgmon: (x64|arm64), \d+ MB, \d+\.\d s\n$/);
  });

  test("the binary is the only file that the build leaves", async () => {
    expect([...new Bun.Glob("*").scanSync(folder)]).toEqual(["wgmon"]);
  });

  test("the binary is not stripped, because stripping would leave plain Bun", async () => {
    const { exitCode, stdout } = await run([binary, "--version"]);
    expect(exitCode).toBe(0);
    expect(stdout).toStartWith(`wgmon ${version}\nBun ${Bun.version}\n`);
    const symbols = Buffer.from(".symtab\0");
    expect(Buffer.from(await Bun.file(binary).arrayBuffer()).includes(symbols)).toBe(true);
  });

  // With them, any user could run any code with these rights: BUN_BE_BUN turns the binary into plain Bun.
  test("the binary has no file capabilities and is not set-user-ID", async () => {
    const { mode } = await Bun.file(binary).stat();
    expect((mode & 0o7777).toString(8)).toBe((0o777 & ~process.umask()).toString(8));
    const libc = dlopen("libc.so.6", {
      getxattr: { args: ["cstring", "cstring", "ptr", "u64"], returns: "i32" },
    });
    expect(libc.symbols.getxattr(binary, "security.capability", null, 0)).toBe(-1);
  });

  test("the binary ignores .env and bunfig.toml of the working directory", async () => {
    const cwd = await mkdtemp(join(folder, "hostile-"));
    await Bun.write(join(cwd, "preload.ts"), `console.log("hostile");`);
    await Bun.write(join(cwd, "bunfig.toml"), `preload = ["./preload.ts"]\n`);
    await Bun.write(join(cwd, ".env"), `WGMON_MONITOR=hostile\n`);
    // A setting that is refused, so that wgmon reads all settings and then ends.
    expect(await run([binary, "--tick", "3"], cwd)).toEqual({
      exitCode: 2,
      stdout: "",
      stderr:
        'wgmon: --tick: "3" has no unit; write "3s" for seconds\nwgmon run --help lists all settings.\n',
    });
  });

  test("the binary can be rebuilt while it runs", async () => {
    await using running = Bun.spawn(
      [binary, "-e", "console.log('up'); setTimeout(() => {}, 60_000)"],
      {
        env: { BUN_BE_BUN: "1" },
        stdout: "pipe",
      },
    );
    await running.stdout.getReader().read();
    expect(await build("--outfile", binary)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(running.exitCode).toBe(null);
  });
});

describe("the refusals of build.ts", () => {
  test.each([
    [["--target", "mips"], "--target mips is not known; it takes x64 or arm64"],
    [["--traget", "x64"], "Unknown option '--traget'"],
    [["x64"], "Unexpected argument 'x64'"],
    [["--outfile"], "Option '--outfile <value>' argument missing"],
  ])("build.ts refuses the arguments %p", async (args, problem) => {
    expect(await build(...args)).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: `build.ts: ${problem}\n${USAGE}`,
    });
  });

  test("build.ts refuses an outfile that it cannot write", async () => {
    const { exitCode, stderr } = await build("--outfile", "/dev/null/wgmon");
    expect(exitCode).toBe(1);
    expect(stderr).toEndWith("build.ts: cannot write to /dev/null: ENOTDIR\n");
  });
});

const registry = Bun.which("npm") === null ? "no npm here" : await whyNoRegistry();
const note = registry === null ? "" : ` [skipped: ${registry}]`;

/** Bun for another architecture is fetched once, and then read from the cache. */
async function whyNoRegistry(): Promise<string | null> {
  const cached = `node_modules/.cache/@oven-bun-linux-aarch64-${Bun.version}/archive.tgz`;
  if (await Bun.file(join(ROOT, cached)).exists()) return null;
  const { exitCode } = await run(
    [
      "npm",
      "view",
      "--fetch-timeout=5000",
      "--fetch-retries=0",
      `@oven/bun-linux-aarch64@${Bun.version}`,
      "version",
    ],
    ROOT,
  );
  return exitCode === 0 ? null : "the npm registry cannot be reached";
}

describe.skipIf(registry !== null)(`the binary for arm64${note}`, () => {
  const EM_AARCH64 = 183; // elf.h
  const binary = () => join(folder, "wgmon-arm64");
  const libraries = "/usr/aarch64-linux-gnu";
  const emulator = Bun.which("qemu-aarch64-static") ?? Bun.which("qemu-aarch64");
  const hasEmulator = emulator !== null && existsSync(`${libraries}/lib/libc.so.6`);
  const cannotRun =
    process.arch === "arm64" || hasEmulator
      ? ""
      : " [skipped: no qemu-aarch64 or no arm64 libraries]";

  test("the binary for arm64 is an executable for arm64", async () => {
    const { exitCode, stderr } = await build("--target", "arm64", "--outfile", binary());
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(await machineOf(binary())).toBe(EM_AARCH64);
  });

  test.skipIf(cannotRun !== "")(
    `the binary for arm64 reports its version${cannotRun}`,
    async () => {
      const prefix = process.arch === "arm64" ? [] : [emulator!, "-L", libraries];
      const { stdout } = await run([...prefix, binary(), "--version"]);
      expect(stdout).toStartWith(`wgmon ${version}\nBun ${Bun.version}\n`);
    },
  );
});
