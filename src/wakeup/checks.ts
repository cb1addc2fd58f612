/**
 * Checks whether packets will wake wgmon: the NFLOG group, the firewall rules, the capture interface, the filter. The
 * daemon and `wgmon doctor` use the same checks. They change nothing.
 */

import { networkInterfaces } from "node:os";

import { type Finding, ok, problem, skipped, warning } from "../base/check.ts";
import { ConfigError, SystemError } from "../base/errors.ts";
import { type Device, INITIATION_BYTES, MessageType } from "../base/wireguard.ts";
import { passes } from "../capture/bpf.ts";
import type { Monitor } from "../capture/capture.ts";
import { groupOwner } from "../capture/nflog.ts";
import { PROTOCOL_UDP } from "../capture/packet.ts";
import { tableName } from "../firewall/nft-rules.ts";
import { type FirewallsRead, readFirewalls } from "../firewall/read-firewalls.ts";
import { groupsOf, matchingLogRules } from "../firewall/ruleset.ts";
import { isLinkUp } from "../kernel/links.ts";
import { hasLegacyTables } from "../kernel/log-groups.ts";
import { NetlinkSocket } from "../kernel/netlink-socket.ts";
import { NETLINK_ROUTE } from "../platform/constants.ts";
import { readTextFile } from "../platform/files.ts";
import type { WakeUp, WakeUpSettings } from "./wakeup.ts";

/** Headers of IPv6 and UDP, and a data message up to the end of its counter. */
const SNAPLEN_MIN = 40 + 8 + 16;
/** Headers of IPv6 and UDP, and an initiation up to the end of its mac1. */
const SNAPLEN_FULL = 40 + 8 + INITIATION_BYTES - 16;

const IPV4_HEADER_BYTES = 20;
const UDP_HEADER_BYTES = 8;

// ---- All for one monitor ----

interface WakeUpContext {
  readonly monitor: Monitor;
  readonly settings: Pick<WakeUpSettings, "group" | "captureInterface" | "filter" | "manageRules">;
  readonly devices: readonly ListeningDevice[];
}

/** The checks that the daemon makes of the monitor it uses. */
export async function checkOwnWakeUp({
  monitor,
  settings,
  devices,
}: WakeUpContext): Promise<Finding[]> {
  const { group, captureInterface, filter, manageRules } = settings;
  switch (monitor) {
    case "nflog":
      return await checkRules({ group, isManaged: manageRules, isRunning: true, devices });
    case "bpf":
      return [
        // Problems only. The warning that peers may use another interface is a guess, so only `wgmon doctor` shows it.
        ...checkInterface(captureInterface).filter(({ verdict }) => verdict === "problem"),
        ...checkFilter(filter, captureInterface, devices),
      ];
    case "poll":
      return [];
  }
}

/** The finding for the monitor that `--monitor auto` chose: a warning for poll. */
export function judgeChoice({ monitor, reason }: WakeUp): Finding {
  const found = `${monitor}, chosen by auto: ${reason}`;
  if (monitor !== "poll") return ok(found);
  return warning(found, "give wgmon CAP_NET_RAW, or load rules: wgmon rules --install");
}

// ---- The group ----

/** @param isRunning whether a wgmon daemon answers on this machine. */
export function checkGroup(group: number, isRunning: boolean): Finding[] {
  try {
    return [judgeGroup({ group, owner: groupOwner(group), isRunning })];
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (error.code !== "ENOENT") return [skipped(error.message)];
    return [ok(`${group} is free; the kernel loads the module nfnetlink_log on demand`)];
  }
}

export function judgeGroup({
  group,
  owner,
  isRunning,
}: {
  readonly group: number;
  readonly owner: ReturnType<typeof groupOwner>;
  readonly isRunning: boolean;
}): Finding {
  if (owner === null) {
    return isRunning
      ? warning(
          `the running wgmon does not own ${group}`,
          "run wgmon doctor without flags; if this persists, restart wgmon",
        )
      : ok(`${group} is free`);
  }
  const { portId, program } = owner;
  if (program?.startsWith("wgmon") === true)
    return ok(`${group} is owned by wgmon, process ${portId}`);
  if (program === null && isRunning) return ok(`${group} is in use, as expected while wgmon runs`);
  const who = program === null ? "a program" : `process ${portId}, ${program},`;
  return problem(
    `${who} owns ${group}, and a group can have only one owner`,
    "stop that program, or choose another number with --group and in the rule",
  );
}

// ---- The rules ----

/** The properties of a device that the checks need. Port 0: it does not listen yet. */
export type ListeningDevice = Pick<Device, "name" | "listenPort">;

export interface RulesContext {
  readonly group: number;
  readonly isManaged: boolean;
  readonly isRunning: boolean;
  readonly devices: readonly ListeningDevice[];
}

/** @param limitMs time limit for the programs that list the rules. */
export async function checkRules(context: RulesContext, limitMs = 8000): Promise<Finding[]> {
  const signal = AbortSignal.timeout(limitMs);
  const firewalls = await readFirewalls(signal, hasLegacyTables());
  // Addresses of global scope: 00 in the fourth column.
  const addresses = readTextFile("/proc/self/net/if_inet6") ?? "";
  const hasIpv6 = /^\S+ \S+ \S+ 00 /m.test(addresses);
  return judgeRules(firewalls, { ...context, hasIpv6 });
}

export function judgeRules(
  { firewalls, unread }: FirewallsRead,
  context: RulesContext & { readonly hasIpv6: boolean },
): Finding[] {
  const { group, isManaged, isRunning, devices, hasIpv6 } = context;
  if (isManaged && !isRunning) {
    return [ok(`wgmon will load table ${tableName(group)} when it runs (manage-rules)`)];
  }
  const groups = groupsOf(firewalls);
  const load = isManaged
    ? "restart wgmon and read its log"
    : "wgmon rules --install, or --manage-rules";
  if (!groups.includes(group)) {
    if (unread.length > 0) return [skipped(unread[0]!)];
    if (firewalls.length === 0) return [skipped("neither nft nor iptables-save is installed")];
    const others =
      groups.length === 0
        ? ""
        : `; rules log to group${groups.length === 1 ? "" : "s"} ${groups.join(", ")}`;
    return [problem(`no rule logs to group ${group}${others}`, load)];
  }
  const listening = devices.filter(({ listenPort }) => listenPort !== 0);
  if (listening.length === 0) return [ok(`there are rules that log to group ${group}`)];
  return listening.map(({ name, listenPort: port }) => {
    const found = (version: 4 | 6) =>
      matchingLogRules(firewalls, { port, version }).filter((each) => each.group === group);
    const [ipv4, ipv6] = [found(4), found(6)];
    if (ipv4.length + ipv6.length === 0) {
      return problem(
        `no rule logs ${name}'s port ${port} to group ${group}: its rules match other ports, or an earlier rule accepts the packets`,
        load,
      );
    }
    const all = [...ipv4, ...ipv6];
    const shortest = Math.min(...all.map(({ snaplen }) => snaplen ?? Infinity));
    const places = [...new Set(all.map(({ where }) => where))].join(", ");
    if (shortest < SNAPLEN_MIN) {
      return problem(
        `${places}: snaplen ${shortest} cuts off bytes that wgmon needs`,
        `set snaplen to ${SNAPLEN_FULL} or more, or remove it (iptables: --nflog-size)`,
      );
    }
    const missing = ipv4.length === 0 ? "IPv4" : ipv6.length === 0 && hasIpv6 ? "IPv6" : null;
    if (missing !== null) {
      return warning(`${places}: ${name}'s port ${port} is logged, but not over ${missing}`, load);
    }
    if (shortest < SNAPLEN_FULL) {
      return warning(
        `${places}: snaplen ${shortest} cuts off initiations, so wgmon cannot check whether they are forged`,
        `set snaplen to ${SNAPLEN_FULL} or more, or remove it (iptables: --nflog-size)`,
      );
    }
    return ok(`${name}'s port ${port} is logged to group ${group} (${places})`);
  });
}

// ---- The tap ----

export function checkInterface(name: string): Finding[] {
  const routes = readTextFile("/proc/self/net/route") ?? "";
  const ipv6 = readTextFile("/proc/self/net/ipv6_route") ?? "";
  using links = new NetlinkSocket(NETLINK_ROUTE);
  const isUp = name === "any" ? true : isLinkUp(links, name);
  return [judgeInterface({ name, isUp, defaultRoutes: defaultRoutes(routes, ipv6) })];
}

/**
 * The interfaces of the default routes, without the loopback interface: on it, the kernel keeps an entry that rejects
 * packets if there is no default route.
 */
export function defaultRoutes(ipv4: string, ipv6: string): string[] {
  const v4 = [...ipv4.matchAll(/^(\S+)\t0{8}\t\S+\t\S+\t\S+\t\S+\t\S+\t0{8}/gm)];
  const v6 = [...ipv6.matchAll(/^0{32} 00 .* (\S+)$/gm)];
  const names = [...v4, ...v6].map(([, name]) => name!).filter((name) => name !== "lo");
  return [...new Set(names)];
}

export function judgeInterface({
  name,
  isUp,
  defaultRoutes: routes,
}: {
  readonly name: string;
  /** null if the interface does not exist. */
  readonly isUp: boolean | null;
  readonly defaultRoutes: readonly string[];
}): Finding {
  const use = routes[0] ?? "any";
  if (isUp === null) return problem(`there is no interface ${name}`, `--interface ${use}`);
  if (!isUp) return problem(`${name} is down`, `ip link set ${name} up, or --interface ${use}`);
  if (name === "any" || routes.length === 0 || routes.includes(name)) return ok(name);
  return warning(
    `${name}, but the default route goes through ${routes.join(" and ")}`,
    `--interface ${use}, unless peers connect through ${name}`,
  );
}

/**
 * @param filter null: the default filter.
 * @throws if the list of interfaces cannot be read, for example because no descriptors are free.
 */
export function checkFilter(
  filter: string | null,
  name: string,
  devices: readonly ListeningDevice[],
): Finding[] {
  if (filter === null) return [ok("the default one, which follows the devices' ports")];
  const own = networkInterfaces()[name]?.find(({ family }) => family === "IPv4")?.address;
  const ports = devices.map(({ listenPort }) => listenPort).filter((port) => port !== 0);
  try {
    const passed = ports.filter((port) => passes(filter, initiationTo(port, own ?? "192.0.2.1")));
    if (ports.length === 0) passes(filter, initiationTo(1, "192.0.2.1"));
    return [judgeFilter(ports, passed)];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [problem(error.message, "correct --filter, or remove it for the default")];
  }
}

export function judgeFilter(ports: readonly number[], passed: readonly number[]): Finding {
  if (ports.length === 0) return ok("it can be compiled");
  const stopped = ports.filter((port) => !passed.includes(port));
  if (stopped.length === 0) return ok(`--filter passes handshakes to ${ports.join(", ")}`);
  return warning(
    `--filter does not pass an initiation from 192.0.2.2 to port ${stopped.join(", ")}`,
    "remove --filter: the default follows the devices' ports",
  );
}

/** An initiation in an IPv4 packet from 192.0.2.2, with all header fields that filters usually test. */
function initiationTo(port: number, address: string): Uint8Array {
  const length = IPV4_HEADER_BYTES + UDP_HEADER_BYTES + INITIATION_BYTES;
  const packet = new Uint8Array(new ArrayBuffer(length));
  const view = new DataView(packet.buffer);
  packet[0] = 0x45;
  view.setUint16(2, length);
  packet[8] = 64;
  packet[9] = PROTOCOL_UDP;
  packet.set([192, 0, 2, 2], 12);
  packet.set(address.split(".").map(Number), 16);
  view.setUint16(IPV4_HEADER_BYTES, 51820);
  view.setUint16(IPV4_HEADER_BYTES + 2, port);
  view.setUint16(IPV4_HEADER_BYTES + 4, UDP_HEADER_BYTES + INITIATION_BYTES);
  packet[IPV4_HEADER_BYTES + UDP_HEADER_BYTES] = MessageType.initiation;
  return packet;
}
