/**
 * What a flood of forged packets costs, and how a real peer fares in the middle of it. Half are
 * initiations, half are the first data of sessions, each from another address and port; in a mix, some
 * come as from a connected peer, and some are rubbish.
 */

import { join } from "node:path";

import type { Gateway, RemotePeer } from "../support/gateway.ts";
import { Receiver } from "../support/receiver.ts";
import { residentMb } from "../support/usage.ts";
import type { Wgmon } from "../support/wgmon.ts";
import { figure, type Note } from "./figures.ts";
import {
  cpuOf,
  type GatewayKind,
  installRules,
  type Mode,
  MODES,
  openGateway,
  reportedAtMs,
  startWarm,
} from "./subject.ts";

const SECONDS = 10;
/** An emulated machine cannot send more than this. */
const RATES = { kernel: [200, 2000], played: [200, 2000, 50_000] } as const;
/** Packets, until the code for them is compiled. */
const WARM_UP = 10_000;
/** From this rate on, peers connect in the middle of it. */
const FLOOD_FROM = 2000;
const PEERS = 5;
const PEER_PAUSE_MS = 1200;
/** Of one core, in percent. */
const SHARE = 5;
/** Until a real peer is reported. An emulated machine must keep what the other must keep natively. */
const PEER_MS = 50;
const PATIENCE_MS = 10_000;
/** Looks for the last sources go on for 3 s. */
const TAIL_MS = 4000;

export async function flood(note: Note, kind: GatewayKind): Promise<void> {
  for (const mode of [MODES.plain, MODES.printed, MODES.bpf]) {
    await using gateway = await openGateway(kind);
    await using _rules = await installRules(mode.rules, gateway);
    using receiver = new Receiver();
    const peers = [...(await gateway.addPeers(PEERS * RATES[kind].length + 1))];
    await using wgmon = await startWarm(...mode.args(gateway.port), "--webhook", receiver.url());
    await using warmUp = await startSender({ gateway, perSecond: FLOOD_FROM }, WARM_UP);
    await warmUp.finished;
    await Bun.sleep(TAIL_MS);
    for (const perSecond of RATES[kind]) {
      await measureCost(note, mode, { gateway, wgmon, perSecond });
      if (perSecond < FLOOD_FROM) continue;
      const some = peers.splice(0, PEERS);
      await measurePeers(note, mode, { gateway, receiver, peers: some, perSecond });
    }
    const [victim, ...some] = peers;
    await victim!.connect();
    const mix = { gateway, perSecond: FLOOD_FROM, victim: victim! };
    await measureCost(note, mode, { ...mix, wgmon });
    await measurePeers(note, mode, { ...mix, receiver, peers: some });
    note(figure(`${mode.name}: memory after the floods`, "MB", await residentMb(wgmon.pid)));
  }
}

interface Flooded {
  readonly gateway: Gateway;
  readonly perSecond: number;
  /** A connected peer; of a mix. */
  readonly victim?: RemotePeer;
}

const rateOf = ({ perSecond, victim }: Flooded) =>
  `${perSecond}/s${victim === undefined ? "" : " of a mix"}`;

async function measureCost(
  note: Note,
  mode: Mode,
  flooded: Flooded & { readonly wgmon: Wgmon },
): Promise<void> {
  const { wgmon, perSecond } = flooded;
  await using sender = await startSender(flooded, SECONDS * perSecond);
  let report = { sent: NaN, seconds: NaN };
  const meanwhile = await cpuOf(wgmon.pid, async () => {
    report = await sender.finished;
  });
  const used = meanwhile + (await cpuOf(wgmon.pid, async () => await Bun.sleep(TAIL_MS)));
  const { sent, seconds } = report;
  const what = `${mode.name}: CPU per 10,000 forged packets, at ${rateOf(flooded)}`;
  const atMost = perSecond < FLOOD_FROM ? 1 : 0.3;
  note(figure(what, "s", (used / sent) * 10_000, { atMost }));
  note(figure(`${mode.name}: forged packets that were really sent`, "/s", sent / seconds));
  const share = (100 * meanwhile) / seconds;
  note(
    figure(`${mode.name}: share of one core, at ${rateOf(flooded)}`, "%", share, { atMost: SHARE }),
  );
}

async function measurePeers(
  note: Note,
  mode: Mode,
  flooded: Flooded & { readonly receiver: Receiver; readonly peers: readonly RemotePeer[] },
): Promise<void> {
  const { receiver, peers, perSecond } = flooded;
  // Much longer than the peers take: it is ended then.
  await using _sender = await startSender(flooded, 60 * perSecond);
  const latencies: number[] = [];
  for (const peer of peers) {
    await Bun.sleep(PEER_PAUSE_MS);
    const connectedAtMs = await peer.connect();
    latencies.push((await reportedAtMs(receiver, peer, PATIENCE_MS)) - connectedAtMs);
  }
  const what = `${mode.name}: a real peer's first data to webhook, during ${rateOf(flooded)}`;
  note(figure(what, "ms", latencies, { atMost: PEER_MS }));
}

interface Sender extends AsyncDisposable {
  /** When it has sent all. */
  readonly finished: Promise<{ readonly sent: number; readonly seconds: number }>;
}

/** Resolves when it has begun to send. */
async function startSender(
  { gateway, perSecond, victim }: Flooded,
  count: number,
): Promise<Sender> {
  const program = join(import.meta.dir, "sender.ts");
  const words = [gateway.port, count, perSecond, ...(victim === undefined ? [] : [victim.place])];
  const child = Bun.spawn([process.execPath, program, ...words.map(String)], { stdout: "pipe" });
  const begun = Promise.withResolvers<void>();
  const finished = read();
  await begun.promise;
  return {
    finished,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
      await finished;
    },
  };

  async function read() {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk);
      if (text.includes("\n")) begun.resolve();
    }
    begun.reject(new Error("the sender ended"));
    const report = text.split("\n")[1] ?? "";
    if (report === "") return { sent: NaN, seconds: NaN };
    return JSON.parse(report) as { sent: number; seconds: number };
  }
}
