/**
 * The daemon: opens the inputs, reports that it is ready, starts the stages and the HTTP server, reloads on SIGHUP and
 * stops on SIGTERM.
 */

import { version } from "../package.json";
import type { App } from "./app.ts";
import { systemClock } from "./base/clock.ts";
import { ConfigError, SystemError } from "./base/errors.ts";
import { type Command, describeSettings, type Settings } from "./config/config.ts";
import type { FilesRead } from "./config/secret-files.ts";
import type { HttpServer } from "./http/server.ts";
import type { PlaceFiles } from "./names/places.ts";
import { loadPage } from "./page/load-page.ts";
import { thisMachine } from "./platform/clocks.ts";
import { lockInstance } from "./platform/instance-lock.ts";
import { chooseFormat, createLog, type LeveledLog, type Log } from "./platform/log.ts";
import { hostname } from "./platform/machine-names.ts";
import { protectMemory } from "./platform/process.ts";
import { reverseLookup } from "./platform/reverse-dns.ts";
import { runtimeDirOf } from "./platform/socket-path.ts";
import { isTerminal } from "./platform/standard-streams.ts";
import type { Notifier } from "./platform/systemd-notify.ts";
import type { Reloader } from "./reloader.ts";
import { type Inputs, openInputs } from "./scan/inputs.ts";

const STDERR = 2;

type RunCommand = Extract<Command, { type: "run" }>;

/** Where the settings come from, now and at each reload. */
export interface Source {
  readonly files: FilesRead;
  readonly readCommand: () => { readonly command: Command; readonly files: FilesRead };
}

/** The parts that a signal stops or reloads; null: not started yet. */
export interface Parts {
  app: { stop(): Promise<void> } | null;
  http: HttpServer | null;
  notifier: Notifier | null;
  /** null: there is no app yet. */
  reloader: Reloader | null;
  /** Whether SIGHUP was received before there was an app. */
  isReloadPending: boolean;
}

/** Resolves when the daemon is running; a signal ends the process. */
export async function runDaemon(
  { settings, warnings }: RunCommand,
  { files, readCommand }: Source,
): Promise<void> {
  const log = openLog(settings);
  for (const warning of warnings) log.warn(warning);
  const parts: Parts = {
    app: null,
    http: null,
    notifier: null,
    reloader: null,
    isReloadPending: false,
  };
  handleSignals(parts, log);

  const runtimeDir = runtimeDirOf(process.env);
  const locks = lockInstance(settings.stateDir, runtimeDir);
  const inputs = await openInputs(settings, systemClock);
  logReady(settings, inputs, log);
  // From here on the JIT works as usual. build.ts delays it, because compiling makes the start slower.
  Bun.unsafe.setJITPolicy(1);
  protectMemory();
  const notifier = await notifierOf(process.env, log);
  parts.notifier = notifier;
  notifier?.ready();

  const app = await createApp(settings, { inputs, refusal: locks.stateDir, log });
  parts.app = app;
  app.start();
  if (notifier !== null) publishStatus(notifier, app);
  const reloader = await reloaderOf(app, { readCommand, log, notifier });
  parts.reloader = reloader;
  if (parts.isReloadPending) reload(reloader);
  await warnOfSecrets(files, settings, log);
  parts.http = await startHttp(app, { runtimeDir, refusal: locks.socket, log, reloader });
}

export function openLog(settings: Settings): LeveledLog {
  const { env } = process;
  const format = chooseFormat(settings.logFormat, { env, isTerminal: isTerminal(STDERR) });
  const log = createLog({ format, level: settings.logLevel });
  log.info(`wgmon ${version}`, describeSettings(settings, hostname()));
  return log;
}

/** SIGTERM and SIGINT stop the daemon; SIGHUP reloads the settings. */
export function handleSignals(parts: Parts, log: LeveledLog): void {
  let isStopping = false;
  const stop = async (signal: NodeJS.Signals) => {
    if (isStopping) return;
    isStopping = true;
    log.info("stopping", { signal });
    parts.notifier?.stopping();
    await Promise.all([parts.http?.stop(), parts.app?.stop()]);
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void stop(signal));
  process.on("SIGINT", (signal) => void stop(signal));
  const onTerminal = isTerminal(STDERR);
  process.on("SIGHUP", (signal) => {
    const { reloader } = parts;
    // The terminal that wgmon was started on was closed, so the daemon must not continue as root.
    if (onTerminal && !isTerminal(STDERR)) void stop(signal);
    else if (reloader === null) parts.isReloadPending = true;
    else reload(reloader);
  });
}

export async function reloaderOf(
  app: ConstructorParameters<typeof Reloader>[0]["app"],
  options: { readCommand: Source["readCommand"]; log: LeveledLog; notifier: Notifier | null },
): Promise<Reloader> {
  // Loaded after "ready", because nothing depends on it.
  const { Reloader } = await import("./reloader.ts");
  const checkSecrets = (files: FilesRead, settings: Settings) =>
    warnOfSecrets(files, settings, options.log);
  return new Reloader({ ...options, app, hostname: hostname(), checkSecrets });
}

/** Reads the settings again. Mistakes in them are logged, and the current ones stay in effect. */
export function reload(reloader: Reloader): void {
  reloader.reload().catch((error: unknown) => {
    if (!(error instanceof ConfigError || error instanceof SystemError)) throw error;
  });
}

async function createApp(
  settings: Settings,
  { inputs, refusal, log }: { inputs: Inputs; refusal: SystemError | null; log: Log },
): Promise<App> {
  // Loaded after "ready", because loading takes a millisecond.
  const [{ App }, { needsEngine }, { loadEngine }, { Store }, { makeTargets }] = await Promise.all([
    import("./app.ts"),
    import("./live-alerts/live-alerts.ts"),
    import("./live-alerts/load-engine.ts"),
    import("./store/store.ts"),
    import("./channels/create-targets.ts"),
  ]);
  const clock = systemClock;
  const machine = thisMachine();
  const store = await Store.open({
    directory: settings.stateDir,
    refusal,
    boot: machine.bootId,
    clock,
    log,
  });
  const keyOf = (address: string) => store.targetKey(address);
  const isEngineNeeded = needsEngine(settings.alerts, store.alerts.loadState());
  const readPlaces = async (paths: readonly string[], before: PlaceFiles | null = null) =>
    (await import("./names/places.ts")).readPlaces(paths, before);
  const places = settings.places.length === 0 ? null : await readPlaces(settings.places);
  for (const problem of places?.problems ?? []) log.warn(problem);
  return new App(settings, {
    engineClass: isEngineNeeded ? await loadEngine() : null,
    readPlaces,
    ...(places === null ? {} : { places }),
    clock,
    machine,
    log,
    inputs,
    store,
    firewall: await firewallManagerOf(settings, inputs, log),
    makeTargets: ({ targets }) => makeTargets(targets, { version, clock, keyOf }),
    reverseLookup,
  });
}

async function startHttp(
  app: App,
  {
    reloader,
    ...options
  }: { runtimeDir: string; refusal: SystemError | null; log: Log; reloader: Reloader },
): Promise<HttpServer> {
  // Loaded last, because nothing depends on it.
  const [{ HttpServer }, { DaemonReadModel }, { makePageActions }] = await Promise.all([
    import("./http/server.ts"),
    import("./http/daemon-read-model.ts"),
    import("./http/page-actions.ts"),
  ]);
  return await HttpServer.start({
    loadPage,
    source: new DaemonReadModel(version, app.stages),
    actions: makePageActions(app.stages),
    alertActions: app.stages.alerts,
    settings: () => app.settings,
    reload: () => reloader.reload(),
    ...options,
    clock: systemClock,
  });
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
  const awaited = wanted.length === 0 ? "a WireGuard device" : wanted.join(", ");
  log.info(`there is no WireGuard device to watch yet; waiting for ${awaited}`);
}

/** Returns null if $NOTIFY_SOCKET is not set, i.e. not started by systemd or similar. */
export async function notifierOf(env: NodeJS.ProcessEnv, log: Log): Promise<Notifier | null> {
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
export async function warnOfSecrets(files: FilesRead, settings: Settings, log: Log): Promise<void> {
  const { checkSecrets } = await import("./config/secret-files.ts");
  for (const { verdict, found, fix } of checkSecrets(files, settings)) {
    if (verdict !== "ok") log.warn(`${found}; ${fix}`);
  }
}
