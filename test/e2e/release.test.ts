/**
 * The result of `bun build.ts --release`: a reproducible program that needs only glibc, and its documents.
 * test/real-kernel/release.test.ts tests the same program on a real kernel.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { $ } from "bun";

import { fetchLibraries, libraries, missingTools } from "../../deploy/libraries.ts";
import { hasTexts, noticeText } from "../../deploy/notice.ts";
import { version } from "../../package.json";
import { BareRoot, RELEASE } from "../support/bare-root.ts";
import { needs, skipIf } from "../support/kernel.ts";
import { newStateFolder } from "../support/state.ts";
import { startWgmon } from "../support/wgmon.ts";

/** Libraries are compiled and programs compressed twice, which takes minutes even on an idle machine. */
setDefaultTimeout(20 * 60_000);

const ROOT = join(import.meta.dir, "../..");
const missing = process.arch === "x64" ? missingTools("x64") : ["x86_64 machine"];
const root = needs("root");
const tools = skipIf(...missing.map((name) => `no ${name}`));

/** Bun 1.4 for Linux needs glibc 2.17 on x64 and arm64. */
const BUN_GLIBC_MINOR = 17;

async function sumOf(path: string): Promise<string> {
  return new Bun.CryptoHasher("sha256").update(await Bun.file(path).bytes()).digest("hex");
}

/** `libmnl 1.0.4 (embedded)` and so on. */
const embeddedVersions = libraries
  .filter(({ name }) => name !== "libnfnetlink")
  .map(({ name, version: its }) => `${name} ${its} (embedded)`);

describe.skipIf(root.missing || tools.missing)(root.title(tools.title("a release")), () => {
  const build = () => $`${process.execPath} build.ts --release`.cwd(ROOT).quiet();

  test("a release is reproducible", async () => {
    await build();
    const first = await sumOf(RELEASE);
    const parts = await Bun.file(`${RELEASE}.cdx.json`).text();
    await build();
    expect(await sumOf(RELEASE)).toBe(first);
    expect(await Bun.file(`${RELEASE}.cdx.json`).text()).toBe(parts);
    const check = await $`sha256sum --check wgmon-${version}-linux-x64.sha256`
      .cwd(join(ROOT, "dist"))
      .text();
    expect(check).toBe(`wgmon-${version}-linux-x64: OK\n`);
  });

  test("a release has a bill of materials with all components and the checksum of the program", async () => {
    const document = await Bun.file(`${RELEASE}.cdx.json`).json();
    expect(document).toMatchObject({ bomFormat: "CycloneDX", specVersion: "1.6" });
    expect(document.metadata.component.hashes[0].content).toBe(await sumOf(RELEASE));
    const names = document.components.map(({ name }: { name: string }) => name);
    expect(names).toContain("bun");
    expect(names).toContain("elysia");
    for (const { name } of libraries) expect(names).toContain(name);
    for (const component of document.components) {
      expect(component.purl).toMatch(/^pkg:(?:npm|deb)\/\S+@\S+$/);
      expect(component.licenses[0].expression).toMatch(/\S/);
    }
  });

  test("a release needs no newer glibc than Bun does", async () => {
    for (const [soname, path] of await fetchLibraries("x64", join(ROOT, "node_modules/.cache"))) {
      const versions = (await Bun.file(path).text()).matchAll(/GLIBC_2\.(\d+)/g);
      const newest = Math.max(...Array.from(versions, ([, minor]) => Number(minor)));
      expect(newest, soname).toBeWithin(1, BUN_GLIBC_MINOR + 1);
    }
  });

  test("a release uses the system's libraries if they are installed", async () => {
    const text = await $`${RELEASE} --version`.text();
    expect(text).toStartWith(`wgmon ${version}\nBun ${Bun.version}\nlibmnl `);
    expect(text).not.toContain("embedded");
  });

  test("a release needs only glibc, and writes no files of its own", async () => {
    await using root = await BareRoot.create();
    const text = await $`${root.command("--version")}`.text();
    expect(text.trim().split("\n").slice(2)).toEqual(embeddedVersions);
    expect(root.written()).toEqual([]);
    for (const monitor of [["nflog"], ["bpf", "--interface", "lo"]]) {
      const args = ["--monitor", ...monitor, "--state-dir", "/tmp/state"];
      const [program, ...rest] = root.command(...args);
      const up = 'ip link set lo up; exec "$0" "$@"';
      const command = ["--net", "sh", "-euc", up, program!, ...rest];
      await using wgmon = startWgmon(command, { binary: "unshare" });
      await wgmon.ready;
      expect(await wgmon.stop()).toBe(0);
    }
    expect(
      root.written().filter((file) => !/^tmp\/state\/|\/wgmon\.sock\.lock$/.test(file)),
    ).toEqual([]);
  });

  test("the plain binary without the libraries says what to install", async () => {
    await using root = await BareRoot.create();
    await Bun.write(join(root.path, "wgmon"), Bun.file(join(ROOT, "wgmon")));
    const args = ["--monitor", "poll", "--state-dir", newStateFolder()];
    const { exitCode, stderr } = await $`${root.command(...args)}`.quiet().nothrow();
    expect(exitCode).toBe(1);
    expect(stderr.toString()).toContain("wgmon: cannot load libmnl.so.0");
    expect(stderr.toString()).toContain("install libmnl");
  });
});

describe("the licences", () => {
  const note = hasTexts() ? "" : " [skipped: the texts are those of a Debian with the libraries]";

  test.skipIf(!hasTexts())(
    `the licences are in NOTICE for all components of the program${note}`,
    async () => {
      expect(await Bun.file(join(ROOT, "NOTICE")).text()).toBe(await noticeText());
    },
  );

  test("--licenses prints the licences", async () => {
    const text = await $`${join(ROOT, "wgmon")} --licenses`.text();
    expect(text).toStartWith("MIT License");
    expect(text).toContain("GNU GENERAL PUBLIC LICENSE");
    expect(text).toContain("GNU LESSER GENERAL PUBLIC LICENSE");
    expect(text).toContain("elysia");
  });
});

const arm = skipIf(
  ...["qemu-aarch64-static", "aarch64-linux-gnu-gcc"].map((program) =>
    Bun.which(program) === null ? `no ${program}` : null,
  ),
);
const armTitle = root.title(tools.title(arm.title("a release for arm64 runs in an emulator")));

test.skipIf(root.missing || tools.missing || arm.missing)(armTitle, async () => {
  await $`${process.execPath} build.ts --release --target arm64`.cwd(ROOT).quiet();
  const program = join(ROOT, `dist/wgmon-${version}-linux-arm64`);
  expect(existsSync(`${program}.cdx.json`)).toBe(true);
  const text = await $`qemu-aarch64-static -L /usr/aarch64-linux-gnu ${program} --version`.text();
  expect(text.trim().split("\n").slice(2)).toEqual(embeddedVersions);
});
