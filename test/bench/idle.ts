/** Measures processor time and memory of an idle wgmon, compared with an empty program. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { cpuSeconds, privateMb } from "../support/usage.ts";
import { figure, type Note } from "./figures.ts";
import { buildBare, type GatewayKind, MODES, openGateway, startWarm } from "./subject.ts";

const SECONDS = 60;
/** Bun collects garbage each second until the heap has not changed for 30 s. */
const CALM_MS = 45_000;

export async function idle(note: Note, kind: GatewayKind): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-bench-"));
  await using gateway = await openGateway(kind);
  const [peer] = await gateway.addPeers(1);
  const bare = Bun.spawn([await buildBare(folder)], { stdin: "ignore", stderr: "ignore" });
  try {
    await using alone = await startWarm("--monitor", "poll", "--device", "none", "--tick", "1h");
    const args = [...MODES.bpf.args(gateway.port), "--idle-timeout", "1h"];
    await using watching = await startWarm(...args);
    await peer!.connect();
    await Bun.sleep(CALM_MS);

    const subjects = [
      { name: "an empty program", pid: bare.pid },
      { name: "wgmon without a device", pid: alone.pid },
      { name: "wgmon with a connected peer, tick 10 s", pid: watching.pid },
    ];
    const before = subjects.map(({ pid }) => cpuSeconds(pid));
    await Bun.sleep(SECONDS * 1000);
    for (const [index, { name, pid }] of subjects.entries()) {
      const used = cpuSeconds(pid) - before[index]!;
      note(figure(`${name}: CPU in ${SECONDS} idle s`, "s", used));
      note(figure(`${name}: private memory then`, "MB", privateMb(pid)));
    }
  } finally {
    bare.kill("SIGKILL");
    await rm(folder, { recursive: true });
  }
}
