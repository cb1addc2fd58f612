/** The text of `--help`, and the table in docs/settings.md. */

import { expect, test } from "bun:test";

import { helpText, settingsTable } from "../../src/cli/help.ts";
import { COMMAND_NAMES, commandOf } from "../../src/config/commands-table.ts";
import { table } from "../../src/config/settings-table.ts";
import { parse } from "../support/settings.ts";

test("the short help text is the expected one", () => {
  expect(helpText()).toMatchInlineSnapshot(`
    "wgmon tells you the moment that a WireGuard peer connects, roams or disconnects.

    Usage: wgmon [COMMAND] [flags]

    See who is connected, and what happened:
      status [TEXT]       print which peers are connected, and their traffic
      peer NAME           print everything about one peer
      sessions            print the sessions of peers, the latest first
      events              print past events; with --follow also new ones
      alerts              print what fires, and why; test rules on the past
      top                 show the peers live, on the whole terminal

    Deliver events:
      test-webhook        send sample events to the targets and report the results
      outbox              list, retry or drop waiting events and dead letters
      receive             receive webhooks and print them, for trying them out
      silence             hold the messages of alerts back for some time

    Set up and check:
      run                 watch and report, until it is stopped; the default command
      hub                 be the hub of several gateways; enroll them, and list them
      rules               print, load or remove the firewall rules that wake wgmon
      doctor              check this machine and the settings, and print what to fix
      check [FILE]        check the settings and alerts, and print what they mean
      health              check whether the running wgmon is ready (exit code 0)
      install-service     set up wgmon as a systemd service and start it
      uninstall-service   stop and remove the service; its data is kept
      extract-names       copy the names of /etc/wireguard for the service

    Other:
      schema              print a JSON Schema, for editors and programs
      completion          print a shell completion script
      help                print help; wgmon help COMMAND describes a command
      version             print the versions of wgmon, Bun and the C libraries

    Flags of wgmon run that are used most:
      --device NAME               a WireGuard device to watch
      --webhook URL               URL to POST the events to
      --[no-]manage-rules         nflog: load the firewall rules with nft
      --listen ADDRESS:PORT       serve the web page, metrics and the HTTP API here
      --config FILE               the settings file
      -h, --help                  print this help
      -V, --version               print the version

    Examples:
      wgmon --webhook https://hooks.example.net/wgmon  report events to a webhook
      wgmon events -f                                  the latest, then new ones
      wgmon peer alice                                 all about a peer, by its name

    wgmon COMMAND --help lists the flags of a command, wgmon help --all all flags.
    More: man 8 wgmon, and docs/README.md of the source.
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

    Flags of wgmon run that matter here:
      --config FILE               the settings file
      --state-dir FOLDER          the directory of the store: events, sessions and
                                  undelivered messages

    Examples:
      wgmon outbox             list waiting events and dead letters
      wgmon outbox retry --target ops --dead
                               send the dead letters of a target again
      wgmon outbox drop --all  delete all messages

    It reads the same settings as wgmon run, and accepts the flags of all; wgmon run
    --help lists them.
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

    Examples:
      wgmon receive  in another terminal: wgmon --webhook http://127.0.0.1:9588/
    "
  `);
  expect(helpText("events")).toMatchInlineSnapshot(`
    "wgmon events: print past events; with --follow also new ones

    Usage: wgmon events [flags]

    Flags:
      -f, --follow                then print new events as they happen, until Ctrl-C
      --peer NAME                 only this peer: its name, public key (or the first
                                  8 characters), tunnel address or endpoint
                                  (default: all)
      --device NAME               only this device; may be repeated (default: the
                                  devices of the settings, else all)
      --type TYPE                 only events of this type, such as peer.connected
                                  or peer.*; may be repeated (default: all)
      -S, --since TIME            only events at this time or later: 2h, today,
                                  yesterday, 2026-11-22 or "2026-11-22 16:00"
                                  (default: all)
      -U, --until TIME            only events before this time, written as for
                                  --since (default: now)
      -n, --limit NUMBER          how many, the latest first (default: 20; all with
                                  --since)
      --json                      print JSON, a line for each event
      -h, --help                  print this help

    Flags of wgmon run that matter here:
      --config FILE               the settings file
      --state-dir FOLDER          the directory of the store: events, sessions and
                                  undelivered messages

    Examples:
      wgmon events -f                                   the latest, then new ones
      wgmon events --since today --type peer.connected  who came today
      wgmon events -n 5 --peer alice                    the latest five of a peer

    It reads the same settings as wgmon run, and accepts the flags of all; wgmon run
    --help lists them.
    "
  `);
  expect(helpText("peer")).toMatchInlineSnapshot(`
    "wgmon peer: print everything about one peer

    Usage: wgmon peer NAME [flags]

      NAME                        its name, public key, tunnel address or endpoint

    Flags:
      --device NAME               only a peer of this device; may be repeated
                                  (default: the devices of the settings, else all)
      -n, --limit NUMBER          how many sessions and events, the latest ones
                                  (default: 5)
      --json                      print JSON, on one line
      -h, --help                  print this help

    Flags of wgmon run that matter here:
      --config FILE               the settings file
      --state-dir FOLDER          the directory of the store: events, sessions and
                                  undelivered messages

    Examples:
      wgmon peer alice        all about a peer, by its name
      wgmon peer 10.0.0.5     by its tunnel address
      wgmon peer alice -n 20  with more sessions and events

    It reads the same settings as wgmon run, and accepts the flags of all; wgmon run
    --help lists them.
    "
  `);
  expect(helpText("run")).toMatchInlineSnapshot(`
    "wgmon run: watch and report, until it is stopped; the default command

    Usage: wgmon [run] [flags]

    Examples:
      wgmon --webhook https://hooks.example.net/wgmon    report events to a webhook
      wgmon run --config ./wgmon.toml --log-level debug  try out a settings file
      wgmon run --manage-rules --listen 127.0.0.1:9586   load the rules, and serve
                                                         the page

    What wgmon watches, and what wakes it:
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
      --[no-]manage-rules         nflog: load the firewall rules with nft; update
                                  them when ports change, remove them when wgmon
                                  ends (default: false)

    Where events go:
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
                                  or alert.*; may be repeated (default: all)
      --webhook-devices NAME      only events of this device; may be repeated
                                  (default: all)
      --webhook-peers NAME        only events of the peer with this name or public
                                  key; may be repeated (default: all)
      --webhook-digest DURATION   collect events for this long into one message; 0:
                                  send each at once (default: 0s)

    Names, sessions and intervals:
      --names PATH                a file or folder whose comments name the peers;
                                  %i: the device, * and ?: in file names; off: none;
                                  may be repeated (default: /etc/wireguard/%i.conf)
      --[no-]resolve-endpoints    show the names that reverse DNS has for public
                                  addresses of endpoints; the DNS resolver learns
                                  these addresses (default: false)
      --places FILE               an MMDB file with the countries or autonomous
                                  systems of addresses, for alerts of kind place;
                                  may be repeated (default: none)
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

    HTTP API, metrics and the web page:
      --listen ADDRESS:PORT       serve the web page, metrics and the HTTP API here
                                  (default: none; wgmon's own commands use a Unix
                                  socket)
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

    Files, the store and the log:
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

    Other flags:
      -h, --help                  print this help
      -V, --version               print the versions of wgmon, Bun and the C
                                  libraries
      --licenses                  print the licences of wgmon and its components

    A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d; a size 256MB or 1GiB.

    Every flag is also a variable and a key of the settings file (TOML):
    --idle-timeout is WGMON_IDLE_TIMEOUT and idle_timeout. A flag overrides a
    variable, a variable overrides the file. The file can name peers, more targets,
    and alerts:

      [peers."<public key>"]
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

    A target has url, url_file or exec (a list: a program and its arguments), and
    may have name, format, template, template_file, secret_file, events, devices,
    peers, digest and timeout.
    An alert has one of the kinds down, flapping, no-return-traffic, shared-key,
    traffic, hours, place, unused, changed, handshakes and target; wgmon alerts
    examples prints an alert of each. Files in wgmon.d, beside the settings file,
    may have more of these tables.
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
  }
  for (const command of COMMAND_NAMES) {
    const flags = command === "run" ? table : commandOf(command).flags;
    for (const name of Object.keys(flags)) expect(helpText(command)).toContain(name);
    expect(helpText()).toContain(`\n  ${command} `);
  }
});

test("the help of a subcommand has only its own usage, flags and examples", () => {
  expect(helpText("alerts", "test")).toMatchInlineSnapshot(`
    "wgmon alerts test: print what rules would have sent in the past; nothing is sent

    Usage: wgmon alerts test [FILE] [flags]

      FILE                        a settings file with the rules to test on the
                                  past; without it, the rules of the settings

    Flags:
      --rule RULE                 only this rule (default: all)
      --device NAME               only this device; may be repeated (default: the
                                  devices of the settings, else all)
      -S, --since TIME            the start of the past to test on: 7d, yesterday,
                                  2026-11-22 or "2026-11-22 16:00" (default: 30d)
      -U, --until TIME            the end of the past to test on, written as for
                                  --since (default: now)
      --json                      print JSON, a line for each message
      -h, --help                  print this help

    Examples:
      wgmon alerts test --since 30d   what the rules would have sent in 30 days
      wgmon alerts test ./wgmon.toml  the same for the rules of another file

    wgmon alerts --help describes the whole command.
    "
  `);
  expect(helpText("silence", "add")).toMatchInlineSnapshot(`
    "wgmon silence add: hold the messages of some alerts back for some time

    Usage: wgmon silence add MATCHER... [flags]

      MATCHER                     which alerts, such as 'peer=branch-*'; the fields
                                  are peer, tag, device, rule, severity and target;
                                  an alert must match all

    Flags:
      --for DURATION              how long (default: until --until)
      -U, --until TIME            when it ends, such as 18:00 or "2026-11-22 16:00"
                                  (default: for --for)
      --comment TEXT              why; it is shown with each message that is held
                                  back (default: none)
      --json                      print JSON, a line for each silence
      -h, --help                  print this help

    Examples:
      wgmon silence add 'peer=branch-*' --for 2h --comment maintenance
        for two hours
      wgmon silence add device=wg0 severity=warning --until 18:00
        alerts that match both

    wgmon silence --help describes the whole command.
    "
  `);
  expect(helpText("alerts", "examples")).not.toContain("--since");
  expect(helpText("alerts", "explain")).toContain("\n  ID   ");
  expect(helpText("outbox", "retry")).toBe(helpText("outbox"));
});

test("the help of wgmon check has its exit codes", () => {
  expect(helpText("check")).toContain("\nExit codes: 0: ");
});

test("the short help fits one screen", () => {
  const lines = helpText().trimEnd().split("\n").length;
  expect(lines).toBeGreaterThanOrEqual(24);
  expect(lines).toBeLessThanOrEqual(51);
});

test("the help of a command has the flags of the settings that matter, and each command has examples", () => {
  expect(helpText("status")).toContain("\n  --device NAME ");
  expect(helpText("sessions")).toContain("\n  --state-dir FOLDER ");
  const without = COMMAND_NAMES.filter((name) => commandOf(name).examples.length === 0);
  expect(without).toEqual(["version"]);
});

const examples = COMMAND_NAMES.flatMap((name) =>
  commandOf(name).examples.map(([line]) => [line, name] as const),
);

test.each(examples)("the example wgmon %s is a valid command line of wgmon %s", (line, name) => {
  // As a shell splits it.
  const words = line.split(/ [|>]/)[0]!.match(/'[^']*'|\S+/g)!;
  const argv = words.map((word) => word.replaceAll("'", ""));
  const toml = `target = [{ name = "ops", url = "https://a.example" }]`;
  expect(parse(argv, { toml, files: { "./wgmon.toml": toml } }).type).toBe(name);
});

test("the Markdown table has a row of five cells for each setting", () => {
  const rows = settingsTable().trimEnd().split("\n");
  expect(rows).toHaveLength(Object.keys(table).length + 2);
  for (const row of rows) expect(row.split(/(?<!\\)\|/)).toHaveLength(7);
  expect(rows[2]).toStartWith(
    "| `--monitor auto\\|nflog\\|bpf\\|poll` | `WGMON_MONITOR` | `monitor` | `auto` |",
  );
});
