/** The daemon of `wgmon hub`: opens the store, starts the hub and its HTTP server, reloads on SIGHUP, stops on SIGTERM. */

import { version } from "../package.json";
import { systemClock } from "./base/clock.ts";
import { makeTargets } from "./channels/create-targets.ts";
import type { Command, Settings } from "./config/config.ts";
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
import { standbyText } from "./http/fleet-model.ts";
import { makePageActions } from "./http/page-actions.ts";
import { HttpServer } from "./http/server.ts";
import { makeFleetHandler } from "./hub/fleet-handler.ts";
import type { HubLease } from "./hub/hub-lease.ts";
import { HubReadModel } from "./hub/hub-read-model.ts";
import { Hub } from "./hub/hub.ts";
import { needsEngine } from "./live-alerts/live-alerts.ts";
import { loadEngine } from "./live-alerts/load-engine.ts";
import { readPlaces } from "./names/places.ts";
import { loadPage } from "./page/load-page.ts";
import { thisMachine } from "./platform/clocks.ts";
import { lockInstance } from "./platform/instance-lock.ts";
import type { LeveledLog } from "./platform/log.ts";
import { protectMemory } from "./platform/process.ts";
import { reverseLookup } from "./platform/reverse-dns.ts";
import { hubRuntimeDirOf } from "./platform/socket-path.ts";
import { Store } from "./store/store.ts";

type HubCommand = Extract<Command, { type: "hub"; action: "run" }>;

/** What each hub of this process is made of: a new one is made when it begins, or ceases, to work. */
interface Base {
  readonly log: LeveledLog;
  readonly source: Source;
  readonly parts: Parts;
  readonly runtimeDir: string;
  readonly locks: ReturnType<typeof lockInstance>;
}

/** Resolves when the hub is running; a signal ends the process. */
export async function runHub({ settings, warnings }: HubCommand, source: Source): Promise<void> {
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
  const base = { log, source, parts, runtimeDir, locks };
  const store = await openStore(settings, base);
  const lease = await leaseOf(settings, store, log);
  await lease?.step();
  parts.notifier = await notifierOf(process.env, log);
  let running = await startHub(settings, store, lease, base);
  let switching = Promise.resolve();
  parts.app = {
    async stop() {
      await switching;
      await Promise.all([running.http.stop(), running.hub.stop()]);
      await lease?.stop();
    },
  };
  const { hub } = running;
  const gateways = [...hub.stages.enrolled.all].length;
  log.info("ready", { gateways });
  if (gateways === 0) log.info("no gateway is enrolled yet: wgmon hub enroll NAME");
  parts.notifier?.ready();
  if (parts.isReloadPending) reload(running.reloader);
  await warnOfSecrets(source.files, settings, log);
  const restart = async () => {
    const before = running;
    await Promise.all([before.http.stop(), before.hub.stop()]);
    const { settings: current } = before.hub;
    running = await startHub(current, await openStore(current, base), lease, base);
  };
  let isSwitching = false;
  lease?.start(() => {
    if (isSwitching) return;
    running.hub.followLease();
    if (running.hub.isActive === lease.isActive) return;
    isSwitching = true;
    switching = restart().then(() => void (isSwitching = false));
  });
}

async function openStore(settings: Settings, { locks, log }: Base): Promise<Store> {
  return await Store.open({
    directory: settings.stateDir,
    refusal: locks.stateDir,
    boot: thisMachine().bootId,
    isHub: true,
    clock: systemClock,
    log,
  });
}

/** Returns null without NATS: such a hub always works. */
async function leaseOf(
  { nats, host }: Settings,
  store: Store,
  log: LeveledLog,
): Promise<HubLease | null> {
  if (nats === null) return null;
  const [{ HubLease }, { leaseInNats }] = await Promise.all([
    import("./hub/hub-lease.ts"),
    import("./hub/nats-lease.ts"),
  ]);
  // The same after each start with this store.
  const id = store.targetKey("the lease of hubs");
  return new HubLease({ place: leaseInNats(nats, host), id, hub: host, clock: systemClock, log });
}

/** Starts the hub, to work or to stand by, and its HTTP server. */
async function startHub(settings: Settings, store: Store, lease: HubLease | null, base: Base) {
  const { log, parts, source, runtimeDir, locks } = base;
  const clock = systemClock;
  const places = await readPlaces(settings.places);
  for (const problem of places.problems) log.warn(problem);
  const isActive = lease === null || lease.isActive;
  const isEngineNeeded = isActive && needsEngine(settings.alerts, store.alerts.loadState());
  const hub = new Hub(settings, {
    clock,
    machine: thisMachine(),
    log,
    store,
    lease,
    makeTargets: ({ targets }) =>
      makeTargets(targets, { version, clock, keyOf: (address) => store.targetKey(address) }),
    reverseLookup,
    engineClass: isEngineNeeded ? await loadEngine() : null,
    lookup: places.lookup,
  });
  hub.start();
  if (lease !== null)
    log.info(hub.isActive ? "this hub works" : standbyText(hub.stages.fleet.role())!);
  const { readCommand } = source;
  const reloader = await reloaderOf(hub, { readCommand, log, notifier: parts.notifier });
  parts.reloader = reloader;
  const http = await HttpServer.start({
    loadPage,
    source: new HubReadModel(version, hub.stages),
    ...(hub.isActive
      ? {
          actions: makePageActions({ ...hub.stages, hub: null }),
          alertActions: hub.stages.alerts,
        }
      : {}),
    fleet: makeFleetHandler(hub, log),
    settings: () => hub.settings,
    reload: () => reloader.reload(),
    runtimeDir,
    refusal: locks.socket,
    log,
    clock,
  });
  return { hub, http, reloader };
}
