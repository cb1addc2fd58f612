/** The text of `--help`, and the table in docs/settings.md. */

import { expect, test } from "bun:test";

import { helpText, settingsTable } from "../../src/cli/help.ts";
import { COMMAND_NAMES, commandOf, table } from "../../src/config/settings-table.ts";

test("the help text is the expected one", () => {
  expect(helpText()).toMatchInlineSnapshot(`
    "wgmon tells you the moment that a WireGuard peer connects, roams or disconnects.

    Usage: wgmon [run] [flags]
           wgmon COMMAND [flags]

    Commands:
      run                watch and report; the default command
      test-webhook       send sample events to the targets and report the results
      outbox             list, retry or drop waiting events and dead letters
      rules              print, load or remove the firewall rules that wake wgmon
      receive            receive webhooks and print them, for trying them out
      status             print which peers are connected, since when, and their
                         traffic
      sessions           print the sessions of peers, the latest first
      events             print past events; with --follow also new ones
      top                show the connected peers live, on the whole terminal
      doctor             check this machine and the settings, and print what to fix
      health             check whether the running wgmon is ready; exit code 0 means
                         ready
      completion         print a shell completion script
      install-service    set up wgmon as a systemd service and start it
      uninstall-service  stop and remove the service; its data is kept
      extract-names      copy the names of peers from /etc/wireguard for the service
      help               print this help; wgmon help COMMAND prints the flags of a
                         command
      version            print the versions of wgmon, Bun and the C libraries

    Flags:
      --monitor auto|nflog|bpf|poll
                                  what wakes wgmon; nflog: firewall rules that log;
                                  bpf: its own capture; poll: only the clock (every
                                  tick); auto: nflog if rules log the devices'
                                  ports, otherwise bpf (default: auto)
      --group NUMBER              nflog: the NFLOG group that the firewall rules log
                                  to (default: 1)
      --interface NAME            bpf: the interface to capture on; any: all
                                  interfaces (default: any)
      --filter EXPRESSION         bpf: which packets to capture, as a tcpdump
                                  expression (default: handshakes and first packets
                                  of the WireGuard ports found)
      --device NAME               a WireGuard device to watch; may be repeated
                                  (default: all)
      --webhook URL               URL to POST the events to; slack:URL sets the
                                  format of this URL only; may be repeated (default:
                                  none)
      --webhook-file FILE         a file with more webhooks, one on each line;
                                  unlike flags, it does not show in process lists
                                  (default: $CREDENTIALS_DIRECTORY/webhooks, if it
                                  exists)
      --webhook-format FORMAT     how events are written: json, form or the name of
                                  a service (docs/formats.md lists them); auto: the
                                  format of the service in the URL, else json
                                  (default: auto)
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
      --webhook-digest DURATION   collect events for this long into one message; 0:
                                  send each at once (default: 0s)
      --[no-]manage-rules         nflog: load the firewall rules with nft, update
                                  them when ports change, and remove them when wgmon
                                  ends (default: false)
      --names PATH                a file or folder whose comments name the peers;
                                  %i: the device, * and ?: in file names; off: none;
                                  may be repeated (default: /etc/wireguard/%i.conf)
      --idle-timeout DURATION     a peer is disconnected after this long without
                                  activity (default: 180s)
      --tick DURATION             how often connected peers are scanned (default:
                                  10s)
      --reconcile DURATION        how often all peers are scanned, in case a packet
                                  was missed; 0: never (default: 60s)
      --hold DURATION             a peer that returns within this time is not
                                  reported as disconnected (default: 0s)
      --[no-]announce-existing    at the first start, report the peers that are
                                  already connected (default: true)
      --[no-]report-unknown       report handshakes that no peer completed, grouped
                                  by network, once a minute (default: false)
      --listen ADDRESS:PORT       serve the HTTP API, metrics and the web page on
                                  this address (default: none; wgmon's own commands
                                  use a Unix socket)
      --listen-token-file FILE    a file with the accepted bearer tokens, one on
                                  each line; required unless listen is 127.0.0.1 or
                                  ::1 (default: $CREDENTIALS_DIRECTORY/listen-token,
                                  if it exists)
      --listen-tls-cert FILE      listen with TLS: the certificate and its chain, in
                                  PEM (default: no TLS)
      --listen-tls-key FILE       the private key of the certificate, in PEM
                                  (default: no TLS)
      --metrics mdlayher|mindflavor|none
                                  also export peer metrics under the names of
                                  another exporter (mdlayher: wireguard_exporter,
                                  mindflavor: prometheus_wireguard_exporter); may be
                                  repeated (default: mdlayher)
      --state-dir FOLDER          the directory of the store: events, sessions and
                                  undelivered messages (default: $STATE_DIRECTORY of
                                  systemd, else /var/lib/wgmon)
      --keep DURATION             how long past events, past sessions, dead letters
                                  and sums of traffic are kept (default: 90d)
      --max-store SIZE            maximum size of the store; the oldest data is
                                  deleted first (default: 256MB)
      --log-format auto|text|json|journal
                                  auto: the one that suits the log's destination
                                  (default: auto)
      --log-level debug|info|warn|error
                                  log messages of this level and above (default:
                                  info)
      --host NAME                 this gateway's name in the events (default: the
                                  machine's host name)
      --config FILE               the settings file; the default one is read if it
                                  exists (default: /etc/wgmon/wgmon.toml)
      -h, --help                  print this help
      --version                   print the versions of wgmon, Bun and the C
                                  libraries
      --licenses                  print the licences of wgmon and its components

    A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d; a size 256MB or 1GiB.

    Every flag is also a variable and a key of the settings file (TOML):
    --idle-timeout is WGMON_IDLE_TIMEOUT and idle_timeout. A flag overrides a
    variable, a variable overrides the file. The file can name peers and more
    targets:

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

test("the help texts of commands are the expected ones", () => {
  expect(helpText("outbox")).toMatchInlineSnapshot(`
    "wgmon outbox: list, retry or drop waiting events and dead letters

    Usage: wgmon outbox [list|retry|drop] [flags]

    Flags:
      --target NAME               only messages for this target (default: all)
      --id ID                     only this message (default: all)
      --dead                      only dead letters
      --all                       every message; retry and drop need --target, --id
                                  or --all
      --json                      print JSON, a line for each message
      -h, --help                  print this help

    It reads the same settings as wgmon run and takes the same flags, such as
    --config; wgmon --help lists them.
    "
  `);
  expect(helpText("receive")).toMatchInlineSnapshot(`
    "wgmon receive: receive webhooks and print them, for trying them out

    Usage: wgmon receive [flags]

    Flags:
      --port NUMBER               the port; 0: any free one (default: 9588)
      --address ADDRESS           the address to listen on (default: 127.0.0.1)
      --secret-file FILE          a file with the secrets (whsec_...) to check
                                  signatures with (default: not checked)
      -h, --help                  print this help
    "
  `);
  expect(helpText("events")).toMatchInlineSnapshot(`
    "wgmon events: print past events; with --follow also new ones

    Usage: wgmon events [flags]

    Flags:
      -f, --follow                then print new events as they happen, until Ctrl-C
      --peer NAME                 only this peer: its name, its public key, or the
                                  first 8 characters of the key (default: all)
      --device NAME               only this device; may be repeated (default: the
                                  devices of the settings, else all)
      --type TYPE                 only events of this type, such as peer.connected
                                  or peer.*; may be repeated (default: all)
      --since TIME                only events since then: 7d for seven days ago, or
                                  an RFC 3339 time (default: all)
      --limit NUMBER              how many, the latest first (default: 20; all with
                                  --since)
      --json                      print JSON, a line for each event
      -h, --help                  print this help

    It reads the same settings as wgmon run and takes the same flags, such as
    --config; wgmon --help lists them.
    "
  `);
  expect(helpText("version")).toMatchInlineSnapshot(`
    "wgmon version: print the versions of wgmon, Bun and the C libraries

    Usage: wgmon version [flags]

    Flags:
      -h, --help                  print this help
    "
  `);
});

test("the help texts fit a terminal of 80 columns, and name every flag and every key", () => {
  for (const command of [null, ...COMMAND_NAMES]) {
    for (const line of helpText(command).split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    const flags = command === null ? table : commandOf(command).flags;
    for (const name of Object.keys(flags)) expect(helpText(command)).toContain(name);
  }
  for (const command of COMMAND_NAMES) expect(helpText()).toContain(`\n  ${command} `);
});

test("the Markdown table has a row of five cells for each setting", () => {
  const rows = settingsTable().trimEnd().split("\n");
  expect(rows).toHaveLength(Object.keys(table).length + 2);
  for (const row of rows) expect(row.split(/(?<!\\)\|/)).toHaveLength(7);
  expect(rows[2]).toStartWith(
    "| `--monitor auto\\|nflog\\|bpf\\|poll` | `WGMON_MONITOR` | `monitor` | `auto` |",
  );
});
