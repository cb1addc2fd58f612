/**
 * Builds ./wgmon, one executable: `bun build.ts [--target x64|arm64] [--outfile FILE]`.
 */

import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** Each flag is here for a reason that cost somebody a day; test/e2e/build.test.ts keeps them. */
export const buildFlags = [
  "--compile",
  // Without esm, bytecode means CommonJS, which has no top-level await.
  "--bytecode",
  "--format=esm",
  // Never --minify: Elysia, which the HTTP API will use, then silently stops validating requests.
  "--minify-syntax",
  "--sourcemap",
  // A daemon that runs as root must not take settings from the directory it is started in.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
] as const;

/** The npm package that holds Bun's executable for each kind of machine. */
const bunPackages = { x64: "@oven/bun-linux-x64", arm64: "@oven/bun-linux-aarch64" } as const;

type Target = keyof typeof bunPackages;

async function build(target: Target, outfile: string): Promise<void> {
  const flags: string[] = [...buildFlags];
  if (target !== process.arch) {
    flags.push(
      `--target=bun-linux-${target}`,
      `--compile-executable-path=${await fetchBun(target)}`,
    );
  }
  await run(process.execPath, "build", ...flags, "src/main.ts", "--outfile", outfile);
}

/** Bun's executable for another kind of machine, from the npm registry, of our own version. */
async function fetchBun(target: Target): Promise<string> {
  const name = bunPackages[target];
  const folder = join("node_modules", ".cache", `${name.replace("/", "-")}-${Bun.version}`);
  const executable = join(folder, "package", "bin", "bun");
  if (existsSync(executable)) return executable;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await run("npm", "pack", "--silent", "--pack-destination", folder, `${name}@${Bun.version}`);
  const [archive] = [...new Bun.Glob("*.tgz").scanSync(folder)];
  if (archive === undefined) throw new Error(`npm pack ${name} left no archive in ${folder}`);
  await run("tar", "-xzf", join(folder, archive), "-C", folder);
  return executable;
}

async function run(...command: string[]): Promise<void> {
  const child = Bun.spawn(command, {
    cwd: import.meta.dir,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const exitCode = await child.exited;
  if (exitCode !== 0) throw new Error(`${command[0]} ${command[1]} ended with ${exitCode}`);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { target: { type: "string", default: process.arch }, outfile: { type: "string" } },
  });
  const { target } = values;
  if (target !== "x64" && target !== "arm64") {
    console.error(`build.ts: --target ${target} is not known; it takes x64 or arm64`);
    process.exit(2);
  }
  const outfile = values.outfile ?? (target === process.arch ? "wgmon" : `wgmon-${target}`);
  await build(target, outfile);
}
