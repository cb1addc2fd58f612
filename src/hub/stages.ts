/** Builds the stages of the hub, and connects each to those before and after it. hub.ts runs them. */

import type { Clock } from "../base/clock.ts";
import { type ClockStep, type Machine, WallClock } from "../base/wall-clock.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { Settings } from "../config/config.ts";
import { Outbox } from "../delivery/outbox.ts";
import type { Target } from "../delivery/target.ts";
import type { ScanResult } from "../kernel/devices.ts";
import { LiveAlerts } from "../live-alerts/live-alerts.ts";
import { type EngineClass, loadEngine } from "../live-alerts/load-engine.ts";
import { EndpointNames, type ReverseLookup } from "../names/endpoint-names.ts";
import type { Log } from "../platform/log.ts";
import { Metrics } from "../stats/counters.ts";
import { RateTracker } from "../stats/rates.ts";
import { ClockSteps } from "../store/clock-steps.ts";
import { Maintenance } from "../store/maintenance.ts";
import type { Store } from "../store/store.ts";
import { TrafficRecorder } from "../store/traffic-recorder.ts";
import { EnrolledGateways } from "./enrolled.ts";
import { FleetReporter } from "./fleet-reporter.ts";
import { FleetState } from "./fleet-state.ts";
import { GatewayWatch } from "./gateway-watch.ts";
import type { HubLease } from "./hub-lease.ts";
import { Intake } from "./intake.ts";
import { StateSaver } from "./state-saver.ts";

/** A scan with this reason may look for changed settings of peers. */
const REPORT_REASON = "reconcile";

export interface HubOptions {
  readonly clock: Clock;
  readonly machine: Machine;
  readonly log: Log;
  readonly store: Store;
  /** Says whether this hub works; omitted: it does. */
  readonly lease?: HubLease | null;
  readonly makeTargets: (settings: Settings) => readonly Target[];
  readonly reverseLookup: ReverseLookup;
  /** The alert engine, if it is needed at the start: see `needsEngine`. */
  readonly engineClass: EngineClass | null;
  /** Returns the place of an address; null: unknown. */
  readonly lookup: ConstructorParameters<typeof LiveAlerts>[0]["lookup"];
}

/** @param settings the settings in effect. */
export function buildHubStages(options: HubOptions, settings: () => Settings) {
  const { log, store } = options;
  const metrics = new Metrics();
  const saved = store.clockState();
  const clock = new WallClock({ ...options, saved });
  const clockSteps = new ClockSteps({ clock, store, log, isFirstRun: saved === null });
  const now = clock.now();
  const enrolled = new EnrolledGateways(store.fleet);
  const fleet = new FleetState();
  const watch = new GatewayWatch(now);
  for (const { name, before } of enrolled.all) {
    const last = before?.saved ?? null;
    fleet.add(name, last, now);
    // A gateway may have reported to another hub only.
    const isKnown = before !== null && (last !== null || before.condition !== "waiting");
    watch.add(name, isKnown ? { ...before, seenMs: last?.seenMs ?? now.wallMs } : null);
    fleet.setCondition(name, watch.condition(name), last?.seenMs ?? now.wallMs);
    fleet.restoreSessions(store.sessions.openOf(name), now);
  }
  const rates = new RateTracker();
  const traffic = new TrafficRecorder(store, clock, fleet.storedSessions());
  const outbox = new Outbox({
    clock,
    log,
    store,
    attempted: (target, result) => metrics.attempts.add([target, result]),
  });
  const reporter = new FleetReporter({
    clock,
    log,
    metrics,
    store,
    state: fleet,
    outbox,
    alerts: () => alerts,
    isEnrolled: (gateway) => enrolled.get(gateway) !== null,
    traffic,
    settings,
  });
  const ownTags = (publicKey: PublicKey) => settings().peers.get(publicKey)?.tags ?? [];
  const alerts = new LiveAlerts({
    // The times of the gateways are converted when they arrive.
    clock: { now: () => clock.now(), after: clock.after.bind(clock), current: (ms) => ms },
    bootMs: () => options.machine.bootMs(),
    store,
    engineClass: options.engineClass,
    loadEngine,
    lookup: options.lookup,
    devices: {
      count: (device) => fleet.peerCount(device),
      peers: (device) => fleet.peers(device),
    },
    nameOf: (publicKey, device) =>
      fleet.naming(publicKey, device).name ?? settings().peers.get(publicKey)?.name ?? null,
    tagsOf: (publicKey, device) => {
      const { tags } = fleet.naming(publicKey, device);
      const own = ownTags(publicKey);
      return own.length === 0 ? tags : [...new Set([...tags, ...own])];
    },
    settings,
    sessions: fleet.sessions,
    targets: () => outbox.targets,
    isTicking: () => false,
    report: (write) => reporter.report([], write),
  });
  const onScan = (scan: ScanResult): void => {
    const { monotonicMs } = clock.now();
    for (const { device } of scan.devices) {
      const connected = fleet
        .peers(device.name)
        .filter(({ publicKey }) => fleet.session(device.name, publicKey) !== null);
      rates.record(device.name, connected, monotonicMs);
    }
    const write = alerts.onScan(scan, [], REPORT_REASON);
    if (write !== null) reporter.report([], write);
  };
  const { lease = null } = options;
  // Until this hub is stopped: it stands by, even if it has just taken the lease over.
  const otherLease = lease?.isActive === false ? lease : null;
  const saver = new StateSaver({
    clock,
    store,
    enrolled,
    fleet,
    conditionAtOther: (gateway) => otherLease?.lease?.gateways[gateway] ?? null,
  });
  const intake = new Intake({
    clock,
    log,
    store,
    enrolled,
    state: fleet,
    watch,
    reporter,
    host: () => settings().host,
    onCondition: () => saver.saveStates(),
    onScan,
  });
  const maintenance = new Maintenance({
    clock,
    saveDue() {
      clockSteps.read();
      outbox.refresh();
      // Together, because a restart takes the saved counters of a session for those whose traffic was written.
      const isMinute = traffic.flushIfDue(fleet.storedSessions());
      if (isMinute) saver.save();
      alerts.saveDue(isMinute);
    },
    everyMinute() {},
    trim() {
      const { keepMs, maxStoreBytes } = settings();
      return store.trim({ keepMs, maxBytes: maxStoreBytes }, clock.now().wallMs);
    },
  });
  // Sessions are stored, and their traffic is counted, in the clocks of their gateways.
  const trafficTimes = { clockSet: (step: ClockStep) => traffic.clockSet(step, false) };
  clockSteps.subscribe(outbox, trafficTimes, fleet, alerts);
  return {
    alerts,
    clock,
    clockSteps,
    endpointNames: new EndpointNames({ clock, lookUp: options.reverseLookup }),
    enrolled,
    fleet,
    intake,
    maintenance,
    metrics,
    outbox,
    rates,
    reporter,
    saver,
    settings,
    store,
    traffic,
    watch,
  };
}
