/** A fake read model for the HTTP API and the page: a test sets devices, peers and sessions; the store is in memory. */

import type { AlertView } from "../../src/alerts/alert.ts";
import type { Rule } from "../../src/alerts/rule.ts";
import { type Silence, withSilence } from "../../src/alerts/silences.ts";
import { SystemError } from "../../src/base/errors.ts";
import type { Device, Endpoint, Peer, PublicKey } from "../../src/base/wireguard.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { splitDevice } from "../../src/fleet/gateway-name.ts";
import type { AlertActions, AlertModel, NewSilence } from "../../src/http/alert-model.ts";
import type { FleetModel, GatewayState, HubRole } from "../../src/http/fleet-model.ts";
import type { ReadModel, ScanReport, TargetState, WakeUpState } from "../../src/http/read-model.ts";
import { type SettingsView, viewSettings } from "../../src/http/settings-view.ts";
import type { SavedSession, Session } from "../../src/sessions/session.ts";
import { Metrics } from "../../src/stats/counters.ts";
import type { Rates } from "../../src/stats/rates.ts";
import { Store } from "../../src/store/store.ts";
import type { StoredEvent } from "../../src/store/stored-events.ts";
import { HandClock } from "./clock.ts";
import { run } from "./settings.ts";

export class FakeSource implements ReadModel {
  readonly version = "0.0.0";
  readonly clock = new HandClock();
  readonly startedAtMs = this.clock.now().wallMs;
  readonly counters = new Metrics();
  readonly store: Store;
  readonly alerts = new FakeAlerts(this.clock);
  /** null: a gateway. A test sets it before it makes the API or the page. */
  fleet: FakeFleet | null = null;
  readonly found = new Map<string, { device: Device; peers: Peer[] }>();
  /** Devices of `found` whose peers cannot be read. */
  readonly unreadable = new Set<string>();
  readonly names = new Map<PublicKey, string>();
  /** By address. */
  readonly endpointNames = new Map<string, string>();
  readonly tags = new Map<PublicKey, readonly string[]>();
  readonly speeds = new Map<PublicKey, Rates>();
  targetStates: TargetState[] = [];
  inForce = viewSettings(run([]).settings, []);
  scans = 0;
  /** Number of calls of `addViewer` that have not ended. */
  viewers = 0;
  /** Number of calls of `countersRequested`. */
  requests = 0;
  wakeUpState: WakeUpState = {
    monitor: "bpf",
    group: null,
    interface: "any",
    reason: "no firewall rule logs to NFLOG group 1",
    problem: null,
  };
  scan = (): Promise<ScanReport> => {
    this.scans++;
    return Promise.resolve({ tookMs: 1.5, problems: [] });
  };
  readonly #sessions = new Map<string, Session>();
  readonly #listeners = new Set<(stored: readonly StoredEvent[]) => void>();

  static async make(): Promise<FakeSource> {
    const clock = new HandClock();
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    return new FakeSource(await Store.open({ directory: null, clock, log }));
  }

  private constructor(store: Store) {
    this.store = store;
  }

  /** As if the thread was never idle. */
  processorMs(): number {
    return this.clock.now().monotonicMs;
  }

  readClock(): void {}

  host(): string {
    return "gw1";
  }

  wakeUp(): WakeUpState | null {
    return this.fleet === null ? this.wakeUpState : null;
  }

  settings(): SettingsView {
    return this.inForce;
  }

  devices(): readonly Device[] {
    return [...this.found.values()].map(({ device }) => device);
  }

  counts(device: string): { peers: number; connected: number } {
    const peers = this.found.get(device)?.peers ?? [];
    const connected = peers.filter(({ publicKey }) => this.session(device, publicKey) !== null);
    return { peers: peers.length, connected: connected.length };
  }

  peers(device: string): Iterable<Peer> {
    if (this.unreadable.has(device)) throw new SystemError(`scan ${device}`, "EMFILE");
    return this.found.get(device)?.peers ?? [];
  }

  peersVersion(): null {
    return null;
  }

  session(device: string, publicKey: PublicKey): Session | null {
    if (this.fleet?.isObserved(device) === false) return null;
    return this.#sessions.get(`${device} ${publicKey}`) ?? null;
  }

  rates(_device: string, publicKey: PublicKey): Rates | null {
    return this.speeds.get(publicKey) ?? null;
  }

  nameOf(publicKey: PublicKey): string | null {
    return this.names.get(publicKey) ?? null;
  }

  endpointName({ address }: Endpoint): string | null {
    return this.endpointNames.get(address) ?? null;
  }

  tagsOf(publicKey: PublicKey): readonly string[] {
    return this.tags.get(publicKey) ?? [];
  }

  targets(): readonly TargetState[] {
    return this.targetStates;
  }

  subscribe(listener: (stored: readonly StoredEvent[]) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  addViewer(): () => void {
    this.viewers++;
    return () => void this.viewers--;
  }

  countersRequested(): void {
    this.requests++;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** Stores events and passes them to the subscribers, as app.ts does. Returns their sequence numbers. */
  tell(...events: readonly Event[]): number[] {
    const seqs = this.record(events);
    const stored = events.map((event, index) => ({ event, seq: seqs[index]! }));
    for (const listener of this.#listeners) listener(stored);
    return seqs;
  }

  /** Stores events without passing them to the subscribers. Returns their sequence numbers. */
  record(events: readonly Event[], targets: readonly string[] = []): number[] {
    const queued = events.map((event) => ({ event, targets }));
    return this.store.record({ events: queued, sessions: [], ended: [], devices: null }, 0);
  }

  connect(device: string, peer: Peer, fields: Partial<Session> = {}): Session {
    const now = this.clock.now();
    const session: Session = {
      device,
      peer,
      startedAtMs: now.wallMs,
      startedMonotonicMs: now.monotonicMs,
      endpoint: peer.endpoint,
      handshakeAt: now,
      lastActivity: now,
      rxBytes: 0,
      txBytes: 0,
      roams: 0,
      ending: null,
      ...fields,
    };
    this.#sessions.set(`${device} ${peer.publicKey}`, session);
    const {
      startedMonotonicMs: _,
      handshakeAt: __,
      lastActivity: ___,
      ending: ____,
      ...rest
    } = session;
    const saved: SavedSession = {
      ...rest,
      handshakeAtMs: now.wallMs,
      lastActivityMs: now.wallMs,
      silentSinceMs: now.wallMs,
      ending: null,
    };
    this.store.sessions.save([saved]);
    return session;
  }
}

/** Gateways that a test sets. */
export class FakeFleet implements FleetModel {
  readonly all: GatewayState[] = [];
  role = (): HubRole => ({ isActive: true, active: null });
  /** How far the clocks of gateways are ahead of the hub's. */
  readonly offsets = new Map<string, number>();

  gateways(): readonly GatewayState[] {
    return this.all.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  gateway(name: string): GatewayState | null {
    return this.all.find((each) => each.name === name) ?? null;
  }

  isObserved(device: string): boolean {
    return this.gateway(splitDevice(device).gateway ?? "")?.condition === "up";
  }

  hubTime(name: string, ms: number): number {
    return ms - (this.offsets.get(name) ?? 0);
  }
}

/** A client over TCP that may act, because the server requires a token and it has sent it. */
export const TRUSTED_CLIENT = {
  isUnixSocket: false,
  address: null,
  isTrusted: true,
  hasCookie: false,
  tokens: ["a token"],
};

/** Alerts, silences and rules that a test sets. */
export class FakeAlerts implements AlertModel, AlertActions {
  readonly #clock: HandClock;
  firing: AlertView[] = [];
  all: readonly Rule[] = [];
  silenced: Silence[] = [];
  #added = 0;

  constructor(clock: HandClock) {
    this.#clock = clock;
  }

  current(): readonly AlertView[] {
    const { wallMs } = this.#clock.now();
    return this.firing.map((alert) => withSilence(alert, this.silenced, wallMs));
  }

  silences(): readonly Silence[] {
    return this.silenced.toSorted((a, b) => a.endMs - b.endMs);
  }

  rules(): readonly Rule[] {
    return this.all;
  }

  addSilence(silence: NewSilence): Silence {
    const id = `silence-${++this.#added}`;
    const added = { ...silence, id, startMs: this.#clock.now().wallMs };
    this.silenced.push(added);
    return added;
  }

  expireSilence(id: string): boolean {
    const before = this.silenced.length;
    this.silenced = this.silenced.filter((silence) => silence.id !== id);
    return this.silenced.length < before;
  }
}

/** Key number `n`, different from ALICE and BOB. */
export function keyOf(n: number): PublicKey {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, n);
  bytes[31] = 1;
  return bytes.toBase64() as PublicKey;
}
