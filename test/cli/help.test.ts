/** What `--help` and the README's table look like. */

import { expect, test } from "bun:test";

import { helpText, settingsTable } from "../../src/cli/help.ts";
import { table } from "../../src/config.ts";

test("the help text", () => {
  expect(helpText()).toMatchInlineSnapshot(`
    "wgmon tells you the moment that a WireGuard peer connects, roams or disconnects.

    Usage: wgmon [run] [flags]
           wgmon help
           wgmon version

    Flags:
      --monitor nflog|bpf|poll    what wakes wgmon: nflog, a firewall rule that
                                  logs; bpf, its own capture; poll, only the clock
                                  (every tick) (default: nflog)
      --group NUMBER              nflog: the group that the firewall rule logs to
                                  (default: 1)
      --interface NAME            bpf: where to capture; any: everywhere (default:
                                  eth0)
      --filter EXPRESSION         bpf: which packets to capture, as in tcpdump
                                  (default: handshakes and first packets of the
                                  WireGuard ports found)
      --device NAME               a WireGuard device to watch; may be repeated
                                  (default: all)
      --webhook URL               where to POST the events; form:URL or json:URL
                                  sets the format of one alone; may be repeated
                                  (default: none)
      --webhook-format json|form  json: the whole event; form: one field, content,
                                  as the Go wgmon sent it (default: json)
      --idle-timeout DURATION     a peer is disconnected after this long without a
                                  sign of life (default: 180s)
      --tick DURATION             how often connected peers are looked at (default:
                                  10s)
      --reconcile DURATION        how often all peers are looked at, in case a
                                  packet was missed; 0: never (default: 60s)
      --hold DURATION             a peer that returns within this time was never
                                  gone (default: 0s)
      --[no-]announce-existing    at the first start, report the peers that are
                                  connected already (default: true)
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

    A duration is written 250ms, 90s, 3m, 1m30s, 12h or 2d.

    Every flag is also a variable and a key of the settings file (TOML):
    --idle-timeout is WGMON_IDLE_TIMEOUT and idle_timeout. A flag overrules a
    variable, and a variable the file. The file can name peers as well:

      [peers."<public key>"]
      name = "alice"
      idle_timeout = "75s"
    "
  `);
});

test("the help text fits a terminal of 80 columns", () => {
  for (const line of helpText().split("\n")) expect(line.length).toBeLessThanOrEqual(80);
});

test("the Markdown table has a row of five cells for each setting", () => {
  const rows = settingsTable().trimEnd().split("\n");
  expect(rows).toHaveLength(Object.keys(table).length + 2);
  for (const row of rows) expect(row.split(/(?<!\\)\|/)).toHaveLength(7);
  expect(rows[2]).toStartWith(
    "| `--monitor nflog\\|bpf\\|poll` | `WGMON_MONITOR` | `monitor` | `nflog` |",
  );
});
