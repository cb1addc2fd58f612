/**
 * How a real peer fares in the middle of a flood of forged packets, and the share of a core that a fast flood takes;
 * flood-cost.ts has the cost of slower ones. A flood begins when the one before it is forgotten: its first packets are
 * the dear ones.
 */

import { Receiver } from "../support/receiver.ts";
import { cpuTimes, privateMb } from "../support/usage.ts";
import type { Wgmon } from "../support/wgmon.ts";
import { figure, median, type Note } from "./figures.ts";
import { CALM_MS, type Flooded, Outside, startSender, WARM_UP } from "./flood-source.ts";
import type { RemotePeer } from "./gateways/gateway.ts";
import {
  type GatewayKind,
  installRules,
  type Mode,
  MODES,
  onAllInterfaces,
  openGateway,
  reportedAtMs,
  startWarm,
} from "./subject.ts";

const FLOODED = [MODES.bpf, MODES.printed, MODES.plain];

/** Native only: an emulated machine cannot send so many. Of one core, in percent, in user space. */
const FAST = { perSecond: 50_000, seconds: 30, userShare: 1 };
/** In the middle of these a real peer connects. An emulated one is reported as late as natively, beyond calm. */
const RATES_WITH_PEERS = { kernel: [2000], played: [200, 2000, FAST.perSecond] } as const;
const PEERS = 5;
const WARM_UP_PEERS = 3;
const PEER_PAUSE_MS = 1200;
const PEER_BEYOND_MS = 20;
const PATIENCE_MS = 10_000;
export async function flood(note: Note, kind: GatewayKind): Promise<void> {
  for (const mode of FLOODED) await measureMode(note, kind, mode);
}

/** A real peer without a flood and in the middle of one. */
async function measureMode(note: Note, gatewayKind: GatewayKind, mode: Mode): Promise<void> {
  const rates = RATES_WITH_PEERS[gatewayKind];
  await using gateway = await openGateway(gatewayKind);
  await using outside = await Outside.create();
  await using _rules = await installRules(mode.rules, gateway);
  using receiver = new Receiver();
  const [victim, ...peers] = await gateway.addPeers(1 + PEERS * (rates.length + 1) + WARM_UP_PEERS);
  await using wgmon = await startWarm(
    ...onAllInterfaces(mode, gateway.port),
    "--webhook",
    receiver.url(),
  );
  const mixed = { kind: "mixed", gateway, outside, victim: victim! } as const;
  await victim!.connect();
  // The first connects compile code.
  await connectAll(receiver, peers.splice(0, WARM_UP_PEERS));
  const calm = await connectAll(receiver, peers.splice(0, PEERS));
  const what = "a real peer's first data to webhook";
  note(figure(`${mode.name}: ${what}, no flood`, "ms", calm.latencies));
  const atMost = median(calm.latencies) + PEER_BEYOND_MS;
  await using warmUp = await startSender({ ...mixed, ...WARM_UP });
  await warmUp.finished;

  for (const perSecond of rates) {
    if (perSecond === FAST.perSecond) await measureFast(note, mode, { ...mixed, wgmon });
    await Bun.sleep(CALM_MS);
    // More than there is time for: it is ended.
    await using _sender = await startSender({ ...mixed, perSecond, count: 120 * perSecond });
    const { latencies, missed } = await connectAll(receiver, peers.splice(0, PEERS));
    note(figure(`${mode.name}: ${what}, ${perSecond}/s mixed`, "ms", latencies, { atMost }));
    note(figure(`${mode.name}: missed of ${latencies.length}`, "", missed, { atMost: 0 }));
  }
  note(figure(`${mode.name}: private memory after the floods`, "MB", privateMb(wgmon.pid)));
}

async function measureFast(
  note: Note,
  mode: Mode,
  flooded: Omit<Flooded, "perSecond" | "count"> & { readonly wgmon: Wgmon },
): Promise<void> {
  const { wgmon } = flooded;
  const { perSecond, seconds, userShare: atMost } = FAST;
  await Bun.sleep(CALM_MS);
  const before = await cpuTimes(wgmon.pid);
  await using sender = await startSender({ ...flooded, perSecond, count: perSecond * seconds });
  const report = await sender.finished;
  const after = await cpuTimes(wgmon.pid);
  const share = (part: "user" | "system") => (100 * (after[part] - before[part])) / report.seconds;
  const what = `${mode.name}: ${perSecond}/s mixed for ${seconds} s`;
  note(figure(`${what}: really sent`, "/s", report.sent / report.seconds));
  note(figure(`${what}: of one core, in user space`, "%", share("user"), { atMost }));
  note(figure(`${what}: of one core, in the kernel`, "%", share("system")));
}

async function connectAll(receiver: Receiver, peers: readonly RemotePeer[]) {
  const latencies: number[] = [];
  for (const peer of peers) {
    await Bun.sleep(PEER_PAUSE_MS);
    const connectedAtMs = await peer.connect().catch(() => null);
    // The gateway has not answered: there was no handshake to be found.
    if (connectedAtMs === null) console.error("  a peer could not connect at all");
    else latencies.push((await reportedAtMs(receiver, peer, PATIENCE_MS)) - connectedAtMs);
  }
  return { latencies, missed: latencies.filter((each) => Number.isNaN(each)).length };
}
