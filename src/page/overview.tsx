/** The first page: what is connected, the traffic, what happened, and whether anything is wrong. */

import { SEVERITIES } from "../alerts/rule.ts";
import { EVENT_TYPES, type EventType } from "../base/event-types.ts";
import { showBytes } from "../base/size.ts";
import { sanitize, truncate } from "../base/text.ts";
import type { PublicKey } from "../base/wireguard.ts";
import { shortKey } from "../base/wireguard.ts";
import { findPeers } from "../http/peer-query.ts";
import type { ReadModel } from "../http/read-model.ts";
import { type DeviceView, type TargetView } from "../http/schemas.ts";
import { endpointNameOf, ratesOf, viewDevices, viewTargets } from "../http/view.ts";
import { rangeNames } from "../store/ranges.ts";
import { AlertList } from "./alert-list.tsx";
import { AlertsByState } from "./alerts-by-state.ts";
import { ratesPerStep } from "./chart-data.ts";
import { Chart, ProportionBar } from "./charts.tsx";
import { Card, Choice, ListNote, Name, None, PeerLink } from "./components.tsx";
import { EventList } from "./events.tsx";
import { address, count, counted, idOf, speed } from "./format.ts";
import { countPeers, type GatewaySummary, type PeerCounts, type Today } from "./gateway-summary.ts";
import { addressOf, type ListQuery, pageOf } from "./list.ts";
import type { PageContent } from "./page-content.ts";
import { item, type PageSnapshot } from "./page-diff.ts";
import type { PeerHistory } from "./peer-history.ts";
import { FoundNote, peerItem, PeerTable, Search } from "./peer-table.tsx";
import type { RecentAlerts } from "./recent-alerts.ts";
import type { RenderCost } from "./render-cost.ts";
import { ALERTS_PATH } from "./silences.tsx";
import { isInTrouble, Targets } from "./targets.tsx";

const EVENTS_MAX = 10;
/** Alerts at the top of the page. */
const ALERTS_MAX = 5;
/** Length of the labels of the targets in trouble. */
const LABELS_MAX = 80;

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

function totalOf({ connected, disconnected, never }: PeerCounts): number {
  return connected + disconnected + never;
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

function Tiles({
  counts,
  today,
  targets,
  alerts,
}: {
  counts: PeerCounts;
  today: Today;
  targets: readonly TargetView[];
  alerts: AlertsByState;
}) {
  const { connected, disconnected, never, rates } = counts;
  const total = totalOf(counts);
  const eventCount = [...today.events.values()].reduce((sum, each) => sum + each, 0);
  const kinds = EVENT_TYPES.flatMap((type) => {
    const number = today.events.get(type) ?? 0;
    return number === 0 ? [] : [kindText[type](number)];
  });
  const trouble = targets.filter(isInTrouble);
  return (
    <dl class="tiles five" id="tiles">
      <div class="tile card">
        <dt>
          <a href={address("/", { state: "connected" })}>Connected</a>
        </dt>
        <dd class="big">
          {count(connected)} <small>of {counted(total, "peer")}</small>
        </dd>
        <dd>
          <ProportionBar parts={[{ hue: "on", value: connected }]} of={total} />
        </dd>
        <dd class="sub">
          {count(disconnected)} disconnected, {count(never)} never
        </dd>
      </div>
      <div class="tile card">
        <dt>Traffic now</dt>
        {rates === null ? (
          <dd class="sub">Known after two readings of the counters.</dd>
        ) : (
          <dd class="pair">
            <span>
              {speed(rates.rx)}
              <small class="dot from">from peers</small>
            </span>
            <span>
              {speed(rates.tx)}
              <small class="dot to">to peers</small>
            </span>
          </dd>
        )}
        <dd class="sub">
          Today: {showBytes(today.rxBytes)} from, {showBytes(today.txBytes)} to peers
        </dd>
      </div>
      <AlertTile alerts={alerts} />
      <div class="tile card">
        <dt>
          <a href="/events">Events today</a>
        </dt>
        <dd class="big">{count(eventCount)}</dd>
        <dd class="sub">{kinds.length === 0 ? "Nothing has happened today." : kinds.join(", ")}</dd>
      </div>
      <div class={trouble.length === 0 ? "tile card" : "tile card bad"}>
        <dt>
          <a href="/outbox">Targets in trouble</a>
        </dt>
        <dd class="big">
          {count(trouble.length)} <small>of {count(targets.length)}</small>
        </dd>
        <dd class="sub">
          {targets.length === 0
            ? "No target is configured."
            : trouble.length === 0
              ? "All deliver events."
              : truncate(trouble.map(({ label }) => sanitize(label)).join(", "), LABELS_MAX)}
        </dd>
      </div>
    </dl>
  );
}

function AlertTile({
  alerts: { firing, held, pending, counts, hasRules },
}: {
  alerts: AlertsByState;
}) {
  const worst = SEVERITIES.findLast((severity) => counts[severity] > 0) ?? null;
  const others = [
    ...(held.length === 0 ? [] : [`${count(held.length)} held back`]),
    ...(pending.length === 0 ? [] : [`${count(pending.length)} pending`]),
  ];
  return (
    <div class={worst === null ? "tile card alerts" : `tile card alerts ${worst}`}>
      <dt>
        <a href={ALERTS_PATH}>Alerts</a>
      </dt>
      {worst === null ? (
        <dd class="big calm">No alerts</dd>
      ) : (
        <dd class="big">
          {count(firing.length)} <small>firing</small>
        </dd>
      )}
      {worst === null ? null : (
        <dd class="counts">
          {SEVERITIES.toReversed().map((severity) =>
            counts[severity] === 0 ? null : (
              <span class={`severity ${severity}`}>
                {count(counts[severity])} {severity}
              </span>
            ),
          )}
        </dd>
      )}
      {others.length > 0 ? <dd class="sub">{others.join(", ")}</dd> : null}
      {hasRules ? null : <dd class="sub">No rules yet: docs/alerts.md</dd>}
    </div>
  );
}

/** The number of events of a type, in words. */
const kindText: Readonly<Record<EventType, (number: number) => string>> = {
  "peer.connected": (number) => `${count(number)} connected`,
  "peer.roamed": (number) => `${count(number)} roamed`,
  "peer.disconnected": (number) => `${count(number)} disconnected`,
  "handshake.unknown": (number) => counted(number, "unknown handshake"),
  "device.added": (number) => `${counted(number, "device")} added`,
  "device.removed": (number) => `${counted(number, "device")} removed`,
  "alert.firing": (number) => counted(number, "alert"),
  "alert.resolved": (number) => `${count(number)} resolved`,
};

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
