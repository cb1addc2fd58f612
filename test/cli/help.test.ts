/** What `--help` and the table in docs/settings.md look like. */

import { expect, test } from "bun:test";

import { helpText, settingsTable } from "../../src/cli/help.ts";
import { commandOf, COMMANDS, table } from "../../src/config/settings-table.ts";

test("the help text", () => {
  expect(helpText()).toMatchInlineSnapshot(`
    "wgmon tells you the moment that a WireGuard peer connects, roams or disconnects.

    Usage: wgmon [run] [flags]
           wgmon COMMAND [flags]

    Commands:
      run                watch and report; what wgmon does without a command
      test-webhook       send a made-up event to the targets and report the outcome
      outbox             list, retry or drop waiting events and dead letters
      rules              print, load or remove firewall rules that wake wgmon
      receive            take webhooks in and print them, to try them out
      status             print who is connected, since when, and what they move
      sessions           print the sessions of peers, the latest first
      events             print past events; --follow: and those to come
      top                show who is connected, as it changes, on the whole terminal
      doctor             check this machine and the settings, and say what to do
      health             ask the running wgmon whether it is ready; exit code 0: it
                         is
      completion         print what lets a shell complete wgmon's commands and flags
      install-service    set wgmon up as a systemd service, and start it
      uninstall-service  stop the service and take it away; its data stays
      extract-names      copy the names of peers from /etc/wireguard for the service
      help               print this; wgmon help COMMAND: what one command takes
      version            print the versions of wgmon and of what it stands on

    Flags:
      --monitor auto|nflog|bpf|poll
                                  what wakes wgmon: nflog, firewall rules that log;
                                  bpf, its own capture; poll, only the clock (every
                                  tick); auto: nflog if rules log the devices'
                                  ports, otherwise bpf (default: auto)
      --group NUMBER              nflog: the group that the firewall rule logs to
                                  (default: 1)
      --interface NAME            bpf: the interface to capture on; any: all
                                  interfaces (default: any)
      --filter EXPRESSION         bpf: which packets to capture, as in tcpdump
                                  (default: handshakes and first packets of the
                                  WireGuard ports found)
      --device NAME               a WireGuard device to watch; may be repeated
                                  (default: all)
      --webhook URL               where to POST the events; slack:URL sets the
                                  format of one alone; may be repeated (default:
                                  none)
      --webhook-file FILE         a file with more webhooks, one on each line, where
                                  no list of processes shows them (default:
                                  $CREDENTIALS_DIRECTORY/webhooks, if it exists)
      --webhook-format FORMAT     how events are written: json, form, discord,
                                  slack, teams, telegram, ntfy, gotify, mattermost,
                                  google-chat, pushover or apprise; auto: as the
                                  URL's service wants it, else json (default: auto)
      --webhook-secret-file FILE  a file with the secrets (whsec_...) to sign with,
                                  one on each line (default:
                                  $CREDENTIALS_DIRECTORY/webhook-secret, if it
                                  exists; else unsigned)
      --webhook-events TYPE       only events of this type, such as peer.connected
                                  or peer.*; may be repeated (default: all)
      --webhook-devices NAME      only events of this device; may be repeated
                                  (default: all)
      --webhook-peers NAME        only events of the peer with this name or public
                                  key; may be repeated (default: all)
      --webhook-digest DURATION   gather the events of this time into one message;
                                  0: send each at once (default: 0s)
      --[no-]manage-rules         nflog: load the firewall rules with nft, follow
                                  the ports, and remove them at the end (default:
                                  false)
      --names PATH                a file or folder whose comments name the peers;
                                  %i: the device, * and ?: in file names; off: none;
                                  may be repeated (default: /etc/wireguard/%i.conf)
      --idle-timeout DURATION     a peer is disconnected after this long without a
                                  sign of life (default: 180s)
      --tick DURATION             how often connected peers are scanned (default:
                                  10s)
      --reconcile DURATION        how often all peers are scanned, in case a packet
                                  was missed; 0: never (default: 60s)
      --hold DURATION             a peer that returns within this time was never
                                  gone (default: 0s)
      --[no-]announce-existing    at the first start, report the peers that are
                                  connected already (default: true)
      --[no-]report-unknown       report handshakes that no peer completed, by
                                  network, once a minute (default: false)
      --listen ADDRESS:PORT       serve the interface, metrics and page by HTTP
                                  there (default: nowhere, but for the Unix socket
                                  of wgmon's own commands)
      --listen-token-file FILE    a file with the bearer tokens to ask for, one on
                                  each line; needed unless listen is 127.0.0.1 or
                                  ::1 (default: $CREDENTIALS_DIRECTORY/listen-token,
                                  if it exists)
      --listen-tls-cert FILE      listen with TLS: the certificate, and those it
                                  stands on, in PEM (default: no TLS)
      --listen-tls-key FILE       its private key, in PEM (default: no TLS)
      --metrics mdlayher|mindflavor|none
                                  the exporter whose names the metrics of peers
                                  have, too: mdlayher, wireguard_exporter;
                                  mindflavor, prometheus_wireguard_exporter; may be
                                  repeated (default: mdlayher)
      --state-dir FOLDER          where the store is: events, sessions, what waits
                                  for a target (default: $STATE_DIRECTORY of
                                  systemd, else /var/lib/wgmon)
      --keep DURATION             how long past events, sessions and undeliverable
                                  messages are kept (default: 90d)
      --max-store SIZE            how large the store may become; the oldest goes
                                  first (default: 256MB)
      --log-format auto|text|json|journal
                                  auto: the one that suits where the log goes
                                  (default: auto)
      --log-level debug|info|warn|error
                                  log this and what is more important (default:
                                  info)
      --host NAME                 this gateway's name in the events (default: the
                                  machine's host name)
      --config FILE               the settings file; the default one is read if it
                                  exists (default: /etc/wgmon/wgmon.toml)
      -h, --help                  print this
      --version                   print the versions of wgmon and of what it stands
                                  on
      --licenses                  print the licences of all that wgmon is made of

    A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d; a size 256MB or 1GiB.

    Every flag is also a variable and a key of the settings file (TOML):
    --idle-timeout is WGMON_IDLE_TIMEOUT and idle_timeout. A flag overrules a
    variable, and a variable the file. The file can name peers and more targets:

      [peers."<public key>"]
      name = "alice"
      idle_timeout = "75s"

      [[target]]
      name = "ops"
      url = "https://hooks.example.net/wgmon"
      peers = ["alice"]
      events = ["peer.disconnected"]

    A target has url, url_file or exec (a list: a program and its arguments), and
    may have name, format, template, template_file, secret_file, events, devices,
    peers, digest and timeout.
    "
  `);
});

test("the help texts of single commands", () => {
  expect(helpText("outbox")).toMatchInlineSnapshot(`
    "wgmon outbox: list, retry or drop waiting events and dead letters

    Usage: wgmon outbox [list|retry|drop] [flags]

    Flags:
      --target NAME               only messages for this target (default: all)
      --id ID                     only this message (default: all)
      --dead                      only dead letters
      --all                       retry and drop, which need --target, --id or this:
                                  every message
      --json                      print JSON, a line for each message
      -h, --help                  print this

    It reads the settings as wgmon run does, and takes the same flags, such as
    --config: wgmon --help lists them.
    "
  `);
  expect(helpText("receive")).toMatchInlineSnapshot(`
    "wgmon receive: take webhooks in and print them, to try them out

    Usage: wgmon receive [flags]

    Flags:
      --port NUMBER               the port; 0: any free one (default: 9588)
      --address ADDRESS           the address to listen on (default: 127.0.0.1)
      --secret-file FILE          a file with the secrets (whsec_...) that the
                                  signature is checked with (default: not checked)
      -h, --help                  print this
    "
  `);
  expect(helpText("events")).toMatchInlineSnapshot(`
    "wgmon events: print past events; --follow: and those to come

    Usage: wgmon events [flags]

    Flags:
      -f, --follow                then go on with those that happen, until Ctrl-C
      --peer NAME                 only this peer: its name, its public key, or the
                                  first 8 characters of the key (default: all)
      --device NAME               only this device; may be repeated (default: those
                                  of the settings, else all)
      --type TYPE                 only of this type, such as peer.connected or
                                  peer.*; may be repeated (default: all)
      --since TIME                only events since then: 7d for seven days ago, or
                                  a time as RFC 3339 has it (default: all)
      --limit NUMBER              how many; the latest (default: 20; all with
                                  --since)
      --json                      print JSON, a line for each event
      -h, --help                  print this

    It reads the settings as wgmon run does, and takes the same flags, such as
    --config: wgmon --help lists them.
    "
  `);
  expect(helpText("version")).toMatchInlineSnapshot(`
    "wgmon version: print the versions of wgmon and of what it stands on

    Usage: wgmon version [flags]

    Flags:
      -h, --help                  print this
    "
  `);
});

test("the help texts fit a terminal of 80 columns, and name every flag and every key", () => {
  for (const command of [null, ...COMMANDS]) {
    for (const line of helpText(command).split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    const flags = command === null ? table : commandOf(command).flags;
    for (const name of Object.keys(flags)) expect(helpText(command)).toContain(name);
  }
  for (const command of COMMANDS) expect(helpText()).toContain(`\n  ${command} `);
});

test("the Markdown table has a row of five cells for each setting", () => {
  const rows = settingsTable().trimEnd().split("\n");
  expect(rows).toHaveLength(Object.keys(table).length + 2);
  for (const row of rows) expect(row.split(/(?<!\\)\|/)).toHaveLength(7);
  expect(rows[2]).toStartWith(
    "| `--monitor auto\\|nflog\\|bpf\\|poll` | `WGMON_MONITOR` | `monitor` | `auto` |",
  );
});
