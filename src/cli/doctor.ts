/** `wgmon doctor`: all checks of this machine and the settings, in order. It changes nothing. */

import { clean } from "../channel/text.ts";
import type { Settings } from "../config.ts";
import { type Check, type Finding, runCheck, type Verdict } from "../doctor/check.ts";
import { askStatus, checkDaemon, type Running } from "../doctor/daemon.ts";
import { judgeDevices, lookAround } from "../doctor/devices.ts";
import {
  checkCapabilities,
  checkClock,
  checkKernel,
  checkLibraries,
  checkLimits,
} from "../doctor/machine.ts";
import { checkSecrets, type FileRead } from "../doctor/secrets.ts";
import { checkNames, judgeSettings } from "../doctor/settings.ts";
import { checkStore } from "../doctor/store.ts";
import { checkTargets } from "../doctor/targets.ts";
import { runtimeDirOf, socketIn } from "../http/place.ts";
import { listUserspaceDevices } from "../kernel/userspace.ts";
import {
  checkFilter,
  checkGroup,
  checkInterface,
  checkRules,
  judgeChoice,
} from "../wakeup/checks.ts";
import { findLoggingRules, type WakeUp } from "../wakeup/wakeup.ts";
import { Daemon } from "./daemon.ts";
import { json } from "./text.ts";

export interface DoctorCommand {
  readonly settings: Settings;
  /** What is wrong in the settings, and what is worth a warning. */
  readonly problems: readonly string[];
  readonly notes: readonly string[];
  readonly json: boolean;
  /** Whether targets may be reached for. */
  readonly network: boolean;
}

interface Options {
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Which the settings were read from, by their names in the settings. */
  readonly files: ReadonlyMap<string, FileRead>;
  readonly print: (line: string) => void;
}

const NAME_COLUMNS = 13;

/** Whether there is no problem; warnings do not count. */
export async function runDoctor(command: DoctorCommand, options: Options): Promise<boolean> {
  const { print } = options;
  const counts: Record<Verdict, number> = { problem: 0, warning: 0, ok: 0, skipped: 0 };
  // All at once: those that wait for others do so together.
  const running = (await makeChecks(command, options)).map((check) => ({
    check,
    findings: runCheck(check),
  }));
  let group = "";
  for (const { check, findings } of running) {
    for (const finding of await findings) {
      counts[finding.verdict]++;
      if (!command.json && check.group !== group) print(check.group);
      group = check.group;
      print(command.json ? jsonLine(check, finding) : line(check, finding));
    }
  }
  if (!command.json) {
    print(
      `${count(counts.problem, "problem")}, ${count(counts.warning, "warning")}, ${counts.ok} ok, ${counts.skipped} skipped`,
    );
  }
  return counts.problem === 0;
}

async function makeChecks(command: DoctorCommand, options: Options): Promise<Check[]> {
  const { settings, problems, notes, network } = command;
  const { version } = options;
  const { group, captureInterface, filter, manageRules } = settings;
  const daemon = new Daemon(socketIn(runtimeDirOf(options.env)));
  const [scene, status] = await Promise.all([lookAround(settings.devices), askStatus(daemon)]);
  const { devices } = scene;
  const isRunning = status !== null;
  const handshakes = devices.flatMap(({ newestHandshakeMs }) => newestHandshakeMs ?? []);
  const newestMs = handshakes.length === 0 ? null : Math.max(...handshakes);
  const userspace = () => listUserspaceDevices().map(({ name }) => name);
  const rules = { group, isManaged: manageRules, isRunning, devices };
  const { monitor, reason } = await wakeUpOf(settings, status);
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
      ["settings", () => judgeSettings({ file: settings.file, problems, notes })],
      ["secrets", () => checkSecrets(options.files, settings)],
    ],
    machine: [
      ["capabilities", () => checkCapabilities(monitor)],
      ["libraries", () => checkLibraries(monitor)],
      ["clock", () => checkClock(newestMs)],
      ["limits", () => checkLimits()],
    ],
    WireGuard: [
      ["kernel", () => checkKernel(userspace())],
      ["devices", () => judgeDevices(scene, settings.devices)],
      ["names", () => checkNames(settings, devices)],
    ],
    [`wake-up (${monitor})`]: [
      ...(reason === null ? [] : [["monitor", () => [judgeChoice({ monitor, reason })]] as const]),
      ...wakeUp,
    ],
    events: [
      ["store", () => checkStore(settings)],
      ["targets", () => checkTargets(settings.targets, { network, version })],
    ],
    daemon: [["daemon", () => checkDaemon(daemon, status, version)]],
  };
  return Object.entries(groups).flatMap(([title, checks]) =>
    checks.map(([name, run]) => ({ group: title, name, run })),
  );
}

/** The wake-up that the running daemon has, or that one started now would try first. */
async function wakeUpOf(settings: Settings, status: Running): Promise<WakeUp> {
  if (settings.monitor !== "auto") return { monitor: settings.monitor, reason: null };
  if (status !== null && typeof status !== "string") return status.wakeUp;
  const { areThere, found } = await findLoggingRules(settings);
  return { monitor: areThere ? "nflog" : "bpf", reason: found };
}

function line({ name }: Check, { verdict, found, fix }: Finding): string {
  const advice = fix === null ? "" : `. Fix: ${fix}`;
  return `  ${verdict.padEnd("problem ".length)} ${name.padEnd(NAME_COLUMNS)}${clean(`${found}${advice}`)}`;
}

function jsonLine({ group, name }: Check, { verdict, found, fix }: Finding): string {
  return json({ group, check: name, verdict, found, fix });
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
