/** On a hub: the page of one gateway, and that of all gateways. */

import { deviceOf } from "../alerts/alert.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import { type GatewayState, lagOf } from "../http/fleet-model.ts";
import { viewDevices } from "../http/view.ts";
import { AlertList } from "./alert-list.tsx";
import { AlertsByState } from "./alerts-by-state.ts";
import { ProportionBar } from "./charts.tsx";
import { Age, Card, Condition, Fact, Name, None } from "./components.tsx";
import { Devices } from "./devices.tsx";
import { EventList } from "./events.tsx";
import { address, count, counted, gatewayAddress, speed } from "./format.ts";
import { countByGateway, countPeers } from "./gateway-summary.ts";
import { GatewayTiles, offsetText } from "./gateway-tiles.tsx";
import type { ListQuery } from "./list.ts";
import type { PageContent } from "./page-content.ts";
import type { PageSnapshot } from "./page-diff.ts";
import { peerList, type PeerListContext } from "./peer-list.tsx";
import { ALERTS_PATH } from "./silences.tsx";
import { othersOf, totalOf } from "./tiles.tsx";

const EVENTS_MAX = 20;
const ALERTS_MAX = 10;

/** All gateways; null: this is not a hub. */
export function gateways({
  source,
  snapshot,
}: Pick<PeerListContext, "source" | "snapshot">): PageContent | null {
  const { fleet } = source;
  if (fleet === null) return null;
  return {
    title: "Gateways",
    body: (
      <>
        <h1 id="gateways-title">Gateways</h1>
        <GatewayTiles
          fleet={fleet}
          counts={countByGateway(source)}
          snapshot={snapshot}
          max={null}
        />
      </>
    ),
  };
}

/** Returns null if there is no such gateway. */
export async function gateway(
  context: PeerListContext,
  name: string,
  given: ListQuery,
): Promise<PageContent | null> {
  const { source, snapshot } = context;
  const found = source.fleet?.gateway(name) ?? null;
  if (found === null) return null;
  const query: ListQuery = { ...given, gateway: name, path: gatewayAddress(name) };
  const isOwn = (device: string | null) => splitDevice(device ?? "").gateway === name;
  const devices = viewDevices(source).filter((each) => isOwn(each.name));
  const alerts = new AlertsByState(source.alerts);
  const firing = [
    ...alerts.firing.filter(({ subject }) => isOwn(deviceOf(subject))),
    ...alerts.held.filter(({ alert: { subject } }) => isOwn(deviceOf(subject))),
  ];
  const peers = await peerList(context, query, alerts);
  const events = source.store.events.query({
    order: "newest",
    from: null,
    limit: EVENTS_MAX,
    type: null,
    publicKey: null,
    gateway: name,
    sinceMs: null,
  });
  const mine = { host: name };
  return {
    title: name,
    body: (
      <>
        <div class="head">
          <h1>
            <Name text={name} />
          </h1>
          {snapshot.part(
            "state",
            <p id="state">
              <Condition condition={found.condition} />
              {" for "}
              <Age ms={found.sinceMs} snapshot={snapshot} as="for" />
            </p>,
          )}
        </div>
        {snapshot.part("problem", <Problem gateway={found} snapshot={snapshot} />)}
        {snapshot.part("tiles", <GatewayFigures context={context} gateway={found} />)}
        <Card titleId="alerts-title" title="Alerts" href={`${address(ALERTS_PATH, mine)}#past`}>
          <AlertList
            id="alerts"
            alerts={firing}
            max={ALERTS_MAX}
            dryRuns={alerts.dryRuns}
            snapshot={snapshot}
            none="No alert of this hub about the gateway fires."
            all={ALERTS_PATH}
          />
        </Card>
        {peers}
        <div class="columns last">
          <Card titleId="events-title" title="Latest events" href={address("/events", mine)}>
            <EventList id="events" events={events} snapshot={snapshot} />
          </Card>
          <div class="stack">
            <Card titleId="facts-title" title="Properties">
              {snapshot.part("facts", <Facts gateway={found} snapshot={snapshot} />)}
            </Card>
            <Card titleId="devices-title" title="Devices">
              <Devices devices={devices} snapshot={snapshot} />
            </Card>
          </div>
        </div>
      </>
    ),
  };
}

/** Why the state of the peers is unknown; empty while the gateway reports. */
function Problem({ gateway, snapshot }: { gateway: GatewayState; snapshot: PageSnapshot }) {
  const { condition, seenMs } = gateway;
  if (condition === "up") return <div id="problem"></div>;
  return (
    <div id="problem">
      <p class="warning">
        {seenMs === null ? (
          "This gateway has not reported yet."
        ) : (
          <>
            {condition === "stopped"
              ? "wgmon on this gateway was stopped. Its last message came "
              : "The last message of this gateway came "}
            <Age ms={seenMs} snapshot={snapshot} as="ago" />
            {". Until it reports again, the state of its peers is unknown."}
          </>
        )}
      </p>
    </div>
  );
}

function GatewayFigures({
  context: { source },
  gateway,
}: {
  context: PeerListContext;
  gateway: GatewayState;
}) {
  const { name, condition } = gateway;
  const isUp = condition === "up";
  const counts = countPeers(
    source,
    source.devices().filter((each) => splitDevice(each.name).gateway === name),
  );
  const total = totalOf(counts);
  const lag = lagOf(gateway);
  const offset = offsetText(gateway);
  return (
    <dl class="tiles" id="tiles">
      <div class="tile card">
        <dt>Connected</dt>
        <dd class="big">
          {isUp ? count(counts.connected) : "?"} <small>of {counted(total, "peer")}</small>
        </dd>
        <dd>
          <ProportionBar parts={[{ hue: "on", value: counts.connected }]} of={total} />
        </dd>
        <dd class="sub">{othersOf(counts)}</dd>
      </div>
      <div class="tile card">
        <dt>Traffic now</dt>
        {!isUp || counts.rates === null ? (
          <dd class="sub">
            {isUp ? "Known after two reports." : "Unknown, because the gateway does not report."}
          </dd>
        ) : (
          <dd class="pair">
            <span>
              {speed(counts.rates.rx)}
              <small class="dot from">from peers</small>
            </span>
            <span>
              {speed(counts.rates.tx)}
              <small class="dot to">to peers</small>
            </span>
          </dd>
        )}
      </div>
      <div class="tile card">
        <dt>Events not here yet</dt>
        <dd class="big">{lag === null ? "?" : count(lag)}</dd>
        <dd class="sub">
          {lag === null
            ? "Known after its first report."
            : lag === 0
              ? "All its events are here."
              : "They follow in order."}
        </dd>
      </div>
      <div class={offset === null ? "tile card" : "tile card warning"}>
        <dt>Clock</dt>
        <dd class="big">{gateway.clockOffsetMs === null ? "?" : (offset ?? "in step")}</dd>
        <dd class="sub">
          {offset === null
            ? "Compared with the clock of this hub."
            : "Times of its peers are corrected, those in its events are not."}
        </dd>
      </div>
    </dl>
  );
}

function Facts({ gateway, snapshot }: { gateway: GatewayState; snapshot: PageSnapshot }) {
  const { host, program, seenMs, startedAtMs, epoch, lastSeq, confirmedSeq } = gateway;
  return (
    <dl id="facts" class="facts">
      <Fact name="Host">{host === null ? <None /> : <Name text={host} />}</Fact>
      <Fact name="Version">{program === null ? <None /> : <Name text={program} />}</Fact>
      <Fact name="Last message">
        {seenMs === null ? <None /> : <Age ms={seenMs} snapshot={snapshot} as="ago" />}
      </Fact>
      <Fact name="Running for">
        {startedAtMs === null ? <None /> : <Age ms={startedAtMs} snapshot={snapshot} as="for" />}
      </Fact>
      <Fact name="Events here">
        {lastSeq === null ? <None /> : `${count(confirmedSeq ?? 0)} of ${count(lastSeq)}`}
      </Fact>
      <Fact name="Epoch">{epoch === null ? <None /> : <code>{epoch}</code>}</Fact>
    </dl>
  );
}
