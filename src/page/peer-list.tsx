/** The list of peers with its search form: of all gateways or devices on the overview, of one on the page of a gateway. */

import { splitDevice } from "../fleet/gateway-name.ts";
import { matchPeers } from "../http/peer-query.ts";
import type { ReadModel } from "../http/read-model.ts";
import { endpointNameOf, ratesOf } from "../http/view.ts";
import type { AlertsByState } from "./alerts-by-state.ts";
import { type ListQuery, pageOf } from "./list.ts";
import type { PageSnapshot } from "./page-diff.ts";
import type { PeerHistory } from "./peer-history.ts";
import { FoundNote, peerItem, PeerTable, Search } from "./peer-table.tsx";
import type { RecentAlerts } from "./recent-alerts.ts";
import type { RenderCost } from "./render-cost.ts";

export interface PeerListContext {
  readonly source: ReadModel;
  readonly history: PeerHistory;
  readonly recentAlerts: RecentAlerts;
  readonly snapshot: PageSnapshot;
  readonly cost: RenderCost;
}

export async function peerList(context: PeerListContext, query: ListQuery, alerts: AlertsByState) {
  const { source, history, recentAlerts, snapshot, cost } = context;
  const { gateway, path } = query;
  const found = pageOf(matchPeers(source, query), query.page);
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
      tags: source.tagsOf(row.peer.publicKey, row.device),
      endpointName: endpointNameOf(source, row.peer, row.session),
    });
  });
  const all = source.devices().map(({ name }) => name);
  const devices = gateway === undefined ? all : all.filter((each) => isOf(each, gateway));
  const { fleet } = source;
  return (
    <section class="card" aria-labelledby="peers-title">
      <div class="head">
        <h2 id="peers-title">Peers</h2>
        {/* An update does not contain the form. */}
        {snapshot.nowMs === null ? null : (
          <Search
            query={query}
            // Those of all gateways would be too many to choose from.
            devices={fleet !== null && gateway === undefined ? [] : devices}
            gateways={
              fleet === null || path !== undefined ? [] : fleet.gateways().map(({ name }) => name)
            }
          />
        )}
      </div>
      <PeerTable rows={rows} query={query} hasDevices={devices.length > 1} snapshot={snapshot} />
      {snapshot.part(
        "found",
        <FoundNote found={found} query={query} hasDevices={devices.length > 0} />,
      )}
    </section>
  );
}

function isOf(device: string, gateway: string | null): boolean {
  return splitDevice(device).gateway === gateway;
}
