/** Turns a notice of the alert engine into the event that is sent, and decides which targets receive it. Pure. */

import { aboutOf, type AlertView, type Notice } from "../alerts/alert.ts";
import { ALERTS_MAX } from "../base/event-types.ts";
import type { Target } from "../delivery/target.ts";
import type { AlertEvent, EVENT_VERSION } from "../events/event-schema.ts";

export interface NoticeMetadata {
  /** `evt_` and 32 hexadecimal digits; unique. */
  readonly id: string;
  readonly host: string;
}

/** Declared with the contract's type instead of importing its value: loading the contract costs start-up time. */
const version: typeof EVENT_VERSION = 1;

/** Returns the event of a notice. Of many alerts, it lists the first ones. */
export function eventOfNotice(notice: Notice, metadata: NoticeMetadata): AlertEvent {
  return eventOf(notice, metadata, ALERTS_MAX);
}

/**
 * Whether a target receives the event of a notice. Notices name a target by its key, which is its name if it has one.
 *
 * @param isMute whether the events of a peer are withheld from targets.
 */
export function receives(
  notice: Notice,
  target: Pick<Target, "key" | "accepts">,
  isMute: (publicKey: string) => boolean,
): boolean {
  const { targets, exceptTargets, heldBack, dryRun, alerts } = notice;
  if (heldBack !== null || dryRun) return false;
  if (alerts.every(({ subject }) => subject.type === "peer" && isMute(subject.publicKey))) {
    return false;
  }
  if (exceptTargets.includes(target.key)) return false;
  // The rule's own targets receive it whatever their filters select.
  if (targets.length > 0) return targets.includes(target.key);
  // A filter sees all alerts, also those that the event does not list.
  return target.accepts(eventOf(notice, { id: "", host: "" }, Infinity));
}

function eventOf(notice: Notice, { id, host }: NoticeMetadata, alertsMax: number): AlertEvent {
  const { type, rule, kind, severity, device, cause, sentence, alerts } = notice;
  const parts = alerts.slice(0, alertsMax).map(alertPart);
  const head = { id, version, timestamp: isoTime(notice.atMs), host };
  const data = {
    rule,
    kind,
    severity,
    device,
    peer: alerts.length === 1 ? parts[0]!.peer : null,
    since: isoTime(Math.min(...alerts.map(({ sinceMs }) => sinceMs))),
    sentence,
    count: alerts.length,
    alerts: parts,
  };
  return type === "resolved"
    ? { ...head, type: "alert.resolved", data }
    : { ...head, type: "alert.firing", data: { ...data, cause, reminder: type === "reminder" } };
}

function alertPart(alert: AlertView) {
  const { id, sinceMs, sentence } = alert;
  return { id, ...aboutOf(alert), since: isoTime(sinceMs), sentence };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
