/**
 * The table of all settings. Flags, variables, the keys of the settings file, `--help`, docs/settings.md, the man page
 * and shell completion are made from it.
 */

import {
  absolutePath,
  addressAndPort,
  boolean,
  captureFilter,
  choice,
  deviceName,
  deviceOfFleet,
  duration,
  eventPattern,
  FORMAT_CHOICES,
  hostName,
  hubUrl,
  integer,
  namesPath,
  natsServers,
  peerName,
  secretFile,
  size,
  string,
  type ValueType,
  webhookUrl,
} from "./value-types.ts";

/** The groups of the settings in the help and the man page, in this order. */
export const SETTING_SECTIONS = {
  wakeUp: "What wgmon watches, and what wakes it",
  webhooks: "Where events go",
  peers: "Names, sessions and intervals",
  http: "HTTP API, metrics and the web page",
  nats: "NATS, for a hub",
  files: "Files, the store and the log",
} as const;

export type SettingSection = keyof typeof SETTING_SECTIONS;

export interface Setting<Value> extends ValueType<Value> {
  readonly description: string;
  /** The text of the default value; null: `defaultNote` describes the default. */
  readonly defaultValue: string | null;
  readonly defaultNote?: string;
  /** The setting has a flag and a variable, but is not allowed in the settings file. */
  readonly flagOnly?: true;
  /** A one-letter form of the flag. The same letter means the same flag in all commands. */
  readonly short?: string;
}

/** A setting in the table below. */
export interface TableEntry extends Setting<unknown> {
  readonly section: SettingSection;
  /** The setting is in the short help: `wgmon --help`. */
  readonly isCommon?: true;
}

const SECOND_MS = 1000;
const HOUR_MS = 3_600_000;

export const table = {
  monitor: {
    ...choice("auto", "nflog", "bpf", "poll"),
    description:
      "what wakes wgmon; nflog: firewall rules that log; bpf: its own capture; poll: only the clock (every tick); auto: nflog if rules log the devices' ports, otherwise bpf",
    defaultValue: "auto",
    section: "wakeUp",
  },
  group: {
    ...integer(0, 65535),
    description: "nflog: the NFLOG group that the firewall rules log to",
    defaultValue: "1",
    section: "wakeUp",
  },
  interface: {
    ...deviceName("eth0"),
    description: "bpf: the interface to capture on; any: all interfaces",
    defaultValue: "any",
    section: "wakeUp",
  },
  filter: {
    ...captureFilter(),
    description: "bpf: which packets to capture, as a tcpdump expression",
    defaultValue: null,
    defaultNote: "handshakes and first packets of the WireGuard ports found",
    section: "wakeUp",
  },
  device: {
    ...deviceOfFleet("wg0"),
    separator: /[\s,]+/,
    description: "a WireGuard device to watch",
    defaultValue: null,
    defaultNote: "all",
    section: "wakeUp",
    isCommon: true,
  },
  webhook: {
    ...webhookUrl(),
    separator: /\s+/,
    description: "URL to POST the events to; slack:URL sets the format of this URL only",
    defaultValue: null,
    defaultNote: "none",
    section: "webhooks",
    isCommon: true,
  },
  "webhook-file": {
    ...secretFile("/etc/wgmon/webhooks"),
    description:
      "a file with more webhooks, one on each line; unlike flags, it does not show in process lists",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/webhooks, if it exists",
    section: "webhooks",
  },
  "webhook-format": {
    ...choice(...FORMAT_CHOICES),
    placeholder: "FORMAT",
    description:
      "how events are written: json, form or the name of a service (docs/formats.md lists them); auto: the format of the service in the URL, else json",
    defaultValue: "auto",
    section: "webhooks",
  },
  "webhook-secret-file": {
    ...secretFile("/etc/wgmon/webhook-secret"),
    description: "a file with the secrets (whsec_...) to sign with, one on each line",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/webhook-secret, if it exists; else unsigned",
    section: "webhooks",
  },
  "webhook-events": {
    ...eventPattern(),
    description: "only events of this type, such as peer.connected or alert.*",
    defaultValue: null,
    defaultNote: "all",
    section: "webhooks",
  },
  "webhook-devices": {
    ...deviceOfFleet("wg0"),
    separator: /[\s,]+/,
    description: "only events of this device",
    defaultValue: null,
    defaultNote: "all",
    section: "webhooks",
  },
  "webhook-peers": {
    ...peerName(),
    separator: /,/,
    description: "only events of the peer with this name or public key",
    defaultValue: null,
    defaultNote: "all",
    section: "webhooks",
  },
  "webhook-digest": {
    ...duration(0, "1h"),
    description: "collect events for this long into one message; 0: send each at once",
    defaultValue: "0s",
    section: "webhooks",
  },
  hub: {
    ...hubUrl(),
    description: "the hub to report to: the URL that wgmon hub enroll prints",
    defaultValue: null,
    defaultNote: "none",
    section: "webhooks",
  },
  "hub-file": {
    ...secretFile("/etc/wgmon/hub"),
    description: "a file with the URL of the hub; unlike a flag, it does not show in process lists",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/hub, if it exists",
    section: "webhooks",
  },
  "hub-ca": {
    ...absolutePath("FILE", "/etc/wgmon/hub-ca.pem"),
    description: "the certificate of the authority that signed the hub's certificate, in PEM",
    defaultValue: null,
    defaultNote: "the authorities of the system",
    section: "webhooks",
  },
  "manage-rules": {
    ...boolean(),
    description:
      "nflog: load the firewall rules with nft; update them when ports change, remove them when wgmon ends",
    defaultValue: "false",
    section: "wakeUp",
    isCommon: true,
  },
  names: {
    ...namesPath(),
    description:
      "a file or folder whose comments name the peers; %i: the device, * and ?: in file names; off: none",
    defaultValue: "/etc/wireguard/%i.conf",
    section: "peers",
  },
  "resolve-endpoints": {
    ...boolean(),
    description:
      "show the names that reverse DNS has for public addresses of endpoints; the DNS resolver learns these addresses",
    defaultValue: "false",
    section: "peers",
  },
  places: {
    ...absolutePath("FILE", "/var/lib/GeoIP/GeoLite2-Country.mmdb"),
    separator: /[\s,]+/,
    description:
      "an MMDB file with the countries or autonomous systems of addresses, for alerts of kind place",
    defaultValue: null,
    defaultNote: "none",
    section: "peers",
  },
  "idle-timeout": {
    ...duration(SECOND_MS, "365d"),
    description: "a peer is disconnected after this long without activity",
    defaultValue: "180s",
    section: "peers",
  },
  tick: {
    ...duration(100, "365d"),
    description: "how often connected peers are scanned",
    defaultValue: "10s",
    section: "peers",
  },
  reconcile: {
    ...duration(0, "365d"),
    description: "how often all peers are scanned, in case a packet was missed; 0: never",
    defaultValue: "60s",
    section: "peers",
  },
  hold: {
    ...duration(0, "365d"),
    description: "a peer that returns within this time is not reported as disconnected",
    defaultValue: "0s",
    section: "peers",
  },
  "announce-existing": {
    ...boolean(),
    description: "at the first start, report the peers that are already connected",
    defaultValue: "true",
    section: "peers",
  },
  "report-unknown": {
    ...boolean(),
    description: "report handshakes that no peer completed, grouped by network, once a minute",
    defaultValue: "false",
    section: "peers",
  },
  listen: {
    ...addressAndPort(),
    description: "serve the web page, metrics and the HTTP API here",
    defaultValue: null,
    defaultNote: "none; wgmon's own commands use a Unix socket",
    section: "http",
    isCommon: true,
  },
  "listen-token-file": {
    ...secretFile("/etc/wgmon/listen-token"),
    description:
      "a file with the accepted bearer tokens, one on each line; required unless listen is 127.0.0.1 or ::1",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/listen-token, if it exists",
    section: "http",
  },
  "listen-tls-cert": {
    ...absolutePath("FILE", "/etc/wgmon/cert.pem"),
    description: "listen with TLS: the certificate and its chain, in PEM",
    defaultValue: null,
    defaultNote: "no TLS",
    section: "http",
  },
  "listen-tls-key": {
    ...absolutePath("FILE", "/etc/wgmon/key.pem"),
    description: "the private key of the certificate, in PEM",
    defaultValue: null,
    defaultNote: "no TLS",
    section: "http",
  },
  metrics: {
    ...choice("mdlayher", "mindflavor", "none"),
    separator: /[\s,]+/,
    description:
      "also export peer metrics under the names of another exporter (mdlayher: wireguard_exporter, mindflavor: prometheus_wireguard_exporter)",
    defaultValue: "mdlayher",
    section: "http",
  },
  nats: {
    ...natsServers(),
    description:
      "receive from gateways by NATS: the servers, with the user and password that wgmon hub init prints",
    defaultValue: null,
    defaultNote: "by HTTPS only",
    section: "nats",
  },
  "nats-file": {
    ...secretFile("/etc/wgmon/nats"),
    description: "a file with the value of nats; unlike a flag, it does not show in process lists",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/nats, if it exists",
    section: "nats",
  },
  "nats-credentials": {
    ...secretFile("/etc/wgmon/hub.creds"),
    description: "a credentials file of NATS, of a hub or a gateway; it replaces user and password",
    defaultValue: null,
    defaultNote: "user and password",
    section: "nats",
  },
  "nats-ca": {
    ...absolutePath("FILE", "/etc/wgmon/nats-ca.pem"),
    description:
      "the certificate of the authority that signed the certificates of the servers, in PEM",
    defaultValue: null,
    defaultNote: "the authorities of the system",
    section: "nats",
  },
  "state-dir": {
    ...absolutePath("FOLDER", "/var/lib/wgmon"),
    description: "the directory of the store: events, sessions and undelivered messages",
    defaultValue: null,
    defaultNote: "$STATE_DIRECTORY of systemd, else /var/lib/wgmon",
    section: "files",
  },
  keep: {
    ...duration(HOUR_MS, "3650d"),
    description: "how long past events, past sessions, dead letters and sums of traffic are kept",
    defaultValue: "90d",
    section: "files",
  },
  "max-store": {
    ...size(16_000_000, 1e12),
    description: "maximum size of the store; the oldest data is deleted first",
    defaultValue: "256MB",
    section: "files",
  },
  "log-format": {
    ...choice("auto", "text", "json", "journal"),
    description: "auto: the one that suits the log's destination",
    defaultValue: "auto",
    section: "files",
  },
  "log-level": {
    ...choice("debug", "info", "warn", "error"),
    description: "log messages of this level and above",
    defaultValue: "info",
    section: "files",
  },
  host: {
    ...hostName(),
    description: "this gateway's name in the events",
    defaultValue: null,
    defaultNote: "the machine's host name",
    section: "files",
  },
  config: {
    ...string("FILE", "/etc/wgmon/wgmon.toml"),
    description: "the settings file; the default one is read if it exists",
    defaultValue: "/etc/wgmon/wgmon.toml",
    flagOnly: true,
    section: "files",
    isCommon: true,
  },
} satisfies Record<string, TableEntry>;

export type SettingName = keyof typeof table;
export type ValueOf<N extends SettingName> =
  (typeof table)[N] extends Setting<infer Value> ? Value : never;

export const SETTING_NAMES = Object.keys(table) as SettingName[];

/** `WGMON_IDLE_TIMEOUT` */
export function variableOf(name: string): string {
  return `WGMON_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** `idle_timeout` */
export function keyOf(name: string): string {
  return name.replaceAll("-", "_");
}

export function isSettingName(word: string): word is SettingName {
  return Object.hasOwn(table, word);
}

export function settingOf(name: SettingName): TableEntry {
  return table[name];
}
