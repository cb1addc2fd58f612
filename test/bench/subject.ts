/** wgmon as benchmarks measure it: warmed up, logging as it does for its users, with or without rules. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";

import { buildFlags } from "../../build.ts";
import type { Gateway } from "../support/gateway.ts";
import { KernelGateway } from "../support/kernel-gateway.ts";
import { PlayedGateway } from "../support/played-gateway.ts";
import type { Receiver } from "../support/receiver.ts";
import { cpuSeconds } from "../support/usage.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

/** Another build to measure; left out: ./wgmon. */
export const BINARY = process.env["WGMON_TEST_BINARY"] ?? join(import.meta.dir, "../../wgmon");

/** What the reload that ends the warm-up leaves behind. */
const SETTLE_MS = 1000;
const PATIENCE_MS = 60_000;

/** kernel: the kernel's own WireGuard; played: a userspace device that the benchmark plays. */
export const GATEWAYS = ["kernel", "played"] as const;
export type GatewayKind = (typeof GATEWAYS)[number];

export async function openGateway(kind: GatewayKind): Promise<Gateway> {
  switch (kind) {
    case "kernel":
      return await KernelGateway.create();
    case "played":
      return await PlayedGateway.create();
  }
}

/** A way to be woken. */
export interface Mode {
  readonly name: string;
  /** plain: logs every packet to the port; printed: what `wgmon rules` makes. */
  readonly rules: "none" | "plain" | "printed";
  args(port: number): readonly string[];
}

const nflog = ["--monitor", "nflog"];
const bpf = ["--monitor", "bpf", "--interface", "lo"];

export const MODES: Readonly<Record<"bpf" | "printed" | "plain" | "filter", Mode>> = {
  bpf: { name: "bpf", rules: "none", args: () => bpf },
  printed: { name: "nflog, printed rules", rules: "printed", args: () => nflog },
  plain: { name: "nflog, plain rule", rules: "plain", args: () => [...nflog, "--group", "2"] },
  filter: {
    name: "bpf, --filter 'udp and dst port PORT'",
    rules: "none",
    args: (port) => [...bpf, "--filter", `udp and dst port ${port}`],
  },
};

/** The arguments where peers do not come by the loopback. */
export const onAllInterfaces = (mode: Mode, port: number): readonly string[] =>
  mode.args(port).map((word) => (word === "lo" ? "any" : word));

/**
 * Rules of this network namespace, for the devices that are there; until it is disposed. Both kinds may be there
 * at a time: they log to different groups.
 */
export async function installRules(
  rules: Mode["rules"],
  { port }: Pick<Gateway, "port">,
): Promise<AsyncDisposable> {
  if (rules === "printed") await $`${BINARY} rules --install`.quiet();
  if (rules === "plain") {
    const text = `table inet plain {
      chain input {
        type filter hook input priority 10; policy accept;
        udp dport ${port} log group 2 snaplen 192
      }
    }`;
    await $`nft -f - < ${Buffer.from(text)}`.quiet();
  }
  return {
    async [Symbol.asyncDispose]() {
      if (rules === "printed") await $`nft delete table inet wgmon`.quiet();
      if (rules === "plain") await $`nft delete table inet plain`.quiet();
    },
  };
}

/**
 * Starts wgmon and waits until its warm-up is over, which only the debug log tells; from then on it
 * logs as it does for its users.
 */
export async function startWarm(...args: readonly string[]): Promise<Wgmon> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-bench-"));
  try {
    const settings = join(folder, "wgmon.toml");
    await Bun.write(settings, 'log_level = "debug"\n');
    const wgmon = startWgmon([...args, "--config", settings], { binary: BINARY });
    await wgmon.waitForLog(({ msg }) => msg === "warm", PATIENCE_MS);
    await Bun.write(settings, 'log_level = "info"\n');
    wgmon.signal("SIGHUP");
    await wgmon.waitForLog(({ msg }) => msg === "settings reloaded", PATIENCE_MS);
    await Bun.sleep(SETTLE_MS);
    return wgmon;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/**
 * An empty program, built as wgmon is but for the policy of the compiler, which is there to start
 * faster. It says ready, and then waits.
 */
export async function buildBare(folder: string): Promise<string> {
  const bare = join(folder, "bare");
  await Bun.write(`${bare}.ts`, `console.error("ready"); setInterval(() => {}, 1e6);\n`);
  const flags = buildFlags.filter((flag) => !flag.startsWith("--compile-jit-policy"));
  const build = [process.execPath, "build", ...flags, `${bare}.ts`, "--outfile", bare];
  if (Bun.spawnSync(build).exitCode !== 0) throw new Error("the bare program cannot be built");
  return bare;
}

/** Processor seconds of the process while `action` goes on. */
export async function cpuOf(pid: number, action: () => Promise<unknown>): Promise<number> {
  const before = cpuSeconds(pid);
  await action();
  return cpuSeconds(pid) - before;
}

/** How many scans packets have caused so far; the log level must be debug. */
export const packetScans = ({ log }: Wgmon): number =>
  log.filter(({ msg, reason }) => msg === "scan" && reason === "packet").length;

/** When the peer's connect was reported, on the wall clock; NaN: not within the time. */
export async function reportedAtMs(
  receiver: Receiver,
  { publicKey }: { readonly publicKey: string },
  timeoutMs: number,
): Promise<number> {
  const find = () =>
    receiver.requests.find(
      ({ body }) => body.includes('"peer.connected"') && body.includes(publicKey),
    );
  try {
    await receiver.waitFor(() => find() !== undefined, timeoutMs);
    return find()!.atMs;
  } catch {
    return NaN;
  }
}
