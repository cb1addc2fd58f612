/**
 * The packaging tests: systemd unit, package, man page and image; in virtual machines, the service and the container
 * with a real WireGuard. `bun test/packaging/run.ts [--no-vm]`, after bun build.ts. Each step prints a line; the last
 * line counts them. In CI, a skipped step counts as a failure.
 */

import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { runInVm, whyNoVm } from "../support/vm.ts";
import { checkFiles } from "./files.ts";
import { Image } from "./image.ts";
import { checkPackage, checkPackageInChroot, installIn, packVersions } from "./package.ts";
import { makeRoots, type Roots, rootsIn } from "./roots.ts";
import { count, counts, expect, skip, step } from "./steps.ts";

const ROOT = join(import.meta.dir, "../..");
const BINARY = join(ROOT, "wgmon");
const VM_LIMIT_MS = 25 * 60_000;
const isRequired = /^(true|1)$/.test(process.env["CI"] ?? "");

const { values: options } = parseArgs({
  options: { "no-vm": { type: "boolean", default: false } },
});

const work = mkdtempSync(join(tmpdir(), "wgmon-packaging-"));
// The service's user and the image need access to the files in this folder.
Bun.spawnSync(["chmod", "755", work]);
process.on("exit", () => {
  // podman's mounts would prevent the removal.
  Bun.spawnSync(["findmnt", "-rno", "TARGET"])
    .stdout.toString()
    .split("\n")
    .filter((target) => target.startsWith(`${work}/`))
    .forEach((target) => Bun.spawnSync(["umount", "-l", target]));
  rmSync(work, { recursive: true, force: true });
});
for (const [signal, code] of [["SIGINT", 130] as const, ["SIGTERM", 143] as const]) {
  process.on(signal, () => process.exit(code));
}

await basicChecks();
const roots = await checkWithRoots();
if (roots !== null) await checkImageAndMachines(roots);
if (isRequired && counts.skipped > 0) {
  console.log(`FAIL a step was skipped in CI`);
  counts.failed++;
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed > 0 ? 1 : 0);

async function basicChecks(): Promise<void> {
  await checkFiles(work, BINARY);
  await guarded("package", ["dpkg-deb", "mandoc"], () => checkPackage(work, BINARY));
}

/** Creates the roots and tests the package in a chroot; null if the roots cannot be created. */
async function checkWithRoots(): Promise<Roots | null> {
  const reason = whyNot(["mmdebstrap", "podman", "runc", "buildah", "catatonit"], true);
  if (reason !== null) {
    skip("image, package in a chroot, machines", reason);
    return null;
  }
  const roots = rootsIn(work);
  if (!(await step("roots: Debian, and Debian with systemd", () => makeRoots(roots)))) return null;
  await checkPackageInChroot(work, roots);
  return roots;
}

async function checkImageAndMachines(roots: Roots): Promise<void> {
  const image = new Image(work, roots);
  // On exit, so that it also runs after a signal.
  process.prependListener("exit", () => image[Symbol.dispose]());
  const isBuilt = await image.check();
  const reason = options["no-vm"] ? "--no-vm" : whyNoVm();
  if (reason !== null) {
    skip("service and container on a kernel with WireGuard", reason);
    return;
  }
  const debs = join(work, "debs");
  mkdirSync(debs);
  packVersions(debs, BINARY, ["0.0.1", "0.0.2"]);
  // Installed here, because dpkg is slow in the virtual machine, which only tests the upgrade.
  installIn(roots.systemd, join(debs, "wgmon_0.0.1_amd64.deb"));
  const bun = `/host${realpathSync(process.execPath)}`;
  await machine("service", [bun, `/host${ROOT}/test/packaging/systemd.ts`], {
    systemd: roots.systemd,
    environment: { WGMON_TEST_DEB: `/host${debs}/wgmon_0.0.2_amd64.deb` },
  });
  if (!isBuilt) return;
  await machine("container", [process.execPath, join(ROOT, "test/packaging/container.ts")], {
    environment: { WGMON_TEST_STORE: image.store },
  });
}

/** Runs a program in a virtual machine and counts the steps that it prints. */
async function machine(
  name: string,
  command: readonly string[],
  more: { readonly systemd?: string; readonly environment: Readonly<Record<string, string>> },
): Promise<void> {
  let output = "";
  const decoder = new TextDecoder();
  const onOutput = (chunk: Uint8Array): void => {
    const text = decoder.decode(chunk, { stream: true });
    output += text;
    process.stdout.write(text);
  };
  await step(`${name}: the program in the virtual machine has finished`, async () => {
    const { exitCode } = await runInVm(command, {
      timeoutMs: VM_LIMIT_MS,
      cwd: "/",
      onOutput,
      ...more,
    });
    count(output);
    expect(exitCode === 0, `exit code ${exitCode}`);
  });
}

async function guarded(
  name: string,
  programs: readonly string[],
  action: () => Promise<void>,
): Promise<void> {
  const reason = whyNot(programs, false);
  if (reason === null) await action();
  else skip(name, reason);
}

function whyNot(programs: readonly string[], root: boolean): string | null {
  if (root && process.getuid?.() !== 0) return "not root";
  const missing = programs.filter((program) => Bun.which(program) === null);
  return missing.length === 0 ? null : `not installed: ${missing.join(", ")}`;
}
