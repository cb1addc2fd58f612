/**
 * Fetches Bun's executable from the npm registry and compares it with bun.lock: deploy/setup.mjs does it
 * before there is a Bun, build.ts for a release and for another kind of machine. Plain Node 18, no packages.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const CACHE = join(ROOT, "node_modules/.cache");
const TAR_BLOCK_BYTES = 512;

/**
 * The npm package with Bun's executable for each kind of machine, all with glibc. The one for x64 also
 * runs on processors without AVX2: "bun-linux-x64-baseline" is another name for it since Bun 1.4.
 */
export const bunPackages = { x64: "@oven/bun-linux-x64", arm64: "@oven/bun-linux-aarch64" };

/** A failure whose message says what to do. */
export class BunError extends Error {}

/** What bun.lock says about a package: its version, and its archive's SHA-512 in hexadecimal. */
export function lockedPackage(name, lock = readFileSync(join(ROOT, "bun.lock"), "utf8")) {
  // One package a line: "NAME": ["NAME@VERSION", ..., "sha512-BASE64"]
  const line = lock.split("\n").find((each) => each.startsWith(`    "${name}": ["${name}@`));
  const version = line?.slice(`    "${name}": ["${name}@`.length).split('"', 1)[0];
  const sum = /"sha512-([A-Za-z0-9+/]{86}==)"\],?$/.exec(line ?? "")?.[1];
  if (version === undefined || sum === undefined) {
    throw new BunError(`bun.lock has no version and SHA-512 of ${name}`);
  }
  return { version, sha512: Buffer.from(sum, "base64").toString("hex") };
}

/**
 * The files of Bun's package for a kind of machine, by their path in it ("bin/bun"). The archive stays in
 * node_modules/.cache, and is compared with bun.lock each time.
 *
 * @throws BunError
 */
export function fetchBun(machine, say) {
  const name = bunPackages[machine];
  const { version, sha512 } = lockedPackage(name);
  const folder = join(CACHE, `${name.replace("/", "-")}-${version}`);
  const archive = join(folder, "archive.tgz");
  if (existsSync(archive)) {
    const bytes = readFileSync(archive);
    if (sha512Of(bytes) === sha512) return filesOf(bytes);
    say(`${archive} differs from bun.lock; fetching it again`);
  }
  say(`fetching Bun ${version} (${name}) with npm`);
  mkdirSync(CACHE, { recursive: true });
  const aside = mkdtempSync(`${folder}-`);
  try {
    const bytes = download(`${name}@${version}`, aside);
    const found = sha512Of(bytes);
    if (found !== sha512) {
      throw new BunError(
        `${name} ${version} from the npm registry is not the file that bun.lock names. Its SHA-512 is ` +
          `${found}, bun.lock has ${sha512}. It was not used. Check which registry npm uses: npm config get registry`,
      );
    }
    mkdirSync(folder, { recursive: true });
    renameSync(join(aside, "archive.tgz"), archive);
    return filesOf(bytes);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/** npm, because it knows the machine's registry, proxy and certificates. Leaves archive.tgz in the folder. */
function download(what, folder) {
  const command = [
    "pack",
    "--ignore-scripts",
    "--loglevel=error",
    "--no-update-notifier",
    "--pack-destination",
    folder,
    what,
  ];
  const { status, error, stderr } = spawnSync("npm", command, { cwd: ROOT, encoding: "utf8" });
  if (error !== undefined) throw new BunError(`cannot run npm: ${error.message}`);
  const [name] = readdirSync(folder);
  if (status !== 0 || name === undefined) {
    throw new BunError(`npm pack ${what} failed: ${stderr.trim() || `exit code ${status}`}`);
  }
  renameSync(join(folder, name), join(folder, "archive.tgz"));
  return readFileSync(join(folder, "archive.tgz"));
}

function sha512Of(bytes) {
  return createHash("sha512").update(bytes).digest("hex");
}

/** The regular files of an npm archive: tar, as POSIX.1-1988 has it, in gzip; all below "package/". */
function filesOf(archive) {
  const tar = gunzipSync(archive);
  const files = new Map();
  for (let at = 0; at + TAR_BLOCK_BYTES <= tar.length;) {
    const field = (start, length) =>
      tar.toString("latin1", at + start, at + start + length).split("\0", 1)[0];
    const name = field(0, 100);
    const sizeBytes = Number.parseInt(field(124, 12), 8) || 0;
    const isFile = /^0?$/.test(field(156, 1));
    const start = at + TAR_BLOCK_BYTES;
    if (isFile && name.startsWith("package/")) {
      files.set(name.slice("package/".length), tar.subarray(start, start + sizeBytes));
    }
    at = start + Math.ceil(sizeBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  return files;
}
