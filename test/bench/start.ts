/**
 * Measures the time from exec to ready, compared with an empty program that is built with the same flags, the lower
 * limit for a program on Bun. The bound: at most twice that.
 *
 * The variants alternate, so that disturbances of the machine affect all alike. The time is measured from before the
 * spawn until the line with "ready" is read.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { figure, median, type Note } from "./figures.ts";
import { BINARY, buildBare } from "./subject.ts";

const ROUNDS = 41;

export async function start(note: Note): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-start-"));
  try {
    const bare = await buildBare(folder);
    const state = ["--state-dir", join(folder, "state")];
    const variants: Readonly<Record<string, readonly string[]>> = {
      "a bare program": [bare],
      poll: [BINARY, "--monitor", "poll", ...state],
      nflog: [BINARY, "--monitor", "nflog", ...state],
      bpf: [BINARY, "--monitor", "bpf", "--interface", "lo", ...state],
    };
    const times = new Map(Object.keys(variants).map((variant) => [variant, [] as number[]]));
    // The first round is not counted: it loads the files into the page cache.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [variant, command] of Object.entries(variants)) {
        const ms = await timeToReady(command, join(folder, "run"));
        if (round > 0) times.get(variant)!.push(ms);
      }
    }
    const atMost = 2 * median(times.get("a bare program")!);
    for (const [variant, all] of times)
      note(figure(`start to ready, ${variant}`, "ms", all, { atMost }));
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function timeToReady(command: readonly string[], runtimeDir: string): Promise<number> {
  const env = { ...process.env, RUNTIME_DIRECTORY: runtimeDir };
  const startMs = performance.now();
  const child = Bun.spawn([...command], { env, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
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
  throw new Error(`${command.join(" ")} exited: ${text}`);
}
