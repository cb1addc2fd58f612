/**
 * How long wgmon takes from exec to ready, beside an empty program that was built with the same flags,
 * which is as fast as anything on Bun can be. The demand: at most twice that.
 *
 * The ways take turns, so that what disturbs the machine disturbs them alike. The clock runs from before
 * the spawn until the line that says ready has been read.
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
    const ways: Readonly<Record<string, readonly string[]>> = {
      "a bare program": [bare],
      poll: [BINARY, "--monitor", "poll", ...state],
      nflog: [BINARY, "--monitor", "nflog", ...state],
      bpf: [BINARY, "--monitor", "bpf", "--interface", "lo", ...state],
    };
    const times = new Map(Object.keys(ways).map((way) => [way, [] as number[]]));
    // One round more than is counted: the first brings the files into memory.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [way, command] of Object.entries(ways)) {
        const ms = await timeToReady(command, join(folder, "run"));
        if (round > 0) times.get(way)!.push(ms);
      }
    }
    const atMost = 2 * median(times.get("a bare program")!);
    for (const [way, all] of times) note(figure(`start to ready, ${way}`, "ms", all, { atMost }));
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
  throw new Error(`${command.join(" ")} ended: ${text}`);
}
