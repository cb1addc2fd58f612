/**
 * Runs the alert engine in the daemon: passes inputs to it, saves its state, and turns its notices into events; more than
 * 400 lines because each input may load, advance, save or unload the one engine. Without
 * rules there is no engine.
 *
 * One transaction stores the events of a scan, the notices that the scan caused, and the changes of the engine's state.
 * After a crash the engine continues from there, so nothing is sent twice and nothing is forgotten.
 */

import type { AlertView, Notice } from "../alerts/alert.ts";
import type { AlertEngine } from "../alerts/engine.ts";
import { type Input, inputOfEvent } from "../alerts/input.ts";
import type { Lookup } from "../alerts/kinds/kind.ts";
import type { Rule } from "../alerts/rule.ts";
import {
  hasEngineState,
  rowsWithoutEngine,
  savedAtMs,
  savedSilences,
  silenceRow,
} from "../alerts/saved-rows.ts";
import { movedSilence, type Silence, withSilence } from "../alerts/silences.ts";
import type { Rows } from "../alerts/state.ts";
import type { ClockStep } from "../base/wall-clock.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import type { ScanResult } from "../kernel/devices.ts";
import type { Change } from "../sessions/change.ts";
import type { Session } from "../sessions/session.ts";
import type { AlertRows } from "../store/alert-rows.ts";
import type { AlertWrite } from "../store/store.ts";
import { ConfiguredPeers, type ConfiguredPeersOptions } from "./configured-peers.ts";
import { inputsOfChanges, inputsOfScan, inputsOfSessions, type Naming } from "./engine-inputs.ts";
import type { EngineClass } from "./load-engine.ts";
import { takeWrite } from "./take-write.ts";
import { type QueuedTarget, TargetStates } from "./target-states.ts";

/** Maximum number of peers whose counters are saved each minute, and with an event. All peers are saved in turns. */
const SAMPLES_PER_MINUTE = 200;
const SAMPLES_PER_EVENT = 8;
/** While the tick runs, a deadline waits for the next tick, but not longer than this. */
const TICK_WAIT_MAX_MS = 10_000;
/** A tick may come a little later than planned. */
const TICK_SLACK_MS = 500;
/** Timers of more than 24 days are not possible. */
const TIMER_MAX_MS = 86_400_000;
/** The difference of the two clocks grows by more than this only if the machine was suspended. */
const SUSPENDED_MS = 2000;
/** The reasons of scans that are rare: they may read the complete list of peers, to find changes of settings. */
const WIDE_REASONS: readonly string[] = ["start", "reconcile", "link", "request"];

/** The settings that determine the content of an event, and whether targets receive it. */
interface AlertSettings {
  readonly host: string;
  readonly alerts: readonly Rule[];
  /** Empty: all devices are watched. */
  readonly devices: readonly string[];
  readonly tickMs: number;
  readonly targets: readonly { readonly name: string | null }[];
  readonly peers: ReadonlyMap<
    PublicKey,
    { readonly tags: readonly string[]; readonly mute: boolean }
  >;
}

export interface LiveAlertsOptions {
  readonly clock: ConfiguredPeersOptions["clock"];
  /** Milliseconds since the boot, including suspension. */
  readonly bootMs: () => number;
  readonly store: {
    readonly alerts: Pick<AlertRows, "loadState" | "loadSteps" | "saveState">;
    saveAlerts(write: AlertWrite): void;
  };
  /** The class of the engine, if `needsEngine`; null: it is loaded when a reload adds rules. */
  readonly engineClass: EngineClass | null;
  readonly loadEngine: () => Promise<EngineClass>;
  readonly lookup: Lookup;
  readonly devices: ConfiguredPeersOptions["devices"];
  readonly nameOf: (publicKey: PublicKey, device: string) => string | null;
  /** Omitted: a peer has the tags of the settings. */
  readonly tagsOf?: (publicKey: PublicKey, device: string) => readonly string[];
  readonly settings: () => AlertSettings;
  readonly sessions: Iterable<Session>;
  readonly targets: () => readonly QueuedTarget[];
  /** Whether the tick runs. Then a scan follows within `tickMs`. */
  readonly isTicking: () => boolean;
  /** Stores and sends what no scan has caused, such as reminders. */
  readonly report: (write: AlertWrite) => void;
}

/** Whether the engine is needed: there are rules, or alerts of the previous run that must be resolved. */
export function needsEngine(rules: readonly Rule[], saved: Rows): boolean {
  return rules.length > 0 || hasEngineState(saved);
}

export class LiveAlerts {
  readonly #options: LiveAlertsOptions;
  readonly #peers: ConfiguredPeers;
  readonly #naming: Naming = (publicKey, device) => ({
    name: this.#options.nameOf(publicKey, device),
    tags:
      this.#options.tagsOf?.(publicKey, device) ??
      this.#options.settings().peers.get(publicKey)?.tags ??
      [],
  });
  #engine: AlertEngine | null = null;
  #targetStates = new TargetStates(new Map());
  /** The silences while there is no engine. */
  readonly #silencesWithoutEngine = new Map<string, Silence>();
  /** Notices of the engine that are not stored yet. */
  #notices: Notice[] = [];
  /** Whether the next scan must pass the open sessions, which a new engine may not know. */
  #needsSessions = false;
  #cancelTimer = () => {};
  /** CLOCK_BOOTTIME minus the monotonic clock: changes when the machine is suspended. */
  #suspendedMs: number;
  #isStopped = false;

  constructor(options: LiveAlertsOptions) {
    this.#options = options;
    const { clock, devices, engineClass } = options;
    this.#peers = new ConfiguredPeers({
      clock,
      devices,
      naming: this.#naming,
    });
    this.#suspendedMs = this.#readSuspended();
    if (engineClass === null) {
      this.#loadSilences(options.store.alerts.loadState());
      this.#moveSilences(options.store.alerts.loadSteps());
    } else this.#createEngine(engineClass);
  }

  /** Pending, firing and recovering alerts: firing first, the latest first. */
  current(): readonly AlertView[] {
    const { wallMs } = this.#options.clock.now();
    const silences = this.silences();
    const all = this.#engine?.alerts().filter(({ state }) => state !== "resolved") ?? [];
    const alerts = all.map((alert) => withSilence(alert, silences, wallMs));
    const rank = ({ state }: AlertView) => Number(state === "pending");
    const atMs = ({ firedAtMs, sinceMs }: AlertView) => firedAtMs ?? sinceMs;
    return alerts.sort((a, b) => rank(a) - rank(b) || atMs(b) - atMs(a));
  }

  /** Silences that have not ended, the one that ends first in front. */
  silences(): readonly Silence[] {
    const { wallMs } = this.#options.clock.now();
    return [...this.#silences.values()]
      .filter(({ endMs }) => endMs > wallMs)
      .sort((a, b) => a.endMs - b.endMs);
  }

  rules(): readonly Rule[] {
    return this.#options.settings().alerts;
  }

  addSilence(given: Omit<Silence, "id" | "startMs">): Silence {
    let id: string;
    do id = crypto.randomUUID().slice(0, 8);
    while (this.#silences.has(id));
    const silence = { ...given, id, startMs: this.#options.clock.now().wallMs };
    if (this.#engine === null) {
      this.#silencesWithoutEngine.set(id, silence);
      this.#saveSilence(id, silence);
    } else {
      this.#advanceAndReport([{ type: "silence", silence }], { mustStore: true });
    }
    return silence;
  }

  expireSilence(id: string): boolean {
    if (!this.silences().some((silence) => silence.id === id)) return false;
    if (this.#engine === null) {
      this.#silencesWithoutEngine.delete(id);
      this.#saveSilence(id, null);
    } else {
      this.#advanceAndReport([{ type: "silence-expired", id }], { mustStore: true });
    }
    return true;
  }

  /**
   * Judges a scan. Returns what is to be stored with its events; null: nothing.
   *
   * @param reason why the scan was taken.
   */
  onScan(scan: ScanResult, changes: readonly Change[], reason: string): AlertWrite | null {
    if (this.#engine === null) return null;
    for (const change of changes) {
      if (change.type === "device.added" || change.type === "device.removed") {
        this.#peers.deviceChanged(
          change.device,
          change.type === "device.added" && reason !== "start",
        );
      }
    }
    const isWide = WIDE_REASONS.includes(reason);
    // The order is that of input.ts: peers, changes, scans.
    const inputs: Input[] = scan.devices.flatMap((each) => this.#peers.ofScan(each, isWide) ?? []);
    inputs.push(...inputsOfChanges(changes, this.#naming));
    if (this.#needsSessions) {
      inputs.push(...inputsOfSessions(this.#unknownSessions(changes), this.#naming));
    }
    this.#needsSessions = false;
    inputs.push(...inputsOfScan(scan, this.#options.clock));
    return this.#advance(inputs, { mustStore: changes.length > 0 });
  }

  /** Judges changes that no scan found. Returns what is to be stored with their events; null: nothing. */
  onChanges(changes: readonly Change[]): AlertWrite | null {
    return this.#advance(inputsOfChanges(changes, this.#naming), { mustStore: true });
  }

  /** Judges stored events, which others than the tracker made. Returns what is to be stored with them; null: nothing. */
  onEvents(events: readonly Event[]): AlertWrite | null {
    if (this.#engine === null || events.length === 0) return null;
    const inputs = events.flatMap((event) => {
      if (event.type === "device.added" || event.type === "device.removed") {
        this.#peers.deviceChanged(event.data.device, event.type === "device.added");
      }
      return inputOfEvent(event, Date.parse(event.timestamp)) ?? [];
    });
    return this.#advance(inputs, { mustStore: inputs.length > 0 });
  }

  /**
   * Called every few seconds: looks for targets that fail or work again, and, once a minute, for renamed peers and ended
   * silences. Saves the state.
   *
   * @param isMinute whether this is the call once a minute, which also saves counters of peers.
   */
  saveDue(isMinute: boolean): void {
    if (this.#engine === null) {
      if (isMinute) this.#pruneSilences();
      return;
    }
    const { clock, settings, targets } = this.#options;
    const { wallMs } = clock.now();
    const named = new Set(settings().targets.map(({ name }) => name));
    const inputs: Input[] = this.#targetStates.changes(targets(), named, wallMs);
    if (isMinute) {
      inputs.push(...this.#peers.renamed());
      for (const { id, endMs } of this.#engine.silences.values()) {
        if (endMs <= wallMs) inputs.push({ type: "silence-expired", id });
      }
    }
    inputs.unshift(...this.#takeSuspension(wallMs));
    if (inputs.length > 0) this.#advanceAndReport(inputs);
    if (isMinute || this.#engine.haveAlertsChanged) this.#save(isMinute ? SAMPLES_PER_MINUTE : 0);
    this.#unloadIfUnneeded();
  }

  /** On a hub: a gateway is not enrolled any more. @param prefix with which the names of all its devices begin. */
  forgetGateway(prefix: string, devices: readonly string[]): void {
    if (this.#engine === null) return;
    for (const device of devices) this.#peers.deviceChanged(device, false);
    this.#advanceAndReport([{ type: "devices-forgotten", prefix }], { mustStore: true });
  }

  /** Applies the rules of the settings, and the names and tags of peers. */
  reload(): void {
    const { alerts } = this.#options.settings();
    this.#peers.setRules(alerts);
    if (this.#engine === null) {
      if (alerts.length > 0) void this.#load();
      return;
    }
    this.#queue(this.#engine.setRules(alerts, this.#options.clock.now().wallMs));
    this.#advanceAndReport(this.#peers.renamed(), { mustStore: true });
    this.#unloadIfUnneeded();
  }

  /** Moves the times of the engine after the clock was set. Those of events and sessions are already moved. */
  clockSet(step: ClockStep): void {
    const engine = this.#engine;
    if (engine === null) {
      this.#moveSilences([step]);
      return;
    }
    this.#targetStates.clockSet(step);
    // A suspension was before the step.
    const beforeMs = this.#options.clock.now().wallMs - step.ms;
    this.#queue(engine.advance(this.#takeSuspension(beforeMs), beforeMs));
    this.#advanceAndReport([{ type: "clock", step }], { mustStore: true });
  }

  /** Saves the state with the counters of all peers. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer();
    if (this.#engine !== null) this.#save(Infinity);
  }

  get #silences(): ReadonlyMap<string, Silence> {
    return this.#engine?.silences ?? this.#silencesWithoutEngine;
  }

  async #load(): Promise<void> {
    const engineClass = await this.#options.loadEngine();
    // Several reloads may have come.
    if (this.#engine !== null || this.#isStopped) return;
    this.#createEngine(engineClass);
    this.#planTimer();
  }

  #createEngine(engineClass: EngineClass): void {
    const { store, lookup, settings } = this.#options;
    const { alerts: rules } = settings();
    this.#peers.setRules(rules);
    const saved = store.alerts.loadState();
    const engine = new engineClass({ rules, lookup, saved });
    this.#engine = engine;
    this.#silencesWithoutEngine.clear();
    this.#needsSessions = true;
    this.#targetStates = new TargetStates(saved);
    this.#passAbsence(engine, saved);
  }

  /** Passes the time since the state was saved to a new engine, and the steps of the clock in this time. */
  #passAbsence(engine: AlertEngine, saved: Rows): void {
    const { clock, store, settings } = this.#options;
    const steps = store.alerts.loadSteps();
    const { devices } = settings();
    // The saved times, and the time of the engine until it gets the steps, are those of the clock before the steps.
    let atMs = clock.now().wallMs - steps.reduce((sum, { ms }) => sum + ms, 0);
    const fromMs = savedAtMs(saved);
    if (fromMs !== null) {
      this.#queue(engine.advance({ type: "away", fromMs, reason: "not-running" }, atMs));
    }
    for (const step of steps) {
      atMs += step.ms;
      this.#targetStates.clockSet(step);
      this.#queue(engine.advance({ type: "clock", step }, atMs));
    }
    if (devices.length > 0) {
      this.#queue(engine.advance({ type: "watched-devices", devices }, atMs));
    }
  }

  /** Without rules and alerts, the engine is not needed. Its state is deleted, because it would be out of date later. */
  #unloadIfUnneeded(): void {
    const engine = this.#engine;
    if (engine === null || this.#options.settings().alerts.length > 0) return;
    if (engine.alerts().length > 0) return;
    const rows = rowsWithoutEngine(engine.save());
    const all = () => new Map([...rows].filter(([, value]) => value !== null));
    this.#options.store.alerts.saveState({ rows, all });
    this.#engine = null;
    this.#cancelTimer();
    this.#loadSilences(rows);
  }

  #loadSilences(rows: Rows): void {
    for (const silence of savedSilences(rows)) {
      this.#silencesWithoutEngine.set(silence.id, silence);
    }
  }

  /** Moves the silences without an engine by steps of the clock, which are done when they are saved. */
  #moveSilences(steps: readonly ClockStep[]): void {
    let atMs = this.#options.clock.now().wallMs - steps.reduce((sum, { ms }) => sum + ms, 0);
    for (const step of steps) {
      for (const [id, silence] of this.#silencesWithoutEngine) {
        this.#silencesWithoutEngine.set(id, movedSilence(silence, step, atMs));
      }
      atMs += step.ms;
    }
    if (steps.length === 0) return;
    for (const [id, silence] of this.#silencesWithoutEngine) this.#saveSilence(id, silence);
  }

  #pruneSilences(): void {
    const { wallMs } = this.#options.clock.now();
    for (const [id, { endMs }] of this.#silencesWithoutEngine) {
      if (endMs > wallMs) continue;
      this.#silencesWithoutEngine.delete(id);
      this.#saveSilence(id, null);
    }
  }

  /** Saves a silence without an engine; null: it is deleted. */
  #saveSilence(id: string, silence: Silence | null): void {
    const rows = new Map([silenceRow(id, silence)]);
    const all = () =>
      new Map(Array.from(this.#silencesWithoutEngine, ([key, each]) => silenceRow(key, each)));
    this.#options.store.alerts.saveState({ rows, all });
  }

  /** Returns the open sessions that the engine does not know: those that the tracker restored and does not report. */
  #unknownSessions(changes: readonly Change[]): Session[] {
    const reported = new Set(
      changes.flatMap((change) =>
        change.type === "peer.connected" ? `${change.device} ${change.peer.publicKey}` : [],
      ),
    );
    return [...this.#options.sessions].filter(
      ({ device, peer: { publicKey } }) =>
        !reported.has(`${device} ${publicKey}`) && !this.#engine!.isConnected(device, publicKey),
    );
  }

  #readSuspended(): number {
    return this.#options.bootMs() - this.#options.clock.now().monotonicMs;
  }

  /** Returns an input if the machine was suspended since the last call. */
  #takeSuspension(nowMs: number): Input[] {
    const before = this.#suspendedMs;
    this.#suspendedMs = this.#readSuspended();
    const sleptMs = this.#suspendedMs - before;
    if (sleptMs < SUSPENDED_MS) return [];
    return [{ type: "away", fromMs: nowMs - sleptMs, reason: "suspended" }];
  }

  /**
   * Advances the engine by inputs of the same time. Returns what is to be stored now; null: it can wait for `saveDue`.
   *
   * @param mustStore whether the state is stored even if there are no notices: with events, or because a user changed it.
   */
  #advance(
    inputs: readonly Input[],
    { mustStore }: { readonly mustStore: boolean },
  ): AlertWrite | null {
    const engine = this.#engine;
    if (engine === null || this.#isStopped) return null;
    const { wallMs } = this.#options.clock.now();
    this.#queue(engine.advance([...this.#takeSuspension(wallMs), ...inputs], wallMs));
    this.#planTimer();
    return mustStore || this.#notices.length > 0 ? this.#takeWrite(SAMPLES_PER_EVENT) : null;
  }

  /** Like `#advance`; stores and sends the result. */
  #advanceAndReport(inputs: readonly Input[], { mustStore = false } = {}): void {
    const write = this.#advance(inputs, { mustStore });
    if (write !== null) this.#options.report(write);
  }

  #queue(notices: readonly Notice[]): void {
    for (const notice of notices) this.#notices.push(notice);
  }

  #save(samplesMax: number): void {
    if (this.#notices.length > 0) this.#options.report(this.#takeWrite(samplesMax));
    else this.#options.store.saveAlerts(this.#takeWrite(samplesMax));
  }

  #takeWrite(samplesMax: number): AlertWrite {
    const { settings, targets } = this.#options;
    const notices = this.#notices.splice(0);
    return takeWrite(this.#engine!, notices, { samplesMax, settings: settings(), targets });
  }

  /** Sets the timer for the next deadline of the engine. If a tick follows soon, its scan comes first. */
  #planTimer(): void {
    this.#cancelTimer();
    const dueMs = this.#engine?.nextDeadlineMs ?? null;
    if (dueMs === null || this.#isStopped) return;
    const { clock, settings, isTicking } = this.#options;
    const { wallMs } = clock.now();
    const waitMs = isTicking() ? Math.min(settings().tickMs, TICK_WAIT_MAX_MS) + TICK_SLACK_MS : 0;
    const delayMs = Math.min(Math.max(1, dueMs - wallMs) + waitMs, TIMER_MAX_MS);
    this.#cancelTimer = clock.after(delayMs, () => {
      if (dueMs <= clock.now().wallMs) this.#advanceAndReport([{ type: "tick" }]);
      else this.#planTimer();
    });
  }
}
