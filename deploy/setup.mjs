/**
 * Makes a machine that has only Node and npm ready for wgmon: Bun and the packages of bun.lock, and
 * the system's C libraries; with --test also what the tests use. Says what it does, a line each, and
 * nothing where nothing is to do. Plain Node 18, no packages: it runs before there are any.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const forTests = process.argv.includes("--test");
const isRoot = process.getuid?.() === 0;

/** In the order of preference; what is installed is the first that the machine has. */
const managers = {
  "apt-get": {
    install: [
      "apt-get",
      "install",
      "-y",
      "-qq",
      "--no-install-recommends",
      "-o",
      "DPkg::Lock::Timeout=300",
    ],
    refresh: ["apt-get", "update", "-qq"],
  },
  dnf: { install: ["dnf", "install", "-y", "-q"] },
  pacman: { install: ["pacman", "-S", "--noconfirm", "--needed"], refresh: ["pacman", "-Sy"] },
  zypper: { install: ["zypper", "--non-interactive", "install"] },
};
const manager = Object.keys(managers).find((name) => which(name) !== null);

/** Packages by manager, in the order of `managers`, and how to see that they are not needed. */
const libraries = [
  { names: "libmnl0 libmnl libmnl libmnl0", isThere: () => hasLibrary("libmnl.so.0") },
  {
    names: "libnetfilter-log1 libnetfilter_log libnetfilter_log libnetfilter_log1",
    isThere: () => hasLibrary("libnetfilter_log.so.1"),
  },
  {
    names: "libpcap0.8 libpcap libpcap libpcap1",
    isThere: () => hasLibrary("libpcap.so.0.8") || hasLibrary("libpcap.so.1"),
  },
];
const testTools = [
  { names: "iproute2 iproute iproute2 iproute2", isThere: () => which("ip") },
  { names: "iproute2 iproute-tc iproute2 iproute2", isThere: () => which("tc") },
  { names: "util-linux util-linux util-linux util-linux", isThere: () => which("unshare") },
  {
    names: "wireguard-tools wireguard-tools wireguard-tools wireguard-tools",
    isThere: () => which("wg"),
  },
  { names: "nftables nftables nftables nftables", isThere: () => which("nft") },
  { names: "iptables iptables-nft iptables-nft iptables", isThere: () => which("iptables") },
  { names: "iputils-ping iputils iputils iputils", isThere: () => which("ping") },
  { names: "zsh zsh zsh zsh", isThere: () => which("zsh") },
  { names: "fish fish fish fish", isThere: () => which("fish") },
  // The constants are compared with the kernel's headers.
  { names: "gcc gcc gcc gcc", isThere: () => which("gcc") },
  {
    names: "libc6-dev glibc-devel glibc glibc-devel",
    isThere: () => existsSync("/usr/include/stdio.h"),
  },
  {
    names: "linux-libc-dev kernel-headers linux-api-headers linux-glibc-devel",
    isThere: () => existsSync("/usr/include/linux/wireguard.h"),
  },
];
/** Packages, images and services are tested where Debian's own tools are. */
const packagingTools = [
  { names: "systemd", isThere: () => which("systemd-analyze") },
  { names: "dpkg", isThere: () => which("dpkg-deb") },
  { names: "mandoc", isThere: () => which("mandoc") },
  { names: "shellcheck", isThere: () => which("shellcheck") },
  { names: "mmdebstrap", isThere: () => which("mmdebstrap") },
  { names: "podman", isThere: () => which("podman") },
  { names: "buildah", isThere: () => which("buildah") },
  { names: "runc", isThere: () => which("runc") },
  { names: "crun", isThere: () => which("crun") },
  { names: "netavark", isThere: () => existsSync("/usr/lib/podman/netavark") },
  { names: "catatonit", isThere: () => which("catatonit") },
];
/** With Debian's package would come a server that is started at once: see fetchPromtool. */
const promtool = {
  names: "- golang-github-prometheus prometheus golang-github-prometheus-prometheus",
};
const browsers = [
  {
    names: "chromium chromium chromium chromium",
    isThere: () => which("chromium") ?? which("chromium-browser") ?? which("google-chrome"),
  },
];
/** Releases are made of Debian's packages, so they need apt. */
const releaseTools = [
  { names: "make", isThere: () => which("make") },
  { names: "flex", isThere: () => which("flex") },
  { names: "bison", isThere: () => which("bison") },
  { names: "gcc-aarch64-linux-gnu", isThere: () => which("aarch64-linux-gnu-gcc") },
  {
    names: "libc6-dev-arm64-cross",
    isThere: () => existsSync("/usr/aarch64-linux-gnu/lib/libc.so.6"),
  },
  { names: "qemu-user-static", isThere: () => which("qemu-aarch64-static") },
];
/** The virtual machine is made of Debian's kernel, so it needs apt. */
const machineTools = [
  { names: "qemu-system-x86", isThere: () => which("qemu-system-x86_64") },
  { names: "busybox-static", isThere: () => which("busybox") },
  { names: "kmod", isThere: () => which("depmod") },
  { names: "xz-utils", isThere: () => which("xz") },
];

installPackages();
const wanted = missing(libraries);
if (wanted.length > 0 && !install(wanted, "wgmon's C libraries")) process.exit(1);
if (forTests) prepareTests();

function installPackages() {
  const pinned = JSON.parse(readFileSync("package.json", "utf8")).devDependencies.bun;
  const stamp = join("node_modules", ".in-step-with-lock");
  const lock = createHash("sha256").update(readFileSync("bun.lock")).digest("hex");
  const bun = join("node_modules", ".bin", "bun");
  const hasBun = () =>
    spawnSync(bun, ["--version"], { encoding: "utf8" }).stdout?.trim() === pinned;
  if (hasBun() && existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  if (!hasBun()) {
    say(`installing Bun ${pinned} with npm`);
    run([
      "npm",
      "install",
      "--no-save",
      "--no-package-lock",
      "--no-audit",
      "--no-fund",
      "--loglevel=error",
    ]);
    // npm may be told not to run install scripts, and this one puts the program into place.
    if (!hasBun()) run([process.execPath, join("node_modules", "bun", "install.js")]);
  }
  say("installing the packages of bun.lock");
  run([bun, "install", "--frozen-lockfile", "--silent"]);
  writeFileSync(stamp, lock);
}

function prepareTests() {
  const tools = missing(testTools);
  if (tools.length > 0 && !install(tools, "tools of the kernel tests")) {
    say("kernel tests that need them will be skipped");
  }
  if (manager === "apt-get") {
    const more = missing(packagingTools);
    if (more.length > 0 && !install(more, "tools of the packaging tests")) {
      say("packaging tests that need them will be skipped");
    }
  }
  fetchPromtool();
  const browser = missing(browsers);
  if (browser.length > 0 && !install(browser, "a browser for the tests of the page")) {
    say("tests of the page in a browser will be skipped");
  }
  if (manager === "apt-get" && process.arch === "x64") {
    const more = missing(releaseTools);
    if (more.length > 0 && !install(more, "tools of the tests of releases")) {
      say("tests of releases will be skipped");
    }
  }
  // Where the kernel has WireGuard, packages and images are still tested in a virtual machine.
  const reason = whyNoWireguard();
  const skipped = reason === null ? "tests of packages and images" : `kernel tests (${reason})`;
  if (manager !== "apt-get" || process.arch !== "x64") {
    say(`${skipped} will be skipped: their virtual machine needs Debian on x86_64`);
    return;
  }
  const more = missing(machineTools);
  if (more.length > 0 && !install(more, `a virtual machine for the ${skipped}`)) {
    say(`${skipped} will be skipped: there is no virtual machine`);
  }
}

/** What checks alert rules: test/support/promtool.ts looks for it here, too. */
function fetchPromtool() {
  const cache = join(
    process.env.XDG_CACHE_HOME || join(homedir(), ".cache"),
    "wgmon-test-promtool",
  );
  const place = join(cache, "promtool");
  if (which("promtool") !== null || existsSync(place)) return;
  const needs = [{ ...promtool, isThere: () => false }];
  if (manager !== "apt-get") {
    if (!install(missing(needs), "promtool")) say("alert rules will not be checked");
    return;
  }
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "new-"));
  const fetching = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "prometheus"];
  say(`promtool, for alert rules: ${fetching.join(" ")}`);
  const inFolder = (command) => attempt(command, { cwd: folder });
  // The package lists may be missing, or older than the archive.
  if (inFolder(fetching).status !== 0 && isRoot) attempt(managers["apt-get"].refresh);
  const archive = () => readdirSync(folder).find((name) => name.endsWith(".deb"));
  if (archive() === undefined) inFolder(fetching);
  const unpacked = inFolder(["dpkg-deb", "-x", archive() ?? "prometheus.deb", "package"]);
  if (unpacked.status === 0) renameSync(join(folder, "package/usr/bin/promtool"), place);
  else say(`alert rules will not be checked: ${unpacked.error?.message ?? unpacked.stderr.trim()}`);
  rmSync(folder, { recursive: true });
}

function whyNoWireguard() {
  if (!isRoot) return "not root";
  const probe = ["unshare", ["--net", "ip", "link", "add", "wgmon-probe", "type", "wireguard"]];
  return spawnSync(...probe).status === 0 ? null : "this kernel cannot make a WireGuard device";
}

function missing(wanted) {
  const column = Math.max(0, Object.keys(managers).indexOf(manager));
  const names = wanted
    .filter(({ isThere }) => !isThere())
    .map(({ names }) => names.split(" ")[column]);
  return [...new Set(names)];
}

/** Answers whether the packages are there now; where that needs somebody else, says what to do. */
function install(packages, purpose) {
  if (manager === undefined) {
    const musl =
      which("apk") === null ? "" : "; Alpine's C library is not supported, glibc is needed";
    say(`please install ${packages.join(" ")}: ${purpose}${musl}`);
    return false;
  }
  const { install, refresh } = managers[manager];
  const command = [...install, ...packages];
  const sudo = isRoot ? [] : ["sudo", "-n"];
  if (!isRoot && spawnSync("sudo", ["-n", "true"]).status !== 0) {
    say(`please run, for ${purpose}: sudo ${command.join(" ")}`);
    return false;
  }
  say(`${purpose}: ${[...sudo, ...command].join(" ")}`);
  if (attempt([...sudo, ...command]).status === 0) return true;
  if (refresh !== undefined) {
    say([...sudo, ...refresh].join(" "));
    attempt([...sudo, ...refresh]);
  }
  const { status, stderr, error } = attempt([...sudo, ...command]);
  if (status !== 0) say(`that failed: ${error?.message ?? stderr.trim()}`);
  return status === 0;
}

function attempt([program, ...rest], options = {}) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  return spawnSync(program, rest, { encoding: "utf8", env, ...options });
}

function run(command) {
  const { status, stdout, stderr, error } = attempt(command);
  if (status === 0) return;
  say(`${command.join(" ")} failed: ${error?.message ?? (stderr + stdout).trim()}`);
  process.exit(1);
}

function hasLibrary(soname) {
  const cache =
    spawnSync(which("ldconfig") ?? "ldconfig", ["-p"], { encoding: "utf8" }).stdout ?? "";
  const architecture = { x64: "x86-64", arm64: "AArch64" }[process.arch] ?? "";
  const lines = cache.split("\n").filter((line) => line.trim().startsWith(`${soname} `));
  if (lines.some((line) => line.includes(architecture))) return true;
  const folders = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
  const triplet = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" }[process.arch] ?? "";
  return folders.some((folder) =>
    [folder, join(folder, triplet)].some(
      (each) => existsSync(each) && readdirSync(each).includes(soname),
    ),
  );
}

function which(program) {
  const folders = [
    ...(process.env.PATH ?? "").split(delimiter),
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
  ];
  for (const folder of folders) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  return null;
}

function say(line) {
  console.log(`setup: ${line}`);
}
