/**
 * Learns how often a peer sends something, so that a silence can be noticed before the idle timeout: after three missed
 * keep-alives. A link that loses packets has longer pauses, and must be silent for longer. Pure.
 */

import type { PeerFacts, PeerSample } from "./facts.ts";

/** A peer that sends less often has no cadence that is worth learning. */
const USUAL_PAUSE_MAX_MS = 60_000;
/** Number of pauses to learn from: ten minutes of keep-alives every 25 s. */
const PAUSES_MIN = 24;
/** A new pause counts for this part of the average. */
const WEIGHT = 1 / 16;
/** The time of a tick: a scan may show the last keep-alive that much later. */
const TICK_MS = 10_000;
/** The longest pause is that of the last 6 to 12 hours. */
const MEMORY_MS = 6 * 3_600_000;

/** Records that a scan showed received data. @param isWatched whether it was watched since the last such scan. */
export function heard(sample: PeerSample, isWatched: boolean, nowMs: number): void {
  const { rxAtMs } = sample;
  sample.rxAtMs = nowMs;
  if (rxAtMs === null || !isWatched) return;
  const pauseMs = nowMs - rxAtMs;
  if (pauseMs <= 0) return;
  if (nowMs - sample.pausesSinceAtMs > MEMORY_MS) {
    sample.previousLongestPauseMs = sample.longestPauseMs;
    sample.longestPauseMs = 0;
    sample.pausesSinceAtMs = nowMs;
  }
  sample.longestPauseMs = Math.max(sample.longestPauseMs, pauseMs);
  sample.pauses++;
  // Scans that follow each other quickly say little about the usual pause.
  const weight = Math.max(WEIGHT, 1 / sample.pauses);
  sample.usualPauseMs += (pauseMs - sample.usualPauseMs) * weight;
}

/** Forgets the cadence: a new session may have another one. */
export function forgetCadence(sample: PeerSample): void {
  sample.rxAtMs = null;
}

/**
 * After which silence a connected peer counts as absent; null: nothing was learned, and only the idle timeout counts.
 */
export function silenceMs(sample: PeerSample): number | null {
  const { pauses, usualPauseMs } = sample;
  if (pauses < PAUSES_MIN || usualPauseMs > USUAL_PAUSE_MAX_MS) return null;
  const longestMs = Math.max(sample.longestPauseMs, sample.previousLongestPauseMs);
  return Math.max(3 * Math.max(usualPauseMs, TICK_MS), 2 * longestMs) + TICK_MS;
}

/** When the peer is absent if it stays silent; null: see `silenceMs`. */
export function silentAtMs(peer: PeerFacts, sample: PeerSample): number | null {
  const afterMs = silenceMs(sample);
  if (peer.connectedAtMs === null || sample.rxAtMs === null || afterMs === null) return null;
  return sample.rxAtMs + afterMs;
}
