/** Tests of the Debian package: its content, and installation, upgrade and removal in a chroot. */

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Roots } from "./roots.ts";
import { expect, run, step } from "./steps.ts";

const ROOT = join(import.meta.dir, "../..");
const ARCHITECTURE = process.arch === "arm64" ? "arm64" : "amd64";

/** Builds a package of the binary for each version. */
export function packVersions(outdir: string, binary: string, versions: readonly string[]): void {
  for (const version of versions) {
    const flags = ["--binary", binary, "--outdir", outdir, "--version", version];
    run([process.execPath, join(ROOT, "deploy/deb.ts"), ...flags], {
      env: { SOURCE_DATE_EPOCH: "1700000000" },
    });
  }
}

/** Installs the package in a Debian root folder. */
export function installIn(root: string, archive: string): void {
  cpSync(archive, join(root, "wgmon.deb"));
  run(["chroot", root, "dpkg", "-i", "/wgmon.deb"]);
  rmSync(join(root, "wgmon.deb"));
}

export async function checkPackage(work: string, binary: string): Promise<void> {
  const [once, again] = [join(work, "once"), join(work, "again")] as const;
  const archive = join(once, `wgmon_1.2.3_${ARCHITECTURE}.deb`);
  await step("package: the same bytes from the same input", () => {
    packVersions(once, binary, ["1.2.3"]);
    packVersions(again, binary, ["1.2.3"]);
    run(["cmp", archive, archive.replace(once, again)]);
    rmSync(again, { recursive: true });
  });
  await step("package: its files, its fields, and the program as it was built", () => {
    const listing = run(["dpkg-deb", "-c", archive]);
    for (const line of [
      "-rwxr-xr-x root/root .* ./usr/bin/wgmon",
      "-rw-r--r-- root/root .* ./usr/lib/systemd/system/wgmon.service",
      "-rw-r--r-- root/root .* ./usr/share/doc/wgmon/wgmon-hub.service",
      "-rw-r--r-- root/root .* ./etc/wgmon/wgmon.toml",
      "-rw-r--r-- root/root .* ./usr/share/man/man8/wgmon.8.gz",
      "-rw-r--r-- root/root .* ./usr/share/doc/wgmon/copyright",
      "-rw-r--r-- root/root .* ./usr/share/bash-completion/completions/wgmon",
      "-rw-r--r-- root/root .* ./usr/share/zsh/vendor-completions/_wgmon",
      "-rw-r--r-- root/root .* ./usr/share/fish/vendor_completions.d/wgmon.fish",
    ]) {
      expect(new RegExp(`^${line}$`, "m").test(listing), `no ${line} in\n${listing}`);
    }
    const fields = run(["dpkg-deb", "-f", archive]);
    expect(/^Version: 1\.2\.3$/m.test(fields), fields);
    expect(/^Depends: .*libmnl0, libnetfilter-log1, libpcap0.8$/m.test(fields), fields);
    const control = join(once, "control");
    run(["dpkg-deb", "-e", archive, control]);
    expect(
      readFileSync(join(control, "conffiles"), "utf8") === "/etc/wgmon/wgmon.toml\n",
      "conffiles",
    );
    run(["dpkg-deb", "-x", archive, join(once, "tree")]);
    // A stripped binary would have lost the embedded program.
    run(["cmp", binary, join(once, "tree/usr/bin/wgmon")]);
    const copyright = readFileSync(join(once, "tree/usr/share/doc/wgmon/copyright"), "utf8");
    expect(copyright === run([binary, "--licenses"]), "copyright is not what --licenses prints");
  });
  await step("man page: mandoc finds no error, and it describes every flag", () => {
    const page = join(once, "wgmon.8");
    const packed = readFileSync(join(once, "tree/usr/share/man/man8/wgmon.8.gz"));
    writeFileSync(page, Bun.gunzipSync(packed));
    run(["mandoc", "-T", "lint", "-W", "warning", page]);
    const text = readFileSync(page, "utf8").replaceAll("\\-", "-");
    const help = run([binary, "help", "--all"]);
    const flags = [...help.matchAll(/^ {2}(--[\w[\]-]+)/gm)].map(([, flag]) => flag!);
    const missing = flags.filter((flag) => flag !== "--version" && !text.includes(flag));
    expect(flags.length > 20 && missing.length === 0, `missing: ${missing.join(" ")}`);
    rmSync(once, { recursive: true });
  });
}

export async function checkPackageInChroot(work: string, roots: Roots): Promise<void> {
  const root = join(work, "chroot");
  const binary = join(ROOT, "wgmon");
  const inside = (...command: readonly string[]): string => run(["chroot", root, ...command]);
  await step("package in a chroot: installed, enabled, its unit in order", () => {
    run(["cp", "-a", roots.systemd, root]);
    packVersions(join(root, "debs"), binary, ["0.0.1", "0.0.2"]);
    const deb = (version: string): string => `/debs/wgmon_${version}_${ARCHITECTURE}.deb`;
    inside("dpkg", "-i", deb("0.0.1"));
    expect(inside("dpkg", "-V", "wgmon") === "", "dpkg -V finds changed files");
    const state = run(["systemctl", `--root=${root}`, "is-enabled", "wgmon"]).trim();
    expect(state === "enabled", `the unit is ${state}`);
    const complaint = run([
      "systemd-analyze",
      "verify",
      "--man=no",
      `--root=${root}`,
      "wgmon.service",
    ]);
    expect(complaint === "", complaint);
  });
  await step("package in a chroot: upgraded and removed, settings and state stay; purged", () => {
    const settings = join(root, "etc/wgmon/wgmon.toml");
    const state = join(root, "var/lib/private/wgmon");
    writeFileSync(settings, 'monitor = "bpf"\n');
    mkdirSync(state, { recursive: true });
    cpSync(settings, join(state, "wgmon.db"));
    // dpkg must not ask about the changed settings file: there is no terminal.
    inside("dpkg", "-i", `/debs/wgmon_0.0.2_${ARCHITECTURE}.deb`);
    const kept = (): boolean =>
      readFileSync(settings, "utf8") === 'monitor = "bpf"\n' && existsSync(join(state, "wgmon.db"));
    expect(kept(), "an upgrade loses settings or state");
    inside("dpkg", "--remove", "wgmon");
    expect(kept(), "remove loses settings or state");
    expect(!existsSync(join(root, "usr/bin/wgmon")), "the program is still there");
    inside("dpkg", "--purge", "wgmon");
    rmSync(join(root, "debs"), { recursive: true });
    const left = run(["find", root, "-xdev", "-name", "*wgmon*"]);
    expect(left.replace(/.*\/var\/(log|lib\/dpkg)\/.*\n/g, "") === "", `left: ${left}`);
  });
  rmSync(root, { recursive: true, force: true });
}
