/** The command line: all commands, their flags, and flags of other commands. */

import { describe, expect, test } from "bun:test";

import { SystemError } from "../../src/base/errors.ts";
import { commands } from "../../src/config/commands-table.ts";
import type { Command } from "../../src/config/config.ts";
import { table } from "../../src/config/settings-table.ts";
import { errors, type Given, parse, run } from "../support/settings.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const EVENT = "evt_01a20411f5a57c1e9b0d6a1f0c3e4b52";

/** Two targets with names, and a third without. */
const toml = `
  webhook = "https://a.example"
  target = [{ name = "ops", url = "https://b.example" }, { name = "1st", url = "https://c.example" }]`;

test("a flag of a command that is also a setting is parsed in the same way", () => {
  const own = Object.values(commands).flatMap(({ flags }) => Object.entries(flags));
  const shared = own.filter(([name]) => Object.hasOwn(table, name));
  expect([...new Set(shared.map(([name]) => name))]).toEqual(["device"]);
  for (const [, { parse, separator }] of shared) {
    expect({ parse, separator }).toEqual({
      parse: table.device.parse,
      separator: table.device.separator,
    });
  }
});

test.each<[string[], Command]>([
  [["--help"], { type: "help", command: null }],
  [["-h"], { type: "help", command: null }],
  [["-help"], { type: "help", command: null }],
  [["help"], { type: "help", command: null }],
  [["run", "--help"], { type: "help", command: "run" }],
  [["help", "run"], { type: "help", command: "run" }],
  [["--tick", "--help"], { type: "help", command: null }],
  [["nonsense", "--help"], { type: "help", command: null }],
  [["--group", "x", "--nonsense", "--help", "--version"], { type: "help", command: null }],
  [["help", "receive"], { type: "help", command: "receive" }],
  [["receive", "--help"], { type: "help", command: "receive" }],
  [["receive", "-h", "--port"], { type: "help", command: "receive" }],
  [["--port", "x", "receive", "-help"], { type: "help", command: "receive" }],
  [["outbox", "nonsense", "--help"], { type: "help", command: "outbox" }],
  [["alerts", "test", "--help"], { type: "help", command: "alerts", subcommand: "test" }],
  [["help", "outbox", "--help"], { type: "help", command: "outbox" }],
  [["test-webhook", "-h"], { type: "help", command: "test-webhook" }],
  [["help", "version"], { type: "help", command: "version" }],
  [["help", "--all"], { type: "help", command: "run" }],
  [["-V"], { type: "version" }],
  [["-v"], { type: "version" }],
  [["status", "-V"], { type: "version" }],
  [["--version"], { type: "version" }],
  [["-version"], { type: "version" }],
  [["version"], { type: "version" }],
  [["outbox", "--version"], { type: "version" }],
])("the command line %j is help or version", (argv, command) => {
  expect(parse(argv, { env: { WGMON_NONSENSE: "x" } })).toEqual(command);
});

test.each<[string[], ...string[]]>([
  [["help", "recieve"], '"recieve" is not a command; did you mean receive?'],
  [["help", "receive", "x"], '"x" is not expected here'],
  [["version", "x"], '"x" is not expected here'],
  [["reload"], '"reload" is not a command: use systemctl reload wgmon, or kill -HUP'],
  [["outbx"], '"outbx" is not a command; did you mean outbox?'],
  [["test"], '"test" is not a command; did you mean test-webhook?'],
  [["outbox", "lst"], '"lst" is not list, retry or drop; did you mean list?'],
  [["outbox", "list", "drop"], '"drop" is not expected here'],
  [["receive", "9000"], '"9000" is not expected here'],
  [["--port", "80"], "--port: is a flag of wgmon receive"],
  [["-port=80", "run"], "-port: is a flag of wgmon receive"],
  [["--target", "ops"], "--target: is a flag of wgmon test-webhook and wgmon outbox"],
  [
    ["--json"],
    "--json: is a flag of wgmon hub, wgmon outbox, wgmon status, wgmon peer, wgmon sessions, wgmon events, wgmon alerts, wgmon silence and wgmon doctor",
  ],
  [["test-webhook", "--dead"], "--dead: is a flag of wgmon outbox"],
  [["receive", "--monitor", "bpf"], "--monitor: is a flag of wgmon run"],
  [["receive", "--no-announce-existing"], "--no-announce-existing: is a flag of wgmon run"],
  [["receive", "--prot", "80"], "--prot: there is no such flag; did you mean --port?"],
  [["receive", "--montor", "80"], "--montor: there is no such flag"],
  [["outbox", "--targt", "ops"], "--targt: there is no such flag; did you mean --target?"],
  [["outbox", "--montor", "bpf"], "--montor: there is no such flag; did you mean --monitor?"],
  [["outbox", "--no-json"], "--no-json: there is no such flag"],
  [["--prot", "80"], "--prot: there is no such flag"],
  [["version", "--tick", "5s"], "--tick: is a flag of wgmon run"],
])("the command line %j is refused", (argv, ...messages) => {
  expect(errors(argv)).toEqual(messages);
});

describe("wgmon run", () => {
  test("a command can come after its flags, and its name can be a value", () => {
    expect(run(["--host", "receive"]).settings.host).toBe("receive");
    expect(parse(["--port", "80", "receive"])).toMatchObject({ type: "receive", port: 80 });
    expect(
      parse(["--config", "/x", "outbox", "--json", "list"], { files: { "/x": "" } }),
    ).toMatchObject({ type: "outbox", json: true, settings: { file: "/x" } });
  });

  test("a command after an unknown flag is not taken as its value", () => {
    expect(errors(["--nonsense", "outbox", "--json"])).toEqual([
      "--nonsense: there is no such flag",
    ]);
    expect(errors(["--nonsense", "something"])).toEqual(["--nonsense: there is no such flag"]);
  });
});

describe("wgmon alerts", () => {
  const rules = `
    [[alert]]
    name = "office-down"
    kind = "down"
    targets = ["ops"]`;
  const settings = `
    [[target]]
    name = "ops"
    url = "https://b.example"`;

  test("without a word it lists alerts, with a period or a limit also those that are over", () => {
    expect(parse(["alerts"])).toMatchObject({ type: "alerts", action: "list", isPast: false });
    expect(parse(["alerts", "-n5"])).toMatchObject({ action: "list", isPast: true, limit: 5 });
    expect(parse(["alerts", "explain", "alert-7"])).toMatchObject({
      action: "explain",
      id: "alert-7",
    });
    expect(parse(["alerts", "examples"])).toEqual({ type: "alerts", action: "examples" });
  });

  test("test takes the rules of the settings, or of a file whose rules can use the targets of the settings", () => {
    expect(parse(["alerts", "test"], { toml: settings + rules })).toMatchObject({
      action: "test",
      file: null,
      since: { agoMs: 30 * 86_400_000 },
      rules: [{ name: "office-down", targets: ["ops"] }],
    });
    const files = { "./rules.toml": rules };
    expect(parse(["alerts", "test", "./rules.toml"], { toml: settings, files })).toMatchObject({
      file: "./rules.toml",
      rules: [{ name: "office-down" }],
      settings: { alerts: [], targets: [{ name: "ops" }] },
    });
    expect(errors(["alerts", "test", "./rules.toml"], { files })[0]).toContain('"ops"');
    expect(errors(["alerts", "test", "./none.toml"])[0]).toContain("./none.toml");
  });

  test.each<[string[], string]>([
    [
      ["alerts", "explain"],
      "wgmon alerts explain needs the id of an alert; wgmon alerts lists the ids",
    ],
    [["alerts", "explain", "a", "--since", "2h"], "--since: has no effect on wgmon alerts explain"],
    [["alerts", "test", "-n", "5"], "--limit: has no effect on wgmon alerts test"],
    [
      ["alerts", "test", "--rule", "ofice-down"],
      '--rule: there is no rule "ofice-down"; did you mean office-down?',
    ],
    [["alerts", "tset"], '"tset" is not test, explain or examples; did you mean test?'],
    [["alerts", "test", "a", "b"], '"b" is not expected here; write a name with spaces in quotes'],
  ])("the command line %j is refused", (argv, message) => {
    expect(errors(argv, { toml: settings + rules, files: { a: "" } })).toContain(message);
  });
});

describe("wgmon test-webhook", () => {
  test.each([
    [[], null],
    [["--target", "ops"], "ops"],
    [["--target=3"], "3"],
    [["-target", "1st"], "1st"],
  ])("test-webhook selects the expected target with the arguments %j", (argv, target) => {
    const { settings, warnings } = run([], { toml });
    const command = { type: "test-webhook", target, settings, warnings } as const;
    expect(parse(["test-webhook", ...argv], { toml })).toEqual(command);
  });

  test.each<[string[], Given, ...string[]]>([
    [["--target", "opz"], { toml }, '--target: there is no target "opz"; did you mean ops?'],
    [["--target", "4"], { toml }, '--target: there is no target "4"; there are 1, ops and 1st'],
    [["--target", "0"], { toml }, '--target: there is no target "0"; there are 1, ops and 1st'],
    [["--target", "ops"], {}, '--target: there is no target "ops"'],
    [
      ["--target", "-x"],
      { toml },
      "--target: the value is missing; write --target ops",
      "-x: there is no such flag",
    ],
    [
      ["--target", "https://a.example/s3cret"],
      { toml },
      "--target: https://a.example/... is not a name (1 to 32 letters, digits and - _ . after the first)",
    ],
    // The target may be missing because of the error, so only the error is reported.
    [["--target", "ops", "--tick=1"], {}, '--tick: "1" has no unit; write "1s" for seconds'],
  ])("test-webhook refuses the arguments %j", (argv, given, ...messages) => {
    expect(errors(["test-webhook", ...argv], given)).toEqual(messages);
  });
});

describe("wgmon rules", () => {
  test.each([
    [[], "nft"],
    [["--nft"], "nft"],
    [["--iptables", "--group", "2"], "iptables"],
    [["--install"], "install"],
    [["--device", "wg0", "--remove"], "remove"],
  ] as const)("rules selects the expected action with the arguments %j", (argv, action) => {
    expect(parse(["rules", ...argv])).toMatchObject({ type: "rules", action });
  });

  test("rules accepts only one action", () => {
    expect(errors(["rules", "--nft", "--remove"])).toEqual([
      "--nft and --remove: give only one of them",
    ]);
  });
});

describe("wgmon doctor", () => {
  test.each([
    [[], { json: false, network: true, errors: [] }],
    [["--json", "--no-network", "--monitor", "bpf"], { json: true, network: false, errors: [] }],
  ])("doctor takes the arguments %j", (argv, request) => {
    expect(parse(["doctor", ...argv])).toMatchObject({ type: "doctor", ...request });
  });

  test("doctor gets the errors in the settings, and uses the valid settings", () => {
    const wrong = { env: { WGMON_GROUP: "x" }, toml: 'tick = "5"\nhold = "7s"' };
    const command = parse(["doctor"], wrong);
    expect(command).toMatchObject({ type: "doctor", settings: { group: 1, holdMs: 7000 } });
    expect(command.type === "doctor" && command.errors).toEqual([
      'WGMON_GROUP: "x" is not a whole number from 0 to 65535',
      '/etc/wgmon/wgmon.toml: tick: "5" has no unit; write "5s" for seconds',
    ]);
    expect(errors(["doctor", "--jsn"])).toEqual([
      "--jsn: there is no such flag; did you mean --json?",
    ]);
  });
});

test("health takes no settings, and completion needs a shell", () => {
  expect(parse(["health"], { env: { WGMON_GROUP: "x" } })).toEqual({ type: "health" });
  expect(parse(["completion", "fish"])).toEqual({ type: "completion", shell: "fish" });
  expect(errors(["completion"])).toEqual([
    "wgmon completion needs one more word: bash, zsh or fish",
  ]);
});

describe("wgmon outbox", () => {
  const anything = { target: null, id: null, dead: false, json: false };

  test.each([
    [[], { ...anything, action: "list" }],
    [["list", "--dead", "--json"], { ...anything, action: "list", dead: true, json: true }],
    [["--target", "gone"], { ...anything, action: "list", target: "gone" }],
    [["retry", "--all"], { ...anything, action: "retry" }],
    [["retry", "--all", "--dead"], { ...anything, action: "retry", dead: true }],
    [
      ["drop", "--target=ops", "--id", EVENT],
      { ...anything, action: "drop", target: "ops", id: EVENT },
    ],
    [["drop", "--id=1a2b-2"], { ...anything, action: "drop", id: "1a2b-2" }],
    [["--all", "drop"], { ...anything, action: "drop" }],
  ])("outbox takes the arguments %j", (argv, request) => {
    const { settings, warnings } = run([], { toml });
    const command = { type: "outbox", ...request, settings, warnings };
    expect(parse(["outbox", ...argv], { toml })).toEqual(command as Command);
  });

  test.each<[string[], ...string[]]>([
    [["drop"], "wgmon outbox drop needs --target NAME, --id ID or --all"],
    [["drop", "--dead"], "wgmon outbox drop needs --target NAME, --id ID or --all"],
    [["drop", "--all=false"], "wgmon outbox drop needs --target NAME, --id ID or --all"],
    [["retry"], "wgmon outbox retry needs --target NAME, --id ID or --all"],
    [
      ["drop", "--target"],
      "--target: the value is missing; write --target ops",
      "wgmon outbox drop needs --target NAME, --id ID or --all",
    ],
    [["drop", "--target="], "--target: the value is empty; an example is ops"],
    [["drop", "--all", "--target", "ops"], "--all: cannot be combined with --target or --id"],
    [["retry", "--all", "--id", "x"], "--all: cannot be combined with --target or --id"],
    [["list", "--all"], "--all: works only with wgmon outbox retry and drop"],
    [["--id", "a b"], '--id: "a b" is not an id, as wgmon outbox list prints it'],
    [["--id", "a", "--id", "b"], "--id: is given more than once; give it once"],
    [["--dead=x"], '--dead: "x" is not true or false'],
  ])("outbox refuses the arguments %j", (argv, ...messages) => {
    expect(errors(["outbox", ...argv])).toEqual(messages);
  });
});

describe("the commands that query wgmon", () => {
  const past = { peer: null, since: null, until: null, limit: null };

  test.each<[string[], object]>([
    [["status"], { type: "status", json: false }],
    [["status", "--json", "--device", "wg0"], { json: true, settings: { devices: ["wg0"] } }],
    [["sessions"], { type: "sessions", ...past, limit: 50, format: "text" }],
    [
      ["sessions", "--csv", "--since=7d"],
      { ...past, since: { agoMs: 604_800_000 }, format: "csv" },
    ],
    [["sessions", "--json", "--limit", "3", "--since", "1h"], { limit: 3, format: "json" }],
    [["sessions", "--peer", "bob's phone"], { peer: "bob's phone" }],
    [["events"], { type: "events", ...past, limit: 20, follow: false, types: [], json: false }],
    [["events", "-f"], { follow: true }],
    [["events", "-n", "5"], { limit: 5 }],
    [["events", "-n5", "-f"], { limit: 5, follow: true }],
    [["sessions", "-n=5", "-S", "today", "-U=now"], { limit: 5, until: { agoMs: 0 } }],
    [["status", "alice"], { type: "status", search: "alice" }],
    [["peer", "bob's phone"], { type: "peer", word: "bob's phone", limit: 5, json: false }],
    [["--device", "wg0", "peer", "10.0.0.5", "--json"], { word: "10.0.0.5", json: true }],
    [
      ["events", "--follow", "--type", "peer.*,device.added"],
      { follow: true, types: ["peer.*", "device.added"] },
    ],
    [
      ["events", "--since", "2026-11-22T16:00:00+01:00"],
      { since: { atMs: Date.UTC(2026, 10, 22, 15) } },
    ],
    [["top"], { type: "top", intervalMs: 1000 }],
    [["top", "--interval", "2s"], { intervalMs: 2000 }],
  ])("a command that queries wgmon takes the arguments %j", (argv, request) => {
    expect(parse(argv)).toMatchObject(request);
  });

  test.each<[string[], ...string[]]>([
    [["sessions", "--json", "--csv"], "--json and --csv: give only one of them"],
    [["sessions", "--since", "monday"], `--since: "monday" is not a time; ${TIMES}`],
    [
      ["events", "--since", "2026-13-22T16:00:00Z"],
      `--since: "2026-13-22T16:00:00Z" has no valid month; ${TIMES}`,
    ],
    [["events", "-U", "2026-02-29"], '--until: "2026-02-29" is not a date: that month has 28 days'],
    [
      ["events", "--until", "2026-02-28 24:00"],
      `--until: "2026-02-28 24:00" has no valid time of day; ${TIMES}`,
    ],
    [["events", "-f", "--until", "now"], "--follow and --until: give only one of them"],
    [
      ["events", "-v"],
      "-v: there is no such flag; -V prints the version, --log-level debug logs more",
    ],
    [["events", "--since", "9999999d"], '--since: "9999999d" is too long; the maximum is 3650d'],
    [["sessions", "--limit", "0"], '--limit: "0" is not a whole number from 1 to 1000000000'],
    [
      ["events", "--type", "peer.gone"],
      expect.stringMatching(/^--type: "peer\.gone" is not /) as string,
    ],
    [["sessions", "-f"], "-f: is a flag of wgmon events"],
    [["top", "--interval", "1ms"], '--interval: "1ms" is too short; the minimum is 200ms'],
    [["top", "wg0"], '"wg0" is not expected here'],
    [["peer", "bob", "smith"], '"smith" is not expected here; write a name with spaces in quotes'],
    [["peer"], "wgmon peer needs a peer: its name, public key, tunnel address or endpoint"],
    [
      ["status", "x".repeat(101)],
      "the text to search for is too long; the maximum is 100 characters",
    ],
  ])("a command that queries wgmon refuses the arguments %j", (argv, ...messages) => {
    expect(errors(argv)).toEqual(messages);
  });
});

const TIMES =
  'write 2h or 7d for that long ago, today, yesterday, 16:30, 2026-11-22, "2026-11-22 16:30" or 2026-11-22T16:30:00Z';

describe("a time", () => {
  test.each<[string, object]>([
    ["2h", { agoMs: 7_200_000 }],
    ["now", { agoMs: 0 }],
    ["today", { daysAgo: 0, clock: [0, 0, 0] }],
    ["yesterday", { daysAgo: 1, clock: [0, 0, 0] }],
    ["16:30", { daysAgo: 0, clock: [16, 30, 0] }],
    ["16:30:05", { daysAgo: 0, clock: [16, 30, 5] }],
    ["2026-11-22", { atMs: new Date(2026, 10, 22).getTime() }],
    ["2026-11-22 16:30", { atMs: new Date(2026, 10, 22, 16, 30).getTime() }],
    ["2026-11-22T16:30:05.25", { atMs: new Date(2026, 10, 22, 16, 30, 5, 250).getTime() }],
    ["2026-11-22T16:30:05Z", { atMs: Date.UTC(2026, 10, 22, 16, 30, 5) }],
    ["2026-11-22 16:30+01:00", { atMs: Date.UTC(2026, 10, 22, 15, 30) }],
  ])("the time %j is understood", (text, since) => {
    expect(parse(["events", "--since", text])).toMatchObject({ since });
  });
});

describe("the line after an error", () => {
  test.each<[string[], string]>([
    [["events", "--foo"], "wgmon events --help lists its flags."],
    [["health", "x"], "wgmon health --help describes it."],
    [["--foo"], "wgmon run --help lists all settings."],
    [["evnts"], "wgmon --help lists the commands."],
  ])("the line after an error in %j points to the help of the command", (argv, nextStep) => {
    expect(() => parse(argv)).toThrow(expect.objectContaining({ nextStep }) as Error);
  });
});

describe("wgmon receive", () => {
  test("receive has defaults, and reads neither variables nor the settings file", () => {
    const given = { toml: "nonsense", env: { WGMON_NONSENSE: "x", STATE_DIRECTORY: "x" } };
    const command = { type: "receive", port: 9588, address: "127.0.0.1", secrets: [] } as const;
    expect(parse(["receive"], given)).toEqual(command);
  });

  test("receive takes a port, an address and the secrets that it checks with", () => {
    const argv = ["receive", "--port=0", "-address", "::1", "--secret-file", "my secrets"];
    const command = parse(argv, { files: { "my secrets": `${SECRET}\n` } });
    expect(command).toMatchObject({ type: "receive", port: 0, address: "::1" });
    expect(command.type === "receive" && command.secrets).toHaveLength(1);
  });

  test.each<[string[], ...string[]]>([
    [["--port", "65536"], '--port: "65536" is not a whole number from 0 to 65535'],
    [
      ["--address", "a b"],
      '--address: "a b" is not an address, such as 127.0.0.1, :: or a host name',
    ],
    [
      ["--address", SECRET],
      "--address: (hidden) is not an address, such as 127.0.0.1, :: or a host name",
    ],
    [["--secret-file", SECRET], "--secret-file: there is no such file"],
    [["--secret-file", "/denied"], "--secret-file: the file cannot be read: EACCES"],
    [["--secret-file", "\0"], "--secret-file: (hidden) contains a NUL character"],
  ])("receive refuses the arguments %j", (argv, ...messages) => {
    const files = { "/denied": new SystemError("read /denied", "EACCES") };
    expect(errors(["receive", ...argv], { files })).toEqual(messages);
  });
});
