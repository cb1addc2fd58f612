/** `wgmon doctor`: checks the WireGuard devices of this network namespace. */

import { type Finding, ok, problem, warning } from "../../base/check.ts";
import { counted } from "../../base/text.ts";
import type { PublicKey } from "../../base/wireguard.ts";
import { Devices } from "../../kernel/devices.ts";
import { isLinkUp } from "../../kernel/links.ts";
import { NetlinkSocket } from "../../kernel/netlink-socket.ts";
import { listUserspaceDevices } from "../../kernel/userspace-device.ts";
import { NETLINK_ROUTE } from "../../platform/constants.ts";
import { reasonOf } from "../../platform/run-check.ts";

/** The results of a scan that the checks need. */
export interface DeviceSurvey {
  readonly devices: readonly DeviceFacts[];
  /** Devices that could not be read, with the reasons. */
  readonly problems: readonly string[];
}

export interface DeviceFacts {
  readonly name: string;
  /** 0: the device does not listen. */
  readonly listenPort: number;
  readonly isUp: boolean;
  /** Whether the device has a private key; null: a userspace device, whose key is not requested. */
  readonly hasKey: boolean | null;
  readonly peers: number;
  /** Wall clock of the last completed handshake of any peer; null if there was none yet. */
  readonly newestHandshakeMs: number | null;
  /** The public keys of the peers. */
  readonly publicKeys: readonly PublicKey[];
}

/** @param wanted device names; empty: all. Never rejects: see `problems`. */
export async function surveyDevices(wanted: readonly string[]): Promise<DeviceSurvey> {
  try {
    using devices = new Devices(wanted);
    using links = new NetlinkSocket(NETLINK_ROUTE);
    const { problems } = await devices.scan("list");
    const userspaceNames = new Set(listUserspaceDevices().map(({ name }) => name));
    const facts = devices.lastScanned.map(({ name, listenPort, publicKey }): DeviceFacts => {
      const peers = devices.peers(name);
      return {
        name,
        listenPort,
        isUp: isLinkUp(links, name) === true,
        hasKey: userspaceNames.has(name) ? null : publicKey !== null,
        peers: peers.length,
        newestHandshakeMs: peers.reduce<number | null>(
          (newest, { lastHandshakeMs: at }) => (at === null || (newest ?? 0) > at ? newest : at),
          null,
        ),
        publicKeys: peers.map(({ publicKey: key }) => key),
      };
    });
    return { devices: facts, problems: problems.map(reasonOf) };
  } catch (error) {
    return { devices: [], problems: [reasonOf(error)] };
  }
}

/** @param wanted device names; empty: all. */
export function judgeDevices(
  { devices, problems }: DeviceSurvey,
  wanted: readonly string[],
): Finding[] {
  const missing = wanted.filter((name) => !devices.some((device) => device.name === name));
  const findings = [
    ...devices.map(judgeDevice),
    ...problems.map((reason) =>
      problem(reason, "run this as root, in the network namespace of the device"),
    ),
  ];
  if (problems.length === 0) {
    findings.push(
      ...missing.map((name) =>
        problem(
          `there is no WireGuard device ${name} in this network namespace`,
          `wg-quick up ${name}, or --device with another name`,
        ),
      ),
    );
  }
  if (findings.length > 0) return findings;
  return [
    warning(
      "there is no WireGuard device in this network namespace; wgmon will wait for one",
      "wg-quick up wg0, or start wgmon in the network namespace of the device",
    ),
  ];
}

function judgeDevice({ name, listenPort, isUp, hasKey, peers }: DeviceFacts): Finding {
  if (hasKey === false) {
    return problem(`${name} has no private key`, `wg set ${name} private-key FILE`);
  }
  if (!isUp) return problem(`${name} is down`, `ip link set ${name} up`);
  if (listenPort === 0) {
    return problem(`${name} has no listen port`, `wg set ${name} listen-port 51820`);
  }
  const found = `${name} listens on port ${listenPort} and has ${counted(peers, "peer")}`;
  return peers === 0 ? warning(found, `wg set ${name} peer KEY allowed-ips ADDRESS`) : ok(found);
}
