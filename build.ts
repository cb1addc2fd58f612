/**
 * Builds ./wgmon, a single executable: `bun build.ts [--target x64|arm64] [--outfile FILE]`. For another
 * architecture, and for a release, it contains the Bun executable that bun.lock names.
 *
 * --release embeds the C libraries, for machines that do not have them, and writes the executable to dist/,
 * with its checksum, its bill of materials and the licences. deploy/libraries.ts says what this requires.
 */

import {
  cp,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

/** The reason for each flag is above it. test/e2e/build.test.ts checks some of them. */
export const buildFlags = [
  "--compile",
  // Without esm, bytecode means CommonJS, which has no top-level await.
  "--bytecode",
  "--format=esm",
  // Never --minify: it makes Elysia, which the HTTP API uses, silently stop validating requests.
  "--minify-syntax",
  "--sourcemap",
  // Modules imported dynamically are then loaded only when needed: saves a sixth of the start time.
  "--splitting",
  // Compiling code that runs once makes the start an eighth longer; daemon.ts enables the JIT later.
  "--compile-jit-policy=100",
  // A daemon that runs as root must not take settings from the directory it is started in.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
] as const;

type Target = "x64" | "arm64";

const CACHE = join(import.meta.dir, "node_modules/.cache");

/** @param sourceDir directory with the sources of a release; omitted for other builds. */
async function build(target: Target, outfile: string, sourceDir?: string): Promise<void> {
  // Built in a temporary directory: Bun also writes the source maps beside the executable, which contains them.
  const parent = dirname(outfile);
  const folder = await mkdtemp(join(parent, ".wgmon-build-")).catch(
    (error: NodeJS.ErrnoException) => {
      throw new BuildError(`cannot write to ${parent}: ${error.code}`);
    },
  );
  try {
    const built = join(folder, "wgmon");
    const flags: string[] = [...buildFlags];
    if (target !== process.arch) flags.push(`--target=bun-linux-${target}`);
    if (target !== process.arch || sourceDir !== undefined) {
      flags.push(`--compile-executable-path=${await lockedBun(target, folder)}`);
    }
    await run([process.execPath, "build", ...flags, "src/main.ts", "--outfile", built], sourceDir);
    await rename(built, outfile);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Writes Bun's executable for the target into the folder, verified against bun.lock. Returns its path. */
async function lockedBun(target: Target, folder: string): Promise<string> {
  const { BunError, bunPackages, fetchBun, lockedPackage } = await import("./deploy/bun.mjs");
  try {
    const { version } = lockedPackage(bunPackages[target]);
    if (version !== Bun.version) {
      throw new BuildError(
        `this is Bun ${Bun.version}, but bun.lock has ${version}; npm run build and npm run release use the latter`,
      );
    }
    const executable = join(folder, "bun");
    await writeFile(executable, fetchBun(target, console.log).get("bin/bun")!, { mode: 0o755 });
    return executable;
  } catch (error) {
    throw error instanceof BunError ? new BuildError(error.message) : error;
  }
}

/** Builds a release: the executable, its checksum, its bill of materials and NOTICE. Returns the executable's path. */
async function release(target: Target): Promise<string> {
  // Imported here because only a release needs them.
  const { fetchLibraries, libraries } = await import("./deploy/libraries.ts");
  const { billOfMaterials } = await import("./deploy/notice.ts");
  const { version } = await import("./package.json");
  const files = await fetchLibraries(target, CACHE).catch((error: unknown) => {
    const { message, stderr = "" } = error as Error & { readonly stderr?: unknown };
    throw new BuildError(`cannot get the C libraries: ${message} ${String(stderr)}`.trim());
  });
  const dist = join(import.meta.dir, "dist");
  await mkdir(dist, { recursive: true });
  const outfile = join(dist, `wgmon-${version}-linux-${target}`);
  const sourceDir = await mkdtemp(join(dist, ".tree-"));
  try {
    for (const name of [
      "src",
      "ffi",
      "deploy",
      "package.json",
      "tsconfig.json",
      "LICENSE",
      "NOTICE",
    ]) {
      await cp(join(import.meta.dir, name), join(sourceDir, name), { recursive: true });
    }
    await symlink(join(import.meta.dir, "node_modules"), join(sourceDir, "node_modules"));
    for (const [soname, path] of files) await cp(path, join(sourceDir, "ffi", soname));
    await Bun.write(join(sourceDir, "ffi/embedded.ts"), embeddedModule(libraries));
    await build(target, outfile, sourceDir);
  } finally {
    await rm(sourceDir, { recursive: true });
  }
  const sums = new Map<string, string>();
  for (const [name, path] of [...files, ["wgmon", outfile] as const]) {
    const bytes = await readFile(path);
    sums.set(name, new Bun.CryptoHasher("sha256").update(bytes).digest("hex"));
  }
  await Bun.write(`${outfile}.sha256`, `${sums.get("wgmon")}  ${basename(outfile)}\n`);
  await Bun.write(`${outfile}.cdx.json`, await billOfMaterials(target, sums));
  await cp(join(import.meta.dir, "NOTICE"), join(dist, "NOTICE"));
  return outfile;
}

/** The text of the module that replaces ffi/embedded.ts in a release. */
function embeddedModule(libraries: readonly { readonly soname: string }[]): string {
  const imports = libraries.map(
    ({ soname }, index) => `import file${index} from "./${soname}" with { type: "file" };`,
  );
  const entries = libraries.map(
    (each, index) => `{ ...${JSON.stringify(each)}, read: () => readFileSync(file${index}) },`,
  );
  // node:fs is loaded only when a library is needed.
  const read = `const readFileSync = (path) => require("node:fs").readFileSync(path);`;
  return [...imports, read, "export const embedded = [", ...entries, "];\n"].join("\n");
}

async function run(command: readonly string[], cwd = import.meta.dir): Promise<void> {
  const name = `${basename(command[0]!, ".exe")} ${command[1]}`;
  const child = Bun.spawn([...command], {
    cwd,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const exitCode = await child.exited;
  if (exitCode !== 0) throw new BuildError(`${name} ended with exit code ${exitCode}`);
}

/** An expected failure: only its message is printed. */
class BuildError extends Error {}

/** @throws BuildError */
function readOptions(): { target: Target; outfile: string; isRelease: boolean } {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        target: { type: "string", default: process.arch },
        outfile: { type: "string" },
        release: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    // node:util's message has three sentences; keep the first.
    throw new BuildError((error as Error).message.replace(/\. .*/s, ""));
  }
  const { target, outfile, release: isRelease } = values;
  if (target !== "x64" && target !== "arm64") {
    throw new BuildError(`--target ${target} is not known; it takes x64 or arm64`);
  }
  if (outfile !== undefined) {
    if (isRelease)
      throw new BuildError("--outfile cannot be used with --release, which writes to dist/");
    return { target, outfile: resolve(outfile), isRelease };
  }
  const name = target === process.arch ? "wgmon" : `wgmon-${target}`;
  return { target, outfile: join(import.meta.dir, name), isRelease };
}

async function main(): Promise<number> {
  let options;
  try {
    options = readOptions();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(
      `build.ts: ${error.message}\nUsage: bun build.ts [--target x64|arm64] [--outfile FILE | --release]`,
    );
    return 2;
  }
  const startMs = performance.now();
  let { outfile } = options;
  try {
    if (options.isRelease) outfile = await release(options.target);
    else await build(options.target, outfile);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(`build.ts: ${error.message}`);
    return 1;
  }
  const { size } = await stat(outfile);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  console.log(`${outfile}: ${options.target}, ${Math.round(size / 1e6)} MB, ${seconds} s`);
  return 0;
}

if (import.meta.main) process.exitCode = await main();
