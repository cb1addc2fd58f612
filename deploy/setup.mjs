/**
 * Makes a machine that has only Node and npm ready for wgmon: Bun and the packages of bun.lock (--build), the
 * system's C libraries (`npm start`), what the demo uses (--demo) or what the tests use (--test).
 * Says what it will install before it does and what it has installed at the end; nothing where nothing is
 * missing. With apt, packages that are installed already are neither upgraded nor removed, unless
 * --allow-upgrades is given (for machines that are thrown away). Plain Node 18, no packages: it runs before
 * there are any.
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
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { BunError, bunPackages, fetchBun, lockedPackage } from "./bun.mjs";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
/** By option, the script of package.json that it is for. None of them: npm start. */
const purposes = { "--build": "build", "--demo": "demo", "--test": "test" };
const options = process.argv.slice(2);
const known = [...Object.keys(purposes), "--allow-upgrades"];
const unknown = options.find((word) => !known.includes(word));
if (unknown !== undefined) {
  say(`unknown option ${unknown}; it takes ${known.join(", ")}`);
  process.exit(2);
}
const purpose = purposes[options.find((word) => word in purposes)] ?? "start";
const mayUpgrade = options.includes("--allow-upgrades");
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
      "--no-upgrade",
      "-o",
      "DPkg::Lock::Timeout=300",
    ],
    refresh: ["apt-get", "update", "-qq"],
  },
  dnf: { install: ["dnf", "install", "-y", "-q"] },
  // Without -y (refresh): new packages beside old ones are a partial upgrade, which Arch does not support.
  pacman: { install: ["pacman", "-S", "--noconfirm", "--needed"] },
  zypper: { install: ["zypper", "--non-interactive", "install"] },
};
const manager = Object.keys(managers).find((name) => which(name) !== null);
/** The packages that this run has installed, with their dependencies where apt names them. */
const installed = [];
const sudo = isRoot ? [] : ["sudo", "-n"];
let isRefreshed = false;

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
const demoTools = [
  { names: "iproute2 iproute iproute2 iproute2", isThere: () => which("ip") },
  { names: "util-linux util-linux util-linux util-linux", isThere: () => which("unshare") },
  {
    names: "wireguard-tools wireguard-tools wireguard-tools wireguard-tools",
    isThere: () => which("wg"),
  },
  { names: "nftables nftables nftables nftables", isThere: () => which("nft") },
  { names: "iputils-ping iputils iputils iputils", isThere: () => which("ping") },
];
const testTools = [
  ...demoTools,
  { names: "iproute2 iproute-tc iproute2 iproute2", isThere: () => which("tc") },
  { names: "wireguard-go - wireguard-go -", isThere: () => which("wireguard-go") },
  { names: "iptables iptables-nft iptables-nft iptables", isThere: () => which("iptables") },
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

/** How long each takes on two cores once everything is installed. */
const takes = {
  build: null,
  start: null,
  demo: "about a minute",
  test: "about 20 minutes on two cores",
};

installPackages();
installGroups(groupsFor(purpose));
if (purpose === "test") {
  fetchPromtool();
  fetchNatsServers();
}
// For the end of the demo.
if (purpose === "demo") writeFileSync("node_modules/.installed", installed.join(" "));
if (installed.length > 0) say(`installed ${installed.length} packages: ${installed.join(" ")}`);

/** Bun by an archive that bun.lock vouches for, then by that Bun all other packages; no install scripts. */
function installPackages() {
  const pinned = lockedPackage("bun").version;
  const stamp = join("node_modules", ".in-step-with-lock");
  const lock = createHash("sha256").update(readFileSync("bun.lock")).digest("hex");
  const bun = join("node_modules", ".bin", "bun");
  const hasBun = (path = bun) =>
    spawnSync(path, ["--version"], { encoding: "utf8" }).stdout?.trim() === pinned;
  if (hasBun() && existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  const placed = hasBun() ? null : placeBun();
  if (placed !== null && !hasBun(placed)) {
    fail(
      `Bun ${pinned} does not run on this machine; wgmon needs Linux on x86_64 or arm64, with glibc ` +
        "(Alpine's C library is not supported)",
    );
  }
  say("installing the packages of bun.lock into node_modules");
  run([placed ?? bun, "install", "--frozen-lockfile", "--ignore-scripts", "--silent"], {
    env: npmSettings(),
  });
  if (!hasBun()) {
    const target = placed ?? placeBun();
    for (const name of ["bun.exe", "bunx.exe"]) {
      // Bun's package has a placeholder there, which may be a hard link to a file of Bun's cache.
      const path = join("node_modules/bun/bin", name);
      rmSync(path, { force: true });
      symlinkSync(join("../..", target.slice("node_modules/".length)), path);
    }
  }
  writeFileSync(stamp, lock);
}

/** Puts Bun's package where `bun install` would put it, so that it is not fetched twice. */
function placeBun() {
  const name = bunPackages[process.arch];
  if (process.platform !== "linux" || name === undefined) {
    fail(`wgmon needs Linux on x86_64 or arm64; this is ${process.platform} on ${process.arch}`);
  }
  const folder = join("node_modules", name);
  try {
    const files = fetchBun(process.arch, say);
    rmSync(folder, { recursive: true, force: true });
    for (const [path, bytes] of files) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), bytes, { mode: path.startsWith("bin/") ? 0o755 : 0o644 });
    }
  } catch (error) {
    if (error instanceof BunError) fail(error.message);
    throw error;
  }
  return join(folder, "bin/bun");
}

/** npm's registry, proxy and certificates for Bun, which reads only some of npm's settings files. */
function npmSettings() {
  const { status, stdout } = attempt(["npm", "config", "ls", "--json", "--no-update-notifier"]);
  const settings = status === 0 ? JSON.parse(stdout) : {};
  const { registry, cafile, proxy, "https-proxy": httpsProxy } = settings;
  const env = {};
  if (registry) env.npm_config_registry = registry;
  if (cafile && !process.env.NODE_EXTRA_CA_CERTS) env.NODE_EXTRA_CA_CERTS = cafile;
  if (httpsProxy && !process.env.https_proxy && !process.env.HTTPS_PROXY) {
    env.HTTPS_PROXY = httpsProxy;
  }
  if (proxy && !process.env.http_proxy && !process.env.HTTP_PROXY) env.HTTP_PROXY = proxy;
  return env;
}

/**
 * What a purpose needs: packages, what they are for, and what becomes of it without them. The first is
 * required; null: the purpose goes on without saying more.
 */
function groupsFor(purpose) {
  if (purpose === "build") return [];
  const groups = [{ what: "C libraries of wgmon", needs: libraries, without: null }];
  if (purpose === "start") return groups;
  const isDebian = manager === "apt-get";
  const hasVm = isDebian && process.arch === "x64";
  const reason = whyNoWireguard();
  if (purpose === "demo") {
    groups.push({ what: "tools of the demo", needs: demoTools, without: "the demo cannot run" });
    if (reason === null) return groups;
    const without = `the demo cannot run: ${reason}, and a virtual machine needs Debian on x86_64`;
    groups.push({
      what: `a virtual machine, because ${reason}`,
      needs: machineTools,
      without: hasVm ? "the demo cannot run" : without,
      isPossible: hasVm,
    });
    return groups;
  }
  // Where the kernel has WireGuard, packages and images are still tested in a virtual machine.
  const inVm = reason === null ? "tests of packages and images" : `kernel tests (${reason})`;
  return [
    ...groups,
    {
      what: "kernel tests",
      needs: testTools,
      without: "kernel tests that need them will be skipped",
    },
    {
      what: "tests of packages and images",
      needs: packagingTools,
      without: "packaging tests that need them will be skipped",
      isPossible: isDebian,
    },
    {
      what: "tests of the page in a browser",
      needs: browsers,
      without: "tests of the page in a browser will be skipped",
    },
    {
      what: "tests of releases",
      needs: releaseTools,
      without: "tests of releases will be skipped",
      isPossible: hasVm,
    },
    {
      what: `a virtual machine for the ${inVm}`,
      needs: machineTools,
      without: `${inVm} will be skipped: their virtual machine needs Debian on x86_64`,
      isPossible: hasVm,
    },
  ];
}

/** Says what is missing and how much it is, then installs it, group by group. */
function installGroups(groups) {
  const command = purpose === "demo" ? "npm run demo" : `npm ${purpose}`;
  const impossible = groups.filter(({ isPossible }) => isPossible === false);
  const wanted = groups
    .filter((group) => !impossible.includes(group))
    .map((group) => ({ ...group, packages: missing(group.needs) }))
    .filter(({ packages }) => packages.length > 0);
  if (wanted.length > 0) {
    say(`${command} needs from this system's packages:`);
    for (const { what, packages } of wanted) say(`  ${what}: ${packages.join(" ")}`);
    const packages = wanted.flatMap((group) => group.packages);
    let plan = planOf(packages);
    if (plan.problem !== null && refreshLists()) plan = planOf(packages);
    const { added, sizeMb, changed } = plan;
    if (added.length > 0) {
      const upgrades =
        mayUpgrade && changed.length > 0
          ? `apt also upgrades or removes ${changed.join(", ")}`
          : "no installed package is upgraded";
      say(
        `  with what these need: ${added.length} packages, ${sizeMb} MB on disk, ` +
          `${sizeMb > 100 ? "some minutes" : "less than a minute"}; ${upgrades}`,
      );
    }
  }
  if (takes[purpose] !== null) say(`${command} itself takes ${takes[purpose]}`);
  for (const { what, packages, without } of wanted) {
    if (install(packages, what)) continue;
    if (without === null) process.exit(1);
    say(without);
  }
  for (const { without } of impossible) say(without);
}

/** What checks alert rules: test/support/promtool.ts looks for it here, too. */
function fetchPromtool() {
  const cache = cacheFolder("wgmon-test-promtool");
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
  if (inFolder(fetching).status !== 0) refreshLists();
  const archive = () => readdirSync(folder).find((name) => name.endsWith(".deb"));
  if (archive() === undefined) inFolder(fetching);
  const unpacked = inFolder(["dpkg-deb", "-x", archive() ?? "prometheus.deb", "package"]);
  if (unpacked.status === 0) renameSync(join(folder, "package/usr/bin/promtool"), place);
  else say(`alert rules will not be checked: ${unpacked.error?.message ?? unpacked.stderr.trim()}`);
  rmSync(folder, { recursive: true });
}

/**
 * The NATS servers of Debian 13 and of Debian unstable, from the mirror of this Debian: test/support/nats.ts
 * looks for them here, too. Nothing of the system changes: the package lists are in a folder of their own.
 */
function fetchNatsServers() {
  const cache = cacheFolder("wgmon-test-nats");
  const suites = ["trixie", "sid"].filter(
    (suite) => !existsSync(join(cache, suite, "nats-server")),
  );
  if (suites.length === 0 || process.env.NATS_SERVERS) return;
  const without = "tests with NATS servers will be skipped";
  const mirror = debianMirror();
  if (mirror === null) {
    say(`${without}: they are taken from Debian's packages`);
    return;
  }
  for (const suite of suites) {
    mkdirSync(cache, { recursive: true });
    const folder = mkdtempSync(join(cache, "new-"));
    say(`nats-server of Debian ${suite}, for tests: ${mirror}`);
    const reason = fetchFromSuite("nats-server", { mirror, suite, folder });
    if (reason === null) {
      const program = ["usr/sbin", "usr/bin"]
        .map((place) => join(folder, "package", place, "nats-server"))
        .find((path) => existsSync(path));
      mkdirSync(join(cache, suite), { recursive: true });
      renameSync(program, join(cache, suite, "nats-server"));
    } else say(`${without}: ${reason}`);
    rmSync(folder, { recursive: true });
  }
}

/** Unpacks a package of another suite into `package`. Returns the reason of a failure. */
function fetchFromSuite(name, { mirror, suite, folder }) {
  for (const each of ["lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(folder, "apt", each), { recursive: true });
  }
  const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const signedBy = existsSync(keyring) ? `[signed-by=${keyring}] ` : "";
  const sources = join(folder, "apt/sources.list");
  writeFileSync(sources, `deb ${signedBy}${mirror} ${suite} main\n`);
  const settings = {
    "Dir::Etc::sourcelist": sources,
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::State::lists": join(folder, "apt/lists"),
    "Dir::Cache": join(folder, "apt/cache"),
    "APT::Sandbox::User": "root",
  };
  const apt = [
    "apt-get",
    "-qq",
    ...Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]),
  ];
  for (const command of [
    [...apt, "update"],
    [...apt, "download", name],
  ]) {
    const { status, stderr, error } = attempt(command, { cwd: folder });
    if (status !== 0) return error?.message ?? stderr.trim();
  }
  const archive = readdirSync(folder).find((file) => file.endsWith(".deb"));
  const { status, stderr, error } = attempt(["dpkg-deb", "-x", archive, "package"], {
    cwd: folder,
  });
  return status === 0 ? null : (error?.message ?? stderr.trim());
}

/** Where this system gets Debian's own packages; null: it is another distribution. */
function debianMirror() {
  if (manager !== "apt-get") return null;
  const format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
  const { stdout } = attempt([
    "apt-get",
    "indextargets",
    "--format",
    format,
    "Created-By: Packages",
  ]);
  return /^Debian\|Debian\|(.+)$/m.exec(stdout ?? "")?.[1] ?? null;
}

function cacheFolder(name) {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), name);
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
    .map(({ names }) => names.split(" ")[column])
    // This distribution has no such package.
    .filter((name) => name !== "-");
  return [...new Set(names)];
}

/** Whether the packages are there now. Where the user has to act, it says how. */
function install(packages, what) {
  if (manager === undefined) {
    say(`please install ${packages.join(" ")}: ${what}`);
    return false;
  }
  const command = [...managers[manager].install, ...packages];
  if (!mayInstall()) {
    say(`please run, for ${what}: sudo ${command.join(" ")}`);
    return false;
  }
  for (;;) {
    const { added, changed, problem } = planOf(packages);
    if (changed.length > 0 && !mayUpgrade) {
      say(`${what}: not installed, because apt would also change ${changed.join(", ")}`);
      say(`to allow that: sudo apt-get install --no-install-recommends ${packages.join(" ")}`);
      return false;
    }
    let reason = problem;
    if (problem === null) {
      say(`${what}: ${[...sudo, ...command].join(" ")}`);
      const { status, stderr, error } = attempt([...sudo, ...command]);
      if (status === 0) {
        installed.push(...(added.length > 0 ? added : packages));
        return true;
      }
      reason = error?.message ?? stderr.trim();
    }
    if (refreshLists()) continue;
    say(`${what}: cannot be installed: ${reason}`);
    return false;
  }
}

function mayInstall() {
  return isRoot || spawnSync("sudo", ["-n", "true"]).status === 0;
}

/**
 * Fetches the package lists, which may be missing or older than the archive; once in a run. Whether it is
 * worth another try.
 */
function refreshLists() {
  const { refresh } = managers[manager];
  if (isRefreshed || refresh === undefined || !mayInstall()) return false;
  isRefreshed = true;
  say([...sudo, ...refresh].join(" "));
  attempt([...sudo, ...refresh]);
  return true;
}

/**
 * What apt would do for these packages: those that it would add with their size, and the installed ones
 * that it would upgrade or remove. For other package managers all of it is empty: they are not asked.
 */
function planOf(packages) {
  const nothing = { added: [], sizeMb: 0, changed: [], problem: null };
  if (manager !== "apt-get") return nothing;
  const simulate = [
    "apt-get",
    "install",
    "-s",
    "-qq",
    "--no-install-recommends",
    "--no-upgrade",
    ...packages,
  ];
  const { status, stdout, stderr, error } = attempt(simulate);
  if (status !== 0) return { ...nothing, problem: error?.message ?? stderr.trim() };
  // Inst NAME [OLD] (NEW ...): an upgrade; Inst NAME (NEW ...): an addition; Remv NAME ...
  const actions = [...stdout.matchAll(/^(Inst|Remv) (\S+)( \[)?/gm)];
  const added = actions.filter(([, verb, , old]) => verb === "Inst" && old === undefined);
  const changed = actions.filter((action) => !added.includes(action));
  const names = added.map(([, , name]) => name);
  const records = attempt(["apt-cache", "show", "--no-all-versions", ...names]).stdout ?? "";
  const sizesKib = [...records.matchAll(/^Installed-Size: (\d+)$/gm)].map(([, size]) =>
    Number(size),
  );
  const sizeMb = Math.ceil(sizesKib.reduce((sum, size) => sum + size, 0) / 1000);
  return { added: names, sizeMb, changed: changed.map(([, , name]) => name), problem: null };
}

function attempt([program, ...rest], { env, ...options } = {}) {
  // Apt's answers are read, so they must be in English.
  const environment = {
    ...process.env,
    DEBIAN_FRONTEND: "noninteractive",
    LC_ALL: "C.UTF-8",
    ...env,
  };
  return spawnSync(program, rest, { encoding: "utf8", env: environment, ...options });
}

function run(command, options) {
  const { status, stdout, stderr, error } = attempt(command, options);
  if (status === 0) return;
  fail(`${command.join(" ")} failed: ${error?.message ?? (stderr + stdout).trim()}`);
}

function fail(reason) {
  say(reason);
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
