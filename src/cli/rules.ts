/** `wgmon rules`: prints, installs or removes the firewall rules for the existing devices. */

import { isUnreadable, SystemError } from "../base/errors.ts";
import type { RulesAction } from "../config/command-requests.ts";
import { iptablesRules, nftRules, tableName } from "../firewall/nft-rules.ts";
import { installRules, removeRules, type RunOptions } from "../firewall/nft.ts";
import type { Devices } from "../kernel/devices.ts";

export interface RulesRequest {
  readonly action: RulesAction;
  /** Device names; empty: all devices. */
  readonly devices: readonly string[];
  readonly group: number;
}

interface Options extends RunOptions {
  /** The devices that the request names, or all. */
  readonly devices: Pick<Devices, "scan">;
  /** Prints one line, without its newline. */
  readonly print: (line: string) => void;
  /** Prints one line to standard error, so that it is not part of the rules. Also without its newline. */
  readonly warn: (text: string) => void;
}

/** Returns the exit code. 1: the action failed, and no rules were printed or changed. */
export async function runRules(request: RulesRequest, options: Options): Promise<number> {
  const { action, group } = request;
  const { print, warn } = options;
  const printLines = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .forEach((line) => print(line));
  try {
    if (action === "remove") {
      if (await removeRules(group, options)) print(`removed table ${tableName(group)}`);
      return 0;
    }
    const ports = await findPorts(request, options);
    if (ports === null) return 1;
    switch (action) {
      case "nft":
        printLines(nftRules({ ports, group }));
        return 0;
      case "iptables":
        printLines(iptablesRules({ ports, group }));
        return 0;
      case "install": {
        await installRules({ ports, group }, options);
        const where = `port${ports.length === 1 ? "" : "s"} ${ports.join(", ")}`;
        print(
          `loaded table ${tableName(group)}: handshakes to ${where} are logged to NFLOG group ${group}`,
        );
        print("a running wgmon with --monitor auto uses the rules after a restart");
        return 0;
      }
    }
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    warn(`wgmon: ${error.message}`);
    return 1;
  }
}

/**
 * The listen ports of the devices, in ascending order; null: not all ports are known. Rules without one of them would
 * not log the handshakes of its device.
 */
async function findPorts(request: RulesRequest, options: Options): Promise<number[] | null> {
  const { warn } = options;
  const { devices: scans, problems } = await options.devices.scan("list");
  for (const problem of problems) {
    if (!isUnreadable(problem)) throw problem;
    warn(`wgmon: ${problem.message}`);
  }
  if (problems.length > 0) return null;

  const found = scans.map(({ device }) => device);
  const missing = request.devices.filter((wanted) => !found.some(({ name }) => name === wanted));
  for (const name of missing) {
    warn(`wgmon: there is no WireGuard device ${name} in this network namespace`);
  }
  const withoutPort = found.filter(({ listenPort }) => listenPort === 0);
  for (const { name } of withoutPort) {
    warn(`wgmon: ${name} has no listen port; give it a ListenPort and bring it up`);
  }
  const isIncomplete = request.devices.length > 0 && withoutPort.length > 0;
  if (missing.length > 0 || isIncomplete) return null;
  if (found.length === 0) warn("wgmon: there is no WireGuard device in this network namespace");
  if (withoutPort.length === found.length) return null;
  const ports = found.map(({ listenPort }) => listenPort).filter((port) => port !== 0);
  return [...new Set(ports)].toSorted((a, b) => a - b);
}
