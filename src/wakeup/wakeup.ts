/**
 * Chooses and opens the monitor that wakes the daemon. `--monitor auto` chooses nflog if firewall rules log the
 * devices' ports to the NFLOG group, otherwise bpf; if neither can be opened, poll. docs/capture.md.
 */

import { LibraryError } from "../../ffi/errors.ts";
import type { Clock } from "../base/clock.ts";
import { isUnreadable, SystemError } from "../base/errors.ts";
import { type Capture, type Monitor, openCapture, type PacketHandler } from "../capture/capture.ts";
import { Devices } from "../kernel/devices.ts";
import { hasLegacyTables, listLogGroups } from "../kernel/log-groups.ts";
import { NetlinkSocket } from "../kernel/netlink-socket.ts";
import { NETLINK_NETFILTER } from "../platform/constants.ts";
import { runCheck } from "../platform/run-check.ts";
import { findProgram } from "../platform/run-program.ts";

/** The settings that determine the monitor. */
export interface WakeUpSettings {
  readonly monitor: "auto" | Monitor;
  readonly group: number;
  readonly captureInterface: string;
  readonly filter: string | null;
  readonly manageRules: boolean;
  /** Empty: all. */
  readonly devices: readonly string[];
}

export interface WakeUp {
  readonly monitor: Monitor;
  /** Why `auto` chose this monitor; null if the settings name it. */
  readonly reason: string | null;
}

/** How long the start waits for the programs that list the rules; they usually take milliseconds. */
const RULES_MS = 3000;

interface OpenWakeUp {
  readonly wakeUp: WakeUp;
  readonly capture: Capture;
}

/** @throws ConfigError, SystemError or LibraryError if the monitor in the settings cannot be opened. */
export async function openWakeUp(
  settings: WakeUpSettings,
  clock: Clock,
  handler: PacketHandler,
): Promise<OpenWakeUp> {
  const open = (monitor: Monitor) => openCapture({ ...settings, monitor }, clock, handler);
  const { monitor } = settings;
  if (monitor !== "auto") {
    return { wakeUp: { monitor, reason: null }, capture: await open(monitor) };
  }
  return await chooseWakeUp({ logged: await findLoggingRules(settings), open });
}

/** Whether firewall rules log the ports of all devices to the group, and the reason for this result as text. */
interface LoggingRules {
  readonly logAllPorts: boolean;
  readonly found: string;
}

/** Finds out whether the current rules log the ports. A device that does not listen yet counts as logged. */
export async function findLoggingRules(
  settings: Pick<WakeUpSettings, "group" | "manageRules" | "devices">,
): Promise<LoggingRules> {
  const { group, manageRules } = settings;
  if (manageRules) {
    return findProgram("nft") === null
      ? { logAllPorts: false, found: "manage-rules is set, but nft is not installed" }
      : { logAllPorts: true, found: "manage-rules is set" };
  }
  const logsToGroup = logsTo(group);
  if (logsToGroup === false)
    return { logAllPorts: false, found: `no firewall rule logs to NFLOG group ${group}` };
  // Imported here, because no other monitor needs it at start.
  const { checkRules } = await import("./checks.ts");
  using devices = new Devices(settings.devices);
  await devices.scan("list");
  const context = { group, isManaged: false, isRunning: false, devices: devices.lastScanned };
  const findings = await runCheck({ run: () => checkRules(context, RULES_MS) });
  const unread = findings.find(({ verdict }) => verdict === "skipped");
  if (unread !== undefined) {
    return logsToGroup === true
      ? {
          logAllPorts: true,
          found: `rules log to group ${group}; their ports are unknown (${unread.found})`,
        }
      : {
          logAllPorts: false,
          found: `it is unknown whether rules log to group ${group} (${unread.found})`,
        };
  }
  const missing = findings.find(({ verdict }) => verdict === "problem");
  return {
    logAllPorts: missing === undefined,
    found: missing?.found ?? findings.map(({ found }) => found).join("; "),
  };
}

/** Whether any rule logs to the group; null if netlink does not show all rules. */
function logsTo(group: number): boolean | null {
  try {
    using socket = new NetlinkSocket(NETLINK_NETFILTER);
    if (listLogGroups(socket).has(group)) return true;
    return hasLegacyTables() ? null : false;
  } catch (error) {
    if (isUnreadable(error)) return null;
    throw error;
  }
}

/** Opens the first monitor that works. Its reason includes the errors of monitors that failed. */
export async function chooseWakeUp({
  logged,
  open,
}: {
  readonly logged: LoggingRules;
  readonly open: (monitor: Monitor) => Promise<Capture>;
}): Promise<OpenWakeUp> {
  const reasons = [logged.found];
  for (const monitor of logged.logAllPorts
    ? (["nflog", "bpf"] as const)
    : (["bpf", "nflog"] as const)) {
    try {
      const capture = await open(monitor);
      return { wakeUp: { monitor, reason: reasons.join("; ") }, capture };
    } catch (error) {
      if (!(error instanceof SystemError || error instanceof LibraryError)) throw error;
      reasons.push(error.message);
    }
  }
  return { wakeUp: { monitor: "poll", reason: reasons.join("; ") }, capture: await open("poll") };
}
