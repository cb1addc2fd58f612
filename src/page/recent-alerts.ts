/**
 * Reads from the store when alerts about peers fired, for tapes and charts. For the list of peers, it reads the alerts of
 * all peers at once and keeps them for ten seconds, because each open page needs them at each update.
 */

import type { AlertView } from "../alerts/alert.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type AlertRecord, ALL_ALERTS, overAtMs } from "../store/alert-rows.ts";
import { DAY_MS } from "../store/ranges.ts";

/** How long the alerts of the day are kept. Alerts that have just fired are added from the engine. */
const KEEP_MS = 10_000;
/** Maximum age of an alert that is read for the tapes. An alert that still fires is shown even if it is older. */
const AGE_MAX_MS = 7 * DAY_MS;
/** Maximum number of alerts that are read for all tapes. */
const DAY_MAX = 1000;
/** Maximum number of alerts that are read for the chart of a peer. */
const PEER_MAX = 200;

/** The time during which an alert fired. */
export interface FiringTime {
  readonly fromMs: number;
  /** null: it still fires. */
  readonly toMs: number | null;
}

export class RecentAlerts {
  readonly #source: ReadModel;
  #readAtMs = -Infinity;
  #day: ReadonlyMap<string, readonly FiringTime[]> = new Map();

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /**
   * The alerts of a peer that fired in the last 24 hours, the latest first.
   *
   * @param current an alert about the peer that fires now; null: no alert does.
   */
  dayOf(device: string, publicKey: string, current: AlertView | null): readonly FiringTime[] {
    const { monotonicMs, wallMs } = this.#source.clock.now();
    if (monotonicMs - this.#readAtMs >= KEEP_MS) {
      this.#readAtMs = monotonicMs;
      const rows = this.#query({ limit: DAY_MAX, sinceMs: wallMs - AGE_MAX_MS });
      this.#day = new Map(
        Array.from(Map.groupBy(rows, keyOf), ([key, own]) => [key, own.map(firingTimeOf)]),
      );
    }
    const startMs = wallMs - DAY_MS;
    const known = this.#day.get(`${device} ${publicKey}`) ?? [];
    const found = known.filter(({ toMs }) => toMs === null || toMs >= startMs);
    const isKnown = current === null || found.some(({ toMs }) => toMs === null);
    return isKnown ? found : [{ fromMs: current.firedAtMs ?? wallMs, toMs: null }, ...found];
  }

  /** The alerts of a peer since a time, the latest first. */
  of(device: string, publicKey: string, sinceMs: number): readonly FiringTime[] {
    const rows = this.#query({ limit: PEER_MAX, sinceMs: null, device, publicKey });
    return rows.map(firingTimeOf).filter(({ toMs }) => toMs === null || toMs >= sinceMs);
  }

  #query(
    query: Pick<Parameters<ReadModel["store"]["alerts"]["query"]>[0], "limit" | "sinceMs"> & {
      readonly device?: string;
      readonly publicKey?: string;
    },
  ): AlertRecord[] {
    return this.#source.store.alerts.query({ ...ALL_ALERTS, ...query });
  }
}

function keyOf({ device, publicKey }: AlertRecord): string {
  return `${device} ${publicKey}`;
}

function firingTimeOf(alert: AlertRecord): FiringTime {
  return { fromMs: alert.firedAtMs, toMs: overAtMs(alert) };
}
