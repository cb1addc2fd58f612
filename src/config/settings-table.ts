/**
 * All settings and commands. Flags, variables, the settings file, `--help` and docs/settings.md are made from
 * it.
 */

import { formatList } from "../base/redact.ts";
import {
  absolutePath,
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
  listenPlace,
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
  /** The default as it would be written; null: `defaultNote` describes it. */
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
      "what wakes wgmon: nflog, firewall rules that log; bpf, its own capture; poll, only the clock (every tick); auto: nflog if rules log the devices' ports, otherwise bpf",
    defaultValue: "auto",
  },
  group: {
    ...integer(0, 65535),
    description: "nflog: the group that the firewall rule logs to",
    defaultValue: "1",
  },
  interface: {
    ...deviceName("eth0"),
    description: "bpf: the interface to capture on; any: all interfaces",
    defaultValue: "any",
  },
  filter: {
    ...captureFilter(),
    description: "bpf: which packets to capture, as in tcpdump",
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
    description: "where to POST the events; slack:URL sets the format of one alone",
    defaultValue: null,
    defaultNote: "none",
  },
  "webhook-file": {
    ...secretFile("/etc/wgmon/webhooks"),
    description:
      "a file with more webhooks, one on each line, where no list of processes shows them",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/webhooks, if it exists",
  },
  "webhook-format": {
    ...choice(...FORMAT_CHOICES),
    placeholder: "FORMAT",
    description: `how events are written: ${formatList(FORMAT_CHOICES.slice(1), "or")}; auto: as the URL's service wants it, else json`,
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
    description: "gather the events of this time into one message; 0: send each at once",
    defaultValue: "0s",
  },
  "manage-rules": {
    ...boolean(),
    description:
      "nflog: load the firewall rules with nft, follow the ports, and remove them at the end",
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
    description: "a peer is disconnected after this long without a sign of life",
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
    description: "a peer that returns within this time was never gone",
    defaultValue: "0s",
  },
  "announce-existing": {
    ...boolean(),
    description: "at the first start, report the peers that are connected already",
    defaultValue: "true",
  },
  "report-unknown": {
    ...boolean(),
    description: "report handshakes that no peer completed, by network, once a minute",
    defaultValue: "false",
  },
  listen: {
    ...listenPlace(),
    description: "serve the interface, metrics and page by HTTP there",
    defaultValue: null,
    defaultNote: "nowhere, but for the Unix socket of wgmon's own commands",
  },
  "listen-token-file": {
    ...secretFile("/etc/wgmon/listen-token"),
    description:
      "a file with the bearer tokens to ask for, one on each line; needed unless listen is 127.0.0.1 or ::1",
    defaultValue: null,
    defaultNote: "$CREDENTIALS_DIRECTORY/listen-token, if it exists",
  },
  "listen-tls-cert": {
    ...absolutePath("FILE", "/etc/wgmon/cert.pem"),
    description: "listen with TLS: the certificate, and those it stands on, in PEM",
    defaultValue: null,
    defaultNote: "no TLS",
  },
  "listen-tls-key": {
    ...absolutePath("FILE", "/etc/wgmon/key.pem"),
    description: "its private key, in PEM",
    defaultValue: null,
    defaultNote: "no TLS",
  },
  metrics: {
    ...choice("mdlayher", "mindflavor", "none"),
    separator: /[\s,]+/,
    description:
      "the exporter whose names the metrics of peers have, too: mdlayher, wireguard_exporter; mindflavor, prometheus_wireguard_exporter",
    defaultValue: "mdlayher",
  },
  "state-dir": {
    ...absolutePath("FOLDER", "/var/lib/wgmon"),
    description: "where the store is: events, sessions, what waits for a target",
    defaultValue: null,
    defaultNote: "$STATE_DIRECTORY of systemd, else /var/lib/wgmon",
  },
  keep: {
    ...duration(HOUR_MS, "3650d"),
    description: "how long past events, sessions and undeliverable messages are kept",
    defaultValue: "90d",
  },
  "max-store": {
    ...size(16_000_000, 1e12),
    description: "how large the store may become; the oldest goes first",
    defaultValue: "256MB",
  },
  "log-format": {
    ...choice("auto", "text", "json", "journal"),
    description: "auto: the one that suits where the log goes",
    defaultValue: "auto",
  },
  "log-level": {
    ...choice("debug", "info", "warn", "error"),
    description: "log this and what is more important",
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

export type Name = keyof typeof table;
export type ValueOf<N extends Name> =
  (typeof table)[N] extends Setting<infer Value> ? Value : never;

export const NAMES = Object.keys(table) as Name[];

interface CommandEntry {
  /** One line in the list of commands. */
  readonly summary: string;
  /** Words that may follow the command, besides flags. */
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
/** The setting as the commands that query wgmon use it: as a filter. */
const device = {
  ...table.device,
  description: "only this device",
  defaultNote: "those of the settings, else all",
};
const json = (what: string) => ({
  ...boolean(),
  description: `print JSON, a line for each ${what}`,
  defaultValue: "false",
});
const limited = (what: string, count: number) => ({
  since: {
    ...since(),
    description: `only ${what} since then: 7d for seven days ago, or a time as RFC 3339 has it`,
    defaultValue: null,
    defaultNote: "all",
  },
  limit: {
    ...integer(1, 1e9),
    description: "how many; the latest",
    defaultValue: null,
    defaultNote: `${count}; all with --since`,
  },
});

export const commands = {
  run: {
    summary: "watch and report; what wgmon does without a command",
    subcommands: [],
    takesSettings: true,
    flags: {},
  },
  "test-webhook": {
    summary: "send a made-up event to the targets and report the outcome",
    subcommands: [],
    takesSettings: true,
    flags: {
      target: {
        ...target,
        description: "only to this one: its name, or its number in the log's list of targets",
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
        description: "retry and drop, which need --target, --id or this: every message",
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
    summary: "print, load or remove firewall rules that wake wgmon",
    subcommands: [],
    takesSettings: true,
    flags: {
      nft: {
        ...boolean(),
        description: "print them for nftables; the default",
        defaultValue: "false",
      },
      iptables: {
        ...boolean(),
        description: "print them for iptables and ip6tables",
        defaultValue: "false",
      },
      install: { ...boolean(), description: "load them with nft", defaultValue: "false" },
      remove: { ...boolean(), description: "take away what was loaded", defaultValue: "false" },
    },
  },
  receive: {
    summary: "take webhooks in and print them, to try them out",
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
        description: "a file with the secrets (whsec_...) that the signature is checked with",
        defaultValue: null,
        defaultNote: "not checked",
      },
    },
  },
  status: {
    summary: "print who is connected, since when, and what they move",
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
      ...limited("sessions that lasted", 50),
      json: json("session"),
      csv: {
        ...boolean(),
        description: "print them for spreadsheets (RFC 4180)",
        defaultValue: "false",
      },
    },
  },
  events: {
    summary: "print past events; --follow: and those to come",
    subcommands: [],
    takesSettings: true,
    flags: {
      follow: {
        ...boolean(),
        short: "f",
        description: "then go on with those that happen, until Ctrl-C",
        defaultValue: "false",
      },
      peer,
      device,
      type: {
        ...eventPattern(),
        description: "only of this type, such as peer.connected or peer.*",
        defaultValue: null,
        defaultNote: "all",
      },
      ...limited("events", 20),
      json: json("event"),
    },
  },
  top: {
    summary: "show who is connected, as it changes, on the whole terminal",
    subcommands: [],
    takesSettings: true,
    flags: {
      device: { ...device, description: "begin with this device; d shows the others" },
      interval: {
        ...duration(200, "1h"),
        description: "how often it is brought up to date",
        defaultValue: "1s",
      },
    },
  },
  doctor: {
    summary: "check this machine and the settings, and say what to do",
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
    summary: "ask the running wgmon whether it is ready; exit code 0: it is",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
  completion: {
    summary: "print what lets a shell complete wgmon's commands and flags",
    subcommands: ["bash", "zsh", "fish"],
    takesSettings: false,
    flags: {},
  },
  "install-service": {
    summary: "set wgmon up as a systemd service, and start it",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
  "uninstall-service": {
    summary: "stop the service and take it away; its data stays",
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
    summary: "print this; wgmon help COMMAND: what one command takes",
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
    summary: "print the versions of wgmon and of what it stands on",
    subcommands: [],
    takesSettings: false,
    flags: {},
  },
} satisfies Record<string, CommandEntry>;

export type CommandName = keyof typeof commands;

export const COMMANDS = Object.keys(commands) as CommandName[];

/** `WGMON_IDLE_TIMEOUT` */
export function variableOf(name: string): string {
  return `WGMON_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** `idle_timeout` */
export function keyOf(name: string): string {
  return name.replaceAll("-", "_");
}

export function isName(word: string): word is Name {
  return Object.hasOwn(table, word);
}

export function settingOf(name: Name): Setting<unknown> {
  return table[name];
}

/** `follow` for `f`. Other names are returned unchanged. */
export function longName(written: string): string {
  if (written.length > 1) return written;
  for (const name of COMMANDS) {
    for (const [flag, { short }] of Object.entries(commandOf(name).flags)) {
      if (short === written) return flag;
    }
  }
  return written;
}

export function commandOf(name: CommandName): CommandEntry {
  return commands[name];
}
