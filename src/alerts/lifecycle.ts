/**
 * Changes the states of alerts: pending (until the rule's `for` has passed), firing, recovering, resolved. It compares the
 * conditions in a verdict with the alerts that exist. grouping.ts decides which alerts are sent, and when.
 */

import type { Alert, Subject } from "./alert.ts";
import type { DeviceFacts } from "./facts.ts";
import type { Condition, Verdict } from "./kinds/kind.ts";
import type { CompiledRule } from "./rule-set.ts";
import type { AlertState } from "./state.ts";

/** A subject that a rule judged. */
export interface Judged {
  readonly subject: Subject;
  /** `subjectKey` of the subject, which is not computed at each verdict. */
  readonly key: string;
  /** The device of a peer; null: the subject is not a peer, or is judged on several devices. */
  readonly device: DeviceFacts | null;
}

export interface LifecycleOptions {
  readonly state: AlertState;
  /** Called when an alert fires or is resolved. */
  readonly onChange: (alert: Alert) => void;
}

export class Lifecycle {
  readonly #state: AlertState;
  readonly #onChange: (alert: Alert) => void;

  constructor({ state, onChange }: LifecycleOptions) {
    this.#state = state;
    this.#onChange = onChange;
  }

  /**
   * Applies a verdict.
   *
   * @param resolvedSentence the sentence of an alert that is resolved now.
   */
  apply(
    { rule }: CompiledRule,
    judged: Judged,
    { conditions, recheckMs, isUnknown }: Verdict,
    resolvedSentence: (alert: Alert) => string,
  ): void {
    const { nowMs } = this.#state;
    // A reload may have changed the kind of a rule; its alerts of the other kind are being resolved.
    const existing = this.#state.alerts
      .about(rule.name, judged.key)
      .filter(({ kind }) => kind === rule.kind);
    let dueMs = recheckMs ?? Infinity;
    for (const condition of conditions) {
      const known = existing.find(
        ({ what, state }) => what === condition.what && state !== "resolved",
      );
      const alert = known ?? this.#begin(rule, judged, condition, existing);
      this.#update(alert, condition, judged);
      if (alert.state !== "pending") continue;
      const firesMs = alert.countsAtMs + rule.forMs;
      if (nowMs >= firesMs) this.#fire(alert);
      else dueMs = Math.min(dueMs, firesMs);
    }
    if (!isUnknown) {
      for (const alert of existing) {
        if (conditions.some(({ what }) => what === alert.what)) continue;
        dueMs = Math.min(dueMs, this.#recover(alert, rule.resolveAfterMs, resolvedSentence));
      }
    }
    if (dueMs < Infinity) this.#state.setTimer(`judge ${rule.name}\n${judged.key}`, dueMs);
  }

  /** Adds an alert about a moment, which fires at once. */
  moment({ rule }: CompiledRule, subject: Subject, what: string, sentence: string): void {
    const { nowMs } = this.#state;
    const id = this.#nextId();
    const alert: Alert = {
      ...newAlert(rule, subject, `${what} ${id}`, nowMs),
      isMoment: true,
      sentence,
    };
    this.#state.addAlert(alert);
    this.#fire(alert, id);
  }

  /** Ends an alert even if its condition is met, because its rule no longer exists or no longer selects its subject. */
  end(alert: Alert, sentence: string): void {
    if (alert.state === "pending") this.#state.deleteAlert(alert);
    else if (alert.state !== "resolved") this.#resolve(alert, sentence);
  }

  #begin(
    rule: CompiledRule["rule"],
    { subject }: Judged,
    condition: Condition,
    existing: readonly Alert[],
  ): Alert {
    const resolved = existing.find(
      ({ what, state }) => what === condition.what && state === "resolved",
    );
    // That it is resolved is not sent yet, so it continues, and nothing is sent.
    if (resolved !== undefined && resolved.isSent) {
      resolved.state = "firing";
      resolved.recoveredAtMs = null;
      resolved.resolvedAtMs = null;
      return resolved;
    }
    // It was over before it was sent. It is deleted, because two alerts cannot have the same key.
    if (resolved !== undefined) this.#state.deleteAlert(resolved);
    const alert = newAlert(rule, subject, condition.what, condition.sinceMs);
    this.#state.addAlert(alert);
    return alert;
  }

  #update(alert: Alert, condition: Condition, { device }: Judged): void {
    const countsAtMs = Math.max(
      condition.countsFromMs,
      // Time in which wgmon did not watch does not count.
      device?.watchedAtMs ?? condition.countsFromMs,
    );
    const isChanged =
      alert.sentence !== condition.sentence ||
      alert.state === "recovering" ||
      (alert.state === "pending" && alert.countsAtMs !== countsAtMs);
    if (!isChanged) return;
    alert.sentence = condition.sentence;
    if (alert.state === "pending") {
      alert.countsAtMs = countsAtMs;
      alert.sinceAtMs = condition.sinceMs;
    }
    if (alert.state === "recovering") {
      alert.state = "firing";
      alert.recoveredAtMs = null;
    }
    this.#state.markAlert(alert);
  }

  #fire(alert: Alert, id = this.#nextId()): void {
    alert.state = "firing";
    alert.id = id;
    alert.firedAtMs = this.#state.nowMs;
    this.#state.markAlert(alert);
    this.#onChange(alert);
  }

  /** The condition is not met. Returns when the alert is to be judged again. */
  #recover(
    alert: Alert,
    resolveAfterMs: number,
    resolvedSentence: (alert: Alert) => string,
  ): number {
    const { nowMs } = this.#state;
    if (alert.isMoment || alert.state === "resolved") return Infinity;
    if (alert.state === "pending") {
      this.#state.deleteAlert(alert);
      return Infinity;
    }
    if (alert.recoveredAtMs === null) {
      alert.state = "recovering";
      alert.recoveredAtMs = nowMs;
      this.#state.markAlert(alert);
    }
    const dueMs = alert.recoveredAtMs + resolveAfterMs;
    if (nowMs < dueMs) return dueMs;
    this.#resolve(alert, resolvedSentence(alert));
    return Infinity;
  }

  #resolve(alert: Alert, sentence: string): void {
    alert.state = "resolved";
    alert.resolvedAtMs = this.#state.nowMs;
    alert.sentence = sentence;
    this.#state.markAlert(alert);
    this.#onChange(alert);
  }

  #nextId(): string {
    return `alert-${this.#state.nextId++}`;
  }
}

function newAlert(
  { name, kind }: CompiledRule["rule"],
  subject: Subject,
  what: string,
  sinceAtMs: number,
): Alert {
  return {
    rule: name,
    kind,
    subject,
    what,
    isMoment: false,
    id: "",
    state: "pending",
    sinceAtMs,
    countsAtMs: sinceAtMs,
    firedAtMs: null,
    recoveredAtMs: null,
    resolvedAtMs: null,
    isSent: false,
    heldBack: null,
    sentence: "",
  };
}
