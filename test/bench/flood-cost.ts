/**
 * What 10,000 forged packets cost: the processor time of wgmon beyond that of an idle one.
 *
 * Runs in a virtual machine whose clock counts instructions, a nanosecond each (`countsInstructions` in vm.ts). In an
 * ordinary emulated machine, processor time includes every delay on the host: the figures of two runs beside other work
 * differed by up to 4.6 s, which is far more than their bounds. Here the medians of two runs differed by 0.015 s at most.
 * What is left is the compiler and the garbage collector of the runtime: so floods and quiet windows of the same length
 * take turns, and the median of their differences counts.
 *
 * All modes run at the same time: all receive the same floods, and each has its own processor time.
 */

import { readdirSync, readFileSync } from "node:fs";

import { cpuSeconds } from "../support/usage.ts";
import type { Wgmon } from "../support/wgmon.ts";
import { figure, median, type Note } from "./figures.ts";
import { CALM_MS, Outside, startSender, WARM_UP } from "./flood-source.ts";
import { KINDS } from "./sender.ts";
import {
  type GatewayKind,
  installRules,
  type Mode,
  MODES,
  onAllInterfaces,
  openGateway,
  startWarm,
} from "./subject.ts";

const FLOODED = [MODES.bpf, MODES.printed, MODES.plain];
const COUNT = 10_000;
/**
 * An ordinary emulated machine without other work takes about four nanoseconds for an instruction of these floods. The
 * factor is not exact: code that has just been compiled takes longer there.
 */
const EMULATED_NS = 4;
/** What the packets may cost in seconds, by how many come a second: 0.3 s and 0.1 s in an ordinary emulated machine. */
const RATES = new Map([
  [200, 0.3 / EMULATED_NS],
  [2000, 0.1 / EMULATED_NS],
]);
const ROUNDS = 3;
/** A thread that uses less is not printed. */
const NOTED_SECONDS = 0.005;
/** Scans for the last packets go on for 4 s. */
const TAIL_MS = 4500;

export async function floodCost(note: Note, gatewayKind: GatewayKind): Promise<void> {
  await using gateway = await openGateway(gatewayKind);
  await using outside = await Outside.create();
  await using _printed = await installRules("printed", gateway);
  await using _plain = await installRules("plain", gateway);
  const [victim] = await gateway.addPeers(1);
  await using running = new AsyncDisposableStack();
  const subjects: { readonly mode: Mode; readonly wgmon: Wgmon }[] = [];
  for (const mode of FLOODED) {
    const wgmon = await startWarm(...onAllInterfaces(mode, gateway.port));
    subjects.push({ mode, wgmon: running.use(wgmon) });
  }
  await victim!.connect();
  const flooded = { gateway, outside, victim: victim! };
  await using warmUp = await startSender({ ...flooded, ...WARM_UP });
  await warmUp.finished;
  await Bun.sleep(CALM_MS);

  /** Processor seconds of all subjects while `action` runs, and 4.5 s longer. */
  const during = async (action: () => Promise<unknown>): Promise<readonly Usage[]> => {
    const before = subjects.map(({ wgmon }) => usage(wgmon));
    await action();
    await Bun.sleep(TAIL_MS);
    return subjects.map(({ wgmon }, index) => since(before[index]!, usage(wgmon)));
  };

  for (const [perSecond, atMost] of RATES) {
    for (const kind of KINDS) {
      const beyond: Usage[][] = subjects.map(() => []);
      const rates: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        await Bun.sleep(CALM_MS);
        let sendingMs = 0;
        const usedFlooded = await during(async () => {
          const startMs = performance.now();
          await using sender = await startSender({ ...flooded, kind, count: COUNT, perSecond });
          const { sent, seconds } = await sender.finished;
          rates.push(sent / seconds);
          sendingMs = performance.now() - startMs;
        });
        await Bun.sleep(CALM_MS);
        const usedQuiet = await during(() => Bun.sleep(sendingMs));
        for (const [index, each] of beyond.entries()) {
          each.push(since(usedQuiet[index]!, usedFlooded[index]!));
        }
      }
      note(figure(`${kind} that were really sent, of ${perSecond}/s`, "/s", rates));
      for (const [index, { mode }] of subjects.entries()) {
        const what = `${mode.name}: ${perSecond}/s, ${kind}: CPU per 10,000, beyond idle`;
        noteUsage(note, what, beyond[index]!, atMost);
      }
    }
  }
}

/** Processor seconds: all, and by the name of the thread. */
type Usage = ReadonlyMap<string, number>;
const ALL = "all";
const OTHERS = "threads that have ended";

function usage({ pid }: Wgmon): Usage {
  const used = new Map([[ALL, cpuSeconds(pid)]]);
  let listed = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const path = `/proc/${pid}/task/${thread}`;
      const name = readFileSync(`${path}/comm`, "utf8").trim();
      // Nanoseconds on a processor; Documentation/scheduler/sched-stats.rst.
      const seconds = Number(readFileSync(`${path}/schedstat`, "utf8").split(" ")[0]) / 1e9;
      used.set(name, (used.get(name) ?? 0) + seconds);
      listed += seconds;
    } catch (error) {
      // The thread has ended.
      if (!/ENOENT|ESRCH/.test(String((error as NodeJS.ErrnoException).code))) throw error;
    }
  }
  return used.set(OTHERS, cpuSeconds(pid) - listed);
}

function since(before: Usage, after: Usage): Usage {
  return new Map([...after].map(([name, seconds]) => [name, seconds - (before.get(name) ?? 0)]));
}

function noteUsage(note: Note, what: string, rounds: readonly Usage[], atMost: number): void {
  note(
    figure(
      what,
      "s",
      rounds.map((each) => each.get(ALL)!),
      { atMost },
    ),
  );
  const names = new Set(rounds.flatMap((each) => [...each.keys()]));
  names.delete(ALL);
  for (const name of names) {
    const seconds = rounds.map((each) => each.get(name) ?? 0);
    if (Math.abs(median(seconds)) >= NOTED_SECONDS) note(figure(`${what}, ${name}`, "s", seconds));
  }
}
