/** [[alert]] tables: the rules that they become, every mistake with its remedy, warnings, and files in wgmon.d. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { type Rule, RULE_DEFAULTS, type RuleKind, ruleOf } from "../../src/alerts/rule.ts";
import { ConfigError, SystemError } from "../../src/base/errors.ts";
import { commonKeys, kindKeys, KINDS } from "../../src/config/alert-keys.ts";
import { describeSettings } from "../../src/config/config.ts";
import { ALICE } from "../support/peers.ts";
import { errors, type Given, run, SETTINGS_FILE as FILE } from "../support/settings.ts";

const TARGETS = `[[target]]\nname = "ops"\nurl = "https://a.example"\n`;
const HOURS = { days: [1, 2, 3, 4, 5], fromMinute: 480, toMinute: 1080, zone: "Europe/Berlin" };

/** The rule of one table with these lines, and the warnings. */
function read(lines: string, root = ""): { rule: Rule; warnings: readonly string[] } {
  const toml = `${root}\n[[alert]]\nname = "a"\n${lines}\n${TARGETS}`;
  const { settings, warnings } = run([], { toml });
  expect(settings.alerts).toHaveLength(1);
  return { rule: settings.alerts[0]!, warnings };
}

/** The errors of a table with these lines, without their places. */
function mistakes(lines: string, root = ""): string[] {
  const toml = `${root}\n[[alert]]\nname = "a"\n${lines}\n${TARGETS}`;
  return errors([], { toml }).map((error) =>
    error.replace(`${FILE}, line 2: alert 1 (a): `, "").replace(`${FILE}, line 2: alert 1: `, ""),
  );
}

describe("a rule that reaches no target", () => {
  const target = (name: string, filter: string) =>
    `[[target]]\nname = "${name}"\nurl = "https://a.example/${name}"\n${filter}\n`;
  const warningsOf = (lines: string, targets: string) =>
    run([], { toml: `[[alert]]\nname = "a"\n${lines}\n${targets}` }).warnings;

  test.each<[string, string, string]>([
    [
      `kind = "down"`,
      target("o", `events = ["peer.*"]`) + target("p", `events = "device.added"`),
      `"o" has events = ["peer.*"] and "p" has events = ["device.added"]; add "alert.*" to one of them, or targets = ["o"] to the rule`,
    ],
    [
      `kind = "down"\ndevices = ["wg1"]`,
      target("o", `devices = ["wg0"]`),
      `"o" has devices = ["wg0"]; add targets = ["o"] to the rule`,
    ],
    [
      `kind = "target"`,
      target("o", `peers = ["alice"]`),
      `"o" has peers = ["alice"]; add targets = ["o"] to the rule`,
    ],
  ])("a warning says why no target accepts its alerts: %#", (lines, targets, expected) => {
    expect(warningsOf(lines, targets)).toEqual([
      `${FILE}, line 1: alert 1 (a): no target accepts it: ${expected}`,
    ]);
  });

  test("one warning says that there are no targets, however many rules there are", () => {
    expect(warningsOf(`kind = "down"\n[[alert]]\nname = "b"\nkind = "changed"`, "")).toEqual([
      "alerts are only recorded: there are no targets; add a [[target]]",
    ]);
  });

  test.each<[string, string]>([
    [`kind = "down"\ntargets = ["o"]`, target("o", `events = ["peer.*"]`)],
    [`kind = "down"\ndry_run = true`, ""],
    [`kind = "down"`, target("o", `events = "alert.*"`)],
    [`kind = "down"\ndevices = ["wg*"]`, target("o", `devices = ["wg0"]`)],
  ])(
    "there is no warning if a target may receive them, or if it is a trial: %#",
    (lines, targets) => {
      expect(warningsOf(lines, targets)).toEqual([]);
    },
  );
});

describe("a rule", () => {
  test.each(KINDS.filter((kind) => !["traffic", "hours", "place"].includes(kind)))(
    "a rule of kind %s has the defaults of its kind",
    (kind) => {
      expect(read(`kind = "${kind}"`, "report_unknown = true").rule).toEqual(ruleOf(kind, "a"));
    },
  );

  test("a rule has the values of all common keys", () => {
    const { rule, warnings } = read(`
      kind = "down"
      peers = ["alice", "branch-*", "alice"]
      tags = "site, hub"
      devices = ["wg0"]
      for = "90s"
      resolve_after = "1m"
      wait = "0"
      repeat = "4h"
      severity = "warning"
      targets = ["ops"]
      times = "mon-fri 08:00-18:00 Europe/Berlin"
      dry_run = true`);
    expect(rule).toEqual({
      kind: "down",
      everywhere: false,
      name: "a",
      peers: ["alice", "branch-*"],
      tags: ["site", "hub"],
      devices: ["wg0"],
      forMs: 90_000,
      resolveAfterMs: 60_000,
      waitMs: 0,
      repeatMs: 14_400_000,
      severity: "warning",
      targets: ["ops"],
      times: [HOURS],
      dryRun: true,
    });
    expect(warnings).toEqual([]);
  });

  test.each<[string, string, Rule]>([
    ["down", "everywhere = true", ruleOf("down", "a", { everywhere: true })],
    [
      "flapping",
      `disconnects = 3\nwithin = "10m"`,
      ruleOf("flapping", "a", { disconnects: 3, withinMs: 600_000 }),
    ],
    [
      "no-return-traffic",
      `steady_for = "1h"`,
      ruleOf("no-return-traffic", "a", { steadyForMs: 3_600_000 }),
    ],
    [
      "shared-key",
      `turns = 4\nwithin = "1m"`,
      ruleOf("shared-key", "a", { turns: 4, withinMs: 60_000 }),
    ],
    [
      "traffic",
      `quota = "50GB"`,
      ruleOf("traffic", "a", {
        quota: {
          bytes: 50e9,
          period: { unit: "month", resetDay: 1, zone: "UTC" },
          percents: [80, 100],
        },
      }),
    ],
    [
      "traffic",
      `quota = "1GiB"\nper = "week"\nreset_day = "sun"\npercents = [100, 50, 100]\ntime_zone = "Europe/Berlin"\ndirection = "rx"`,
      ruleOf("traffic", "a", {
        direction: "rx",
        quota: {
          bytes: 2 ** 30,
          period: { unit: "week", resetDay: 7, zone: "Europe/Berlin" },
          percents: [50, 100],
        },
      }),
    ],
    [
      "traffic",
      `quota = "1GB"\nper = "day"\nrate = "10MB/s"`,
      ruleOf("traffic", "a", {
        quota: { bytes: 1e9, period: { unit: "day", zone: "UTC" }, percents: [80, 100] },
        rate: { bytesPerSecond: 1e7, overMs: 300_000 },
      }),
    ],
    [
      "traffic",
      `rate = "100 Mbit/s"\nover = "1m"`,
      ruleOf("traffic", "a", { rate: { bytesPerSecond: 12.5e6, overMs: 60_000 } }),
    ],
    [
      "hours",
      `allowed = ["mon-fri 08:00-18:00", "mon-fri 08:00-18:00 UTC"]\ntime_zone = "Europe/Berlin"`,
      ruleOf("hours", "a", { allowed: [HOURS, { ...HOURS, zone: "UTC" }] }),
    ],
    ["place", "", ruleOf("place", "a")],
    ["place", `new = "asn"`, ruleOf("place", "a", { unseen: "asn" })],
    [
      "place",
      `allowed = "de, as3320"`,
      ruleOf("place", "a", { allowed: ["DE", "AS3320"], unseen: null }),
    ],
    [
      "place",
      `allowed = ["DE"]\nnew = "country"`,
      ruleOf("place", "a", { allowed: ["DE"], unseen: "country" }),
    ],
    [
      "unused",
      `days = 30\nat = "7:30"\ntime_zone = "Asia/Tokyo"`,
      ruleOf("unused", "a", { days: 30, atMinute: 450, zone: "Asia/Tokyo" }),
    ],
    [
      "changed",
      `changes = ["removed", "endpoint"]`,
      ruleOf("changed", "a", { changes: ["removed", "endpoint"] }),
    ],
    [
      "handshakes",
      `messages = 0\nwithin = "1m"`,
      ruleOf("handshakes", "a", { messages: 0, withinMs: 60_000 }),
    ],
    ["target", `for = "1h"`, ruleOf("target", "a", { forMs: 3_600_000 })],
  ])("a rule of kind %s has the values of its keys: %j", (kind, lines, expected) => {
    const root = `places = "/x.mmdb"\nreport_unknown = true`;
    const { rule, warnings } = read(`kind = "${kind}"\n${lines}`, root);
    expect(rule).toEqual(expected);
    expect(warnings).toEqual([]);
  });

  test("the settings in the log have the number of rules", () => {
    const { settings } = run([], { toml: `[[alert]]\nname = "a"\nkind = "down"` });
    expect(describeSettings(settings, "gw1")).toMatchObject({ alerts: 1 });
  });
});

describe("mistakes", () => {
  const kinds =
    "down, flapping, no-return-traffic, shared-key, traffic, hours, place, unused, changed, handshakes";
  test.each<[string, ...string[]]>([
    [`kind = "dwon"`, `kind: "dwon" is not ${kinds} or target; did you mean down?`],
    [`kind = 1`, "kind: must be a string, not a number"],
    ["", `has no kind; there are ${kinds} and target`],
    [`kind = "down"\nrate = "10MB/s"`, "rate does not apply to kind down; it is for traffic"],
    [
      `kind = "down"\nwithin = "1m"`,
      "within does not apply to kind down; it is for flapping, shared-key and handshakes",
    ],
    [`kind = "place"\nfor = "1m"`, "for does not apply to kind place; remove it"],
    [`kind = "changed"\nrepeat = "1h"`, "repeat does not apply to kind changed; remove it"],
    [`kind = "target"\npeers = ["alice"]`, "peers does not apply to kind target; remove it"],
    [
      `kind = "handshakes"\nreport_unknown = true`,
      '"report_unknown" is a setting of the whole file: move it above the first [table]',
    ],
    [`kind = "down"\ndevice = "wg0"`, 'there is no key "device"; did you mean devices?'],
    [`kind = "down"\nrepaet = "4h"`, 'there is no key "repaet"; did you mean repeat?'],
    [`kind = "down"\nrepeat = "0s"`, 'repeat: "0s" is too short; the minimum is 1s'],
    [`kind = "down"\nfor = 5`, 'for: "5" has no unit; write "5s" for seconds'],
    [`kind = "down"\nfor = "2 minutes"`, 'for: "2 minutes" is not a duration; write "2m"'],
    [`kind = "down"\nrepeat = "4 hours"`, 'repeat: "4 hours" is not a duration; write "4h"'],
    [`kind = "down"\nfor = "1 h 30min"`, 'for: "1 h 30min" is not a duration; write "1h30m"'],
    [`kind = "traffic"\nquota = "50 GB"`, 'quota: "50 GB" is not a size; write "50GB"'],
    [`kind = "traffic"\nquota = "50G"`, 'quota: "50G" is not a size; write "50GB"'],
    [`kind = "traffic"\nquota = "5gib"`, 'quota: "5gib" is not a size; write "5GiB"'],
    [`kind = "traffic"\nrate = "100 Mbps"`, 'rate: "100 Mbps" is not a rate; write "100Mbit/s"'],
    [`kind = "traffic"\nrate = "10MBps"`, 'rate: "10MBps" is not a rate; write "10MB/s"'],
    [
      `kind = "down"\nseverity = "high"`,
      'severity: "high" is not info, warning or critical; did you mean critical?',
    ],
    [
      `kind = "down"\ntimes = "24/7"`,
      'times: "24/7" is not a time interval; remove times: without it, messages are sent at all times',
    ],
    [
      `kind = "down"\ntimes = "18:00-18:00 UTC"`,
      'times: "18:00-18:00 UTC" has no length; for a whole day, leave out the time of day',
    ],
    [
      `kind = "down"\npeers = []\ntags = []\ntargets = []`,
      "peers is empty; give at least one value, or remove peers",
      "tags is empty; give at least one value, or remove tags",
      "targets is empty; give at least one value, or remove targets",
    ],
    [`kind = "down"\nwait = "2h"`, 'wait: "2h" is too long; the maximum is 1h'],
    [`kind = "flapping"\nwithin = "0"`, 'within: "0" is too short; the minimum is 1s'],
    [`kind = "flapping"\ndisconnects = 64`, 'disconnects: "64" is not a whole number from 1 to 63'],
    [
      `kind = "down"\nseverity = "crit"`,
      'severity: "crit" is not info, warning or critical; did you mean critical?',
    ],
    [`kind = "down"\ndry_run = "yes"`, "dry_run: must be a boolean, not a string"],
    [`kind = "down"\ntargets = ["osp"]`, 'targets: there is no target "osp"; did you mean ops?'],
    [`kind = "down"\ntargets = "ops, pager"`, 'targets: there is no target "pager"; there is ops'],
    [`kind = "down"\npeers = ""`, "peers: the value is empty; an example is branch-*"],
    [
      `kind = "down"\ntimes = "mon-fry 08:00-18:00"`,
      'times: "mon-fry 08:00-18:00" is not a time interval: "fry" is not a day of the week; did you mean fri?; an example is "mon-fri 08:00-18:00 Europe/Berlin"',
    ],
    [
      `kind = "down"\ntimes = "08:00-18:00 Europe/Berln"`,
      'times: "08:00-18:00 Europe/Berln" is not a time interval: there is no time zone "Europe/Berln"; did you mean Europe/Berlin?',
    ],
    [
      `kind = "down"\ntime_zone = "Europe/Berln"`,
      'time_zone: "Europe/Berln" is not a time zone, such as Europe/Berlin or UTC; did you mean Europe/Berlin?',
    ],
    [`kind = "traffic"`, `has neither quota nor rate; an example is quota = "50GB"`],
    [`kind = "traffic"\nquota = 50`, 'quota: "50" has no unit; write "50MB" for megabytes'],
    [
      `kind = "traffic"\nrate = "10MB"`,
      'rate: "10MB" is not a rate; write it like 10MB/s, 1MiB/s or 100Mbit/s',
    ],
    [
      `kind = "traffic"\nquota = "1GB"\npercents = [0, 80.5, 1001]`,
      'percents (1 of 3): "0" is not a whole number of percent from 1 to 1000',
      'percents (2 of 3): "80.5" is not a whole number of percent from 1 to 1000',
      'percents (3 of 3): "1001" is not a whole number of percent from 1 to 1000',
    ],
    [
      `kind = "traffic"\nrate = "1MB/s"\npercents = [80]\nper = "day"`,
      "per has no meaning without quota",
      "percents has no meaning without quota",
    ],
    [`kind = "traffic"\nquota = "1GB"\nover = "1m"`, "over has no meaning without rate"],
    [`kind = "traffic"\nrate = "1MB/s"\nover = "0s"`, 'over: "0s" is too short; the minimum is 1s'],
    [
      `kind = "traffic"\nquota = "1GB"\nper = "week"\nreset_day = 8`,
      'reset_day: "8" is not a day of the week: mon to sun, or 1 (Monday) to 7',
    ],
    [
      `kind = "traffic"\nquota = "1GB"\nreset_day = "monday"`,
      "reset_day of a quota per month is a number from 1 to 31",
    ],
    [
      `kind = "traffic"\nquota = "1GB"\nper = "day"\nreset_day = 1`,
      "reset_day has no meaning for a quota per day; remove it",
    ],
    [
      `kind = "traffic"\nquota = "1GB"\nreset_day = 32`,
      'reset_day: "32" is not a day: a number from 1 to 31, or a day of the week such as mon',
    ],
    [
      `kind = "hours"`,
      `has no allowed times; an example is allowed = "mon-fri 08:00-18:00 Europe/Berlin"`,
    ],
    [
      `kind = "hours"\nallowed = []`,
      "allowed is empty; give at least one value, or remove allowed",
    ],
    [
      `kind = "place"\nallowed = ["Germany"]`,
      'allowed: "Germany" is not a country (two letters, such as DE) or an autonomous system (such as AS3320)',
    ],
    [`kind = "place"\nnew = "none"`, `reports nothing; give allowed, or new = "country"`],
    [`kind = "unused"\ndays = 0`, 'days: "0" is not a whole number from 1 to 3650'],
    [`kind = "unused"\nat = "24:00"`, 'at: "24:00" is not a time of day from 00:00 to 23:59'],
    [
      `kind = "changed"\nchanges = ["add"]`,
      'changes: "add" is not added, removed, allowed-ips, endpoint or keepalive; did you mean added?',
    ],
    [
      `kind = "flapping"\nfor = 5\nbogus = 1\nwithin = "x"`,
      'there is no key "bogus"',
      'for: "5" has no unit; write "5s" for seconds',
      'within: "x" is not a duration; write it like 250ms, 90s or 1m30s',
    ],
    [
      `kind = "dwon"\nrate = "1"\nfor = "x"`,
      `kind: "dwon" is not ${kinds} or target; did you mean down?`,
      'for: "x" is not a duration; write it like 250ms, 90s or 1m30s',
      'rate: "1" is not a rate; write it like 10MB/s, 1MiB/s or 100Mbit/s',
    ],
  ])("the mistakes in a table are named with a remedy: %j", (lines, ...expected) => {
    expect(mistakes(lines, `places = "/x.mmdb"`)).toEqual(expected);
  });

  test("a rule of kind place needs the setting places", () => {
    expect(mistakes(`kind = "place"`)).toEqual([
      "kind place needs the setting places: the path of an MMDB file with countries or autonomous systems",
    ]);
  });

  test("each table needs a name, and names are unique", () => {
    const toml = [
      `[[alert]]\nkind = "down"`,
      `[[alert]]\nname = "a/b"\nkind = "down"`,
      `[[alert]]\nname = "a"\nkind = "down"`,
      `  [[ alert ]] # again\nname = "a"\nkind = "flapping"`,
    ].join("\n");
    expect(errors([], { toml })).toEqual([
      `${FILE}, line 1: alert 1: has no name; give it one that is unique`,
      `${FILE}, line 3: alert 2: name: "a/b" is not a name (1 to 64 letters, digits, spaces and - _ . after the first)`,
      `${FILE}, line 9: alert 4 (a): has the same name as ${FILE}, line 6: alert 3; names must be unique`,
    ]);
  });

  test("a list that is not of tables is refused", () => {
    expect(errors([], { toml: "alert = 1" })).toEqual([
      `${FILE}: alert must be a list of tables, such as [[alert]]`,
    ]);
    expect(errors([], { toml: "alert = [1]" })).toEqual([
      `${FILE}: alert 1: must be a table, not a number`,
    ]);
  });

  test("there are at most 1,000 rules", () => {
    const toml = (count: number) =>
      Array.from({ length: count }, (_, i) => `[[alert]]\nname = "${i}"\nkind = "down"\n`).join("");
    expect(run([], { toml: toml(1000) }).settings.alerts).toHaveLength(1000);
    expect(errors([], { toml: toml(1001) })).toEqual([
      "there are 1001 alerts; the maximum is 1000",
    ]);
  });

  test("a target with a mistake is not also reported as absent", () => {
    const toml = `[[alert]]\nname = "a"\nkind = "down"\ntargets = "ops"\n[[target]]\nname = "ops"`;
    expect(errors([], { toml })).toEqual([
      `${FILE}: target 1 (ops): has no address; give exactly one of url, url_file and exec`,
    ]);
  });

  test("no message contains a secret", () => {
    const secret = "https://hooks.slack.com/services/T0/B0/secret";
    for (const key of [
      ...Object.keys(commonKeys()),
      ...KINDS.flatMap((kind) => Object.keys(kindKeys[kind]())),
    ]) {
      for (const kind of KINDS) {
        const name = key === "name" ? "" : `name = "a"\n`;
        const other = key === "kind" ? "" : `kind = "${kind}"\n`;
        const toml = `[[alert]]\n${name}${other}${key} = "${secret}"`;
        expect(errors([], { toml }).join("\n")).not.toContain("secret");
      }
    }
  });
});

describe("warnings", () => {
  test.each<[string, string]>([
    [
      `kind = "hours"\nallowed = "08:00-18:00"`,
      "allowed has no time zone, so it is in UTC; add one, such as Europe/Berlin",
    ],
    [
      `kind = "down"\ntimes = ["08:00-18:00 UTC", "sat"]`,
      "times has no time zone, so it is in UTC; add one, such as Europe/Berlin",
    ],
    [`kind = "handshakes"`, "has no effect: kind handshakes needs report_unknown = true"],
  ])("there is a warning about %j", (lines, expected) => {
    const { warnings } = read(lines);
    expect(warnings).toEqual([`${FILE}, line 2: alert 1 (a): ${expected}`]);
  });
});

describe("wgmon.d", () => {
  const folder = "/etc/wgmon/wgmon.d";

  test("files in wgmon.d add alerts, targets and peers, in the order of their names", () => {
    const { settings } = run([], {
      toml: `[[alert]]\nname = "main"\nkind = "down"\ntargets = "b"`,
      files: {
        [`${folder}/20.toml`]: `[[alert]]\nname = "later"\nkind = "down"\n[[target]]\nname = "b"\nurl = "https://b.example"`,
        [`${folder}/10.toml`]: `[[alert]]\nname = "earlier"\nkind = "down"\n[peers."${ALICE}"]\nname = "alice"`,
        [`${folder}/.hidden.toml`]: "x",
        [`${folder}/30.toml~`]: "x",
        [`${folder}/README`]: "x",
      },
    });
    expect(settings.alerts.map(({ name }) => name)).toEqual(["main", "earlier", "later"]);
    expect(settings.targets.map(({ name }) => name)).toEqual(["b"]);
    expect(settings.peers.get(ALICE)?.name).toBe("alice");
  });

  test("files in wgmon.d are read without a settings file, and beside the one of --config", () => {
    const alert = `[[alert]]\nname = "a"\nkind = "down"`;
    const { settings } = run([], { files: { [`${folder}/a.toml`]: alert } });
    expect(settings.alerts).toHaveLength(1);
    expect(settings.file).toBeNull();
    const files = { "./my.toml": "", "./wgmon.d/a.toml": alert, [`${folder}/b.toml`]: "x" };
    expect(run(["--config=./my.toml"], { files }).settings.alerts).toHaveLength(1);
  });

  test.each<[string, Given, ...string[]]>([
    [
      "a setting",
      { files: { [`${folder}/a.toml`]: `tick = "5s"` } },
      `${folder}/a.toml: tick is allowed only in ${FILE}; here are allowed peers, target and alert`,
    ],
    [
      "an unknown key",
      { files: { [`${folder}/a.toml`]: `alerts = 1` } },
      `${folder}/a.toml: there is no key "alerts"; did you mean alert?`,
    ],
    [
      "a syntax error",
      { files: { [`${folder}/a.toml`]: "[[alert]]\nname = x" } },
      `${folder}/a.toml, line 2, column 8: invalid value; text must be in quotes`,
    ],
    [
      "the same names",
      {
        toml: `[[alert]]\nname = "a"\nkind = "down"\n[[target]]\nname = "t"\nurl = "https://a.example"\n[peers."${ALICE}"]\n`,
        files: {
          [`${folder}/a.toml`]: `[[alert]]\nname = "a"\nkind = "down"\n[[target]]\nname = "t"\nurl = "https://a.example"\n[peers."${ALICE}"]\n`,
        },
      },
      `${folder}/a.toml: peers."${ALICE}": is also in ${FILE}; remove one of them`,
      `${folder}/a.toml: target 1 (t): ${FILE}: target 1 has this name already`,
      `${folder}/a.toml, line 1: alert 1 (a): has the same name as ${FILE}, line 1: alert 1; names must be unique`,
    ],
    [
      "an unreadable file",
      { files: { [`${folder}/a.toml`]: new SystemError("read x", "EACCES") } },
      `${folder}/a.toml: cannot be read: EACCES`,
    ],
    [
      "an unreadable folder",
      { listing: new SystemError("list x", "EACCES") },
      `${folder}: cannot be listed: EACCES`,
    ],
    [
      "a program in a file that others can write to",
      {
        mode: { bits: 0o646, isOwnedByUsOrRoot: true, isRegular: true },
        files: { [`${folder}/a.toml`]: `[[target]]\nexec = ["/bin/true"]` },
      },
      `${folder}/a.toml: exec is refused, because other users can write to this file, its mode is 646; chmod go-w it`,
    ],
  ])("a mistake in wgmon.d names its file: %s", (_, given, ...expected) => {
    expect(errors([], given)).toEqual(expected);
  });
});

describe("any table", () => {
  const key = fc.constantFrom(
    ...Object.keys(commonKeys()),
    ...KINDS.flatMap((kind) => Object.keys(kindKeys[kind]())),
    "bogus",
  );
  const text = fc.oneof(
    fc.constantFrom(
      "down",
      "1m",
      "0",
      "50GB",
      "mon-fri 08:00-18:00 Europe/Berlin",
      "DE",
      "10MB/s",
      "ops",
      "09:00",
      "week",
      "none",
    ),
    fc.string(),
  );
  const scalar = fc.oneof(text, fc.integer(), fc.double(), fc.boolean());
  const value = fc.oneof(scalar, fc.array(scalar, { maxLength: 3 }));
  const toml = (item: unknown): string => {
    if (Array.isArray(item)) return `[${item.map(toml).join(", ")}]`;
    if (typeof item === "string")
      return JSON.stringify(item.toWellFormed()).replaceAll("\u007f", "");
    if (typeof item === "number" && !Number.isInteger(item)) {
      return Number.isNaN(item) ? "nan" : Number.isFinite(item) ? item.toFixed(3) : "inf";
    }
    return typeof item === "number" && Object.is(item, -0) ? "0" : String(item);
  };

  test("any [[alert]] table is a rule or a ConfigError, never another exception", () => {
    let rules = 0;
    fc.assert(
      fc.property(
        fc.constantFrom<RuleKind | "x">(...KINDS, "x"),
        fc.dictionary(key, value, { maxKeys: 4 }),
        (kind, fields) => {
          const lines = Object.entries({ name: "a", kind, ...fields }).map(
            ([name, item]) => `${name} = ${toml(item)}`,
          );
          try {
            const { settings } = run([], { toml: `[[alert]]\n${lines.join("\n")}` });
            rules += settings.alerts.length;
            for (const rule of settings.alerts) {
              expect(Object.keys(rule).toSorted()).toEqual(
                [...Object.keys(RULE_DEFAULTS[rule.kind]), "name"].toSorted(),
              );
            }
          } catch (error) {
            if (!(error instanceof ConfigError)) throw error;
            expect(error.errors.length).toBeGreaterThan(0);
          }
        },
      ),
      { numRuns: 2000 },
    );
    expect(rules).toBeGreaterThan(20);
  });
});
