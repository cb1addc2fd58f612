/**
 * The program: arguments, environment and signals in, exit codes out: 0 stopped on request, 1 failed, 2 wrong usage.
 */

import { LibraryError } from "../ffi/errors.ts";
import { version } from "../package.json";
import type { App } from "./app.ts";
import { systemClock } from "./base/clock.ts";
import { AlreadyRunning, ConfigError, SystemError } from "./base/errors.ts";
import { hasUrl } from "./base/redact.ts";
import { printableLine } from "./base/visible.ts";
import { helpText } from "./cli/help.ts";
import {
  type Command,
  DEFAULT_STATE_DIR,
  describeSettings,
  parseCommand,
  type Settings,
  targetAt,
} from "./config/config.ts";
import type { FileRead } from "./config/secret-files.ts";
import type { HttpServer } from "./http/server.ts";
import { Devices } from "./kernel/devices.ts";
import { loadPage } from "./page/load-page.ts";
import { lockInstance } from "./platform/instance-lock.ts";
import { chooseFormat, createLog, type LeveledLog, type Log } from "./platform/log.ts";
import {
  folderOpenToOthers,
  hostname,
  isTerminal,
  print,
  protectMemory,
  readFileAndMode,
  thisMachine,
  writeToStderr,
} from "./platform/os.ts";
import { runtimeDirOf, socketPath } from "./platform/socket-path.ts";
import type { Notifier } from "./platform/systemd-notify.ts";
import { versionText } from "./platform/versions.ts";
import { type Inputs, openInputs } from "./scan/inputs.ts";

const STDERR = 2;
/** How long to wait if standard error is a pipe whose reader is slow or has stopped reading. */
const STDERR_TIMEOUT_MS = 1000;

/** The files that a command's settings were read from, by the name given in the settings. */
type FilesRead = ReadonlyMap<string, FileRead>;

const startFolder = process.cwd();
// The loader searches the working directory for a library that it does not find elsewhere. For a daemon that runs as
// root this must not be a folder of another user.
process.chdir("/");

function readCommand(): { readonly command: Command; readonly files: FilesRead } {
  const files = new Map<string, FileRead>();
  const command = parseCommand({
    argv: process.argv.slice(2),
    env: process.env,
    hostname: hostname(),
    readFile(path) {
      const file = readFileAndMode(absolute(path));
      if (file === null) return null;
      const { text, mode } = file;
      files.set(path, { path: absolute(path), mode, hasUrl: hasUrl(text) });
      return file;
    },
    folderOpenToOthers: (path) => folderOpenToOthers(absolute(path)),
  });
  return { command, files };
}

/** Resolves a path against the start folder, because the working directory has changed since. */
function absolute(path: string): string {
  return path.startsWith("/") ? path : `${startFolder}/${path}`;
}

async function run(
  { settings, warnings }: Extract<Command, { type: "run" }>,
  files: FilesRead,
): Promise<void> {
  const format = chooseFormat(settings.logFormat, {
    env: process.env,
    isTerminal: isTerminal(STDERR),
  });
  const log = createLog({ format, level: settings.logLevel });
  log.info(`wgmon ${version}`, describeSettings(settings, hostname()));
  for (const note of warnings) log.warn(note);

  const clock = systemClock;
  let app: App | null = null;
  let http: HttpServer | null = null;
  let notifier: Notifier | null = null;
  let stopping = false;
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    log.info("stopping", { signal });
    notifier?.stopping();
    await Promise.all([http?.stop(), app?.stop()]);
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void stop(signal));
  process.on("SIGINT", (signal) => void stop(signal));
  const onTerminal = isTerminal(STDERR);
  const pendingReloads: NodeJS.Signals[] = [];
  process.on("SIGHUP", (signal) => {
    // The terminal that wgmon was started on was closed, so the daemon must not continue as root.
    if (onTerminal && !isTerminal(STDERR)) void stop(signal);
    else if (app === null) pendingReloads.push(signal);
    else reload(app, log, notifier);
  });
  const runtimeDir = runtimeDirOf(process.env);
  const claims = lockInstance(settings.stateDir, runtimeDir);
  const inputs = await openInputs(settings, clock);
  logReady(settings, inputs, log);
  // Compile as usual from here on: build.ts delays the JIT, which would make the start slower.
  Bun.unsafe.setJITPolicy(1);
  protectMemory();
  notifier = await notifierOf(process.env, log);
  notifier?.ready();
  // Loaded after "ready", which it would delay by another millisecond.
  const [{ App }, { Store }, { makeTargets }] = await Promise.all([
    import("./app.ts"),
    import("./store/store.ts"),
    import("./channels/create-targets.ts"),
  ]);
  const machine = thisMachine();
  const store = await Store.open({
    directory: settings.stateDir,
    refusal: claims.stateDir,
    boot: machine.bootId,
    clock,
    log,
  });
  const keyOf = (address: string) => store.targetKey(address);
  app = new App(settings, {
    clock,
    machine,
    log,
    inputs,
    store,
    firewall: await firewallManagerOf(settings, inputs, log),
    makeTargets: ({ targets }) => makeTargets(targets, { version, clock, keyOf }),
  });
  app.start();
  if (notifier !== null) publishStatus(notifier, app);
  if (pendingReloads.length > 0) reload(app, log, notifier);
  await warnOfSecrets(files, settings, log);
  // Loaded last, because nothing depends on it.
  const [{ HttpServer }, { DaemonReadModel }, { keepSmall }] = await Promise.all([
    import("./http/server.ts"),
    import("./http/daemon-read-model.ts"),
    import("./platform/memory.ts"),
  ]);
  const running = app;
  http = await HttpServer.start({
    loadPage,
    source: new DaemonReadModel(version, running.stages),
    settings: () => running.settings,
    runtimeDir,
    refusal: claims.socket,
    log,
    clock,
  });
  keepSmall(clock);
}

/** Returns null if wgmon does not manage the firewall rules. */
async function firewallManagerOf({ manageRules, group }: Settings, { wakeUp }: Inputs, log: Log) {
  if (!manageRules || wakeUp.monitor !== "nflog") return null;
  const { FirewallManager } = await import("./firewall/firewall-manager.ts");
  return new FirewallManager({ group, clock: systemClock, log });
}

function logReady(settings: Settings, inputs: Inputs, log: Log): void {
  const { devices, wakeUp, firstScan } = inputs;
  const { devices: wanted, group, captureInterface } = settings;
  const names = devices.lastScanned.map(({ name }) => name);
  const { monitor, reason } = wakeUp;
  const source = { nflog: { group }, bpf: { interface: captureInterface }, poll: {} }[monitor];
  log.info("ready", { monitor, ...source, reason: reason ?? undefined, devices: names });
  // A device that could not be read may exist; its problem is already in the log.
  if (names.length > 0 || firstScan.problems.length > 0) return;
  const what = wanted.length === 0 ? "a WireGuard device" : wanted.join(", ");
  log.info(`there is no WireGuard device to watch yet; waiting for ${what}`);
}

/** Returns null if $NOTIFY_SOCKET is not set, i.e. not started by systemd or similar. */
async function notifierOf(env: NodeJS.ProcessEnv, log: Log): Promise<Notifier | null> {
  if (!env["NOTIFY_SOCKET"]) return null;
  const { Notifier } = await import("./platform/systemd-notify.ts");
  return new Notifier({ env, clock: systemClock, log });
}

function publishStatus(notifier: Notifier, { stages: { inputs, tracker, reporter } }: App): void {
  const publish = () =>
    notifier.publishStatus({
      devices: inputs.devices.lastScanned.map(({ name }) => name),
      connected: tracker.connected,
    });
  reporter.subscribe(publish);
  publish();
}

/** Warns of files with secrets that other users can read. */
async function warnOfSecrets(files: FilesRead, settings: Settings, log: Log): Promise<void> {
  const { checkSecrets } = await import("./config/secret-files.ts");
  for (const { verdict, found, fix } of checkSecrets(files, settings)) {
    if (verdict !== "ok") log.warn(`${found}; ${fix}`);
  }
}

function reload(app: App, log: LeveledLog, notifier: Notifier | null): void {
  notifier?.reloading();
  try {
    const { command, files } = readCommand();
    if (command.type !== "run") return;
    log.setLevel(command.settings.logLevel);
    log.info("settings reloaded", describeSettings(app.reload(command.settings), hostname()));
    for (const note of command.warnings) log.warn(note);
    void warnOfSecrets(files, command.settings, log);
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof SystemError)) throw error;
    log.error(`settings not reloaded, the old ones stay: ${error.message.replaceAll("\n", "; ")}`);
  } finally {
    notifier?.ready();
  }
}

async function testWebhook(settings: Settings, word: string | null): Promise<boolean> {
  const { testTargets } = await import("./cli/test-webhook.ts");
  const { makeTargets } = await import("./channels/create-targets.ts");
  // Nothing is stored, so the keys do not matter.
  const keyOf = () => "";
  const targets = makeTargets(settings.targets, { version, clock: systemClock, keyOf });
  const chosen = word === null ? null : targetAt(settings.targets, word);
  return await testTargets(chosen === null ? targets : [targets[chosen]!], {
    clock: systemClock,
    host: settings.host,
    print: printLine,
  });
}

async function outbox(command: Extract<Command, { type: "outbox" }>): Promise<void> {
  const { settings, target } = command;
  const { runOutbox } = await import("./cli/outbox.ts");
  const { Store } = await import("./store/store.ts");
  const { targetKeyOf } = await import("./cli/find-peers.ts");
  const log = createLog({ format: "text", level: "warn" });
  const directory = await stateDirOf(settings);
  using store = await Store.open({ directory, clock: systemClock, log, isExternalTool: true });
  const key = target === null ? null : targetKeyOf(target, settings, store);
  runOutbox(store, command, { target: key, nowMs: Date.now(), print: printLine });
}

/** Returns the state directory of the running daemon, unless another one was given. */
async function stateDirOf({ stateDir }: Settings): Promise<string> {
  if (stateDir !== DEFAULT_STATE_DIR) return stateDir;
  const { askSettings } = await import("./cli/doctor/daemon.ts");
  const { DaemonClient } = await import("./cli/client.ts");
  const inForce = await askSettings(new DaemonClient(socketPath(runtimeDirOf(process.env))));
  return inForce?.stateDir ?? stateDir;
}

async function rules(command: Extract<Command, { type: "rules" }>): Promise<number> {
  const { action, settings } = command;
  const { runRules } = await import("./cli/rules.ts");
  using devices = new Devices(settings.devices);
  const request = { action, devices: settings.devices, group: settings.group };
  return await runRules(request, { devices, print: printLine, complain: printError });
}

async function service(type: "install-service" | "uninstall-service"): Promise<void> {
  const { installService, ownProgram, runSystemctl, uninstallService } =
    await import("./cli/service.ts");
  const change = type === "install-service" ? installService : uninstallService;
  change({ program: ownProgram(), root: "", print: printLine, systemctl: runSystemctl });
}

async function extractNames(): Promise<void> {
  const { extractNames: extract, FOLDERS } = await import("./cli/extract-names.ts");
  extract(FOLDERS, (line) => printError(`wgmon: ${line}`));
}

async function doctor(
  command: Extract<Command, { type: "doctor" }>,
  files: FilesRead,
): Promise<boolean> {
  const { runDoctor } = await import("./cli/doctor/run.ts");
  const options = { version, env: process.env, files, print: printLine };
  return await runDoctor(command, options);
}

async function health(): Promise<void> {
  const { askHealth } = await import("./cli/health.ts");
  printLine(await askHealth(process.env));
}

async function receiveEvents(command: Extract<Command, { type: "receive" }>): Promise<void> {
  const { receive } = await import("./cli/receive.ts");
  const receiver = receive({ ...command, clock: systemClock, print: printLine });
  const stop = () => void receiver.stop().then(() => process.exit(0));
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

async function ask(
  command: Extract<Command, { type: "status" | "sessions" | "events" | "top" }>,
): Promise<number> {
  const { runQuery } = await import("./cli/query-commands.ts");
  const tell = (line: string) => printError(`wgmon: ${line}`);
  const { env } = process;
  return await runQuery(command, { env, version, clock: systemClock, complain: tell });
}

function printLine(line: string): void {
  print(`${printableLine(line)}\n`);
}

function printError(...lines: readonly string[]): void {
  const text = `${lines.map(printableLine).join("\n")}\n`;
  try {
    // Not process.stderr, which opens further descriptors: the limit may already be reached.
    writeToStderr(Buffer.from(text), STDERR_TIMEOUT_MS);
  } catch (error) {
    // No C library can be called, which may be the error to report.
    if (error instanceof LibraryError) process.stderr.write(text);
  }
}

// Before the command line is parsed: the words of a line that is being typed may be anything.
if (process.argv[2] === "__complete") {
  const { complete } = await import("./cli/completion.ts");
  print(
    complete(process.argv.slice(3))
      .map((line) => `${line}\n`)
      .join(""),
  );
  process.exit();
}

try {
  const { command, files } = readCommand();
  switch (command.type) {
    case "run":
      await run(command, files);
      break;
    case "test-webhook":
      process.exit((await testWebhook(command.settings, command.target)) ? 0 : 1);
      break;
    case "outbox":
      await outbox(command);
      break;
    case "rules":
      process.exit(await rules(command));
      break;
    case "doctor":
      process.exit((await doctor(command, files)) ? 0 : 1);
      break;
    case "health":
      await health();
      break;
    case "completion":
      print((await import("./cli/completion.ts")).completion(command.shell));
      break;
    case "receive":
      await receiveEvents(command);
      break;
    case "install-service":
    case "uninstall-service":
      await service(command.type);
      break;
    case "extract-names":
      await extractNames();
      break;
    case "status":
    case "sessions":
    case "events":
    case "top":
      process.exit(await ask(command));
      break;
    case "help":
      print(helpText(command.command));
      break;
    case "version":
      print(`${versionText(version)}\n`);
      break;
    case "licenses":
      print((await import("./cli/licenses.ts")).licensesText());
      break;
  }
} catch (error) {
  if (error instanceof ConfigError) {
    printError(...error.errors.map((problem) => `wgmon: ${problem}`), error.nextStep);
    process.exit(2);
  }
  if (
    error instanceof SystemError ||
    error instanceof LibraryError ||
    error instanceof AlreadyRunning
  ) {
    printError(`wgmon: ${error.message}`);
    process.exit(1);
  }
  throw error;
}
