/**
 * What data of a running session costs: it comes by the thousand, is no news, and must cost next to
 * nothing. Processor time of wgmon alone: what the kernel does for a rule or a filter is not in it.
 */

import { Receiver } from "../support/receiver.ts";
import { privateMb } from "../support/usage.ts";
import { figure, type Note } from "./figures.ts";
import { paced } from "./pace.ts";
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

/** The kernel's gateway takes real data, which this process encrypts: an emulated one cannot do more. */
const RATES = { kernel: 1000, played: 10_000 } as const;
const SECONDS = 10;

/** Looks after a connect, and whatever follows an event, are over by then. */
const SETTLE_MS = 5000;
/** What waits in the socket is read by then. */
const TAIL_MS = 200;

export async function data(note: Note, kind: GatewayKind): Promise<void> {
  for (const mode of [MODES.bpf, MODES.printed]) await measure(note, kind, mode, 0.01);
  for (const mode of [MODES.plain, MODES.filter]) await measure(note, kind, mode, 0.3);
}

async function measure(note: Note, kind: GatewayKind, mode: Mode, atMost: number): Promise<void> {
  await using gateway = await openGateway(kind);
  await using _rules = await installRules(mode.rules, gateway);
  using receiver = new Receiver();
  await using wgmon = await startWarm(...mode.args(gateway.port), "--webhook", receiver.url());
  const [peer] = await gateway.addPeers(1);
  await peer!.connect();
  await reportedAtMs(receiver, peer!, SETTLE_MS);
  await Bun.sleep(SETTLE_MS);

  const idle = await cpuOf(wgmon.pid, () => Bun.sleep(SECONDS * 1000));
  note(figure(`${mode.name}: CPU in ${SECONDS} s, one silent peer`, "s", idle));

  const perSecond = RATES[kind];
  let sent = 0;
  const used = await cpuOf(wgmon.pid, async () => {
    const { done } = await paced({ count: SECONDS * perSecond, perSecond }, () => peer!.send());
    sent = done;
    await Bun.sleep(TAIL_MS);
  });
  const what = `${mode.name}: CPU per 10,000 data packets, at ${perSecond}/s, beyond that`;
  const beyond = Math.max(0, used - (idle * sent) / perSecond / SECONDS);
  note(figure(what, "s", (beyond / sent) * 10_000, { atMost }));
  note(figure(`${mode.name}: private memory then`, "MB", privateMb(wgmon.pid)));
}
