/** The page of all events, and the list of events that other pages contain. */

import { EVENT_TYPES, isKnownType } from "../base/event-types.ts";
import { shortName } from "../base/text.ts";
import { shortKey } from "../base/wireguard.ts";
import type { AlertEvent, Event } from "../events/event-schema.ts";
import { isAlert, signalOf } from "../events/event.ts";
import { deviceOnHub, eventPlace } from "../http/fleet-model.ts";
import { describeOnHub } from "../http/hub-event.ts";
import type { ReadModel } from "../http/read-model.ts";
import type { AlertRecord } from "../store/alert-rows.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import { AlertLink } from "./alert-list.tsx";
import { Addresses, Age, At, ListNote, Name, PeerLink } from "./components.tsx";
import { idOf } from "./format.ts";
import { readFilter } from "./history-filter.tsx";
import { HistoryPage } from "./history-page.tsx";
import type { PageContent } from "./page-content.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";

const PAGE_SIZE = 100;
const PATH = "/events";
const kinds = { name: "type", label: "Type", choices: EVENT_TYPES } as const;

export function events(
  { source, snapshot }: { source: ReadModel; snapshot: PageSnapshot },
  given: URLSearchParams,
): PageContent {
  const filter = readFilter(source, given, kinds);
  const before = /^\d{1,15}$/.exec(given.get("before") ?? "")?.[0] ?? null;
  const { parameters, publicKey, sinceMs, untilMs } = filter;
  const found =
    filter.candidates !== null
      ? []
      : source.store.events.query({
          order: "newest",
          from: before === null ? null : Number(before),
          limit: PAGE_SIZE + 1,
          type: parameters.kind,
          ...eventPlace(filter.place),
          publicKey,
          sinceMs,
          untilMs,
        });
  const shown = found.slice(0, PAGE_SIZE);
  return {
    title: "Events",
    body: (
      <HistoryPage
        title="Events"
        source={source}
        filter={filter}
        path={PATH}
        kinds={kinds}
        snapshot={snapshot}
        isLatest={before === null}
        older={found.length > PAGE_SIZE ? String(shown.at(-1)!.seq) : null}
      >
        <EventList
          id="events"
          events={shown}
          snapshot={snapshot}
          all={filter.isActive || before !== null ? PATH : null}
          view="full"
        />
      </HistoryPage>
    ),
  };
}

type View = "short" | "full" | "peer";

interface EventListProps {
  readonly id: string;
  readonly events: readonly StoredEvent[];
  readonly snapshot: PageSnapshot;
  /** Address of the events without the filter; omitted or null if there is no filter. */
  readonly all?: string | null;
  /** full: with times instead of ages, and the addresses of peers. peer: all events are of one peer, without its name. */
  readonly view?: View;
  /** Alerts whose beginning and end are shown among the events; then at most as many lines as `max`. */
  readonly alerts?: { readonly rows: readonly AlertRecord[]; readonly max: number };
}

export function EventList({
  id,
  events: shown,
  snapshot,
  all = null,
  view = "short",
  alerts,
}: EventListProps) {
  const own = shown.map((stored) => ({
    ms: Date.parse(stored.event.timestamp),
    item: () => eventItem(stored, snapshot, view),
  }));
  const lines =
    alerts === undefined
      ? own
      : [...own, ...alerts.rows.flatMap((row) => alertLines(row, snapshot))]
          .sort((a, b) => b.ms - a.ms)
          .slice(0, alerts.max);
  const items = lines.map((line) => line.item());
  return (
    <>
      <ol class={view === "full" ? "events full" : "events"} id={id}>
        {snapshot.list(id, items)}
      </ol>
      <ListNote list={id} snapshot={snapshot}>
        {items.length > 0 ? null : all === null ? (
          "Nothing has happened yet."
        ) : (
          <>
            No events match the filter. <a href={all}>Show all events</a>
          </>
        )}
      </ListNote>
    </>
  );
}

function eventItem({ seq, event, gateway }: StoredEvent, snapshot: PageSnapshot, view: View): Item {
  const id = `e${seq}`;
  const ms = Date.parse(event.timestamp);
  return item(id, <li id={id}></li>, [
    <span class={`sign ${signOf(event)}`}></span>,
    <Sentence event={event} gateway={gateway} view={view} />,
    view === "full" ? (
      <At ms={ms} snapshot={snapshot} />
    ) : (
      <Age ms={ms} snapshot={snapshot} as="ago" />
    ),
  ]);
}

/** When an alert fired, and when it was resolved. */
function alertLines(row: AlertRecord, snapshot: PageSnapshot) {
  const { id, rule, severity, sentence, firedAtMs, resolvedAtMs } = row;
  const line = (what: "fired" | "resolved", ms: number) => ({
    ms,
    item: () => {
      const lineId = idOf("f", id, what);
      // The sentence of a resolved alert is that of its end.
      const isLatest = (what === "fired") === (resolvedAtMs === null);
      return item(lineId, <li id={lineId}></li>, [
        <span class={`sign ${what === "fired" ? severity : what}`}></span>,
        <span>
          <AlertLink id={id} sentence={isLatest ? sentence : `alert of rule ${rule} fired`} />
          <small class="sub">
            {what === "fired" ? `${severity} alert` : "alert resolved"}
            {isLatest ? (
              <>
                {", rule "}
                <Name text={rule} />
              </>
            ) : null}
          </small>
        </span>,
        <Age ms={ms} snapshot={snapshot} as="ago" />,
      ]);
    },
  });
  return [
    line("fired", firedAtMs),
    ...(resolvedAtMs === null ? [] : [line("resolved", resolvedAtMs)]),
  ];
}

/** The class of the event's sign: the second part of its type, or the severity of an alert. */
function signOf(event: Event): string {
  return isAlert(event) ? signalOf(event) : event.type.split(".")[1]!;
}

interface SentenceProps {
  readonly event: Event;
  /** On a hub: the event's gateway. */
  readonly gateway: string | undefined;
  readonly view: View;
}

/** The event as the log describes it, with the peer's name as a link to the peer's page. */
function Sentence(props: SentenceProps) {
  const { event, gateway, view } = props;
  const text = describeOnHub(event, gateway);
  if (isAlert(event)) return <AlertSentence {...props} event={event} text={text} />;
  if (!("peer" in event.data) || !isKnownType(event.type)) return <span>{isolate(text)}</span>;
  const { peer } = event.data;
  const device = deviceOnHub(event.data.device, gateway);
  const name = shortName(peer.name ?? "");
  const nameText = name === "" ? shortKey(peer.publicKey) : name;
  // The text after the name is wgmon's own and needs no isolation.
  if (!text.startsWith(nameText)) return <span>{isolate(text)}</span>;
  const rest = text.slice(nameText.length);
  const withoutDevice = rest.startsWith(` (${shortName(device)}) `)
    ? rest.slice(shortName(device).length + 4)
    : rest;
  if (view === "peer") return <span>{withoutDevice}</span>;
  return (
    <span>
      <PeerLink device={device} publicKey={peer.publicKey} name={peer.name} />
      {rest}
      {view === "full" && peer.allowedIps.length > 0 ? (
        <small>
          {" "}
          <Addresses allowedIps={peer.allowedIps} />
        </small>
      ) : null}
    </span>
  );
}

/** The name of the alert's peer is within the text: `critical: alice (wg0) is down ...`. */
function AlertSentence({
  event,
  gateway,
  text,
  view,
}: SentenceProps & { readonly event: AlertEvent; readonly text: string }) {
  const { peer } = event.data;
  const device = event.data.device === null ? null : deviceOnHub(event.data.device, gateway);
  if (peer === null || device === null || view === "peer") return <span>{isolate(text)}</span>;
  const name = shortName(peer.name ?? "");
  const nameText = name === "" ? shortKey(peer.publicKey) : name;
  const start = text.indexOf(`${nameText} (${shortName(device)}) `);
  if (start === -1) return <span>{isolate(text)}</span>;
  return (
    <span>
      {text.slice(0, start)}
      <PeerLink device={device} publicKey={peer.publicKey} name={peer.name} />
      {isolate(text.slice(start + nameText.length))}
    </span>
  );
}

function isolate(text: string) {
  return <bdi>{text}</bdi>;
}
