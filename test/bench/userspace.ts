/**
 * Connects to a gateway of wireguard-go from another one, each in a network namespace of its own, joined by a veth
 * pair: real handshakes where the kernel has no WireGuard. The clock starts when the kernel takes in the first data
 * of the session, and stops when the webhook's receiver has the report. Also: what a start and some connects cost.
 */

import { realpathSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";

import { type KeyPair, newKeys } from "../support/keys.ts";
import { Receiver } from "../support/receiver.ts";
import { until } from "../support/until.ts";
import { cpuSeconds, cpuTimes } from "../support/usage.ts";
import { startWgmon } from "../support/wgmon.ts";
import { figure, type Note } from "./figures.ts";
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

const FOLDER = "/var/run/wireguard";
const GATEWAY = "gateway0";
const CLIENT = "client0";
const CABLE = "cable0";
const PORT = 51820;
/** Each peer sends from a port of its own. */
const FIRST_CLIENT_PORT = 30_000;

const CONNECTS = 200;
/** Whose code is compiled meanwhile, ours too; not counted. */
const WARM_UP_CONNECTS = 20;
const PAUSE_MS = 50;
const PATIENCE_MS = 10_000;
const COUNTED_CONNECTS = 25;
const COUNTED_PAUSE_MS = 200;
const ROUNDS = 3;
/** An event is written before it is sent, which waits for a disk, but not for a file system in memory. */
const DISKS = [
  { name: "state on disk", folder: tmpdir() },
  { name: "state in memory", folder: "/dev/shm" },
];
/** Scans for the last connect are over then. */
const TAIL_MS = 2000;

export async function userspace(note: Note): Promise<void> {
  for (const mode of [MODES.bpf, MODES.printed]) {
    for (const disk of DISKS) await measureConnects(note, mode, disk);
  }
  for (const mode of [MODES.bpf, MODES.printed]) await measureCost(note, mode);
}

async function measureConnects(
  note: Note,
  mode: Mode,
  disk: (typeof DISKS)[number],
): Promise<void> {
  await using network = await Network.create(WARM_UP_CONNECTS + CONNECTS);
  await using _rules = await installRules(mode.rules, { port: PORT });
  using receiver = new Receiver();
  const stateFolder = await mkdtemp(join(disk.folder, "wgmon-bench-"));
  await using _stateFolder = { [Symbol.asyncDispose]: () => rm(stateFolder, { recursive: true }) };
  const args = ["--state-dir", stateFolder, "--log-level", "debug", "--webhook", receiver.url()];
  await using wgmon = startWgmon([...onAllInterfaces(mode, PORT), ...args], OPTIONS);
  await wgmon.waitForLog(({ msg }) => msg === "warm");
  for (let peer = 0; peer < WARM_UP_CONNECTS; peer++) await network.connect(peer, receiver);
  await Bun.sleep(TAIL_MS);
  const before = packetScans(wgmon);
  const latencies: number[] = [];
  for (let peer = WARM_UP_CONNECTS; peer < WARM_UP_CONNECTS + CONNECTS; peer++) {
    await Bun.sleep(PAUSE_MS);
    latencies.push(await network.connect(peer, receiver));
  }
  await Bun.sleep(TAIL_MS);
  const what = `wireguard-go, ${mode.name}, ${disk.name}: first data to webhook`;
  note(figure(`${what}, median of ${CONNECTS}`, "ms", latencies, { atMost: 4 }));
  note(figure(`${what}, worst`, "ms", Math.max(...latencies), { atMost: 20 }));
  const scansEach = (packetScans(wgmon) - before) / CONNECTS;
  note(figure(`wireguard-go, ${mode.name}, ${disk.name}: scans for each handshake`, "", scansEach));
}

async function measureCost(note: Note, mode: Mode): Promise<void> {
  await using network = await Network.create(ROUNDS * COUNTED_CONNECTS);
  await using _rules = await installRules(mode.rules, { port: PORT });
  const all: number[] = [];
  const user: number[] = [];
  const started: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    using receiver = new Receiver();
    const args = [...onAllInterfaces(mode, PORT), "--webhook", receiver.url()];
    await using wgmon = startWgmon(args, OPTIONS);
    await wgmon.ready;
    await Bun.sleep(TAIL_MS);
    started.push(cpuSeconds(wgmon.pid));
    for (let connect = 0; connect < COUNTED_CONNECTS; connect++) {
      await Bun.sleep(COUNTED_PAUSE_MS);
      await network.connect(round * COUNTED_CONNECTS + connect, receiver);
    }
    await Bun.sleep(TAIL_MS);
    all.push(cpuSeconds(wgmon.pid));
    user.push((await cpuTimes(wgmon.pid)).user);
  }
  const what = `wireguard-go, ${mode.name}: CPU of start and ${COUNTED_CONNECTS} connects`;
  note(figure(what, "s", all, { atMost: 0.35 }));
  note(figure(`${what}, in user space`, "s", user));
  note(figure(`${what}, of it start and warm-up`, "s", started));
}

/** This namespace, with the gateway, and that of the client. */
class Network implements AsyncDisposable {
  readonly #daemons: readonly Daemon[];
  readonly #sender: Sender;
  #tap: FirstDataTap | null = null;
  readonly #gateway: KeyPair;
  readonly #peers: readonly KeyPair[];

  static async create(peers: number): Promise<Network> {
    await $`ip link set lo up && mkdir -p ${FOLDER}`.quiet();
    const gateway = await startDaemon(GATEWAY, []);
    const separate = `mount -t tmpfs tmpfs ${FOLDER} && exec "$0" "$@"`;
    const client = await startDaemon(CLIENT, ["unshare", "--net", "--mount", "sh", "-c", separate]);
    const network = new Network([gateway, client], peers);
    await network.#configure(client.process.pid);
    return network;
  }

  private constructor(daemons: readonly [Daemon, Daemon], peers: number) {
    this.#daemons = daemons;
    this.#gateway = newKeys();
    this.#peers = Array.from({ length: peers }, newKeys);
    const shell = ["nsenter", "--target", String(daemons[1].process.pid), "--net", "bash"];
    this.#sender = Bun.spawn(shell, { stdin: "pipe", stdout: "ignore", stderr: "inherit" });
  }

  async #configure(clientPid: number): Promise<void> {
    await batch(
      [],
      [
        `link add ${CABLE} type veth peer name ${CABLE} netns ${clientPid}`,
        `addr add 192.0.2.1/24 dev ${CABLE}`,
        `link set ${CABLE} up`,
        `link set ${GATEWAY} up`,
        `route add 10.9.0.0/16 dev ${GATEWAY}`,
        "route replace local 10.8.0.0/16 dev lo",
      ],
    );
    // Another way out for each peer, from its own address.
    const routes = this.#peers.flatMap((_, peer) => [
      `addr add ${inner(9, peer)}/32 dev ${CLIENT}`,
      `route add ${inner(8, peer)}/32 dev ${CLIENT} src ${inner(9, peer)}`,
    ]);
    await batch(
      ["nsenter", "--target", String(clientPid), "--net"],
      [
        "link set lo up",
        `addr add 192.0.2.2/24 dev ${CABLE}`,
        `link set ${CABLE} up`,
        `link set ${CLIENT} up`,
        ...routes,
      ],
    );
    await this.#daemons[0]!.set(
      `private_key=${hex(this.#gateway.privateKey)}`,
      `listen_port=${PORT}`,
      ...this.#peers.flatMap(({ publicKey }, peer) => [
        `public_key=${hex(publicKey)}`,
        `allowed_ip=${inner(9, peer)}/32`,
      ]),
    );
    this.#tap = new FirstDataTap(CABLE, PORT);
  }

  /** The client becomes this peer and sends a datagram; in how many ms the connect was reported. */
  async connect(peer: number, receiver: Receiver): Promise<number> {
    const { privateKey, publicKey } = this.#peers[peer]!;
    await this.#daemons[1]!.set(
      `private_key=${hex(privateKey)}`,
      `listen_port=${FIRST_CLIENT_PORT + peer}`,
      "replace_peers=true",
      `public_key=${hex(this.#gateway.publicKey)}`,
      `endpoint=192.0.2.1:${PORT}`,
      "allowed_ip=10.8.0.0/16",
    );
    this.#tap!.drain();
    void this.#sender.stdin.write(`echo >/dev/udp/${inner(8, peer)}/9\n`);
    void this.#sender.stdin.flush();
    const reported = await reportedAtMs(receiver, { publicKey }, PATIENCE_MS);
    return reported - this.#tap!.firstMs();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#tap?.[Symbol.dispose]();
    this.#sender.kill("SIGKILL");
    for (const { process } of this.#daemons) {
      process.kill("SIGTERM");
      await process.exited;
    }
    // The other end goes with its namespace, a little later.
    await $`ip link delete ${CABLE}`.nothrow().quiet();
  }
}

type Sender = Bun.Subprocess<"pipe", "ignore", "inherit">;

interface Daemon {
  readonly process: Bun.Subprocess;
  /** https://www.wireguard.com/xplatform/ */
  set(...lines: readonly string[]): Promise<void>;
}

async function startDaemon(name: string, prefix: readonly string[]): Promise<Daemon> {
  // It must not outlive a part that fails.
  const command = ["setpriv", "--pdeathsig", "KILL", ...prefix, "wireguard-go", "--foreground"];
  const child = Bun.spawn([...command, name], {
    stdio: ["ignore", "ignore", "ignore"],
    env: {
      ...process.env,
      LOG_LEVEL: "silent",
      // It asks that of who could have the kernel's.
      WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: "1",
    },
  });
  // An absolute link, as /var/run is, would lead to this namespace's.
  const path = `/proc/${child.pid}/root${realpathSync(FOLDER)}/${name}.sock`;
  await until("wireguard-go has made its device", async () => {
    if (child.exitCode !== null) throw new Error("wireguard-go ended");
    return await Bun.file(path)
      .stat()
      .then(
        () => true,
        () => false,
      );
  });
  return { process: child, set: (...lines) => ask(path, `set=1\n${lines.join("\n")}\n\n`) };
}

async function ask(unix: string, request: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = "";
  const socket = await Bun.connect({
    unix,
    socket: {
      data(_socket, bytes) {
        text += bytes.toString();
        if (text.endsWith("\n\n")) resolve(text);
      },
      close: () => reject(new Error(`wireguard-go closed its socket; it said: ${text}`)),
    },
  });
  let rest = Buffer.from(request);
  while ((rest = rest.subarray(socket.write(rest))).length > 0) await Bun.sleep(1);
  const answer = await promise;
  socket.end();
  if (answer !== "errno=0\n\n") throw new Error(`wireguard-go: ${answer.trim()}`);
}

async function batch(prefix: readonly string[], lines: readonly string[]): Promise<void> {
  await $`${prefix} ip -batch - < ${Buffer.from(lines.join("\n"))}`.quiet();
}

function hex(base64: string): string {
  return Buffer.from(base64, "base64").toString("hex");
}

/** Its peer's address in one of the two inner networks. */
function inner(network: number, peer: number): string {
  return `10.${network}.${1 + (peer >> 8)}.${peer & 255}`;
}
