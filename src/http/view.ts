/** The data that the HTTP API returns, made from the state of the program. Pure. */

import { isUnreadable } from "../base/errors.ts";
import { formatEndpoint, type Peer } from "../base/wireguard.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import type { Session } from "../sessions/session.ts";
import type { Rates } from "../stats/rates.ts";
import { type Range, ranges, SLOT_MS } from "../store/ranges.ts";
import type { StoredEvent } from "../store/stored-events.ts";
import type { SessionRow } from "../store/stored-sessions.ts";
import { type GatewayState, hostField, isObserved, lagOf, timeOfDevice } from "./fleet-model.ts";
import type { ReadModel, TargetState } from "./read-model.ts";
import type {
  DeviceView,
  GatewayView,
  PeerView,
  ScrapeTargetView,
  SessionView,
  StatusView,
  StoredEventView,
  TargetView,
} from "./schemas.ts";

export function viewStatus(source: ReadModel): StatusView {
  const devices = viewDevices(source);
  const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
  return {
    version: source.version,
    host: source.host(),
    startedAt: iso(source.startedAtMs),
    devices: devices.length,
    peers: sum(devices.map(({ peers }) => peers)),
    connected: sum(devices.map(({ connected }) => connected)),
    store: { inMemory: source.store.isInMemory, problem: source.store.problem },
    wakeUp: source.wakeUp(),
    alerts: countAlerts(source),
    latestEvent: source.store.events.sequenceRange().last,
    ...fleetCounts(source, devices),
  };
}

/** On a hub: how many gateways there are in each condition, and how many peers are in an unknown state. */
function fleetCounts(
  { fleet }: ReadModel,
  devices: readonly DeviceView[],
): Pick<StatusView, "unknown" | "gateways"> {
  if (fleet === null) return {};
  const gateways = { up: 0, lost: 0, stopped: 0, waiting: 0 };
  for (const { condition } of fleet.gateways()) gateways[condition]++;
  return { unknown: devices.reduce((sum, { unknown = 0 }) => sum + unknown, 0), gateways };
}

/** The gateways of a hub. */
export function viewGateway(gateway: GatewayState): GatewayView {
  const { name, host, program, condition, sinceMs, seenMs, startedAtMs, clockOffsetMs } = gateway;
  const { epoch, lastSeq, confirmedSeq, devices, peers, connected } = gateway;
  return {
    name,
    host,
    version: program,
    condition,
    since: iso(sinceMs),
    lastSeenAt: seenMs === null ? null : iso(seenMs),
    startedAt: startedAtMs === null ? null : iso(startedAtMs),
    clockOffsetMs: clockOffsetMs === null ? null : Math.round(clockOffsetMs),
    epoch,
    lastSeq,
    confirmedSeq,
    lag: lagOf(gateway),
    devices,
    peers,
    connected: condition === "up" ? connected : null,
  };
}

/** A gateway for the service discovery of Prometheus; none if its host is unknown. */
export function scrapeTarget(
  { name, host, program, condition }: GatewayState,
  port: number | null,
): ScrapeTargetView[] {
  if (host === null) return [];
  return [
    {
      targets: [port === null ? host : `${host}:${port}`],
      labels: {
        __meta_wgmon_gateway: name,
        __meta_wgmon_condition: condition,
        __meta_wgmon_version: program ?? "",
      },
    },
  ];
}

/** An event of the store, on a hub with the gateway that it is from or about. */
export function viewEvent({ seq, event, gateway }: StoredEvent): StoredEventView {
  return gateway === undefined ? { seq, event } : { seq, host: gateway, event };
}

/** How many alerts fire, are held back, and are pending. */
function countAlerts({ alerts }: ReadModel): StatusView["alerts"] {
  let [firing, held, pending] = [0, 0, 0];
  for (const { state, heldBack } of alerts.current()) {
    if (state === "pending") pending++;
    else if (heldBack === null) firing++;
    else held++;
  }
  return { firing, heldBack: held, pending, silences: alerts.silences().length };
}

export function viewDevices(source: ReadModel): DeviceView[] {
  return source.devices().map(({ name, publicKey, listenPort }) => {
    const device = { name, ...hostField(source, name), publicKey, listenPort };
    const counts = source.counts(name);
    if (isObserved(source, name)) return { ...device, ...counts };
    return { ...device, peers: counts.peers, connected: 0, unknown: counts.peers };
  });
}

/** @param isKnown whether the device is observed: see fleet-model.ts. */
export function stateOf(peer: Peer, session: Session | null, isKnown: boolean): PeerView["state"] {
  if (!isKnown) return "unknown";
  return session !== null ? "connected" : peer.lastHandshakeMs === null ? "never" : "disconnected";
}

/** The endpoint that was last verified: a handshake attempt alone can change the kernel's endpoint. */
export function endpointOf(peer: Peer, session: Session | null): string | null {
  const endpoint = session?.endpoint ?? peer.endpoint;
  return endpoint === null ? null : formatEndpoint(endpoint);
}

/** The name that reverse DNS has for that endpoint; null if it is not known, or the setting is off. */
export function endpointNameOf(
  source: ReadModel,
  peer: Peer,
  session: Session | null,
): string | null {
  const endpoint = session?.endpoint ?? peer.endpoint;
  return endpoint === null ? null : source.endpointName(endpoint);
}

/** Transfer rates; null if the peer is not connected or the rates are not known yet. */
export function ratesOf(source: ReadModel, session: Session | null): Rates | null {
  return session === null ? null : source.rates(session.device, session.peer.publicKey);
}

/** Bytes received from a peer and sent to it. */
export interface Transfer {
  readonly rxBytes: number;
  readonly txBytes: number;
}

/**
 * The transfer of a peer since it was added and in its session, as of the same moment: the later one of the last scan,
 * which the session is from, and the reading that `peer` is from.
 */
export function transferOf(
  peer: Peer,
  session: Session | null,
): { readonly total: Transfer; readonly session: Transfer | null } {
  if (session === null) return { total: peer, session: null };
  const scanned = session.peer;
  // The reading is older than the scan, or the peer was added again since the scan.
  if (peer.rxBytes < scanned.rxBytes || peer.txBytes < scanned.txBytes) {
    return { total: scanned, session };
  }
  return {
    total: peer,
    session: {
      rxBytes: session.rxBytes + peer.rxBytes - scanned.rxBytes,
      txBytes: session.txBytes + peer.txBytes - scanned.txBytes,
    },
  };
}

export function viewPeer(source: ReadModel, device: string, peer: Peer): PeerView {
  const { publicKey, lastHandshakeMs, persistentKeepaliveSeconds } = peer;
  const session = source.session(device, publicKey);
  const transfer = transferOf(peer, session);
  const rates = ratesOf(source, session);
  return {
    device,
    ...hostField(source, device),
    publicKey,
    name: source.nameOf(publicKey, device),
    tags: [...source.tagsOf(publicKey, device)],
    state: stateOf(peer, session, isObserved(source, device)),
    endpoint: endpointOf(peer, session),
    endpointName: endpointNameOf(source, peer, session),
    allowedIps: [...peer.allowedIps],
    lastHandshakeAt: lastHandshakeMs === null ? null : iso(lastHandshakeMs),
    rxBytes: transfer.total.rxBytes,
    txBytes: transfer.total.txBytes,
    persistentKeepaliveSeconds,
    session:
      session === null
        ? null
        : {
            startedAt: iso(session.startedAtMs),
            lastSeenAt: iso(session.lastActivity.wallMs),
            rxBytes: transfer.session!.rxBytes,
            txBytes: transfer.session!.txBytes,
            rxBytesPerSecond: rates?.rxBytesPerSecond ?? null,
            txBytesPerSecond: rates?.txBytesPerSecond ?? null,
            roams: session.roams,
          },
  };
}

/** Sessions in the store, with the present tunnel addresses of their peers. */
export function viewSessions(source: ReadModel, rows: readonly SessionRow[]): SessionView[] {
  const found = new Map<string, readonly string[]>();
  for (const [device, ofDevice] of Map.groupBy(rows, (row) => row.device)) {
    const keys = new Set<string>(ofDevice.map(({ publicKey }) => publicKey));
    for (const { publicKey, allowedIps } of readablePeers(source, device)) {
      if (keys.has(publicKey)) found.set(`${device} ${publicKey}`, allowedIps);
    }
  }
  return rows.map((row) => ({
    ...viewSession(source, row),
    allowedIps: [...(found.get(`${row.device} ${row.publicKey}`) ?? [])],
  }));
}

/** The peers of a device; none if it cannot be read. */
export function readablePeers(source: ReadModel, device: string): Iterable<Peer> {
  try {
    return source.peers(device);
  } catch (error) {
    if (isUnreadable(error)) return [];
    throw error;
  }
}

/** A session in the store; an open session with the endpoint and counters of the last scan. */
export function viewSession(source: ReadModel, row: SessionRow): Omit<SessionView, "allowedIps"> {
  const { device, publicKey, reason } = row;
  const startedAtMs = timeOfDevice(source, device, row.startedAtMs);
  const endedAtMs = row.endedAtMs === null ? null : timeOfDevice(source, device, row.endedAtMs);
  const current = endedAtMs === null ? source.session(device, publicKey) : null;
  // The store has rounded times.
  const isSame = current !== null && Math.round(current.startedAtMs) === Math.round(startedAtMs);
  const open = isSame ? current : null;
  const untilMs = endedAtMs ?? observedUntilMs(source, device);
  const durationMs = row.durationMs ?? untilMs - startedAtMs;
  const endpoint = open?.endpoint ?? null;
  return {
    device,
    ...hostField(source, device),
    publicKey,
    name: source.nameOf(publicKey, device),
    startedAt: iso(startedAtMs),
    endedAt: endedAtMs === null ? null : iso(endedAtMs),
    durationMs: Math.max(0, Math.round(durationMs)),
    reason,
    endpoint: endpoint === null ? row.endpoint : formatEndpoint(endpoint),
    rxBytes: open?.rxBytes ?? row.rxBytes,
    txBytes: open?.txBytes ?? row.txBytes,
    roams: open?.roams ?? row.roams,
  };
}

/** Until when the state of a device's peers is known: now, or the last message of a gateway that does not report. */
export function observedUntilMs(source: ReadModel, device: string): number {
  const nowMs = source.clock.now().wallMs;
  if (isObserved(source, device)) return nowMs;
  return source.fleet?.gateway(splitDevice(device).gateway ?? "")?.seenMs ?? nowMs;
}

/** The targets in the settings, then removed targets that still have events or dead letters in the outbox. */
export function viewTargets(source: ReadModel): TargetView[] {
  const queues = new Map(source.store.outbox.queues().map((queue) => [queue.target, queue]));
  const dead = new Map(source.store.outbox.deadCounts().map((each) => [each.target, each]));
  const configured = source.targets();
  const configuredKeys = new Set(configured.map(({ key }) => key));
  const leftOver = [...queues.values(), ...dead.values()]
    .filter(({ target }) => !configuredKeys.has(target))
    .map(({ target, label }) => [target, label] as const);
  const removed = [...new Map(leftOver)].map(([key, label]): TargetState => ({
    key,
    label,
    waiting: queues.get(key)?.waiting ?? 0,
    isStopped: false,
    failures: 0,
    reason: "",
  }));
  return [...configured, ...removed].map((target) => {
    const { key, label, waiting, isStopped, failures, reason, hub } = target;
    const queue = queues.get(key);
    const deadCount = dead.get(key)?.count ?? 0;
    const pauseEndMs = hub === undefined ? (queue?.nextAtMs ?? 0) : hub.nextAtMs;
    const nextAtMs = failures > 0 && (waiting > 0 || hub !== undefined) ? pauseEndMs : 0;
    const oldestAtMs = hub === undefined ? (queue?.oldestAtMs ?? null) : hub.oldestAtMs;
    // Without a waiting event or a dead letter, for example after the user deleted them, no event is affected. The hub
    // is sent the state, too.
    const isAffected = waiting > 0 || deadCount > 0 || hub !== undefined;
    const state = !configuredKeys.has(key)
      ? "gone"
      : isStopped
        ? "stopped"
        : failures > 0 && isAffected
          ? "failing"
          : "ok";
    return {
      key,
      label,
      state,
      waiting,
      oldestAt: oldestAtMs === null || waiting === 0 ? null : iso(oldestAtMs),
      failures,
      reason: reason === "" ? null : reason,
      nextAttemptAt: nextAtMs === 0 ? null : iso(nextAtMs),
      dead: deadCount,
      hub: hub === undefined ? null : viewHub(hub),
    };
  });
}

function viewHub({
  epoch,
  last,
  sent,
  confirmed,
  unconfirmedAtMs,
  clockOffsetMs,
}: NonNullable<TargetState["hub"]>): TargetView["hub"] {
  const unconfirmedSince = unconfirmedAtMs === null ? null : iso(unconfirmedAtMs);
  return { epoch, last, sent, confirmed, unconfirmedSince, clockOffsetMs };
}

/** The last 24 hours. */
export function viewTraffic(source: ReadModel, device: string, publicKey: string) {
  const nowMs = source.clock.now().wallMs;
  const chart = source.store.traffic.range(device, publicKey, "24h", nowMs);
  return { ...viewChart(chart), stepMs: SLOT_MS } as const;
}

export function viewUptime(source: ReadModel, device: string, publicKey: string) {
  const nowMs = source.clock.now().wallMs;
  const of = (range: Range) =>
    source.store.sessions.uptime(device, publicKey, ranges[range].spanMs, nowMs);
  return { "24h": of("24h"), "7d": of("7d"), "30d": of("30d") };
}

/** A chart of the store, with its start as text. */
export function viewChart<Chart extends { readonly startMs: number }>({ startMs, ...rest }: Chart) {
  return { startAt: iso(startMs), ...rest };
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
