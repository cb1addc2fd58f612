/**
 * Measures wgmon at a gateway with real WireGuard and prints a table: from the tunnel's first packet to
 * the webhook, looks for each handshake, roams, memory over 100,000 triggers, start. In a network
 * namespace of its own: `unshare --net bun test/bench/gateway.ts`, where the kernel has no WireGuard
 * `bun test/support/vm.ts --timeout 900s -- unshare --net bun test/bench/gateway.ts`. The table goes to
 * standard output, with all figures in milliseconds, megabytes or counts.
 */

import { openTap } from "../../src/capture/bpf.ts";
import { systemClock } from "../../src/clock.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const PEERS = Number(process.env["WGMON_TEST_PEERS"] ?? 12);
const TRIGGERS = Number(process.env["WGMON_TEST_TRIGGERS"] ?? 100_000);
const STARTS = 11;
/** Another build to measure; empty: ./wgmon. */
const BINARY = process.env["WGMON_TEST_BINARY"];
const ONLY = process.env["WGMON_TEST_ONLY"] ?? "";

/** WGMON_TEST_ONLY=connect,roam measures these alone. */
const wants = (part: string) => ONLY === "" || ONLY.split(",").includes(part);

const start = (...args: readonly string[]) =>
  startWgmon(args, BINARY === undefined ? {} : { binary: BINARY });

interface Row {
  readonly what: string;
  readonly figures: string;
}

const rows: Row[] = [];

function note(what: string, figures: string): void {
  rows.push({ what, figures });
  console.error(`${what}: ${figures}`);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function spread(values: readonly number[]): string {
  const figures = [Math.min(...values), median(values), Math.max(...values)];
  return `min ${figures
    .map((value) => value.toFixed(1))
    .join(", median ")
    .replace(/, median (?=[^,]*$)/, ", max ")}`;
}

/** Memory that is the process's own and the pages of its file that are in use, in megabytes. */
async function residentMb(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`).text();
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

const looks = (wgmon: Wgmon) =>
  wgmon.log.filter(({ msg, reason }) => msg === "look" && reason === "packet").length;

const nowMs = () => performance.timeOrigin + performance.now();

/** Connects one peer after the other; how long after the tunnel's first packet each was reported. */
async function measure(
  lab: Lab,
  wg0: LabDevice,
  receiver: Receiver,
  monitor: "nflog" | "bpf",
  by: "datagram" | "ping",
): Promise<void> {
  const clients = await wg0.clients(
    Array.from({ length: PEERS }, (_, index) => `${monitor}-${by}-${index}`),
  );
  const args = ["--monitor", monitor, "--interface", "any", "--log-level", "debug"];
  await using wgmon = start(...args, "--webhook", receiver.url());
  await wgmon.waitForLog(({ msg }) => msg === "warm", 30_000);
  const latencies: number[] = [];
  const looksBefore = looks(wgmon);
  for (const client of clients) latencies.push(await connect(lab, wg0, receiver, client, by));
  await Bun.sleep(4000);
  const missed = latencies.filter((latency) => Number.isNaN(latency)).length;
  const handshakes = (looks(wgmon) - looksBefore) / clients.length;
  note(
    `${monitor}, ${by}: tunnel's first packet to webhook, ms`,
    `${spread(latencies)}, missed ${missed} of ${clients.length}`,
  );
  note(`${monitor}, ${by}: looks for each handshake`, handshakes.toFixed(2));
  for (const client of clients) {
    // Or it would go on trying.
    await client.down();
    await wg0.removePeer(client);
  }
}

async function connect(
  lab: Lab,
  wg0: LabDevice,
  receiver: Receiver,
  client: Client,
  by: "datagram" | "ping",
): Promise<number> {
  let firstMs = NaN;
  const first = () => {
    if (Number.isNaN(firstMs)) firstMs = nowMs();
  };
  const endDatagrams = lab.onTunnelDatagram(({ client: from }) => {
    if (from.publicKey === client.publicKey) first();
  });
  // A ping is seen as it comes out of the tunnel.
  const tap = await openTap(wg0.name, `icmp and src host ${client.innerAddress}`, systemClock, {
    packet: first,
    lost() {},
    overrun() {},
  });
  try {
    if (by === "ping") await client.ping(2);
    else client.sendDatagram();
    const isReport = (body: string) =>
      body.includes('"peer.connected"') && body.includes(client.publicKey);
    await receiver.waitFor((requests) => requests.some(({ body }) => isReport(body)), 10_000);
    const report = receiver.requests.find(({ body }) => isReport(body));
    // The report may overtake our own notice of the packet.
    while (Number.isNaN(firstMs)) await Bun.sleep(1);
    return report!.atMs - firstMs;
  } catch {
    return NaN;
  } finally {
    endDatagrams();
    tap.close();
    await Bun.sleep(300);
  }
}

async function measureRoams(wg0: LabDevice, receiver: Receiver): Promise<void> {
  const client = await wg0.client("roamer");
  await using wgmon = start("--webhook", receiver.url(), "--tick", "1s");
  await wgmon.ready;
  await client.connect();
  await Bun.sleep(1500);
  receiver.requests.length = 0;
  for (let count = 0; count < 3; count++) {
    await client.roam();
    await client.ping(1);
    await Bun.sleep(1500);
  }
  const types = receiver.requests.map(({ event }) => event?.type);
  note("three roams are reported as", types.join(", "));
  await wg0.removePeer(client);
}

async function measureMemory(wg0: LabDevice): Promise<void> {
  const client = await wg0.client("forger");
  await using wgmon = start();
  await wgmon.ready;
  await client.connect();
  const figures = [await residentMb(wgmon.pid)];
  const flood = new URL("./flood.ts", import.meta.url).pathname;
  for (let part = 0; part < 4; part++) {
    await client.run(
      process.execPath,
      flood,
      client.link.gatewayAddress,
      String(wg0.port),
      String(TRIGGERS / 4),
    );
    figures.push(await residentMb(wgmon.pid));
  }
  // The heap shrinks when nothing has happened for a while.
  await Bun.sleep(15_000);
  figures.push(await residentMb(wgmon.pid));
  note(
    `memory before, during and 15 s after ${TRIGGERS} forged triggers, MB`,
    figures.map((figure) => figure.toFixed(1)).join(", "),
  );
}

async function measureStart(): Promise<void> {
  for (const monitor of ["nflog", "bpf", "poll"]) {
    const times: number[] = [];
    for (let count = 0; count < STARTS; count++) {
      const startMs = performance.now();
      await using wgmon = start("--monitor", monitor, "--interface", "any");
      await wgmon.ready;
      times.push(performance.now() - startMs);
    }
    note(`start to ready, ${monitor}, ms`, spread(times));
  }
}

async function main(): Promise<void> {
  using lab = await Lab.create();
  using receiver = new Receiver();
  const wg0 = await lab.device("wg0", { port: 51820 });
  await lab.addPlainRule(wg0.port, 1);
  if (wants("start")) await measureStart();
  for (const monitor of ["nflog", "bpf"] as const) {
    for (const by of ["datagram", "ping"] as const) {
      if (wants("connect")) await measure(lab, wg0, receiver, monitor, by);
    }
  }
  if (wants("roam")) await measureRoams(wg0, receiver);
  if (wants("memory")) await measureMemory(wg0);
}

await main();
const width = Math.max(...rows.map(({ what }) => what.length));
for (const { what, figures } of rows) console.log(`${what.padEnd(width)}  ${figures}`);
process.exit(0);
