/** wgmon(8): the man page, made of the settings table as --help is. `bun deploy/manpage.ts | man -l -` shows it. */

import { formatList } from "../src/base/redact.ts";
import {
  commandFlagRow,
  meaning,
  operandsOf,
  settingsOf,
  usage,
  usagesOf,
} from "../src/cli/help.ts";
import { KINDS } from "../src/config/alert-keys.ts";
import {
  COMMAND_NAMES,
  COMMAND_SECTIONS,
  type CommandName,
  commandOf,
} from "../src/config/commands-table.ts";
import {
  keyOf,
  SETTING_SECTIONS,
  type SettingName,
  settingOf,
  type SettingSection,
  variableOf,
} from "../src/config/settings-table.ts";
import { ADDRESSES, targetOptions } from "../src/config/targets.ts";

export interface ManPage {
  readonly version: string;
  /** `2026-11-22`: of the last change. */
  readonly date: string;
}

/** In the language of man(7). */
export function manPage({ version, date }: ManPage): string {
  return `.TH WGMON 8 ${quoted(date)} ${quoted(`wgmon ${version}`)} "System Administration"
.SH NAME
wgmon \\- tells the moment that a WireGuard peer connects, roams or disconnects
.SH SYNOPSIS
.B wgmon
.RI [ flags ]
.br
.B wgmon
.I command
.RI [ flags ]
.SH DESCRIPTION
wgmon watches the WireGuard devices of its network namespace. A packet that begins or completes a
handshake wakes it; it then reads the kernel's own state, and reports what that proves: in its log, to
webhooks and programs, and over HTTP. What was not delivered yet is on disk, and survives its end.
.PP
It needs CAP_NET_ADMIN, and CAP_NET_RAW for
.BR "\\-\\-monitor bpf" .
The service has both. Never give the file itself capabilities, as
.BR setcap (8)
does:
every user who can run it would then have them for any program.
.SH COMMANDS
${Object.entries(COMMAND_SECTIONS)
  .map(([section, title]) => {
    const names = COMMAND_NAMES.filter((name) => commandOf(name).section === section);
    return [`.SS ${quoted(title)}`, ...names.map(command)].join("\n");
  })
  .join("\n")}
.SH FLAGS
Each is also a variable and a key of the settings file; a flag overrides a variable, and a variable
overrides the file. A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d; a size 256MB or 1GiB.
${Object.entries(SETTING_SECTIONS)
  .map(([section, title]) => {
    const names = settingsOf(section as SettingSection);
    return [`.SS ${quoted(title)}`, ...names.map(setting)].join("\n");
  })
  .join("\n")}
.SS "Other flags"
${item("-V, --version, --licenses", "print the versions of wgmon and its components, and their licences")}
.SH SETTINGS FILE
TOML. Beside the keys above it can name peers, and have targets and alerts, each in a table:
.PP
.nf
.RS
[peers."8ly5SwKCANPdyunxgCDvAf8o7MNQwsSu1ofnadakHlc="]
name = "alice"
idle_timeout = "75s"

[[target]]
name = "ops"
url = "https://hooks.example.net/wgmon"
peers = ["alice"]
events = ["peer.disconnected"]

[[alert]]
name = "office-down"
kind = "down"
peers = ["office"]
for = "2m"
.RE
.fi
.PP
${text(`A target has ${formatList(ADDRESSES, "or")}, and may have ${formatList(targetOptions(), "and")}.`)}
.PP
${text(`An alert has a name and one of these kinds: ${formatList(KINDS, "and")}. wgmon alerts examples prints an alert of each kind, and wgmon check prints what the alerts of a file mean.`)}
.SH FILES
${FILES.map(([path, what]) => item(path, what)).join("\n")}
.SH SIGNALS
${SIGNALS.map(([name, what]) => item(name, what)).join("\n")}
.SH EXIT STATUS
0: asked to stop, or done. 1: failed. 2: wrong settings or flags.
.SH SEE ALSO
.BR wg (8),
.BR wg\\-quick (8),
.BR nft (8),
.BR systemd.exec (5)
`;
}

const FILES = [
  [
    "/etc/wgmon/wgmon.toml",
    "the settings, if the file exists; systemctl reload wgmon makes wgmon read it again",
  ],
  ["/etc/wgmon/wgmon.d/*.toml", "more files with tables of alerts, targets and peers"],
  [
    "/etc/credstore/wgmon.webhooks",
    "for the service: URLs of webhooks, one on each line; only root can read the file",
  ],
  ["/etc/credstore/wgmon.webhook-secret", "for the service: secrets to sign with"],
  ["/etc/credstore/wgmon.listen-token", "for the service: accepted bearer tokens"],
  ["/etc/credstore/wgmon.hub", "for the service: the URL of the hub, with its secret"],
  ["/etc/wireguard/*.conf", "comments in them name the peers, if wgmon can read them"],
  ["/var/lib/wgmon/wgmon.db", "the store: events, sessions and undelivered messages"],
  ["/run/wgmon/wgmon.sock", "the socket on which the commands query the running wgmon"],
] as const;

const SIGNALS = [
  ["SIGTERM, SIGINT", "it ends within a second, after one more attempt for each target"],
  ["SIGHUP", "it reads the settings again; what needs a restart is named in a warning"],
] as const;

function setting(name: SettingName): string {
  const entry = settingOf(name);
  const key = entry.flagOnly === true ? "" : `, key ${keyOf(name)}`;
  return item(usage(name, entry), `${meaning(entry)}. Variable ${variableOf(name)}${key}.`);
}

function command(name: CommandName): string {
  const { summary, flags, examples } = commandOf(name);
  const [first, ...others] = usagesOf(name);
  const own = Object.entries(flags).map(([flag, each]) => item(...commandFlagRow(flag, each)));
  const parts = [
    ...operandsOf(name).map(({ placeholder, description }) => item(placeholder, description)),
    ...own,
    ...examples.map(([line, purpose]) => item(`wgmon ${line}`, `Example: ${purpose}.`)),
  ];
  const details = parts.length === 0 ? [] : [".RS", ...parts, ".RE"];
  return [item(first!, summary, others), ...details].join("\n");
}

/** @param others terms with the same description. */
function item(term: string, what: string, others: readonly string[] = []): string {
  const bold = (each: string) => `.B ${quoted(text(each).replaceAll("-", "\\-"))}`;
  const more = others.map((each) => `.TQ\n${bold(each)}\n`).join("");
  return `.TP\n${bold(term)}\n${more}${text(what)}`;
}

/** On one line, and nothing in it is an escape or, at its begin, a request. */
function text(plain: string): string {
  return plain.replaceAll("\\", "\\e").replace(/^[.']/, "\\&$&");
}

/** An argument of a macro. */
function quoted(argument: string): string {
  return `"${argument.replaceAll('"', '""')}"`;
}

if (import.meta.main) {
  const { version } = (await Bun.file(new URL("../package.json", import.meta.url)).json()) as {
    version: string;
  };
  process.stdout.write(manPage({ version, date: new Date().toISOString().slice(0, 10) }));
}
