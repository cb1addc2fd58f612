/**
 * START HERE. The alert engine: inputs and times in, notices out. It has no clock, no timers and no I/O, and the same
 * inputs give the same notices, in the daemon, in tests and in `replay`.
 *
 *   input -> facts (observer.ts) -> conditions (judge.ts, kinds/) -> alerts (lifecycle.ts) -> notices (grouping.ts)
 *
 * It is a class and not a function from state to state, because copying the state of 10,000 peers would cost more than
 * everything else. `save` and the constructor's `saved` are exact: a restart at any point changes nothing.
 *
 * Before an input, the engine processes all earlier deadlines in their order, each at its own time. So the notices do not
 * depend on how often `advance` is called. A time in which wgmon did not watch is an input (`away`, `scan-failed`).
 *
 * What one scan shows is passed in this order: `peers`, the changes of the tracker, `scan`; see input.ts.
 */

import { moved as movedByStep } from "../base/wall-clock.ts";
import {
  type Alert,
  type AlertView,
  deviceOf,
  type Notice,
  type Subject,
  subjectKey,
} from "./alert.ts";
import type { DeviceFacts, TargetFacts } from "./facts.ts";
import { Groups } from "./grouping.ts";
import type { Input } from "./input.ts";
import { Judges } from "./judge.ts";
import { isInformed } from "./kinds/handshakes.ts";
import { labelOf, type Lookup } from "./kinds/kind.ts";
import { Lifecycle } from "./lifecycle.ts";
import { Observer } from "./observer.ts";
import { RuleSet, type Selection } from "./rule-set.ts";
import type { Rule } from "./rule.ts";
import type { Silence } from "./silences.ts";
import { AlertState, type PeerEntry, type Rows } from "./state.ts";

/** A deadline that is processed later than this was missed: the machine was suspended, and no `away` input says so. */
const LATE_MAX_MS = 5 * 60_000;
/** Maximum number of reports of unknown handshakes that are kept of a device. */
const ATTEMPTS_MAX = 256;
const DAY_MS = 86_400_000;
/** A removed peer is forgotten after this time, with the places in which it was seen. */
const FORGET_MS = 90 * DAY_MS;

export interface AlertEngineOptions {
  /** Names are unique. */
  readonly rules: readonly Rule[];
  /** Returns the place of an address; null: unknown. Without it, rules of kind `place` never fire. */
  readonly lookup?: Lookup;
  /** The rows of a previous run; null: this is the first run. Then pass `away` first. */
  readonly saved?: Rows | null;
  /** false: `takeChanges` is never called, and changes need not be noted. */
  readonly isSaved?: boolean;
}

export class AlertEngine {
  readonly #state: AlertState;
  readonly #lifecycle: Lifecycle;
  readonly #judges: Judges;
  readonly #groups: Groups;
  readonly #observer: Observer;
  #rules: RuleSet;
  /** The rules as they are saved, to notice that they changed between two runs. */
  #rulesText: string;
  #notices: Notice[] = [];
  /** What `alerts` returns; null: something may have changed since. */
  #views: readonly AlertView[] | null = null;

  constructor({ rules, lookup = () => null, saved = null, isSaved = true }: AlertEngineOptions) {
    const state = new AlertState({ isSaved });
    this.#state = state;
    this.#rules = new RuleSet(rules);
    const currentRules = () => this.#rules;
    this.#groups = new Groups(state, currentRules, (notice) => this.#notices.push(notice));
    this.#lifecycle = new Lifecycle({ state, onChange: (alert) => this.#groups.changed(alert) });
    this.#judges = new Judges(state, currentRules, this.#lifecycle);
    this.#observer = new Observer(state, currentRules, lookup, {
      touched: (entry, ...topics) => this.#judges.topics(entry, topics),
      touchedAll: (entries) => this.#judges.all(entries),
      settingsChanged: (entry, moment) => this.#judges.settingsChanged(entry, moment),
      reselected: (entry, before) => this.#reselected(entry, before),
      arrived: (entry, arrival) => this.#judges.arrived(entry, arrival),
      deviceSeen: (device) => this.#deviceSeen(device),
    });
    if (saved !== null) state.load(saved, this.#rules);
    this.#rulesText = JSON.stringify(rules);
  }

  /** When `advance` has to be called at the latest; null: not before the next input. */
  get nextDeadlineMs(): number | null {
    return this.#state.timers.nextMs;
  }

  /** Pending and firing alerts. */
  alerts(): readonly AlertView[] {
    this.#views ??= Array.from(this.#state.alerts.values(), (alert) => this.#groups.view(alert));
    return this.#views;
  }

  get silences(): ReadonlyMap<string, Silence> {
    return this.#state.silences;
  }

  /**
   * Processes the deadlines until now, then the inputs.
   *
   * @param inputs what happened at the same time, in the order that input.ts gives. Alerts that fire together can be one
   *   notice.
   * @param nowMs wall-clock time. If it is earlier than before, the engine's time stands still; pass a `clock` input.
   */
  advance(inputs: Input | readonly Input[], nowMs: number): readonly Notice[] {
    for (const input of "type" in inputs ? [inputs] : inputs) {
      this.#passTime(input, nowMs);
      if (this.#state.rulesText !== this.#rulesText) this.#adoptRules();
      this.#apply(input, nowMs);
    }
    this.#groups.flush();
    return this.#take();
  }

  /**
   * Replaces the rules. Alerts whose rule, or kind of rule, no longer exists are resolved. If a rule of the same name and
   * kind exists, its alerts continue.
   */
  setRules(rules: readonly Rule[], nowMs: number): readonly Notice[] {
    this.#passTime({ type: "tick" }, nowMs);
    this.#rules = new RuleSet(rules);
    this.#rulesText = JSON.stringify(rules);
    this.#adoptRules();
    this.#groups.flush();
    return this.#take();
  }

  /** Whether the engine knows a session of the peer: from an input, or from the saved state. */
  isConnected(device: string, publicKey: string): boolean {
    return (this.#state.peer(device, publicKey)?.peer.connectedAtMs ?? null) !== null;
  }

  /** Whether `takeAlerts` would return any. */
  get haveAlertsChanged(): boolean {
    return this.#state.haveAlertsChanged;
  }

  /** Returns the alerts that fired at some time and changed since the last call, resolved ones included. */
  takeAlerts(): AlertView[] {
    return this.#state.takeAlerts().map((alert) => this.#groups.view(alert));
  }

  /** All rows of the state, for `saved`. */
  save(): Rows {
    return this.#state.save();
  }

  /** The rows that changed since the last call; see `AlertState.takeChanges`. */
  takeChanges({ samplesMax }: { readonly samplesMax: number }): Rows {
    return this.#state.takeChanges(samplesMax);
  }

  #take(): readonly Notice[] {
    // The end of each step: the state changes only in steps.
    this.#views = null;
    const notices = this.#notices;
    this.#notices = [];
    return notices.filter((notice) => notice.type !== "reminder" || !this.#isOutdated(notice));
  }

  /** Whether all alerts of a reminder were over when it was due, which the inputs after it have shown. */
  #isOutdated({ atMs, alerts }: Notice): boolean {
    return alerts.every(({ id, rule, kind, subject }) => {
      const known = this.#state.alerts.about(rule, subjectKey(subject));
      if (known.some((alert) => alert.id === id && alert.state !== "resolved")) return false;
      const connectedAtMs = this.#entryOf(subject)?.peer.connectedAtMs ?? Infinity;
      return atMs === this.#state.nowMs || (kind === "down" && connectedAtMs <= atMs);
    });
  }

  /** Processes the deadlines that are due before the input. */
  #passTime(input: Input, nowMs: number): void {
    if (this.#state.nowMs === 0) this.#state.nowMs = nowMs;
    if (input.type === "clock") {
      // Deadlines until the old clock was set.
      this.#runTimers(nowMs - input.step.ms);
      return;
    }
    const { nextDeadlineMs } = this;
    const isLate = nextDeadlineMs !== null && nextDeadlineMs < nowMs - LATE_MAX_MS;
    if (input.type === "away") {
      this.#runTimers(Math.min(input.fromMs, nowMs));
    } else {
      if (isLate) this.#away(this.#state.nowMs, nowMs);
      this.#runTimers(nowMs);
    }
  }

  #runTimers(untilMs: number): void {
    const state = this.#state;
    for (;;) {
      const timer = state.takeTimer(untilMs);
      if (timer === null) break;
      state.nowMs = Math.max(state.nowMs, timer.dueMs);
      this.#timerDue(timer.key);
      // What is due at the same time is one step, so that it can be one notice.
      const { nextMs } = state.timers;
      if (nextMs === null || nextMs > timer.dueMs) this.#groups.flush();
    }
    state.nowMs = Math.max(state.nowMs, untilMs);
  }

  #timerDue(key: string): void {
    const index = key.indexOf(" ");
    const [type, name] = [key.slice(0, index), key.slice(index + 1)];
    switch (type) {
      case "group":
        this.#groups.timerDue(name);
        break;
      case "judge":
        this.#judges.due(name);
        break;
      case "silent": {
        const [device, publicKey] = name.split(" ");
        const entry = this.#state.peer(device!, publicKey!);
        const atMs = entry === null ? null : this.#observer.silenceDue(entry);
        if (atMs !== null) this.#state.setTimer(key, atMs);
        break;
      }
      case "grace":
      case "gone":
        for (const entry of this.#state.peersOf(name)) this.#judges.topics(entry, ["presence"]);
        break;
      case "calendar":
        this.#judges.calendarDue(name);
        break;
    }
  }

  #apply(input: Input, nowMs: number): void {
    switch (input.type) {
      case "connected":
        return this.#observer.connected(input);
      case "roamed":
        return this.#observer.roamed(input);
      case "disconnected":
        return this.#observer.disconnected(input);
      case "device":
        return this.#observer.device(input);
      case "peers":
        return this.#observer.peers(input);
      case "scan":
        return this.#observer.scan(input);
      case "devices-listed":
        return this.#observer.devicesListed();
      case "scan-failed":
        return this.#observer.scanFailed(input);
      case "traffic":
        return this.#observer.traffic(input);
      case "unknown-handshakes":
        return this.#unknownHandshakes(input);
      case "target":
        return this.#target(input);
      case "away":
        return this.#away(input.fromMs, nowMs);
      case "clock":
        return this.#clockSet(input.step, nowMs);
      case "watched-devices":
        return this.#endOn((device) =>
          input.devices.includes(device) ? null : `its settings do not name ${device}`,
        );
      case "devices-forgotten":
        return this.#forget(input.prefix);
      case "silence":
        this.#state.silences.set(input.silence.id, input.silence);
        this.#state.markSilence(input.silence.id);
        return this.#groups.recheck();
      case "silence-expired":
        this.#state.silences.delete(input.id);
        this.#state.markSilence(input.id);
        return this.#groups.recheck();
      case "tick":
        return undefined;
    }
  }

  /** Applies rules that are not those that the state was made with. */
  #adoptRules(): void {
    this.#state.rulesText = this.#rulesText;
    this.#reselect();
    for (const alert of this.#state.alerts.values()) {
      const compiled = this.#rules.rules.get(alert.rule);
      const entry = this.#entryOf(alert.subject);
      const applies =
        compiled?.rule.kind === alert.kind && (entry === null || compiled.isSelected(entry.peer));
      if (!applies) this.#end(alert);
    }
    this.#judges.everything();
    this.#groups.rulesChanged();
  }

  /** Ends an alert whose rule no longer exists, or no longer selects its subject. */
  #end(alert: Alert): void {
    if (alert.isMoment) this.#state.deleteAlert(alert);
    else {
      const who = labelOf(alert, this.#entryOf(alert.subject));
      this.#lifecycle.end(alert, `rule ${alert.rule} no longer applies to ${who}`);
    }
  }

  #forget(prefix: string): void {
    this.#endOn((device) => (device.startsWith(prefix) ? "its gateway was forgotten" : null));
    // On other devices, its peers may be down now.
    for (const { peer } of this.#state.deleteDevices(prefix)) {
      this.#judges.all(this.#state.peersWith(peer.publicKey));
    }
  }

  /** Ends the alerts of devices. These are never scanned again, so no new ones fire. */
  #endOn(reasonOf: (device: string) => string | null): void {
    for (const alert of this.#state.alerts.values()) {
      const device = deviceOf(alert.subject);
      const reason = device === null ? null : reasonOf(device);
      if (reason === null) continue;
      const who = labelOf(alert, this.#entryOf(alert.subject));
      if (alert.isMoment) this.#state.deleteAlert(alert);
      else this.#lifecycle.end(alert, `wgmon no longer watches ${who}: ${reason}`);
    }
  }

  #away(fromMs: number, nowMs: number): void {
    this.#state.nowMs = Math.max(this.#state.nowMs, Math.min(fromMs, nowMs));
    // The deadlines in the absence are processed as not watched.
    this.#observer.away(fromMs);
    this.#runTimers(nowMs);
    // The grace period of the peers begins at the end of the absence.
    this.#observer.away(fromMs);
  }

  #clockSet(step: Parameters<typeof movedByStep>[0], nowMs: number): void {
    const state = this.#state;
    const beforeMs = state.nowMs;
    // Times in the future are deadlines.
    state.shift((atMs) => (atMs > beforeMs ? atMs + step.ms : movedByStep(step, atMs)));
    state.nowMs = nowMs;
    // Hours, days and months are those of the new clock.
    this.#judges.everything();
    this.#groups.clockSet();
  }

  #unknownHandshakes({
    device: name,
    messages,
    mac1,
    network,
    publicKeys,
  }: Extract<Input, { type: "unknown-handshakes" }>): void {
    if (!isInformed(mac1, publicKeys.length)) return;
    const device = this.#state.ensureDevice(name);
    device.attempts.push({ reportedAtMs: this.#state.nowMs, messages, network, publicKeys });
    if (device.attempts.length > ATTEMPTS_MAX) device.attempts.shift();
    this.#state.markDevice(device);
    this.#judges.device(device);
  }

  #target({ target: name, state, sinceMs }: Extract<Input, { type: "target" }>): void {
    const facts: TargetFacts = { name, state, sinceAtMs: sinceMs };
    this.#state.targets.set(name, facts);
    this.#state.markTarget(facts);
    this.#judges.target(facts);
  }

  /** Ends the alerts of rules that no longer select a peer, because it was renamed or has other tags. */
  #reselected(entry: PeerEntry, before: Selection): void {
    for (const compiled of before.rules) {
      if (entry.selection.rules.has(compiled)) continue;
      for (const alert of this.#state.alerts.about(compiled.rule.name, entry.key)) this.#end(alert);
    }
  }

  #deviceSeen(device: DeviceFacts): void {
    this.#groups.recheck(device.name);
  }

  /** Selects the rules of each peer again, and forgets peers that were removed long ago. */
  #reselect(): void {
    const { nowMs } = this.#state;
    for (const entry of this.#state.allPeers()) {
      const { peer } = entry;
      const lastMs = Math.max(peer.seenAtMs ?? 0, peer.watchedAtMs);
      if (!peer.isPresent && entry.alerts === 0 && nowMs - lastMs > FORGET_MS) {
        this.#state.deletePeer(entry);
      } else {
        entry.selection = this.#rules.select(peer);
      }
    }
  }

  #entryOf(subject: Subject): PeerEntry | null {
    return subject.type === "peer" ? this.#state.peer(subject.device, subject.publicKey) : null;
  }
}
