/** The data that the HTTP API returns, made from the state of the program. Pure. */

import { isUnreadable } from "../base/errors.ts";
import { formatEndpoint, type Peer } from "../base/wireguard.ts";
import type { Session } from "../sessions/session.ts";
import type { Rates } from "../stats/rates.ts";
import { type Range, ranges, SLOT_MS } from "../store/ranges.ts";
import type { SessionRow } from "../store/stored-sessions.ts";
import type { ReadModel, TargetState } from "./read-model.ts";
import type { DeviceView, PeerView, SessionView, StatusView, TargetView } from "./schemas.ts";

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
  };
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
    return { name, publicKey, listenPort, ...source.counts(name) };
  });
}

export function stateOf(peer: Peer, session: Session | null): PeerView["state"] {
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
    publicKey,
    name: source.nameOf(publicKey, device),
    tags: [...source.tagsOf(publicKey)],
    state: stateOf(peer, session),
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
  const { device, publicKey, startedAtMs, endedAtMs, reason } = row;
  const current = endedAtMs === null ? source.session(device, publicKey) : null;
  // The store has rounded times.
  const isSame = current !== null && Math.round(current.startedAtMs) === startedAtMs;
  const open = isSame ? current : null;
  const untilMs = endedAtMs ?? source.clock.now().wallMs;
  const durationMs = row.durationMs ?? untilMs - startedAtMs;
  const endpoint = open?.endpoint ?? null;
  return {
    device,
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
  return [...configured, ...removed].map(({ key, label, waiting, isStopped, failures, reason }) => {
    const queue = queues.get(key);
    const deadCount = dead.get(key)?.count ?? 0;
    const nextAtMs = failures > 0 && waiting > 0 ? (queue?.nextAtMs ?? 0) : 0;
    // Without a waiting event or a dead letter, for example after the user deleted them, no event is affected.
    const state = !configuredKeys.has(key)
      ? "gone"
      : isStopped
        ? "stopped"
        : failures > 0 && (waiting > 0 || deadCount > 0)
          ? "failing"
          : "ok";
    return {
      key,
      label,
      state,
      waiting,
      oldestAt: queue === undefined || waiting === 0 ? null : iso(queue.oldestAtMs),
      failures,
      reason: reason === "" ? null : reason,
      nextAttemptAt: nextAtMs === 0 ? null : iso(nextAtMs),
      dead: deadCount,
    };
  });
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
