/**
 * Measures wgmon's processor time for data packets of a running session, which must be close to zero. Processor time of
 * the kernel for rules and filters is not included.
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

/** Packets per second. Lower for the kernel's gateway: this process must encrypt the data, on an emulated processor. */
const RATES = { kernel: 1000, played: 10_000 } as const;
const SECONDS = 10;

/** After this time, the scans and deliveries that follow a connect are finished. */
const SETTLE_MS = 5000;
/** After this time, the packets in the receive buffer have been read. */
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
