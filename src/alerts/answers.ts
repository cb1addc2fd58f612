/**
 * Finds a black hole: wgmon's machine sends to a peer, and nothing comes back. WireGuard answers data within 10 s, at
 * least with a keep-alive (KEEPALIVE_TIMEOUT, messages.h), so sent data without any received data means that a path is
 * blocked, or that the peer sleeps. The peer's past shows how sure that is: a busy link is judged by the second
 * tick without an answer, 20 to 30 s after the fault; a link with little traffic, where packets may simply have been lost,
 * later. It reads scans only and sends nothing. Pure.
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
/** Just below a tick. Two scans without an answer are as long as KEEPALIVE_TIMEOUT, or longer. */
const BUSY_SILENCE_MS = 9000;
/** How long other links must be silent, at least. */
const SILENCE_MS = 60_000;
/** A longer time without an answer is an outage, which is not a usual pause. */
const PAUSE_MAX_MS = 120_000;
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
    return answered(sample, exchange.rxBytes, hasAsked, nowMs);
  }
  if (!hasAsked) return false;
  sample.askedAtMs ??= nowMs;
  sample.unanswered++;
  sample.unansweredBytes += exchange.txBytes;
  if (sample.deaf !== null || !isBlackHole(sample, exchange, nowMs)) return false;
  const sinceAtMs = sample.askedAtMs;
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
  sample.answered = 0;
}

function answered(sample: PeerSample, rxBytes: number, hasAsked: boolean, nowMs: number): boolean {
  if (sample.askedAtMs !== null) {
    const pauseMs = nowMs - sample.askedAtMs;
    const isUsual = sample.deaf === null && pauseMs <= PAUSE_MAX_MS;
    if (isUsual) sample.longestUnansweredMs = Math.max(sample.longestUnansweredMs, pauseMs);
    // A link that was silent is not busy before it has answered for a minute again.
    if (sample.unanswered > 1) sample.answered = 0;
  }
  const wasDeaf = sample.deaf !== null;
  sample.deaf = null;
  sample.askedAtMs = null;
  sample.unanswered = 0;
  sample.unansweredBytes = 0;
  if (hasAsked) {
    sample.answered++;
    const weight = Math.max(WEIGHT, 1 / sample.answered);
    sample.answerBytes += (rxBytes - sample.answerBytes) * weight;
  }
  return wasDeaf;
}

function isBlackHole(sample: PeerSample, { handshakeAtMs }: Exchange, nowMs: number): boolean {
  // Without live keys a peer cannot answer. The idle timeout ends its session.
  if (handshakeAtMs === null || nowMs - handshakeAtMs >= REJECT_AFTER_MS) return false;
  if (sample.unanswered < 2) return false;
  const silentMs = nowMs - sample.askedAtMs!;
  const isBusy = sample.answered >= BUSY_SCANS && sample.answerBytes >= BUSY_BYTES;
  if (isBusy && sample.unansweredBytes >= BUSY_BYTES) {
    return silentMs >= Math.max(BUSY_SILENCE_MS, 2 * sample.longestUnansweredMs);
  }
  return silentMs >= Math.max(SILENCE_MS, 30_000 + 3 * sample.longestUnansweredMs);
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
