/**
 * Keeps the store up to date with the tracker: restores the state of the previous run, records the changes of each
 * scan, and saves the sessions' progress periodically.
 */

import type { Clock } from "../base/clock.ts";
import { type Device, formatEndpoint } from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import type { Change } from "../sessions/change.ts";
import { type RestoredState, saved, type SavedSession, type Session } from "../sessions/session.ts";
import type { Tracker } from "../sessions/tracker.ts";
import type { Retention } from "./retention.ts";
import type { AlertWrite, Store } from "./store.ts";
import type { EndedSession } from "./stored-sessions.ts";

/** Maximum number of sessions saved in one step; more would delay packets. */
const SAVE_SLICE = 200;

/** After a restart, the last handshake of a session that ended within this time does not start a new session. */
const ENDED_RECENTLY_MS = 3_600_000;

/** A change, its event, and the keys of the targets that receive it. */
export interface ReportedEvent {
  readonly change: Change;
  readonly event: Event;
  readonly targets: readonly string[];
}

export class StateRecorder {
  readonly #store: Store;
  readonly #clock: Clock;
  /** Sessions that are stored in their current state. A session is a new object after each change. */
  readonly #saved = new WeakSet<Session>();
  #cancelSave = () => {};

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * Returns the previous run's state of the devices that are still watched. Records the sessions of other devices as
   * ended.
   *
   * @param watched names of devices; empty: all.
   */
  loadState(watched: readonly string[]): RestoredState | null {
    const previous = this.#store.sessions.loadState(this.#clock.now().wallMs - ENDED_RECENTLY_MS);
    if (previous === null || watched.length === 0) return previous;
    const isWatched = (name: string) => watched.includes(name);
    const ended = previous.sessions.filter(({ device }) => !isWatched(device)).map(endUnwatched);
    if (ended.length > 0) {
      this.#store.record({ events: [], sessions: [], ended, devices: null }, 0);
    }
    return {
      ...previous,
      devices: previous.devices.filter(({ name }) => isWatched(name)),
      sessions: previous.sessions.filter(({ device }) => isWatched(device)),
    };
  }

  /**
   * Stores the changes of a scan. Called before they are reported.
   *
   * @param devices all existing devices; null: unchanged.
   * @param alerts what the scan means for alerts; null: nothing.
   * @returns the sequence numbers of the events, and of those about alerts.
   */
  record(
    reported: readonly ReportedEvent[],
    tracker: Tracker,
    devices: readonly Device[] | null,
    alerts: AlertWrite | null = null,
  ): number[] {
    const changes = reported.map(({ change }) => change);
    const sessions = changes.flatMap((change) =>
      change.type === "peer.connected" || change.type === "peer.roamed"
        ? (tracker.session(change.device, change.peer.publicKey) ?? [])
        : [],
    );
    const ended = changes.flatMap((change) => endedSession(change) ?? []);
    return this.#store.record(
      { events: reported, sessions: this.#unsaved(sessions), ended, devices, alerts },
      this.#clock.now().wallMs,
    );
  }

  /** Begins to save the sessions that have changed. Called with each write of the traffic: see TrafficRecorder. */
  saveChanged(tracker: Tracker): void {
    this.#save([...tracker.sessions], tracker);
  }

  /** Saves all sessions now. */
  saveAll(tracker: Tracker): void {
    this.#cancelSave();
    this.#store.sessions.save(this.#unsaved([...tracker.sessions]));
  }

  /** Deletes some of the data that exceeds the retention limits. Returns whether more may be left. */
  trim(retention: Retention): boolean {
    return this.#store.trim(retention, this.#clock.now().wallMs);
  }

  /**
   * Saves one slice now and the rest later, so that other work can run in between. That work may end or change
   * sessions.
   */
  #save(sessions: readonly Session[], tracker: Tracker): void {
    this.#cancelSave();
    const changed = sessions.filter(
      (session) =>
        !this.#saved.has(session) &&
        tracker.session(session.device, session.peer.publicKey) === session,
    );
    if (changed.length === 0) return;
    this.#store.sessions.save(this.#unsaved(changed.slice(0, SAVE_SLICE)));
    const rest = changed.slice(SAVE_SLICE);
    this.#cancelSave = this.#clock.after(0, () => this.#save(rest, tracker));
  }

  #unsaved(sessions: readonly Session[]): SavedSession[] {
    const now = this.#clock.now();
    const fresh = sessions.filter((session) => !this.#saved.has(session));
    for (const session of fresh) this.#saved.add(session);
    return fresh.map((session) => saved(session, now));
  }
}

function endedSession(change: Change): EndedSession | null {
  if (change.type !== "peer.disconnected") return null;
  const { type: _, atMs: __, session, peer, ...rest } = change;
  const endpoint = peer.endpoint === null ? null : formatEndpoint(peer.endpoint);
  return { ...session, ...rest, publicKey: peer.publicKey, endpoint, peer };
}

function endUnwatched(session: SavedSession): EndedSession {
  const { peer, endpoint, startedAtMs, lastActivityMs } = session;
  return {
    ...session,
    publicKey: peer.publicKey,
    endpoint: endpoint === null ? null : formatEndpoint(endpoint),
    endedAtMs: lastActivityMs,
    durationMs: Math.max(0, lastActivityMs - startedAtMs),
    reason: "not-watched",
  };
}
