/**
 * Decides by the hub's own clock which gateways are lost, and which report again. Many gateways that become lost together
 * are one finding, because then it is the hub's network that failed. Pure: times are arguments.
 */

import type { Instant } from "../base/wireguard.ts";
import { STATE_INTERVAL_MS } from "../fleet/messages.ts";
import type { GatewayCondition } from "./fleet-state.ts";

/** A gateway that has missed four reports is lost: a minute. */
const LOST_MS = 4 * STATE_INTERVAL_MS;
/** A gateway without a message for this long has missed a report. */
const OVERDUE_MS = 2 * STATE_INTERVAL_MS;
/** After the hub started, was suspended or reconnected, no gateway is lost for this long: they must reconnect first. */
const QUIET_MS = 90_000;
/** Calls of `tick` are not further apart than this, or else the hub itself did not run. */
const STALL_MS = 15_000;
/** So many messages, none later than LOST_MS after the one before, mean that the gateway reports again. */
const RETURN_MESSAGES = 2;
/** From these on, lost gateways are one finding: this number, and more than this part of all that reported. */
const PARTITION_MIN = 3;
const PARTITION_PART = 0.3;
/** How long a lost gateway waits for others that have missed a report. */
const HOLD_MS = 30_000;

/** What the watch finds. `seenMs` is in wall-clock time; null: not since the hub started. */
export type WatchFinding =
  | { readonly type: "lost"; readonly gateway: string; readonly seenMs: number | null }
  | { readonly type: "back"; readonly gateway: string; readonly unobservedMs: number }
  | { readonly type: "stopped"; readonly gateway: string }
  | { readonly type: "partition"; readonly gateways: readonly string[]; readonly known: number };

/** What is known of a gateway from the previous run of the hub. */
export interface WatchedBefore {
  readonly condition: GatewayCondition;
  readonly seenMs: number;
}

interface Entry {
  condition: GatewayCondition;
  /** Whether it is expected to report: it did when the hub stopped, or it does now. */
  isExpected: boolean;
  /** The last message; null: none since the hub started. Monotonic. */
  heardMs: number | null;
  /** The same in wall-clock time, also of the previous run. */
  seenMs: number | null;
  /** When it was last heard before it was lost or stopped; null: in the previous run. Monotonic. */
  goneMs: number | null;
  /** Messages since it was lost or stopped. */
  returned: number;
}

export class GatewayWatch {
  readonly #gateways = new Map<string, Entry>();
  /** When the waiting for gateways began again. Monotonic. */
  #disturbedMs: number;
  #tickMs: number;

  constructor(now: Instant) {
    this.#disturbedMs = now.monotonicMs;
    this.#tickMs = now.monotonicMs;
  }

  /** @param before null: it has never reported. */
  add(gateway: string, before: WatchedBefore | null): void {
    if (this.#gateways.has(gateway)) return;
    const wasGone = before?.condition === "lost" || before?.condition === "stopped";
    this.#gateways.set(gateway, {
      condition: wasGone ? before.condition : "waiting",
      isExpected: before?.condition === "up",
      heardMs: null,
      seenMs: before?.seenMs ?? null,
      goneMs: null,
      returned: 0,
    });
  }

  remove(gateway: string): void {
    this.#gateways.delete(gateway);
  }

  condition(gateway: string): GatewayCondition {
    return this.#gateways.get(gateway)?.condition ?? "waiting";
  }

  /** The last message since the hub started, in monotonic time; null: none. */
  heardMs(gateway: string): number | null {
    return this.#gateways.get(gateway)?.heardMs ?? null;
  }

  /** A gateway has sent a message. */
  heard(gateway: string, { isStopping }: { isStopping: boolean }, now: Instant): WatchFinding[] {
    const entry = this.#gateways.get(gateway);
    if (entry === undefined) return [];
    const before = { heardMs: entry.heardMs, seenMs: entry.seenMs };
    entry.heardMs = now.monotonicMs;
    entry.seenMs = now.wallMs;
    const { condition } = entry;
    if (isStopping) {
      entry.condition = "stopped";
      entry.isExpected = false;
      entry.goneMs = now.monotonicMs;
      entry.returned = 0;
      return condition === "stopped" ? [] : [{ type: "stopped", gateway }];
    }
    if (condition === "lost" || condition === "stopped") {
      const isLate = before.heardMs === null || now.monotonicMs - before.heardMs > LOST_MS;
      if (isLate) entry.returned = 0;
      if (entry.returned === 0) this.#noteGone(entry, before, now);
      entry.returned++;
      if (entry.returned < RETURN_MESSAGES) return [];
      const unobservedMs = Math.round(now.monotonicMs - (entry.goneMs ?? now.monotonicMs));
      this.#isUp(entry);
      return [{ type: "back", gateway, unobservedMs }];
    }
    this.#isUp(entry);
    return [];
  }

  /** The machine was suspended, or the transport was disconnected: for a while, silence means nothing. */
  disturbed(now: Instant): void {
    this.#disturbedMs = now.monotonicMs;
  }

  /** Call it every few seconds. */
  tick(now: Instant): WatchFinding[] {
    if (now.monotonicMs - this.#tickMs > STALL_MS) this.disturbed(now);
    this.#tickMs = now.monotonicMs;
    const expected = [...this.#gateways].filter(([, { isExpected }]) => isExpected);
    const silenceMs = ({ heardMs }: Entry) =>
      now.monotonicMs - Math.max(heardMs ?? -Infinity, this.#disturbedMs + QUIET_MS - LOST_MS);
    const missing = expected.filter(([, entry]) => silenceMs(entry) >= OVERDUE_MS);
    const lost = missing.filter(([, entry]) => silenceMs(entry) >= LOST_MS);
    if (lost.length === 0) return [];
    const isMany = (count: number) =>
      count >= PARTITION_MIN && count > expected.length * PARTITION_PART;
    const longestMs = Math.max(...lost.map(([, entry]) => silenceMs(entry)));
    // The reports of gateways that are lost together are up to 15 s apart.
    const canWait = longestMs < LOST_MS + HOLD_MS;
    if (isMany(missing.length) && missing.length > lost.length && canWait) return [];
    for (const [, entry] of lost) {
      entry.condition = "lost";
      entry.isExpected = false;
      entry.goneMs = entry.heardMs;
      entry.returned = 0;
    }
    if (isMany(lost.length)) {
      const gateways = lost.map(([gateway]) => gateway);
      return [{ type: "partition", gateways, known: expected.length }];
    }
    return lost.map(([gateway, { seenMs }]) => ({ type: "lost", gateway, seenMs }));
  }

  /** Keeps the time of the last message before the silence. */
  #noteGone(entry: Entry, before: Pick<Entry, "heardMs" | "seenMs">, now: Instant): void {
    if (before.heardMs !== null) {
      entry.goneMs = before.heardMs;
    } else if (before.seenMs !== null) {
      entry.goneMs = now.monotonicMs - Math.max(0, now.wallMs - before.seenMs);
    }
  }

  #isUp(entry: Entry): void {
    entry.condition = "up";
    entry.isExpected = true;
    entry.returned = 0;
  }
}
