/**
 * What those who ask over HTTP cost with 10,000 peers: how long an answer takes, and for how long at
 * most it keeps everything else waiting, which is how long another request waits meanwhile.
 */

import { join } from "node:path";

import { newStateFolder } from "../support/state.ts";
import { startWgmon } from "../support/wgmon.ts";
import { figure, type Note } from "./figures.ts";
import { BINARY, type GatewayKind, openGateway } from "./subject.ts";

const PEERS = 10_000;
const ROUNDS = 15;
/** The list of peers is kept for half a second. */
const PAUSE_MS = 700;

const paths = [
  "/metrics",
  "/v1/peers?limit=100",
  "/v1/peers?limit=100&sort=rxBytes&search=198",
  "/v1/status",
];

export async function scrape(note: Note, kind: GatewayKind): Promise<void> {
  await using gateway = await openGateway(kind);
  await gateway.addSilentPeers(PEERS);
  const folder = newStateFolder();
  // Scans of its own would be counted, too.
  const args = ["--monitor", "poll", "--tick", "1h", "--reconcile", "0", "--log-level", "debug"];
  await using wgmon = startWgmon(args, {
    binary: BINARY,
    environment: { RUNTIME_DIRECTORY: folder },
  });
  await wgmon.waitForLog(({ msg }) => msg === "listening", 60_000);
  await wgmon.waitForLog(({ msg }) => msg === "warm", 60_000);
  const unix = join(folder, "wgmon.sock");
  const { peers } = (await fetch("http://localhost/v1/status", { unix }).then((got) =>
    got.json(),
  )) as { peers: number };
  if (peers !== PEERS) throw new Error(`${peers} peers`);
  for (const path of paths) {
    const times: number[] = [];
    const stalls: number[] = [];
    // Some rounds more than are counted: code that has not run yet is slow.
    for (let round = -5; round < ROUNDS; round++) {
      await Bun.sleep(PAUSE_MS);
      let worstMs = 0;
      const url = `http://localhost${path}`;
      const command = ["curl", "-s", "-o", "/dev/null", "--unix-socket", unix];
      const curl = Bun.spawn([...command, "-w", "%{http_code} %{time_total}", url]);
      while (curl.exitCode === null) {
        const startMs = performance.now();
        await (await fetch("http://localhost/healthz", { unix })).text();
        worstMs = Math.max(worstMs, performance.now() - startMs);
      }
      const [code, seconds] = (await curl.stdout.text()).split(" ").map(Number);
      if (code !== 200) throw new Error(`${path}: ${code}`);
      if (round < 0) continue;
      times.push(seconds! * 1000);
      stalls.push(worstMs);
    }
    // In the virtual machine everything takes ten times as long.
    const wanted = kind === "played" ? { atMost: 100 } : null;
    note(figure(`${PEERS} peers, ${path}`, "ms", times, wanted));
    note(figure(`${PEERS} peers, ${path}: another request waits`, "ms", stalls));
  }
}
