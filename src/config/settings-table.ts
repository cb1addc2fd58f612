/**
 * The tables of all settings and commands; more than 400 lines because each table is in one place. Flags, variables, the
 * keys of the settings file, `--help`, docs/settings.md, the man page and shell completion are made from them.
 */

import {
  absolutePath,
  addressAndPort,
  boolean,
  captureFilter,
  choice,
  deviceName,
  duration,
  eventPattern,
  FORMAT_CHOICES,
  hostName,
  integer,
  listenAddress,
  messageId,
  namesPath,
  peerName,
  secretFile,
  since,
  size,
  string,
  targetName,
  type ValueType,
  webhookUrl,
} from "./value-types.ts";

export interface Setting<Value> extends ValueType<Value> {
  readonly description: string;
  /** The text of the default value; null: `defaultNote` describes the default. */
  readonly defaultValue: string | null;
  readonly defaultNote?: string;
  /** The setting has a flag and a variable, but is not allowed in the settings file. */
  readonly flagOnly?: true;
  /** A one-letter form of the flag. */
  readonly short?: string;
}

const SECOND_MS = 1000;
const HOUR_MS = 3_600_000;

export const table = {
  monitor: {
    ...choice("auto", "nflog", "bpf", "poll"),
    description:
      "what wakes wgmon; nflog: firewall rules that log; bpf: its own capture; poll: only the clock (every tick); auto: nflog if rules log the devices' ports, otherwise bpf",
    defaultValue: "auto",
  },
  group: {
    ...integer(0, 65535),
    description: "nflog: the NFLOG group that the firewall rules log to",
    defaultValue: "1",
  },
  interface: {
    ...deviceName("eth0"),
    description: "bpf: the interface to capture on; any: all interfaces",
    defaultValue: "any",
  },
  filter: {
    ...captureFilter(),
    description: "bpf: which packets to capture, as a tcpdump expression",
    defaultValue: null,
    defaultNote: "handshakes and first packets of the WireGuard ports found",
  },
  device: {
    ...deviceName("wg0"),
    separator: /[\s,]+/,
    description: "a WireGuard device to watch",
    defaultValue: null,
    defaultNote: "all",
  },
  webhook: {
    ...webhookUrl(),
    separator: /\s+/,
    description: "URL to POST the events to; slack:URL sets the format of this URL only",
    defaultValue: null,
    defaultNote: "none",
  },
  "webhook-file": {
    ...secretFile("/etc/wgmon/webhooks"),
    description:
      "a file with more webhooks, one on each line; unlike flags, it does not show in process lists",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/webhooks, if it exists",
  },
  "webhook-format": {
    ...choice(...FORMAT_CHOICES),
    placeholder: "FORMAT",
    description:
      "how events are written: json, form or the name of a service (docs/formats.md lists them); auto: the format of the service in the URL, else json",
    defaultValue: "auto",
  },
  "webhook-secret-file": {
    ...secretFile("/etc/wgmon/webhook-secret"),
    description: "a file with the secrets (whsec_...) to sign with, one on each line",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/webhook-secret, if it exists; else unsigned",
  },
  "webhook-events": {
    ...eventPattern(),
    description: "only events of this type, such as peer.connected or peer.*",
    defaultValue: null,
    defaultNote: "all",
  },
  "webhook-devices": {
    ...deviceName("wg0"),
    separator: /[\s,]+/,
    description: "only events of this device",
    defaultValue: null,
    defaultNote: "all",
  },
  "webhook-peers": {
    ...peerName(),
    separator: /,/,
    description: "only events of the peer with this name or public key",
    defaultValue: null,
    defaultNote: "all",
  },
  "webhook-digest": {
    ...duration(0, "1h"),
    description: "collect events for this long into one message; 0: send each at once",
    defaultValue: "0s",
  },
  "manage-rules": {
    ...boolean(),
    description:
      "nflog: load the firewall rules with nft, update them when ports change, and remove them when wgmon ends",
    defaultValue: "false",
  },
  names: {
    ...namesPath(),
    description:
      "a file or folder whose comments name the peers; %i: the device, * and ?: in file names; off: none",
    defaultValue: "/etc/wireguard/%i.conf",
  },
  "idle-timeout": {
    ...duration(SECOND_MS, "365d"),
    description: "a peer is disconnected after this long without activity",
    defaultValue: "180s",
  },
  tick: {
    ...duration(100, "365d"),
    description: "how often connected peers are scanned",
    defaultValue: "10s",
  },
  reconcile: {
    ...duration(0, "365d"),
    description: "how often all peers are scanned, in case a packet was missed; 0: never",
    defaultValue: "60s",
  },
  hold: {
    ...duration(0, "365d"),
    description: "a peer that returns within this time is not reported as disconnected",
    defaultValue: "0s",
  },
  "announce-existing": {
    ...boolean(),
    description: "at the first start, report the peers that are already connected",
    defaultValue: "true",
  },
  "report-unknown": {
    ...boolean(),
    description: "report handshakes that no peer completed, grouped by network, once a minute",
    defaultValue: "false",
  },
  listen: {
    ...addressAndPort(),
    description: "serve the HTTP API, metrics and the web page on this address",
    defaultValue: null,
    defaultNote: "none; wgmon's own commands use a Unix socket",
  },
  "listen-token-file": {
    ...secretFile("/etc/wgmon/listen-token"),
    description:
      "a file with the accepted bearer tokens, one on each line; required unless listen is 127.0.0.1 or ::1",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/listen-token, if it exists",
  },
  "listen-tls-cert": {
    ...absolutePath("FILE", "/etc/wgmon/cert.pem"),
    description: "listen with TLS: the certificate and its chain, in PEM",
    defaultValue: null,
    defaultNote: "no TLS",
  },
  "listen-tls-key": {
    ...absolutePath("FILE", "/etc/wgmon/key.pem"),
    description: "the private key of the certificate, in PEM",
    defaultValue: null,
    defaultNote: "no TLS",
  },
  metrics: {
    ...choice("mdlayher", "mindflavor", "none"),
    separator: /[\s,]+/,
    description:
      "also export peer metrics under the names of another exporter (mdlayher: wireguard_exporter, mindflavor: prometheus_wireguard_exporter)",
    defaultValue: "mdlayher",
  },
  "state-dir": {
    ...absolutePath("FOLDER", "/var/lib/wgmon"),
    description: "the directory of the store: events, sessions and undelivered messages",
    defaultValue: null,
    defaultNote: "$STATE_DIRECTORY of systemd, else /var/lib/wgmon",
  },
  keep: {
    ...duration(HOUR_MS, "3650d"),
    description: "how long past events, past sessions, dead letters and sums of traffic are kept",
    defaultValue: "90d",
  },
  "max-store": {
    ...size(16_000_000, 1e12),
    description: "maximum size of the store; the oldest data is deleted first",
    defaultValue: "256MB",
  },
  "log-format": {
    ...choice("auto", "text", "json", "journal"),
    description: "auto: the one that suits the log's destination",
    defaultValue: "auto",
  },
  "log-level": {
    ...choice("debug", "info", "warn", "error"),
    description: "log messages of this level and above",
    defaultValue: "info",
  },
  host: {
    ...hostName(),
    description: "this gateway's name in the events",
    defaultValue: null,
    defaultNote: "the machine's host name",
  },
  config: {
    ...string("FILE", "/etc/wgmon/wgmon.toml"),
    description: "the settings file; the default one is read if it exists",
    defaultValue: "/etc/wgmon/wgmon.toml",
    flagOnly: true,
  },
} satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof table;
export type ValueOf<N extends SettingName> =
  (typeof table)[N] extends Setting<infer Value> ? Value : never;

export const SETTING_NAMES = Object.keys(table) as SettingName[];

interface CommandEntry {
  /** One line in the list of commands. */
  readonly summary: string;
  /** The words that may follow the command. */
  readonly subcommands: readonly string[];
  /** Whether the command reads the settings, and takes their flags. */
  readonly takesSettings: boolean;
  /** Flags of the command itself. They are not settings: no variable and no key in the file. */
  readonly flags: Readonly<Record<string, Setting<unknown>>>;
}

const target = { ...targetName(), defaultValue: null };
const peer = {
  ...peerName(),
  description: "only this peer: its name, its public key, or the first 8 characters of the key",
  defaultValue: null,
  defaultNote: "all",
};
/** The setting `device` as a filter, for the commands that query the daemon. */
const device = {
  ...table.device,
  description: "only this device",
  defaultNote: "the devices of the settings, else all",
};
const json = (item: string) => ({
  ...boolean(),
  description: `print JSON, a line for each ${item}`,
  defaultValue: "false",
});
const historyFlags = (items: string, count: number) => ({
  since: {
    ...since(),
    description: `only ${items} since then: 7d for seven days ago, or an RFC 3339 time`,
    defaultValue: null,
    defaultNote: "all",
  },
  limit: {
    ...integer(1, 1e9),
    description: "how many, the latest first",
    defaultValue: null,
    defaultNote: `${count}; all with --since`,
  },
});

export const commands = {
  run: {
    summary: "watch and report; the default command",
    subcommands: [],
    takesSettings: true,
    flags: {},
  },
  "test-webhook": {
    summary: "send sample events to the targets and report the results",
    subcommands: [],
    takesSettings: true,
    flags: {
      target: {
        ...target,
        description: "only to this target: its name, or its number in the log's list of targets",
        defaultNote: "all",
      },
    },
  },
  outbox: {
    summary: "list, retry or drop waiting events and dead letters",
    subcommands: ["list", "retry", "drop"],
    takesSettings: true,
    flags: {
      target: { ...target, description: "only messages for this target", defaultNote: "all" },
      id: {
        ...messageId(),
        description: "only this message",
        defaultValue: null,
        defaultNote: "all",
      },
      dead: { ...boolean(), description: "only dead letters", defaultValue: "false" },
      all: {
        ...boolean(),
        description: "every message; retry and drop need --target, --id or --all",
        defaultValue: "false",
      },
      json: {
        ...boolean(),
        description: "print JSON, a line for each message",
        defaultValue: "false",
      },
    },
  },
  rules: {
    summary: "print, load or remove the firewall rules that wake wgmon",
    subcommands: [],
    takesSettings: true,
    flags: {
      nft: {
        ...boolean(),
        description: "print the rules for nftables; the default",
        defaultValue: "false",
      },
      iptables: {
        ...boolean(),
        description: "print the rules for iptables and ip6tables",
        defaultValue: "false",
      },
      install: { ...boolean(), description: "load the rules with nft", defaultValue: "false" },
      remove: { ...boolean(), description: "remove the loaded rules", defaultValue: "false" },
    },
  },
  receive: {
    summary: "receive webhooks and print them, for trying them out",
    subcommands: [],
    takesSettings: false,
    flags: {
      port: {
        ...integer(0, 65535),
        description: "the port; 0: any free one",
        defaultValue: "9588",
      },
      address: {
        ...listenAddress(),
        description: "the address to listen on",
        defaultValue: "127.0.0.1",
      },
      "secret-file": {
        ...string("FILE", "/etc/wgmon/webhook-secret"),
        secret: true,
        description: "a file with the secrets (whsec_...) to check signatures with",
        defaultValue: null,
        defaultNote: "not checked",
      },
    },
  },
  status: {
    summary: "print which peers are connected, since when, and their traffic",
    subcommands: [],
    takesSettings: true,
    flags: { device, json: json("peer") },
  },
  sessions: {
    summary: "print the sessions of peers, the latest first",
    subcommands: [],
    takesSettings: true,
    flags: {
      peer,
      device,
      ...historyFlags("sessions that were open", 50),
      json: json("session"),
      csv: {
        ...boolean(),
        description: "print the sessions as CSV for spreadsheets (RFC 4180)",
        defaultValue: "false",
      },
    },
  },
  events: {
    summary: "print past events; with --follow also new ones",
    subcommands: [],
    takesSettings: true,
    flags: {
      follow: {
        ...boolean(),
        short: "f",
        description: "then print new events as they happen, until Ctrl-C",
        defaultValue: "false",
      },
      peer,
      device,
      type: {
        ...eventPattern(),
        description: "only events of this type, such as peer.connected or peer.*",
        defaultValue: null,
        defaultNote: "all",
      },
      ...historyFlags("events", 20),
      json: json("event"),
    },
  },
  top: {
    summary: "show the connected peers live, on the whole terminal",
    subcommands: [],
    takesSettings: true,
    flags: {
      device: { ...device, description: "start with this device; d shows the others" },
      interval: {
        ...duration(200, "1h"),
        description: "how often the screen is updated",
        defaultValue: "1s",
      },
    },
  },
  doctor: {
    summary: "check this machine and the settings, and print what to fix",
    subcommands: [],
    takesSettings: true,
    flags: {
      json: {
        ...boolean(),
        description: "print JSON, a line for each finding",
        defaultValue: "false",
      },
      "no-network": {
        ...boolean(),
        description: "do not try to reach the targets",
        defaultValue: "false",
      },
    },
  },
  health: {
    summary: "check whether the running wgmon is ready; exit code 0 means ready",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
  completion: {
    summary: "print a shell completion script",
    subcommands: ["bash", "zsh", "fish"],
    takesSettings: false,
    flags: {},
  },
  "install-service": {
    summary: "set up wgmon as a systemd service and start it",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
  "uninstall-service": {
    summary: "stop and remove the service; its data is kept",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
  "extract-names": {
    summary: "copy the names of peers from /etc/wireguard for the service",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
  help: {
    summary: "print this help; wgmon help COMMAND prints the flags of a command",
    subcommands: [
      "run",
      "test-webhook",
      "outbox",
      "rules",
      "receive",
      "status",
      "sessions",
      "events",
      "top",
      "doctor",
      "health",
      "completion",
      "install-service",
      "uninstall-service",
      "extract-names",
      "version",
    ],
    takesSettings: false,
    flags: {},
  },
  version: {
    summary: "print the versions of wgmon, Bun and the C libraries",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
} satisfies Record<string, CommandEntry>;

export type CommandName = keyof typeof commands;

export const COMMAND_NAMES = Object.keys(commands) as CommandName[];

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

export function settingOf(name: SettingName): Setting<unknown> {
  return table[name];
}

/** `follow` for `f`. Other names are returned unchanged. */
export function longName(written: string): string {
  if (written.length > 1) return written;
  for (const name of COMMAND_NAMES) {
    for (const [flag, { short }] of Object.entries(commandOf(name).flags)) {
      if (short === written) return flag;
    }
  }
  return written;
}

export function commandOf(name: CommandName): CommandEntry {
  return commands[name];
}
