/** The first page: what is connected, the traffic, what happened, and whether anything is wrong. */

import { showBytes } from "../base/size.ts";
import type { PublicKey } from "../base/wireguard.ts";
import { shortKey } from "../base/wireguard.ts";
import { findPeers } from "../http/peer-query.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type DeviceView } from "../http/schemas.ts";
import { endpointNameOf, ratesOf, viewDevices, viewTargets } from "../http/view.ts";
import { rangeNames } from "../store/ranges.ts";
import { AlertList } from "./alert-list.tsx";
import { AlertsByState } from "./alerts-by-state.ts";
import { ratesPerStep } from "./chart-data.ts";
import { Chart, ProportionBar } from "./charts.tsx";
import { Card, Choice, ListNote, Name, None, PeerLink } from "./components.tsx";
import { EventList } from "./events.tsx";
import { address, count, counted, idOf } from "./format.ts";
import { countPeers, type GatewaySummary, type Today } from "./gateway-summary.ts";
import { addressOf, type ListQuery, pageOf } from "./list.ts";
import type { PageContent } from "./page-content.ts";
import { item, type PageSnapshot } from "./page-diff.ts";
import type { PeerHistory } from "./peer-history.ts";
import { FoundNote, peerItem, PeerTable, Search } from "./peer-table.tsx";
import type { RecentAlerts } from "./recent-alerts.ts";
import type { RenderCost } from "./render-cost.ts";
import { ALERTS_PATH } from "./silences.tsx";
import { Targets } from "./targets.tsx";
import { Tiles, totalOf } from "./tiles.tsx";

const EVENTS_MAX = 10;
/** Alerts at the top of the page. */
const ALERTS_MAX = 5;

interface Context {
  readonly source: ReadModel;
  readonly history: PeerHistory;
  readonly summary: GatewaySummary;
  readonly recentAlerts: RecentAlerts;
  readonly snapshot: PageSnapshot;
  readonly cost: RenderCost;
}

export async function overview(context: Context, query: ListQuery): Promise<PageContent> {
  const { source, history, summary, recentAlerts, snapshot, cost } = context;
  const devices = viewDevices(source);
  const targets = viewTargets(source);
  const alerts = new AlertsByState(source.alerts);
  const counts = countPeers(source);
  const today = await summary.today(cost);
  const found = pageOf(findPeers(source, query), query.page);
  const days = await history.daysOf(
    found.rows.map(({ device, peer }) => ({ device, publicKey: peer.publicKey })),
    cost,
  );
  const rows = found.rows.map((row, index) => {
    const alert = alerts.of(row.device, row.peer.publicKey);
    return peerItem(row, {
      snapshot,
      alert,
      alerts: recentAlerts.dayOf(row.device, row.peer.publicKey, alert),
      day: days[index]!,
      rate: ratesOf(source, row.session),
      tags: source.tagsOf(row.peer.publicKey),
      endpointName: endpointNameOf(source, row.peer, row.session),
    });
  });
  const events = source.store.events.query({
    order: "newest",
    from: null,
    limit: EVENTS_MAX,
    type: null,
    publicKey: null,
    sinceMs: null,
  });
  const title = [
    `${count(counts.connected)} of ${counted(totalOf(counts), "peer")} connected`,
    ...(alerts.firing.length === 0 ? [] : [counted(alerts.firing.length, "alert")]),
  ].join(", ");
  return {
    title,
    hasChart: true,
    body: (
      <>
        <h1 class="unseen">Overview</h1>
        {snapshot.part("warnings", <Warnings source={source} />)}
        {/* Not shown while the list is empty. */}
        <section class="card now" aria-labelledby="firing-title">
          <div class="head">
            <h2 id="firing-title">
              <a href={ALERTS_PATH}>Alerts</a>
            </h2>
          </div>
          <AlertList
            id="firing"
            alerts={[...alerts.firing, ...alerts.held]}
            max={ALERTS_MAX}
            dryRuns={alerts.dryRuns}
            snapshot={snapshot}
            all={ALERTS_PATH}
          />
        </section>
        {snapshot.part(
          "tiles",
          <Tiles counts={counts} today={today} targets={targets} alerts={alerts} />,
        )}
        <div class="columns stretch">
          <Card
            titleId="chart-title"
            title="Connected peers and traffic"
            aside={snapshot.part(
              "ranges",
              <div id="ranges">
                <Choice
                  label="Range of the chart"
                  choices={rangeNames}
                  current={query.range}
                  to={(range) => addressOf({ ...query, range: range as ListQuery["range"] })}
                />
              </div>,
            )}
          >
            {snapshot.part(
              "chart",
              <div id="chart">
                <GatewayChartView {...context} range={query.range} />
              </div>,
            )}
          </Card>
          <Card titleId="top-title" title="Most traffic today" className="later">
            {snapshot.part("top", <Top today={today} source={source} />)}
          </Card>
        </div>
        <section class="card" aria-labelledby="peers-title">
          <div class="head">
            <h2 id="peers-title">Peers</h2>
            <Search query={query} devices={devices.map(({ name }) => name)} />
          </div>
          <PeerTable
            rows={rows}
            query={query}
            hasDevices={devices.length > 1}
            snapshot={snapshot}
          />
          {snapshot.part(
            "found",
            <FoundNote found={found} query={query} hasDevices={devices.length > 0} />,
          )}
        </section>
        <div class="columns last">
          <Card titleId="events-title" title="Latest events" href="/events">
            <EventList id="events" events={events} snapshot={snapshot} />
          </Card>
          <div class="stack">
            <Card titleId="outbox-title" title="Targets" href="/outbox">
              <Targets targets={targets} snapshot={snapshot} />
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

/** What is wrong with wgmon itself. */
function Warnings({ source }: { source: ReadModel }) {
  const { isInMemory, problem } = source.store;
  const wakeUp = source.wakeUp().problem;
  return (
    <div id="warnings" class="stack">
      {isInMemory ? (
        <p class="warning">
          The store is in memory only and is lost at a restart
          {problem === null ? "" : `: ${problem}`}.
        </p>
      ) : null}
      {wakeUp === null ? null : <p class="warning">{`Packets do not wake wgmon: ${wakeUp}`}</p>}
    </div>
  );
}

function GatewayChartView({
  summary,
  range,
}: Pick<Context, "summary"> & { readonly range: ListQuery["range"] }) {
  const chart = summary.chart(range);
  const { startMs, stepMs, connected, untilMs } = chart;
  const axis = { startMs, stepMs, steps: connected.length };
  const most = Math.max(0, ...connected.map((value) => value ?? 0));
  const rates = (values: readonly (number | null)[]) => ratesPerStep(values, axis, untilMs);
  return (
    <Chart
      axis={axis}
      summary={`last ${range}: at most ${counted(most, "peer")} connected`}
      panels={[
        {
          name: "Connected peers",
          unit: "count",
          height: 72,
          series: [{ name: "Connected", hue: "on", values: connected }],
        },
        {
          name: "Traffic",
          unit: "rate",
          height: 150,
          series: [
            { name: "From peers", hue: "from", values: rates(chart.rxBytes) },
            { name: "To peers", hue: "to", values: rates(chart.txBytes) },
          ],
        },
      ]}
    />
  );
}

function Top({ today: { top }, source }: { today: Today; source: ReadModel }) {
  const sumOf = ({ rxBytes, txBytes }: (typeof top)[number]) => rxBytes + txBytes;
  const most = top[0] === undefined ? 0 : sumOf(top[0]);
  if (most === 0) {
    return (
      <p id="top" class="empty">
        No traffic is recorded today yet.
      </p>
    );
  }
  return (
    <ol class="ranks" id="top">
      {top.map((each) => {
        const { device, publicKey, rxBytes, txBytes } = each;
        const name = source.nameOf(publicKey as PublicKey, device);
        return (
          <li>
            <PeerLink device={device} publicKey={publicKey} name={name} />
            <span class="number">{showBytes(sumOf(each))}</span>
            <ProportionBar
              parts={[
                { hue: "from", value: rxBytes },
                { hue: "to", value: txBytes },
              ]}
              of={most}
            />
            <span class="sub">
              {showBytes(rxBytes)} from peer, {showBytes(txBytes)} to peer
            </span>
          </li>
        );
      })}
    </ol>
  );
}

function Devices({
  devices,
  snapshot,
}: {
  devices: readonly DeviceView[];
  snapshot: PageSnapshot;
}) {
  const rows = devices.map(({ name, publicKey, listenPort, peers, connected }) => {
    const id = idOf("d", name);
    return item(id, <tr id={id}></tr>, [
      <th scope="row">
        <a href={address("/", { device: name })}>
          <Name text={name} />
        </a>
      </th>,
      <td class="number">{listenPort === 0 ? <None /> : listenPort}</td>,
      <td class="number">
        {count(connected)} of {count(peers)}
      </td>,
      <td>
        {publicKey === null ? <None /> : <code title={publicKey}>{shortKey(publicKey)}</code>}
      </td>,
    ]);
  });
  return (
    <>
      <table>
        <caption class="unseen">Devices</caption>
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col" class="number">
              Port
            </th>
            <th scope="col" class="number">
              Connected
            </th>
            <th scope="col">Public key</th>
          </tr>
        </thead>
        <tbody id="devices">{snapshot.list("devices", rows)}</tbody>
      </table>
      <ListNote list="devices" snapshot={snapshot}>
        {rows.length === 0 ? "None yet." : ""}
      </ListNote>
    </>
  );
}
