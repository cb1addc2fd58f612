/**
 * Packs a built wgmon for Debian, by dpkg-deb alone:
 * `bun deploy/deb.ts [--binary FILE] [--version VERSION] [--outdir FOLDER] [--compression zstd|xz|none]`
 * -> dist/wgmon_VERSION_amd64.deb. zstd takes a second, xz half a minute for a fifth less.
 * With SOURCE_DATE_EPOCH set, the same input gives the same bytes.
 */

import { createHash } from "node:crypto";
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs, type ParseArgsConfig } from "node:util";

import { licensesText } from "../src/cli/licenses.ts";
import { settingsFile } from "../src/cli/settings-example.ts";
import { manPage } from "./manpage.ts";

const ROOT = join(import.meta.dir, "..");
const ARCHITECTURES = { x64: "amd64", arm64: "arm64" } as const;
const SCRIPTS = ["postinst", "prerm", "postrm"];
/** Where each shell scans. */
const COMPLETIONS = {
  bash: "usr/share/bash-completion/completions/wgmon",
  zsh: "usr/share/zsh/vendor-completions/_wgmon",
  fish: "usr/share/fish/vendor_completions.d/wgmon.fish",
} as const;

interface Options {
  readonly binary: string;
  readonly version: string;
  readonly outdir: string;
  /** As dpkg-deb calls it. */
  readonly compression: string;
  /** Unix time that files and documents have. */
  readonly epochSeconds: number;
}

/** The path of the package. */
async function pack(options: Options): Promise<string> {
  const { binary, version, outdir, compression, epochSeconds } = options;
  const date = new Date(epochSeconds * 1000).toISOString().slice(0, 10);
  const architecture = ARCHITECTURES[process.arch as keyof typeof ARCHITECTURES];
  // dpkg-deb refuses folders that others cannot read.
  process.umask(0o022);
  const tree = await mkdtemp(join(tmpdir(), "wgmon-deb-"));
  try {
    await chmod(tree, 0o755);
    const put = async (path: string, content: string | Uint8Array, mode = 0o644) => {
      await mkdir(join(tree, dirname(path)), { recursive: true, mode: 0o755 });
      await writeFile(join(tree, path), content);
      await chmod(join(tree, path), mode);
    };
    await mkdir(join(tree, "usr/bin"), { recursive: true });
    // Never stripped: that would take the program away, and leave Bun.
    await cp(binary, join(tree, "usr/bin/wgmon"));
    await chmod(join(tree, "usr/bin/wgmon"), 0o755);
    await put("usr/lib/systemd/system/wgmon.service", await source("deploy/wgmon.service"));
    await put("usr/share/doc/wgmon/wgmon-hub.service", await source("deploy/wgmon-hub.service"));
    await put("etc/wgmon/wgmon.toml", settingsFile());
    await put("usr/share/man/man8/wgmon.8.gz", gzip(manPage({ version, date })));
    // LICENSE, and NOTICE with the licences of what is in the program.
    await put("usr/share/doc/wgmon/copyright", licensesText());
    await put("usr/share/doc/wgmon/changelog.gz", gzip(await source("CHANGELOG.md")));
    for (const [shell, path] of Object.entries(COMPLETIONS)) {
      await put(path, run(binary, "completion", shell));
    }

    const files = await filesOf(tree);
    const sums = await Promise.all(
      files.map(async (file) => `${await md5(tree, file)}  ${file}\n`),
    );
    const sizes = await Promise.all(files.map(async (file) => (await stat(join(tree, file))).size));
    const installedKib = Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / 1024);
    await put("DEBIAN/control", control({ version, architecture, installedKib }));
    await put("DEBIAN/conffiles", "/etc/wgmon/wgmon.toml\n");
    await put("DEBIAN/md5sums", sums.join(""));
    for (const script of SCRIPTS) {
      await put(`DEBIAN/${script}`, await source(`deploy/debian/${script}`), 0o755);
    }
    await mkdir(outdir, { recursive: true });
    const archive = join(outdir, `wgmon_${version}_${architecture}.deb`);
    run("dpkg-deb", "--root-owner-group", `-Z${compression}`, "--build", tree, archive);
    return archive;
  } finally {
    await rm(tree, { recursive: true });
  }
}

function control(about: {
  readonly version: string;
  readonly architecture: string;
  readonly installedKib: number;
}): string {
  return `Package: wgmon
Version: ${about.version}
Architecture: ${about.architecture}
Maintainer: wgmon <wgmon@localhost>
Installed-Size: ${about.installedKib}
Depends: libc6, libmnl0, libnetfilter-log1, libpcap0.8
Recommends: nftables, wireguard-tools
Section: net
Priority: optional
Description: tells the moment that a WireGuard peer connects, roams or disconnects
 A daemon for gateways. The packet that completes a handshake wakes it; it reads
 the kernel's own state, and reports what that proves: in the log, to webhooks,
 and over HTTP. It does not poll, and loses no event over restarts.
`;
}

/** Of all that is to be installed, sorted. */
async function filesOf(tree: string): Promise<string[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1))
    .sort();
}

async function md5(tree: string, file: string): Promise<string> {
  return createHash("md5")
    .update(await readFile(join(tree, file)))
    .digest("hex");
}

async function source(path: string): Promise<string> {
  return await readFile(join(ROOT, path), "utf8");
}

function gzip(text: string): Uint8Array {
  return Bun.gzipSync(text, { level: 9 });
}

/** What it prints. */
function run(...command: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], {
    // Not by itself what process.env has become.
    env: process.env,
    stderr: "pipe",
  });
  if (exitCode === 0) return stdout.toString();
  throw new PackError(`${command.slice(0, 2).join(" ")}: ${stderr.toString().trim()}`);
}

/** A failure that has been foreseen: its message is all there is to say. */
class PackError extends Error {}

/** @throws PackError */
async function readOptions(): Promise<Options> {
  const { version } = JSON.parse(await source("package.json")) as { version: string };
  const values = valuesOf({
    binary: { type: "string", default: join(ROOT, "wgmon") },
    version: { type: "string", default: version },
    outdir: { type: "string", default: join(ROOT, "dist") },
    compression: { type: "string", default: "zstd" },
  });
  const binary = resolve(values.binary);
  if (!(await Bun.file(binary).exists()))
    throw new PackError(`there is no ${binary}; npm run build makes it`);
  if (Bun.which("dpkg-deb") === null) throw new PackError("there is no dpkg-deb here");
  const epoch = process.env["SOURCE_DATE_EPOCH"] ?? String(Math.floor(Date.now() / 1000));
  if (!/^\d+$/.test(epoch)) throw new PackError("SOURCE_DATE_EPOCH is no number of seconds");
  process.env["SOURCE_DATE_EPOCH"] = epoch;
  return {
    binary,
    version: values.version,
    outdir: resolve(values.outdir),
    compression: values.compression,
    epochSeconds: Number(epoch),
  };
}

function valuesOf<const Options extends NonNullable<ParseArgsConfig["options"]>>(options: Options) {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    // The first sentence of the three that node:util makes.
    throw new PackError((error as Error).message.replace(/\. .*/s, ""));
  }
}

try {
  console.log(await pack(await readOptions()));
} catch (error) {
  if (!(error instanceof PackError)) throw error;
  console.error(`deb.ts: ${error.message}`);
  process.exitCode = 1;
}
