/**
 * What a flood of forged packets costs, and how a real peer fares in the middle of it. The kinds of packets are
 * those of sender.ts, and come from another network namespace. A flood begins when the one before it is
 * forgotten: its first packets are the dear ones.
 */

import { join } from "node:path";

import { $ } from "bun";

import { Receiver } from "../support/receiver.ts";
import { cpuSeconds, cpuTimes, privateMb } from "../support/usage.ts";
import type { Wgmon } from "../support/wgmon.ts";
import { figure, median, type Note } from "./figures.ts";
import type { Gateway, RemotePeer } from "./gateways/gateway.ts";
import { type Kind, KINDS } from "./sender.ts";
import {
  cpuOf,
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

/** Packets of each flood whose cost is measured, and what they may cost in seconds, by how many come a second. */
const COUNT = 10_000;
const RATES = new Map([
  [200, 0.3],
  [2000, 0.1],
]);
/** Native only: an emulated machine cannot send so many. Of one core, in percent, in user space. */
const FAST = { perSecond: 50_000, seconds: 30, userShare: 1 };
/** In the middle of these a real peer connects. An emulated one is reported as late as natively, beyond calm. */
const RATES_WITH_PEERS = { kernel: [2000], played: [200, 2000, FAST.perSecond] } as const;
const PEERS = 5;
const WARM_UP_PEERS = 3;
const PEER_PAUSE_MS = 1200;
const PEER_BEYOND_MS = 20;
const PATIENCE_MS = 10_000;
/** What compiles the code that floods run. */
const WARM_UP = { kind: "mixed", count: 10_000, perSecond: 2000 } as const;
/** Looks for the last packets go on for 4 s. */
const TAIL_MS = 4500;
/** Guarded mode lasts 10 s longer than its flood. */
const CALM_MS = 11_000;
/** Idle cost is the median of these windows: in one of them the JIT may still compile what the warm-up ran. */
const IDLE_WINDOWS = 3;
const IDLE_MS = 20_000;

export async function flood(note: Note, kind: GatewayKind): Promise<void> {
  await measureCosts(note, kind);
  for (const mode of FLOODED) await measureMode(note, kind, mode);
}

/** All modes at a time: the same floods come to all, and each has its own processor time. */
async function measureCosts(note: Note, gatewayKind: GatewayKind): Promise<void> {
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
  const idle = await Promise.all(
    subjects.map(async ({ mode, wgmon }) => {
      const used: number[] = [];
      for (let window = 0; window < IDLE_WINDOWS; window++)
        used.push(await cpuOf(wgmon.pid, () => Bun.sleep(IDLE_MS)));
      note(figure(`${mode.name}: CPU in ${IDLE_MS / 1000} idle s`, "s", used));
      return median(used) / IDLE_MS;
    }),
  );

  for (const [perSecond, atMost] of RATES) {
    for (const kind of KINDS) {
      await Bun.sleep(CALM_MS);
      const startMs = performance.now();
      const before = await Promise.all(subjects.map(({ wgmon }) => usage(wgmon)));
      await using sender = await startSender({ ...flooded, kind, count: COUNT, perSecond });
      const { sent, seconds } = await sender.finished;
      await Bun.sleep(TAIL_MS);
      note(figure(`${kind} that were really sent, of ${perSecond}/s`, "/s", sent / seconds));
      for (const [index, { mode, wgmon }] of subjects.entries()) {
        const used = since(before[index]!, await usage(wgmon));
        const idleSeconds = idle[index]! * (performance.now() - startMs);
        const what = `${mode.name}: ${perSecond}/s, ${kind}: CPU per 10,000`;
        const beyondIdle = ((used.all - idleSeconds) / sent) * 10_000;
        note(figure(`${what}, beyond idle`, "s", beyondIdle, { atMost }));
        noteTimes(note, what, used, 10_000 / sent);
      }
    }
  }
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
  const before = await usage(wgmon);
  await using sender = await startSender({ ...flooded, perSecond, count: perSecond * seconds });
  const report = await sender.finished;
  const used = since(before, await usage(wgmon));
  const share = (part: number) => (100 * part) / report.seconds;
  const what = `${mode.name}: ${perSecond}/s mixed for ${seconds} s`;
  note(figure(`${what}: really sent`, "/s", report.sent / report.seconds));
  note(figure(`${what}: of one core, in user space`, "%", share(used.user), { atMost }));
  note(figure(`${what}: of one core, in the kernel`, "%", share(used.system)));
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

/** Processor seconds. */
interface Usage {
  readonly all: number;
  /** In hundredths. */
  readonly user: number;
  readonly system: number;
}

async function usage({ pid }: Wgmon): Promise<Usage> {
  return { all: cpuSeconds(pid), ...(await cpuTimes(pid)) };
}

function since(before: Usage, after: Usage): Usage {
  return {
    all: after.all - before.all,
    user: after.user - before.user,
    system: after.system - before.system,
  };
}

function noteTimes(note: Note, what: string, { user, system }: Usage, factor: number): void {
  note(figure(`${what}, in user space`, "s", user * factor));
  note(figure(`${what}, in the kernel`, "s", system * factor));
}

interface Flooded {
  readonly gateway: Gateway;
  readonly outside: Outside;
  readonly kind: Kind;
  readonly count: number;
  readonly perSecond: number;
  /** A connected peer, for `mixed`. */
  readonly victim: RemotePeer;
}

/** A network namespace that floods come from, by a veth pair. */
class Outside implements AsyncDisposable {
  static readonly gateway = "192.0.2.1";
  static readonly #name = "flood0";
  readonly #holder: Bun.Subprocess;

  static async create(): Promise<Outside> {
    // What it prints says that it is in its namespace.
    const script = "echo there && exec sleep infinity";
    // It must not outlive a part that fails.
    const command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", script];
    const holder = Bun.spawn(command, { stdin: "ignore", stdout: "pipe" });
    await holder.stdout.getReader().read();
    const outside = new Outside(holder);
    const name = Outside.#name;
    await $`ip link add ${name} type veth peer name ${name} netns ${holder.pid}`.quiet();
    await $`ip addr add ${Outside.gateway}/24 dev ${name} && ip link set ${name} up`.quiet();
    // Forged sources have no way back, and those of our peers are of the loopback.
    const settings = [`${name}/rp_filter=0`, "all/rp_filter=0"].concat(
      ["route_localnet", "accept_local"].map((setting) => `${name}/${setting}=1`),
    );
    for (const setting of settings) {
      const [file, value] = setting.split("=");
      await Bun.write(`/proc/sys/net/ipv4/conf/${file}`, value!);
    }
    const inside = `ip addr add 192.0.2.2/24 dev ${name} && ip link set ${name} up`;
    await $`${outside.enter} sh -c ${inside}`.quiet();
    return outside;
  }

  private constructor(holder: Bun.Subprocess) {
    this.#holder = holder;
  }

  get enter(): readonly string[] {
    return ["nsenter", "--target", String(this.#holder.pid), "--net"];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await $`ip link delete ${Outside.#name}`.quiet();
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
  }
}

interface Sender extends AsyncDisposable {
  /** When it has sent all. */
  readonly finished: Promise<{ readonly sent: number; readonly seconds: number }>;
}

/** Resolves when it has begun to send. */
async function startSender({
  gateway,
  outside,
  kind,
  count,
  perSecond,
  victim,
}: Flooded): Promise<Sender> {
  const program = join(import.meta.dir, "sender.ts");
  const options = [kind, gateway.publicKey, victim.place];
  const words = [gateway.port, count, perSecond, ...options].map(String);
  const child = Bun.spawn([...outside.enter, process.execPath, program, ...words], {
    env: { ...process.env, WGMON_TEST_TO: Outside.gateway },
    stdout: "pipe",
  });
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
