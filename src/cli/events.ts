/** `wgmon events`: prints past events, the latest last, and with --follow also new ones. */

import { createParser, type EventSourceMessage } from "eventsource-parser";

import type { Clock } from "../base/clock.ts";
import { shortTunnelAddress } from "../base/tunnel-address.ts";
import { visible } from "../base/visible.ts";
import type { EventsRequest } from "../config/command-requests.ts";
import { type EventFilter, matchesFilter } from "../events/event-filter.ts";
import type { Event } from "../events/event-schema.ts";
import { gatewayName } from "../fleet/gateway-name.ts";
import { describeOnHub, eventOnHub } from "../http/hub-event.ts";
import type { StatusView, StoredEventView } from "../http/schemas.ts";
import { type ApiReader, ConnectionLost, type DaemonClient, DaemonNotRunning } from "./client.ts";
import { checkDevices, findPeers, type NamedPeers, peerNotFound } from "./find-peers.ts";
import { type Page, PAGE_SIZE, pagesOf, periodOf } from "./history-query.ts";
import { json, localTime, type Output } from "./text.ts";

/** Width of the column of tunnel addresses: that of an IPv4 address and `+1`. */
const ADDRESS_COLUMNS = 15;
/** Delay before each attempt to reconnect. */
const RECONNECT_MS = 500;

interface Options extends Output {
  readonly request: EventsRequest;
  /** Empty: all devices. */
  readonly devices: readonly string[];
  readonly clock: Clock;
}

interface EventsPage extends Page<StoredEventView> {
  /** Sequence number of the latest event of all. */
  readonly latest: number;
}

/**
 * Prints past events.
 *
 * @returns the sequence number of the latest event at the time of the first request (with a limit) or of the last one
 *   (without a limit), after which followEvents() continues; null: standard output is closed.
 * @throws SystemError; ConfigError when there is no such peer or device.
 */
export async function printEvents(api: ApiReader, options: Options): Promise<number | null> {
  const { request, print, clock } = options;
  await checkDevices(api, request.requestedDevices, { allowsPast: true });
  const selection = await selectionOf(api, options);
  const { keys, isName } = selection.named;
  const [type] = request.types;
  const { limit } = request;
  const query = {
    ...periodOf(request, clock.now().wallMs, "events"),
    // The API filters by one device; several are filtered here.
    device: options.devices.length === 1 ? options.devices[0]! : null,
    type: request.types.length === 1 && !type!.endsWith("*") ? type! : null,
    // A name is not resolved to a key, because it selects the events that were reported with this name.
    peer: keys.length === 1 && !isName ? keys[0]! : null,
  };
  let hasFound = false;
  const isWanted = ({ event, host }: StoredEventView) => {
    const matches = matchesFilter(eventOnHub(event, host), selection);
    hasFound ||= matches;
    return matches;
  };
  // For a name, the error depends on the events found: a renamed peer has events with its former name.
  const checkPeer = async () => {
    const { peer } = request;
    if (peer !== null && keys.length === 0 && !hasFound) throw await peerNotFound(api, peer);
  };
  if (!isName) await checkPeer();
  const write = (events: readonly StoredEventView[]) =>
    print(events.map(({ event, host }) => lineOf(event, host, options)).join(""));
  const noteIfNone = () => hasFound || request.json || request.follow || print("no events\n");

  let latest = 0;
  if (limit === null) {
    const all = { ...query, order: "oldest", limit: `${PAGE_SIZE}` };
    for await (const page of pagesOf<EventsPage>(api, "/v1/events", all)) {
      latest = page.latest;
      if (!write(page.items.filter(isWanted))) return null;
    }
    await checkPeer();
    return noteIfNone() ? latest : null;
  }
  const found: StoredEventView[] = [];
  const newest = { ...query, order: "newest", limit: `${Math.min(limit, PAGE_SIZE)}` };
  let isFirst = true;
  for await (const page of pagesOf<EventsPage>(api, "/v1/events", newest)) {
    // followEvents() prints the events that are newer than the first page.
    if (isFirst) latest = page.latest;
    isFirst = false;
    found.push(...page.items.filter(isWanted).slice(0, limit - found.length));
    if (found.length === limit) break;
  }
  await checkPeer();
  return write(found.toReversed()) && noteIfNone() ? latest : null;
}

/**
 * Prints new events, and reconnects when the connection to wgmon is lost. Ends when standard output is closed.
 *
 * @param after a sequence number: events with greater ones are printed.
 * @throws SystemError when wgmon refuses the request.
 */
export async function followEvents(
  daemon: Pick<DaemonClient, "get" | "follow">,
  after: number,
  options: Options & { readonly hasReader: () => boolean },
): Promise<void> {
  const { print, warn, clock, hasReader } = options;
  let position = after;
  let selection: EventFilter | null = null;
  let isLost = false;
  let isHub = false;
  while (hasReader()) {
    try {
      isHub = (await daemon.get<StatusView>("/v1/status")).gateways !== undefined;
      selection ??= await selectionOf(daemon, options);
      const messages: EventSourceMessage[] = [];
      const parser = createParser({ onEvent: (message) => messages.push(message) });
      for await (const chunk of daemon.follow(`/v1/stream?after=${position}`)) {
        if (isLost) warn("connected to wgmon again");
        isLost = false;
        parser.feed(chunk);
        for (const { event: type, id, data } of messages.splice(0)) {
          if (id !== undefined) position = Number(id);
          if (type === "gap") {
            warn("some events were deleted before they could be printed");
            continue;
          }
          const event = JSON.parse(data) as Event;
          // A gateway's name on a hub is made from its host.
          const gateway = isHub ? (gatewayName(event.host) ?? undefined) : undefined;
          const isWanted = matchesFilter(eventOnHub(event, gateway), selection);
          if (isWanted && !print(lineOf(event, gateway, options))) return;
        }
        // The stream sends data at least every ten seconds, so a closed standard output is noticed within this time.
        if (!hasReader()) return;
      }
    } catch (error) {
      if (!(error instanceof DaemonNotRunning || error instanceof ConnectionLost)) throw error;
    }
    if (!isLost) warn("connection to wgmon lost; waiting for it");
    isLost = true;
    await new Promise<void>((resolve) => void clock.after(RECONNECT_MS, resolve));
  }
}

/** Selects a peer by the name that it had at the time of the event, or by its key. */
async function selectionOf(
  api: ApiReader,
  { request, devices }: Options,
): Promise<EventFilter & { readonly named: NamedPeers }> {
  const { peer, types } = request;
  const named = peer === null ? { keys: [], isName: false } : await findPeers(api, peer);
  const peers = peer === null ? [] : [peer, ...named.keys];
  return { events: types, devices, peers, named };
}

/** @param gateway on a hub: the event's. */
function lineOf(event: Event, gateway: string | undefined, { request, paint }: Options): string {
  if (request.json) return `${json(event)}\n`;
  const address = addressOf(event).padEnd(ADDRESS_COLUMNS);
  const time = paint("dim", localTime(event.timestamp));
  return `${time} ${visible(`${address} ${describeOnHub(event, gateway)}`)}\n`;
}

/** The tunnel address of the event's peer; empty if it has none. */
function addressOf({ data }: Event): string {
  return "session" in data ? shortTunnelAddress(data.peer.allowedIps) : "";
}
