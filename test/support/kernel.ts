/**
 * Checks whether the machine has what a kernel test needs. A test that cannot run is skipped with the reason in its
 * title. With WGMON_KERNEL_TESTS=require it fails instead, so that CI cannot pass without these tests.
 */

import { readFileSync, readlinkSync } from "node:fs";

/** "root", "wireguard" (the kernel module), or a program in PATH. */
export type Need =
  "root" | "wireguard" | "wireguard-go" | "ip" | "wg" | "nft" | "tc" | "ping" | "gcc";

export interface Needs {
  /** For describe.skipIf. */
  readonly missing: boolean;
  title(name: string): string;
}

/** @throws if something is missing and WGMON_KERNEL_TESTS=require is set. */
export function needs(...wanted: readonly Need[]): Needs {
  const reasons = wanted.map(whyMissing).filter((reason) => reason !== null);
  if (reasons.length > 0 && process.env["WGMON_KERNEL_TESTS"] === "require") {
    throw new Error(`WGMON_KERNEL_TESTS=require, but: ${reasons.join("; ")}`);
  }
  const note = reasons.length > 0 ? ` [skipped: ${reasons.join("; ")}]` : "";
  return { missing: reasons.length > 0, title: (name) => name + note };
}

function whyMissing(need: Need): string | null {
  switch (need) {
    case "root":
      if (process.getuid?.() !== 0) return "not root";
      return whyNotOwnNetwork();
    case "wireguard":
      return whyNoWireguard();
    case "wireguard-go":
    case "ip":
    case "wg":
    case "nft":
    case "tc":
    case "ping":
    case "gcc":
      return Bun.which(need) === null ? `no ${need} here` : null;
  }
}

/** If the namespace cannot be determined, the test is skipped, so that it never changes the machine's network. */
function whyNotOwnNetwork(): string | null {
  try {
    return readlinkSync("/proc/self/ns/net") === readlinkSync("/proc/1/ns/net")
      ? "this is the machine's own network; start: bun test/run.ts"
      : null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return `cannot tell whether this is the machine's own network: /proc/1/ns/net gives ${code}`;
  }
}

/** Why a test must not set the clock or unload modules; null in the virtual machine of vm.ts. */
export function whyNotOurMachine(): string | null {
  return /guest=\S*\/wgmon-vm-/.test(readFileSync("/proc/cmdline", "utf8"))
    ? null
    : "a test must not change this machine's clock and modules; start: bun test/support/vm.ts -- bun test/run.ts --only real-kernel/faults";
}

/** Why this process cannot create a WireGuard device; null if it can. Tries it in a temporary network namespace. */
export function whyNoWireguard(): string | null {
  if (process.getuid?.() !== 0) return "not root";
  const probe = ["unshare", "--net", "ip", "link", "add", "wgmon-probe", "type", "wireguard"];
  if (Bun.which("unshare") === null || Bun.which("ip") === null) return "no unshare or ip here";
  const { exitCode, stderr } = Bun.spawnSync(probe, { stderr: "pipe" });
  if (exitCode === 0) return null;
  const complaint = stderr.toString().trim();
  return /Unknown device type/.test(complaint)
    ? "no wireguard module; try: modprobe wireguard"
    : `cannot create a WireGuard device: ${complaint}`;
}

/** Why this process cannot create a tun device in a new network namespace; null if it can. */
export function whyNoTunnel(): string | null {
  if (process.getuid?.() !== 0) return "not root";
  const probe = ["unshare", "--net", "ip", "tuntap", "add", "dev", "wgmon-probe", "mode", "tun"];
  if (Bun.which("unshare") === null || Bun.which("ip") === null) return "no unshare or ip here";
  const { exitCode, stderr } = Bun.spawnSync(probe, { stderr: "pipe" });
  return exitCode === 0 ? null : `cannot create a tun device: ${stderr.toString().trim()}`;
}
