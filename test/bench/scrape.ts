/**
 * Measures HTTP requests with 10,000 peers: the response time, and the longest response time of another request
 * meanwhile, which shows for how long the event loop is blocked.
 */

import { join } from "node:path";

import { newStateFolder } from "../support/state.ts";
import { startWgmon } from "../support/wgmon.ts";
import { figure, type Note } from "./figures.ts";
import { BINARY, type GatewayKind, openGateway } from "./subject.ts";

const PEERS = 10_000;
const ROUNDS = 15;
/** wgmon caches the list of peers for half a second. */
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
  // No periodic scans, which would add to the figures.
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
    // The first five rounds are a warm-up and are not counted.
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
    // No bound in the virtual machine, which is ten times slower.
    const wanted = kind === "played" ? { atMost: 100 } : null;
    note(figure(`${PEERS} peers, ${path}`, "ms", times, wanted));
    note(figure(`${PEERS} peers, ${path}: another request waits`, "ms", stalls));
  }
}
