/**
 * Metrics in the text format of Prometheus, or in OpenMetrics if the request asks for it. The file has more than 400
 * lines because all metrics are in one list. The text is produced in chunks: for 10,000 peers it has megabytes, and
 * producing it at once would block other work.
 *
 * The names and labels of two other exporters can be chosen, so that their dashboards work unchanged:
 * github.com/MindFlavor/prometheus_wireguard_exporter and github.com/mdlayher/wireguard_exporter. wgmon's own
 * metrics begin with wgmon_. Nothing is kept between scrapes: removed devices and peers have no series.
 */

import { isUnreadable } from "../base/errors.ts";
import { type Device, formatEndpoint, type Peer } from "../base/wireguard.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import type { Session } from "../sessions/session.ts";
import { type Histogram, LabeledCounter } from "../stats/counters.ts";
import { gatewayConditions, isObserved, lagOf } from "./fleet-model.ts";
import type { ReadModel } from "./read-model.ts";

export const namings = ["mdlayher", "mindflavor"] as const;
export type Naming = (typeof namings)[number];

/** Most peers that have series; the others are only counted. */
const PEERS_MAX = 10_000;
/** Minimum length of a chunk in UTF-16 code units: about a millisecond of work. */
const CHUNK = 65_536;
/** Peers processed between two pauses: about a millisecond of work. */
const PAUSE_PEERS = 1000;
/** An empty part of the output. The reader lets other work run there: body-stream.ts. */
const PAUSE = "";

const TEXT = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8";

interface Options {
  readonly namings: readonly Naming[];
  /** The Accept header of the request. */
  readonly accept: string;
}

interface Exposition {
  /** Content-Type */
  readonly type: string;
  /** Empty chunks are pauses. */
  readonly chunks: Iterator<string>;
}

export function exposition(source: ReadModel, { namings: names, accept }: Options): Exposition {
  const isOpen = /application\/openmetrics-text/i.test(accept);
  return {
    type: isOpen ? OPEN_METRICS : TEXT,
    chunks: chunked(lines(source, names, isOpen)),
  };
}

/** A peer, with the labels of its series as escaped text. */
interface LabeledPeer {
  readonly device: DeviceLabels;
  readonly peer: Peer;
  readonly session: Session | null;
  readonly name: string;
  /** `device="wg0",public_key="..."`, on a hub `gateway="berlin",device="wg0",public_key="..."` */
  readonly labels: string;
}

type Kind = "counter" | "gauge" | "histogram" | "info";

function* lines(source: ReadModel, names: readonly Naming[], isOpen: boolean): Generator<string> {
  const head = (name: string, kind: Kind, help: string): string => headOf(name, kind, help, isOpen);
  yield* ownMetrics(source, head);
  yield* alertMetrics(source, head);
  const { devices, peers, omitted } = yield* gather(source);
  yield* gatewayMetrics(source, head);
  yield* deviceMetrics(devices, head, source.fleet !== null);
  yield head(
    "wgmon_metrics_peers_omitted",
    "gauge",
    "Peers beyond the limit, which have no series.",
  );
  yield `wgmon_metrics_peers_omitted ${omitted}\n`;
  yield* peerMetrics(peers, head);
  if (names.includes("mdlayher")) yield* mdlayherMetrics(devices, peers, head);
  if (names.includes("mindflavor")) {
    yield* mindflavorMetrics(devices, peers, source.clock.now().wallMs, head);
  }
  if (isOpen) yield "# EOF\n";
}

type Head = (name: string, kind: Kind, help: string) => string;

/** A device, and how many peers it has. */
interface DeviceCounts extends DeviceLabels {
  readonly device: Device;
  readonly peers: number;
  /** null: unknown, because the gateway of the device does not report to this hub. */
  readonly connected: number | null;
}

/** Labels as escaped text. */
interface DeviceLabels {
  /** Empty, or on a hub `gateway="berlin",` */
  readonly gateway: string;
  readonly name: string;
}

interface Gathered {
  readonly devices: readonly DeviceCounts[];
  readonly peers: readonly LabeledPeer[];
  readonly omitted: number;
}

function* gather(source: ReadModel): Generator<string, Gathered> {
  const devices: DeviceCounts[] = [];
  const labeled: LabeledPeer[] = [];
  let omitted = 0;
  for (const device of source.devices()) {
    let peers = 0;
    let connected = 0;
    const labels = labelsOf(source, device.name);
    const labelPrefix = `${labels.gateway}device="${labels.name}",public_key="`;
    if (!isObserved(source, device.name)) {
      // What the gateway reported last is not true any more.
      devices.push({ ...labels, device, peers: source.counts(device.name).peers, connected: null });
      continue;
    }
    let listedPeers: readonly Peer[];
    try {
      // Userspace programs list peers in a different order each time; sorted, the same peers get series.
      listedPeers = [...source.peers(device.name)].sort(byKey);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      // An unreadable device still has peers: use the counts of the last scan.
      devices.push({ ...labels, device, ...source.counts(device.name) });
      continue;
    }
    yield PAUSE;
    for (const peer of listedPeers) {
      const session = source.session(device.name, peer.publicKey);
      if (++peers % PAUSE_PEERS === 0) yield PAUSE;
      if (session !== null) connected++;
      if (labeled.length >= PEERS_MAX) {
        omitted++;
        continue;
      }
      const name = escaped(source.nameOf(peer.publicKey, device.name) ?? "");
      labeled.push({
        device: labels,
        peer,
        session,
        name,
        labels: `${labelPrefix}${peer.publicKey}"`,
      });
    }
    devices.push({ ...labels, device, peers, connected });
  }
  return { devices, peers: labeled, omitted };
}

function labelsOf({ fleet }: ReadModel, name: string): DeviceLabels {
  if (fleet === null) return { gateway: "", name: escaped(name) };
  const { gateway, device } = splitDevice(name);
  return { gateway: `gateway="${escaped(gateway ?? "")}",`, name: escaped(device) };
}

function byKey({ publicKey: a }: Peer, { publicKey: b }: Peer): number {
  return a < b ? -1 : 1;
}

// ---- wgmon's own metrics ----

function* ownMetrics(source: ReadModel, head: Head): Generator<string> {
  const { counters, store, version, startedAtMs } = source;
  yield head("wgmon_build_info", "gauge", "The program's version.");
  yield `wgmon_build_info{version="${escaped(version)}",bun="${Bun.version}"} 1\n`;
  yield head("wgmon_start_time_seconds", "gauge", "Start time of the program, in Unix time.");
  yield `wgmon_start_time_seconds ${startedAtMs / 1000}\n`;

  yield head("wgmon_events_total", "counter", "Events, by type.");
  for (const { labels, count } of counters.events.entries()) {
    yield `wgmon_events_total{type="${escaped(labels[0])}"} ${count}\n`;
  }
  yield head("wgmon_scans_total", "counter", "Scans of the devices, by cause.");
  for (const { labels, count } of counters.scans.entries()) {
    yield `wgmon_scans_total{reason="${escaped(labels[0])}"} ${count}\n`;
  }
  yield* histogram("wgmon_scan_duration_seconds", "Duration of scans.", counters.scanSeconds, head);
  const single = (name: string, help: string, value: number): string =>
    `${head(name, "counter", help)}${name} ${value}\n`;
  yield single(
    "wgmon_scan_errors_total",
    "Devices that a scan could not read.",
    counters.scanErrors,
  );
  yield single("wgmon_packets_total", "Packets captured.", counters.packets);
  yield single(
    "wgmon_malformed_packets_total",
    "Packets captured that are not valid IP and UDP.",
    counters.malformedPackets,
  );
  yield single(
    "wgmon_capture_losses_total",
    "Number of times that the kernel dropped packets or link changes.",
    counters.losses,
  );
  yield single(
    "wgmon_capture_guarded_total",
    "Number of times that guarded mode began, because there were too many handshake messages.",
    counters.guarded,
  );
  yield head("wgmon_capture_flooded", "gauge", "1 during a packet flood.");
  yield `wgmon_capture_flooded ${Number(counters.isFlooded)}\n`;
  yield* histogram(
    "wgmon_session_duration_seconds",
    "Duration of ended sessions.",
    counters.sessionSeconds,
    head,
  );

  yield head(
    "wgmon_store_in_memory",
    "gauge",
    "1: the store is in memory only and is lost when the program ends.",
  );
  yield `wgmon_store_in_memory ${store.isInMemory ? 1 : 0}\n`;
  yield* outboxMetrics(source, head);
  yield* hubMetrics(source, head);
}

function* outboxMetrics(source: ReadModel, head: Head): Generator<string> {
  const { store, counters, clock } = source;
  const states = source.targets();
  const oldest = new Map(
    store.outbox.queues().map(({ target, oldestAtMs }) => [target, oldestAtMs]),
  );
  for (const { key, hub } of states) {
    if (hub !== undefined) oldest.set(key, hub.oldestAtMs ?? clock.now().wallMs);
  }
  const nowMs = clock.now().wallMs;
  yield head("wgmon_outbox_depth", "gauge", "Events that wait for a target.");
  for (const { key, waiting } of states)
    yield `wgmon_outbox_depth{target="${escaped(key)}"} ${waiting}\n`;
  yield head(
    "wgmon_outbox_oldest_age_seconds",
    "gauge",
    "Age of the oldest event that waits for a target; 0: no event waits.",
  );
  for (const { key, waiting } of states) {
    const atMs = waiting === 0 ? nowMs : (oldest.get(key) ?? nowMs);
    yield `wgmon_outbox_oldest_age_seconds{target="${escaped(key)}"} ${Math.max(0, (nowMs - atMs) / 1000)}\n`;
  }
  yield head(
    "wgmon_target_stopped",
    "gauge",
    "1: delivery has stopped, because the target no longer exists.",
  );
  for (const { key, isStopped } of states) {
    yield `wgmon_target_stopped{target="${escaped(key)}"} ${isStopped ? 1 : 0}\n`;
  }
  yield head("wgmon_target_failures", "gauge", "Failed attempts since the last success.");
  for (const { key, failures } of states) {
    yield `wgmon_target_failures{target="${escaped(key)}"} ${failures}\n`;
  }
  yield head("wgmon_delivery_attempts_total", "counter", "Delivery attempts, by result.");
  for (const { labels, count } of counters.attempts.entries()) {
    yield `wgmon_delivery_attempts_total{target="${escaped(labels[0])}",result="${escaped(labels[1])}"} ${count}\n`;
  }
  yield head(
    "wgmon_dead_letters",
    "gauge",
    "Dead letters: events that were refused or waited for too long.",
  );
  for (const { target, count } of store.outbox.deadCounts()) {
    yield `wgmon_dead_letters{target="${escaped(target)}"} ${count}\n`;
  }
}

function* hubMetrics(source: ReadModel, head: Head): Generator<string> {
  const hubs = source.targets().flatMap(({ hub }) => hub ?? []);
  if (hubs.length === 0) return;
  yield head("wgmon_hub_unconfirmed_events", "gauge", "Events that the hub has not confirmed.");
  for (const { last, confirmed } of hubs) {
    yield `wgmon_hub_unconfirmed_events ${Math.max(0, last - confirmed)}\n`;
  }
  yield head(
    "wgmon_hub_oldest_unconfirmed_timestamp_seconds",
    "gauge",
    "When the oldest event happened that the hub has not confirmed; no series: it has confirmed all.",
  );
  for (const { unconfirmedAtMs } of hubs) {
    if (unconfirmedAtMs === null) continue;
    yield `wgmon_hub_oldest_unconfirmed_timestamp_seconds ${unconfirmedAtMs / 1000}\n`;
  }
  yield head(
    "wgmon_hub_clock_offset_seconds",
    "gauge",
    "The clock of this gateway minus that of the hub.",
  );
  for (const { clockOffsetMs } of hubs) {
    if (clockOffsetMs !== null) yield `wgmon_hub_clock_offset_seconds ${clockOffsetMs / 1000}\n`;
  }
}

const alertStates = ["pending", "firing", "held-back"] as const;
const noticeTypes = ["firing", "reminder", "resolved"] as const;

/** Every rule has all its series, also those with the value 0, so that Prometheus sees each alert begin. */
function* alertMetrics({ alerts, counters }: ReadModel, head: Head): Generator<string> {
  const counts = new Map<string, number>();
  for (const { rule, state, heldBack } of alerts.current()) {
    const shown = state === "pending" ? state : heldBack === null ? "firing" : "held-back";
    const key = `${rule}\n${shown}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  yield head("wgmon_alerts", "gauge", "Alerts, by rule and state.");
  for (const { name, severity } of alerts.rules()) {
    for (const state of alertStates) {
      yield `wgmon_alerts{rule="${escaped(name)}",severity="${severity}",state="${state}"} ${counts.get(`${name}\n${state}`) ?? 0}\n`;
    }
  }
  yield head(
    "wgmon_alert_notices_total",
    "counter",
    "Messages about alerts, by rule, type and result: sent, held-back or dry-run.",
  );
  const known = alerts
    .rules()
    .flatMap(({ name }) => noticeTypes.map((type) => [name, type] as const));
  const sent = new LabeledCounter<readonly [string, string, string]>(
    ...known.map(([name, type]) => [name, type, "sent"] as const),
  );
  for (const { labels, count } of counters.notices.entries()) sent.add(labels, count);
  for (const { labels, count } of sent.entries()) {
    yield `wgmon_alert_notices_total{rule="${escaped(labels[0])}",type="${labels[1]}",result="${labels[2]}"} ${count}\n`;
  }
  yield head("wgmon_silences", "gauge", "Silences that have not ended.");
  yield `wgmon_silences ${alerts.silences().length}\n`;
}

/** On a hub. What is not known has no series. */
function* gatewayMetrics({ fleet }: ReadModel, head: Head): Generator<string> {
  if (fleet === null) return;
  const gateways = fleet.gateways();
  yield head(
    "wgmon_hub_active",
    "gauge",
    "1: this hub works. 0: it stands by, because another one works.",
  );
  yield `wgmon_hub_active ${fleet.role().isActive ? 1 : 0}\n`;
  yield head("wgmon_gateway_up", "gauge", "1: the gateway reports to this hub.");
  for (const { name, condition } of gateways) {
    yield `wgmon_gateway_up{gateway="${name}"} ${condition === "up" ? 1 : 0}\n`;
  }
  yield head(
    "wgmon_gateway_condition",
    "gauge",
    "1: the gateway is in this condition: up, lost, stopped or waiting.",
  );
  for (const { name, condition } of gateways) {
    for (const each of gatewayConditions) {
      yield `wgmon_gateway_condition{gateway="${name}",condition="${each}"} ${condition === each ? 1 : 0}\n`;
    }
  }
  yield head(
    "wgmon_gateway_lag_events",
    "gauge",
    "Events of the gateway that this hub does not have yet.",
  );
  for (const gateway of gateways) {
    const lag = lagOf(gateway);
    if (lag !== null) yield `wgmon_gateway_lag_events{gateway="${gateway.name}"} ${lag}\n`;
  }
  yield head(
    "wgmon_gateway_clock_offset_seconds",
    "gauge",
    "The gateway's clock minus that of this hub.",
  );
  for (const { name, clockOffsetMs } of gateways) {
    if (clockOffsetMs !== null) {
      yield `wgmon_gateway_clock_offset_seconds{gateway="${name}"} ${clockOffsetMs / 1000}\n`;
    }
  }
  yield head(
    "wgmon_gateway_last_seen_timestamp_seconds",
    "gauge",
    "The last message of the gateway, in Unix time.",
  );
  for (const { name, seenMs } of gateways) {
    if (seenMs !== null) {
      yield `wgmon_gateway_last_seen_timestamp_seconds{gateway="${name}"} ${seenMs / 1000}\n`;
    }
  }
}

function* deviceMetrics(
  devices: readonly DeviceCounts[],
  head: Head,
  isHub: boolean,
): Generator<string> {
  yield head("wgmon_device_peers", "gauge", "Peers of a device.");
  for (const { gateway, name, peers } of devices) {
    yield `wgmon_device_peers{${gateway}device="${name}"} ${peers}\n`;
  }
  yield head("wgmon_device_connected_peers", "gauge", "Connected peers of a device.");
  for (const { gateway, name, connected } of devices) {
    if (connected === null) continue;
    yield `wgmon_device_connected_peers{${gateway}device="${name}"} ${connected}\n`;
  }
  if (!isHub) return;
  yield head(
    "wgmon_device_unknown_peers",
    "gauge",
    "Peers of a device whose state is unknown, because the gateway does not report.",
  );
  for (const { gateway, name, peers, connected } of devices) {
    yield `wgmon_device_unknown_peers{${gateway}device="${name}"} ${connected === null ? peers : 0}\n`;
  }
}

function* peerMetrics(peers: readonly LabeledPeer[], head: Head): Generator<string> {
  yield head("wgmon_peer_connected", "gauge", "1: the peer is connected.");
  for (const { labels, name, session } of peers) {
    yield `wgmon_peer_connected{${labels},name="${name}"} ${session === null ? 0 : 1}\n`;
  }
  const connected = peers.flatMap(({ labels, session }) =>
    session === null ? [] : [{ labels, session }],
  );
  yield head(
    "wgmon_peer_session_start_time_seconds",
    "gauge",
    "Start of the peer's session, in Unix time.",
  );
  for (const { labels, session } of connected) {
    yield `wgmon_peer_session_start_time_seconds{${labels}} ${session.startedAtMs / 1000}\n`;
  }
  yield head(
    "wgmon_peer_last_seen_time_seconds",
    "gauge",
    "Last activity of the peer, in Unix time.",
  );
  for (const { labels, session } of connected) {
    yield `wgmon_peer_last_seen_time_seconds{${labels}} ${session.lastActivity.wallMs / 1000}\n`;
  }
}

// ---- Names of other exporters ----

/** The metrics as of commit c67c6d6, which is after v0.3: allowed IPs are a separate metric. */
function* mdlayherMetrics(
  devices: readonly DeviceCounts[],
  peers: readonly LabeledPeer[],
  head: Head,
): Generator<string> {
  yield head("wireguard_device_info", "gauge", "Metadata about a device.");
  for (const { device, gateway, name } of devices) {
    yield `wireguard_device_info{${gateway}device="${name}",public_key="${device.publicKey ?? NO_KEY}"} 1\n`;
  }
  yield head("wireguard_peer_info", "gauge", "Metadata about a peer.");
  for (const { labels, name, peer } of peers) {
    const endpoint = peer.endpoint === null ? "" : escaped(formatEndpoint(peer.endpoint));
    yield `wireguard_peer_info{${labels},endpoint="${endpoint}",name="${name}"} 1\n`;
  }
  yield head("wireguard_peer_allowed_ips_info", "gauge", "Metadata about a peer's allowed IPs.");
  for (const { labels, peer } of peers) {
    for (const prefix of peer.allowedIps) {
      const family = prefix.includes(":") ? "IPv6" : "IPv4";
      yield `wireguard_peer_allowed_ips_info{${labels},allowed_ips="${prefix}",family="${family}"} 1\n`;
    }
  }
  yield head("wireguard_peer_receive_bytes_total", "counter", "Bytes received from a peer.");
  for (const { labels, peer } of peers) {
    yield `wireguard_peer_receive_bytes_total{${labels}} ${peer.rxBytes}\n`;
  }
  yield head("wireguard_peer_transmit_bytes_total", "counter", "Bytes sent to a peer.");
  for (const { labels, peer } of peers) {
    yield `wireguard_peer_transmit_bytes_total{${labels}} ${peer.txBytes}\n`;
  }
  const lastHandshake = "A peer's last handshake, in Unix time; 0: never.";
  yield head("wireguard_peer_last_handshake_seconds", "gauge", lastHandshake);
  for (const { labels, peer } of peers) {
    yield `wireguard_peer_last_handshake_seconds{${labels}} ${seconds(peer.lastHandshakeMs)}\n`;
  }
}

/**
 * The metrics as of 3.6.6 without its options -s and -r: one label has all allowed IPs, and there is no label for
 * the endpoint. The age of the handshake (option -d) is included because alerts use it.
 */
function* mindflavorMetrics(
  devices: readonly DeviceCounts[],
  peers: readonly LabeledPeer[],
  nowMs: number,
  head: Head,
): Generator<string> {
  const labeled = peers.map(({ device, name, peer }) => {
    const friendly = name === "" ? "" : `,friendly_name="${name}"`;
    const allowed = peer.allowedIps.length === 0 ? "(none)" : peer.allowedIps.join(",");
    const labels = `${device.gateway}interface="${device.name}",public_key="${peer.publicKey}",allowed_ips="${allowed}"${friendly}`;
    return { labels, peer };
  });
  yield head("wireguard_sent_bytes_total", "counter", "Bytes sent to the peer");
  for (const { labels, peer } of labeled) {
    yield `wireguard_sent_bytes_total{${labels}} ${peer.txBytes}\n`;
  }
  yield head("wireguard_received_bytes_total", "counter", "Bytes received from the peer");
  for (const { labels, peer } of labeled) {
    yield `wireguard_received_bytes_total{${labels}} ${peer.rxBytes}\n`;
  }
  const lastHandshake = "The last handshake, in Unix time; 0: never";
  yield head("wireguard_latest_handshake_seconds", "gauge", lastHandshake);
  for (const { labels, peer } of labeled) {
    yield `wireguard_latest_handshake_seconds{${labels}} ${seconds(peer.lastHandshakeMs)}\n`;
  }
  const age = "Seconds since the last handshake; since 1970 if there was none";
  yield head("wireguard_latest_handshake_delay_seconds", "gauge", age);
  for (const { labels, peer } of labeled) {
    const delay = Math.max(0, seconds(nowMs) - seconds(peer.lastHandshakeMs));
    yield `wireguard_latest_handshake_delay_seconds{${labels}} ${delay}\n`;
  }
  yield head("wireguard_peers_total", "gauge", "Total number of peers");
  for (const { gateway, name, peers: count } of devices) {
    yield `wireguard_peers_total{${gateway}interface="${name}"} ${count}\n`;
  }
}

/** How Go's wgctrl writes a missing key: 32 zero bytes. */
const NO_KEY = `${"A".repeat(43)}=`;

/** Unix time in whole seconds, as in the other exporters; 0 means never. */
function seconds(lastHandshakeMs: number | null): number {
  return Math.floor((lastHandshakeMs ?? 0) / 1000);
}

// ---- Text format ----

/** The HELP and TYPE lines. In OpenMetrics, the name of a counter's family has no `_total`. */
function headOf(name: string, kind: Kind, help: string, isOpen: boolean): string {
  const family = isOpen && kind === "counter" ? name.replace(/_total$/, "") : name;
  const escapedHelp = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return `# HELP ${family} ${escapedHelp}\n# TYPE ${family} ${kind}\n`;
}

function* histogram(
  name: string,
  help: string,
  { bounds, counts, sum }: Histogram,
  head: Head,
): Generator<string> {
  yield head(name, "histogram", help);
  let total = 0;
  for (const [index, bound] of bounds.entries()) {
    total += counts[index]!;
    // OpenMetrics requires the bounds as floating-point numbers.
    const boundText = Number.isInteger(bound) ? `${bound}.0` : String(bound);
    yield `${name}_bucket{le="${boundText}"} ${total}\n`;
  }
  total += counts.at(-1)!;
  yield `${name}_bucket{le="+Inf"} ${total}\n${name}_sum ${sum}\n${name}_count ${total}\n`;
}

/** Escapes a label value. Names can contain any characters, and a lone surrogate cannot be encoded as UTF-8. */
function escaped(value: string): string {
  if (!/[\\"\n\ud800-\udfff]/.test(value)) return value;
  return value
    .toWellFormed()
    .replaceAll("\\", "\\\\")
    .replaceAll('"', '\\"')
    .replaceAll("\n", "\\n");
}

/** Joins the parts into chunks; passes pauses on. */
function* chunked(parts: Iterable<string>): Generator<string> {
  let chunk = "";
  for (const part of parts) {
    if (part === PAUSE) yield PAUSE;
    chunk += part;
    if (chunk.length < CHUNK) continue;
    yield chunk;
    chunk = "";
  }
  yield chunk;
}
