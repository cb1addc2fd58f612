/**
 * Reads the past from the store, as inputs of the alert engine: events, the sessions that were open before the first event,
 * the traffic of peers if a rule needs it, and the times at which wgmon did not run.
 */

import { inputOfEvent, type NamedPeer } from "../alerts/input.ts";
import type { Recorded } from "../alerts/replay.ts";
import type { Rule, TrafficRule } from "../alerts/rule.ts";
import type { Event } from "../events/event-schema.ts";
import { deviceOf } from "../events/event.ts";
import type { Store } from "../store/store.ts";
import type { FoundEvent } from "../store/stored-events.ts";
import type { SessionCursor } from "../store/stored-sessions.ts";

/** Events, or sessions, in one query of the store. */
const CHUNK = 1000;
/** For rules with a rate, the traffic of a slot is divided into pieces. The shortest is a 20th of the rule's `over`. */
const PIECES_OF_SPAN = 20;

type Rate = NonNullable<TrafficRule["rate"]>;

export type PastStore = {
  readonly events: Pick<Store["events"], "query">;
  readonly sessions: Pick<Store["sessions"], "query">;
  readonly traffic: Pick<Store["traffic"], "history">;
  readonly totals: Pick<Store["totals"], "gaps">;
};

export interface PastOptions {
  readonly rules: readonly Rule[];
  readonly untilMs: number;
  /** Returns the present name and tags of a peer, for sessions that began before the first event. */
  readonly named: (publicKey: string, device: string) => NamedPeer;
  /** Called for each event. */
  readonly onEvent: (atMs: number) => void;
}

/** All inputs until a time, the oldest first. */
export function recordedPast(store: PastStore, options: PastOptions): Iterable<Recorded> {
  const { rules, untilMs, onEvent } = options;
  const devices = new Set<string>();
  const isUsed = rules.some(({ kind }) => kind === "traffic");
  const rates = rules.flatMap((rule) => (rule.kind === "traffic" ? (rule.rate ?? []) : []));
  return merged([
    sessionsAndEvents(store, options, (event, atMs) => {
      const device = deviceOf(event);
      if (device !== null) devices.add(device);
      onEvent(atMs);
    }),
    absences(store, untilMs, devices),
    isUsed ? traffic(store, untilMs, rates) : [],
  ]);
}

/** The sessions that were open when the first event happened, then the events. */
function* sessionsAndEvents(
  store: PastStore,
  { untilMs, named }: PastOptions,
  onEvent: (event: Event, atMs: number) => void,
): Iterable<Recorded> {
  let isFirst = true;
  for (const { event, atMs } of events(store, untilMs)) {
    if (isFirst) yield* openSessions(store, atMs, named);
    isFirst = false;
    onEvent(event, atMs);
    const input = inputOfEvent(event, atMs);
    if (input !== null) yield { atMs, input };
  }
}

function* events({ events: stored }: PastStore, untilMs: number): Iterable<FoundEvent> {
  let from: number | null = null;
  for (;;) {
    const found = stored.query({
      order: "oldest",
      from,
      limit: CHUNK,
      type: null,
      publicKey: null,
      sinceMs: null,
      untilMs,
    });
    yield* found;
    if (found.length < CHUNK) return;
    from = found.at(-1)!.seq;
  }
}

/** The sessions that began before a time and were open then. */
function openSessions(
  { sessions }: PastStore,
  atMs: number,
  named: PastOptions["named"],
): Recorded[] {
  const found: Recorded[] = [];
  let from: SessionCursor | null = null;
  for (;;) {
    const rows = sessions.query({
      device: null,
      publicKey: null,
      sinceMs: atMs,
      untilMs: atMs,
      isOpen: null,
      from,
      limit: CHUNK,
    });
    for (const { device, publicKey, endpoint, startedAtMs } of rows) {
      const peer = named(publicKey, device);
      const times = { handshakeAtMs: null, startedAtMs };
      found.push({ atMs, input: { type: "connected", device, peer, endpoint, ...times } });
    }
    if (rows.length < CHUNK) return found;
    from = rows.at(-1)!;
  }
}

/**
 * The times at which wgmon did not run. After each, there is an empty scan of each device, so that the engine watches it
 * again.
 *
 * @param devices the devices in the events until then.
 */
function* absences(
  { totals }: PastStore,
  untilMs: number,
  devices: ReadonlySet<string>,
): Iterable<Recorded> {
  for (const { fromMs, toMs } of totals.gaps(untilMs)) {
    yield { atMs: toMs, input: { type: "away", fromMs, reason: "not-running" } };
    for (const device of devices) {
      yield { atMs: toMs, input: { type: "scan", device, peers: [] } };
    }
  }
}

/** The sums of traffic. Each is just before the end of its slot, so that it counts in the right period of a quota. */
function* traffic(store: PastStore, untilMs: number, rates: readonly Rate[]): Iterable<Recorded> {
  let pending: Recorded[] = [];
  let startMs = -Infinity;
  for (const slot of store.traffic.history()) {
    if (slot.startMs >= untilMs) break;
    if (slot.startMs !== startMs) {
      yield* pending.sort((a, b) => a.atMs - b.atMs);
      pending = [];
      startMs = slot.startMs;
    }
    const { device, publicKey, rxBytes, txBytes, spanMs } = slot;
    const pieces = piecesOf(rxBytes + txBytes, spanMs, rates);
    const part = { rxBytes: rxBytes / pieces, txBytes: txBytes / pieces };
    for (let piece = 1; piece <= pieces; piece++) {
      const atMs = Math.floor(startMs + (spanMs * piece) / pieces) - 1;
      pending.push({ atMs, input: { type: "traffic", device, publicKey, ...part } });
    }
  }
  yield* pending.sort((a, b) => a.atMs - b.atMs);
}

/**
 * The number of pieces, of equal times and bytes, with which a slot does not exceed a rate that it does not reach on
 * average. Most slots are far below it, and one piece is enough.
 */
function piecesOf(bytes: number, spanMs: number, rates: readonly Rate[]): number {
  const bytesPerSecond = (bytes * 1000) / spanMs;
  let pieces = 1;
  for (const { bytesPerSecond: limit, overMs } of rates) {
    for (;;) {
      const part = spanMs / pieces / overMs;
      // The engine counts the bytes of a piece in one moment, together with those of the time before.
      const highest = bytesPerSecond * (part <= 1 ? 1 + part : 2 * part);
      if (highest < limit || part <= 1 / PIECES_OF_SPAN) break;
      pieces *= 2;
    }
  }
  return pieces;
}

/** Merges sequences by time; of equal times, the earlier sequence comes first. */
function* merged(sequences: readonly Iterable<Recorded>[]): Iterable<Recorded> {
  const heads: { readonly iterator: Iterator<Recorded>; recorded: Recorded }[] = [];
  for (const sequence of sequences) {
    const iterator = sequence[Symbol.iterator]();
    const { done, value } = iterator.next();
    if (done !== true) heads.push({ iterator, recorded: value });
  }
  while (heads.length > 0) {
    let first = heads[0]!;
    for (const head of heads) if (head.recorded.atMs < first.recorded.atMs) first = head;
    yield first.recorded;
    const { done, value } = first.iterator.next();
    if (done === true) heads.splice(heads.indexOf(first), 1);
    else first.recorded = value;
  }
}
