/** Alerts and silences as the HTTP API returns them, and the lists of them. Pure. */

import {
  aboutOf,
  type AlertState,
  type AlertView,
  deviceOf,
  type Suppression,
} from "../alerts/alert.ts";
import { ruleText } from "../alerts/rule-text.ts";
import { dryRunNames, type Rule } from "../alerts/rule.ts";
import {
  parseMatcher,
  type Silence,
  SILENCE_LIMITS,
  silenceEndMs,
  type SilenceMatcher,
} from "../alerts/silences.ts";
import { suppressionText } from "../alerts/suppression-text.ts";
import { formatDuration } from "../base/duration.ts";
import type { PublicKey } from "../base/wireguard.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import {
  type AlertQuery,
  type AlertRecord,
  type NoticeRecord,
  overAtMs,
} from "../store/alert-rows.ts";
import { type AlertCursor, formatAlertCursor } from "./alert-cursor.ts";
import type { NewSilence } from "./alert-model.ts";
import type {
  AlertApiView,
  AlertDetailView,
  NewSilenceView,
  NoticeApiView,
  RuleView,
  SilenceView,
  SuppressionView,
} from "./alert-schemas.ts";
import { hostField } from "./fleet-model.ts";
import { HttpError } from "./problem.ts";
import type { ReadModel } from "./read-model.ts";
import type { TargetView } from "./schemas.ts";
import { iso, viewTargets } from "./view.ts";

/** Selects alerts; a filter that is null matches every alert. */
export interface AlertFilter extends Omit<AlertQuery, "before" | "limit" | "state"> {
  /** current: pending and firing. */
  readonly state: "current" | "pending" | "firing" | "resolved" | null;
}

/** An alert without what its messages show. */
type AlertFields = Omit<AlertApiView, "accepted">;

export interface AlertPage {
  readonly items: AlertApiView[];
  readonly next: string | null;
}

export function viewRule({ name, kind, severity, targets, dryRun }: Rule): RuleView {
  return { name, kind, severity, targets: [...targets], dryRun };
}

/** The alerts that fire or are pending, then those that are over, the latest first. */
export function listAlerts(
  source: ReadModel,
  filter: AlertFilter,
  { cursor, limit }: { readonly cursor: AlertCursor | null; readonly limit: number },
): AlertPage {
  const { state } = filter;
  const current = source.alerts.current();
  const dryRuns = dryRunNames(source.alerts.rules());
  const items: AlertFields[] = [];
  const pageOf = (next: AlertCursor | null): AlertPage => ({
    items: withAccepted(source, items),
    next: next === null ? null : formatAlertCursor(next),
  });
  if (state !== "resolved" && (cursor === null || cursor.type === "current")) {
    const wanted = current.filter((alert) => matches(alert, filter));
    const from = cursor?.skip ?? 0;
    items.push(
      ...wanted.slice(from, from + limit).map((alert) => viewAlert(source, alert, dryRuns)),
    );
    if (from + limit < wanted.length) {
      return pageOf({ type: "current", skip: from + limit });
    }
  }
  if (state !== null && state !== "resolved") return pageOf(null);
  const found = pastAlerts(source, filter, {
    before: cursor?.type === "past" ? cursor : null,
    limit: limit - items.length + 1,
    except: new Set(current.map(({ id }) => id)),
  });
  const page = found.slice(0, limit - items.length);
  items.push(...page.map((record) => viewRecord(source, record, dryRuns)));
  if (found.length === page.length) return pageOf(null);
  const last = page.at(-1);
  // Without an item, the alerts that are over begin on the next page.
  const next: AlertCursor =
    last === undefined
      ? { type: "past", firedAtMs: Number.MAX_SAFE_INTEGER, id: "alert-0" }
      : { type: "past", firedAtMs: last.firedAtMs, id: last.id };
  return pageOf(next);
}

/** @throws HttpError 404 when there is no such alert. */
export function viewAlertDetail(source: ReadModel, id: string): AlertDetailView {
  const alert = findAlert(source, id);
  if (alert === null) throw new HttpError(404, { detail: "there is no such alert" });
  const rule = source.alerts.rules().find(({ name }) => name === alert.rule);
  const text = rule === undefined ? [] : ruleText(rule);
  return {
    ...withAccepted(source, [alert])[0]!,
    ruleText: text,
    notices: viewNotices(source, id),
  };
}

/** The messages about an alert, sent or held back, the oldest first. */
export function viewNotices(source: ReadModel, id: string): NoticeApiView[] {
  const targets = viewTargets(source);
  return source.store.alerts.notices(id).map((each) => viewNotice(source, each, targets));
}

/** The engine's alert is newer than that of the store. */
function findAlert(source: ReadModel, id: string): AlertFields | null {
  const dryRuns = dryRunNames(source.alerts.rules());
  const current = source.alerts.current().find((alert) => alert.id === id);
  if (current !== undefined) return viewAlert(source, current, dryRuns);
  const record = source.store.alerts.find(id);
  return record === null ? null : viewRecord(source, record, dryRuns);
}

export function viewSilence({
  id,
  matchers,
  startMs,
  endMs,
  comment,
  createdBy,
}: Silence): SilenceView {
  return {
    id,
    matchers: matchers.map(({ field, pattern }) => `${field}=${pattern}`),
    startsAt: iso(startMs),
    endsAt: iso(endMs),
    comment,
    createdBy,
  };
}

/** @throws HttpError 422 when the silence is not valid; it does not repeat what was sent. */
export function parseSilence(body: NewSilenceView, nowMs: number): NewSilence {
  const { comment = "", createdBy = "API" } = body;
  const matchers = body.matchers.map((text) => parseMatcher(text));
  const invalid = matchers.findIndex((matcher) => typeof matcher === "string");
  if (invalid !== -1) {
    throw refused(
      "matchers",
      `number ${invalid + 1} is not a field and a value, such as peer=branch-*; the fields are peer, tag, device, rule, severity and target`,
    );
  }
  const endMs = endOf(body, nowMs);
  return { matchers: matchers as SilenceMatcher[], endMs, comment, createdBy };
}

function endOf({ for: length, until }: NewSilenceView, nowMs: number): number {
  if (length !== undefined && until !== undefined) {
    throw refused("until", "cannot be combined with for");
  }
  const { minMs, maxMs } = SILENCE_LIMITS;
  if (length !== undefined) {
    const endMs = silenceEndMs(length, nowMs);
    if (endMs !== null) return endMs;
    throw refused(
      "for",
      `a duration such as 90s or 2h, from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
    );
  }
  if (until === undefined) throw refused("for", "for or until is missing");
  const endMs = Date.parse(until);
  if (endMs >= nowMs + minMs && endMs <= nowMs + maxMs) return endMs;
  throw refused("until", "a time in the future, at most 366 days from now");
}

function refused(parameter: string, detail: string): HttpError {
  return new HttpError(422, { errors: [{ parameter, detail }] });
}

function matches(alert: AlertView, filter: AlertFilter): boolean {
  const { state, rule, device, gateway = null, publicKey, sinceMs, untilMs } = filter;
  const { subject, firedAtMs } = alert;
  // A pending alert is newer than all that fired.
  const isSince = sinceMs === null || firedAtMs === null || firedAtMs >= sinceMs;
  const isUntil = untilMs === null || (firedAtMs !== null && firedAtMs < untilMs);
  const isOfState =
    state === null || state === "current" || (state === "pending") === (alert.state === "pending");
  return (
    isOfState &&
    isSince &&
    isUntil &&
    (rule === null || alert.rule === rule) &&
    (device === null || deviceOf(subject) === device) &&
    (gateway === null || splitDevice(deviceOf(subject) ?? "").gateway === gateway) &&
    (publicKey === null || (subject.type === "peer" && subject.publicKey === publicKey))
  );
}

/** The stored alerts except those that are in the list of current ones. */
function pastAlerts(
  { store }: ReadModel,
  filter: AlertFilter,
  {
    before,
    limit,
    except,
  }: {
    readonly before: AlertQuery["before"];
    readonly limit: number;
    readonly except: ReadonlySet<string>;
  },
): AlertRecord[] {
  const found: AlertRecord[] = [];
  let from = before;
  for (;;) {
    const rows = store.alerts.query({ ...filter, state: "resolved", before: from, limit });
    found.push(...rows.filter(({ id }) => !except.has(id)));
    const last = rows.at(-1);
    if (found.length >= limit || rows.length < limit || last === undefined) {
      return found.slice(0, limit);
    }
    from = { firedAtMs: last.firedAtMs, id: last.id };
  }
}

/** Adds whether a target accepted a message about each alert. */
function withAccepted({ store }: ReadModel, alerts: readonly AlertFields[]): AlertApiView[] {
  const accepted = store.alerts.accepted(alerts.flatMap(({ id }) => id ?? []));
  return alerts.map((alert) => ({ ...alert, accepted: accepted.get(alert.id ?? "") ?? null }));
}

function viewAlert(source: ReadModel, alert: AlertView, dryRuns: ReadonlySet<string>): AlertFields {
  const { id, state, heldBack } = alert;
  return {
    ...common(alert, dryRuns),
    id: id === "" ? null : id,
    state,
    ...hostField(source, deviceOf(alert.subject)),
    ...aboutOf(alert),
    ...times(alert),
    heldBack: heldBack === null ? null : viewSuppression(heldBack),
  };
}

function viewRecord(
  source: ReadModel,
  alert: AlertRecord,
  dryRuns: ReadonlySet<string>,
): AlertFields {
  const { id, device, publicKey, peerName, target } = alert;
  const state: AlertState = overAtMs(alert) === null ? "firing" : "resolved";
  return {
    ...common(alert, dryRuns),
    id,
    state,
    ...hostField(source, device),
    device,
    peer:
      publicKey === null
        ? null
        : {
            publicKey,
            name: peerName,
            tags: [...source.tagsOf(publicKey as PublicKey, device ?? "")],
          },
    target,
    ...times(alert),
    heldBack: null,
  };
}

function common(
  alert: Pick<AlertRecord, "rule" | "kind" | "severity" | "sentence" | "resolves" | "isSent">,
  dryRuns: ReadonlySet<string>,
) {
  const { rule, kind, severity, sentence, resolves, isSent } = alert;
  const dryRun = dryRuns.has(rule);
  return { rule, kind, severity, sentence, moment: !resolves, sent: isSent, dryRun };
}

function times(alert: Pick<AlertView, "sinceMs" | "firedAtMs" | "resolvedAtMs" | "resolves">) {
  const { sinceMs, firedAtMs } = alert;
  const endMs = overAtMs(alert);
  return {
    since: iso(sinceMs),
    firedAt: firedAtMs === null ? null : iso(firedAtMs),
    resolvedAt: endMs === null ? null : iso(endMs),
  };
}

function viewNotice(
  source: ReadModel,
  notice: NoticeRecord,
  targets: readonly TargetView[],
): NoticeApiView {
  const { type, atMs, sentence, alertIds, heldBack, dryRun, eventSeq } = notice;
  return {
    type,
    at: iso(atMs),
    sentence,
    alerts: [...alertIds],
    heldBack: heldBack === null ? null : viewSuppression(heldBack),
    dryRun,
    event: eventSeq,
    deliveries:
      eventSeq === null
        ? []
        : notice.targets.map((label) => ({
            target: label,
            ...deliveryOf(
              source,
              eventSeq,
              targets.find((target) => target.label === label),
            ),
          })),
  };
}

/** The state of an event's delivery to a target. */
function deliveryOf(
  { store: { outbox } }: ReadModel,
  seq: number,
  target: TargetView | undefined,
): Pick<NoticeApiView["deliveries"][number], "state" | "reason"> {
  if (target === undefined) return { state: "unknown", reason: null };
  const { key, reason } = target;
  const [waiting] = outbox.waiting(key, seq - 1, 1);
  if (waiting?.seq === seq) return { state: "waiting", reason };
  const [dead] = outbox.deadLetters({ target: key, after: seq - 1, limit: 1 });
  if (dead?.seq === seq) return { state: "dead-letter", reason: dead.reason };
  return { state: "delivered", reason: null };
}

function viewSuppression(by: Suppression): SuppressionView {
  const isSilence = by.type === "silence";
  return {
    type: by.type,
    silence: isSilence ? by.id : null,
    comment: isSilence ? by.comment : null,
    device: by.type === "device-down" || by.type === "all-peers" ? by.device : null,
    sentence: suppressionText(by),
  };
}
