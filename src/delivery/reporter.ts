/**
 * Reports changes: makes the events, stores them, and only then passes them to the targets, to listeners (the API's event
 * stream and the page) and to the log.
 */

import { newId } from "../base/new-id.ts";
import { type Device, type PublicKey, shortKey } from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import { describeEvent, eventOf, logFields, logLevel } from "../events/event.ts";
import type { Log } from "../platform/log.ts";
import type { Change } from "../sessions/change.ts";
import type { Tracker } from "../sessions/tracker.ts";
import type { Metrics } from "../stats/counters.ts";
import type { ReportedEvent, StateRecorder } from "../store/state-recorder.ts";
import type { AlertWrite } from "../store/store.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import type { Outbox } from "./outbox.ts";

/** The settings that determine the content of an event, and whether targets receive it. */
interface ReporterSettings {
  readonly host: string;
  readonly peers: ReadonlyMap<
    PublicKey,
    { readonly tags: readonly string[]; readonly mute: boolean }
  >;
}

interface Options {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly recorder: StateRecorder;
  readonly tracker: Tracker;
  readonly outbox: Outbox;
  readonly settings: () => ReporterSettings;
  readonly nameOf: (publicKey: PublicKey, device: string) => string | null;
}

type Listener = (events: readonly StoredEvent[]) => void;

export class Reporter {
  readonly #options: Options;
  readonly #listeners = new Set<Listener>();

  constructor(options: Options) {
    this.#options = options;
  }

  /** Returns a function that ends the subscription. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Stores the events of the changes, then sends them.
   *
   * @param devices all existing devices; null: unchanged.
   * @param alerts what the changes, or the time, mean for alerts; null: nothing.
   */
  report(
    changes: readonly Change[],
    devices: readonly Device[] | null,
    alerts: AlertWrite | null = null,
  ): void {
    const { log, metrics, outbox, recorder, tracker } = this.#options;
    const reported: ReportedEvent[] = changes.map((change) => {
      const event = this.#eventOf(change);
      return { change, event, targets: this.#isMute(change) ? [] : outbox.keysFor(event) };
    });
    const seqs = recorder.record(reported, tracker, devices, alerts);
    const stored = [...reported, ...(alerts?.events ?? [])].map((each, index) => ({
      ...each,
      seq: seqs[index]!,
    }));
    outbox.added(stored);
    for (const listener of this.#listeners) listener(stored);
    for (const { event } of stored) {
      // The text has the short key; the fields have the full one.
      log[logLevel(event)](describeEvent(event, { key: shortKey }), logFields(event));
      metrics.events.add([event.type]);
    }
    for (const change of changes) {
      if (change.type === "peer.disconnected") {
        metrics.sessionSeconds.observe(change.durationMs / 1000);
      }
    }
    if (alerts !== null) logNotices(alerts, this.#options);
  }

  /** Returns an event that is not reported, for `Outbox.warmUp`. */
  sampleEvent(): Event {
    return this.#eventOf({ type: "device.added", atMs: 0, device: "", listenPort: 0 });
  }

  #eventOf(change: Change): Event {
    const { settings, nameOf } = this.#options;
    const { host, peers } = settings();
    const id = newId("evt");
    if (!("peer" in change)) return eventOf(change, { id, host, name: null });
    const { publicKey } = change.peer;
    const name = nameOf(publicKey, change.device);
    return eventOf(change, { id, host, name, tags: peers.get(publicKey)?.tags ?? [] });
  }

  /** Whether the event is withheld from targets because all its peers are mute. */
  #isMute(change: Change): boolean {
    const { peers } = this.#options.settings();
    const isMutePeer = ({ publicKey }: { readonly publicKey: PublicKey }) =>
      peers.get(publicKey)?.mute === true;
    if ("peer" in change) return isMutePeer(change.peer);
    return "peers" in change && change.peers.length > 0 && change.peers.every(isMutePeer);
  }
}

/** Counts the notices of a write, and logs those that are not sent; the others are logged as events. */
export function logNotices(
  { notices }: AlertWrite,
  { log, metrics }: Pick<Options, "log" | "metrics">,
): void {
  for (const { type, event, rule, sentence, dryRun, heldBack } of notices) {
    const result = event !== null ? "sent" : dryRun ? "dry-run" : "held-back";
    metrics.notices.add([rule, type, result]);
    const fields = { rule, notice: type, heldBackBy: heldBack?.type };
    if (heldBack !== null) log.debug(`held back: ${sentence}`, fields);
    else if (dryRun) log.info(`dry run: ${sentence}`, fields);
  }
}
