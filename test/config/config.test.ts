/** Settings: all sources, all checks, the precedence of the sources, and that no secret is shown. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { SystemError } from "../../src/base/errors.ts";
import { formatList, redactUrl } from "../../src/base/redact.ts";
import type { PublicKey } from "../../src/base/wireguard.ts";
import type { FormatName } from "../../src/channels/formats/index.ts";
import { describeSettings, type Settings } from "../../src/config/config.ts";
import { keyOf, table, variableOf } from "../../src/config/settings-table.ts";
import { FORMAT_CHOICES } from "../../src/config/value-types.ts";
import { BOB } from "../support/peers.ts";
import {
  errors,
  type Given,
  parse,
  run,
  SETTINGS_FILE as FILE,
  webhook,
} from "../support/settings.ts";

const KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=" as PublicKey;

const SLACK = "https://hooks.slack.com/services/T0/B0/x";

const DEFAULTS: Settings = {
  monitor: "auto",
  group: 1,
  captureInterface: "any",
  manageRules: false,
  filter: null,
  devices: [],
  targets: [],
  listen: null,
  listenTokens: [],
  listenTls: null,
  metrics: ["mdlayher"],
  idleTimeoutMs: 180_000,
  tickMs: 10_000,
  reconcileMs: 60_000,
  holdMs: 0,
  announceExisting: true,
  reportUnknown: false,
  resolveEndpoints: false,
  stateDir: "/var/lib/wgmon",
  keepMs: 90 * 86_400_000,
  maxStoreBytes: 256_000_000,
  logFormat: "auto",
  logLevel: "info",
  host: "gw1",
  peers: new Map(),
  names: ["/etc/wireguard/%i.conf"],
  alerts: [],
  places: [],
  file: null,
};

test("without flags, variables and file, all settings have their defaults", () => {
  expect(parse([])).toEqual({ type: "run", settings: DEFAULTS, warnings: [] });
});

describe("each setting", () => {
  // The name and the field; then text and value of a flag, a variable and the file.
  type Row = [string, keyof Settings, ...[text: string, value: unknown][]];
  const rows: Row[] = [
    ["monitor", "monitor", ["bpf", "bpf"], ["poll", "poll"], ["nflog", "nflog"]],
    ["group", "group", ["0", 0], ["65535", 65_535], ["7", 7]],
    ["interface", "captureInterface", ["any", "any"], ["wan0", "wan0"], ["ppp0", "ppp0"]],
    ["filter", "filter", ["udp", "udp"], ["udp port 1", "udp port 1"], ["ip6", "ip6"]],
    ["device", "devices", ["wg1", ["wg1"]], ["wg2,wg3 wg2", ["wg2", "wg3"]], ["wg4", ["wg4"]]],
    [
      "webhook",
      "targets",
      ["https://a.example/?x=1,2", [webhook("https://a.example/?x=1,2")]],
      [
        "form:http://b.example json:https://c.example/d",
        [webhook("http://b.example", "form"), webhook("https://c.example/d")],
      ],
      [SLACK, [webhook(SLACK, "slack")]],
    ],
    ["idle-timeout", "idleTimeoutMs", ["1s", 1000], ["75s", 75_000], ["5m", 300_000]],
    ["tick", "tickMs", ["100ms", 100], ["1s", 1000], ["365d", 31_536_000_000]],
    ["reconcile", "reconcileMs", ["0", 0], ["1h", 3_600_000], ["0s", 0]],
    ["hold", "holdMs", ["0", 0], ["1m30s", 90_000], ["250ms", 250]],
    [
      "listen",
      "listen",
      ["127.0.0.1:9587", { address: "127.0.0.1", port: 9587 }],
      ["[::1]:80", { address: "::1", port: 80 }],
      ["localhost:65535", { address: "localhost", port: 65_535 }],
    ],
    [
      "metrics",
      "metrics",
      ["mindflavor", ["mindflavor"]],
      ["mdlayher, mindflavor", ["mdlayher", "mindflavor"]],
      ["none", []],
    ],
    ["state-dir", "stateDir", ["/x", "/x"], ["/a b", "/a b"], ["/", "/"]],
    ["keep", "keepMs", ["1h", 3_600_000], ["1d", 86_400_000], ["3650d", 315_360_000_000]],
    ["max-store", "maxStoreBytes", ["16MB", 16e6], ["1GiB", 2 ** 30], ["1TB", 1e12]],
    ["announce-existing", "announceExisting", ["false", false], ["true", true], ["false", false]],
    ["manage-rules", "manageRules", ["true", true], ["false", false], ["true", true]],
    ["report-unknown", "reportUnknown", ["true", true], ["false", false], ["true", true]],
    ["resolve-endpoints", "resolveEndpoints", ["true", true], ["false", false], ["true", true]],
    ["log-format", "logFormat", ["text", "text"], ["json", "json"], ["journal", "journal"]],
    ["log-level", "logLevel", ["debug", "debug"], ["warn", "warn"], ["error", "error"]],
    ["names", "names", ["/n/%i", ["/n/%i"]], ["/a,/b/*.conf /a", ["/a", "/b/*.conf"]], ["off", []]],
    ["places", "places", ["/a", ["/a"]], ["/a,/b /a", ["/a", "/b"]], ["/c.mmdb", ["/c.mmdb"]]],
    ["host", "host", ["gw2", "gw2"], ["gw.example.net", "gw.example.net"], ["gw4", "gw4"]],
  ];

  test("each setting is in this table, except those of targets, listen and the file, which have their own tests", () => {
    const others = Object.keys(table).filter((name) => /^webhook-|^listen-|^config$/.test(name));
    const names = [...rows.map(([name]) => name), ...others];
    expect(names.toSorted()).toEqual(Object.keys(table).toSorted());
  });

  test.each(rows)(
    "for the setting %s, a flag overrides a variable, and a variable overrides the file",
    (name, field, ...values) => {
      const [flag, variable, file] = values;
      const plain =
        name === "group" ||
        /^(announce-existing|report-unknown|resolve-endpoints|manage-rules)$/.test(name);
      const toml = `${keyOf(name)} = ${plain ? file![0] : JSON.stringify(file![0])}`;
      const env = { [variableOf(name)]: variable![0] };
      const argv = [`--${name}=${flag![0]}`];
      expect(run(argv, { env, toml }).settings).toEqual({
        ...DEFAULTS,
        [field]: flag![1],
        file: FILE,
      });
      expect(run([], { env, toml }).settings[field]).toEqual(variable![1] as never);
      expect(run([], { toml }).settings[field]).toEqual(file![1] as never);
      expect(run([], { env: { [variableOf(name)]: "" }, toml }).settings[field]).toEqual(
        file![1] as never,
      );
    },
  );

  test.each(["monitor", "group", "interface", "filter"])(
    "for the setting %s, the variable without WGMON_ overrides the file, but not the variable with WGMON_",
    (name) => {
      const [, field, flag, variable, file] = rows.find(([candidate]) => candidate === name)!;
      const toml = `${name} = ${name === "group" ? file![0] : JSON.stringify(file![0])}`;
      const bare = { [name]: variable![0] };
      expect(run([], { env: bare, toml }).settings[field]).toEqual(variable![1] as never);
      const both = { ...bare, [variableOf(name)]: flag![0] };
      expect(run([], { env: both, toml }).settings[field]).toEqual(flag![1] as never);
      expect(run([`--${name}=${flag![0]}`], { env: bare }).settings[field]).toEqual(
        flag![1] as never,
      );
      expect(run([], { env: { [name]: "" }, toml }).settings[field]).toEqual(file![1] as never);
    },
  );
});

describe("the command line", () => {
  test.each([
    [["--monitor", "bpf"]],
    [["--monitor=bpf"]],
    [["-monitor", "bpf"]],
    [["-monitor=bpf"]],
    [["run", "-monitor", "bpf"]],
    [["--monitor", "bpf", "run"]],
    [["--monitor", "bpf", "--", "run"]],
  ])("the command line %j sets the monitor", (argv) => {
    expect(run(argv).settings).toEqual({ ...DEFAULTS, monitor: "bpf" });
  });

  test("a boolean flag needs no value", () => {
    expect(run(["--no-announce-existing"]).settings.announceExisting).toBe(false);
    expect(run(["--announce-existing=false"]).settings.announceExisting).toBe(false);
    expect(
      run(["-announce-existing"], { env: { WGMON_ANNOUNCE_EXISTING: "false" } }).settings
        .announceExisting,
    ).toBe(true);
  });

  test("values of a repeated flag are combined", () => {
    const { settings } = run([
      "--device",
      "wg0",
      "--device=wg1,wg2",
      "--webhook",
      "https://a.example",
      "-webhook",
      "form:https://b.example",
    ]);
    expect(settings.devices).toEqual(["wg0", "wg1", "wg2"]);
    expect(settings.targets).toEqual([
      webhook("https://a.example"),
      webhook("https://b.example", "form"),
    ]);
  });
});

describe("the errors in the settings", () => {
  test.each<[string[], ...string[]]>([
    [["--montor", "bpf"], "--montor: there is no such flag; did you mean --monitor?"],
    [["-montor=bpf"], "-montor: there is no such flag; did you mean --monitor?"],
    [["--no-monitor"], "--no-monitor: there is no such flag; did you mean --monitor?"],
    [
      ["--announce-existin"],
      "--announce-existin: there is no such flag; did you mean --announce-existing?",
    ],
    [["-x"], "-x: there is no such flag"],
    [["-5s"], "-5s: there is no such flag"],
    [["--__proto__=1"], "--__proto__: there is no such flag"],
    [
      ["--webhok", "hooks.example.net/secret"],
      "--webhok: there is no such flag; did you mean --webhook?",
    ],
    [
      ["--webhook:https://a.example/secret"],
      "--webhook...: there is no such flag; did you mean --webhook?",
    ],
    [["--monitor", "bfp"], '--monitor: "bfp" is not auto, nflog, bpf or poll; did you mean bpf?'],
    [["--monitor"], "--monitor: the value is missing; write --monitor auto"],
    [["--monitor", "--group", "2"], "--monitor: the value is missing; write --monitor auto"],
    [["--monitor="], "--monitor: the value is empty; an example is auto"],
    [["-monitor", ""], "--monitor: the value is empty; an example is auto"],
    [["--tick", "-5s"], '--tick: "-5s" is not a duration; write it like 250ms, 90s or 1m30s'],
    [["--tick", "10"], '--tick: "10" has no unit; write "10s" for seconds'],
    [["--tick", "0"], '--tick: "0" is too short; the minimum is 100ms'],
    [["--tick", "99ms"], '--tick: "99ms" is too short; the minimum is 100ms'],
    [["--idle-timeout", "999ms"], '--idle-timeout: "999ms" is too short; the minimum is 1s'],
    [["--hold", "366d"], '--hold: "366d" is too long; the maximum is 365d'],
    [
      ["--hold", "9".repeat(400) + "d"],
      `--hold: "${"9".repeat(60)}..." is too long; the maximum is 365d`,
    ],
    [
      ["--reconcile", "off"],
      '--reconcile: "off" is not a duration; write it like 250ms, 90s or 1m30s',
    ],
    [["--group", "1e3"], '--group: "1e3" is not a whole number from 0 to 65535'],
    [["--group", "70000"], '--group: "70000" is not a whole number from 0 to 65535'],
    [["--group", "-1"], '--group: "-1" is not a whole number from 0 to 65535'],
    [["--group", "1", "-group=2"], "--group: is given more than once; give it once"],
    [
      ["--announce-existing", "--no-announce-existing"],
      "--announce-existing: is given more than once; give it once",
    ],
    [["--announce-existing=maybe"], '--announce-existing: "maybe" is not true or false'],
    [
      ["--no-announce-existing=true"],
      "--no-announce-existing: takes no value; write --announce-existing=false",
    ],
    [
      ["--device", "wg0/x"],
      '--device: "wg0/x" is not the name of a network interface (1 to 15 bytes, no / : or space)',
    ],
    [
      ["--device", "wg0", "--device", "sixteen-letters-"],
      '--device (2 of 2): "sixteen-letters-" is not the name of a network interface (1 to 15 bytes, no / : or space)',
    ],
    [["--device", ","], "--device: the value is empty; an example is wg0"],
    [
      ["--interface", ".."],
      '--interface: ".." is not the name of a network interface (1 to 15 bytes, no / : or space)',
    ],
    [["--host", "a b"], '--host: "a b" is not a host name (1 to 253 characters, no / or space)'],
    [
      ["--host", "\u001b[31m\u009b\u202e"],
      '--host: "\\u001b[31m\\u{9b}\\u{202e}" is not a host name (1 to 253 characters, no / or space)',
    ],
    [["--filter", "  "], "--filter: the value is empty; an example is udp dst port 51820"],
    [["--filter", "udp\0"], '--filter: "udp\\u0000" contains a NUL character'],
    [
      ["--webhook", "hooks.example.net/secret"],
      "--webhook: (hidden) is not a URL that starts with http:// or https://",
    ],
    [
      ["--webhook", "ftp://hooks.example.net/secret"],
      "--webhook: (hidden) is not a URL that starts with http:// or https://",
    ],
    [
      ["--webhook", "FORM:https://hooks.example.net/secret"],
      "--webhook: (hidden) has an unknown format before its URL; did you mean form?",
    ],
    [
      ["--webhook", "https:///secret"],
      "--webhook: (hidden) is not a URL that starts with http:// or https://",
    ],
    [
      ["--webhook", "https://a.example:99999/secret"],
      "--webhook: (hidden) is not a URL that starts with http:// or https://",
    ],
    [
      ["--webhook-format", "https://a.example/secret"],
      `--webhook-format: https://a.example/... is not ${formatList(FORMAT_CHOICES, "or")}`,
    ],
    [["--config", "/none.toml"], "--config: there is no file /none.toml"],
    [
      ["--names", "wg0.conf"],
      '--names: "wg0.conf" is not an absolute path, such as /etc/wireguard/%i.conf, or off',
    ],
    [["--names", "/etc/*/wg?.conf"], '--names: "/etc/*/wg?.conf" has a * or ? before its last /'],
    [["--names", "off,/x"], "--names: off cannot be combined with a path"],
    [["--state-dir", "x"], '--state-dir: "x" is not an absolute path, such as /var/lib/wgmon'],
    [
      ["--state-dir", "/x\n"],
      '--state-dir: "/x\\n" is not an absolute path, such as /var/lib/wgmon',
    ],
    [["--keep", "59m"], '--keep: "59m" is too short; the minimum is 1h'],
    [["--keep", "3651d"], '--keep: "3651d" is too long; the maximum is 3650d'],
    [["--max-store", "256"], '--max-store: "256" has no unit; write "256MB" for megabytes'],
    [["--max-store", "256mb"], '--max-store: "256mb" is not a size; write "256MB"'],
    [["--max-store", "15MB"], '--max-store: "15MB" is too small; the minimum is 16MB'],
    [["--max-store", "2TB"], '--max-store: "2TB" is too large; the maximum is 1TB'],
    [["--config="], "--config: the value is empty; an example is /etc/wgmon/wgmon.toml"],
    [["versoin"], '"versoin" is not a command; did you mean version?'],
    [
      ["wg0"],
      '"wg0" is not a command; there are run, test-webhook, hub, outbox, rules, receive, status, peer, sessions, events, alerts, silence, top, doctor, check, schema, health, completion, install-service, uninstall-service, extract-names, help and version',
    ],
    [["run", "run"], '"run" is not expected here'],
    [["run", "https://a.example/secret"], '"https..." is not expected here'],
    [
      ["--announce-existing", "false"],
      '"false" is not a command; there are run, test-webhook, hub, outbox, rules, receive, status, peer, sessions, events, alerts, silence, top, doctor, check, schema, health, completion, install-service, uninstall-service, extract-names, help and version',
    ],
    [
      ["---tick"],
      '"---tick" is not a command; there are run, test-webhook, hub, outbox, rules, receive, status, peer, sessions, events, alerts, silence, top, doctor, check, schema, health, completion, install-service, uninstall-service, extract-names, help and version',
    ],
  ])("errors are reported for the arguments %j", (argv, ...messages) => {
    expect(errors(argv)).toEqual(messages);
  });

  test.each<[Record<string, string>, ...string[]]>([
    [
      { WGMON_INTERFAC: "x" },
      "WGMON_INTERFAC: there is no such variable; did you mean WGMON_INTERFACE?",
    ],
    [
      { WGMON_IDLETIMEOUT: "x" },
      "WGMON_IDLETIMEOUT: there is no such variable; did you mean WGMON_IDLE_TIMEOUT?",
    ],
    [
      { WGMON_TIKC: "1s", WGMON_OTHER: "x" },
      "WGMON_TIKC: there is no such variable; did you mean WGMON_TICK?",
    ],
    [
      { WGMON_TICK: "abc" },
      'WGMON_TICK: "abc" is not a duration; write it like 250ms, 90s or 1m30s',
    ],
    [{ WGMON_TICK: " " }, "WGMON_TICK: the value is empty; an example is 90s"],
    [
      { WGMON_WEBHOOK: "https://a.example secret" },
      "WGMON_WEBHOOK (2 of 2): (hidden) is not a URL that starts with http:// or https://",
    ],
    [{ WGMON_CONFIG: "/none.toml" }, "WGMON_CONFIG: there is no file /none.toml"],
    [
      { STATE_DIRECTORY: "x:/y" },
      'variable STATE_DIRECTORY: "x" is not an absolute path, such as /var/lib/wgmon',
    ],
    [{ STATE_DIRECTORY: "x", WGMON_STATE_DIR: "/y" }],
    [{ monitor: "pcap" }, 'variable monitor: "pcap" is not auto, nflog, bpf or poll'],
    [{ group: "abc" }, 'variable group: "abc" is not a whole number from 0 to 65535'],
    [
      {
        group: "abc",
        WGMON_GROUP: "2",
        WGMON_: "",
        WGMON_KERNEL_TESTS: "require",
        WGMON_TEST_X: "x",
      },
    ],
  ])("errors are reported for the environment %j", (env, ...messages) => {
    expect(errors([], { env })).toEqual(messages);
  });

  test.each<[string, ...string[]]>([
    ['interfac = "x"', `${FILE}: there is no key "interfac"; did you mean interface?`],
    ['idle-timeout = "1s"', `${FILE}: there is no key "idle-timeout"; did you mean idle_timeout?`],
    ['config = "x"', `${FILE}: there is no key "config"`],
    ["[peer]", `${FILE}: there is no key "peer"; did you mean peers?`],
    ["__proto__ = 1", `${FILE}: there is no key "__proto__"`],
    ["tick = 10", `${FILE}: tick: "10" has no unit; write "10s" for seconds`],
    ["tick = true", `${FILE}: tick: must be a string, not a boolean`],
    ['tick = ""', `${FILE}: tick: the value is empty; an example is 90s`],
    ["tick = 1979-05-27", `${FILE}: tick: must be a string, not a date or time`],
    ['group = "1"', `${FILE}: group: must be a number, not a string`],
    ["group = 1.5", `${FILE}: group: "1.5" is not a whole number from 0 to 65535`],
    ["monitor = ['bpf']", `${FILE}: monitor: must be a string, not a list`],
    ["announce_existing = 'no'", `${FILE}: announce_existing: must be a boolean, not a string`],
    [
      "device = [1]",
      `${FILE}: device: must be a string or a list of strings, not a list with a number`,
    ],
    ["device = {}", `${FILE}: device: must be a string or a list of strings, not a table`],
    ["device = ['wg0', '']", `${FILE}: device (2 of 2): the value is empty; an example is wg0`],
    ["peers = 1", `${FILE}: peers must be tables, such as [peers."<public key>"]`],
    [
      "[peers.alice]",
      `${FILE}: peers."alice": is not a public key (44 characters, as wg show prints it)`,
    ],
    [
      `[peers."${KEY.slice(0, 42)}h="]`,
      `${FILE}: peers."${KEY.slice(0, 42)}h=": is not a public key (44 characters, as wg show prints it)`,
    ],
    [`peers."${KEY}" = 1`, `${FILE}: peers."${KEY}": must be a table, not a number`],
    [
      `[peers."${KEY}"]\nnam = "x"`,
      `${FILE}: peers."${KEY}": there is no key "nam"; did you mean name?`,
    ],
    [
      `[peers."${KEY}"]\nname = "${"x".repeat(65)}"`,
      `${FILE}: peers."${KEY}".name: "${"x".repeat(60)}..." is not a name (1 to 64 printable characters)`,
    ],
    [
      `[peers."${KEY}"]\nname = "a\\u001b"`,
      `${FILE}: peers."${KEY}".name: "a\\u001b" is not a name (1 to 64 printable characters)`,
    ],
    [
      `[peers."${KEY}"]\nname = ["a"]`,
      `${FILE}: peers."${KEY}".name: must be a string, not a list`,
    ],
    [
      `[peers."${KEY}"]\ntags = ["${"x".repeat(33)}"]`,
      `${FILE}: peers."${KEY}".tags: "${"x".repeat(33)}" is not a tag (1 to 32 printable characters, no comma)`,
    ],
    [
      `[peers."${KEY}"]\ntags = ["ok", "a,b", "\\u202e"]`,
      `${FILE}: peers."${KEY}".tags (2 of 3): "a,b" is not a tag (1 to 32 printable characters, no comma)`,
      `${FILE}: peers."${KEY}".tags (3 of 3): "\\u{202e}" is not a tag (1 to 32 printable characters, no comma)`,
    ],
    [
      `[peers."${KEY}"]\ntags = "${Array.from({ length: 17 }, (_, index) => index).join()}"`,
      `${FILE}: peers."${KEY}".tags: there are 17; the maximum is 16`,
    ],
    [
      `[peers."${KEY}"]\nmute = "yes"`,
      `${FILE}: peers."${KEY}".mute: must be a boolean, not a string`,
    ],
    [
      `[peers."${KEY}"]\nidle_timeout = "1"`,
      `${FILE}: peers."${KEY}".idle_timeout: "1" has no unit; write "1s" for seconds`,
    ],
    [
      "tick = '1s'\n\n# a comment\ngroup =\nhold = '1s'",
      `${FILE}, line 4, column 8: invalid value; text must be in quotes`,
    ],
    [
      "webhook = [\n'a',\n'b'\n]\nwebhook = [\n'https://a.example/secret'",
      `${FILE}, line 5, column 1: trying to redefine an already defined table or value`,
    ],
    ["webhook = secret", `${FILE}, line 1, column 11: invalid value; text must be in quotes`],
    [
      'webhook = ["https://a.example" "https://b.example"]',
      `${FILE}, line 1, column 32: expected comma or end of structure`,
    ],
    ["https://a.example = 1", `${FILE}, line 1, column 6: illegal character in key`],
    [
      "\n".repeat(600) + "group =\n",
      `${FILE}, line 601, column 8: invalid value; text must be in quotes`,
    ],
    [
      `group = ${"[".repeat(100_000)}`,
      `${FILE}, line 1, column 1009: document contains excessively nested structures. aborting.`,
    ],
  ])("errors are reported for the settings file %.60j", (toml, ...messages) => {
    expect(errors([], { toml })).toEqual(messages);
  });

  test("errors are reported all at once, also for overridden values", () => {
    const given = { env: { WGMON_GROUP: "x", WGMON_GROP: "1" }, toml: 'group = "x"\nnope = 1' };
    expect(errors(["--group=y", "--bogus", "nonsense", "wg0"], given)).toEqual([
      "--bogus: there is no such flag",
      '"wg0" is not a command; there are run, test-webhook, hub, outbox, rules, receive, status, peer, sessions, events, alerts, silence, top, doctor, check, schema, health, completion, install-service, uninstall-service, extract-names, help and version',
      "WGMON_GROP: there is no such variable; did you mean WGMON_GROUP?",
      `${FILE}: group: must be a number, not a string`,
      `${FILE}: there is no key "nope"`,
      '--group: "y" is not a whole number from 0 to 65535',
      'WGMON_GROUP: "x" is not a whole number from 0 to 65535',
    ]);
  });

  test("an error is reported for a file that cannot be read", () => {
    const files = { "x y": new SystemError("read x y", "EACCES") };
    expect(errors(["--config=x y"], { files })).toEqual(['"x y": cannot be read: EACCES']);
  });
});

describe("the settings file", () => {
  test("the settings file is the one that a flag or a variable names", () => {
    const files = { "/a.toml": "group = 2", "/b.toml": "group = 3", [FILE]: "group = 4" };
    const env = { WGMON_CONFIG: "/b.toml" };
    expect(run(["--config", "/a.toml"], { env, files }).settings).toMatchObject({
      group: 2,
      file: "/a.toml",
    });
    expect(run([], { env, files }).settings).toMatchObject({ group: 3, file: "/b.toml" });
    expect(run([], { files }).settings).toMatchObject({ group: 4, file: FILE });
  });

  test("the settings file can contain lists, numbers and booleans", () => {
    const toml = `
      device = ["wg0", "wg1"]
      webhook = ["https://a.example/1,2", "form:https://b.example"]
      group = 5
      reconcile = 0
      announce_existing = false`;
    expect(run([], { toml }).settings).toEqual({
      ...DEFAULTS,
      devices: ["wg0", "wg1"],
      targets: [webhook("https://a.example/1,2"), webhook("https://b.example", "form")],
      group: 5,
      reconcileMs: 0,
      announceExisting: false,
      file: FILE,
    });
  });

  test.each([
    [{}, "/var/lib/wgmon"],
    [{ STATE_DIRECTORY: "" }, "/var/lib/wgmon"],
    [{ STATE_DIRECTORY: "/run/state" }, "/run/state"],
    [{ STATE_DIRECTORY: "/run/state:/run/other" }, "/run/state"],
    [{ STATE_DIRECTORY: "/run/state", WGMON_STATE_DIR: "/mine" }, "/mine"],
  ])("the state directory is systemd's unless it is set: %j", (env, stateDir) => {
    expect(run([], { env: env as Record<string, string> }).settings.stateDir).toBe(stateDir);
  });

  test("an empty list in the settings file is valid, and is overridden by a flag", () => {
    expect(run([], { toml: "device = []" }).settings.devices).toEqual([]);
    expect(run(["--device=wg0"], { toml: "device = []" }).settings.devices).toEqual(["wg0"]);
  });

  test("the settings file names peers", () => {
    const toml = `
      [peers."${KEY}"]
      name = "Ada's 📱"
      tags = ["phone", "family & friends", "phone"]
      idle_timeout = "75s"
      mute = true
      [peers."${"A".repeat(43)}="]
      [peers."${"B".repeat(42)}I="]
      tags = "phone, work"
      mute = false`;
    const tags = ["phone", "family & friends"];
    expect([...run([], { toml }).settings.peers]).toEqual([
      [KEY, { name: "Ada's 📱", tags, idleTimeoutMs: 75_000, mute: true }],
      [
        `${"A".repeat(43)}=` as PublicKey,
        { name: null, tags: [], idleTimeoutMs: null, mute: false },
      ],
      [BOB, { name: null, tags: ["phone", "work"], idleTimeoutMs: null, mute: false }],
    ]);
  });

  test("the settings file accepts any 32 bytes in base64 as a public key, and no other length", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 30, maxLength: 34 }), (bytes) => {
        const key = Buffer.from(bytes).toString("base64");
        const found = errors([], { toml: `[peers."${key}"]` });
        expect(found.length === 0).toBe(bytes.length === 32);
      }),
    );
  });
});

describe("the warnings about the settings", () => {
  test("a warning is given for each of the Go program's variables", () => {
    const env = {
      monitor: "bpf",
      interface: "wan0",
      filter: "udp",
      webhook: "https://a.example/x",
    };
    const { settings, warnings } = run([], { env });
    expect(settings).toEqual({
      ...DEFAULTS,
      monitor: "bpf",
      captureInterface: "wan0",
      filter: "udp",
      targets: [webhook("https://a.example/x", "form")],
    });
    expect(warnings).toEqual([
      "variable monitor is deprecated: use WGMON_MONITOR instead",
      "variable interface is deprecated: use WGMON_INTERFACE instead",
      "variable filter is deprecated: use WGMON_FILTER instead",
      "variable webhook is deprecated: use WGMON_WEBHOOK instead, with form: before a URL to keep the old format",
    ]);
  });

  test.each<[string[], Given, FormatName]>([
    [[], {}, "form"],
    [["--webhook-format=auto"], {}, "json"],
    [["--webhook-format=json"], {}, "json"],
    [[], { env: { WGMON_WEBHOOK_FORMAT: "json" } }, "json"],
    [[], { toml: "webhook_format = 'json'" }, "json"],
    [[], { env: { webhook: "json:https://a.example" } }, "json"],
    [[], { env: { webhook: "", WGMON_WEBHOOK: "https://a.example" } }, "json"],
    [["--webhook=https://a.example"], {}, "json"],
    [["--webhook=https://a.example", "--webhook-format=form"], {}, "form"],
    [["--webhook=json:https://a.example", "--webhook-format=form"], {}, "json"],
  ])(
    "the webhook of the Go program's variable has the right format: %j %j",
    (argv, given, format) => {
      const env = { webhook: "https://a.example", ...given.env };
      expect(run(argv, { ...given, env }).settings.targets).toEqual([
        webhook("https://a.example", format),
      ]);
    },
  );

  test.each<[string[], Given, ...string[]]>([
    [
      ["--filter=udp", "--monitor=nflog"],
      {},
      "--filter has no effect with monitor nflog: it is for bpf",
    ],
    [
      ["--monitor=poll"],
      { toml: "group = 1" },
      `${FILE}: group has no effect with monitor poll: it is for nflog`,
    ],
    [
      ["--monitor=bpf"],
      { env: { WGMON_GROUP: "1", WGMON_INTERFACE: "any" } },
      "WGMON_GROUP has no effect with monitor bpf: it is for nflog",
    ],
    [["--monitor=bpf", "--filter=udp", "--interface=any"], {}],
    [["--group=1"], {}],
    [["--group=1", "--filter=udp", "--interface=any", "--manage-rules"], {}],
  ])("a warning is given for a setting without effect: %j %j", (argv, given, ...warnings) => {
    expect(run(argv, given).warnings).toEqual(warnings);
  });
});

test.each([
  ["https://hooks.example.net/services/T0/secret", "https://hooks.example.net/..."],
  ["https://user:secret@hooks.example.net:8443/x", "https://hooks.example.net:8443/..."],
  ["https://user:secret@hooks.example.net", "https://hooks.example.net/..."],
  ["https://hooks.example.net", "https://hooks.example.net"],
  ["https://hooks.example.net/", "https://hooks.example.net"],
  ["http://[2001:db8::1]:80/?token=secret", "http://[2001:db8::1]/..."],
  ["https://hooks.example.net/#secret", "https://hooks.example.net/..."],
  ["https:///secret/x", "(hidden)"],
  ["tgram://secret/chat", "(hidden)"],
  ["mailto:secret@example.net", "(hidden)"],
  ["secret", "(hidden)"],
  ["", "(hidden)"],
])("the URL %s is shown as %s", (url, shown) => {
  expect(redactUrl(url)).toBe(shown);
});

test("the log has the settings that differ from the defaults", () => {
  const described = (argv: readonly string[], given = {}) =>
    describeSettings(run(argv, given).settings, "gw1");
  expect(described([])).toEqual({});
  expect(described(["--monitor=auto", "--tick=10s", "--host=gw1", "--reconcile=1m"])).toEqual({});
  const argv = [
    "-monitor=bpf",
    "--webhook=https://u:secret@a.example/secret",
    "--reconcile=0",
    "--idle-timeout=90s",
    "--names=off",
    "--metrics=none",
    "--host=gw2",
  ];
  expect(described(argv)).toEqual({
    host: "gw2",
    monitor: "bpf",
    targets: ["1 json:https://a.example/..."],
    idleTimeout: "1m30s",
    reconcile: "off",
    names: "off",
    metrics: "none",
  });
  const toml = `[peers."${"A".repeat(42)}E="]\nname = "alice"`;
  expect(described([], { toml })).toEqual({ file: "/etc/wgmon/wgmon.toml", peersInSettings: 1 });
});
