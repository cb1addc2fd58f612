/**
 * Finds a black hole: wgmon's machine sends to a peer, and nothing comes back. WireGuard answers data within 10 s, at
 * least with a keep-alive (KEEPALIVE_TIMEOUT, messages.h), so sent data without any received data means that a path is
 * blocked, or that the peer sleeps. The peer's past shows how sure that is:
 *
 * - A steady link, with data in both directions in each tick of the last minute, is judged by one tick without any
 *   answer, 10 to 20 s after the fault. In this time it must have sent at least half of what it usually sends: a burst at
 *   the end of the tick is answered in the next one.
 *   The counters do not distinguish a link whose only traffic is one burst per tick. It may cause one false alarm, when
 *   its bursts drift towards the end of the tick; then a tick without an answer is known to be usual.
 * - A busy link is judged by two ticks without an answer.
 * - A link with little traffic, where packets may simply have been lost, is judged later.
 *
 * It reads scans only and sends nothing. Pure.
 */

import { INITIATION_BYTES, REJECT_AFTER_MS } from "../base/wireguard.ts";
import type { PeerFacts, PeerSample } from "./facts.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** An empty data message: a keep-alive, which needs no answer. */
const KEEPALIVE_BYTES = 32;
/** Maximum number of initiations between two scans. */
const INITIATIONS_MAX = 3;
/** Scans of a busy link that must have shown data in both directions: a minute of ticks. */
const BUSY_SCANS = 6;
/** Bytes received in a scan of a busy link: several packets, so that their loss by chance is unlikely. */
const BUSY_BYTES = 512;
/** For how long a steady link must have had data in both directions in each tick: a minute, or a little less. */
const STEADY_MS = 55_000;
/** A steady link has no longer time between two answers: a tick, with tolerance. */
const STEADY_GAP_MS = 15_000;
/** Minimum bytes per second that it receives, in each tick: more than keep-alives. */
const STEADY_RECEIVED_RATE = 10;
/** Minimum bytes per second that it sends: dozens of packets in a tick, which are not one request with its answer. */
const STEADY_SENT_RATE = 200;
/** The share of the usual bytes that must have been sent since the last answer. */
const STEADY_SHARE = 0.5;
/** The average of the bytes sent is over about this time. */
const AVERAGE_MS = 80_000;
/** Just below a tick. Two scans without an answer are as long as KEEPALIVE_TIMEOUT, or longer. */
const BUSY_SILENCE_MS = 9000;
/** How long other links must be silent, at least. */
const SILENCE_MS = 60_000;
/** A longer time without an answer is an outage, which is not a usual pause. */
const PAUSE_MAX_MS = 120_000;
/** A black hole that ends this soon may have been a pause, so the link is judged later from then on. */
const DOUBTFUL_MS = 30_000;
const WEIGHT = 1 / 8;

/** What a scan showed of one connected peer. */
export interface Exchange {
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly sinceMs: number;
  readonly keepaliveSeconds: number | null;
  readonly handshakeAtMs: number | null;
}

/** Records a scan of a connected peer. Returns whether a black hole began or ended. */
export function exchanged(
  peer: PeerFacts,
  sample: PeerSample,
  exchange: Exchange,
  nowMs: number,
): boolean {
  const hasAsked = isData(exchange);
  if (exchange.rxBytes > 0 && !isOnlyInitiations(exchange.rxBytes)) {
    return answered(sample, exchange, hasAsked, nowMs);
  }
  if (!hasAsked) return false;
  sample.askedAtMs ??= nowMs;
  sample.unanswered++;
  sample.unansweredBytes += exchange.txBytes;
  if (sample.rxAtMs !== null) sample.silentMs = nowMs - sample.rxAtMs;
  const sinceAtMs = sample.deaf === null ? silentSinceMs(sample, exchange, nowMs) : null;
  if (sinceAtMs === null) return false;
  const lastVisit = peer.visits.at(-1);
  const after = (atMs: number, spanMs: number) => atMs > sinceAtMs - spanMs && atMs < sinceAtMs;
  sample.deaf = {
    sinceAtMs,
    steadyMs: sinceAtMs - Math.max(peer.connectedAtMs ?? sinceAtMs, lastVisit?.fromAtMs ?? 0),
    watchedMs: sinceAtMs - peer.watchedAtMs,
    sleeps: peer.endsAtMs.filter((atMs) => after(atMs, 7 * DAY_MS)).length,
    roams: peer.visits.filter(({ fromAtMs }) => after(fromAtMs, DAY_MS)).length,
  };
  return true;
}

/** Forgets the open questions: there is a new session, or wgmon did not watch. A black hole stays until an answer. */
export function forgetQuestions(sample: PeerSample): void {
  sample.askedAtMs = null;
  sample.unanswered = 0;
  sample.unansweredBytes = 0;
  sample.silentMs = 0;
  sample.answered = 0;
  sample.answeredAtMs = null;
  sample.steadyMs = 0;
}

function answered(
  sample: PeerSample,
  exchange: Exchange,
  hasAsked: boolean,
  nowMs: number,
): boolean {
  if (sample.askedAtMs !== null) {
    const pauseMs = nowMs - sample.askedAtMs;
    const isUsual = pauseMs <= (sample.deaf === null ? PAUSE_MAX_MS : DOUBTFUL_MS);
    if (isUsual) sample.longestSilentMs = Math.max(sample.longestSilentMs, sample.silentMs);
    if (isUsual) sample.longestUnansweredMs = Math.max(sample.longestUnansweredMs, pauseMs);
    // A link that was silent is not busy before it has answered for a minute again.
    if (sample.unanswered > 1) sample.answered = 0;
  }
  noteSteadiness(sample, exchange, nowMs);
  const wasDeaf = sample.deaf !== null;
  sample.deaf = null;
  sample.askedAtMs = null;
  sample.unanswered = 0;
  sample.unansweredBytes = 0;
  sample.silentMs = 0;
  if (hasAsked) {
    sample.answered++;
    const weight = Math.max(WEIGHT, 1 / sample.answered);
    sample.answerBytes += (exchange.rxBytes - sample.answerBytes) * weight;
  }
  return wasDeaf;
}

/** Records a scan that showed received data, before the questions that it answers are forgotten. */
function noteSteadiness(sample: PeerSample, { rxBytes, txBytes }: Exchange, nowMs: number): void {
  const sentBytes = sample.unansweredBytes + txBytes;
  if (sentBytes === 0) return;
  const gapMs = nowMs - (sample.answeredAtMs ?? -Infinity);
  sample.answeredAtMs = nowMs;
  if (gapMs > STEADY_GAP_MS) sample.steadyMs = 0;
  else if (1000 * rxBytes < STEADY_RECEIVED_RATE * gapMs) {
    // The black hole may have begun at the beginning of this tick. Two such ticks in a row are too many.
    sample.steadyMs = Math.max(0, sample.steadyMs - STEADY_MS);
  } else if (gapMs > 0) {
    sample.steadyMs = Math.min(sample.steadyMs + gapMs, 2 * STEADY_MS);
    const weight = gapMs / Math.min(sample.steadyMs, AVERAGE_MS);
    sample.usualSentRate += ((1000 * sentBytes) / gapMs - sample.usualSentRate) * weight;
  }
}

/** Since when the peer has not answered, if that is a black hole; null: it is not, or not yet. */
function silentSinceMs(
  sample: PeerSample,
  { handshakeAtMs }: Exchange,
  nowMs: number,
): number | null {
  // Without live keys a peer cannot answer. The idle timeout ends its session.
  if (handshakeAtMs === null || nowMs - handshakeAtMs >= REJECT_AFTER_MS) return null;
  const { askedAtMs, rxAtMs, longestUnansweredMs, unansweredBytes } = sample;
  const hasAskedMuch = unansweredBytes >= BUSY_BYTES;
  if (hasAskedMuch && rxAtMs !== null && isSteady(sample)) {
    const { silentMs, longestSilentMs, usualSentRate } = sample;
    const isLong = silentMs >= Math.max(BUSY_SILENCE_MS, 2 * longestSilentMs);
    if (isLong && 1000 * unansweredBytes >= STEADY_SHARE * usualSentRate * silentMs) return rxAtMs;
  }
  if (sample.unanswered < 2) return null;
  const isBusy = sample.answered >= BUSY_SCANS && sample.answerBytes >= BUSY_BYTES && hasAskedMuch;
  const neededMs = isBusy
    ? Math.max(BUSY_SILENCE_MS, 2 * longestUnansweredMs)
    : Math.max(SILENCE_MS, 30_000 + 3 * longestUnansweredMs);
  return nowMs - askedAtMs! >= neededMs ? askedAtMs : null;
}

function isSteady({ steadyMs, usualSentRate }: PeerSample): boolean {
  return steadyMs >= STEADY_MS && usualSentRate >= STEADY_SENT_RATE;
}

/** Whether more than keep-alives and initiations was sent. */
function isData({ txBytes, sinceMs, keepaliveSeconds }: Exchange): boolean {
  if (txBytes === 0 || isOnlyInitiations(txBytes)) return false;
  const keepalives =
    keepaliveSeconds === null || keepaliveSeconds === 0
      ? 2
      : Math.ceil(sinceMs / (1000 * keepaliveSeconds)) + 1;
  return txBytes % KEEPALIVE_BYTES !== 0 || txBytes / KEEPALIVE_BYTES > keepalives;
}

/** Whether the bytes of a scan can be handshake attempts alone, which prove nothing: see sessions/liveness.ts. */
export function isOnlyInitiations(bytes: number): boolean {
  return bytes % INITIATION_BYTES === 0 && bytes / INITIATION_BYTES <= INITIATIONS_MAX;
}
