/** `wgmon events`: past events, the latest last; with --follow also new ones as they happen. */

import type { Clock } from "../base/clock.ts";
import { visible } from "../base/visible.ts";
import { describeShort } from "../channels/formats/message-text.ts";
import type { EventsRequest } from "../config/command-requests.ts";
import { type EventFilter, matchesFilter } from "../events/event-filter.ts";
import type { Event } from "../events/event-schema.ts";
import type { StoredEventView } from "../http/view.ts";
import { type ApiReader, ConnectionLost, type DaemonClient, DaemonNotRunning } from "./client.ts";
import { checkDevices, findPeers, type NamedPeers, peerNotFound } from "./find-peers.ts";
import { PAGE, type PageQuery, pagesOf, sinceOf } from "./history-query.ts";
import { MessageReader } from "./sse.ts";
import { json, localTime, type Output } from "./text.ts";

/** Delay before wgmon is asked again after it was lost. */
const RETRY_MS = 500;

interface Options extends Output {
  readonly request: EventsRequest;
  /** Empty: all devices. */
  readonly devices: readonly string[];
  readonly clock: Clock;
}

interface EventsPage extends PageQuery<StoredEventView> {
  readonly latest: number;
}

/**
 * Prints past events.
 *
 * @returns the position in the sequence of events up to which the answers are complete; null: the reader of
 *   standard output is gone.
 * @throws SystemError; ConfigError when there is no such peer or device.
 */
export async function printEvents(answers: ApiReader, options: Options): Promise<number | null> {
  const { request, print, clock } = options;
  await checkDevices(answers, request.askedDevices, { hasPast: true });
  const selection = await selectionOf(answers, options);
  const { keys, isName } = selection.named;
  const [type] = request.types;
  const { limit } = request;
  const query = {
    since: sinceOf(request, clock.now().wallMs),
    type: request.types.length === 1 && !type!.endsWith("*") ? type! : null,
    // A name selects the events that were reported under it, whichever peer has the name now.
    peer: keys.length === 1 && !isName ? keys[0]! : null,
  };
  let hasFound = false;
  const isWanted = ({ event }: StoredEventView) => {
    const is = matchesFilter(event, selection);
    hasFound ||= is;
    return is;
  };
  // The events decide whether the name exists, because a renamed peer is found by the name that it had then.
  const checkPeer = async () => {
    const { peer } = request;
    if (peer !== null && keys.length === 0 && !hasFound) throw await peerNotFound(answers, peer);
  };
  if (!isName) await checkPeer();
  const write = (events: readonly StoredEventView[]) =>
    print(events.map(({ event }) => lineOf(event, options)).join(""));

  let latest = 0;
  if (limit === null) {
    const all = { ...query, order: "oldest", limit: `${PAGE}` };
    for await (const page of pagesOf<EventsPage>(answers, "/v1/events", all)) {
      latest = page.latest;
      if (!write(page.items.filter(isWanted))) return null;
    }
    await checkPeer();
    return latest;
  }
  const found: StoredEventView[] = [];
  const newest = { ...query, order: "newest", limit: `${Math.min(limit, PAGE)}` };
  let isFirst = true;
  for await (const page of pagesOf<EventsPage>(answers, "/v1/events", newest)) {
    // Events after the first answer are left to followEvents().
    if (isFirst) latest = page.latest;
    isFirst = false;
    found.push(...page.items.filter(isWanted).slice(0, limit - found.length));
    if (found.length === limit) break;
  }
  await checkPeer();
  return write(found.toReversed()) ? latest : null;
}

/**
 * Prints the events after a position, and reconnects when wgmon was gone. Ends when the reader of standard
 * output is gone.
 *
 * @throws SystemError when wgmon refuses the request.
 */
export async function followEvents(
  daemon: Pick<DaemonClient, "get" | "follow">,
  after: number,
  options: Options & { readonly hasReader: () => boolean },
): Promise<void> {
  const { print, complain, clock, hasReader } = options;
  let place = after;
  let selection: EventFilter | null = null;
  let isLost = false;
  while (hasReader()) {
    try {
      selection ??= await selectionOf(daemon, options);
      const reader = new MessageReader();
      for await (const piece of daemon.follow(`/v1/stream?after=${place}`)) {
        if (isLost) complain("connected to wgmon again");
        isLost = false;
        for (const { type, id, data } of reader.read(piece)) {
          place = Number(id);
          if (type === "gap") {
            complain("some events were deleted before they could be printed");
            continue;
          }
          const event = JSON.parse(data) as Event;
          if (matchesFilter(event, selection) && !print(lineOf(event, options))) return;
        }
        // The stream sends something every ten seconds, so a reader that is gone is noticed in that time.
        if (!hasReader()) return;
      }
    } catch (error) {
      if (!(error instanceof DaemonNotRunning || error instanceof ConnectionLost)) throw error;
    }
    if (!isLost) complain("connection to wgmon lost; waiting for it");
    isLost = true;
    await new Promise<void>((resolve) => void clock.after(RETRY_MS, resolve));
  }
}

/** Selects a peer by the name that it had at the time of the event, or by its key. */
async function selectionOf(
  answers: ApiReader,
  { request, devices }: Options,
): Promise<EventFilter & { readonly named: NamedPeers }> {
  const { peer, types } = request;
  const named = peer === null ? { keys: [], isName: false } : await findPeers(answers, peer);
  const peers = peer === null ? [] : [peer, ...named.keys];
  return { events: types, devices, peers, named };
}

function lineOf(event: Event, { request, paint }: Options): string {
  if (request.json) return `${json(event)}\n`;
  return `${paint("dim", localTime(event.timestamp))} ${visible(describeShort(event))}\n`;
}
