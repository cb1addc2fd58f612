/**
 * All settings and commands. Flags, variables, the settings file, `--help` and docs/settings.md are made from
 * it.
 */

import { listed } from "../base/redact.ts";
import {
  absolutePath,
  captureFilter,
  choice,
  deviceName,
  duration,
  eventPattern,
  FORMAT_CHOICES,
  freeText,
  hostName,
  type Kind,
  listenAddress,
  listenPlace,
  messageId,
  namesPath,
  onOrOff,
  peerName,
  secretFile,
  since,
  size,
  targetName,
  webhookUrl,
  wholeNumber,
} from "./value-types.ts";

export interface Setting<Value> extends Kind<Value> {
  readonly meaning: string;
  /** The default as it would be written; null: `otherwise` describes the default. */
  readonly initial: string | null;
  readonly otherwise?: string;
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
    meaning:
      "what wakes wgmon: nflog, firewall rules that log; bpf, its own capture; poll, only the clock (every tick); auto: nflog if rules log the devices' ports, otherwise bpf",
    initial: "auto",
  },
  group: {
    ...wholeNumber(0, 65535),
    meaning: "nflog: the group that the firewall rule logs to",
    initial: "1",
  },
  interface: {
    ...deviceName("eth0"),
    meaning: "bpf: the interface to capture on; any: all interfaces",
    initial: "any",
  },
  filter: {
    ...captureFilter(),
    meaning: "bpf: which packets to capture, as in tcpdump",
    initial: null,
    otherwise: "handshakes and first packets of the WireGuard ports found",
  },
  device: {
    ...deviceName("wg0"),
    separator: /[\s,]+/,
    meaning: "a WireGuard device to watch",
    initial: null,
    otherwise: "all",
  },
  webhook: {
    ...webhookUrl(),
    separator: /\s+/,
    meaning: "where to POST the events; slack:URL sets the format of one alone",
    initial: null,
    otherwise: "none",
  },
  "webhook-file": {
    ...secretFile("/etc/wgmon/webhooks"),
    meaning: "a file with more webhooks, one on each line, where no list of processes shows them",
    initial: null,
    otherwise: "$CREDENTIALS_DIRECTORY/webhooks, if it exists",
  },
  "webhook-format": {
    ...choice(...FORMAT_CHOICES),
    placeholder: "FORMAT",
    meaning: `how events are written: ${listed(FORMAT_CHOICES.slice(1), "or")}; auto: as the URL's service wants it, else json`,
    initial: "auto",
  },
  "webhook-secret-file": {
    ...secretFile("/etc/wgmon/webhook-secret"),
    meaning: "a file with the secrets (whsec_...) to sign with, one on each line",
    initial: null,
    otherwise: "$CREDENTIALS_DIRECTORY/webhook-secret, if it exists; else unsigned",
  },
  "webhook-events": {
    ...eventPattern(),
    meaning: "only events of this type, such as peer.connected or peer.*",
    initial: null,
    otherwise: "all",
  },
  "webhook-devices": {
    ...deviceName("wg0"),
    separator: /[\s,]+/,
    meaning: "only events of this device",
    initial: null,
    otherwise: "all",
  },
  "webhook-peers": {
    ...peerName(),
    separator: /,/,
    meaning: "only events of the peer with this name or public key",
    initial: null,
    otherwise: "all",
  },
  "webhook-digest": {
    ...duration(0, "1h"),
    meaning: "gather the events of this time into one message; 0: send each at once",
    initial: "0s",
  },
  "manage-rules": {
    ...onOrOff(),
    meaning:
      "nflog: load the firewall rules with nft, follow the ports, and remove them at the end",
    initial: "false",
  },
  names: {
    ...namesPath(),
    meaning:
      "a file or folder whose comments name the peers; %i: the device, * and ?: in file names; off: none",
    initial: "/etc/wireguard/%i.conf",
  },
  "idle-timeout": {
    ...duration(SECOND_MS, "365d"),
    meaning: "a peer is disconnected after this long without a sign of life",
    initial: "180s",
  },
  tick: {
    ...duration(100, "365d"),
    meaning: "how often connected peers are looked at",
    initial: "10s",
  },
  reconcile: {
    ...duration(0, "365d"),
    meaning: "how often all peers are looked at, in case a packet was missed; 0: never",
    initial: "60s",
  },
  hold: {
    ...duration(0, "365d"),
    meaning: "a peer that returns within this time was never gone",
    initial: "0s",
  },
  "announce-existing": {
    ...onOrOff(),
    meaning: "at the first start, report the peers that are connected already",
    initial: "true",
  },
  "report-unknown": {
    ...onOrOff(),
    meaning: "report handshakes that no peer completed, by network, once a minute",
    initial: "false",
  },
  listen: {
    ...listenPlace(),
    meaning: "serve the interface, metrics and page by HTTP there",
    initial: null,
    otherwise: "nowhere, but for the Unix socket of wgmon's own commands",
  },
  "listen-token-file": {
    ...secretFile("/etc/wgmon/listen-token"),
    meaning:
      "a file with the bearer tokens to ask for, one on each line; needed unless listen is 127.0.0.1 or ::1",
    initial: null,
    otherwise: "$CREDENTIALS_DIRECTORY/listen-token, if it exists",
  },
  "listen-tls-cert": {
    ...absolutePath("FILE", "/etc/wgmon/cert.pem"),
    meaning: "listen with TLS: the certificate, and those it stands on, in PEM",
    initial: null,
    otherwise: "no TLS",
  },
  "listen-tls-key": {
    ...absolutePath("FILE", "/etc/wgmon/key.pem"),
    meaning: "its private key, in PEM",
    initial: null,
    otherwise: "no TLS",
  },
  metrics: {
    ...choice("mdlayher", "mindflavor", "none"),
    separator: /[\s,]+/,
    meaning:
      "the exporter whose names the metrics of peers have, too: mdlayher, wireguard_exporter; mindflavor, prometheus_wireguard_exporter",
    initial: "mdlayher",
  },
  "state-dir": {
    ...absolutePath("FOLDER", "/var/lib/wgmon"),
    meaning: "where the store is: events, sessions, what waits for a target",
    initial: null,
    otherwise: "$STATE_DIRECTORY of systemd, else /var/lib/wgmon",
  },
  keep: {
    ...duration(HOUR_MS, "3650d"),
    meaning: "how long past events, sessions and undeliverable messages are kept",
    initial: "90d",
  },
  "max-store": {
    ...size(16_000_000, 1e12),
    meaning: "how large the store may become; the oldest goes first",
    initial: "256MB",
  },
  "log-format": {
    ...choice("auto", "text", "json", "journal"),
    meaning: "auto: the one that suits where the log goes",
    initial: "auto",
  },
  "log-level": {
    ...choice("debug", "info", "warn", "error"),
    meaning: "log this and what is more important",
    initial: "info",
  },
  host: {
    ...hostName(),
    meaning: "this gateway's name in the events",
    initial: null,
    otherwise: "the machine's host name",
  },
  config: {
    ...freeText("FILE", "/etc/wgmon/wgmon.toml"),
    meaning: "the settings file; the default one is read if it exists",
    initial: "/etc/wgmon/wgmon.toml",
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
  readonly words: readonly string[];
  /** Whether the command reads the settings, and takes their flags. */
  readonly takesSettings: boolean;
  /** Flags of the command itself. They are not settings: no variable and no key in the file. */
  readonly flags: Readonly<Record<string, Setting<unknown>>>;
}

const target = { ...targetName(), initial: null };
const peer = {
  ...peerName(),
  meaning: "only this peer: its name, its public key, or the first 8 characters of the key",
  initial: null,
  otherwise: "all",
};
/** The setting as the commands that query wgmon use it: as a filter. */
const device = {
  ...table.device,
  meaning: "only this device",
  otherwise: "those of the settings, else all",
};
const json = (what: string) => ({
  ...onOrOff(),
  meaning: `print JSON, a line for each ${what}`,
  initial: "false",
});
const limited = (what: string, count: number) => ({
  since: {
    ...since(),
    meaning: `only ${what} since then: 7d for seven days ago, or a time as RFC 3339 has it`,
    initial: null,
    otherwise: "all",
  },
  limit: {
    ...wholeNumber(1, 1e9),
    meaning: "how many; the latest",
    initial: null,
    otherwise: `${count}; all with --since`,
  },
});

export const commands = {
  run: {
    summary: "watch and report; what wgmon does without a command",
    words: [],
    takesSettings: true,
    flags: {},
  },
  "test-webhook": {
    summary: "send a made-up event to the targets and report the outcome",
    words: [],
    takesSettings: true,
    flags: {
      target: {
        ...target,
        meaning: "only to this one: its name, or its number in the log's list of targets",
        otherwise: "all",
      },
    },
  },
  outbox: {
    summary: "list, retry or drop waiting events and dead letters",
    words: ["list", "retry", "drop"],
    takesSettings: true,
    flags: {
      target: { ...target, meaning: "only messages for this target", otherwise: "all" },
      id: { ...messageId(), meaning: "only this message", initial: null, otherwise: "all" },
      dead: { ...onOrOff(), meaning: "only dead letters", initial: "false" },
      all: {
        ...onOrOff(),
        meaning: "retry and drop, which need --target, --id or this: every message",
        initial: "false",
      },
      json: { ...onOrOff(), meaning: "print JSON, a line for each message", initial: "false" },
    },
  },
  rules: {
    summary: "print, load or remove firewall rules that wake wgmon",
    words: [],
    takesSettings: true,
    flags: {
      nft: { ...onOrOff(), meaning: "print them for nftables; the default", initial: "false" },
      iptables: {
        ...onOrOff(),
        meaning: "print them for iptables and ip6tables",
        initial: "false",
      },
      install: { ...onOrOff(), meaning: "load them with nft", initial: "false" },
      remove: { ...onOrOff(), meaning: "take away what was loaded", initial: "false" },
    },
  },
  receive: {
    summary: "take webhooks in and print them, to try them out",
    words: [],
    takesSettings: false,
    flags: {
      port: { ...wholeNumber(0, 65535), meaning: "the port; 0: any free one", initial: "9588" },
      address: { ...listenAddress(), meaning: "the address to listen on", initial: "127.0.0.1" },
      "secret-file": {
        ...freeText("FILE", "/etc/wgmon/webhook-secret"),
        secret: true,
        meaning: "a file with the secrets (whsec_...) that the signature is checked with",
        initial: null,
        otherwise: "not checked",
      },
    },
  },
  status: {
    summary: "print who is connected, since when, and what they move",
    words: [],
    takesSettings: true,
    flags: { device, json: json("peer") },
  },
  sessions: {
    summary: "print the sessions of peers, the latest first",
    words: [],
    takesSettings: true,
    flags: {
      peer,
      device,
      ...limited("sessions that lasted", 50),
      json: json("session"),
      csv: { ...onOrOff(), meaning: "print them for spreadsheets (RFC 4180)", initial: "false" },
    },
  },
  events: {
    summary: "print past events; --follow: and those to come",
    words: [],
    takesSettings: true,
    flags: {
      follow: {
        ...onOrOff(),
        short: "f",
        meaning: "then go on with those that happen, until Ctrl-C",
        initial: "false",
      },
      peer,
      device,
      type: {
        ...eventPattern(),
        meaning: "only of this type, such as peer.connected or peer.*",
        initial: null,
        otherwise: "all",
      },
      ...limited("events", 20),
      json: json("event"),
    },
  },
  top: {
    summary: "show who is connected, as it changes, on the whole terminal",
    words: [],
    takesSettings: true,
    flags: {
      device: { ...device, meaning: "begin with this device; d shows the others" },
      interval: {
        ...duration(200, "1h"),
        meaning: "how often it is brought up to date",
        initial: "1s",
      },
    },
  },
  doctor: {
    summary: "check this machine and the settings, and say what to do",
    words: [],
    takesSettings: true,
    flags: {
      json: { ...onOrOff(), meaning: "print JSON, a line for each finding", initial: "false" },
      "no-network": { ...onOrOff(), meaning: "do not try to reach the targets", initial: "false" },
    },
  },
  health: {
    summary: "ask the running wgmon whether it is ready; exit code 0: it is",
    words: [],
    takesSettings: false,
    flags: {},
  },
  completion: {
    summary: "print what lets a shell complete wgmon's commands and flags",
    words: ["bash", "zsh", "fish"],
    takesSettings: false,
    flags: {},
  },
  "install-service": {
    summary: "set wgmon up as a systemd service, and start it",
    words: [],
    takesSettings: false,
    flags: {},
  },
  "uninstall-service": {
    summary: "stop the service and take it away; its data stays",
    words: [],
    takesSettings: false,
    flags: {},
  },
  "extract-names": {
    summary: "copy the names of peers from /etc/wireguard for the service",
    words: [],
    takesSettings: false,
    flags: {},
  },
  help: {
    summary: "print this; wgmon help COMMAND: what one command takes",
    words: [
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
    words: [],
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
