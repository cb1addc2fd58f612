/** On a hub: the gateways as tiles. Those that need attention come first. */

import { type FleetModel, type GatewayState, lagOf, standbyText } from "../http/fleet-model.ts";
import type { PeerCounts } from "../http/peer-lists.ts";
import { ProportionBar } from "./charts.tsx";
import { Age, Condition, ListNote, Name } from "./components.tsx";
import { count, counted, gatewayAddress, idOf, span, speed } from "./format.ts";
import { type Item, item, type PageSnapshot } from "./page-diff.ts";
import { othersOf, totalOf } from "./tiles.tsx";

export const GATEWAYS_PATH = "/gateways";
/** A smaller difference of the clocks is not shown: it contains the time that a message takes. */
const OFFSET_SHOWN_MS = 2000;
/** The conditions in the order in which the tiles are shown. */
const order = ["lost", "waiting", "stopped", "up"] as const;

interface GatewayTilesProps {
  readonly fleet: FleetModel;
  /** By the name of the gateway. */
  readonly counts: ReadonlyMap<string, PeerCounts>;
  readonly snapshot: PageSnapshot;
  /** Most tiles; null: all. */
  readonly max: number | null;
}

export function GatewayTiles({ fleet, counts, snapshot, max }: GatewayTilesProps) {
  const all = fleet.gateways().toSorted((a, b) => rankOf(a) - rankOf(b));
  const shown = max === null ? all : all.slice(0, max);
  const items = shown.map((each) =>
    tileOf(each, { counts: counts.get(each.name) ?? null, snapshot, isAlone: max === null }),
  );
  const more = all.length - shown.length;
  const standby = standbyText(fleet.role());
  return (
    <section class="gateways" aria-labelledby="gateways-title">
      {max === null ? null : (
        <h2 id="gateways-title">
          <a href={GATEWAYS_PATH}>Gateways</a>
        </h2>
      )}
      {standby === null ? null : <p class="problem">{standby}</p>}
      <ul id="gateways">{snapshot.list("gateways", items)}</ul>
      <ListNote list="gateways" snapshot={snapshot}>
        {all.length === 0 ? (
          <>
            No gateway is enrolled yet: <code>wgmon hub enroll NAME</code>, and docs/fleet.md.
          </>
        ) : more === 0 ? null : (
          <a href={GATEWAYS_PATH}>and {count(more)} more</a>
        )}
      </ListNote>
    </section>
  );
}

function rankOf({ condition }: GatewayState): number {
  return order.indexOf(condition);
}

interface TileData {
  readonly counts: PeerCounts | null;
  readonly snapshot: PageSnapshot;
  /** Whether the tiles are all that the page has: then no heading is above theirs. */
  readonly isAlone: boolean;
}

function tileOf(gateway: GatewayState, { counts, snapshot, isAlone }: TileData): Item {
  const { name, condition, sinceMs } = gateway;
  const id = idOf("g", name);
  const link = (
    <a href={gatewayAddress(name)}>
      <Name text={name} />
    </a>
  );
  return item(id, <li id={id} class={`tile card ${condition}`}></li>, [
    isAlone ? <h2>{link}</h2> : <h3>{link}</h3>,
    <p class="sub">
      <Condition condition={condition} />{" "}
      {condition === "waiting" ? null : <Age ms={sinceMs} snapshot={snapshot} as="for" />}
    </p>,
    <ConnectedOf gateway={gateway} counts={counts} />,
    <p class="sub">{counts === null || condition !== "up" ? "" : trafficOf(counts)}</p>,
    <p class="sub problem">{problemsOf(gateway).join(", ")}</p>,
  ]);
}

/** How many of its peers are connected, as far as it is known. */
function ConnectedOf({
  gateway: { condition, peers, seenMs },
  counts,
}: {
  gateway: GatewayState;
  counts: PeerCounts | null;
}) {
  if (counts === null || condition !== "up") {
    return (
      <p class="sub">
        {seenMs === null ? "It has not reported yet." : `${counted(peers, "peer")}, state unknown`}
      </p>
    );
  }
  const { connected } = counts;
  const total = totalOf(counts);
  return (
    <p title={othersOf(counts)}>
      <strong>{count(connected)}</strong> <small class="sub">of {counted(total, "peer")}</small>
      <ProportionBar parts={[{ hue: "on", value: connected }]} of={total} />
    </p>
  );
}

function trafficOf({ rates }: PeerCounts): string {
  return rates === null ? "" : `${speed(rates.rx)} from, ${speed(rates.tx)} to peers`;
}

/** What is worth knowing of a gateway besides its condition; empty if all is well. */
function problemsOf(gateway: GatewayState): string[] {
  const lag = lagOf(gateway);
  const offset = offsetText(gateway);
  return [
    ...(lag === null || lag === 0 ? [] : [`${counted(lag, "event")} behind`]),
    ...(offset === null ? [] : [`clock ${offset}`]),
  ];
}

/** `3s ahead`; null: the clocks differ by less than two seconds, or it is unknown. */
export function offsetText({ clockOffsetMs }: GatewayState): string | null {
  if (clockOffsetMs === null || Math.abs(clockOffsetMs) <= OFFSET_SHOWN_MS) return null;
  return `${span(Math.abs(clockOffsetMs))} ${clockOffsetMs > 0 ? "ahead" : "behind"}`;
}
