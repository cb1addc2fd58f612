/**
 * Benchmarks with real WireGuard and real clients: latency from a session's first data to the webhook, scans for each
 * handshake, roams, memory during 100,000 forged handshakes, startup time.
 */

import { join } from "node:path";

import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { privateMb } from "../support/usage.ts";
import { startWgmon } from "../support/wgmon.ts";
import { figure, type Note, series } from "./figures.ts";
import { FirstDataTap } from "./firstdata.ts";
import {
  installRules,
  type Mode,
  MODES,
  onAllInterfaces,
  OPTIONS,
  packetScans,
  reportedAtMs,
} from "./subject.ts";

/** Number of connects for the usual modes; for the other mode, and for each round-trip time. */
const MANY = 200;
const FEW = 12;
/** Besides 0: typical for a local network, a country and a satellite link. */
const ROUND_TRIPS_MS = [2, 40, 300];
const SCANS = { atMost: 1.2 };
/** Handshake detection makes scans for this long after an attempt. */
const TAIL_MS = 4500;
const PAUSE_MS = 50;
const PATIENCE_MS = 10_000;
const TRIGGERS = 100_000;
const TRIGGERS_PER_SECOND = 10_000;
const STARTS = 11;
const ROAMS = 3;

const start = (...args: readonly string[]) => startWgmon(args, OPTIONS);

export async function connects(note: Note): Promise<void> {
  // A warm-up run, so that the first figure does not include the JIT compilation of the benchmark itself.
  await measureConnects(() => {}, MODES.bpf, FEW);
  for (const mode of [MODES.bpf, MODES.printed]) {
    await measureConnects(note, mode, MANY, ROUND_TRIPS_MS);
  }
  await measureConnects(note, MODES.plain, FEW, ROUND_TRIPS_MS);
}

/**
 * Connects peers one after the other. Measures the time from the session's first data to the report, and the number of
 * scans for each handshake; then the same for each round-trip time.
 */
async function measureConnects(
  note: Note,
  mode: Mode,
  count: number,
  roundTripsMs: readonly number[] = [],
): Promise<void> {
  await using gateway = await openLab();
  const { wg0, receiver } = gateway;
  await using _rules = await installRules(mode.rules, wg0);
  using tap = new FirstDataTap("any", wg0.port);
  const names = (peers: number) => Array.from({ length: peers }, (_, index) => `peer-${index}`);
  const clients = await wg0.clients(names(count));
  const args = [...onAllInterfaces(mode, wg0.port), "--log-level", "debug"];
  await using wgmon = start(...args, "--webhook", receiver.url());
  await wgmon.waitForLog(({ msg }) => msg === "warm", 30_000);
  const connectAll = async (some: readonly Client[]) => {
    const before = packetScans(wgmon);
    const latencies: number[] = [];
    for (const client of some) latencies.push(await connect({ ...gateway, tap }, client));
    await Bun.sleep(TAIL_MS);
    return { latencies, scans: (packetScans(wgmon) - before) / some.length };
  };
  const { latencies, scans } = await connectAll(clients);
  const what = `${mode.name}: first data to webhook`;
  note(figure(`${what}, median of ${count}`, "ms", latencies, { atMost: 20 }));
  note(figure(`${what}, worst`, "ms", Math.max(...latencies), { atMost: 150 }));
  const each = `${mode.name}: scans for each handshake`;
  note(figure(each, "", scans, SCANS));
  for (const roundTripMs of roundTripsMs) {
    const distant = await connectAll(await wg0.clients(names(FEW), { roundTripMs }));
    note(figure(`${each}, round trip ${roundTripMs} ms`, "", distant.scans, SCANS));
    note(figure(`${what}, round trip ${roundTripMs} ms`, "ms", distant.latencies));
  }
}

async function connect(
  { receiver, tap }: OpenLab & { readonly tap: FirstDataTap },
  client: Client,
): Promise<number> {
  tap.drain();
  client.sendDatagram();
  const reported = await reportedAtMs(receiver, client, PATIENCE_MS);
  await Bun.sleep(PAUSE_MS);
  // Keeps the list short: each connect searches it.
  receiver.requests.length = 0;
  return reported - tap.firstMs();
}

export async function roams(note: Note): Promise<void> {
  await using gateway = await openLab();
  const { lab, wg0, receiver } = gateway;
  await lab.addPlainRule(wg0.port, 1);
  const client = await wg0.client("roamer");
  await using wgmon = start("--webhook", receiver.url(), "--tick", "1s");
  await wgmon.ready;
  await client.connect();
  await Bun.sleep(1500);
  receiver.requests.length = 0;
  for (let count = 0; count < ROAMS; count++) {
    await client.roam();
    await client.ping(1);
    await Bun.sleep(1500);
  }
  const types = receiver.requests.map(({ event }) => event?.type);
  const roamed = types.filter((type) => type === "peer.roamed").length;
  const exactly = (number: number) => ({ atLeast: number, atMost: number });
  note(figure(`${ROAMS} roams: reports of a roam`, "", roamed, exactly(ROAMS)));
  note(figure(`${ROAMS} roams: other reports`, "", types.length - roamed, exactly(0)));
}

export async function triggers(note: Note): Promise<void> {
  await using gateway = await openLab();
  await gateway.lab.addPlainRule(gateway.wg0.port, 1);
  const client = await gateway.wg0.client("one");
  await using wgmon = start();
  await wgmon.ready;
  await client.connect();
  const figures = [privateMb(wgmon.pid)];
  const sender = join(import.meta.dir, "sender.ts");
  const words = [gateway.wg0.port, TRIGGERS / 4, TRIGGERS_PER_SECOND].map(String);
  for (let part = 0; part < 4; part++) {
    await Bun.spawn([process.execPath, sender, ...words], { stdout: "ignore" }).exited;
    figures.push(privateMb(wgmon.pid));
  }
  // The heap shrinks after some idle time.
  await Bun.sleep(15_000);
  figures.push(privateMb(wgmon.pid));
  note(
    series(
      `private memory before, during and 15 s after ${TRIGGERS} forged triggers`,
      "MB",
      figures,
    ),
  );
}

export async function starts(note: Note): Promise<void> {
  await using gateway = await openLab();
  await gateway.lab.addPlainRule(gateway.wg0.port, 1);
  for (const monitor of ["nflog", "bpf", "poll"]) {
    const times: number[] = [];
    for (let count = 0; count < STARTS; count++) {
      const startMs = performance.now();
      await using wgmon = start("--monitor", monitor, "--interface", "any");
      await wgmon.ready;
      times.push(performance.now() - startMs);
    }
    note(figure(`start to ready, ${monitor}`, "ms", times, { atMost: 100 }));
  }
}

interface OpenLab extends AsyncDisposable {
  readonly lab: Lab;
  readonly wg0: LabDevice;
  readonly receiver: Receiver;
}

async function openLab(): Promise<OpenLab> {
  const lab = await Lab.create();
  const receiver = new Receiver();
  const wg0 = await lab.device("wg0", { port: 51820 });
  return {
    lab,
    wg0,
    receiver,
    async [Symbol.asyncDispose]() {
      receiver[Symbol.dispose]();
      await wg0.delete();
      lab[Symbol.dispose]();
    },
  };
}
