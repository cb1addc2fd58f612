/** The tiles of the overview: connected peers, traffic, alerts, events of today, targets in trouble. */

import { SEVERITIES } from "../alerts/rule.ts";
import { EVENT_TYPES, type EventType } from "../base/event-types.ts";
import { showBytes } from "../base/size.ts";
import { sanitize, truncate } from "../base/text.ts";
import type { PeerCounts } from "../http/peer-lists.ts";
import type { TargetView } from "../http/schemas.ts";
import type { AlertsByState } from "./alerts-by-state.ts";
import { ProportionBar } from "./charts.tsx";
import { address, count, counted, speed } from "./format.ts";
import type { Today } from "./gateway-summary.ts";
import { ALERTS_PATH } from "./silences.tsx";
import { isInTrouble } from "./targets.tsx";

/** Length of the labels of the targets in trouble. */
const LABELS_MAX = 80;

export function totalOf({ connected, disconnected, never, unknown }: PeerCounts): number {
  return connected + disconnected + never + unknown;
}

/** `3 disconnected, 1 never`; on a hub also the peers in an unknown state. */
export function othersOf({ disconnected, never, unknown }: PeerCounts): string {
  const others = `${count(disconnected)} disconnected, ${count(never)} never`;
  return unknown === 0 ? others : `${others}, ${count(unknown)} unknown`;
}

export function Tiles({
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
  const { connected, rates } = counts;
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
        <dd class="sub">{othersOf(counts)}</dd>
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
  "gateway.lost": (number) => `${counted(number, "gateway")} lost`,
  "gateway.back": (number) => `${counted(number, "gateway")} back`,
  "gateway.stopped": (number) => `${counted(number, "gateway")} stopped`,
  "fleet.partition": (number) => counted(number, "partition"),
  "fleet.gap": (number) => counted(number, "gap"),
  "fleet.duplicate-name": (number) => counted(number, "duplicate name"),
};
