/**
 * A network namespace with simulated userspace WireGuard devices whose peers a test controls, and with webhook
 * receivers. Needs root, ip, unshare and nsenter.
 */

import { dlopen } from "bun:ffi";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Receiver } from "./receiver.ts";
import { untilRuns } from "./until.ts";
import { startWgmon, type Wgmon, type WgmonOptions } from "./wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");
/** Size of one data message. */
const DATA_BYTES = 96;
/** Handshakes are renewed after this time, before the session expires. */
const REKEY_MS = 100_000;

/** Why this process cannot create a stage; null if it can. */
export function whyNoStage(): string | null {
  if (process.getuid?.() !== 0) return "not root";
  const missing = ["ip", "unshare", "nsenter"].filter((program) => Bun.which(program) === null);
  if (missing.length > 0) return `no ${missing.join(", ")} here`;
  const { exitCode, stderr } = Bun.spawnSync(["unshare", "--net", "--mount", "true"]);
  return exitCode === 0 ? null : `cannot create a network namespace: ${stderr.toString().trim()}`;
}

export class Stage implements AsyncDisposable {
  readonly #folder: string;
  /** This process keeps the namespaces open. */
  readonly #holder: Bun.Subprocess;
  readonly #namespaces: readonly string[];

  /** @param isContainer creates a user namespace too, so that root on the stage is not root on the machine. */
  static async create({ isContainer = false } = {}): Promise<Stage> {
    const folder = await mkdtemp(join(tmpdir(), "wgmon-stage-"));
    const namespaces = ["--net", "--mount", ...(isContainer ? ["--user"] : [])];
    const root = isContainer ? ["--map-root-user"] : [];
    const holder = Bun.spawn(["unshare", ...namespaces, ...root, "sleep", "3600"]);
    await untilRuns(holder.pid, "sleep");
    const stage = new Stage(folder, holder, namespaces);
    // Network namespaces share the folder of the sockets; these mounts make it private.
    await stage.run(`
      mount -t tmpfs none "$(readlink -f /var/run)"
      mkdir /var/run/wireguard
      mount --bind ${folder} /var/run/wireguard
      ip link set lo up`);
    return stage;
  }

  private constructor(folder: string, holder: Bun.Subprocess, namespaces: readonly string[]) {
    this.#folder = folder;
    this.#holder = holder;
    this.#namespaces = namespaces;
  }

  /** The command that runs `command` on the stage. */
  command(...command: readonly string[]): string[] {
    return ["nsenter", "--target", String(this.#holder.pid), ...this.#namespaces, ...command];
  }

  async run(script: string): Promise<string> {
    const child = Bun.spawn(this.command("sh", "-euc", script), { stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if ((await child.exited) !== 0) throw new Error(`${script}: ${stderr.trim()}`);
    return stdout;
  }

  async device(name: string, port = 51820): Promise<PlayedDevice> {
    await this.run(`ip link add ${name} type veth peer name ${name}end`);
    return new PlayedDevice(this, { name, path: join(this.#folder, `${name}.sock`), port });
  }

  wgmon(args: readonly string[], options: WgmonOptions = {}): Wgmon {
    const [nsenter, ...rest] = this.command(BINARY, ...args);
    return startWgmon(rest, { ...options, binary: nsenter! });
  }

  receiver(): Receiver {
    return this.inside(() => new Receiver());
  }

  /** A sender of datagrams to a port of the stage, where a socket receives and ignores them. */
  async sender(port: number): Promise<Sender> {
    const hostname = "127.0.0.1";
    const sink = await this.inside(() => Bun.udpSocket({ hostname, port }));
    return new Sender(await this.inside(() => Bun.udpSocket({ hostname })), sink);
  }

  /**
   * Runs `open` while this thread is in the stage's network namespace: sockets that it opens belong to that namespace.
   * setns(2)
   */
  inside<Result>(open: () => Result): Result {
    const libc = dlopen("libc.so.6", { setns: { args: ["i32", "i32"], returns: "i32" } });
    const ownNamespace = openSync("/proc/thread-self/ns/net", "r");
    const stageNamespace = openSync(`/proc/${this.#holder.pid}/ns/net`, "r");
    try {
      if (libc.symbols.setns(stageNamespace, 0) !== 0) throw new Error("setns");
      return open();
    } finally {
      libc.symbols.setns(ownNamespace, 0);
      closeSync(ownNamespace);
      closeSync(stageNamespace);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
    await rm(this.#folder, { recursive: true });
  }
}

export class Sender implements Disposable {
  readonly #socket: Bun.udp.Socket<"buffer">;
  readonly #sink: Bun.udp.Socket<"buffer">;

  constructor(socket: Bun.udp.Socket<"buffer">, sink: Bun.udp.Socket<"buffer">) {
    this.#socket = socket;
    this.#sink = sink;
  }

  send(datagram: Uint8Array): void {
    this.#socket.send(datagram, this.#sink.port, "127.0.0.1");
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    this.#sink.close();
  }
}

interface PlayedPeer {
  handshakeMs: number;
  rxBytes: number;
  port: number;
  /** While true, rxBytes grows with each scan. */
  talks: boolean;
}

/** The part of an answer that the socket has not accepted yet. */
interface Answering {
  readonly rest: Uint8Array;
}

function flush(socket: Bun.Socket<Answering>): void {
  const { rest } = socket.data;
  const written = socket.write(rest);
  if (written === rest.length) socket.end();
  else socket.data = { rest: rest.subarray(Math.max(0, written)) };
}

/** A simulated device. A peer is identified by a number, which is its public key. */
export class PlayedDevice implements AsyncDisposable {
  readonly #stage: Stage;
  readonly #name: string;
  readonly #port: number;
  readonly #peers = new Map<number, PlayedPeer>();
  readonly #server: Bun.UnixSocketListener<Answering>;
  /** Number of open connections: their clients have not read the whole answer yet. */
  #unread = 0;

  constructor(stage: Stage, { name, path, port }: { name: string; path: string; port: number }) {
    this.#stage = stage;
    this.#name = name;
    this.#port = port;
    const answer = () => this.#answer();
    this.#server = Bun.listen<Answering>({
      unix: path,
      socket: {
        open: () => void this.#unread++,
        close: () => void this.#unread--,
        data(socket) {
          socket.data = { rest: Buffer.from(answer()) };
          flush(socket);
        },
        drain: flush,
      },
    });
  }

  /** Whether wgmon has started a scan and not read the whole answer yet. */
  get isBeingScanned(): boolean {
    return this.#unread > 0;
  }

  /** The peers complete a handshake, then send nothing until `talk`. */
  connect(...peers: readonly number[]): void {
    for (const peer of peers) {
      const { rxBytes = 0, port = 1000 + peer } = this.#peers.get(peer) ?? {};
      const handshakeMs = Date.now();
      this.#peers.set(peer, { handshakeMs, rxBytes: rxBytes + 180, port, talks: false });
    }
  }

  talk(...peers: readonly number[]): void {
    for (const peer of peers) this.#peers.get(peer)!.talks = true;
  }

  fallSilent(...peers: readonly number[]): void {
    for (const peer of peers) this.#peers.get(peer)!.talks = false;
  }

  roam(...peers: readonly number[]): void {
    for (const number of peers) {
      const peer = this.#peers.get(number)!;
      peer.port += 1000;
      peer.rxBytes += DATA_BYTES;
    }
  }

  remove(...peers: readonly number[]): void {
    for (const peer of peers) this.#peers.delete(peer);
  }

  #answer(): string {
    const nowMs = Date.now();
    const lines = [`listen_port=${this.#port}`];
    for (const [number, peer] of this.#peers) {
      if (peer.talks) {
        peer.rxBytes += DATA_BYTES;
        if (nowMs - peer.handshakeMs > REKEY_MS) peer.handshakeMs = nowMs;
      }
      lines.push(
        `public_key=${number.toString(16).padStart(64, "0")}`,
        `endpoint=192.0.2.1:${peer.port}`,
        `last_handshake_time_sec=${Math.floor(peer.handshakeMs / 1000)}`,
        `last_handshake_time_nsec=${(peer.handshakeMs % 1000) * 1_000_000}`,
        `rx_bytes=${peer.rxBytes}`,
        "tx_bytes=0",
        `allowed_ip=10.0.${number >> 8}.${number & 255}/32`,
      );
    }
    return `${lines.join("\n")}\nerrno=0\n\n`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.stop(true);
    await this.#stage.run(`ip link delete ${this.#name}`);
  }
}

/** One text for each received event: `connected 1` with the number of the peer, `added wg0` for a device. */
export function story({ requests }: Receiver): string[] {
  return requests.map(({ event }) => {
    const { type, data } = event!;
    const [, what] = type.split(".");
    if (!("peer" in data)) return `${what} ${data.device}`;
    const number = Number(`0x${Buffer.from(data.peer.publicKey, "base64").toString("hex")}`);
    return `${what} ${number}`;
  });
}
