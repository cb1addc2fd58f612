/**
 * A network namespace with fake userspace WireGuard devices and webhook receivers. For `needs("namespaces",
 * "nsenter")`.
 */

import { dlopen } from "bun:ffi";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { FakeUapiDevice, numberOf } from "./fake-uapi-device.ts";
import { Receiver } from "./receiver.ts";
import { runScript } from "./script.ts";
import { untilRuns } from "./until.ts";
import { startWgmon, type Wgmon, type WgmonOptions } from "./wgmon.ts";

const BINARY = join(import.meta.dir, "../../wgmon");

export class Stage implements AsyncDisposable {
  /** For files; also the folder of the UAPI sockets on the stage. */
  readonly folder: string;
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
    this.folder = folder;
    this.#holder = holder;
    this.#namespaces = namespaces;
  }

  /** The command that runs `command` on the stage. */
  command(...command: readonly string[]): string[] {
    return ["nsenter", "--target", String(this.#holder.pid), ...this.#namespaces, ...command];
  }

  async run(script: string): Promise<string> {
    return await runScript(script, this.command());
  }

  async device(name: string, port = 51820): Promise<FakeUapiDevice> {
    const run = (script: string) => this.run(script);
    return await FakeUapiDevice.create(name, { port, folder: this.folder, run });
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
    await rm(this.folder, { recursive: true });
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

/** One text for each received event: `connected 1` with the number of the peer, `added wg0` for a device. */
export function story({ requests }: Receiver): string[] {
  return requests.map(({ event }) => {
    const { type, data } = event!;
    const [, what] = type.split(".");
    if (!("session" in data)) return `${what} ${"device" in data ? data.device : ""}`;
    return `${what} ${numberOf(data.peer.publicKey)}`;
  });
}
