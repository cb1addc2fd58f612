/** Runs the commands other than `run`. Each command imports its modules on demand. */

import { version } from "../../package.json";
import { systemClock } from "../base/clock.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { Command, Settings } from "../config/config.ts";
import type { FilesRead } from "../config/secret-files.ts";
import { DEFAULT_STATE_DIR } from "../config/setting-paths.ts";
import { targetAt } from "../config/targets.ts";
import { Devices } from "../kernel/devices.ts";
import { createLog } from "../platform/log.ts";
import { runtimeDirOf, socketPath } from "../platform/socket-path.ts";
import { isTerminal, print } from "../platform/standard-streams.ts";
import type { Store } from "../store/store.ts";
import { HUB_KEY } from "../uplink/hub-settings.ts";
import { printError, printLine } from "./print.ts";
import type { QueryCommand } from "./query-commands.ts";

const STDOUT = 1;

/** Returns the exit code; null: the command continues until a signal ends the process. */
export async function runCommand(
  command: Exclude<Command, { type: "run" } | { type: "hub"; action: "run" }>,
  files: FilesRead,
): Promise<number | null> {
  switch (command.type) {
    case "test-webhook":
      return (await testWebhook(command.settings, command.target)) ? 0 : 1;
    case "outbox":
      await outbox(command);
      return 0;
    case "rules":
      return await rules(command);
    case "doctor":
      return (await doctor(command, files)) ? 0 : 1;
    case "check":
      return await check(command);
    case "schema":
      print((await import("./schema.ts")).schemaText(command.of));
      return 0;
    case "health":
      await health();
      return 0;
    case "completion":
      print((await import("./completion.ts")).completion(command.shell));
      return 0;
    case "receive":
      await receiveEvents(command);
      return null;
    case "install-service":
    case "uninstall-service":
      await service(command.type);
      return 0;
    case "extract-names":
      await extractNames();
      return 0;
    case "status":
    case "peer":
    case "sessions":
    case "events":
    case "silence":
    case "top":
      return await query(command);
    case "alerts":
      return await alerts(command);
    case "hub":
      if (command.action === "doctor") return (await hubDoctor(command, files)) ? 0 : 1;
      await hub(command);
      return 0;
    case "help":
      print((await import("./help.ts")).helpText(command.command, command.subcommand));
      return 0;
    case "version":
      print(`${(await import("../platform/versions.ts")).versionText(version)}\n`);
      return 0;
    case "licenses":
      print((await import("./licenses.ts")).licensesText());
      return 0;
  }
}

async function testWebhook(settings: Settings, word: string | null): Promise<boolean> {
  const { testTargets } = await import("./test-webhook.ts");
  const { makeTargets } = await import("../channels/create-targets.ts");
  // The keys are not used, because nothing is stored.
  const keyOf = () => "";
  const targets = makeTargets(settings.targets, { version, clock: systemClock, keyOf });
  const { hub } = settings;
  const isHub = word === HUB_KEY && hub !== null;
  const chosen = word === null || isHub ? null : targetAt(settings.targets, word);
  const hasTargets = !isHub && (targets.length > 0 || hub === null);
  const areDelivered =
    !hasTargets ||
    (await testTargets(chosen === null ? targets : [targets[chosen]!], {
      clock: systemClock,
      host: settings.host,
      print: printLine,
    }));
  if (hub === null || chosen !== null) return areDelivered;
  const { testHub } = await import("./test-hub.ts");
  const openStore = () => openStoreOf(settings);
  const log = createLog({ format: "text", level: "warn" });
  const isAccepted = await testHub(hub, { clock: systemClock, log, openStore, print: printLine });
  return areDelivered && isAccepted;
}

/** The store of the daemon. @throws SystemError */
async function openStoreOf(settings: Settings): Promise<Store> {
  const { Store } = await import("../store/store.ts");
  const log = createLog({ format: "text", level: "warn" });
  const directory = await stateDirOf(settings);
  return await Store.open({ directory, clock: systemClock, log, isExternalTool: true });
}

async function outbox(command: Extract<Command, { type: "outbox" }>): Promise<void> {
  const { settings, target } = command;
  const { runOutbox } = await import("./outbox.ts");
  const { targetKeyOf } = await import("./find-peers.ts");
  using store = await openStoreOf(settings);
  const key = target === null ? null : targetKeyOf(target, settings, store);
  const hub = settings.hub === null || (key !== null && key !== HUB_KEY) ? null : settings.hub;
  runOutbox(store, command, { target: key, hub, nowMs: Date.now(), print: printLine });
}

/** The state directory of the settings; if it is the default, that of the running daemon. */
async function stateDirOf({ stateDir }: Settings): Promise<string> {
  if (stateDir !== DEFAULT_STATE_DIR) return stateDir;
  const { fetchSettings } = await import("./doctor/daemon.ts");
  const { DaemonClient } = await import("./client.ts");
  const inForce = await fetchSettings(new DaemonClient(socketPath(runtimeDirOf(process.env))));
  return inForce?.stateDir ?? stateDir;
}

async function rules(command: Extract<Command, { type: "rules" }>): Promise<number> {
  const { action, settings } = command;
  const { runRules } = await import("./rules.ts");
  using devices = new Devices(settings.devices);
  const request = { action, devices: settings.devices, group: settings.group };
  return await runRules(request, { devices, print: printLine, warn: printError });
}

async function service(type: "install-service" | "uninstall-service"): Promise<void> {
  const { installService, ownProgram, runSystemctl, uninstallService } =
    await import("./service.ts");
  const change = type === "install-service" ? installService : uninstallService;
  change({ program: ownProgram(), root: "", print: printLine, systemctl: runSystemctl });
}

async function extractNames(): Promise<void> {
  const { extractNames: extract, FOLDERS } = await import("./extract-names.ts");
  extract(FOLDERS, (line) => printError(`wgmon: ${line}`));
}

async function doctor(
  command: Extract<Command, { type: "doctor" }>,
  files: FilesRead,
): Promise<boolean> {
  const { runDoctor } = await import("./doctor/run.ts");
  const options = { version, env: process.env, files, print: printLine };
  return await runDoctor(command, options);
}

async function check(command: Extract<Command, { type: "check" }>): Promise<number> {
  const { runCheck } = await import("./check.ts");
  return await runCheck(command, {
    print: printLine,
    warn: (line) => printError(`wgmon: ${line}`),
  });
}

async function health(): Promise<void> {
  const { fetchHealth } = await import("./health.ts");
  printLine(await fetchHealth(process.env));
}

async function receiveEvents(command: Extract<Command, { type: "receive" }>): Promise<void> {
  const { receive } = await import("./receive.ts");
  const receiver = receive({ ...command, clock: systemClock, print: printLine });
  const stop = () => void receiver.stop().then(() => process.exit(0));
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

async function query(command: QueryCommand): Promise<number> {
  const { runQuery } = await import("./query-commands.ts");
  const warn = (line: string) => printError(`wgmon: ${line}`);
  const { env } = process;
  return await runQuery(command, { env, version, clock: systemClock, warn });
}

async function alerts(command: Extract<Command, { type: "alerts" }>): Promise<number> {
  switch (command.action) {
    case "examples":
      print((await import("./alert-examples.ts")).ALERT_EXAMPLES);
      return 0;
    case "test":
      await testAlerts(command);
      return 0;
    case "list":
    case "explain":
      return await query(command);
  }
}

async function hub(
  command: Exclude<Extract<Command, { type: "hub" }>, { action: "run" | "doctor" }>,
): Promise<void> {
  const { runHubCommand } = await import("./hub.ts");
  const { settings } = command;
  const log = createLog({ format: "text", level: "warn" });
  const { env } = process;
  const { lockInstance: lock } = await import("../platform/instance-lock.ts");
  const clock = systemClock;
  await runHubCommand(command, { settings, env, clock, log, lock, print: printLine });
}

async function hubDoctor(
  command: Extract<Command, { type: "hub"; action: "doctor" }>,
  files: FilesRead,
): Promise<boolean> {
  const { runHubDoctor } = await import("./doctor/hub.ts");
  return await runHubDoctor(command, { version, env: process.env, files, print: printLine });
}

async function testAlerts(
  command: Extract<Command, { type: "alerts"; action: "test" }>,
): Promise<void> {
  const { settings, rules: tested, warnings } = command;
  const { testAlerts: test } = await import("./test-alerts.ts");
  const { Store } = await import("../store/store.ts");
  const { PeerNames } = await import("../names/peer-names.ts");
  const { readPlaces } = await import("../names/places.ts");
  const { paintFor } = await import("./text.ts");
  const log = createLog({ format: "text", level: "warn" });
  const warn = (line: string) => printError(`wgmon: ${line}`);
  for (const warning of warnings) warn(warning);
  const directory = await stateDirOf(settings);
  using store = await Store.open({ directory, clock: systemClock, log, isExternalTool: true });
  using names = new PeerNames({ clock: systemClock, log });
  names.setSources(settings);
  const { lookup, problems } = await readPlaces(settings.places);
  for (const problem of problems) warn(problem);
  test(store, {
    ...(settings.places.length === 0 ? {} : { lookup }),
    request: command,
    rules: tested,
    settings,
    named: (publicKey, device) => ({
      publicKey,
      name: names.nameOf(publicKey as PublicKey, device),
      tags: settings.peers.get(publicKey as PublicKey)?.tags ?? [],
    }),
    nowMs: Date.now(),
    print,
    warn,
    paint: paintFor(process.env, isTerminal(STDOUT)),
    maxWidth: null,
  });
}
