/** The daemon of `wgmon hub`: opens the store, starts the hub and its HTTP server, reloads on SIGHUP, stops on SIGTERM. */

import { version } from "../package.json";
import { systemClock } from "./base/clock.ts";
import { makeTargets } from "./channels/create-targets.ts";
import type { Command } from "./config/config.ts";
import {
  handleSignals,
  notifierOf,
  openLog,
  type Parts,
  reload,
  reloaderOf,
  type Source,
  warnOfSecrets,
} from "./daemon.ts";
import { makePageActions } from "./http/page-actions.ts";
import { HttpServer } from "./http/server.ts";
import { makeFleetHandler } from "./hub/fleet-handler.ts";
import { HubReadModel } from "./hub/hub-read-model.ts";
import { Hub } from "./hub/hub.ts";
import { needsEngine } from "./live-alerts/live-alerts.ts";
import { loadEngine } from "./live-alerts/load-engine.ts";
import { readPlaces } from "./names/places.ts";
import { loadPage } from "./page/load-page.ts";
import { thisMachine } from "./platform/clocks.ts";
import { lockInstance } from "./platform/instance-lock.ts";
import { protectMemory } from "./platform/process.ts";
import { reverseLookup } from "./platform/reverse-dns.ts";
import { hubRuntimeDirOf } from "./platform/socket-path.ts";
import { Store } from "./store/store.ts";

type HubCommand = Extract<Command, { type: "hub"; action: "run" }>;

/** Resolves when the hub is running; a signal ends the process. */
export async function runHub(
  { settings, warnings }: HubCommand,
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

  const runtimeDir = hubRuntimeDirOf(process.env);
  const locks = lockInstance(settings.stateDir, runtimeDir);
  Bun.unsafe.setJITPolicy(1);
  protectMemory();
  const clock = systemClock;
  const machine = thisMachine();
  const store = await Store.open({
    directory: settings.stateDir,
    refusal: locks.stateDir,
    boot: machine.bootId,
    isHub: true,
    clock,
    log,
  });
  const places = await readPlaces(settings.places);
  for (const problem of places.problems) log.warn(problem);
  const isEngineNeeded = needsEngine(settings.alerts, store.alerts.loadState());
  const hub = new Hub(settings, {
    clock,
    machine,
    log,
    store,
    makeTargets: ({ targets }) =>
      makeTargets(targets, { version, clock, keyOf: (address) => store.targetKey(address) }),
    reverseLookup,
    engineClass: isEngineNeeded ? await loadEngine() : null,
    lookup: places.lookup,
  });
  parts.app = hub;
  hub.start();
  const gateways = [...hub.stages.enrolled.all].length;
  log.info("ready", { gateways });
  if (gateways === 0) log.info("no gateway is enrolled yet: wgmon hub enroll NAME");
  const notifier = await notifierOf(process.env, log);
  parts.notifier = notifier;
  notifier?.ready();
  const reloader = await reloaderOf(hub, { readCommand, log, notifier });
  parts.reloader = reloader;
  if (parts.isReloadPending) reload(reloader);
  await warnOfSecrets(files, settings, log);
  parts.http = await HttpServer.start({
    loadPage,
    source: new HubReadModel(version, hub.stages),
    actions: makePageActions(hub.stages),
    alertActions: hub.stages.alerts,
    fleet: makeFleetHandler(hub, log),
    settings: () => hub.settings,
    reload: () => reloader.reload(),
    runtimeDir,
    refusal: locks.socket,
    log,
    clock,
  });
}
