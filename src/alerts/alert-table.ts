/** The alerts that exist, by subject and by group, and those about which a decision is due. */

import { type Alert, alertKey, deviceOf, subjectKey } from "./alert.ts";

/** The keys of an alert, which never change. */
interface AlertKeys {
  readonly key: string;
  readonly subject: string;
  readonly group: string;
}

export class AlertTable {
  readonly #alerts = new Map<string, Alert>();
  /** By subject and rule: a key made of both would be made for each verdict. */
  readonly #bySubject = new Map<string, Map<string, readonly Alert[]>>();
  readonly #byGroup = new Map<string, Set<Alert>>();
  /** Of these, the alerts that are resolved, or that fire and are not sent. */
  readonly #undecided = new Map<string, Set<Alert>>();
  readonly #keys = new WeakMap<Alert, AlertKeys>();

  get(key: string): Alert | null {
    return this.#alerts.get(key) ?? null;
  }

  values(): Iterable<Alert> {
    return this.#alerts.values();
  }

  entries(): Iterable<[string, Alert]> {
    return this.#alerts.entries();
  }

  about(rule: string, subject: string): readonly Alert[] {
    return this.#bySubject.get(subject)?.get(rule) ?? [];
  }

  /** All alerts of a group, in the order of their subjects. */
  inGroup(group: string): Alert[] {
    return this.#sorted(this.#byGroup.get(group));
  }

  /** The alerts of a group that are resolved, or that fire and are not sent, in the order of their subjects. */
  undecidedIn(group: string): Alert[] {
    return this.#sorted(this.#undecided.get(group));
  }

  countIn(group: string): number {
    return this.#byGroup.get(group)?.size ?? 0;
  }

  keyOf(alert: Alert): string {
    return this.#keysOf(alert).key;
  }

  add(alert: Alert): void {
    const { key, subject, group } = this.#keysOf(alert);
    this.#alerts.set(key, alert);
    const byRule = this.#bySubject.get(subject) ?? new Map<string, readonly Alert[]>();
    byRule.set(alert.rule, [...(byRule.get(alert.rule) ?? []), alert]);
    this.#bySubject.set(subject, byRule);
    const members = this.#byGroup.get(group) ?? new Set();
    this.#byGroup.set(group, members.add(alert));
    this.changed(alert);
  }

  /** Returns whether the alert existed. */
  delete(alert: Alert): boolean {
    const { key, subject, group } = this.#keysOf(alert);
    if (!this.#alerts.delete(key)) return false;
    const byRule = this.#bySubject.get(subject)!;
    const rest = byRule.get(alert.rule)!.filter((each) => each !== alert);
    if (rest.length > 0) byRule.set(alert.rule, rest);
    else byRule.delete(alert.rule);
    if (byRule.size === 0) this.#bySubject.delete(subject);
    this.#undecided.get(group)?.delete(alert);
    const members = this.#byGroup.get(group)!;
    members.delete(alert);
    if (members.size === 0) {
      this.#byGroup.delete(group);
      this.#undecided.delete(group);
    }
    return true;
  }

  /** The state of the alert changed. */
  changed(alert: Alert): void {
    const { group } = this.#keysOf(alert);
    const { state, isSent } = alert;
    let undecided = this.#undecided.get(group);
    if (state === "pending" || (state !== "resolved" && isSent)) {
      undecided?.delete(alert);
      return;
    }
    if (undecided === undefined) {
      undecided = new Set();
      this.#undecided.set(group, undecided);
    }
    undecided.add(alert);
  }

  #sorted(alerts: Iterable<Alert> = []): Alert[] {
    const keyed = Array.from(alerts, (alert) => [this.keyOf(alert), alert] as const);
    return keyed.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, alert]) => alert);
  }

  #keysOf(alert: Alert): AlertKeys {
    const known = this.#keys.get(alert);
    if (known !== undefined) return known;
    const subject = subjectKey(alert.subject);
    const keys = {
      key: alertKey(alert, subject),
      subject,
      group: groupKeyOf(alert),
    };
    this.#keys.set(alert, keys);
    return keys;
  }
}

/** The key of the group of an alert: those of its rule and device. */
export function groupKeyOf(alert: Alert): string {
  return `${alert.rule}\n${groupDeviceOf(alert) ?? ""}`;
}

/** The device of an alert's group; null: none. An unused rule has one summary for all devices. */
export function groupDeviceOf({ kind, subject }: Alert): string | null {
  return kind === "unused" ? null : deviceOf(subject);
}
