/**
 * Where the forged packets of the benchmarks come from: another network namespace, by a veth pair. sender.ts has the
 * kinds of packets.
 */

import { join } from "node:path";

import { $ } from "bun";

import type { Gateway, RemotePeer } from "./gateways/gateway.ts";
import type { Kind } from "./sender.ts";

/** What compiles the code that floods run. */
export const WARM_UP = { kind: "mixed", count: 10_000, perSecond: 2000 } as const;
/** Guarded mode lasts 10 s longer than its flood. */
export const CALM_MS = 11_000;

export interface Flooded {
  readonly gateway: Gateway;
  readonly outside: Outside;
  readonly kind: Kind;
  readonly count: number;
  readonly perSecond: number;
  /** A connected peer, for `mixed`. */
  readonly victim: RemotePeer;
}

/** A network namespace that floods come from, by a veth pair. */
export class Outside implements AsyncDisposable {
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

export interface Sender extends AsyncDisposable {
  /** When it has sent all. */
  readonly finished: Promise<{ readonly sent: number; readonly seconds: number }>;
}

/** Resolves when it has begun to send. */
export async function startSender({
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
