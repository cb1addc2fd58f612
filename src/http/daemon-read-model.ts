/** The read model of the running program: read access to the stages of app.ts for the HTTP API and the page. */

import type { Clock } from "../base/clock.ts";
import { inCurrentClock, type WallClock } from "../base/wall-clock.ts";
import type { Device, Endpoint, Peer, PublicKey } from "../base/wireguard.ts";
import type { Settings } from "../config/config.ts";
import type { Devices } from "../kernel/devices.ts";
import { threadCpuMs } from "../platform/clocks.ts";
import type { Session } from "../sessions/session.ts";
import type { Tracker } from "../sessions/tracker.ts";
import type { Metrics } from "../stats/counters.ts";
import type { Rates, RateTracker } from "../stats/rates.ts";
import type { Store } from "../store/store.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import type { AlertModel } from "./alert-model.ts";
import type { ReadModel, ScanReport, TargetState, WakeUpState } from "./read-model.ts";
import { type SettingsView, viewSettings } from "./settings-view.ts";

/** How long the list of a device's peers is cached: one response may need it several times. */
const PEERS_CACHE_MS = 500;

/** `current` converts a time that the kernel recorded to the present wall clock. */
type StageClock = Clock & Pick<WallClock, "current">;

/** The parts of the stages in app.ts that the HTTP API and the page read. */
export interface Stages {
  readonly clock: StageClock;
  readonly clockSteps: { readonly startedAtMs: number; read(): void };
  readonly store: Store;
  readonly metrics: Metrics;
  readonly alerts: AlertModel;
  readonly rates: RateTracker;
  readonly tracker: Pick<Tracker, "session" | "sessions" | "connected">;
  readonly inputs: {
    readonly devices: Pick<Devices, "lastScanned" | "count" | "peers" | "needsNewDump">;
    readonly wakeUp: Pick<WakeUpState, "monitor" | "reason">;
  };
  readonly wakeUpWatch: Pick<WakeUpState, "problem">;
  readonly outbox: { readonly states: readonly TargetState[] };
  readonly hub: { readonly states: readonly TargetState[] };
  readonly names: { nameOf(publicKey: PublicKey, device: string): string | null };
  readonly endpointNames: { nameOf(endpoint: Endpoint): string | null };
  readonly reporter: {
    subscribe(listener: (events: readonly StoredEvent[]) => void): () => void;
  };
  readonly scanLoop: {
    /** Errors of the last scan. */
    readonly errors: readonly Error[];
    scanAll(reason: "request"): Promise<unknown>;
  };
  readonly viewerScans: {
    addViewer(): () => void;
    requested(url: string): void;
  };
  settings(): Settings;
}

export class DaemonReadModel implements ReadModel {
  readonly version: string;
  readonly clock: StageClock;
  readonly store: Store;
  readonly counters: Metrics;
  readonly alerts: AlertModel;
  readonly fleet = null;
  readonly #stages: Stages;
  readonly #peerLists = new Map<string, readonly Peer[]>();

  constructor(version: string, stages: Stages) {
    this.version = version;
    this.clock = stages.clock;
    this.store = stages.store;
    this.counters = stages.metrics;
    this.alerts = stages.alerts;
    this.#stages = stages;
  }

  get startedAtMs(): number {
    return this.#stages.clockSteps.startedAtMs;
  }

  processorMs(): number {
    return threadCpuMs();
  }

  readClock(): void {
    this.#stages.clockSteps.read();
  }

  host(): string {
    return this.#stages.settings().host;
  }

  wakeUp(): WakeUpState {
    const { monitor, reason } = this.#stages.inputs.wakeUp;
    const { group, captureInterface } = this.#stages.settings();
    return {
      monitor,
      group: monitor === "nflog" ? group : null,
      interface: monitor === "bpf" ? captureInterface : null,
      reason,
      problem: this.#stages.wakeUpWatch.problem,
    };
  }

  settings(): SettingsView {
    const labels = this.targets().map(({ label }) => label);
    return viewSettings(this.#stages.settings(), labels);
  }

  devices(): readonly Device[] {
    return this.#stages.inputs.devices.lastScanned;
  }

  counts(device: string): { peers: number; connected: number } {
    let connected = 0;
    for (const session of this.#stages.tracker.sessions) {
      if (session.device === device) connected++;
    }
    return { peers: this.#stages.inputs.devices.count(device), connected };
  }

  /**
   * The peers of a device, at most PEERS_CACHE_MS old. Reads a kernel device again, because a scan keeps only those
   * fields of a peer that it compares. Does not change the tracker's state.
   *
   * @throws SystemError, ParseError
   */
  peers(device: string): readonly Peer[] {
    const cached = this.#peerLists.get(device);
    if (cached !== undefined) return cached;
    // An error is neither logged nor counted here: the response has it, and most make the next scan fail as well.
    const peers = this.#stages.inputs.devices
      .peers(device)
      .map((peer) => inCurrentClock(peer, this.clock));
    this.#peerLists.set(device, peers);
    if (this.#stages.inputs.devices.needsNewDump(device)) {
      const connected = peers.filter(({ publicKey }) => this.session(device, publicKey) !== null);
      this.#stages.rates.record(device, connected, this.clock.now().monotonicMs);
    }
    this.clock.after(PEERS_CACHE_MS, () => void this.#peerLists.delete(device));
    return peers;
  }

  peersVersion(): null {
    return null;
  }

  session(device: string, publicKey: PublicKey): Session | null {
    return this.#stages.tracker.session(device, publicKey);
  }

  rates(device: string, publicKey: PublicKey): Rates | null {
    return this.#stages.rates.of(device, publicKey, this.clock.now().monotonicMs);
  }

  nameOf(publicKey: PublicKey, device: string): string | null {
    return this.#stages.names.nameOf(publicKey, device);
  }

  endpointName(endpoint: Endpoint): string | null {
    return this.#stages.endpointNames.nameOf(endpoint);
  }

  tagsOf(publicKey: PublicKey): readonly string[] {
    return this.#stages.settings().peers.get(publicKey)?.tags ?? [];
  }

  targets(): readonly TargetState[] {
    const { hub, outbox } = this.#stages;
    return [...outbox.states, ...hub.states];
  }

  subscribe(listener: (events: readonly StoredEvent[]) => void): () => void {
    return this.#stages.reporter.subscribe(listener);
  }

  addViewer(): () => void {
    return this.#stages.viewerScans.addViewer();
  }

  countersRequested(url: string): void {
    this.#stages.viewerScans.requested(url);
  }

  async scan(): Promise<ScanReport> {
    const startMs = this.clock.now().monotonicMs;
    const { scanLoop } = this.#stages;
    await scanLoop.scanAll("request");
    const { errors } = scanLoop;
    this.#peerLists.clear();
    const tookMs = this.clock.now().monotonicMs - startMs;
    return { tookMs, problems: errors.map(({ message }) => message) };
  }
}
