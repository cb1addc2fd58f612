/**
 * The table of all commands, with their flags and examples; more than 400 lines because it is in one place. The command
 * line, `--help`, the man page and shell completion are made from it.
 */

import { type Setting, type SettingName, table } from "./settings-table.ts";
import {
  absolutePath,
  boolean,
  duration,
  eventPattern,
  integer,
  listenAddress,
  messageId,
  peerName,
  ruleName,
  string,
  targetName,
  time,
} from "./value-types.ts";

/** The groups of the commands in the help, in this order. */
export const COMMAND_SECTIONS = {
  view: "See who is connected, and what happened",
  events: "Deliver events",
  setup: "Set up and check",
  other: "Other",
} as const;

interface CommandEntry {
  readonly section: keyof typeof COMMAND_SECTIONS;
  /** One line in the list of commands. */
  readonly summary: string;
  /** The words that may follow the command. */
  readonly subcommands: readonly string[];
  /** The operand that follows the command. Absent: the command takes none. */
  readonly argument?: Argument;
  /** The operands that follow the subcommands, by subcommand. A subcommand that is absent takes none. */
  readonly operands?: Readonly<Record<string, Argument>>;
  /** Whether the command reads the settings, and takes their flags. */
  readonly takesSettings: boolean;
  /** The settings that have an effect on the command, for its help; it accepts all flags of wgmon run. */
  readonly relevant?: readonly SettingName[];
  /** Flags of the command itself. They are not settings: no variable and no key in the file. */
  readonly flags: Readonly<Record<string, Setting<unknown>>>;
  /** The subcommands that have a help of their own. */
  readonly helps?: Readonly<Record<string, SubcommandHelp>>;
  /** A line of the help: what the exit codes mean. */
  readonly exitCodes?: string;
  /** Command lines without `wgmon`, and what each does. */
  readonly examples: readonly (readonly [line: string, purpose: string])[];
}

/** What `wgmon COMMAND SUBCOMMAND --help` prints, beside the operand and the examples. */
interface SubcommandHelp {
  readonly summary: string;
  readonly flags: Readonly<Record<string, Setting<unknown>>>;
}

export interface Argument {
  readonly placeholder: string;
  readonly description: string;
  readonly isOptional: boolean;
  /** Several of them may follow. */
  readonly isRepeated?: true;
  /** The candidates of shell completion. */
  readonly suggests?: "file" | "alert" | "silence" | "gateway";
}

const target = { ...targetName(), defaultValue: null };
const peer = {
  ...peerName(),
  description:
    "only this peer: its name, public key (or the first 8 characters), tunnel address or endpoint",
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
const rule = {
  ...ruleName(),
  description: "only alerts of this rule",
  defaultValue: null,
  defaultNote: "all",
};
const historyFlags = (items: string, count: number) => ({
  since: {
    ...time(),
    short: "S",
    description: `only ${items} at this time or later: 2h, today, yesterday, 2026-11-22 or "2026-11-22 16:00"`,
    defaultValue: null,
    defaultNote: "all",
  },
  until: {
    ...time(),
    short: "U",
    description: `only ${items} before this time, written as for --since`,
    defaultValue: null,
    defaultNote: "now",
  },
  limit: {
    ...integer(1, 1e9),
    short: "n",
    description: "how many, the latest first",
    defaultValue: null,
    defaultNote: `${count}; all with --since`,
  },
});

const gatewayArgument = (description: string, isOptional: boolean) =>
  ({ placeholder: "NAME", description, isOptional, suggests: "gateway" }) as const;

const silenceFlags = {
  for: {
    ...duration(1000, "366d"),
    example: "2h",
    description: "add: how long",
    defaultValue: null,
    defaultNote: "until --until",
  },
  until: {
    ...time(),
    short: "U",
    description: 'add: when it ends, such as 18:00 or "2026-11-22 16:00"',
    defaultValue: null,
    defaultNote: "for --for",
  },
  comment: {
    ...string("TEXT", "maintenance"),
    description: "add: why; it is shown with each message that is held back",
    defaultValue: null,
    defaultNote: "none",
  },
  json: json("silence"),
};
const pastFlags = historyFlags("alerts that fired", 50);

export const commands = {
  run: {
    section: "setup",
    summary: "watch and report, until it is stopped; the default command",
    subcommands: [],
    takesSettings: true,
    flags: {},
    examples: [
      ["--webhook https://hooks.example.net/wgmon", "report events to a webhook"],
      ["run --config ./wgmon.toml --log-level debug", "try out a settings file"],
      ["run --manage-rules --listen 127.0.0.1:9586", "load the rules, and serve the page"],
    ],
  },
  "test-webhook": {
    section: "events",
    summary: "send sample events to the targets and report the results",
    subcommands: [],
    takesSettings: true,
    relevant: [
      "config",
      "webhook",
      "webhook-file",
      "webhook-format",
      "webhook-secret-file",
      "hub",
      "hub-file",
      "hub-ca",
      "host",
    ],
    flags: {
      target: {
        ...target,
        description:
          "only to this target: its name, or its number in the log's list of targets, or hub",
        defaultNote: "all",
      },
    },
    examples: [
      ["test-webhook", "to all targets of the settings"],
      ["test-webhook --target ops", "to one of them"],
    ],
  },
  hub: {
    section: "setup",
    summary: "be the hub of several gateways; enroll them, and list them",
    subcommands: ["doctor", "enroll", "forget", "gateways", "init", "rebuild"],
    operands: {
      enroll: {
        placeholder: "NAME",
        description: "enroll: the gateway's --host, in lower case with hyphens",
        isOptional: false,
      },
      forget: gatewayArgument("forget: the gateway; its events stay", false),
      init: {
        placeholder: "nats",
        description: "init: print the configuration of NATS",
        isOptional: true,
      },
      rebuild: gatewayArgument("rebuild: only this gateway", true),
    },
    takesSettings: true,
    flags: {
      json: { ...json("gateway"), description: "gateways, doctor: print JSON, a line for each" },
      replace: {
        ...boolean(),
        description: "enroll: make a new secret; the old one stops working at once",
        defaultValue: "false",
      },
      "secret-file": {
        ...absolutePath("FILE", "/etc/wgmon/berlin.hub"),
        description: "enroll: take the secret from the line that another hub has printed",
        defaultValue: null,
        defaultNote: "a new secret",
      },
      "no-network": {
        ...boolean(),
        description: "doctor: do not try to reach the targets and NATS",
        defaultValue: "false",
      },
    },
    examples: [
      ["hub --listen 127.0.0.1:9587", "receive the reports of gateways, and serve the page"],
      ["hub init", "print what to set up, and where"],
      ["hub init nats", "print the configuration of a NATS server for gateways"],
      ["hub enroll berlin", "print the line for the settings of the gateway berlin"],
      ["hub enroll berlin --secret-file /etc/wgmon/berlin.hub", "on a second hub: the same secret"],
      ["hub gateways", "list the gateways, and which are lost"],
      ["hub doctor", "check the hub, NATS and the gateways, and print what to fix"],
      ["hub rebuild", "ask all gateways for all their events again"],
    ],
  },
  outbox: {
    section: "events",
    summary: "list, retry or drop waiting events and dead letters",
    subcommands: ["list", "retry", "drop"],
    takesSettings: true,
    relevant: ["config", "state-dir"],
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
      json: json("message"),
    },
    examples: [
      ["outbox", "list waiting events and dead letters"],
      ["outbox retry --target ops --dead", "send the dead letters of a target again"],
      ["outbox drop --all", "delete all messages"],
    ],
  },
  rules: {
    section: "setup",
    summary: "print, load or remove the firewall rules that wake wgmon",
    subcommands: [],
    takesSettings: true,
    relevant: ["config", "device", "group"],
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
    examples: [
      ["rules", "print the rules for nftables"],
      ["rules --install", "load them now"],
    ],
  },
  receive: {
    section: "events",
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
    examples: [["receive", "in another terminal: wgmon --webhook http://127.0.0.1:9588/"]],
  },
  status: {
    section: "view",
    summary: "print which peers are connected, and their traffic",
    subcommands: [],
    argument: {
      placeholder: "TEXT",
      description: "only peers with this text in their name, key, tags or addresses",
      isOptional: true,
    },
    takesSettings: true,
    relevant: ["config", "state-dir"],
    flags: { device, json: json("peer") },
    examples: [
      ["status alice", "peers with alice in their name"],
      ["status 10.0.0.5", "the peer with a tunnel address"],
      ["status --device wg0 --json", "for scripts"],
    ],
  },
  peer: {
    section: "view",
    summary: "print everything about one peer",
    subcommands: [],
    argument: {
      placeholder: "NAME",
      description: "its name, public key, tunnel address or endpoint",
      isOptional: false,
    },
    takesSettings: true,
    relevant: ["config", "state-dir"],
    flags: {
      device: { ...device, description: "only a peer of this device" },
      limit: {
        ...integer(1, 1000),
        short: "n",
        description: "how many sessions and events, the latest ones",
        defaultValue: "5",
      },
      json: { ...boolean(), description: "print JSON, on one line", defaultValue: "false" },
    },
    examples: [
      ["peer alice", "all about a peer, by its name"],
      ["peer 10.0.0.5", "by its tunnel address"],
      ["peer alice -n 20", "with more sessions and events"],
    ],
  },
  sessions: {
    section: "view",
    summary: "print the sessions of peers, the latest first",
    subcommands: [],
    takesSettings: true,
    relevant: ["config", "state-dir"],
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
    examples: [
      ["sessions --peer alice -n 10", "the latest ten of a peer"],
      ["sessions --since yesterday --until today", "of yesterday"],
      ["sessions --since 30d --csv", "of 30 days, for a spreadsheet"],
    ],
  },
  events: {
    section: "view",
    summary: "print past events; with --follow also new ones",
    subcommands: [],
    takesSettings: true,
    relevant: ["config", "state-dir"],
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
    examples: [
      ["events -f", "the latest, then new ones"],
      ["events --since today --type peer.connected", "who came today"],
      ["events -n 5 --peer alice", "the latest five of a peer"],
    ],
  },
  alerts: {
    section: "view",
    summary: "print what fires, and why; test rules on the past",
    subcommands: ["test", "explain", "examples"],
    operands: {
      test: {
        placeholder: "FILE",
        description:
          "test: a settings file with the rules to test on the past; without it, the rules of the settings",
        isOptional: true,
        suggests: "file",
      },
      explain: {
        placeholder: "ID",
        description: "explain: the id of an alert, such as alert-17: why it fired, who received it",
        isOptional: false,
        suggests: "alert",
      },
    },
    takesSettings: true,
    relevant: ["config", "state-dir"],
    flags: {
      rule,
      peer,
      device,
      ...pastFlags,
      json: json("alert, or message"),
    },
    helps: {
      test: {
        summary: "print what rules would have sent in the past; nothing is sent",
        flags: {
          rule: { ...rule, description: "only this rule" },
          device,
          since: {
            ...pastFlags.since,
            description:
              'the start of the past to test on: 7d, yesterday, 2026-11-22 or "2026-11-22 16:00"',
            defaultNote: "30d",
          },
          until: {
            ...pastFlags.until,
            description: "the end of the past to test on, written as for --since",
          },
          json: json("message"),
        },
      },
      explain: {
        summary: "print why an alert fired, and who received its messages",
        flags: { json: { ...json("alert"), description: "print JSON, on one line" } },
      },
      examples: { summary: "print an alert of each kind, to copy into the settings", flags: {} },
    },
    examples: [
      ["alerts", "what fires, what is pending and what is held back"],
      ["alerts --since yesterday", "also the alerts that are over"],
      ["alerts explain alert-17", "why it fired, and which messages were sent"],
      ["alerts test --since 30d", "what the rules would have sent in 30 days"],
      ["alerts test ./wgmon.toml", "the same for the rules of another file"],
      ["alerts examples", "a dozen rules to copy into the settings file"],
    ],
  },
  silence: {
    section: "events",
    summary: "hold the messages of alerts back for some time",
    subcommands: ["list", "add", "expire"],
    operands: {
      add: {
        placeholder: "MATCHER",
        description:
          "add: which alerts, such as 'peer=branch-*'; the fields are peer, tag, device, rule, severity and target; an alert must match all",
        isOptional: false,
        isRepeated: true,
      },
      expire: {
        placeholder: "ID",
        description: "expire: the id of the silence that is to end now",
        isOptional: false,
        suggests: "silence",
      },
    },
    takesSettings: true,
    relevant: ["config", "state-dir"],
    flags: silenceFlags,
    helps: {
      list: {
        summary: "list the silences that have not ended",
        flags: { json: silenceFlags.json },
      },
      add: {
        summary: "hold the messages of some alerts back for some time",
        flags: silenceFlags,
      },
      expire: { summary: "end a silence now", flags: { json: silenceFlags.json } },
    },
    examples: [
      ["silence add 'peer=branch-*' --for 2h --comment maintenance", "for two hours"],
      ["silence add device=wg0 severity=warning --until 18:00", "alerts that match both"],
      ["silence", "list the silences that have not ended"],
      ["silence expire ID", "end one of them now"],
    ],
  },
  top: {
    section: "view",
    summary: "show the peers live, on the whole terminal",
    subcommands: [],
    takesSettings: true,
    relevant: ["config"],
    flags: {
      device: { ...device, description: "start with this device; d shows the others" },
      interval: {
        ...duration(200, "1h"),
        description: "how often the screen is updated",
        defaultValue: "1s",
      },
    },
    examples: [["top --device wg0", "the key ? lists all keys"]],
  },
  doctor: {
    section: "setup",
    summary: "check this machine and the settings, and print what to fix",
    subcommands: [],
    takesSettings: true,
    relevant: ["config", "monitor", "device", "webhook"],
    flags: {
      json: json("finding"),
      "no-network": {
        ...boolean(),
        description: "do not try to reach the targets",
        defaultValue: "false",
      },
    },
    examples: [
      ["doctor", "check the running wgmon, with its own settings"],
      ["doctor --config ./wgmon.toml", "check other settings"],
    ],
  },
  check: {
    section: "setup",
    summary: "check the settings and alerts, and print what they mean",
    subcommands: [],
    argument: {
      placeholder: "FILE",
      description: "the settings file; without it, the one of --config",
      isOptional: true,
      suggests: "file",
    },
    takesSettings: true,
    relevant: ["config"],
    flags: {},
    exitCodes: "0: no mistakes, perhaps warnings; 2: mistakes, and wgmon would not start",
    examples: [
      ["check", "the settings file of the service"],
      ["check ./wgmon.toml", "before it is installed; exit code 2 if it has mistakes"],
    ],
  },
  schema: {
    section: "other",
    summary: "print a JSON Schema, for editors and programs",
    subcommands: ["config", "event"],
    takesSettings: false,
    flags: {},
    examples: [
      ["schema config > wgmon.schema.json", "for the editor of the settings file"],
      ["schema event", "for the receiver of events"],
    ],
  },
  health: {
    section: "setup",
    summary: "check whether the running wgmon is ready (exit code 0)",
    subcommands: [],
    takesSettings: false,
    flags: {},
    examples: [["health || systemctl restart wgmon", "in a script"]],
  },
  completion: {
    section: "other",
    summary: "print a shell completion script",
    subcommands: ["bash", "zsh", "fish"],
    takesSettings: false,
    flags: {},
    examples: [
      ["completion bash > /usr/share/bash-completion/completions/wgmon", "for all users of bash"],
    ],
  },
  "install-service": {
    section: "setup",
    summary: "set up wgmon as a systemd service and start it",
    subcommands: [],
    takesSettings: false,
    flags: {},
    examples: [["install-service", "as root, from /usr/local/bin"]],
  },
  "uninstall-service": {
    section: "setup",
    summary: "stop and remove the service; its data is kept",
    subcommands: [],
    takesSettings: false,
    flags: {},
    examples: [["uninstall-service", "as root"]],
  },
  "extract-names": {
    section: "setup",
    summary: "copy the names of /etc/wireguard for the service",
    subcommands: [],
    takesSettings: false,
    flags: {},
    examples: [["extract-names", "as root; the service runs it before it starts"]],
  },
  help: {
    section: "other",
    summary: "print help; wgmon help COMMAND describes a command",
    // A getter, because the names of all commands are complete only after this object.
    get subcommands(): readonly string[] {
      return COMMAND_NAMES.filter((name) => name !== "help");
    },
    takesSettings: false,
    flags: {
      all: {
        ...boolean(),
        description: "print all flags of wgmon run, in groups",
        defaultValue: "false",
      },
    },
    examples: [
      ["help events", "the flags of a command"],
      ["help --all", "all settings"],
    ],
  },
  version: {
    section: "other",
    summary: "print the versions of wgmon, Bun and the C libraries",
    subcommands: [],
    takesSettings: false,
    flags: {},
    examples: [],
  },
} satisfies Record<string, CommandEntry>;

export type CommandName = keyof typeof commands;

export const COMMAND_NAMES = Object.keys(commands) as CommandName[];

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

/** The operand of a subcommand; undefined: it takes none. */
export function operandOf(command: CommandName, subcommand: string): Argument | undefined {
  const { operands = {} } = commandOf(command);
  return Object.hasOwn(operands, subcommand) ? operands[subcommand] : undefined;
}
