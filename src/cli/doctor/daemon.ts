/** `wgmon doctor`: checks the running wgmon by its status. */

import { type Finding, ok, problem, skipped, warning } from "../../base/check.ts";
import { SystemError } from "../../base/errors.ts";
import { counted } from "../../base/text.ts";
import { duration } from "../../events/event.ts";
import type { StatusView, TargetView } from "../../http/schemas.ts";
import type { SettingsView } from "../../http/settings-view.ts";
import { reasonOf } from "../../platform/run-check.ts";
import { type DaemonClient, DaemonNotRunning } from "../client.ts";

/** The other side may be away for a while, for example during an upgrade. */
export const UNCONFIRMED_MAX_MS = 3_600_000;

/** Clocks that NTP sets differ by less. */
const CLOCKS_WARNING_MS = 2000;
const CLOCKS_PROBLEM_MS = 60_000;

/** @param offsetMs this clock minus that of `other`, or the reverse; null: unknown. */
export function judgeClocks(other: string, offsetMs: number | null): Finding[] {
  const apartMs = Math.abs(offsetMs ?? 0);
  if (apartMs <= CLOCKS_WARNING_MS) return [];
  const found = `this clock and that of ${other} are ${duration(apartMs)} apart`;
  const fix = "set both by NTP: timedatectl set-ntp true";
  return [apartMs > CLOCKS_PROBLEM_MS ? problem(found, fix) : warning(found, fix)];
}

/** The daemon's status; a string: why it cannot be read; null: no daemon is running. */
export type Running = StatusView | string | null;

/** Never rejects. */
export async function fetchStatus(daemon: DaemonClient): Promise<Running> {
  try {
    return await daemon.get<StatusView>("/v1/status");
  } catch (error) {
    return error instanceof DaemonNotRunning ? null : reasonOf(error);
  }
}

/** What a wgmon of an older version does not return: it runs until it is restarted after an upgrade. */
const ABSENT: Partial<SettingsView> = { alerts: [], places: [], hub: null };

/** The settings of the running wgmon; null: it is not running, or does not respond. */
export async function fetchSettings(daemon: DaemonClient): Promise<SettingsView | null> {
  try {
    return { ...ABSENT, ...(await daemon.get<SettingsView>("/v1/settings")) };
  } catch (error) {
    if (error instanceof SystemError) return null;
    throw error;
  }
}

export async function checkDaemon(
  daemon: DaemonClient,
  running: Running,
  { version, devices }: { readonly version: string; readonly devices: number | null },
): Promise<Finding[]> {
  const hasStatus = running !== null && typeof running !== "string";
  const { items } = hasStatus ? await daemon.get<Targets>("/v1/targets") : { items: [] };
  return judgeDaemon({ running, targets: items, version, devices });
}

interface Targets {
  readonly items: readonly TargetView[];
}

export function judgeDaemon({
  running,
  targets,
  version,
  devices,
  nowMs = Date.now(),
}: {
  readonly running: Running;
  readonly targets: readonly (Pick<TargetView, "label" | "state" | "failures" | "reason"> &
    Partial<Pick<TargetView, "hub">>)[];
  /** The version of this process. */
  readonly version: string;
  /** Number of devices that this process found with the daemon's settings; null: it checks other settings. */
  readonly devices: number | null;
  readonly nowMs?: number;
}): Finding[] {
  if (running === null) return [warning("wgmon is not running here", "start it")];
  if (typeof running === "string") {
    return [running.includes("EACCES") ? skipped(running) : problem(running, "restart it")];
  }
  const findings = [
    ...(running.version === version
      ? []
      : [warning(`version ${running.version} is running, but this is ${version}`, "restart it")]),
    ...(running.store.inMemory
      ? [
          problem(
            `the store is in memory only and is lost when wgmon ends${running.store.problem === null ? "" : `: ${running.store.problem}`}`,
            "see the log of wgmon",
          ),
        ]
      : []),
    ...(devices !== null && running.devices < devices
      ? [
          problem(
            `wgmon reads ${running.devices} of ${devices} WireGuard devices`,
            "the log of wgmon says why it cannot read the others",
          ),
        ]
      : []),
    ...targets
      .filter(({ state }) => state === "failing" || state === "stopped")
      .map(({ label, state, failures, reason }) =>
        warning(
          state === "stopped"
            ? `${label} is stopped, because it no longer exists: ${reason ?? ""}`
            : `${label}: ${failures} failed attempts in a row, the last: ${reason ?? ""}`,
          state === "stopped" ? "set its new URL" : "wgmon test-webhook; wgmon outbox list",
        ),
      ),
    ...targets.flatMap(({ hub = null }) => judgeClocks("the hub", hub?.clockOffsetMs ?? null)),
    ...targets.flatMap(({ label, hub = null }) => {
      if (hub === null || hub.unconfirmedSince === null) return [];
      const ms = nowMs - Date.parse(hub.unconfirmedSince);
      if (ms < UNCONFIRMED_MAX_MS) return [];
      const events = counted(hub.last - hub.confirmed, "event");
      const found = `${label} has not confirmed ${events}, the oldest for ${duration(ms)}`;
      return [warning(found, "check the hub: its log, its disk, wgmon doctor there")];
    }),
  ];
  if (findings.length > 0) return findings;
  const { peers, connected } = running;
  return [
    ok(`version ${running.version} is running; ${connected} of ${peers} peers are connected`),
  ];
}
