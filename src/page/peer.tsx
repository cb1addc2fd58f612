/** The page of one peer: its properties, its last 24 hours, its latest sessions and its latest events. */

import { shortName } from "../base/text.ts";
import { keyFromUrl, urlKey } from "../base/wireguard.ts";
import type { ReadModel } from "../http/read-model.ts";
import { endpointOf, ratesOf, stateOf } from "../http/view.ts";
import { Timeline } from "./charts.tsx";
import { Age, Name, None, State } from "./components.tsx";
import { EventList } from "./events.tsx";
import { bytes } from "./format.ts";
import type { PageContent } from "./page-content.ts";
import type { PageSnapshot } from "./page-diff.ts";
import type { PeerHistory } from "./peer-history.ts";
import { SessionTable } from "./sessions.tsx";

const SESSIONS_MAX = 20;
const EVENTS_MAX = 20;

interface Context {
  readonly source: ReadModel;
  readonly history: PeerHistory;
  readonly snapshot: PageSnapshot;
}

/** Returns null if there is no such peer. */
export function peer(context: Context, device: string, keyText: string): PageContent | null {
  const { source, history, snapshot } = context;
  const key = keyFromUrl(keyText);
  let found = null;
  for (const each of source.peers(device)) if (each.publicKey === key) found = each;
  if (found === null) return null;
  const { publicKey, allowedIps, lastHandshakeMs, rxBytes, txBytes } = found;
  const { persistentKeepaliveSeconds } = found;
  const session = source.session(device, publicKey);
  const state = stateOf(found, session);
  const name = shortName(source.nameOf(publicKey, device) ?? "") || null;
  const endpoint = endpointOf(found, session);
  const rate = ratesOf(source, session);
  const day = history.of(device, publicKey);
  const tags = source.tagsOf(publicKey);
  const speed = (value: number) => `${bytes(value)}/s`;
  const rows = source.store.sessions.query({
    device,
    publicKey,
    sinceMs: null,
    isOpen: null,
    from: null,
    limit: SESSIONS_MAX,
  });
  const events = source.store.events.query({
    order: "newest",
    from: null,
    limit: EVENTS_MAX,
    type: null,
    publicKey,
    sinceMs: null,
  });
  const seenMs = session?.lastActivity.wallMs ?? day.lastEndMs;
  return {
    title: name ?? publicKey,
    body: (
      <>
        <p class="path">
          <a href="/">Peers</a>
        </p>
        <h1 class={name === null ? "key" : undefined}>
          {name === null ? <code>{publicKey}</code> : <bdi>{name}</bdi>}
        </h1>
        {snapshot.part(
          "facts",
          <dl id="facts">
            <Fact name="State">
              <State state={state} />
              {session === null ? null : (
                <>
                  {" for "}
                  <Age ms={session.startedAtMs} snapshot={snapshot} as="for" />
                </>
              )}
            </Fact>
            <Fact name="Last activity">
              {seenMs === null ? <None /> : <Age ms={seenMs} snapshot={snapshot} as="ago" />}
            </Fact>
            <Fact name="Last handshake">
              {lastHandshakeMs === null ? (
                <None />
              ) : (
                <Age ms={lastHandshakeMs} snapshot={snapshot} as="ago" />
              )}
            </Fact>
            <Fact name="Endpoint">{endpoint === null ? <None /> : <code>{endpoint}</code>}</Fact>
            <Fact name="Receives now">
              {rate === null ? <None /> : speed(rate.rxBytesPerSecond)}
            </Fact>
            <Fact name="Sends now">{rate === null ? <None /> : speed(rate.txBytesPerSecond)}</Fact>
            <Fact name="This session">
              {session === null ? (
                <None />
              ) : (
                `${bytes(session.rxBytes)} received, ${bytes(session.txBytes)} sent, ${session.roams} roams`
              )}
            </Fact>
            <Fact name="Since it was added">
              {`${bytes(rxBytes)} received, ${bytes(txBytes)} sent`}
            </Fact>
            <Fact name="Device">
              <Name text={device} />
            </Fact>
            <Fact name="Allowed IPs">
              {allowedIps.length === 0 ? <None /> : <code>{allowedIps.join(", ")}</code>}
            </Fact>
            <Fact name="Public key">
              <code>{publicKey}</code>
            </Fact>
            <Fact name="Keepalive">
              {persistentKeepaliveSeconds === 0 ? "off" : `every ${persistentKeepaliveSeconds} s`}
            </Fact>
            {tags.length === 0 ? null : (
              <Fact name="Tags">
                {tags.map((tag) => (
                  <span class="tag">
                    <bdi>{shortName(tag)}</bdi>
                  </span>
                ))}
              </Fact>
            )}
          </dl>,
        )}
        <h2>Last 24 hours</h2>
        {snapshot.part(
          "past",
          <div id="past">
            <Timeline day={day} />
          </div>,
        )}
        <h2>
          <a href={`/sessions?peer=${urlKey(publicKey)}`}>Sessions</a>
        </h2>
        <SessionTable source={source} rows={rows} snapshot={snapshot} isOnePeer={true} />
        <h2>
          <a href={`/events?peer=${urlKey(publicKey)}`}>Events</a>
        </h2>
        <EventList id="events" events={events} snapshot={snapshot} />
      </>
    ),
  };
}

function Fact({ name, children }: { name: string; children: unknown }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children as string}</dd>
    </div>
  );
}
