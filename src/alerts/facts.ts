/**
 * What the engine knows of peers, devices and targets, whatever the rules are. All of it can be saved as JSON. A field
 * whose name ends in `AtMs` is a time of the wall clock that moves when the clock is set; see `shiftTimes`.
 */

import type { Endpoint } from "../base/wireguard.ts";

/**
 * A new device, or one that was created again, has no keys, and those of a suspended machine are invalid. Its peers make new
 * ones within REJECT_AFTER_TIME.
 */
export const GRACE_MS = 180_000;

/** A place that a peer was heard from. */
export interface Visit {
  readonly endpoint: string;
  readonly fromAtMs: number;
  /** The peer's latest handshake then; null: unknown. */
  readonly handshakeAtMs: number | null;
}

/** A country or autonomous system, by its code. */
export interface KnownPlace {
  readonly code: string;
  seenAtMs: number;
}

/** An endpoint that moved while no received data was counted; see endpoint-moves.ts. */
export interface UnexplainedMove {
  readonly from: Endpoint;
  readonly movedAtMs: number;
  readonly wasAway: boolean;
}

/** The facts about one peer that change rarely. */
export interface PeerFacts {
  /** Peers are judged in the order in which they were added. */
  readonly order: number;
  readonly device: string;
  readonly publicKey: string;
  name: string | null;
  tags: readonly string[];
  /** Whether it is configured. A peer of a removed device is, until a scan shows that it is not. */
  isPresent: boolean;
  /** null: unknown. */
  allowedIps: readonly string[] | null;
  keepaliveSeconds: number | null;
  /** Since when wgmon watches it. */
  readonly watchedAtMs: number;
  /** null: not connected. */
  connectedAtMs: number | null;
  /** When wgmon last noticed that it connected, or that it sent data in a grace period: it had keys then; null: never. */
  arrivedAtMs: number | null;
  /** The last activity; null: never. */
  seenAtMs: number | null;
  /** Whether it is connected, but its keep-alives are missing; see cadence.ts. */
  isSilent: boolean;
  /** The latest times at which it was disconnected because it was idle. */
  endsAtMs: number[];
  /** The latest visits; the last one is the current one. */
  visits: Visit[];
  /** Countries and autonomous systems in which it was seen. */
  places: KnownPlace[];
  /** The latest place that was reported as not allowed; null: none since the peer was seen elsewhere. */
  refusedPlace: KnownPlace | null;
  /** null: received data explains where its endpoint is. */
  unexplainedMove: UnexplainedMove | null;
}

/** The traffic of one period. */
export interface Usage {
  /** A time of the calendar, which does not move with the clock. */
  periodStartMs: number;
  rxBytes: number;
  txBytes: number;
}

/** The traffic of the current span of time and of the one before it. */
export interface RateWindow {
  startAtMs: number;
  readonly before: { rxBytes: number; txBytes: number };
  readonly now: { rxBytes: number; txBytes: number };
}

/** A black hole: what was known when it was found. */
export interface Deafness {
  /** When the peer should have answered first. */
  readonly sinceAtMs: number;
  /** How long the peer had been connected without a roam. */
  readonly steadyMs: number;
  readonly watchedMs: number;
  /** Idle disconnects of the week before, and roams of the day before. */
  readonly sleeps: number;
  readonly roams: number;
}

/** The facts about one peer that may change with each scan. */
export interface PeerSample {
  /** null: no scan yet. */
  rxBytes: number | null;
  txBytes: number;
  endpoint: Endpoint | null;
  /** The last scan in which the received bytes had grown. */
  rxAtMs: number | null;
  /** The cadence of received data: number of pauses, their usual length, their maximum now and in the last 6 hours. */
  pauses: number;
  usualPauseMs: number;
  longestPauseMs: number;
  previousLongestPauseMs: number;
  pausesSinceAtMs: number;
  /** The scan that showed the first sent data without an answer; null: all was answered. */
  askedAtMs: number | null;
  /** Scans since then that showed sent data and none received, and the bytes sent. */
  unanswered: number;
  unansweredBytes: number;
  /** Scans in a row that showed data sent and data received, and how much was received, on average. */
  answered: number;
  answerBytes: number;
  /** The last scan that showed an answer to data; null: none in this session. */
  answeredAtMs: number | null;
  /** For how long each tick has shown data in both directions, and the usual bytes per second that were sent. */
  steadyMs: number;
  usualSentRate: number;
  /** How long nothing was received although data was sent, by the latest scan; and the longest such time that ended. */
  silentMs: number;
  longestSilentMs: number;
  /** The longest time from such a scan to one with an answer, which may have come earlier. */
  longestUnansweredMs: number;
  deaf: Deafness | null;
  /** By period, see `periodKey`. */
  readonly usage: Record<string, Usage>;
  /** By length of the span. */
  readonly rates: Record<string, RateWindow>;
}

/** Handshakes that no peer completed. */
export interface Attempts {
  readonly reportedAtMs: number;
  readonly messages: number;
  readonly network: string | null;
  readonly publicKeys: readonly string[];
}

export interface DeviceFacts {
  readonly name: string;
  isPresent: boolean;
  /** Since when it is absent; null: it is present. */
  removedAtMs: number | null;
  /** Whether a complete list of its peers was received. */
  isListed: boolean;
  /** Why it is not watched now: wgmon was away, or cannot scan it; null: it is watched. */
  blind: "away" | "scan-failed" | null;
  /** Since when it is watched without a pause. */
  watchedAtMs: number;
  /** Until then its peers need not have returned, because a new device has no keys. */
  graceUntilAtMs: number;
  /** null: no scan yet. */
  scannedAtMs: number | null;
  /** The last scan in which any peer had sent something. */
  heardAtMs: number | null;
  attempts: Attempts[];
}

export interface TargetFacts {
  readonly name: string;
  state: "ok" | "failing" | "stopped";
  sinceAtMs: number;
}

export function newPeer(
  device: string,
  publicKey: string,
  named: { readonly name: string | null; readonly tags: readonly string[] },
  { nowMs, order }: { readonly nowMs: number; readonly order: number },
): PeerFacts {
  return {
    order,
    device,
    publicKey,
    name: named.name,
    tags: named.tags,
    isPresent: true,
    allowedIps: null,
    keepaliveSeconds: null,
    watchedAtMs: nowMs,
    connectedAtMs: null,
    arrivedAtMs: null,
    seenAtMs: null,
    isSilent: false,
    endsAtMs: [],
    visits: [],
    places: [],
    refusedPlace: null,
    unexplainedMove: null,
  };
}

export function newSample(): PeerSample {
  return {
    rxBytes: null,
    txBytes: 0,
    endpoint: null,
    rxAtMs: null,
    pauses: 0,
    usualPauseMs: 0,
    longestPauseMs: 0,
    previousLongestPauseMs: 0,
    pausesSinceAtMs: 0,
    askedAtMs: null,
    unanswered: 0,
    unansweredBytes: 0,
    answered: 0,
    answerBytes: 0,
    answeredAtMs: null,
    steadyMs: 0,
    usualSentRate: 0,
    silentMs: 0,
    longestSilentMs: 0,
    longestUnansweredMs: 0,
    deaf: null,
    usage: {},
    rates: {},
  };
}

/**
 * Replaces each time in facts by the result of `moved`. Lists of times and nested objects are included.
 *
 * @param facts values of JSON.
 */
export function shiftTimes(facts: object, moved: (atMs: number) => number): void {
  // In place: a copy of the facts of 10,000 peers takes three times as long.
  const fields = facts as Record<string, unknown>;
  for (const key of Object.keys(fields)) {
    const field = fields[key];
    if (typeof field === "number") {
      if (key.endsWith("AtMs")) fields[key] = moved(field);
    } else if (Array.isArray(field)) {
      const values = field as unknown[];
      for (const [index, value] of values.entries()) {
        if (typeof value === "number" && key.endsWith("AtMs")) values[index] = moved(value);
        else if (typeof value === "object" && value !== null) shiftTimes(value, moved);
      }
    } else if (typeof field === "object" && field !== null) {
      shiftTimes(field, moved);
    }
  }
}
