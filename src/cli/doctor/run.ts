/**
 * `wgmon doctor`: checks this machine and the settings, and changes nothing. If wgmon is running, it checks that
 * process and its settings. If not, or if flags of settings are given, it checks this process and the settings that
 * it has read itself.
 */

import { LibraryError } from "../../../ffi/errors.ts";
import type { Check, Finding, Verdict } from "../../base/check.ts";
import { systemClock } from "../../base/clock.ts";
import { counted, sanitize } from "../../base/text.ts";
import { makeTargets } from "../../channels/create-targets.ts";
import type { DoctorRequest } from "../../config/command-requests.ts";
import type { Settings } from "../../config/config.ts";
import { checkSecrets, type FilesRead } from "../../config/secret-files.ts";
import { type SettingsView, viewSettings } from "../../http/settings-view.ts";
import { listUserspaceDevices } from "../../kernel/userspace-device.ts";
import { lockOfSocket, lockOwner } from "../../platform/instance-lock.ts";
import { runCheck } from "../../platform/run-check.ts";
import { runtimeDirOf, socketPath } from "../../platform/socket-path.ts";
import { isTerminal } from "../../platform/standard-streams.ts";
import {
  checkFilter,
  checkGroup,
  checkInterface,
  checkRules,
  judgeChoice,
} from "../../wakeup/checks.ts";
import { findLoggingRules, type WakeUp } from "../../wakeup/wakeup.ts";
import { DaemonClient } from "../client.ts";
import { json, type Paint, paintFor, type Style } from "../text.ts";
import { checkDaemon, fetchSettings, fetchStatus, type Running } from "./daemon.ts";
import { judgeDevices, surveyDevices } from "./devices.ts";
import {
  checkCapabilities,
  checkClock,
  checkKernel,
  checkLibraries,
  checkLimits,
} from "./machine.ts";
import { checkNames, checkPlaces, judgeSettings } from "./settings.ts";
import { checkStore } from "./store.ts";
import { checkHub, checkTargets } from "./targets.ts";

export interface DoctorCommand extends DoctorRequest {
  readonly settings: Settings;
  /** The errors in the settings, and the warnings about them. */
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

export interface DoctorOptions {
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The files that the settings were read from, by their names in the settings. */
  readonly files: FilesRead;
  readonly print: (line: string) => void;
}

const STDOUT = 1;
const NAME_COLUMNS = 13;

const styles: Readonly<Record<Verdict, Style>> = {
  problem: "red",
  warning: "yellow",
  ok: "green",
  skipped: "dim",
};

/** Returns whether no check found a problem. Warnings are not problems. */
export async function runDoctor(command: DoctorCommand, options: DoctorOptions): Promise<boolean> {
  return await printFindings(await makeChecks(command, options), command, options);
}

/** Makes the checks, and prints what they found. Returns whether none found a problem. */
export async function printFindings(
  checks: readonly Check[],
  command: Pick<DoctorRequest, "json">,
  { print, env }: Pick<DoctorOptions, "print" | "env">,
): Promise<boolean> {
  const paint = paintFor(env, isTerminal(STDOUT));
  const counts: Record<Verdict, number> = { problem: 0, warning: 0, ok: 0, skipped: 0 };
  // Start all checks at once, because some wait for other programs.
  const started = checks.map((check) => ({ check, findings: runCheck(check) }));
  let group = "";
  for (const { check, findings } of started) {
    for (const finding of await findings) {
      counts[finding.verdict]++;
      if (!command.json && check.group !== group) print(paint("bold", check.group));
      group = check.group;
      print(command.json ? jsonLine(check, finding) : textLine(check, finding, paint));
    }
  }
  if (!command.json) {
    print(
      `${counted(counts.problem, "problem")}, ${counted(counts.warning, "warning")}, ${counts.ok} ok, ${counts.skipped} skipped`,
    );
  }
  return counts.problem === 0;
}

async function makeChecks(command: DoctorCommand, options: DoctorOptions): Promise<Check[]> {
  const { errors, warnings, network } = command;
  const { version } = options;
  const socket = socketPath(runtimeDirOf(options.env));
  const daemon = new DaemonClient(socket);
  const [status, inForce] = await Promise.all([
    fetchStatus(daemon),
    command.hasSettings ? null : fetchSettings(daemon),
  ]);
  const settings = inForce ?? ownSettings(command.settings, version);
  const pid = inForce === null ? null : (lockOwner(lockOfSocket(socket))?.pid ?? null);
  const { group, captureInterface, filter, manageRules } = settings;
  const survey = await surveyDevices(settings.devices);
  const { devices } = survey;
  const isRunning = status !== null;
  const handshakes = devices.flatMap(({ newestHandshakeMs }) => newestHandshakeMs ?? []);
  const newestMs = handshakes.length === 0 ? null : Math.max(...handshakes);
  const userspace = () => listUserspaceDevices().map(({ name }) => name);
  const rules = { group, isManaged: manageRules, isRunning, devices };
  const { monitor, reason } = await wakeUpOf(settings, inForce === null ? null : status);
  const source = { file: settings.file, isOfDaemon: inForce !== null };
  const wakeUp: readonly (readonly [string, Check["run"]])[] = {
    nflog: [
      ["group", () => checkGroup(group, isRunning)],
      ["rules", () => checkRules(rules)],
    ] as const,
    bpf: [
      ["interface", () => checkInterface(captureInterface)],
      ["filter", () => checkFilter(filter, captureInterface, devices)],
    ] as const,
    poll: [] as const,
  }[monitor];
  const groups: Readonly<Record<string, readonly (readonly [string, Check["run"]])[]>> = {
    settings: [
      ["settings", () => judgeSettings({ ...source, errors, warnings })],
      ["secrets", () => checkSecrets(options.files, settings)],
      ...(settings.places.length === 0
        ? []
        : [["places", () => checkPlaces(settings.places)] as const]),
    ],
    machine: [
      ["capabilities", () => checkCapabilities(monitor, pid)],
      ["libraries", () => checkLibraries(monitor)],
      ["clock", () => checkClock(newestMs)],
      ["limits", () => checkLimits(pid)],
    ],
    WireGuard: [
      ["kernel", () => checkKernel(userspace())],
      ["devices", () => judgeDevices(survey, settings.devices)],
      ["names", () => checkNames(settings, devices, inForce === null ? null : daemon)],
    ],
    [`wake-up (${monitor})`]: [
      ...(reason === null ? [] : [["monitor", () => [judgeChoice({ monitor, reason })]] as const]),
      ...wakeUp,
    ],
    events: [
      ["store", () => checkStore(settings)],
      ...(settings.targets.length === 0 && settings.hub !== null
        ? []
        : [["targets", () => checkTargets(settings.targets, { network })] as const]),
      ...(settings.hub === null
        ? []
        : [["hub", () => checkHub(settings.hub!, { network })] as const]),
    ],
    daemon: [
      [
        "daemon",
        () =>
          checkDaemon(daemon, status, {
            version,
            devices: inForce === null ? null : devices.length,
          }),
      ],
    ],
  };
  return checksOf(groups);
}

/** @param groups the checks by the title of their group. */
export function checksOf(
  groups: Readonly<Record<string, readonly (readonly [string, Check["run"]])[]>>,
): Check[] {
  return Object.entries(groups).flatMap(([title, checks]) =>
    checks.map(([name, run]) => ({ group: title, name, run })),
  );
}

/** The monitor of the running daemon, or the monitor that a daemon started now would try first. */
async function wakeUpOf(settings: SettingsView, status: Running): Promise<WakeUp> {
  if (settings.monitor !== "auto") return { monitor: settings.monitor, reason: null };
  const known = status === null || typeof status === "string" ? null : status.wakeUp;
  if (known !== null) return known;
  try {
    const { logAllPorts, found } = await findLoggingRules(settings);
    return { monitor: logAllPorts ? "nflog" : "bpf", reason: found };
  } catch (error) {
    // Probably libmnl is missing, which the check of the libraries reports.
    if (!(error instanceof LibraryError)) throw error;
    return { monitor: "bpf", reason: `it is unknown whether rules log (${error.message})` };
  }
}

/** The settings of this process in the same form as those of the daemon. */
export function ownSettings(settings: Settings, version: string) {
  // Only the labels are used, so the keys may be empty.
  const targets = makeTargets(settings.targets, { version, clock: systemClock, keyOf: () => "" });
  return viewSettings(
    settings,
    targets.map(({ channel }) => channel.name),
  );
}

function textLine({ name }: Check, { verdict, found, fix }: Finding, paint: Paint): string {
  const advice = fix === null ? "" : `. Fix: ${fix}`;
  const verdictText = paint(styles[verdict], verdict.padEnd("problem ".length));
  return `  ${verdictText} ${name.padEnd(NAME_COLUMNS)}${sanitize(`${found}${advice}`)}`;
}

function jsonLine({ group, name }: Check, { verdict, found, fix }: Finding): string {
  return json({ group, check: name, verdict, found, fix });
}
