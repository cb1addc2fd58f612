/**
 * How long wgmon takes from exec to ready, beside an empty program that was built with the same flags,
 * which is as fast as anything on Bun can be. The demand: at most twice that. Needs root; run it while
 * nothing else is: `bun build.ts && bun test/bench/start.ts [ROUNDS]`.
 *
 * All of it runs in a network namespace of its own. The ways take turns, so that what disturbs the
 * machine disturbs them alike. The clock runs from before the spawn until the line that says ready has
 * been read.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { buildFlags } from "../../build.ts";

const ROUNDS = Number(process.argv[2] ?? 41);

const ROOT = join(import.meta.dir, "../..");
const WGMON = join(ROOT, "wgmon");

if (process.env["WGMON_TEST_START"] === undefined) {
  const again = ["unshare", "--net", process.execPath, import.meta.path, String(ROUNDS)];
  const env = { ...process.env, WGMON_TEST_START: "in a network of its own" };
  const stdio = ["ignore", "inherit", "inherit"] as const;
  process.exit(Bun.spawnSync(again, { env, stdio: [...stdio] }).exitCode);
}

const folder = await mkdtemp(join(tmpdir(), "wgmon-start-"));
try {
  const bare = join(folder, "bare");
  await Bun.write(`${bare}.ts`, `console.error("ready"); setInterval(() => {}, 1e6);\n`);
  const build = [process.execPath, "build", ...buildFlags, `${bare}.ts`, "--outfile", bare];
  if (Bun.spawnSync(build).exitCode !== 0) throw new Error("the bare program cannot be built");

  const state = ["--state-dir", join(folder, "state")];
  const ways: Readonly<Record<string, readonly string[]>> = {
    bare: [bare],
    poll: [WGMON, "--monitor", "poll", ...state],
    nflog: [WGMON, "--monitor", "nflog", ...state],
    bpf: [WGMON, "--monitor", "bpf", "--interface", "lo", ...state],
  };
  const times = new Map(Object.keys(ways).map((way) => [way, [] as number[]]));
  // One round more than is counted: the first brings the files into memory.
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [way, command] of Object.entries(ways)) {
      const ms = await timeToReady(command);
      if (round > 0) times.get(way)!.push(ms);
    }
  }

  const bareMs = median(times.get("bare")!);
  console.log("exec to ready, ms:  min  median    max  ratio");
  for (const [way, all] of times) {
    const columns = [Math.min(...all), median(all), Math.max(...all)].map((ms) => ms.toFixed(1));
    const [least, middle, most] = columns as [string, string, string];
    const ratio = (median(all) / bareMs).toFixed(2);
    console.log(
      `${way.padEnd(16)} ${least.padStart(6)} ${middle.padStart(7)} ${most.padStart(6)} ${ratio.padStart(6)}`,
    );
  }
} finally {
  await rm(folder, { recursive: true });
}

async function timeToReady(command: readonly string[]): Promise<number> {
  const startMs = performance.now();
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stderr) {
    text += decoder.decode(chunk);
    if (!/ready/.test(text)) continue;
    const ms = performance.now() - startMs;
    child.kill("SIGKILL");
    await child.exited;
    return ms;
  }
  throw new Error(`${command.join(" ")} ended: ${text}`);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
