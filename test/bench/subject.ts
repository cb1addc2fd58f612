/** Starts wgmon for benchmarks: after its warm-up, with the default log level, with or without firewall rules. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { $ } from "bun";

import { buildFlags } from "../../build.ts";
import type { Receiver } from "../support/receiver.ts";
import { cpuSeconds } from "../support/usage.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";
import type { Gateway } from "./gateways/gateway.ts";
import { KernelGateway } from "./gateways/kernel.ts";
import { PlayedGateway } from "./gateways/played.ts";

/** The binary to measure; default: ./wgmon. */
export const BINARY = process.env["WGMON_TEST_BINARY"] ?? join(import.meta.dir, "../../wgmon");

/** With the environment that wgmon.service sets. */
export const OPTIONS = { binary: BINARY, environment: { MIMALLOC_PURGE_HOLES: "0" } } as const;

/** Time for the effects of the reload in `startWarm` to end. */
const SETTLE_MS = 1000;
const PATIENCE_MS = 60_000;

/** kernel: the kernel's WireGuard; played: a simulated userspace device. */
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

/** A way in which packets wake wgmon. */
export interface Mode {
  readonly name: string;
  /** plain: logs every packet to the port; printed: the rules of `wgmon rules`. */
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

/** The arguments of a mode if peers do not use the loopback interface. */
export const onAllInterfaces = (mode: Mode, port: number): readonly string[] =>
  mode.args(port).map((word) => (word === "lo" ? "any" : word));

/**
 * Loads firewall rules for the existing devices of this network namespace; disposing removes them. Both kinds can be
 * loaded at the same time, because they log to different groups.
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
 * Starts wgmon and waits for the end of its warm-up, which only the debug log reports. Then a reload sets the log level
 * back to info, the default.
 */
export async function startWarm(...args: readonly string[]): Promise<Wgmon> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-bench-"));
  try {
    const settings = join(folder, "wgmon.toml");
    await Bun.write(settings, 'log_level = "debug"\n');
    const wgmon = startWgmon([...args, "--config", settings], OPTIONS);
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
 * Builds an empty program with wgmon's flags, except the JIT policy, which makes wgmon start faster. It prints "ready"
 * and then waits. Resolves with its path.
 */
export async function buildBare(folder: string): Promise<string> {
  const bare = join(folder, "bare");
  await Bun.write(`${bare}.ts`, `console.error("ready"); setInterval(() => {}, 1e6);\n`);
  const flags = buildFlags.filter((flag) => !flag.startsWith("--compile-jit-policy"));
  const build = [process.execPath, "build", ...flags, `${bare}.ts`, "--outfile", bare];
  if (Bun.spawnSync(build).exitCode !== 0) throw new Error("the bare program cannot be built");
  return bare;
}

/** Processor time in seconds that a process uses while `action` runs. */
export async function cpuOf(pid: number, action: () => Promise<unknown>): Promise<number> {
  const before = cpuSeconds(pid);
  await action();
  return cpuSeconds(pid) - before;
}

/** Number of scans so far that packets have caused. The log level must be debug. */
export const packetScans = ({ log }: Wgmon): number =>
  log.filter(({ msg, reason }) => msg === "scan" && reason === "packet").length;

/** Arrival of the peer's connect event at the receiver, wall clock in ms; NaN after the timeout. */
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
