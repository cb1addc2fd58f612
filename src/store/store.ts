/**
 * Stores what must survive the process: sessions, events, and messages that are not delivered yet. It handles rows; the
 * tracker and the outbox handle time and retries. Each kind of rows has its own file. This file has the operations on
 * several kinds: recording a scan, steps of the clock, retention.
 */

import type { ClockState, ClockStep } from "../base/wall-clock.ts";
import type { Device } from "../base/wireguard.ts";
import type { Event } from "../events/event-schema.ts";
import type { SavedSession } from "../sessions/session.ts";
import { type AlertRecord, AlertRows, type NewNotice, type StateChanges } from "./alert-rows.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import { FleetRows } from "./fleet-rows.ts";
import { GatewayRows } from "./gateway-rows.ts";
import { OutboxRows } from "./outbox-rows.ts";
import { type Retention, Trimmer } from "./retention.ts";
import { StoredEvents } from "./stored-events.ts";
import { type EndedSession, StoredSessions } from "./stored-sessions.ts";
import { targetKey } from "./target-key.ts";
import { TrafficRows } from "./traffic-rows.ts";

/** The changes found by one scan. */
export interface ScanWrite {
  /** Each with the keys of the targets that it is sent to. */
  readonly events: readonly { readonly event: Event; readonly targets: readonly string[] }[];
  readonly sessions: readonly SavedSession[];
  readonly ended: readonly EndedSession[];
  /** All devices; null if they have not changed. */
  readonly devices: readonly Device[] | null;
  /** What the scan means for alerts; null or omitted: nothing. */
  readonly alerts?: AlertWrite | null;
}

/** What a step of the alert engine changed. */
export interface AlertWrite {
  readonly state: StateChanges;
  /** The alerts that changed. */
  readonly alerts: readonly AlertRecord[];
  /** The events of the notices that are sent. */
  readonly events: ScanWrite["events"];
  readonly notices: readonly (Omit<NewNotice, "eventSeq"> & {
    /** The index of its event in `events`; null: it is not sent. */
    readonly event: number | null;
  })[];
}

interface StoreOptions extends DatabaseOptions {
  /** Machine.bootId; null or omitted if unknown. */
  readonly boot?: string | null;
  /** The events and sessions have the times of other machines, whose clocks are not set with this one. */
  readonly isHub?: boolean;
}

export class Store implements Disposable {
  readonly events: StoredEvents;
  readonly sessions: StoredSessions;
  readonly outbox: OutboxRows;
  readonly traffic: TrafficRows;
  readonly totals: GatewayRows;
  readonly alerts: AlertRows;
  readonly fleet: FleetRows;
  readonly #database: Database;
  readonly #trimmer: Trimmer;
  readonly #isHub: boolean;

  static async open({ boot = null, isHub = false, ...options }: StoreOptions): Promise<Store> {
    return new Store(await Database.open(options), { boot, isHub });
  }

  private constructor(
    database: Database,
    { boot, isHub }: { readonly boot: string | null; readonly isHub: boolean },
  ) {
    this.#database = database;
    this.#isHub = isHub;
    this.events = new StoredEvents(database);
    this.sessions = new StoredSessions(database, boot);
    this.outbox = new OutboxRows(database);
    this.traffic = new TrafficRows(database);
    this.totals = new GatewayRows(database);
    this.alerts = new AlertRows(database);
    this.fleet = new FleetRows(database);
    const { traffic, totals, alerts } = this;
    this.#trimmer = new Trimmer(database, { traffic, totals, alerts });
  }

  /** Why the file cannot be used; null if it can, or if no directory is set. */
  get problem(): string | null {
    return this.#database.problem;
  }

  get isInMemory(): boolean {
    return this.#database.isInMemory;
  }

  /** The key of a target without a name; it differs between stores. */
  targetKey(address: string): string {
    return targetKey(address, this.#database.secret);
  }

  /** A value that changes when another process has written, and when the rows move between file and memory. */
  get externalDataVersion(): string {
    return this.#database.externalDataVersion;
  }

  /**
   * Writes the changes of a scan in one transaction. Once this returns they survive a power failure.
   *
   * @param also writes more in the same transaction; it gets the sequence numbers of the events.
   * @returns the sequence numbers of the events, and of those about alerts.
   */
  record(
    { events, sessions, ended, devices, alerts = null }: ScanWrite,
    nowMs: number,
    also: (seqs: readonly number[]) => void = () => {},
  ): number[] {
    return this.#database.write("now", () => {
      for (const session of sessions) this.sessions.put(session);
      for (const session of ended) this.sessions.end(session);
      if (devices !== null) this.sessions.putDevices(devices);
      const seqs = [...events, ...(alerts?.events ?? [])].map(({ event, targets }) => {
        const seq = this.events.add(event);
        for (const target of targets) this.outbox.add(target, seq, nowMs);
        return seq;
      });
      if (alerts !== null) this.#putAlerts(alerts, seqs.slice(events.length));
      also(seqs);
      return seqs;
    });
  }

  /** Writes the state of the alerts, without notices. It survives the end of the process. */
  saveAlerts(write: AlertWrite): void {
    this.#database.write("soon", () => this.#putAlerts(write, []));
  }

  /** The state of the clock when it was last saved; null if it never was. */
  clockState(): ClockState | null {
    return this.#database.get<ClockState>(
      `SELECT boot_id AS bootId, booted_at_ms AS bootedAtMs, unsure_since_ms AS unsureSinceMs
       FROM $.clock`,
    );
  }

  saveClockState(state: ClockState): void {
    this.#database.write("soon", () => this.#putClockState(state));
  }

  /**
   * Adds the step to the times that were recorded with the old clock. Those of queued events, next attempts and open
   * sessions are always moved; those of past events, dead letters, ended sessions and traffic only if the old clock may
   * have been wrong. The clock's state is written in the same transaction, so that no time is moved twice.
   */
  clockSet(step: ClockStep, state: ClockState): void {
    this.#database.write("now", () => {
      this.#putClockState(state);
      this.#moveAll(step);
    });
    this.#database.repeatOnDisk(() => this.#moveAll(step));
    this.events.forgetBounds();
    this.#trimmer.restart();
  }

  /** Deletes some of the rows that exceed the limits. Returns whether there may be more to delete. */
  trim(retention: Retention, nowMs: number): boolean {
    return this.#trimmer.trim(retention, nowMs);
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
  }

  #putAlerts({ state, alerts, notices }: AlertWrite, seqs: readonly number[]): void {
    this.alerts.putState(state);
    for (const alert of alerts) this.alerts.put(alert);
    for (const { event, ...notice } of notices) {
      this.alerts.addNotice({ ...notice, eventSeq: event === null ? null : seqs[event]! });
    }
  }

  #moveAll(step: ClockStep): void {
    const { ms, fromMs, toMs, unsureFromMs } = step;
    const move = (table: string, column: string, from: number) =>
      this.#database.run(
        `UPDATE $.${table} SET ${column} = ${column} + ? WHERE ${column} BETWEEN ? AND ?`,
        ms,
        from,
        toMs,
      );
    // The times in the engine's state are JSON, so the engine moves them.
    this.alerts.putStep(step);
    move("outbox", "added_at_ms", fromMs);
    // 0 is not a time: it means that the next attempt is due at once.
    move("targets", "next_at_ms", Math.max(1, fromMs));
    if (!this.#isHub) this.sessions.moveOpen(step);
    if (unsureFromMs === null) return;
    if (!this.#isHub) {
      move("events", "at_ms", unsureFromMs);
      this.sessions.moveEnded(step, unsureFromMs);
    }
    move("dead_letters", "at_ms", unsureFromMs);
    // Those of alerts that fire are replaced by the engine's.
    for (const column of ["since_ms", "fired_at_ms", "resolved_at_ms"]) {
      move("alerts", column, unsureFromMs);
    }
    move("alert_notices", "at_ms", unsureFromMs);
    this.traffic.move(step, unsureFromMs);
    this.totals.table.move(step, unsureFromMs);
  }

  #putClockState({ bootId, bootedAtMs, unsureSinceMs }: ClockState): void {
    this.#database.run(
      "INSERT OR REPLACE INTO $.clock (id, boot_id, booted_at_ms, unsure_since_ms) VALUES (1, ?, ?, ?)",
      bootId,
      bootedAtMs,
      unsureSinceMs,
    );
  }
}
