/** The page of all events, and the list of events that other pages contain. */

import { EVENT_TYPES } from "../base/event-types.ts";
import { shortName } from "../base/text.ts";
import { keyFromUrl, shortKey, urlKey } from "../base/wireguard.ts";
import { describeShort } from "../channels/formats/message-text.ts";
import type { Event } from "../events/event-schema.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import { At, FilterForm, PeerLink } from "./components.tsx";
import { address } from "./format.ts";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";

const PAGE_SIZE = 100;

export function events(
  { source, snapshot }: { source: ReadModel; snapshot: PageSnapshot },
  given: URLSearchParams,
): PageContent {
  const type = EVENT_TYPES.find((each) => each === given.get("type")) ?? null;
  const peer = keyFromUrl(given.get("peer") ?? "");
  const before = /^\d{1,15}$/.exec(given.get("before") ?? "")?.[0] ?? null;
  const found = source.store.events.query({
    order: "newest",
    from: before === null ? null : Number(before),
    limit: PAGE_SIZE + 1,
    type,
    publicKey: peer,
    sinceMs: null,
  });
  const shown = found.slice(0, PAGE_SIZE);
  const key = peer === null ? null : urlKey(peer);
  const olderThan = (seq: number | null) =>
    address("/events", { type, peer: key, before: seq === null ? null : String(seq) });
  return {
    title: "Events",
    body: (
      <>
        <h1>Events</h1>
        <FilterForm
          action="/events"
          label="Type"
          name="type"
          choices={EVENT_TYPES}
          chosen={type}
          peer={peer}
        />
        <EventList
          id="events"
          events={shown}
          snapshot={snapshot}
          all={type === null && peer === null ? null : "/events"}
        />
        {snapshot.part(
          "more",
          <nav id="more" class="pages" aria-label="Pages of events">
            {before === null ? null : <a href={olderThan(null)}>Latest</a>}
            {found.length > PAGE_SIZE ? <a href={olderThan(shown.at(-1)!.seq)}>Older</a> : null}
          </nav>,
        )}
      </>
    ),
  };
}

interface EventListProps {
  readonly id: string;
  readonly events: readonly StoredEvent[];
  readonly snapshot: PageSnapshot;
  /** Address of the events without the filter; omitted or null if there is no filter. */
  readonly all?: string | null;
}

export function EventList({ id, events: shown, snapshot, all = null }: EventListProps) {
  const items = shown.map(({ seq, event }) => eventItem(seq, event, snapshot));
  return (
    <>
      <ol class="events" id={id}>
        {snapshot.list(id, items)}
      </ol>
      {snapshot.part(
        `${id}-none`,
        <p id={`${id}-none`} class="empty">
          {items.length > 0 ? null : all === null ? (
            "Nothing has happened yet."
          ) : (
            <>
              No event matches the filter. <a href={all}>Show all events</a>
            </>
          )}
        </p>,
      )}
    </>
  );
}

function eventItem(seq: number, event: Event, snapshot: PageSnapshot): Item {
  const id = `e${seq}`;
  const [, kind] = event.type.split(".");
  return item(id, <li id={id} class={kind}></li>, [
    <At ms={Date.parse(event.timestamp)} snapshot={snapshot} />,
    <span class={`kind ${kind}`}>{kind}</span>,
    <Sentence event={event} />,
  ]);
}

/** The event as the log describes it, with the peer's name as a link to the peer's page. */
function Sentence({ event }: { event: Event }) {
  const text = describeShort(event);
  if (!("peer" in event.data)) return <span>{isolate(text)}</span>;
  const { device, peer } = event.data;
  const name = shortName(peer.name ?? "");
  const nameText = name === "" ? shortKey(peer.publicKey) : name;
  // The text after the name is wgmon's own and needs no isolation.
  if (!text.startsWith(nameText)) return <span>{isolate(text)}</span>;
  return (
    <span>
      <PeerLink device={device} publicKey={peer.publicKey} name={peer.name} />
      {text.slice(nameText.length)}
    </span>
  );
}

function isolate(text: string) {
  return <bdi>{text}</bdi>;
}
