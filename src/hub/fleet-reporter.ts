/**
 * Stores the events of gateways and those of the hub itself, in one transaction with their places and sessions, and only
 * then passes them to the targets, to listeners (the API's event stream and the page) and to the log.
 */

import type { Clock } from "../base/clock.ts";
import { isKnownType } from "../base/event-types.ts";
import { type PublicKey, shortKey } from "../base/wireguard.ts";
import type { Outbox } from "../delivery/outbox.ts";
import { logNotices } from "../delivery/reporter.ts";
import type { Event, FleetEvent } from "../events/event-schema.ts";
import { describeEvent, logFields, logLevel } from "../events/event.ts";
import { fleetDevice, gatewayName } from "../fleet/gateway-name.ts";
import type { LiveAlerts } from "../live-alerts/live-alerts.ts";
import type { Log } from "../platform/log.ts";
import { saved, type Session } from "../sessions/session.ts";
import type { Metrics } from "../stats/counters.ts";
import type { AlertWrite, Store } from "../store/store.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import type { EndedSession } from "../store/stored-sessions.ts";
import type { TrafficRecorder } from "../store/traffic-recorder.ts";
import type { FleetState } from "./fleet-state.ts";
import { inHubTerms } from "./hub-event.ts";
import { sessionRows } from "./session-rows.ts";

/** Older events, and those from the time when the gateway had another name, are history: they are stored, and are neither sent to targets nor judged by rules. */
const NEWS_MS = 3_600_000;

interface Options {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly store: Store;
  readonly state: FleetState;
  readonly outbox: Outbox;
  readonly alerts: () => LiveAlerts;
  readonly isEnrolled: (gateway: string) => boolean;
  readonly traffic: Pick<TrafficRecorder, "ended" | "restarted">;
  readonly settings: () => {
    readonly peers: ReadonlyMap<PublicKey, { readonly mute: boolean }>;
  };
}

/** Events of one gateway that are to be stored. */
export interface GatewayEvents {
  readonly gateway: string;
  /** Those that the hub does not have, with their numbers on the gateway. */
  readonly fresh: readonly { readonly seq: number; readonly event: Event }[];
  /** The hub's own events about the message. */
  readonly own: readonly FleetEvent[];
  /** Writes the places of the events, in the same transaction. @param seqs the numbers on the hub of `fresh`. */
  readonly also: (seqs: readonly number[]) => void;
}

type Listener = (events: readonly StoredEvent[]) => void;

export class FleetReporter {
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

  /** Stores events of a gateway, then sends those that are not history. */
  reportEvents({ gateway, fresh, own, also }: GatewayEvents): void {
    const { clock, state, outbox, alerts } = this.#options;
    const now = clock.now();
    const isRecent = ({ timestamp }: Event) =>
      state.hubTime(gateway, Date.parse(timestamp)) > now.wallMs - NEWS_MS;
    // Targets and rules get only what this version can describe and judge.
    const isNews = (event: Event) =>
      isRecent(event) && isKnownType(event.type) && !this.#isOther(gateway, event.host);
    const counts = fresh.map(({ event }) => {
      const count = this.#trafficOf(gateway, event, isNews(event));
      state.applyEvent(gateway, event, now);
      return count;
    });
    const offsetMs = -state.hubTime(gateway, 0);
    const judged = fresh
      .filter(({ event }) => isNews(event) || this.#isStillGone(gateway, event))
      .map(({ event }) => inHubTerms(event, gateway, offsetMs));
    const events = fresh.map(({ event }) => ({
      event,
      targets: isNews(event) && !this.#isMute(event) ? outbox.keysFor(event) : [],
      level: isNews(event) ? logLevel(event) : ("debug" as const),
      fields: { gateway },
    }));
    const rows = sessionRows(
      fresh.map(({ event }) => event),
      { gateway, state, now },
    );
    this.#store({ events, own, ...rows, alerts: alerts().onEvents(judged), also });
    for (const count of counts) count?.();
  }

  /** Stores and sends events of the hub itself, and what the alert engine has found. */
  report(own: readonly FleetEvent[], write: AlertWrite | null): void {
    if (own.length === 0 && write === null) return;
    this.#store({ events: [], own, sessions: [], ended: [], alerts: write, also: () => {} });
  }

  /** Ends sessions that a gateway does not have any more, and whose end no event reported. */
  endSessions(ended: readonly EndedSession[]): void {
    if (ended.length === 0) return;
    const { store, clock } = this.#options;
    store.record({ events: [], sessions: [], ended, devices: null }, clock.now().wallMs);
  }

  /** Moves the rows of sessions whose gateway's clock was set. */
  restartSessions(restarted: readonly { before: Session; session: Session }[]): void {
    const { store, clock, traffic } = this.#options;
    const now = clock.now();
    store.sessions.replace(
      restarted.map(({ before, session }) => ({
        startedAtMs: before.startedAtMs,
        session: saved(session, now),
      })),
    );
    for (const { session } of restarted) {
      traffic.restarted(session.device, session.peer.publicKey, session.startedAtMs);
    }
  }

  #store({
    events,
    own,
    alerts,
    also,
    ...rows
  }: ReturnType<typeof sessionRows> & {
    readonly events: readonly {
      readonly event: Event;
      readonly targets: readonly string[];
      readonly level: "debug" | "info" | "warn";
      readonly fields: object;
    }[];
    readonly own: readonly FleetEvent[];
    readonly alerts: AlertWrite | null;
    readonly also: (seqs: readonly number[]) => void;
  }): void {
    const { clock, log, metrics, outbox, store } = this.#options;
    const { wallMs } = clock.now();
    const reported = [
      ...events,
      ...own.map((event) => ({
        event,
        targets: outbox.keysFor(event),
        level: logLevel(event),
        fields: {},
      })),
    ];
    const write = { events: reported, ...rows, devices: null, alerts };
    const seqs = store.record(write, wallMs, (all) => also(all.slice(0, events.length)));
    const ofAlerts = (alerts?.events ?? []).map((each) => ({
      ...each,
      level: logLevel(each.event),
      fields: {},
    }));
    const stored = [...reported, ...ofAlerts].map((each, index) => ({
      ...each,
      seq: seqs[index]!,
    }));
    outbox.added(stored);
    for (const listener of this.#listeners) listener(stored);
    for (const { event, level, fields } of stored) {
      log[level](describeEvent(event, { key: shortKey }), { ...fields, ...logFields(event) });
      metrics.events.add([isKnownType(event.type) ? event.type : "newer"]);
      if (event.type === "peer.disconnected") {
        metrics.sessionSeconds.observe(event.data.session.durationMs / 1000);
      }
    }
    if (alerts !== null) logNotices(alerts, this.#options);
  }

  /**
   * Returns what adds the bytes of a session since it was last counted; null: the event ends no session. Call it before
   * the event is applied, and the result once the event is stored.
   */
  #trafficOf(gateway: string, event: Event, isNews: boolean): (() => void) | null {
    if (event.type !== "peer.disconnected") return null;
    const { state, traffic, store } = this.#options;
    const { peer, session } = event.data;
    const device = fleetDevice(gateway, event.data.device);
    const publicKey = peer.publicKey as PublicKey;
    const startedAtMs = Date.parse(session.startedAt);
    const { rxBytes, txBytes } = session;
    const isKnown = state.storedSession(device, publicKey)?.startedAtMs === startedAtMs;
    if (isKnown || isNews) {
      return () => traffic.ended({ device, peer, session: { startedAtMs, rxBytes, txBytes } });
    }
    // It was not counted while it lasted, and belongs to the past.
    const endedAtMs = state.hubTime(gateway, Date.parse(session.endedAt));
    return () => store.traffic.add([{ device, publicKey, rxBytes, txBytes }], endedAtMs);
  }

  /**
   * Whether the host of an event is the name of another gateway. The gateway may have had that name before, so the event
   * is stored. But messages to targets name the host, and a gateway can lie about itself only.
   */
  #isOther(gateway: string, host: string): boolean {
    const name = gatewayName(host);
    return name !== null && name !== gateway && this.#options.isEnrolled(name);
  }

  /** An old event by which the rules learn that a peer is not connected any more. */
  #isStillGone(gateway: string, event: Event): boolean {
    if (event.type !== "peer.disconnected") return false;
    const { device, peer } = event.data;
    const { state } = this.#options;
    return state.session(fleetDevice(gateway, device), peer.publicKey as PublicKey) === null;
  }

  #isMute({ data }: Event): boolean {
    const { peers } = this.#options.settings();
    const isMutePeer = (publicKey: string) => peers.get(publicKey as PublicKey)?.mute === true;
    if ("peer" in data && data.peer !== null) return isMutePeer(data.peer.publicKey);
    if (!("peers" in data) || typeof data.peers === "number" || data.peers.length === 0) {
      return false;
    }
    return data.peers.every(({ publicKey }) => isMutePeer(publicKey));
  }
}
