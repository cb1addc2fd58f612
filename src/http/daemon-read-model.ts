/** The source of the HTTP API and the page in the running program: read access to the parts of app.ts. */

import type { Clock } from "../base/clock.ts";
import { isUnreadable } from "../base/errors.ts";
import type { Device, Peer, PublicKey } from "../base/wireguard.ts";
import type { Settings } from "../config/config.ts";
import type { Devices } from "../kernel/devices.ts";
import type { Session, Tracker } from "../sessions/tracker.ts";
import type { Metrics } from "../stats/counters.ts";
import type { Rates, RateTracker } from "../stats/rates.ts";
import type { Store, StoredEvent } from "../store/store.ts";
import type { ReadModel, ScanReport, TargetState, WakeUpState } from "./read-model.ts";
import { type SettingsView, viewSettings } from "./settings-view.ts";

/** How long a list of peers is reused: one response may need it several times. */
const LIST_MS = 500;

export interface Parts {
  readonly clock: Clock;
  readonly store: Store;
  readonly counters: Metrics;
  readonly rates: RateTracker;
  readonly tracker: Pick<Tracker, "session" | "sessions" | "connected">;
  readonly devices: Pick<Devices, "lastScanned" | "count" | "peers" | "asksAnew">;
  readonly outbox: { readonly states: readonly TargetState[] };
  startedAtMs(): number;
  readClock(): void;
  /** Converts a time that the kernel recorded to the present wall clock. */
  byCurrentClock(atMs: number): number;
  host(): string;
  wakeUp(): WakeUpState;
  settings(): Settings;
  nameOf(publicKey: PublicKey, device: string): string | null;
  tagsOf(publicKey: PublicKey): readonly string[];
  subscribe(listener: (placed: readonly StoredEvent[]) => void): () => void;
  /** Scans all devices; resolves to the errors of those that could not be read. */
  scan(): Promise<readonly Error[]>;
}

export class DaemonReadModel implements ReadModel {
  readonly version: string;
  readonly clock: Clock;
  readonly store: Store;
  readonly counters: Metrics;
  readonly #parts: Parts;
  readonly #lists = new Map<string, readonly Peer[]>();

  constructor(version: string, parts: Parts) {
    this.version = version;
    this.clock = parts.clock;
    this.store = parts.store;
    this.counters = parts.counters;
    this.#parts = parts;
  }

  get startedAtMs(): number {
    return this.#parts.startedAtMs();
  }

  readClock(): void {
    this.#parts.readClock();
  }

  host(): string {
    return this.#parts.host();
  }

  wakeUp(): WakeUpState {
    return this.#parts.wakeUp();
  }

  settings(): SettingsView {
    const labels = this.targets().map(({ label }) => label);
    return viewSettings(this.#parts.settings(), labels);
  }

  devices(): readonly Device[] {
    return this.#parts.devices.lastScanned;
  }

  counts(device: string): { peers: number; connected: number } {
    let connected = 0;
    for (const session of this.#parts.tracker.sessions) {
      if (session.device === device) connected++;
    }
    return { peers: this.#parts.devices.count(device), connected };
  }

  /**
   * Reads a kernel device again, because a scan keeps only those fields of a peer that it compares. Does not
   * change the tracker's state.
   *
   * @throws SystemError, ParseError
   */
  peers(device: string): readonly Peer[] {
    const listed = this.#lists.get(device);
    if (listed !== undefined) return listed;
    let peers: readonly Peer[];
    try {
      peers = this.#parts.devices.peers(device).map((peer) => this.#byCurrentClock(peer));
    } catch (error) {
      // The next scan meets the same error and logs it.
      if (isUnreadable(error)) this.counters.scanErrors++;
      throw error;
    }
    this.#lists.set(device, peers);
    if (this.#parts.devices.asksAnew(device)) {
      const connected = peers.filter(({ publicKey }) => this.session(device, publicKey) !== null);
      this.#parts.rates.record(device, connected, this.clock.now().monotonicMs);
    }
    this.#parts.clock.after(LIST_MS, () => void this.#lists.delete(device));
    return peers;
  }

  #byCurrentClock(peer: Peer): Peer {
    if (peer.lastHandshakeMs === null) return peer;
    const lastHandshakeMs = this.#parts.byCurrentClock(peer.lastHandshakeMs);
    return lastHandshakeMs === peer.lastHandshakeMs ? peer : { ...peer, lastHandshakeMs };
  }

  session(device: string, publicKey: PublicKey): Session | null {
    return this.#parts.tracker.session(device, publicKey);
  }

  rates(device: string, publicKey: PublicKey): Rates | null {
    return this.#parts.rates.of(device, publicKey, this.clock.now().monotonicMs);
  }

  nameOf(publicKey: PublicKey, device: string): string | null {
    return this.#parts.nameOf(publicKey, device);
  }

  tagsOf(publicKey: PublicKey): readonly string[] {
    return this.#parts.tagsOf(publicKey);
  }

  targets(): readonly TargetState[] {
    return this.#parts.outbox.states;
  }

  subscribe(listener: (placed: readonly StoredEvent[]) => void): () => void {
    return this.#parts.subscribe(listener);
  }

  async scan(): Promise<ScanReport> {
    const startMs = this.clock.now().monotonicMs;
    const problems = await this.#parts.scan();
    this.#lists.clear();
    const tookMs = this.clock.now().monotonicMs - startMs;
    return { tookMs, problems: problems.map(({ message }) => message) };
  }
}
