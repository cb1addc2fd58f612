/** Puts alerts into a FakeSource: those of this moment, and their records and notices in its store. */

import type { AlertView, Suppression } from "../../src/alerts/alert.ts";
import type { SilenceMatcher } from "../../src/alerts/silences.ts";
import type { Peer } from "../../src/base/wireguard.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOfNotice } from "../../src/live-alerts/notice-event.ts";
import { ALL_ALERTS } from "../../src/store/alert-rows.ts";
import type { FakeSource } from "./source.ts";

const MINUTE_MS = 60_000;

interface Sample {
  readonly rule: string;
  readonly kind?: AlertView["kind"];
  readonly severity?: AlertView["severity"];
  readonly device?: string;
  readonly peer: Peer;
  readonly sentence: string;
  /** How long its condition is met. */
  readonly minutes: number;
  readonly heldBack?: Suppression | null;
  /** It is resolved now, and has lasted for this time. */
  readonly lasted?: number;
  /** Labels of targets. */
  readonly targets?: readonly string[];
  /** Whether its message is also the latest event, and was delivered. */
  readonly hasEvent?: boolean;
}

/** Adds an alert that fires, is held back, or was resolved. Returns its id. */
export function addAlert(source: FakeSource, sample: Sample): string {
  const { sentence, heldBack = null, lasted = null, targets = [] } = sample;
  const alert = viewOf(source, sample);
  const resolvedAtMs = lasted === null ? null : alert.sinceMs + lasted * MINUTE_MS;
  const firedAtMs = alert.sinceMs + 2 * MINUTE_MS;
  if (resolvedAtMs === null) source.alerts.firing.push({ ...alert, firedAtMs });
  const { id, rule, kind, severity, resolves, isSent, sinceMs } = alert;
  const notice = { alertIds: [id], rule, dryRun: false, targets, heldBack };
  const state = { rows: new Map(), all: () => new Map() };
  const record = {
    id,
    rule,
    kind,
    severity,
    resolves,
    isSent,
    sentence,
    sinceMs,
    firedAtMs,
    resolvedAtMs,
    device: sample.device ?? "wg0",
    publicKey: sample.peer.publicKey,
    peerName: alert.peer?.name ?? null,
    target: null,
  };
  const events = sample.hasEvent === true ? [eventOf({ ...alert, firedAtMs })] : [];
  const event = events.length === 0 ? null : 0;
  const notices = [
    { ...notice, type: "firing", atMs: firedAtMs, sentence, event } as const,
    ...(resolvedAtMs === null
      ? []
      : [{ ...notice, type: "resolved", atMs: resolvedAtMs, sentence, event: null } as const]),
  ];
  const none = { events: [], sessions: [], ended: [], devices: null };
  const keys = source.targetStates.filter(({ label }) => targets.includes(label));
  const queued = events.map((each) => ({ event: each, targets: keys.map(({ key }) => key) }));
  const alerts = { state, alerts: [record], events: queued, notices };
  source.store.record({ ...none, alerts }, sinceMs);
  const { last: seq } = source.store.events.sequenceRange();
  if (event !== null) source.store.outbox.delivered(keys.map(({ key }) => ({ target: key, seq })));
  return id;
}

function eventOf(alert: AlertView): Event {
  const { rule, kind, severity, sentence, firedAtMs } = alert;
  const notice = { rule, kind, severity, sentence, atMs: firedAtMs!, alerts: [alert] };
  const others = { targets: [], exceptTargets: [], dryRun: false, cause: null, heldBack: null };
  const device = alert.subject.type === "target" ? null : alert.subject.device;
  return eventOfNotice(
    { ...notice, ...others, device, type: "firing" },
    { id: `evt_${alert.id.replace(/\D/g, "").padStart(32, "a")}`, host: "gw1" },
  );
}

/** Adds an alert whose condition is met, but not yet for long enough. */
export function addPending(source: FakeSource, sample: Sample): void {
  source.alerts.firing.push({ ...viewOf(source, sample), id: "", state: "pending", isSent: false });
}

/** Adds a silence that ends in some minutes. Returns how it holds an alert back. */
export function addSilence(
  source: FakeSource,
  matchers: readonly SilenceMatcher[],
  { minutes, comment }: { readonly minutes: number; readonly comment: string },
): Suppression {
  const endMs = source.clock.now().wallMs + minutes * MINUTE_MS;
  const { id } = source.alerts.addSilence({ matchers, endMs, comment, createdBy: "root" });
  return { type: "silence", id, comment };
}

function viewOf(source: FakeSource, sample: Sample): AlertView {
  const { rule, peer, sentence, minutes, device = "wg0", heldBack = null } = sample;
  const { publicKey } = peer;
  // Ids are unique in a store, and count the alerts.
  const number = source.store.alerts.query(all).length + 1;
  return {
    id: `alert-${number}`,
    rule,
    kind: sample.kind ?? "down",
    severity: sample.severity ?? "critical",
    state: "firing",
    subject: { type: "peer", device, publicKey },
    what: "",
    peer: { name: source.nameOf(publicKey), tags: source.tagsOf(publicKey) },
    sinceMs: source.clock.now().wallMs - minutes * MINUTE_MS,
    firedAtMs: null,
    resolvedAtMs: null,
    resolves: true,
    isSent: heldBack === null,
    heldBack,
    sentence,
  };
}

const all = { ...ALL_ALERTS, limit: 1000 };
