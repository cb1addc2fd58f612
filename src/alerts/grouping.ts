/**
 * Decides which alerts are sent, and when. The alerts of one rule and device are a group: those that fire or are resolved
 * within the rule's `wait` are one notice. Each decision compares the state of an alert with what was sent about it, so
 * nothing is sent twice and nothing is forgotten: an alert that was held back is sent when the reason is over, if it still
 * fires.
 */

import { counted } from "../base/text.ts";
import { duration } from "../events/event.ts";
import { groupDeviceOf, groupKeyOf } from "./alert-table.ts";
import type { Alert, AlertView, Notice, Suppression } from "./alert.ts";
import type { DeviceFacts } from "./facts.ts";
import { type Hold, holdOf, sharedCause } from "./inhibition.ts";
import { AGE } from "./kinds/kind.ts";
import type { CompiledRule, RuleSet } from "./rule-set.ts";
import { RULE_DEFAULTS } from "./rule.ts";
import type { AlertState, Group } from "./state.ts";
import { nextDaily } from "./times.ts";

/** Maximum number of moments of a group that wait for the rule's times. More are only recorded. */
const MOMENTS_MAX = 1000;
/** Maximum number of alerts whose sentences are part of the sentence of a notice. */
const LISTED_MAX = 5;
/** A reminder that is due while wgmon does not watch is postponed by this time. */
const POSTPONE_MS = 60_000;

interface Held {
  readonly alert: Alert;
  readonly hold: Hold;
}

interface Decision {
  readonly ready: readonly Alert[];
  readonly held: readonly Held[];
  readonly cause: Notice["cause"];
}

export class Groups {
  readonly #state: AlertState;
  readonly #rules: () => RuleSet;
  readonly #emit: (notice: Notice) => void;
  /** Keys of the groups about which `flush` decides. */
  readonly #due = new Set<string>();

  constructor(state: AlertState, rules: () => RuleSet, emit: (notice: Notice) => void) {
    this.#state = state;
    this.#rules = rules;
    this.#emit = emit;
  }

  /** An alert fired, or was resolved: its group is due after the rule's `wait`. */
  changed(alert: Alert): void {
    const compiled = this.#rules().rules.get(alert.rule);
    const key = groupKeyOf(alert);
    const { severity, targets, dryRun } = compiled?.rule ?? RULE_DEFAULTS.down;
    const group: Group = this.#state.groups.get(key) ?? {
      rule: alert.rule,
      device: groupDeviceOf(alert),
      flushAtMs: null,
      remindAtMs: null,
      waitsAtMs: null,
      severity,
      targets,
      dryRun,
    };
    if (compiled !== undefined) Object.assign(group, { severity, targets, dryRun });
    this.#state.groups.set(key, group);
    this.#schedule(key, group, this.#dueMs(compiled));
  }

  /** Lets groups be due again, those of a device or all, because a reason that held alerts back may be over. */
  recheck(device: string | null = null): void {
    for (const [key, group] of this.#state.groups) {
      if (device !== null && group.device !== device && group.device !== null) continue;
      const compiled = this.#rules().rules.get(group.rule);
      if (this.#state.alerts.countIn(key) > 0) this.#schedule(key, group, this.#dueMs(compiled));
    }
  }

  /** The clock was set, so times of the day are at other times: plans all groups again. */
  clockSet(): void {
    for (const group of this.#state.groups.values()) group.flushAtMs = null;
    this.recheck();
  }

  /** What other times held back may be due, and reminders may come, or come sooner, for what was sent already. */
  rulesChanged(): void {
    const { nowMs } = this.#state;
    for (const [key, group] of this.#state.groups) {
      const repeatMs = this.#rules().rules.get(group.rule)?.rule.repeatMs ?? null;
      if (repeatMs === null) group.remindAtMs = null;
      else if (this.#state.alerts.inGroup(key).some((alert) => isFiring(alert) && alert.isSent)) {
        group.remindAtMs = Math.min(group.remindAtMs ?? Infinity, nowMs + repeatMs);
      }
    }
    this.recheck();
  }

  /** Decides about the groups that are due. The engine calls it after all inputs, or deadlines, of one time. */
  flush(): void {
    while (this.#due.size > 0) {
      const keys = [...this.#due].sort();
      this.#due.clear();
      for (const key of keys) this.#flushGroup(key);
    }
  }

  /** The deadline of a group was reached. */
  timerDue(key: string): void {
    this.#due.add(key);
  }

  view(alert: Alert): AlertView {
    const { subject, sinceAtMs, firedAtMs, resolvedAtMs, isMoment } = alert;
    const { id, rule, kind, state, what, isSent, heldBack } = alert;
    const age = duration((resolvedAtMs ?? this.#state.nowMs) - sinceAtMs);
    const sentence = alert.sentence.replaceAll(AGE, age);
    const entry =
      subject.type === "peer" ? this.#state.peer(subject.device, subject.publicKey) : null;
    const peer = entry === null ? null : { name: entry.peer.name, tags: entry.peer.tags };
    const severity = this.#rules().rules.get(rule)?.rule.severity ?? "warning";
    const times = { sinceMs: sinceAtMs, firedAtMs, resolvedAtMs };
    const rest = { what, peer, ...times, resolves: !isMoment, isSent, heldBack, sentence };
    return { id, rule, kind, severity, state, subject, ...rest };
  }

  #dueMs(compiled: CompiledRule | undefined): number {
    const { nowMs } = this.#state;
    if (compiled === undefined) return nowMs;
    const { rule } = compiled;
    if (rule.kind === "unused") return nextDaily(rule.atMinute, rule.zone, nowMs);
    return nowMs + rule.waitMs;
  }

  #schedule(key: string, group: Group, dueMs: number): void {
    if (group.flushAtMs === null || dueMs < group.flushAtMs) group.flushAtMs = dueMs;
    if (group.flushAtMs <= this.#state.nowMs) this.#due.add(key);
    this.#setTimer(key, group);
  }

  #setTimer(key: string, { flushAtMs, remindAtMs }: Group): void {
    this.#state.markGroup(key);
    const dueMs = Math.min(flushAtMs ?? Infinity, remindAtMs ?? Infinity);
    if (dueMs === Infinity) this.#state.deleteTimer(`group ${key}`);
    else this.#state.setTimer(`group ${key}`, dueMs);
  }

  #flushGroup(key: string): void {
    const { nowMs } = this.#state;
    const group = this.#state.groups.get(key);
    if (group === undefined) return;
    const compiled = this.#rules().rules.get(group.rule) ?? null;
    if (group.flushAtMs !== null && group.flushAtMs <= nowMs) {
      group.flushAtMs = null;
      // The other alerts were sent and still fire, or are pending.
      const alerts = this.#state.alerts.undecidedIn(key);
      this.#sendResolved(group, compiled, alerts);
      if (compiled !== null) this.#sendFiring(key, group, compiled, alerts);
    }
    if (group.remindAtMs !== null && group.remindAtMs <= nowMs && compiled !== null) {
      this.#remind(key, group, compiled);
    }
    if (this.#state.alerts.countIn(key) > 0) {
      this.#setTimer(key, group);
      return;
    }
    this.#state.deleteTimer(`group ${key}`);
    this.#state.deleteGroup(key);
  }

  #sendFiring(key: string, group: Group, compiled: CompiledRule, alerts: readonly Alert[]): void {
    const { nowMs } = this.#state;
    const unsent = alerts.filter((alert) => isFiring(alert) && !alert.isSent);
    const { ready, held, cause } = this.#decide(group, compiled, unsent);
    this.#hold(group, compiled, held);
    if (ready.length === 0) return;
    this.#emit(this.#notice("firing", group, compiled, ready, cause));
    // The message about the cause replaces the messages about the peers, which are recorded as held back.
    if (cause !== null) {
      const by: Suppression = { type: cause, device: group.device! };
      this.#emit(this.#notice("firing", group, compiled, ready, null, by));
    }
    for (const alert of ready) {
      alert.isSent = true;
      alert.heldBack = null;
      if (alert.isMoment) this.#state.deleteAlert(alert);
      else this.#state.markAlert(alert);
    }
    const { repeatMs } = compiled.rule;
    const lasts = ready.some(({ isMoment }) => !isMoment);
    if (repeatMs !== null && lasts) group.remindAtMs = nowMs + repeatMs;
    this.#state.markGroup(key);
  }

  /** Returns which alerts are sent now, with which shared cause, and which are held back. */
  #decide(group: Group, compiled: CompiledRule, alerts: readonly Alert[]): Decision {
    const device = this.#deviceOf(group);
    const { ready, held } = this.#sort(alerts, compiled, device);
    // A peer that is down on several devices is not down because of one of them.
    const isOfDevice = compiled.rule.kind === "down" && !compiled.isEverywhere;
    const isShareable = isOfDevice && device !== null && ready.length > 0;
    if (!isShareable) {
      group.waitsAtMs = null;
      return { ready, held, cause: null };
    }
    const { cause, wait } = sharedCause(this.#state, device, ready.length, group.waitsAtMs);
    if (wait === null) {
      group.waitsAtMs = null;
      return { ready, held, cause };
    }
    group.waitsAtMs ??= this.#state.nowMs;
    const waiting = ready.map((alert) => ({ alert, hold: wait }));
    return { ready: [], held: [...held, ...waiting], cause: null };
  }

  #sort(
    alerts: readonly Alert[],
    compiled: CompiledRule,
    device: DeviceFacts | null,
  ): Pick<Decision, "ready" | "held"> {
    const ready: Alert[] = [];
    const held: Held[] = [];
    for (const alert of alerts) {
      const hold = holdOf(this.#state, compiled, alert, device);
      if (hold === null) ready.push(alert);
      else held.push({ alert, hold });
    }
    return { ready, held };
  }

  /** Holds alerts back. Records an alert once for each reason, and decides again when the first reason is over. */
  #hold(group: Group, compiled: CompiledRule, held: readonly Held[]): void {
    const unrecorded = held.filter(({ alert, hold }) => !isSame(alert.heldBack, hold.by));
    for (const { alert, hold } of unrecorded) {
      alert.heldBack = hold.by;
      this.#state.markAlert(alert);
    }
    let moments = 0;
    for (const { alert, hold } of held) {
      const { by, untilMs } = hold;
      // A moment that is silenced was expected. Others wait, within a bound.
      const isDropped = alert.isMoment && (by.type === "silence" || ++moments > MOMENTS_MAX);
      if (isDropped) this.#state.deleteAlert(alert);
      else if (untilMs !== null) group.flushAtMs = Math.min(group.flushAtMs ?? Infinity, untilMs);
    }
    this.#record("firing", group, compiled, unrecorded);
  }

  /** Emits a notice, which is only recorded, for each reason. */
  #record(type: Notice["type"], group: Group, compiled: CompiledRule, held: readonly Held[]): void {
    for (const each of Map.groupBy(held, ({ hold }) => JSON.stringify(hold.by)).values()) {
      const alerts = each.map(({ alert }) => alert);
      this.#emit(this.#notice(type, group, compiled, alerts, null, each[0]!.hold.by));
    }
  }

  /** Sends the end of what was sent, and records what was over before. */
  #sendResolved(group: Group, compiled: CompiledRule | null, alerts: readonly Alert[]): void {
    const resolved = alerts.filter(({ state }) => state === "resolved");
    const sent = resolved.filter(({ isSent }) => isSent);
    const unsent = resolved.filter(({ isSent }) => !isSent);
    if (sent.length > 0) this.#emit(this.#notice("resolved", group, compiled, sent, null));
    if (unsent.length > 0) {
      const by: Suppression = { type: "over-before-sent" };
      this.#emit(this.#notice("resolved", group, compiled, unsent, null, by));
    }
    for (const alert of resolved) this.#state.deleteAlert(alert);
  }

  #remind(key: string, group: Group, compiled: CompiledRule): void {
    const { nowMs } = this.#state;
    const alerts = this.#state.alerts
      .inGroup(key)
      .filter((alert) => isFiring(alert) && alert.isSent);
    if (alerts.length === 0) {
      group.remindAtMs = null;
      return;
    }
    const { repeatMs } = compiled.rule;
    group.remindAtMs = repeatMs === null ? null : nowMs + repeatMs;
    const { ready, held } = this.#sort(alerts, compiled, this.#deviceOf(group));
    // While wgmon does not watch, it is unknown whether the alerts still fire: the reminder is late, not held back.
    if (held.some(({ hold }) => hold.untilMs === null)) group.remindAtMs = nowMs + POSTPONE_MS;
    if (ready.length > 0) this.#emit(this.#notice("reminder", group, compiled, ready, null));
    const recorded = held.filter(({ hold }) => hold.untilMs !== null);
    this.#record("reminder", group, compiled, recorded);
  }

  #deviceOf({ device }: Group) {
    return device === null ? null : (this.#state.devices.get(device) ?? null);
  }

  #notice(
    type: Notice["type"],
    group: Group,
    compiled: CompiledRule | null,
    alerts: readonly Alert[],
    cause: Notice["cause"],
    heldBack: Suppression | null = null,
  ): Notice {
    const { nowMs } = this.#state;
    const first = alerts[0]!;
    const { severity, targets, dryRun } = compiled?.rule ?? group;
    const views = alerts.map((alert) => this.view(alert));
    return {
      type,
      atMs: nowMs,
      rule: group.rule,
      kind: first.kind,
      severity,
      targets,
      exceptTargets: alerts.flatMap(({ subject }) =>
        subject.type === "target" ? [subject.target] : [],
      ),
      dryRun,
      device: group.device,
      cause,
      alerts: views,
      sentence: sentence(group, views, cause),
      heldBack,
    };
  }
}

function isSame(a: Suppression | null, b: Suppression): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function isFiring({ state }: Alert): boolean {
  return state === "firing" || state === "recovering";
}

/** One sentence for all alerts of a notice. */
function sentence(
  { rule, device }: Group,
  alerts: readonly AlertView[],
  cause: Notice["cause"],
): string {
  const count = alerts.length;
  if (cause === "device-down") {
    return `${device} does not exist, and ${count} of its peers ${count === 1 ? "is" : "are"} down; check the device on this gateway`;
  }
  if (cause === "all-peers") {
    return `all peers of ${device} are silent (${counted(count, "alert")} of rule ${rule}); check this gateway's own connection`;
  }
  // Several percents of a quota have the same sentence.
  const sentences = [...new Set(alerts.map((alert) => alert.sentence))];
  if (sentences.length === 1) return sentences[0]!;
  const advice = sharedEnd(sentences);
  const listed = sentences
    .slice(0, LISTED_MAX)
    .map((each) => each.slice(0, each.length - advice.length));
  const more = sentences.length - listed.length;
  if (more > 0) listed.push(`and ${more} more`);
  return `${counted(count, "alert")} of rule ${rule}: ${listed.join("; ")}${advice}`;
}

/** `; check the peer and its network`, if it is the end of all sentences; otherwise "". */
function sharedEnd([first = "", ...others]: readonly string[]): string {
  const index = first.lastIndexOf("; ");
  const end = index === -1 ? "" : first.slice(index);
  return others.every((each) => each.endsWith(end)) ? end : "";
}
