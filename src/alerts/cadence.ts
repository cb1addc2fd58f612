/**
 * Learns how often a peer sends data, to notice that it is silent before the idle timeout: after three missing keep-alives.
 * On a link that loses packets, pauses are longer, and the peer must be silent for longer. Pure.
 */

import type { PeerFacts, PeerSample } from "./facts.ts";

/** Maximum usual pause. A peer that sends less often counts as absent only after the idle timeout. */
const USUAL_PAUSE_MAX_MS = 60_000;
/** Minimum number of pauses to learn from: ten minutes of keep-alives every 25 s. */
const PAUSES_MIN = 24;
/** A new pause counts for this part of the average. */
const WEIGHT = 1 / 16;
/** The time of a tick: a scan may show the last keep-alive that much later. */
const TICK_MS = 10_000;
/** The longest pause is remembered for 6 to 12 hours. */
const MEMORY_MS = 6 * 3_600_000;

/** Records that a scan showed received data. @param isWatched whether wgmon watched since the previous such scan. */
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

/** After which time without data a connected peer is silent; null: not learned, only the idle timeout counts. */
export function silenceMs(sample: PeerSample): number | null {
  const { pauses, usualPauseMs } = sample;
  if (pauses < PAUSES_MIN || usualPauseMs > USUAL_PAUSE_MAX_MS) return null;
  const longestMs = Math.max(sample.longestPauseMs, sample.previousLongestPauseMs);
  return Math.max(3 * Math.max(usualPauseMs, TICK_MS), 2 * longestMs) + TICK_MS;
}

/** When the peer is silent if no data comes until then; null: see `silenceMs`. */
export function silentAtMs(peer: PeerFacts, sample: PeerSample): number | null {
  const afterMs = silenceMs(sample);
  if (peer.connectedAtMs === null || sample.rxAtMs === null || afterMs === null) return null;
  return sample.rxAtMs + afterMs;
}
