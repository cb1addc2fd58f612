/**
 * Measures many configured peers with the kernel's WireGuard: the connect of one among 10,000, idle processor time,
 * memory, and a scan compared with `wg show all dump`.
 */

import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";

import { Devices } from "../../src/kernel/devices.ts";
import { Receiver } from "../support/receiver.ts";
import { privateMb } from "../support/usage.ts";
import { figure, type Note } from "./figures.ts";
import { KernelGateway } from "./gateways/kernel.ts";
import { cpuOf, installRules, reportedAtMs, startWarm } from "./subject.ts";

const MANY = 10_000;
/** Number of devices with MANY peers each. */
const DEVICES = 10;
const CONNECTS = 5;
const IDLE_SECONDS = 30;
/** Number of idle measurements: the JIT may recompile the scan in one of them. */
const IDLE_ROUNDS = 3;
/** Bun collects garbage each second until the heap has not changed for half a minute. */
const COLLECTED_MS = 40_000;

/** Handshake detection makes scans for 3 s after an attempt. */
const AFTER_CONNECT_MS = 4000;
const PATIENCE_MS = 20_000;
/** The heap shrinks after some idle time. */
const CALM_MS = 5000;
const SCANS = 6;

const ARGS = ["--monitor", "nflog"];

export async function peers(note: Note): Promise<void> {
  await measureMemory(note, "1 peer", 45);
  await measureMany(note);
  await addDevices();
  await measureMemory(note, "100,000 peers, 10 devices", 160);
  await measureScan(note, "100,000 peers, 10 devices", 1);
}

async function measureMemory(note: Note, what: string, atMost: number): Promise<void> {
  await using wgmon = await startWarm(...ARGS);
  await Bun.sleep(CALM_MS);
  note(figure(`${what}: private memory`, "MB", privateMb(wgmon.pid), { atMost }));
}

async function measureMany(note: Note): Promise<void> {
  await using gateway = await KernelGateway.create();
  await gateway.addSilentPeers(MANY - CONNECTS);
  const clients = await gateway.addPeers(CONNECTS);
  await using _rules = await installRules("printed", gateway);
  await measureMemory(note, "10,000 peers", 60);

  using receiver = new Receiver();
  await using wgmon = await startWarm(...ARGS, "--webhook", receiver.url());
  const latencies: number[] = [];
  const costs: number[] = [];
  for (const client of clients) {
    const cost = await cpuOf(wgmon.pid, async () => {
      const connectedAtMs = await client.connect();
      latencies.push((await reportedAtMs(receiver, client, PATIENCE_MS)) - connectedAtMs);
      await Bun.sleep(AFTER_CONNECT_MS);
    });
    costs.push(cost);
    if (client !== clients[0]) continue;
    await Bun.sleep(COLLECTED_MS);
    const idle: number[] = [];
    for (let count = 0; count < IDLE_ROUNDS; count++) {
      idle.push(await cpuOf(wgmon.pid, () => Bun.sleep(IDLE_SECONDS * 1000)));
    }
    const what = `10,000 peers, one connected, tick 10 s: CPU in ${IDLE_SECONDS} s`;
    note(figure(what, "s", idle, { atMost: 0.3 }));
  }
  note(figure("10,000 peers: one's first data to webhook", "ms", latencies, { atMost: 200 }));
  note(figure("10,000 peers: CPU for that", "s", costs, { atMost: 0.25 }));
  await measureScan(note, "10,000 peers", 3);
}

/** Measures scans in this process, and wg(8) for comparison. */
async function measureScan(note: Note, what: string, shows: number): Promise<void> {
  using devices = new Devices([]);
  const times: number[] = [];
  for (let count = 0; count < SCANS; count++) {
    const startMs = performance.now();
    await devices.scan("list");
    times.push(performance.now() - startMs);
  }
  note(figure(`${what}: the first scan`, "ms", times[0]!));
  note(figure(`${what}: a look after it`, "ms", times.slice(1)));
  const showMs: number[] = [];
  for (let count = 0; count < shows; count++) {
    const startMs = performance.now();
    await $`wg show all dump >/dev/null`.quiet();
    showMs.push(performance.now() - startMs);
  }
  note(figure(`${what}: wg show all dump`, "ms", showMs));
}

/** Without private keys, because with one the kernel computes a shared secret for each peer. */
async function addDevices(): Promise<void> {
  for (let device = 0; device < DEVICES; device++) {
    const name = `many${device}`;
    await $`ip link add ${name} type wireguard && ip link set ${name} up`.quiet();
    const settings = Array.from({ length: MANY }, (_, peer) => {
      const key = crypto.getRandomValues(new Uint8Array(32)).toBase64();
      const address = `10.${device}.${peer >> 8}.${peer & 255}`;
      return `[Peer]\nPublicKey = ${key}\nAllowedIPs = ${address}/32\n`;
    });
    const file = join(tmpdir(), `wgmon-bench-${name}.conf`);
    await Bun.write(file, settings.join(""));
    await $`wg addconf ${name} ${file} && rm ${file}`.quiet();
  }
}
