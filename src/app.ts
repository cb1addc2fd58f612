/**
 * START HERE. Runs the stages in the order of the flow:
 *
 *   packet -> handshake watch -> scan -> tracker -> alerts -> event -> store -> log, outbox -> channel
 *
 * To follow one packet, read PacketIntake.packetReceived, HandshakeWatchDriver.#advance (a timer runs it when a scan is
 * due), ScanLoop.scanPorts, App.#onScan and Reporter.report. stages.ts connects the stages; daemon.ts opens the inputs
 * before this file is loaded.
 */

import type { Settings } from "./config/config.ts";
import { mergeReloaded } from "./config/reload.ts";
import type { ScanResult } from "./kernel/devices.ts";
import type { PlaceFiles } from "./names/places.ts";
import { warnOfUnmatched } from "./names/unmatched.ts";
import { isPeriodic, type ScanReason } from "./scan/scan-loop.ts";
import { type AppOptions, type AppStages, buildStages, trackerOptions } from "./stages.ts";

/** Time limit for the last delivery attempts at shutdown. */
const DRAIN_MS = 800;

export class App {
  readonly stages: AppStages;
  readonly #options: AppOptions;
  #settings: Settings;
  #places: PlaceFiles;
  #unmatched: readonly string[] = [];

  constructor(settings: Settings, options: AppOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#places = options.places ?? { lookup: () => null, problems: [] };
    this.stages = buildStages(options, {
      settings: () => this.#settings,
      onScan: (scan, reason) => this.#onScan(scan, reason),
      lookup: (address) => this.#places.lookup(address),
    });
    this.#applySettings();
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** Warnings of names in the settings that matched nothing at the start, or at the last reload. */
  get unmatched(): readonly string[] {
    return this.#unmatched;
  }

  /** Processes the first scan, then the packets and link changes that arrived since. */
  start(): void {
    const { hub, inputs, intake, maintenance, recorder, scanLoop, tracker } = this.stages;
    scanLoop.start(inputs.firstScan);
    recorder.saveAll(tracker);
    inputs.start(intake);
    intake.openSample();
    maintenance.start();
    hub.start();
    this.#prepareTargets();
  }

  /** Applies the settings that can change at run time, and logs a warning for the others. */
  reload(wanted: Settings): Settings {
    const { alerts, intake, scanLoop, tracker, wakeUpWatch } = this.stages;
    const { settings, needRestart } = mergeReloaded(this.#settings, wanted);
    if (needRestart.length > 0) {
      this.#options.log.warn(`changed settings that need a restart: ${needRestart.join(", ")}`);
    }
    this.#settings = settings;
    tracker.setOptions(trackerOptions(settings));
    this.#applySettings();
    void this.#readPlaces();
    alerts.reload();
    scanLoop.reschedule();
    wakeUpWatch.checkSoon();
    intake.openSample();
    this.#prepareTargets();
    return settings;
  }

  /** Reads the files with the places of addresses again. */
  async #readPlaces(): Promise<void> {
    const { readPlaces, log } = this.#options;
    const { places: paths } = this.#settings;
    if (readPlaces === undefined) return;
    this.#places = await readPlaces(paths, this.#places);
    for (const problem of this.#places.problems) log.warn(problem);
  }

  #applySettings(): void {
    const { endpointNames, hub, names, outbox } = this.stages;
    names.setSources(this.#settings);
    endpointNames.setEnabled(this.#settings.resolveEndpoints);
    outbox.setTargets(this.#options.makeTargets(this.#settings));
    hub.set(this.#settings.hub);
  }

  /** Prepares the targets for the first event, and warns of filters and peers that match nothing now. */
  #prepareTargets(): void {
    const { inputs, names, outbox, reporter } = this.stages;
    const { log } = this.#options;
    outbox.warmUp(reporter.sampleEvent());
    this.#unmatched = warnOfUnmatched(this.#settings, { devices: inputs.devices, names, log });
  }

  /** Shuts down. Pending events are tried once more within DRAIN_MS; firewall rules are removed at the same time. */
  async stop(): Promise<void> {
    const { alerts, clockSteps, endpointNames, inputs, intake, maintenance, names } = this.stages;
    const {
      hub,
      outbox,
      recorder,
      scanLoop,
      store,
      tracker,
      traffic,
      unknown,
      viewerScans,
      wakeUpWatch,
    } = this.stages;
    const stages = [viewerScans, scanLoop, maintenance, intake, wakeUpWatch, unknown, clockSteps];
    for (const stage of stages) stage.stop();
    names[Symbol.dispose]();
    endpointNames[Symbol.dispose]();
    inputs.close();
    await Promise.all([
      outbox.drain(DRAIN_MS),
      hub.stop(DRAIN_MS),
      this.#options.firewall?.close(),
    ]);
    recorder.saveAll(tracker);
    traffic.flush(tracker.sessions);
    alerts.stop();
    store[Symbol.dispose]();
    inputs.devices[Symbol.dispose]();
  }

  /** Processes a scan: updates the sessions and reports the changes. Returns the number of changes. */
  #onScan(scan: ScanResult, reason: ScanReason): number {
    const { alerts, clock, clockSteps, hub, inputs, names, rates, reporter } = this.stages;
    const { setPorts, tracker, traffic, unknown, wakeUpWatch } = this.stages;
    clockSteps.read();
    const now = clock.now();
    const devices = inputs.devices.lastScanned;
    const changes = tracker.observe(scan, now);
    unknown.onScan(scan);
    const isStart = reason === "start";
    const haveDevicesChanged = isStart || changes.some(({ type }) => type.startsWith("device."));
    if (haveDevicesChanged) names.setDevices(devices.map(({ name }) => name));
    const judged = alerts.onScan(scan, changes, reason);
    if (changes.length > 0 || isStart || judged !== null)
      reporter.report(changes, haveDevicesChanged ? devices : null, judged);
    hub.onScan(scan, changes);
    for (const change of changes) {
      if (change.type === "peer.disconnected") traffic.ended(change);
      // No packet woke wgmon for this handshake.
      if (change.type === "peer.connected" && isPeriodic(reason))
        void wakeUpWatch.warnOfMissingPackets(change);
    }
    if (isPeriodic(reason)) rates.recordAll(tracker.sessions, now.monotonicMs);
    setPorts(devices);
    return changes.length;
  }
}
