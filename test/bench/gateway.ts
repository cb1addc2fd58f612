/**
 * Measures wgmon at a gateway with real WireGuard and real clients: from the tunnel's first packet to the
 * webhook, looks for each handshake, roams, memory over 100,000 triggers, start.
 */

import { join } from "node:path";

import { openTap } from "../../src/capture/bpf.ts";
import { systemClock } from "../../src/clock.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { residentMb } from "../support/usage.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";
import { figure, type Note, series } from "./figures.ts";
import { BINARY } from "./subject.ts";

const PEERS = 12;
const TRIGGERS = 100_000;
const TRIGGERS_PER_SECOND = 10_000;
const STARTS = 11;
const ROAMS = 3;

const start = (...args: readonly string[]) => startWgmon(args, { binary: BINARY });

const looks = (wgmon: Wgmon) =>
  wgmon.log.filter(({ msg, reason }) => msg === "look" && reason === "packet").length;

const nowMs = () => performance.timeOrigin + performance.now();

export async function connects(note: Note): Promise<void> {
  await using gateway = await openLab();
  // This program's own code must have run, or the first figure is its time.
  await measureConnects(() => {}, gateway, "nflog", "datagram");
  for (const monitor of ["nflog", "bpf"] as const) {
    for (const by of ["datagram", "ping"] as const) {
      await measureConnects(note, gateway, monitor, by);
    }
  }
}

/** Connects one peer after the other; how long after the tunnel's first packet each was reported. */
async function measureConnects(
  note: Note,
  { lab, wg0, receiver }: OpenLab,
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
  const handshakes = (looks(wgmon) - looksBefore) / clients.length;
  const what = `${monitor}, ${by}: tunnel's first packet to webhook`;
  note(figure(what, "ms", latencies, { atMost: 10 }));
  note(figure(`${monitor}, ${by}: looks for each handshake`, "", handshakes));
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
    onReceived: first,
    onSent() {},
    onPacketsLost() {},
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

export async function roams(note: Note): Promise<void> {
  await using gateway = await openLab();
  const { wg0, receiver } = gateway;
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
  const client = await gateway.wg0.client("one");
  await using wgmon = start();
  await wgmon.ready;
  await client.connect();
  const figures = [await residentMb(wgmon.pid)];
  const sender = join(import.meta.dir, "sender.ts");
  const words = [gateway.wg0.port, TRIGGERS / 4, TRIGGERS_PER_SECOND].map(String);
  for (let part = 0; part < 4; part++) {
    await Bun.spawn([process.execPath, sender, ...words], { stdout: "ignore" }).exited;
    figures.push(await residentMb(wgmon.pid));
  }
  // The heap shrinks when nothing has happened for a while.
  await Bun.sleep(15_000);
  figures.push(await residentMb(wgmon.pid));
  note(series(`memory before, during and 15 s after ${TRIGGERS} forged triggers`, "MB", figures));
}

export async function starts(note: Note): Promise<void> {
  await using _gateway = await openLab();
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

/** A gateway with the rule that people write by hand. */
async function openLab(): Promise<OpenLab> {
  const lab = await Lab.create();
  const receiver = new Receiver();
  const wg0 = await lab.device("wg0", { port: 51820 });
  await lab.addPlainRule(wg0.port, 1);
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
