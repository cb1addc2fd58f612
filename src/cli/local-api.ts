/**
 * Answers the API requests of the commands when wgmon is not running, from one scan and from the store of the settings,
 * to which it does not write.
 */

import { AlertEngine } from "../alerts/engine.ts";
import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { Settings } from "../config/config.ts";
import type { AlertModel } from "../http/alert-model.ts";
import { type Api, makeApi } from "../http/api.ts";
import { DaemonReadModel } from "../http/daemon-read-model.ts";
import type { PeerView } from "../http/schemas.ts";
import { Devices } from "../kernel/devices.ts";
import { PeerNames } from "../names/peer-names.ts";
import type { Log } from "../platform/log.ts";
import type { RestoredState } from "../sessions/session.ts";
import { Tracker } from "../sessions/tracker.ts";
import { Metrics } from "../stats/counters.ts";
import { RateTracker } from "../stats/rates.ts";
import { Store } from "../store/store.ts";
import { type ApiReader, viewOf } from "./client.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

interface Options {
  readonly version: string;
  readonly clock: Clock;
}

export class LocalApi implements ApiReader, Disposable {
  /** The errors of the scan. */
  readonly problems: readonly Error[];
  /** Why the store could not be read; null: it could. */
  readonly storeProblem: SystemError | null;
  readonly #api: Api;
  /** Start times of the sessions in the store, by device and public key. */
  readonly #storedStarts: ReadonlyMap<string, number>;
  readonly #parts: readonly Disposable[];

  static async open(settings: Settings, { version, clock }: Options): Promise<LocalApi> {
    const { stateDir, devices: wanted, idleTimeoutMs, holdMs, peers } = settings;
    const devices = new Devices(wanted);
    const { store, problem } = await openStore(stateDir, clock);
    const names = new PeerNames({ clock, log: silent });
    names.setSources(settings);

    // Use the same rules as a daemon that is started now.
    const rules = {
      idleTimeoutMs: (key: PublicKey) => peers.get(key)?.idleTimeoutMs ?? idleTimeoutMs,
      holdMs,
      announceExisting: true,
    };
    const restored = store.sessions.loadState(clock.now().wallMs);
    const tracker = new Tracker(rules, restored, clock.now());
    const scan = await devices.scan("list");
    tracker.observe(scan, clock.now());
    names.setDevices(devices.lastScanned.map(({ name }) => name));

    const source = new DaemonReadModel(version, {
      clock: {
        now: () => clock.now(),
        after: (delayMs, run) => clock.after(delayMs, run),
        current: (atMs) => atMs,
      },
      store,
      // Only the daemon judges.
      alerts: savedAlerts(store, settings, clock),
      metrics: new Metrics(),
      rates: new RateTracker(),
      tracker,
      outbox: { states: [] },
      hub: { states: [] },
      // The times in the store are not adjusted here: the daemon does that when it starts.
      clockSteps: { startedAtMs: clock.now().wallMs, read() {} },
      inputs: { devices, wakeUp: { monitor: "poll", reason: null } },
      wakeUpWatch: { problem: null },
      scanLoop: { errors: [], scanAll: () => Promise.resolve() },
      viewerScans: { addViewer: () => () => {}, requested() {} },
      names,
      // A lookup would end after the answer.
      endpointNames: { nameOf: () => null },
      reporter: { subscribe: () => () => {} },
      settings: () => settings,
    });
    const { problems } = scan;
    return new LocalApi(makeApi(source), {
      problems,
      problem,
      restored,
      parts: [devices, store, names],
    });
  }

  private constructor(
    api: Api,
    found: {
      readonly problems: readonly Error[];
      readonly problem: SystemError | null;
      readonly restored: RestoredState | null;
      readonly parts: readonly Disposable[];
    },
  ) {
    this.#api = api;
    this.problems = found.problems;
    this.storeProblem = found.problem;
    this.#parts = found.parts;
    this.#storedStarts = new Map(
      (found.restored?.sessions ?? []).map(({ device, peer, startedAtMs }) => [
        `${device} ${peer.publicKey}`,
        startedAtMs,
      ]),
    );
  }

  async get<View>(path: string): Promise<View> {
    const response = await this.#api.handle(new Request(`http://localhost${path}`));
    const view = await viewOf<View>(response, path);
    if (/^\/v1\/peers\/[^/]+\/[^/]+$/.test(path)) {
      return this.#withStoredSession(view as PeerView) as View;
    }
    if (!path.startsWith("/v1/peers?")) return view;
    const { items, ...rest } = view as { readonly items: readonly PeerView[] };
    return { ...rest, items: items.map((peer) => this.#withStoredSession(peer)) } as View;
  }

  /** Removes a session that is not in the store: one scan cannot show when such a session started. */
  #withStoredSession(peer: PeerView): PeerView {
    const { device, publicKey, session } = peer;
    const startedAtMs = this.#storedStarts.get(`${device} ${publicKey}`) ?? null;
    const isStored =
      startedAtMs !== null &&
      session !== null &&
      Date.parse(session.startedAt) === Math.trunc(startedAtMs);
    return isStored ? peer : { ...peer, session: null };
  }

  [Symbol.dispose](): void {
    this.#api[Symbol.dispose]();
    for (const part of this.#parts) part[Symbol.dispose]();
  }
}

/** The alerts and silences as they were when wgmon ended. */
function savedAlerts(store: Store, { alerts: rules }: Settings, clock: Clock): AlertModel {
  const saved = store.alerts.loadState();
  const engine = saved.size === 0 ? null : new AlertEngine({ rules, saved, isSaved: false });
  const current = engine?.alerts().filter(({ state }) => state !== "resolved") ?? [];
  const { wallMs } = clock.now();
  const silences = [...(engine?.silences.values() ?? [])].filter(({ endMs }) => endMs > wallMs);
  return {
    // Firing alerts first, the latest first.
    current: () => current.toSorted((a, b) => (b.firedAtMs ?? 0) - (a.firedAtMs ?? 0)),
    silences: () => silences.toSorted((a, b) => a.endMs - b.endMs),
    rules: () => rules,
  };
}

/** Opens the store; if it cannot be read, an empty one in memory, and the error. */
async function openStore(directory: string, clock: Clock) {
  const options = { clock, log: silent };
  try {
    return {
      store: await Store.open({ ...options, directory, isExternalTool: true }),
      problem: null,
    };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return { store: await Store.open({ ...options, directory: null }), problem: error };
  }
}
