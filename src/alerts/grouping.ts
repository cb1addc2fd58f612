/**
 * Decides which alerts are sent, and when. The alerts of one rule and device are a group: those that fire or are resolved
 * within the rule's `wait` are one notice. Each decision compares what is so with what was sent, so nothing is sent twice
 * and nothing is forgotten: an alert that was held back is sent when the reason is over, if it still fires.
 */

import { counted } from "../base/text.ts";
import { groupDeviceOf, groupKeyOf } from "./alert-table.ts";
import type { Alert, AlertView, Notice, Suppression } from "./alert.ts";
import { type Hold, holdOf, sharedCause } from "./inhibition.ts";
import { DURATION, span } from "./kinds/kind.ts";
import type { CompiledRule, RuleSet } from "./rule-set.ts";
import { RULE_DEFAULTS } from "./rule.ts";
import type { AlertState, Group } from "./state.ts";
import { nextDaily } from "./times.ts";

/** Moments that wait for a rule's times; more are recorded only. */
const MOMENTS_MAX = 1000;
/** Alerts whose sentences are part of the sentence of a notice. */
const LISTED_MAX = 5;
/** A reminder that is due while wgmon does not watch is postponed by this time. */
const POSTPONE_MS = 60_000;

export class Groups {
  readonly #state: AlertState;
  readonly #rules: () => RuleSet;
  readonly #emit: (notice: Notice) => void;
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

  /** Decides again about the groups of a device, or about all: something that held alerts back may be over. */
  recheck(device: string | null = null): void {
    for (const [key, group] of this.#state.groups) {
      if (device !== null && group.device !== device && group.device !== null) continue;
      const compiled = this.#rules().rules.get(group.rule);
      if (this.#state.alerts.countIn(key) > 0) this.#schedule(key, group, this.#dueMs(compiled));
    }
  }

  /** The calendar changed: all that waits for a time of the day waits anew. */
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

  /** Decides at once about all groups that are due: called at the end of each step. */
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
    const { id, rule, kind, state, what, isSent, heldBy } = alert;
    const age = span((resolvedAtMs ?? this.#state.nowMs) - sinceAtMs);
    const sentence = alert.sentence.replaceAll(DURATION, age);
    const entry =
      subject.type === "peer" ? this.#state.peer(subject.device, subject.publicKey) : null;
    const peer = entry === null ? null : { name: entry.peer.name, tags: entry.peer.tags };
    const severity = this.#rules().rules.get(rule)?.rule.severity ?? "warning";
    const times = { sinceMs: sinceAtMs, firedAtMs, resolvedAtMs };
    const rest = { what, peer, ...times, resolves: !isMoment, isSent, heldBy, sentence };
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
      // Few of its alerts changed; all others were sent and still fire.
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
    const held: [Alert, Hold][] = [];
    let ready: Alert[] = [];
    for (const alert of unsent) {
      const hold = holdOf(this.#state, compiled, alert, this.#deviceOf(group));
      if (hold === null) ready.push(alert);
      else held.push([alert, hold]);
    }
    let cause: Notice["cause"] = null;
    const device = this.#deviceOf(group);
    if (compiled.rule.kind === "down" && device !== null && ready.length > 0) {
      const shared = sharedCause(this.#state, device, ready.length, group.waitsAtMs);
      cause = shared.cause;
      const { wait } = shared;
      if (wait === null) {
        group.waitsAtMs = null;
      } else {
        group.waitsAtMs ??= nowMs;
        held.push(...ready.map((alert): [Alert, Hold] => [alert, wait]));
        ready = [];
      }
    }
    this.#hold(group, compiled, held);
    if (ready.length === 0) return;
    const notice = this.#notice("firing", group, compiled, ready, cause);
    this.#emit(notice);
    // One by one, they are held back by the shared cause.
    if (cause !== null) {
      const by: Suppression = { type: cause, device: group.device! };
      this.#emit({ ...notice, cause: null, suppressedBy: by });
    }
    for (const alert of ready) {
      alert.isSent = true;
      alert.heldBy = null;
      if (alert.isMoment) this.#state.deleteAlert(alert);
      else this.#state.markAlert(alert);
    }
    const { repeatMs } = compiled.rule;
    const lasts = ready.some(({ isMoment }) => !isMoment);
    if (repeatMs !== null && lasts) group.remindAtMs = nowMs + repeatMs;
    this.#state.markGroup(key);
  }

  /** Records each reason once, and decides again when the first is over. */
  #hold(group: Group, compiled: CompiledRule, held: readonly [Alert, Hold][]): void {
    const records = new Map<string, { readonly by: Suppression; readonly alerts: Alert[] }>();
    let moments = 0;
    for (const [alert, { by, untilMs }] of held) {
      const reason = JSON.stringify(by);
      if (JSON.stringify(alert.heldBy) !== reason) {
        alert.heldBy = by;
        this.#state.markAlert(alert);
        const record = records.get(reason) ?? { by, alerts: [] };
        record.alerts.push(alert);
        records.set(reason, record);
      }
      // A moment that is silenced was expected. Others wait, within a bound.
      const isDropped = alert.isMoment && (by.type === "silence" || ++moments > MOMENTS_MAX);
      if (isDropped) this.#state.deleteAlert(alert);
      else if (untilMs !== null) group.flushAtMs = Math.min(group.flushAtMs ?? Infinity, untilMs);
    }
    for (const { by, alerts } of records.values()) {
      this.#emit(this.#notice("firing", group, compiled, alerts, null, by));
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
    const ready: Alert[] = [];
    const records = new Map<string, { readonly by: Suppression; readonly alerts: Alert[] }>();
    for (const alert of alerts) {
      const hold = holdOf(this.#state, compiled, alert, this.#deviceOf(group));
      if (hold === null) {
        ready.push(alert);
        continue;
      }
      // Whether it still fires is not known yet: the reminder is late, not held back.
      if (hold.untilMs === null) {
        group.remindAtMs = nowMs + POSTPONE_MS;
        continue;
      }
      const reason = JSON.stringify(hold.by);
      const record = records.get(reason) ?? { by: hold.by, alerts: [] };
      record.alerts.push(alert);
      records.set(reason, record);
    }
    if (ready.length > 0) this.#emit(this.#notice("reminder", group, compiled, ready, null));
    for (const { by, alerts: heldBack } of records.values()) {
      this.#emit(this.#notice("reminder", group, compiled, heldBack, null, by));
    }
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
    suppressedBy: Suppression | null = null,
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
      sentence: sentence(type, group, views, cause),
      suppressedBy,
    };
  }
}

function isFiring({ state }: Alert): boolean {
  return state === "firing" || state === "recovering";
}

/** One sentence for all alerts of a notice. */
function sentence(
  type: Notice["type"],
  { rule, device }: Group,
  alerts: readonly AlertView[],
  cause: Notice["cause"],
): string {
  const count = counted(alerts.length, "peer");
  if (cause === "device-down") {
    return `${device} does not exist, and ${count} of it ${alerts.length === 1 ? "is" : "are"} down; check the device on this gateway`;
  }
  if (cause === "all-peers") {
    return `all peers of ${device} are silent, ${count} of rule ${rule}; check this gateway's own connection`;
  }
  const still = type === "reminder" ? "still: " : "";
  if (alerts.length === 1) return `${still}${alerts[0]!.sentence}`;
  const listed = alerts.slice(0, LISTED_MAX).map((alert) => alert.sentence);
  const more = alerts.length - listed.length;
  if (more > 0) listed.push(`and ${more} more`);
  return `${still}${counted(alerts.length, "alert")} of rule ${rule}: ${listed.join("; ")}`;
}
