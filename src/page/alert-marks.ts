/**
 * When alerts about peers fired in the last 24 hours, for the tapes of the list of peers: read for all peers at once, and
 * rarely, because each open page asks for them at each update.
 */

import type { AlertView } from "../alerts/alert.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { AlertRecord } from "../store/alert-rows.ts";
import { DAY_MS } from "../store/ranges.ts";

/** How long the alerts of a day are kept; those of this moment are known anyway. */
const AGE_MS = 10_000;
/** An alert that fired before this time has no mark, unless it still fires. */
const OLDEST_MS = 7 * DAY_MS;
/** More alerts have no mark. */
const DAY_MAX = 1000;
/** More alerts of one peer have no mark. */
const PEER_MAX = 200;

/** The time in which an alert fired. */
export interface Fired {
  readonly fromMs: number;
  /** null: it still fires. */
  readonly toMs: number | null;
}

export class AlertMarks {
  readonly #source: ReadModel;
  #readAtMs = -Infinity;
  #day: ReadonlyMap<string, readonly Fired[]> = new Map();

  constructor(source: ReadModel) {
    this.#source = source;
  }

  /**
   * The alerts of a peer that fired in the last 24 hours, the latest first.
   *
   * @param current one that fires now; null: none.
   */
  dayOf(device: string, publicKey: string, current: AlertView | null): readonly Fired[] {
    const { monotonicMs, wallMs } = this.#source.clock.now();
    if (monotonicMs - this.#readAtMs >= AGE_MS) {
      this.#readAtMs = monotonicMs;
      const rows = this.#query({ limit: DAY_MAX, sinceMs: wallMs - OLDEST_MS });
      this.#day = new Map(
        Array.from(Map.groupBy(rows, keyOf), ([key, own]) => [key, own.map(firedOf)]),
      );
    }
    const startMs = wallMs - DAY_MS;
    const known = this.#day.get(`${device} ${publicKey}`) ?? [];
    const found = known.filter(({ toMs }) => toMs === null || toMs >= startMs);
    const isKnown = current === null || found.some(({ toMs }) => toMs === null);
    return isKnown ? found : [{ fromMs: current.firedAtMs ?? wallMs, toMs: null }, ...found];
  }

  /** The alerts of a peer since a time, the latest first. */
  of(device: string, publicKey: string, sinceMs: number): readonly Fired[] {
    const rows = this.#query({ limit: PEER_MAX, sinceMs: null, device, publicKey });
    return rows.map(firedOf).filter(({ toMs }) => toMs === null || toMs >= sinceMs);
  }

  #query(
    query: Pick<Parameters<ReadModel["store"]["alerts"]["query"]>[0], "limit" | "sinceMs"> & {
      readonly device?: string;
      readonly publicKey?: string;
    },
  ): AlertRecord[] {
    const all = { before: null, state: null, rule: null, device: null, publicKey: null };
    return this.#source.store.alerts.query({ ...all, untilMs: null, ...query });
  }
}

function keyOf({ device, publicKey }: AlertRecord): string {
  return `${device} ${publicKey}`;
}

function firedOf({ firedAtMs, resolvedAtMs, resolves }: AlertRecord): Fired {
  return { fromMs: firedAtMs, toMs: resolves ? resolvedAtMs : firedAtMs };
}
