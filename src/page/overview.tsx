/** The first page: what is connected, the traffic, what happened, and whether anything is wrong. */

import { showBytes } from "../base/size.ts";
import type { PublicKey } from "../base/wireguard.ts";
import type { ReadModel } from "../http/read-model.ts";
import { viewDevices, viewTargets } from "../http/view.ts";
import { rangeNames } from "../store/ranges.ts";
import { AlertList } from "./alert-list.tsx";
import { AlertsByState } from "./alerts-by-state.ts";
import { ratesPerStep } from "./chart-data.ts";
import { Chart, ProportionBar } from "./charts.tsx";
import { Card, Choice, PeerLink } from "./components.tsx";
import { Devices } from "./devices.tsx";
import { EventList } from "./events.tsx";
import { count, counted } from "./format.ts";
import {
  countByGateway,
  countPeers,
  type GatewaySummary,
  sumOf,
  type Today,
} from "./gateway-summary.ts";
import { GatewayTiles } from "./gateway-tiles.tsx";
import { addressOf, type ListQuery } from "./list.ts";
import type { PageContent } from "./page-content.ts";
import { peerList, type PeerListContext } from "./peer-list.tsx";
import { ALERTS_PATH } from "./silences.tsx";
import { Targets } from "./targets.tsx";
import { Tiles, totalOf } from "./tiles.tsx";

const EVENTS_MAX = 10;
/** Alerts at the top of the page. */
const ALERTS_MAX = 5;
/** On a hub: gateways on the overview. */
const GATEWAYS_MAX = 12;

interface Context extends PeerListContext {
  readonly summary: GatewaySummary;
}

export async function overview(context: Context, query: ListQuery): Promise<PageContent> {
  const { source, summary, snapshot, cost } = context;
  const devices = viewDevices(source);
  const targets = viewTargets(source);
  const alerts = new AlertsByState(source.alerts);
  const byGateway = countByGateway(source);
  const counts = source.fleet === null ? countPeers(source) : sumOf(byGateway.values());
  const today = await summary.today(cost);
  const peers = await peerList(context, query, alerts);
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
        {source.fleet === null ? null : (
          <GatewayTiles
            fleet={source.fleet}
            counts={byGateway}
            snapshot={snapshot}
            max={GATEWAYS_MAX}
          />
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
        {peers}
        <div class="columns last">
          <Card titleId="events-title" title="Latest events" href="/events">
            <EventList id="events" events={events} snapshot={snapshot} />
          </Card>
          <div class="stack">
            <Card titleId="outbox-title" title="Targets" href="/outbox">
              <Targets targets={targets} snapshot={snapshot} />
            </Card>
            {/* A hub shows those of each gateway on its page. */}
            {source.fleet === null ? (
              <Card titleId="devices-title" title="Devices">
                <Devices devices={devices} snapshot={snapshot} />
              </Card>
            ) : null}
          </div>
        </div>
      </>
    ),
  };
}

/** What is wrong with wgmon itself. */
function Warnings({ source }: { source: ReadModel }) {
  const { isInMemory, problem } = source.store;
  const wakeUp = source.wakeUp()?.problem ?? null;
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
