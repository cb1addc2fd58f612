/** `wgmon doctor`: the running wgmon, by its own status. */

import { type Finding, ok, problem, reasonOf, skipped, warning } from "../../base/check.ts";
import { SystemError } from "../../base/errors.ts";
import type { SettingsView } from "../../http/settings-view.ts";
import type { StatusView, TargetView } from "../../http/view.ts";
import { type DaemonClient, DaemonNotRunning } from "../client.ts";

/** The daemon's status; a string: why it cannot be asked; null: no daemon runs. */
export type Running = StatusView | string | null;

/** Never rejects. */
export async function askStatus(daemon: DaemonClient): Promise<Running> {
  try {
    return await daemon.get<StatusView>("/v1/status");
  } catch (error) {
    return error instanceof DaemonNotRunning ? null : reasonOf(error);
  }
}

/** The settings of the running wgmon; null if none runs or it does not answer. */
export async function askSettings(daemon: DaemonClient): Promise<SettingsView | null> {
  try {
    return await daemon.get<SettingsView>("/v1/settings");
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
  const isAnswering = running !== null && typeof running !== "string";
  const { items } = isAnswering ? await daemon.get<Targets>("/v1/targets") : { items: [] };
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
}: {
  readonly running: Running;
  readonly targets: readonly Pick<TargetView, "label" | "state" | "failures" | "reason">[];
  /** The version of this process. */
  readonly version: string;
  /** Number of the WireGuard devices that it should watch, as found by this process; null if its settings differ. */
  readonly devices: number | null;
}): Finding[] {
  if (running === null) return [warning("wgmon does not run here", "start it")];
  if (typeof running === "string") {
    return [running.includes("EACCES") ? skipped(running) : problem(running, "restart it")];
  }
  const findings = [
    ...(running.version === version
      ? []
      : [warning(`version ${running.version} runs, and this is ${version}`, "restart it")]),
    ...(running.store.inMemory
      ? [
          problem(
            `it keeps all in memory, and forgets it at its end${running.store.problem === null ? "" : `: ${running.store.problem}`}`,
            "see its log",
          ),
        ]
      : []),
    ...(devices !== null && running.devices < devices
      ? [
          problem(
            `it sees ${running.devices} of ${devices} WireGuard devices`,
            "its log says why it cannot read the others",
          ),
        ]
      : []),
    ...targets
      .filter(({ state }) => state === "failing" || state === "stopped")
      .map(({ label, state, failures, reason }) =>
        warning(
          state === "stopped"
            ? `${label} said that it is gone for good: ${reason ?? ""}`
            : `${label} fails since ${failures} attempts: ${reason ?? ""}`,
          state === "stopped" ? "give its new URL" : "wgmon test-webhook; wgmon outbox list",
        ),
      ),
  ];
  if (findings.length > 0) return findings;
  const { peers, connected } = running;
  return [ok(`version ${running.version} runs; ${connected} of ${peers} peers are connected`)];
}
