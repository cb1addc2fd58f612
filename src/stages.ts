/** Builds the stages, and connects each to those before and after it. app.ts runs them. */

import { version } from "../package.json";
import type { Lookup } from "./alerts/kinds/kind.ts";
import type { Clock } from "./base/clock.ts";
import { inCurrentClock, type Machine, WallClock } from "./base/wall-clock.ts";
import type { Device } from "./base/wireguard.ts";
import type { Settings } from "./config/config.ts";
import { Outbox } from "./delivery/outbox.ts";
import { Reporter } from "./delivery/reporter.ts";
import type { Target } from "./delivery/target.ts";
import type { FirewallManager } from "./firewall/firewall-manager.ts";
import type { ScanResult } from "./kernel/devices.ts";
import { LiveAlerts } from "./live-alerts/live-alerts.ts";
import { type EngineClass, loadEngine } from "./live-alerts/load-engine.ts";
import { EndpointNames, type ReverseLookup } from "./names/endpoint-names.ts";
import { PeerNames } from "./names/peer-names.ts";
import type { PlaceFiles } from "./names/places.ts";
import type { Log } from "./platform/log.ts";
import type { Inputs } from "./scan/inputs.ts";
import { PacketIntake } from "./scan/packet-intake.ts";
import { ScanLoop, type ScanReason } from "./scan/scan-loop.ts";
import { ViewerScans } from "./scan/viewer-scans.ts";
import { mac1Check } from "./sessions/load-mac1.ts";
import { Tracker, type TrackerOptions } from "./sessions/tracker.ts";
import { UnknownHandshakes } from "./sessions/unknown-handshakes.ts";
import { Metrics } from "./stats/counters.ts";
import { RateTracker } from "./stats/rates.ts";
import { ClockSteps } from "./store/clock-steps.ts";
import { Maintenance } from "./store/maintenance.ts";
import { StateRecorder } from "./store/state-recorder.ts";
import type { Store } from "./store/store.ts";
import { TrafficRecorder } from "./store/traffic-recorder.ts";
import { HubLink } from "./uplink/hub-link.ts";
import { WakeUpWatch } from "./wakeup/wake-up-watch.ts";

export interface AppOptions {
  readonly clock: Clock;
  readonly machine: Machine;
  readonly log: Log;
  readonly inputs: Inputs;
  readonly store: Store;
  /** null: wgmon does not manage firewall rules. */
  readonly firewall: FirewallManager | null;
  readonly makeTargets: (settings: Settings) => readonly Target[];
  readonly reverseLookup: ReverseLookup;
  /** The alert engine, if it is needed at the start: see `needsEngine`. */
  readonly engineClass?: EngineClass | null;
  /** Reads the files with the places of addresses again: see places.ts. Omitted: places are unknown. */
  readonly readPlaces?: (paths: readonly string[], before: PlaceFiles) => Promise<PlaceFiles>;
  /** The files as of the start. */
  readonly places?: PlaceFiles;
}

/** The callbacks of App that the stages use. */
interface Hooks {
  /** The settings in effect. */
  readonly settings: () => Settings;
  /** Processes a scan; returns the number of changes. */
  readonly onScan: (scan: ScanResult, reason: ScanReason) => number;
  /** Returns the place of an address; null: unknown. */
  readonly lookup: Lookup;
}

export type AppStages = ReturnType<typeof buildStages>;

export function buildStages(options: AppOptions, { settings, onScan, lookup }: Hooks) {
  const { log, inputs, store, firewall } = options;
  const { devices, wakeUp } = inputs;
  const metrics = new Metrics();
  const saved = store.clockState();
  const clock = new WallClock({ ...options, saved });
  const clockSteps = new ClockSteps({ clock, store, log, isFirstRun: saved === null });
  const names = new PeerNames({ clock, log });
  const nameOf: PeerNames["nameOf"] = (publicKey, device) => names.nameOf(publicKey, device);
  const recorder = new StateRecorder(store, clock);
  const restored = recorder.loadState(settings().devices);
  const tracker = new Tracker(trackerOptions(settings()), restored, clock.now());
  if (tracker.connected > 0) {
    log.info("restored sessions of the previous run", { sessions: tracker.connected });
  }
  const handshakeAtMs: Tracker["handshakeAtMs"] = (address, port, listenPort) =>
    tracker.handshakeAtMs(address, port, listenPort);
  const traffic = new TrafficRecorder(store, clock, tracker.sessions);
  const outbox = new Outbox({
    clock,
    log,
    store,
    attempted: (target, result) => metrics.attempts.add([target, result]),
  });
  const reporter = new Reporter({ log, metrics, recorder, tracker, outbox, settings, nameOf });
  const hub = new HubLink({
    clock,
    log,
    store,
    attempted: (target, result) => metrics.attempts.add([target, result]),
    source: {
      program: version,
      get startedAtMs() {
        return clockSteps.startedAtMs;
      },
      now: () => clock.now(),
      host: () => settings().host,
      devices: () => devices.lastScanned,
      count: (device) => devices.count(device),
      peers: (device) => devices.peers(device),
      inCurrentClock: (peer) => inCurrentClock(peer, clock),
      session: (device, publicKey) => tracker.session(device, publicKey),
      nameOf,
      tagsOf: (publicKey) => settings().peers.get(publicKey)?.tags ?? [],
    },
  });
  reporter.subscribe(() => hub.eventsAdded());
  const alerts = new LiveAlerts({
    clock,
    bootMs: () => options.machine.bootMs(),
    store,
    engineClass: options.engineClass ?? null,
    loadEngine,
    lookup,
    devices,
    nameOf,
    settings,
    sessions: tracker.sessions,
    targets: () => [...outbox.targets, ...hub.targets],
    isTicking: () => scanLoop.isTicking,
    report: (write) => reporter.report([], null, write),
  });
  const wakeUpWatch = new WakeUpWatch({
    wakeUp,
    clock,
    log,
    isManaged: firewall !== null,
    portOf: (device) => devices.lastScanned.find(({ name }) => name === device)?.listenPort ?? null,
    check: () => inputs.checkWakeUp(),
  });
  const scanLoop = new ScanLoop({
    clock,
    log,
    metrics,
    devices,
    isPolling: wakeUp.monitor === "poll",
    tracker,
    settings,
    onScan,
  });
  const viewerScans = new ViewerScans({ clock, scan: () => scanLoop.scanForViewer() });
  const unknown = new UnknownHandshakes({
    clock,
    deviceAt: (port) => devices.lastScanned.find((each) => each.listenPort === port) ?? null,
    handshakeAtMs,
    mac1Check,
    nameOf,
    report: (found) => reporter.report(found, null, alerts.onChanges(found)),
  });
  const intake = new PacketIntake({
    clock,
    log,
    metrics,
    inputs,
    scanLoop,
    handshakeAtMs,
    onMessage: (port) => wakeUpWatch.messageCaptured(port),
    reportsUnknown: () => settings().reportUnknown,
    onUnknown: (datagram) => unknown.onDatagram(datagram),
  });
  if (firewall !== null) firewall.onLoaded = () => intake.rulesLoaded();
  const maintenance = new Maintenance({
    clock,
    saveDue() {
      clockSteps.read();
      outbox.refresh();
      hub.refresh();
      // Together, because a restart takes the saved counters of a session for those whose traffic was written.
      const isMinute = traffic.flushIfDue(tracker.sessions);
      if (isMinute) recorder.saveChanged(tracker);
      alerts.saveDue(isMinute);
    },
    everyMinute: () => firewall?.check(),
    trim() {
      const { keepMs, maxStoreBytes } = settings();
      return recorder.trim({ keepMs, maxBytes: maxStoreBytes });
    },
  });
  /** Captures packets to the ports on which the devices listen, and only those. */
  const setPorts = (present: readonly Device[]): void => {
    // 0: the device is down.
    const ports = [...new Set(present.map(({ listenPort }) => listenPort))].filter(
      (port) => port !== 0,
    );
    intake.setPorts(ports);
    firewall?.setPorts(ports);
    wakeUpWatch.setPorts(ports);
  };
  clockSteps.subscribe(tracker, outbox, traffic, wakeUpWatch, alerts, hub);
  return {
    alerts,
    clock,
    clockSteps,
    endpointNames: new EndpointNames({ clock, lookUp: options.reverseLookup }),
    hub,
    inputs,
    intake,
    maintenance,
    metrics,
    names,
    outbox,
    rates: new RateTracker(),
    recorder,
    reporter,
    scanLoop,
    setPorts,
    settings,
    store,
    tracker,
    traffic,
    unknown,
    viewerScans,
    wakeUpWatch,
  };
}

export function trackerOptions(settings: Settings): TrackerOptions {
  const { idleTimeoutMs, holdMs, announceExisting, peers } = settings;
  return {
    idleTimeoutMs: (publicKey) => peers.get(publicKey)?.idleTimeoutMs ?? idleTimeoutMs,
    holdMs,
    announceExisting,
  };
}
