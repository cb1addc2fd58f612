/**
 * START HERE. Builds the stages and connects them in the order of the flow:
 *
 *   packet -> handshake watch -> scan -> tracker -> event -> store -> log, outbox -> channel
 *
 * Besides packets, three slower sources cause scans: a changed link, the tick that runs while a peer is connected or
 * can return without a handshake, and the periodic reconcile scan, unless it is off.
 */

import { LibraryError } from "../ffi/errors.ts";
import type { Clock } from "./base/clock.ts";
import { isUnreadable, ParseError } from "./base/errors.ts";
import { type ClockStep, type Machine, moved, WallClock } from "./base/wall-clock.ts";
import { type PublicKey, shortKey } from "./base/wireguard.ts";
import type { HandshakeSample } from "./capture/handshake-sample.ts";
import { type CapturedDatagram, parsePacket } from "./capture/packet.ts";
import type { SentTap } from "./capture/sent-handshakes.ts";
import type { Settings } from "./config/config.ts";
import { Outbox } from "./delivery/outbox.ts";
import type { Target } from "./delivery/target.ts";
import type { Event } from "./events/event-schema.ts";
import { describeEvent, duration, eventOf, logFields } from "./events/event.ts";
import type { FirewallManager } from "./firewall/firewall-manager.ts";
import type { Parts } from "./http/daemon-read-model.ts";
import type { WakeUpState } from "./http/read-model.ts";
import type { ScanResult } from "./kernel/devices.ts";
import { type LinkEvent, parseLinkEvents } from "./kernel/links.ts";
import { bytesOf } from "./kernel/netlink.ts";
import { PeerNames } from "./names/peer-names.ts";
import { warnOfUnmatched } from "./names/unmatched.ts";
import { WG_GENL_NAME } from "./platform/constants.ts";
import type { Log } from "./platform/log.ts";
import { threadCpuMs } from "./platform/os.ts";
import type { InputHandler, Inputs } from "./scan/inputs.ts";
import { WatchDriver } from "./scan/watch-driver.ts";
import { type Change } from "./sessions/change.ts";
import { hasValidMac1 } from "./sessions/mac1.ts";
import { Tracker, type TrackerOptions } from "./sessions/tracker.ts";
import { UnknownHandshakes } from "./sessions/unknown-handshakes.ts";
import { Metrics } from "./stats/counters.ts";
import { RateTracker } from "./stats/rates.ts";
import { type ReportedEvent, StateRecorder } from "./store/state-recorder.ts";
import type { Store, StoredEvent } from "./store/store.ts";
import { TrafficRecorder } from "./store/traffic-recorder.ts";
import { WakeUpWatch } from "./wakeup/watch.ts";

/** Time limit for the last delivery attempts at shutdown. */
const DRAIN_MS = 800;

/**
 * A device is created, then configured, then brought up. rtnetlink reports only the first and the last step, so scans
 * at these times after a link change find its port and its peers.
 */
const LINK_SCANS_MS = [5, 300, 2000];

/**
 * Code that has not run yet is interpreted and takes ten times as long. To report the first peer as fast as later ones,
 * wgmon takes this many scans after the start, this far apart, and stops early if they use more than WARM_UP_MAX_MS of
 * processor time.
 */
const WARM_UP_SCANS = 20;
const WARM_UP_PAUSE_MS = 25;
const WARM_UP_MAX_MS = 200;

/** Interval for saving sessions and traffic that are due, and for reading what `wgmon outbox` changed. */
const MAINTENANCE_MS = 10_000;
/** Interval for retention and for re-checking our firewall rules. */
const RETENTION_MS = 60_000;
/** The reader reattaches every 250 ms; log a repeated loss only once per outage. */
const LOST_AGAIN_MS = 1000;
/** Log a scan problem again if it was absent for this long. Scans may be a minute apart. */
const PROBLEM_OVER_MS = 10 * 60_000;
/** Pause between retention steps while there is more to delete than one step may. */
const TRIM_PAUSE_MS = 100;
/** Settings that cannot change at run time, and the names that users know them by. */
const FIXED = [
  ["monitor", "monitor"],
  ["group", "group"],
  ["captureInterface", "interface"],
  ["manageRules", "manage-rules"],
  ["filter", "filter"],
  ["devices", "device"],
  ["stateDir", "state-dir"],
  ["logFormat", "log-format"],
  ["listen", "listen"],
  ["listenTls", "listen-tls-cert"],
] as const;

/** Why a scan is taken. */
type ScanReason =
  "start" | "warm-up" | "packet" | "tick" | "link" | "lost" | "reconcile" | "request";

interface AppOptions {
  readonly clock: Clock;
  readonly machine: Machine;
  readonly log: Log;
  readonly inputs: Inputs;
  readonly store: Store;
  /** null: wgmon does not manage firewall rules. */
  readonly rules: FirewallManager | null;
  readonly makeTargets: (settings: Settings) => readonly Target[];
}

export class App implements InputHandler {
  readonly #clock: WallClock;
  readonly #log: Log;
  readonly #store: Store;
  readonly #history: StateRecorder;
  readonly #rules: FirewallManager | null;
  readonly #makeTargets: AppOptions["makeTargets"];
  readonly #inputs: Inputs;
  readonly #tracker: Tracker;
  readonly #watch: WatchDriver;
  readonly #unknown: UnknownHandshakes;
  /** null: not enabled, not permitted or not open yet. */
  #sample: HandshakeSample | null = null;
  /** Whether opening the sample was attempted. */
  #hasSample = false;
  readonly #names: PeerNames;
  readonly #outbox: Outbox;
  readonly #traffic: TrafficRecorder;
  readonly #counters = new Metrics();
  readonly #rates = new RateTracker();
  readonly #listeners = new Set<(placed: readonly StoredEvent[]) => void>();
  #settings: Settings;
  /** Start of the program, on the present wall clock. */
  #startedAtMs: number;
  #cancelTick = () => {};
  #cancelReconcile = () => {};
  #cancelMaintenance = () => {};
  #cleanedMs = 0;
  #isTrimming = false;
  #cancelWarmUp = () => {};
  #cancelLinkScans: (() => void)[] = [];
  #lastTickMs = -Infinity;
  /** The most recent scan. Scans run one at a time. */
  #lastScan: Promise<unknown> = Promise.resolve();
  /** Problems of the last scan. */
  #problems: readonly Error[] = [];
  /** Messages of scan problems and when each last occurred, since the last complete scan without problems. */
  readonly #failing = new Map<string, number>();
  /** The latest packet loss. */
  #lost = { reason: "", atMs: -Infinity };
  readonly #wakeUpWatch: WakeUpWatch;
  #stopped = false;

  constructor(settings: Settings, options: AppOptions) {
    const { log, inputs, store, rules, makeTargets } = options;
    this.#settings = settings;
    this.#log = log;
    this.#inputs = inputs;
    this.#store = store;
    const saved = store.clockState();
    const clock = new WallClock({ ...options, saved });
    this.#clock = clock;
    const step = clock.read();
    if (step === null) store.saveClockState(clock.state);
    else store.clockSet(step, clock.state);
    // Without a saved state there is no step to log; times in 1970 are moved in any case.
    if (step !== null && saved !== null) this.#logStep(step);
    const { wallMs, monotonicMs } = clock.now();
    // The monotonic clock starts with the program.
    this.#startedAtMs = Math.round(wallMs - monotonicMs);
    this.#rules = rules;
    this.#makeTargets = makeTargets;
    this.#names = new PeerNames({ clock, log });
    this.#names.setSources(settings);
    this.#history = new StateRecorder(store, clock);
    const earlier = this.#history.loadState(settings.devices);
    this.#tracker = new Tracker(trackerOptions(settings), earlier, clock.now());
    const handshakeAtMs: Tracker["handshakeAtMs"] = (address, port, listenPort) =>
      this.#tracker.handshakeAtMs(address, port, listenPort);
    this.#watch = new WatchDriver({
      clock,
      select: (indexes) => this.#attempt(() => inputs.capture.select(indexes)),
      openSentTap: () => this.#openSentTap(),
      scan: (ports) => this.#scan("packet", this.#devicesAt(ports)),
      onGuarded: (isGuarded) => this.#guarded(isGuarded),
      onFlooded: (isFlooded) => this.#flooded(isFlooded),
      handshakeAtMs,
    });
    if (rules !== null) rules.onLoaded = () => this.#watch.onPacketsLost();
    this.#wakeUpWatch = new WakeUpWatch({
      wakeUp: inputs.wakeUp,
      clock,
      log,
      isManaged: rules !== null,
      check: () => inputs.checkWakeUp(),
    });
    this.#unknown = new UnknownHandshakes({
      clock,
      deviceAt: (port) =>
        this.#inputs.devices.lastScanned.find(({ listenPort }) => listenPort === port) ?? null,
      handshakeAtMs,
      hasValidMac1,
      nameOf: (publicKey, device) => this.#names.nameOf(publicKey, device),
      report: (found) => this.#report(found, "packet"),
    });
    this.#outbox = new Outbox({
      clock,
      log,
      store,
      attempted: (target, result) => this.#counters.attempts.add([target, result]),
    });
    this.#traffic = new TrafficRecorder(store, clock, this.#tracker.sessions);
    this.#outbox.setTargets(makeTargets(settings));
  }

  /** Processes the first scan and everything captured since. */
  start(): void {
    if (this.#tracker.connected > 0) {
      this.#log.info("sessions of an earlier run go on", { sessions: this.#tracker.connected });
    }
    this.#process(this.#inputs.firstScan, "start", null);
    this.#history.saveAll(this.#tracker);
    this.#inputs.start(this);
    void this.#openSample();
    this.#scheduleReconcile();
    this.#scheduleMaintenance(MAINTENANCE_MS);
    this.#warmUpTargets();
    this.#warmUp(WARM_UP_SCANS, 0);
    this.#warnOfUnmatched();
  }

  #warmUp(looksLeft: number, spentMs: number): void {
    if (looksLeft === 0 || spentMs > WARM_UP_MAX_MS) {
      this.#log.debug("warm");
      return;
    }
    this.#cancelWarmUp = this.#clock.after(WARM_UP_PAUSE_MS, () => {
      void this.#scan("warm-up", null).then((costMs) =>
        this.#warmUp(looksLeft - 1, spentMs + costMs),
      );
    });
  }

  #warmUpTargets(): void {
    const sample = this.#eventOf({ type: "device.added", atMs: 0, device: "", listenPort: 0 });
    this.#outbox.warmUp(sample);
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** State that the HTTP API (http/) may read. */
  get parts(): Parts {
    return {
      clock: this.#clock,
      store: this.#store,
      counters: this.#counters,
      rates: this.#rates,
      tracker: this.#tracker,
      devices: this.#inputs.devices,
      outbox: this.#outbox,
      startedAtMs: () => this.#startedAtMs,
      readClock: () => this.#readClock(),
      byCurrentClock: (atMs) => this.#clock.current(atMs),
      host: () => this.#settings.host,
      wakeUp: () => this.#describeWakeUp(),
      settings: () => this.#settings,
      nameOf: (publicKey, device) => this.#names.nameOf(publicKey, device),
      tagsOf: (publicKey) => this.#settings.peers.get(publicKey)?.tags ?? [],
      subscribe: (listener) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
      scan: async () => {
        await this.#scan("request", null);
        return this.#problems;
      },
    };
  }

  /**
   * Applies the settings that can change at run time and returns the settings in effect. Logs a warning for the others.
   */
  reload(settings: Settings): Settings {
    const changed = FIXED.filter(
      ([key]) => JSON.stringify(settings[key]) !== JSON.stringify(this.#settings[key]),
    );
    if (changed.length > 0) {
      const names = changed.map(([, name]) => name);
      this.#log.warn(`changed settings that need a restart: ${names.join(", ")}`);
    }
    const kept = Object.fromEntries(FIXED.map(([key]) => [key, this.#settings[key]]));
    // A new address may need no token, but the old address, which stays open, does.
    const isMoved = changed.some(([key]) => key === "listen");
    const { listenTokens } = isMoved ? this.#settings : settings;
    this.#settings = { ...settings, ...kept, listenTokens };
    this.#tracker.setOptions(trackerOptions(settings));
    this.#names.setSources(settings);
    this.#outbox.setTargets(this.#makeTargets(settings));
    this.#warmUpTargets();
    this.#scheduleTick();
    this.#scheduleReconcile();
    this.#wakeUpWatch.checkSoon();
    void this.#openSample();
    this.#warnOfUnmatched();
    return this.#settings;
  }

  #warnOfUnmatched(): void {
    const { devices } = this.#inputs;
    warnOfUnmatched(this.#settings, { devices, names: this.#names, log: this.#log });
  }

  /** Shuts down. Pending events are tried once more within DRAIN_MS; firewall rules are removed at the same time. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTick();
    this.#cancelReconcile();
    this.#cancelMaintenance();
    this.#cancelWarmUp();
    for (const cancel of this.#cancelLinkScans) cancel();
    this.#watch.stop();
    this.#sample?.close();
    this.#wakeUpWatch.stop();
    this.#unknown.stop();
    this.#names[Symbol.dispose]();
    this.#inputs.close();
    await Promise.all([this.#outbox.drain(DRAIN_MS), this.#rules?.close()]);
    this.#history.saveAll(this.#tracker);
    this.#traffic.flush(this.#tracker.sessions);
    this.#store[Symbol.dispose]();
    this.#inputs.devices[Symbol.dispose]();
  }

  packetReceived(bytes: Uint8Array): void {
    this.#counters.packets++;
    const datagram = this.#parse(bytes, "received");
    this.#watch.onReceived(datagram);
    if (datagram === null) return;
    this.#wakeUpWatch.heard(datagram.destinationPort);
    const isSampled = this.#sample !== null;
    if (this.#settings.reportUnknown && !isSampled) this.#unknown.seen(datagram);
  }

  async #openSample(): Promise<void> {
    if (!this.#settings.reportUnknown || this.#hasSample) return;
    this.#hasSample = true;
    try {
      const sample = await this.#inputs.openSample((bytes) => {
        const datagram = this.#parse(bytes, "received");
        if (datagram !== null && this.#settings.reportUnknown) this.#unknown.seen(datagram);
      });
      const isReady = !this.#stopped && this.#attempt(() => sample.setPorts(this.#listenPorts));
      if (isReady) this.#sample = sample;
      else sample.close();
    } catch (error) {
      if (!isUnreadable(error) && !(error instanceof LibraryError)) throw error;
      const { message } = error as Error;
      this.#log.warn(`handshake.unknown counts only packets that wake wgmon: ${message}`);
    }
  }

  get #listenPorts(): number[] {
    const ports = this.#inputs.devices.lastScanned.map(({ listenPort }) => listenPort);
    return [...new Set(ports)].filter((port) => port !== 0);
  }

  packetSent(bytes: Uint8Array): void {
    const datagram = this.#parse(bytes, "sent");
    // Forwarded packets look the same, for example those of WireGuard in a container.
    const isOurs = this.#inputs.devices.lastScanned.some(
      ({ listenPort }) => listenPort === datagram?.destinationPort,
    );
    this.#watch.onSent(isOurs ? datagram : null);
  }

  #describeWakeUp(): WakeUpState {
    const { monitor, reason } = this.#inputs.wakeUp;
    const { group, captureInterface } = this.#settings;
    return {
      monitor,
      group: monitor === "nflog" ? group : null,
      interface: monitor === "bpf" ? captureInterface : null,
      reason,
      problem: this.#wakeUpWatch.problem,
    };
  }

  /** Returns null if the packet is not a WireGuard message. */
  #parse(bytes: Uint8Array, way: "received" | "sent"): CapturedDatagram | null {
    try {
      return parsePacket(bytes, way);
    } catch (error) {
      // Any sender can produce malformed packets, so they are counted and not logged.
      if (!(error instanceof ParseError)) throw error;
      this.#counters.malformedPackets++;
      return null;
    }
  }

  packetsLost(reason: string): void {
    this.#counters.losses++;
    const { monotonicMs } = this.#clock.now();
    const isAgain = reason === this.#lost.reason && monotonicMs - this.#lost.atMs < LOST_AGAIN_MS;
    if (!isAgain) this.#log.warn(`${reason}; scanning all devices`);
    this.#lost = { reason, atMs: monotonicMs };
    this.#watch.onPacketsLost();
  }

  #openSentTap(): SentTap | null {
    try {
      return this.#inputs.openSentTap();
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.#log.warn((error as Error).message);
      return null;
    }
  }

  #guarded(isGuarded: boolean): void {
    if (isGuarded) this.#counters.guarded++;
    const reading = isGuarded ? "only what completes a handshake" : "all handshake messages";
    this.#log.debug(`reading ${reading}`);
  }

  /** Called only for overload that lasts longer than many peers reconnecting at once. */
  #flooded(isFlooded: boolean): void {
    this.#counters.isFlooded = isFlooded;
    if (isFlooded) {
      this.#log.warn(
        "packet flood: reading only what completes a handshake that WireGuard has answered; peers are still reported",
      );
    } else this.#log.info("packet flood is over");
  }

  linksChanged(bytes: Uint8Array): void {
    let events: LinkEvent[];
    try {
      events = parseLinkEvents(bytesOf(bytes));
    } catch (error) {
      this.linksLost(`link change not understood: ${(error as Error).message}`);
      return;
    }
    for (const event of events) this.#attempt(() => this.#inputs.capture.linkChanged(event));
    // Userspace WireGuard uses devices of kind tun.
    if (!events.some(({ link }) => link.kind === WG_GENL_NAME || link.kind === "tun")) return;
    for (const cancel of this.#cancelLinkScans) cancel();
    this.#cancelLinkScans = LINK_SCANS_MS.map((delayMs) =>
      this.#clock.after(delayMs, () => void this.#scan("link", null)),
    );
  }

  linksLost(reason: string): void {
    this.#counters.losses++;
    this.#log.warn(`${reason}; scanning all devices`);
    this.#attempt(() => this.#inputs.capture.linksMissed());
    void this.#scan("lost", null);
  }

  /** For calls that change what is captured. Logs a failure; returns whether the call succeeded. */
  #attempt(change: () => void): boolean {
    try {
      change();
      return true;
    } catch (error) {
      this.#log.warn((error as Error).message);
      return false;
    }
  }

  /**
   * Names of the devices that listen on these ports. Returns null, i.e. scan all and list devices again, if a port is
   * unknown. Otherwise device discovery is left to rtnetlink, because it dominates the cost.
   */
  #devicesAt(ports: ReadonlySet<number> | "all"): ReadonlySet<string> | null {
    const { lastScanned } = this.#inputs.devices;
    if (ports === "all") return new Set(lastScanned.map(({ name }) => name));
    const names = new Set<string>();
    for (const port of ports) {
      const found = lastScanned.filter(({ listenPort }) => listenPort === port);
      if (found.length === 0) return null;
      for (const { name } of found) names.add(name);
    }
    return names;
  }

  /** Scans after all earlier scans are complete. Resolves with the processor time used, in milliseconds. */
  #scan(reason: ScanReason, names: ReadonlySet<string> | null): Promise<number> {
    const scan = this.#lastScan.then(() => this.#scanNow(reason, names));
    // A failed scan must not reject the next one.
    this.#lastScan = scan.catch(() => {});
    return scan;
  }

  async #scanNow(reason: ScanReason, names: ReadonlySet<string> | null): Promise<number> {
    if (this.#stopped) return 0;
    const startMs = this.#clock.now().monotonicMs;
    const startCpuMs = threadCpuMs();
    const scan = await this.#inputs.devices.scan(names);
    const lookMs = threadCpuMs() - startCpuMs;
    this.#counters.scanSeconds.observe((this.#clock.now().monotonicMs - startMs) / 1000);
    const changes = this.#process(scan, reason, names);
    // Exclude the cost of reporting a change, so that it does not delay the scan for the next peer.
    return changes > 0 ? lookMs : threadCpuMs() - startCpuMs;
  }

  /** Processes a scan's result and returns the number of changes. */
  #process(scan: ScanResult, reason: ScanReason, names: ReadonlySet<string> | null): number {
    // The store is closed or about to be. The next run finds the changes of this scan.
    if (this.#stopped) return 0;
    this.#readClock();
    const now = this.#clock.now();
    this.#counters.scans.add([reason]);
    this.#counters.scanErrors += scan.problems.length;
    this.#problems = scan.problems;
    const changes = this.#tracker.observe(scan, now);
    this.#unknown.onScan(scan);
    if (scan.present !== null) changes.push(...this.#tracker.reconcileDevices(scan.present, now));
    this.#logErrorsOnce(scan.problems, { isWhole: names === null });
    if (haveDevicesChanged(changes, reason)) {
      this.#names.setDevices(this.#inputs.devices.lastScanned.map(({ name }) => name));
    }
    if (changes.length > 0 || reason === "start") this.#report(changes, reason);
    if (isPeriodic(reason)) this.#noteRates(now.monotonicMs);
    this.#log.debug("scan", { reason, changes: changes.length });

    const ports = this.#listenPorts;
    this.#attempt(() => this.#inputs.capture.setPorts(ports));
    this.#attempt(() => this.#sample?.setPorts(ports));
    this.#rules?.setPorts(ports);
    this.#wakeUpWatch.setPorts(ports);
    this.#scheduleTick();
    return changes.length;
  }

  #noteRates(atMs: number): void {
    for (const [device, sessions] of Map.groupBy(this.#tracker.sessions, (each) => each.device)) {
      this.#rates.record(
        device,
        sessions.map(({ peer }) => peer),
        atMs,
      );
    }
  }

  /** Logs a repeated problem once, and logs when all devices can be scanned again. */
  #logErrorsOnce(problems: readonly Error[], { isWhole }: { readonly isWhole: boolean }): void {
    const { monotonicMs } = this.#clock.now();
    for (const problem of problems) {
      if (!isUnreadable(problem)) throw problem;
      const lastMs = this.#failing.get(problem.message) ?? -Infinity;
      if (monotonicMs - lastMs > PROBLEM_OVER_MS) this.#log.error(problem.message);
      this.#failing.set(problem.message, monotonicMs);
    }
    if (!isWhole || problems.length > 0 || this.#failing.size === 0) return;
    this.#failing.clear();
    this.#log.info("all devices can be scanned again");
  }

  #eventOf(change: Change): Event {
    const { host, peers } = this.#settings;
    const id = `evt_${Bun.randomUUIDv7().replaceAll("-", "")}`;
    if (!("peer" in change)) return eventOf(change, { id, host, name: null });
    const { publicKey } = change.peer;
    const name = this.#names.nameOf(publicKey, change.device);
    return eventOf(change, { id, host, name, tags: peers.get(publicKey)?.tags ?? [] });
  }

  /** Whether the event is withheld from targets because all its peers are mute. */
  #isMute(change: Change): boolean {
    const isMutePeer = ({ publicKey }: { readonly publicKey: PublicKey }) =>
      this.#settings.peers.get(publicKey)?.mute === true;
    if ("peer" in change) return isMutePeer(change.peer);
    return "peers" in change && change.peers.length > 0 && change.peers.every(isMutePeer);
  }

  /** Stores the events before it passes them to targets, listeners and the log. */
  #report(changes: readonly Change[], reason: ScanReason): void {
    const told: ReportedEvent[] = changes.map((change) => {
      const event = this.#eventOf(change);
      const targets = this.#isMute(change) ? [] : this.#outbox.keysFor(event);
      return { change, event, targets };
    });
    const devices = haveDevicesChanged(changes, reason) ? this.#inputs.devices.lastScanned : null;
    const seqs = this.#history.record(told, this.#tracker, devices);
    const added = told.map((each, index) => ({ ...each, seq: seqs[index]! }));
    this.#outbox.added(added);
    for (const listener of this.#listeners) listener(added);
    for (const { event, change } of told) {
      // The fields contain the full key.
      this.#log.info(describeEvent(event, undefined, shortKey), logFields(event));
      this.#count(change);
      if (change.type === "peer.connected" && isPeriodic(reason)) this.#unannounced(change);
    }
  }

  #unannounced({ device, peer }: Extract<Change, { type: "peer.connected" }>): void {
    const port = this.#inputs.devices.lastScanned.find(({ name }) => name === device)?.listenPort;
    if (port === undefined) return;
    void this.#wakeUpWatch.unannounced({ device, port, handshakeMs: peer.lastHandshakeMs });
  }

  #count(change: Change): void {
    this.#counters.events.add([change.type]);
    if (change.type !== "peer.disconnected") return;
    const { device, peer, session, durationMs } = change;
    this.#counters.sessionSeconds.observe(durationMs / 1000);
    this.#traffic.ended({ ...session, device, publicKey: peer.publicKey });
  }

  /** After a step of the wall clock, moves all times recorded before it. */
  #readClock(): void {
    if (this.#stopped) return;
    const before = this.#clock.state;
    const step = this.#clock.read();
    const { state } = this.#clock;
    if (step !== null) {
      this.#store.clockSet(step, state);
      this.#tracker.clockSet(step);
      this.#outbox.clockSet(step);
      this.#traffic.clockSet(step);
      this.#wakeUpWatch.clockSet(step);
      this.#startedAtMs = moved(step, this.#startedAtMs);
      this.#logStep(step);
    } else if (JSON.stringify(state) !== JSON.stringify(before)) {
      this.#store.saveClockState(state);
    }
  }

  #logStep({ ms }: ClockStep): void {
    const way = ms > 0 ? "forward" : "back";
    this.#log.info(
      `the clock was set ${way} by ${duration(Math.abs(ms))}; earlier times were adjusted`,
    );
  }

  #scheduleMaintenance(delayMs: number): void {
    this.#cancelMaintenance = this.#clock.after(delayMs, () => {
      this.#readClock();
      this.#outbox.refresh();
      this.#history.saveIfDue(this.#tracker);
      this.#traffic.flushIfDue(this.#tracker.sessions);
      const { monotonicMs } = this.#clock.now();
      const isDue = monotonicMs - this.#cleanedMs >= RETENTION_MS;
      if (isDue) {
        this.#cleanedMs = monotonicMs;
        this.#rules?.check();
      }
      if (isDue || this.#isTrimming) {
        const { keepMs, maxStoreBytes } = this.#settings;
        this.#isTrimming = this.#history.trim({ keepMs, maxBytes: maxStoreBytes });
      }
      this.#scheduleMaintenance(this.#isTrimming ? TRIM_PAUSE_MS : MAINTENANCE_MS);
    });
  }

  #scheduleTick(): void {
    this.#cancelTick();
    const { tickMs } = this.#settings;
    const { monitor } = this.#inputs.wakeUp;
    if (this.#stopped || (monitor !== "poll" && !this.#tracker.needsTick)) {
      this.#lastTickMs = -Infinity;
      return;
    }
    const { monotonicMs } = this.#clock.now();
    if (this.#lastTickMs === -Infinity) this.#lastTickMs = monotonicMs;
    // A session already overdue at the last tick belongs to a device that could not be scanned; do not schedule an
    // earlier tick for it.
    const deadlineMs = this.#tracker.nextDeadlineMs(this.#lastTickMs) ?? Infinity;
    const atMs = Math.min(this.#lastTickMs + tickMs, deadlineMs);
    this.#cancelTick = this.#clock.after(Math.max(1, atMs - monotonicMs), () => {
      this.#lastTickMs = this.#clock.now().monotonicMs;
      void this.#scan("tick", monitor === "poll" ? null : this.#tracker.tickedDevices);
    });
  }

  #scheduleReconcile(): void {
    this.#cancelReconcile();
    const { reconcileMs } = this.#settings;
    if (reconcileMs === 0 || this.#stopped) return;
    this.#cancelReconcile = this.#clock.after(reconcileMs, () => {
      // This scan includes everything a tick would scan.
      if (this.#lastTickMs !== -Infinity) this.#lastTickMs = this.#clock.now().monotonicMs;
      this.#scheduleTick();
      void this.#scan("reconcile", null);
      this.#scheduleReconcile();
    });
  }
}

/** Whether the scan was caused by a timer alone. Such scans include all connected peers. */
function isPeriodic(reason: ScanReason): boolean {
  return reason === "tick" || reason === "reconcile";
}

function haveDevicesChanged(changes: readonly Change[], reason: ScanReason): boolean {
  return reason === "start" || changes.some(({ type }) => type.startsWith("device."));
}

function trackerOptions({
  idleTimeoutMs,
  holdMs,
  announceExisting,
  peers,
}: Settings): TrackerOptions {
  return {
    idleTimeoutMs: (publicKey) => peers.get(publicKey)?.idleTimeoutMs ?? idleTimeoutMs,
    holdMs,
    announceExisting,
  };
}
