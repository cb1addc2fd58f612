/** Events: the latest ones, or all of them, page by page. */

import { EVENT_TYPES } from "../base/event-types.ts";
import { keyFromUrl, shortKey, urlKey } from "../base/wireguard.ts";
import { describeShort, shortName } from "../channels/formats/message-text.ts";
import type { Event } from "../events/event-schema.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import { At, FilterForm, PeerLink } from "./components.tsx";
import { address } from "./format.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import type { PageContent } from "./view.ts";

const PAGE = 100;

export function events(
  { source, live }: { source: ReadModel; live: PageSnapshot },
  given: URLSearchParams,
): PageContent {
  const type = EVENT_TYPES.find((each) => each === given.get("type")) ?? null;
  const peer = keyFromUrl(given.get("peer") ?? "");
  const before = /^\d{1,15}$/.exec(given.get("before") ?? "")?.[0] ?? null;
  const found = source.store.events.query({
    order: "newest",
    from: before === null ? null : Number(before),
    limit: PAGE + 1,
    type,
    publicKey: peer,
    sinceMs: null,
  });
  const shown = found.slice(0, PAGE);
  const key = peer === null ? null : urlKey(peer);
  const behind = (seq: number | null) =>
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
          live={live}
          all={type === null && peer === null ? null : "/events"}
        />
        {live.part(
          "more",
          <nav id="more" class="pages" aria-label="Pages of events">
            {before === null ? null : <a href={behind(null)}>Latest</a>}
            {found.length > PAGE ? <a href={behind(shown.at(-1)!.seq)}>Older</a> : null}
          </nav>,
        )}
      </>
    ),
  };
}

interface EventListProps {
  readonly id: string;
  readonly events: readonly StoredEvent[];
  readonly live: PageSnapshot;
  /** Address of the events without the filter; omitted or null if there is no filter. */
  readonly all?: string | null;
}

export function EventList({ id, events: shown, live, all = null }: EventListProps) {
  const items = shown.map(({ seq, event }) => eventItem(seq, event, live));
  return (
    <>
      <ol class="events" id={id}>
        {live.list(id, items)}
      </ol>
      {live.part(
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

function eventItem(seq: number, event: Event, live: PageSnapshot): Item {
  const id = `e${seq}`;
  const [, kind] = event.type.split(".");
  return item(id, <li id={id} class={kind}></li>, [
    <At ms={Date.parse(event.timestamp)} live={live} />,
    <span class={`kind ${kind}`}>{kind}</span>,
    <Sentence event={event} />,
  ]);
}

/** The sentence of the log, with the peer's name as a link to its page. */
function Sentence({ event }: { event: Event }) {
  const text = describeShort(event);
  if (!("peer" in event.data)) return <span>{isolated(text)}</span>;
  const { device, peer } = event.data;
  const name = shortName(peer.name ?? "");
  const who = name === "" ? shortKey(peer.publicKey) : name;
  // The text after the name is wgmon's own and needs no isolation.
  if (!text.startsWith(who)) return <span>{isolated(text)}</span>;
  return (
    <span>
      <PeerLink device={device} publicKey={peer.publicKey} name={peer.name} />
      {text.slice(who.length)}
    </span>
  );
}

function isolated(text: string) {
  return <bdi>{text}</bdi>;
}
