/**
 * The page of one peer: its state, its alerts, its history over a range, its latest sessions and its latest events; more
 * than 400 lines because all parts show the same peer over the same range.
 */

import type { AlertView } from "../alerts/alert.ts";
import { showBytes } from "../base/size.ts";
import { percent, shortName } from "../base/text.ts";
import { withoutHostPrefix } from "../base/tunnel-address.ts";
import { keyFromUrl, type PublicKey, urlKey } from "../base/wireguard.ts";
import { isAlert } from "../events/event.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import { eventPlace, isObserved } from "../http/fleet-model.ts";
import type { ReadModel } from "../http/read-model.ts";
import { endpointNameOf, endpointOf, ratesOf, stateOf, transferOf } from "../http/view.ts";
import { ALL_ALERTS } from "../store/alert-rows.ts";
import { type Range, rangeNames, ranges } from "../store/ranges.ts";
import { AlertList } from "./alert-list.tsx";
import { silencesOfPeer } from "./alert-text.ts";
import { AlertsByState } from "./alerts-by-state.ts";
import { ratesPerStep } from "./chart-data.ts";
import { Chart, ProportionBar } from "./charts.tsx";
import { Age, Card, Choice, CopyButton, Fact, Name, None, State, Tags } from "./components.tsx";
import { EventList } from "./events.tsx";
import { address, counted, gatewayAddress, peerAddress, span, speed } from "./format.ts";
import { DEFAULT_RANGE } from "./list.ts";
import type { PageContent } from "./page-content.ts";
import type { PageSnapshot } from "./page-diff.ts";
import type { PeerHistory } from "./peer-history.ts";
import type { RecentAlerts } from "./recent-alerts.ts";
import { SessionTable } from "./sessions.tsx";
import { ALERTS_PATH, SilenceForm, SilenceList, TokenHint } from "./silences.tsx";

const SESSIONS_MAX = 20;
const EVENTS_MAX = 20;
const ALERTS_MAX = 10;
const UPTIMES = ["24h", "7d", "30d"] as const;

interface Context {
  readonly source: ReadModel;
  readonly history: PeerHistory;
  readonly recentAlerts: RecentAlerts;
  readonly snapshot: PageSnapshot;
  /** Whether the client may silence the peer. */
  readonly mayAct: boolean;
}

/** Returns null if there is no such peer. */
export function peer(
  context: Context,
  device: string,
  keyText: string,
  range: Range,
): PageContent | null {
  const { source, snapshot, mayAct } = context;
  const key = keyFromUrl(keyText);
  let found = null;
  for (const each of source.peers(device)) if (each.publicKey === key) found = each;
  if (found === null) return null;
  const { publicKey, allowedIps, lastHandshakeMs, persistentKeepaliveSeconds } = found;
  const session = source.session(device, publicKey);
  const state = stateOf(found, session, isObserved(source, device));
  const transfer = transferOf(found, session);
  const name = shortName(source.nameOf(publicKey, device) ?? "") || null;
  const endpoint = endpointOf(found, session);
  const endpointName = endpointNameOf(source, found, session);
  const rate = ratesOf(source, session);
  const tags = source.tagsOf(publicKey, device);
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
    ...eventPlace({ gateway: null, device }),
    sinceMs: null,
  });
  const fired = source.store.alerts.query({ ...ALL_ALERTS, limit: EVENTS_MAX, device, publicKey });
  const seenMs = session?.lastActivity.wallMs ?? rows[0]?.endedAtMs ?? lastHandshakeMs;
  const to = (each: string) =>
    address(peerAddress(device, publicKey), { range: each === DEFAULT_RANGE ? null : each });
  const mine = {
    peer: urlKey(publicKey),
    // On a hub, a key may be a peer of several gateways.
    host: source.fleet === null ? null : splitDevice(device).gateway,
  };
  return {
    title: name ?? publicKey,
    hasChart: true,
    body: (
      <>
        <div class="head">
          <h1 class={name === null ? "key" : undefined}>
            {name === null ? <code>{publicKey}</code> : <bdi>{name}</bdi>}
          </h1>
          {snapshot.part(
            "state",
            <p id="state">
              <State state={state} />
              {session === null ? null : (
                <>
                  {" for "}
                  <Age ms={session.startedAtMs} snapshot={snapshot} as="for" />
                </>
              )}
              <Tags tags={tags} />
            </p>,
          )}
        </div>
        {snapshot.part(
          "traffic",
          <dl class="tiles" id="traffic">
            <div class="tile card">
              <dt>Traffic now</dt>
              <dd class="pair">
                <span>
                  {rate === null ? <None /> : speed(rate.rxBytesPerSecond)}
                  <small class="dot from">from peer</small>
                </span>
                <span>
                  {rate === null ? <None /> : speed(rate.txBytesPerSecond)}
                  <small class="dot to">to peer</small>
                </span>
              </dd>
            </div>
            <Transfer
              title="This session"
              sums={session === null ? null : transfer.session}
              note={
                state === "unknown"
                  ? "unknown"
                  : session === null
                    ? "not connected"
                    : counted(session.roams, "roam")
              }
            />
            <Transfer
              title="Since it was added"
              sums={transfer.total}
              note="WireGuard's own counters"
            />
            <div class="tile card">
              <dt>Uptime</dt>
              <dd class="uptime">
                {UPTIMES.map((each) => (
                  <Uptime
                    history={context.history}
                    device={device}
                    publicKey={publicKey}
                    range={each}
                  />
                ))}
              </dd>
            </div>
          </dl>,
        )}
        <PeerAlerts
          source={source}
          snapshot={snapshot}
          mayAct={mayAct}
          selectable={{ device, publicKey, name: source.nameOf(publicKey, device), tags }}
        />
        <Card
          titleId="history-title"
          title="History"
          aside={<Choice label="Range of the chart" choices={rangeNames} current={range} to={to} />}
        >
          {snapshot.part(
            "history",
            <div id="history">
              <PeerChart {...context} device={device} publicKey={publicKey} range={range} />
            </div>,
          )}
        </Card>
        <Card titleId="facts-title" title="Properties">
          {snapshot.part(
            "facts",
            <dl id="facts" class="facts">
              <Fact name="Tunnel addresses">
                {allowedIps.length === 0 ? (
                  <None />
                ) : (
                  allowedIps.map((each) => (
                    <span class="line-of">
                      <code>{withoutHostPrefix(each)}</code>{" "}
                      <CopyButton text={withoutHostPrefix(each)} what={`address ${each}`} />
                    </span>
                  ))
                )}
              </Fact>
              <Fact name="Endpoint">
                {endpoint === null ? (
                  <None />
                ) : (
                  <>
                    <code>{endpoint}</code> <CopyButton text={endpoint} what="endpoint" />
                    {endpointName === null ? null : (
                      <div class="sub">
                        <Name text={endpointName} />
                      </div>
                    )}
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
              <Fact name="Device">
                <DeviceName device={device} />
              </Fact>
              <Fact name="Keepalive">
                {persistentKeepaliveSeconds === 0 ? "off" : `every ${persistentKeepaliveSeconds} s`}
              </Fact>
              <Fact name="Public key" isWide={true}>
                <code>{publicKey}</code> <CopyButton text={publicKey} what="public key" />
              </Fact>
            </dl>,
          )}
        </Card>
        <Card titleId="sessions-title" title="Sessions" href={address("/sessions", mine)}>
          <SessionTable
            source={source}
            rows={rows}
            snapshot={snapshot}
            isOnePeer={true}
            current={transfer.session}
          />
        </Card>
        <Card titleId="events-title" title="Events" href={address("/events", mine)}>
          <EventList
            id="events"
            events={events.filter(({ event }) => !isAlert(event))}
            snapshot={snapshot}
            view="peer"
            alerts={{ rows: fired, max: EVENTS_MAX }}
          />
        </Card>
      </>
    ),
  };
}

/** On a hub with a link to the page of the gateway. */
function DeviceName({ device }: { device: string }) {
  const { gateway } = splitDevice(device);
  const name = <Name text={device} />;
  return gateway === null ? name : <a href={gatewayAddress(gateway)}>{name}</a>;
}

/** The alerts about the peer, its silences, and the form to add one. */
function PeerAlerts({
  source,
  snapshot,
  mayAct,
  selectable,
}: Pick<Context, "snapshot" | "mayAct"> & {
  readonly source: ReadModel;
  readonly selectable: Parameters<typeof silencesOfPeer>[0];
}) {
  const { device, publicKey } = selectable;
  const { firing, held, pending, dryRuns } = new AlertsByState(source.alerts);
  const isOwn = ({ subject }: AlertView) =>
    subject.type === "peer" && subject.device === device && subject.publicKey === publicKey;
  const own = [
    ...firing.filter(isOwn),
    ...held.filter(({ alert }) => isOwn(alert)),
    ...pending.filter(isOwn),
  ];
  const address = peerAddress(device, publicKey);
  return (
    <Card
      titleId="alerts-title"
      title="Alerts"
      href={`${ALERTS_PATH}?peer=${urlKey(publicKey)}#past`}
    >
      <AlertList
        id="alerts"
        alerts={own}
        max={ALERTS_MAX}
        dryRuns={dryRuns}
        snapshot={snapshot}
        none="No alert about this peer fires."
        all={ALERTS_PATH}
      />
      <SilenceList
        source={source}
        silences={silencesOfPeer(selectable, source.alerts.silences())}
        snapshot={snapshot}
        next={mayAct ? address : null}
        none=""
      />
      <details>
        <summary class="button">Silence this peer</summary>
        {mayAct ? (
          <SilenceForm
            matchers={[
              { field: "peer", pattern: publicKey },
              { field: "device", pattern: device },
            ]}
            label="Silence"
            next={address}
          />
        ) : (
          <TokenHint />
        )}
      </details>
    </Card>
  );
}

function Transfer({
  title,
  sums,
  note,
}: {
  title: string;
  sums: { readonly rxBytes: number; readonly txBytes: number } | null;
  note: string;
}) {
  return (
    <div class="tile card">
      <dt>{title}</dt>
      <dd class="pair">
        <span>
          {sums === null ? <None /> : showBytes(sums.rxBytes)}
          <small class="dot from">received from peer</small>
        </span>
        <span>
          {sums === null ? <None /> : showBytes(sums.txBytes)}
          <small class="dot to">sent to peer</small>
        </span>
      </dd>
      <dd class="sub">{note}</dd>
    </div>
  );
}

interface UptimeProps {
  readonly history: PeerHistory;
  readonly device: string;
  readonly publicKey: PublicKey;
  readonly range: Range;
}

function Uptime({ history, device, publicKey, range }: UptimeProps) {
  const { spanMs } = ranges[range];
  const uptime = history.uptime(device, publicKey, range);
  const isShort = uptime !== null && uptime.spanMs < spanMs * 0.99;
  return (
    <span title={isShort ? `known for ${span(uptime.spanMs)}` : undefined}>
      <strong>{uptime === null ? <None /> : percent(uptime.fraction)}</strong>
      <ProportionBar parts={[{ hue: "on", value: uptime?.fraction ?? 0 }]} of={1} />
      <small class="sub">
        {range.replace(/\d+/, "$& ")}
        {isShort ? "*" : ""}
      </small>
    </span>
  );
}

function PeerChart({
  history,
  recentAlerts,
  device,
  publicKey,
  range,
}: Pick<Context, "history" | "recentAlerts"> & {
  readonly device: string;
  readonly publicKey: PublicKey;
  readonly range: Range;
}) {
  const past = history.of(device, publicKey, range);
  const rates = (bytes: readonly number[]) =>
    ratesPerStep(history.withGaps(bytes, range), past, past.untilMs);
  const sum = (values: readonly number[]) => showBytes(values.reduce((a, b) => a + b, 0));
  return (
    <Chart
      axis={past}
      connected={past.connected}
      alerts={recentAlerts.of(device, publicKey, past.startMs)}
      summary={
        `last ${range}: connected for ${span(past.connectedMs)}; ` +
        `${sum(past.rxBytes)} received from the peer, ${sum(past.txBytes)} sent to it`
      }
      panels={[
        {
          name: "Traffic",
          unit: "rate",
          height: 150,
          series: [
            { name: "From peer", hue: "from", values: rates(past.rxBytes) },
            { name: "To peer", hue: "to", values: rates(past.txBytes) },
          ],
        },
      ]}
    />
  );
}
