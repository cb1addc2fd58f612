/** The read model of the running hub: what the gateways reported, and the hub's store, for the HTTP API and the page. */

import type { Clock } from "../base/clock.ts";
import type { Device, Endpoint, Peer, PublicKey } from "../base/wireguard.ts";
import type { Settings } from "../config/config.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import type { AlertModel } from "../http/alert-model.ts";
import type { ReadModel, ScanReport, TargetState } from "../http/read-model.ts";
import { type SettingsView, viewSettings } from "../http/settings-view.ts";
import { threadCpuMs } from "../platform/clocks.ts";
import type { Session } from "../sessions/session.ts";
import type { Metrics } from "../stats/counters.ts";
import type { Rates, RateTracker } from "../stats/rates.ts";
import type { Store } from "../store/store.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import type { FleetState } from "./fleet-state.ts";

/** The parts of the hub that the HTTP API and the page read. */
interface Stages {
  readonly clock: Clock;
  readonly clockSteps: { readonly startedAtMs: number; read(): void };
  readonly store: Store;
  readonly metrics: Metrics;
  readonly alerts: AlertModel;
  /** By the hub's names of the devices. */
  readonly rates: Pick<RateTracker, "of">;
  readonly fleet: FleetState;
  readonly outbox: { readonly states: readonly TargetState[] };
  readonly endpointNames: { nameOf(endpoint: Endpoint): string | null };
  readonly reporter: {
    subscribe(listener: (events: readonly StoredEvent[]) => void): () => void;
  };
  settings(): Settings;
}

export class HubReadModel implements ReadModel {
  readonly version: string;
  readonly clock: Clock;
  readonly store: Store;
  readonly counters: Metrics;
  readonly alerts: AlertModel;
  readonly fleet: FleetState;
  readonly #stages: Stages;
  #settings: Settings | null = null;
  /** Increases when the settings are read again. */
  #settingsVersion = 0;
  /** Connected peers by device, until the code that asks for them has ended: it may ask for a thousand devices. */
  #connected: ReadonlyMap<string, number> | null = null;

  constructor(version: string, stages: Stages) {
    this.version = version;
    this.clock = stages.clock;
    this.store = stages.store;
    this.counters = stages.metrics;
    this.alerts = stages.alerts;
    this.fleet = stages.fleet;
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

  wakeUp(): null {
    return null;
  }

  settings(): SettingsView {
    const labels = this.targets().map(({ label }) => label);
    return viewSettings(this.#stages.settings(), labels);
  }

  devices(): readonly Device[] {
    return this.fleet.devices();
  }

  counts(device: string): { readonly peers: number; readonly connected: number } {
    const isObserved = this.fleet.isObserved(device);
    const connected = isObserved ? (this.#connectedByDevice().get(device) ?? 0) : 0;
    return { peers: this.fleet.peerCount(device), connected };
  }

  peers(device: string): readonly Peer[] {
    return this.fleet.peers(device);
  }

  peersVersion(device: string): string {
    const settings = this.#stages.settings();
    // They have names and tags, too.
    if (settings !== this.#settings) {
      this.#settings = settings;
      this.#settingsVersion++;
    }
    const { gateway } = splitDevice(device);
    return `${this.fleet.version(gateway ?? "")} ${this.#settingsVersion}`;
  }

  session(device: string, publicKey: PublicKey): Session | null {
    return this.fleet.isObserved(device) ? this.fleet.session(device, publicKey) : null;
  }

  rates(device: string, publicKey: PublicKey): Rates | null {
    return this.#stages.rates.of(device, publicKey, this.clock.now().monotonicMs);
  }

  /** The name that the gateway gives the peer, or else the settings of the hub. */
  nameOf(publicKey: PublicKey, device: string): string | null {
    return this.fleet.naming(publicKey, device).name ?? this.#settingsOf(publicKey)?.name ?? null;
  }

  endpointName(endpoint: Endpoint): string | null {
    return this.#stages.endpointNames.nameOf(endpoint);
  }

  tagsOf(publicKey: PublicKey, device: string): readonly string[] {
    const { tags } = this.fleet.naming(publicKey, device);
    const own = this.#settingsOf(publicKey)?.tags ?? [];
    return own.length === 0 ? tags : [...new Set([...tags, ...own])];
  }

  targets(): readonly TargetState[] {
    return this.#stages.outbox.states;
  }

  subscribe(listener: (events: readonly StoredEvent[]) => void): () => void {
    return this.#stages.reporter.subscribe(listener);
  }

  /** The gateways decide when they report. */
  addViewer(): () => void {
    return () => {};
  }

  countersRequested(): void {}

  /** Nothing to scan here: says which gateways do not report. */
  scan(): Promise<ScanReport> {
    const problems = this.fleet
      .gateways()
      .filter(({ condition }) => condition !== "up")
      .map(({ name, condition }) => `gateway ${name}: ${condition}`);
    return Promise.resolve({ tookMs: 0, problems });
  }

  #settingsOf(publicKey: PublicKey) {
    return this.#stages.settings().peers.get(publicKey);
  }

  #connectedByDevice(): ReadonlyMap<string, number> {
    if (this.#connected === null) {
      const counts = new Map<string, number>();
      for (const { device } of this.fleet.sessions) {
        counts.set(device, (counts.get(device) ?? 0) + 1);
      }
      this.#connected = counts;
      queueMicrotask(() => (this.#connected = null));
    }
    return this.#connected;
  }
}
