/**
 * Every minute, writes to the store how many bytes each connected peer received and sent, the sum of all peers, and how
 * many were connected. The HTTP API and the page show charts of this.
 */

import type { Clock } from "../base/clock.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import { growth } from "../base/wireguard.ts";
import type { Session } from "../sessions/session.ts";
import type { GatewayRows } from "./gateway-rows.ts";
import { type TrafficRows, type TrafficSums as Row } from "./traffic-rows.ts";

/** A slot of the store has a whole number of these intervals. A crash loses at most the traffic of one. */
const WRITE_MS = 60_000;
/** Maximum number of rows written in one step; more would delay packets. */
const SLICE = 100;

/** A session's counters when they were last written. */
type Baseline = Pick<Session, "startedAtMs" | "rxBytes" | "txBytes">;

/** The part of a session that is needed here. */
interface Counted extends Baseline {
  readonly device: string;
  readonly publicKey: string;
}

/** The part of a `peer.disconnected` that is needed here. */
interface Ended {
  readonly device: string;
  readonly peer: { readonly publicKey: string };
  readonly session: Baseline;
}

/** The part of the store that is written. */
interface Destination {
  readonly traffic: Pick<TrafficRows, "add">;
  readonly totals: Pick<GatewayRows, "add">;
}

export class TrafficRecorder {
  readonly #store: Destination;
  readonly #clock: Clock;
  /** By device and public key. */
  #written = new Map<string, Baseline>();
  /** Rows of sessions that ended since the last write. */
  readonly #pending: Row[] = [];
  /** Rows to write, one slice per step. */
  readonly #slices: { atMs: number; readonly rows: readonly Row[] }[] = [];
  #cancelWrite = () => {};
  /** Time of the last write. Later growth belongs to the slot that contains it. */
  #atMs: number;
  /** The most sessions that were open at a check since then. */
  #connected = 0;

  /** @param sessions restored sessions: the previous run has written their counters. */
  constructor(store: Destination, clock: Clock, sessions: Iterable<Session>) {
    this.#store = store;
    this.#clock = clock;
    this.#atMs = clock.now().wallMs;
    for (const session of sessions) {
      this.#written.set(`${session.device} ${session.peer.publicKey}`, session);
    }
  }

  /** Called periodically; writes when a new minute has begun. Returns whether it did. */
  flushIfDue(sessions: Iterable<Session>): boolean {
    const nowMs = this.#clock.now().wallMs;
    if (Math.floor(nowMs / WRITE_MS) !== Math.floor(this.#atMs / WRITE_MS)) {
      this.save(sessions);
      return true;
    }
    let connected = 0;
    for (const _ of sessions) connected++;
    this.#connected = Math.max(this.#connected, connected);
    return false;
  }

  /** Writes all growth since the last write. */
  save(sessions: Iterable<Session>): void {
    const atMs = this.#atMs;
    this.#atMs = this.#clock.now().wallMs;
    const before = this.#written;
    this.#written = new Map();
    const rows = this.#pending.splice(0);
    let connected = 0;
    for (const { device, peer, startedAtMs, rxBytes, txBytes } of sessions) {
      const key = `${device} ${peer.publicKey}`;
      this.#written.set(key, { startedAtMs, rxBytes, txBytes });
      const session = { device, publicKey: peer.publicKey, startedAtMs, rxBytes, txBytes };
      rows.push(...rowsOf(session, before.get(key)));
      connected++;
    }
    const totals = { rxBytes: 0, txBytes: 0, connected: Math.max(this.#connected, connected) };
    this.#connected = connected;
    for (const { rxBytes, txBytes } of rows) {
      totals.rxBytes = Math.min(totals.rxBytes + rxBytes, Number.MAX_SAFE_INTEGER);
      totals.txBytes = Math.min(totals.txBytes + txBytes, Number.MAX_SAFE_INTEGER);
    }
    this.#store.totals.add(totals, atMs);
    for (let start = 0; start < rows.length; start += SLICE) {
      this.#slices.push({ atMs, rows: rows.slice(start, start + SLICE) });
    }
    this.#writeSlice();
  }

  /**
   * Moves the times in memory. Those in the store are already moved.
   *
   * @param movesSessions false: the starts of the sessions are those of another machine's clock.
   */
  clockSet(step: ClockStep, movesSessions = true): void {
    this.#atMs = moved(step, this.#atMs);
    for (const slice of this.#slices) slice.atMs = moved(step, slice.atMs);
    if (!movesSessions) return;
    for (const [key, written] of this.#written) {
      this.#written.set(key, { ...written, startedAtMs: moved(step, written.startedAtMs) });
    }
  }

  /** A session has another start, because the clock that it was read from was set. */
  restarted(device: string, publicKey: string, startedAtMs: number): void {
    const key = `${device} ${publicKey}`;
    const written = this.#written.get(key);
    if (written !== undefined) this.#written.set(key, { ...written, startedAtMs });
  }

  /** Shuts down: writes all growth synchronously. */
  flush(sessions: Iterable<Session>): void {
    this.save(sessions);
    while (this.#slices.length > 0) this.#writeSlice();
  }

  /** Adds the last growth of an ended session. */
  ended({ device, peer, session }: Ended): void {
    const { publicKey } = peer;
    const key = `${device} ${publicKey}`;
    // All peers of a device may end at once, so do not write for each.
    this.#pending.push(...rowsOf({ ...session, device, publicKey }, this.#written.get(key)));
    this.#written.delete(key);
  }

  #writeSlice(): void {
    this.#cancelWrite();
    const slice = this.#slices.shift();
    if (slice === undefined) return;
    this.#store.traffic.add(slice.rows, slice.atMs);
    if (this.#slices.length === 0) return;
    this.#cancelWrite = this.#clock.after(0, () => this.#writeSlice());
  }
}

/** Returns the growth since the last write as one row; no row if nothing was received or sent. */
function rowsOf(current: Counted, written: Baseline | undefined): Row[] {
  const isSame = written !== undefined && written.startedAtMs === current.startedAtMs;
  const before = isSame ? written : { rxBytes: 0, txBytes: 0 };
  const rxBytes = growth(before.rxBytes, current.rxBytes);
  const txBytes = growth(before.txBytes, current.txBytes);
  const { device, publicKey } = current;
  return rxBytes + txBytes === 0 ? [] : [{ device, publicKey, rxBytes, txBytes }];
}
