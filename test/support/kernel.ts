/**
 * Checks whether the machine has what a test needs. A test that cannot run is skipped with the reason in its
 * title. With WGMON_KERNEL_TESTS=require it fails instead, so that CI cannot pass without these tests.
 */

import { readFileSync, readlinkSync } from "node:fs";

type Program =
  | "wireguard-go"
  | "ip"
  | "unshare"
  | "wg"
  | "nft"
  | "tc"
  | "ping"
  | "gcc"
  | "bash"
  | "setpriv"
  | "prlimit"
  | "nsenter";

/**
 * - `root`: root, for tests that change nothing outside their folders and processes.
 * - `own network`: root, not in the machine's own network namespace.
 * - `own namespaces`: root, in the network and mount namespaces that test/run.ts creates for files of test/netns. It
 *   sets WGMON_TEST_NAMESPACES to their names.
 * - `namespaces`: root that can create network and mount namespaces.
 * - `tunnel`: root that can create a tun device.
 * - `wireguard`: root that can create a WireGuard device.
 * - The name of a program in PATH.
 */
export type Need =
  "root" | "own network" | "own namespaces" | "namespaces" | "tunnel" | "wireguard" | Program;

export interface Needs {
  /** For describe.skipIf. */
  readonly missing: boolean;
  title(name: string): string;
}

/** @throws if something is missing and WGMON_KERNEL_TESTS=require is set. */
export function needs(...wanted: readonly Need[]): Needs {
  return skipIf(...wanted.map(whyMissing));
}

/**
 * For needs that `needs` does not know.
 *
 * @param maybeReasons null: this need is met.
 * @throws if there is a reason and WGMON_KERNEL_TESTS=require is set.
 */
export function skipIf(...maybeReasons: readonly (string | null)[]): Needs {
  const reasons = maybeReasons.filter((reason) => reason !== null);
  if (reasons.length > 0 && process.env["WGMON_KERNEL_TESTS"] === "require") {
    throw new Error(`WGMON_KERNEL_TESTS=require, but: ${reasons.join("; ")}`);
  }
  const note = reasons.length > 0 ? ` [skipped: ${reasons.join("; ")}]` : "";
  return { missing: reasons.length > 0, title: (name) => name + note };
}

const conditions: ReadonlyMap<Need, () => string | null> = new Map([
  ["root", whyNotRoot],
  ["own network", () => whyNotRoot() ?? whyNotOwnNetwork()],
  ["own namespaces", () => whyNotRoot() ?? whyNotOwnNamespaces()],
  ["namespaces", whyNoNamespaces],
  ["tunnel", whyNoTunnel],
  ["wireguard", whyNoWireguard],
]);

function whyMissing(need: Need): string | null {
  const condition = conditions.get(need);
  if (condition !== undefined) return condition();
  return Bun.which(need) === null ? `no ${need} here` : null;
}

function whyNotRoot(): string | null {
  return process.getuid?.() === 0 ? null : "not root";
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

function whyNotOwnNamespaces(): string | null {
  const own = ["net", "mnt"].map((name) => readlinkSync(`/proc/self/ns/${name}`));
  if (process.env["WGMON_TEST_NAMESPACES"] === own.join("\n")) return null;
  return whyNoNamespaces() ?? "not in namespaces of its own; start: bun test/run.ts --only netns";
}

/** Why a test must not set the clock or unload modules; null in the virtual machine of vm.ts. */
export function whyNotOurMachine(): string | null {
  return /guest=\S*\/wgmon-vm-/.test(readFileSync("/proc/cmdline", "utf8"))
    ? null
    : "a test must not change this machine's clock and modules; start: bun test/support/vm.ts -- bun test/run.ts --only real-kernel/faults";
}

/** Why this process cannot create network and mount namespaces; null if it can. */
export function whyNoNamespaces(): string | null {
  return whyFails("cannot create namespaces", "unshare --net --mount ip link set lo up");
}

/** Why this process cannot create a WireGuard device; null if it can. Tries it in a temporary network namespace. */
export function whyNoWireguard(): string | null {
  const probe = "unshare --net ip link add wgmon-probe type wireguard";
  const reason = whyFails("cannot create a WireGuard device", probe);
  return /Unknown device type/.test(reason ?? "")
    ? "no wireguard module; try: modprobe wireguard"
    : reason;
}

/** Why this process cannot create a device of wireguard-go; null if it can. */
export function whyNoUserspaceWireguard(): string | null {
  return whyNoTunnel() ?? whyMissing("wireguard-go");
}

/** Why this process cannot create a tun device in a new network namespace; null if it can. */
export function whyNoTunnel(): string | null {
  const probe = "unshare --net ip tuntap add dev wgmon-probe mode tun";
  return whyFails("cannot create a tun device", probe);
}

/** Runs a command of unshare and ip. Returns null if it succeeds, otherwise the reason. */
function whyFails(failure: string, command: string): string | null {
  const missing = whyNotRoot() ?? whyMissing("ip") ?? whyMissing("unshare");
  if (missing !== null) return missing;
  const { exitCode, stderr } = Bun.spawnSync(command.split(" "), { stderr: "pipe" });
  return exitCode === 0 ? null : `${failure}: ${stderr.toString().trim()}`;
}
