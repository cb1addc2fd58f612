/** Targets: webhooks of all sources, their files, the tables [[target]], and what is refused. */

import { describe, expect, test } from "bun:test";

import { SystemError } from "../../src/base/errors.ts";
import { formatList } from "../../src/base/redact.ts";
import type { FormatName } from "../../src/channels/formats/index.ts";
import { describeSettings } from "../../src/config/config.ts";
import { targetAt } from "../../src/config/targets.ts";
import { FORMAT_CHOICES } from "../../src/config/value-types.ts";
import { errors, type Given, run, SETTINGS_FILE as FILE, webhook } from "../support/settings.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const SLACK = "https://hooks.slack.com/services/T0/B0/x";
const TELEGRAM = "https://api.telegram.org/bot1:x/sendMessage";

/** All targets, as the log shows them. */
function shown(argv: readonly string[], given: Given = {}): unknown {
  return describeSettings(run(argv, given).settings, "gw1")["targets"];
}

const denied = new SystemError("read x", "EACCES");

describe("--webhook", () => {
  test.each<[string, string]>([
    ["https://a.example/x", "json:https://a.example/..."],
    [SLACK, "slack:https://hooks.slack.com/..."],
    [`${TELEGRAM}?chat_id=1`, "telegram:https://api.telegram.org/..."],
    [`json:${SLACK}`, "json:https://hooks.slack.com/..."],
    ["google-chat:https://a.example/x", "google-chat:https://a.example/..."],
    ["auto:https://a.example/x", "json:https://a.example/..."],
  ])("the webhook %s is %s", (text, target) => {
    expect(shown([`--webhook=${text}`])).toEqual([`1 ${target}`]);
  });

  test.each<[FormatName | "auto", string, FormatName]>([
    ["form", "https://a.example", "form"],
    ["form", SLACK, "form"],
    ["form", `auto:${SLACK}`, "slack"],
    ["slack", "json:https://a.example", "json"],
    ["auto", SLACK, "slack"],
  ])("with --webhook-format %s, the webhook %s has the format %s", (format, text, formatName) => {
    const { settings } = run([`--webhook-format=${format}`, `--webhook=${text}`]);
    const url = text.replace(/^(auto|json):/, "");
    expect(settings.targets).toEqual([webhook(url, formatName)]);
  });

  test.each<[string[], ...string[]]>([
    [
      [`--webhook=${TELEGRAM}`],
      "--webhook: (hidden) has no chat_id: write .../sendMessage?chat_id=123",
    ],
    [
      ["--webhook=https://a.example", `--webhook=telegram:${TELEGRAM}`],
      "--webhook (2 of 2): (hidden) has no chat_id: write .../sendMessage?chat_id=123",
    ],
    [
      ["--webhook=slak:https://a.example"],
      "--webhook: (hidden) has an unknown format before its URL; did you mean slack?",
    ],
    [
      ["--webhook=tgram:https://a.example"],
      `--webhook: (hidden) has an unknown format before its URL; there are ${formatList(FORMAT_CHOICES, "and")}`,
    ],
  ])("--webhook refuses %j", (argv, ...messages) => {
    expect(errors(argv)).toEqual(messages);
  });
});

describe("--webhook-file", () => {
  const text = `# the office\n\n${SLACK}\r\n  form:https://a.example/x  \n`;

  test("--webhook-file has one webhook on each line, in addition to those of --webhook", () => {
    const argv = ["--webhook=https://b.example", "--webhook-file=/w"];
    expect(run(argv, { files: { "/w": text } }).settings.targets).toEqual([
      webhook("https://b.example"),
      webhook(SLACK, "slack"),
      webhook("https://a.example/x", "form"),
    ]);
  });

  test("--webhook-file can be a credential of systemd, which need not exist", () => {
    const env = { CREDENTIALS_DIRECTORY: "/run/c" };
    const files = { "/run/c/webhooks": text, "/w": "https://c.example" };
    expect(run([], { env, files }).settings.targets).toHaveLength(2);
    expect(run(["--webhook-file=/w"], { env, files }).settings.targets).toEqual([
      webhook("https://c.example"),
    ]);
    expect(run([], { env }).settings.targets).toEqual([]);
    expect(run([], { files }).settings.targets).toEqual([]);
    const relative = { files: { "c/webhooks": text }, env: { CREDENTIALS_DIRECTORY: "c" } };
    expect(run([], relative).settings.targets).toEqual([]);
  });

  test("--webhook-file does not use the format of the Go program's variable", () => {
    const given = { env: { webhook: "https://b.example" }, files: { "/w": "https://c.example" } };
    expect(run(["--webhook-file=/w"], given).settings.targets).toEqual([
      webhook("https://b.example", "form"),
      webhook("https://c.example"),
    ]);
  });

  test("--webhook-file causes a warning if it is empty", () => {
    expect(run(["--webhook-file=/w"], { files: { "/w": "\n# none yet\n" } }).warnings).toEqual([
      "--webhook-file: there is no webhook in the file",
    ]);
  });

  test.each<[Given, ...string[]]>([
    [{}, "WGMON_WEBHOOK_FILE: there is no such file"],
    [{ files: { "/w": denied } }, "WGMON_WEBHOOK_FILE: the file cannot be read: EACCES"],
    [
      { files: { "/w": `${SLACK}\n\nhooks.example.net/x\n${TELEGRAM}` } },
      "WGMON_WEBHOOK_FILE, line 3: (hidden) is not a URL that starts with http:// or https://",
      "WGMON_WEBHOOK_FILE, line 4: (hidden) has no chat_id: write .../sendMessage?chat_id=123",
    ],
    [
      { env: { WGMON_WEBHOOK_FILE: SLACK } },
      "WGMON_WEBHOOK_FILE: (hidden) is not an absolute path, such as /etc/wgmon/webhooks",
    ],
    [
      {
        env: { WGMON_WEBHOOK_FILE: "", CREDENTIALS_DIRECTORY: "/c" },
        files: { "/c/webhooks": denied },
      },
      "$CREDENTIALS_DIRECTORY/webhooks: the file cannot be read: EACCES",
    ],
  ])("--webhook-file with this content is refused: %j", (given, ...messages) => {
    const env = { WGMON_WEBHOOK_FILE: "/w", ...given.env };
    expect(errors([], { ...given, env })).toEqual(messages);
  });
});

describe("signing secrets", () => {
  test("signing secrets are used for the formats that can be signed", () => {
    const argv = ["--webhook=https://a.example", `--webhook=${SLACK}`, "--webhook-secret-file=/s"];
    expect(shown(argv, { files: { "/s": SECRET } })).toEqual([
      "1 json:https://a.example (signed)",
      "2 slack:https://hooks.slack.com/...",
    ]);
  });

  test("signing secrets can be a credential of systemd", () => {
    const env = { CREDENTIALS_DIRECTORY: "/c", WGMON_WEBHOOK: "https://a.example" };
    const files = { "/c/webhook-secret": `${SECRET}\n${SECRET}\n` };
    expect(shown([], { env, files })).toEqual(["1 json:https://a.example (signed)"]);
    expect(shown([], { env })).toEqual(["1 json:https://a.example"]);
    // The credential may be for targets that are not configured at present.
    expect(run([`--webhook=${SLACK}`], { env, files }).warnings).toEqual([]);
  });

  test("signing secrets cause a warning if no target is signed", () => {
    const given = { files: { "/s": SECRET } };
    expect(run([`--webhook=${SLACK}`, "--webhook-secret-file=/s"], given).warnings).toEqual([
      "--webhook-secret-file has no effect: the format of no target is signed",
    ]);
  });

  test.each<[string, Given, ...string[]]>([
    ["/s", {}, "--webhook-secret-file: there is no such file"],
    [
      SECRET,
      {},
      "--webhook-secret-file: (hidden) is not an absolute path, such as /etc/wgmon/webhook-secret",
    ],
    [
      "/s",
      { files: { "/s": "c2hvcnQ=" } },
      '--webhook-secret-file: the file has a secret that is too short (less than 24 bytes) in line 1; make one with: echo "whsec_$(openssl rand -base64 32)"',
    ],
  ])("signing secrets are refused in this case: %s", (path, given, ...messages) => {
    const argv = ["--webhook=https://a.example", `--webhook-secret-file=${path}`];
    expect(errors(argv, given)).toEqual(messages);
  });
});

describe("filters and digest of targets", () => {
  test("filters and digest apply to all targets that do not set their own", () => {
    const argv = [
      "--webhook=https://a.example",
      "--webhook-events=peer.*,device.added",
      "--webhook-devices=wg0 wg1",
      "--webhook-peers=bob's phone, alice",
      `--webhook-peers=${KEY}`,
      "--webhook-digest=5m",
    ];
    const toml = `
      target = [
        { url = "https://b.example" },
        { url = "https://c.example", events = [], devices = "wg2", peers = [], digest = "0" },
      ]
      peers."${KEY}" = { name = "alice" }`;
    const events = ["peer.*", "device.added"] as const;
    const peers = ["bob's phone", "alice", KEY];
    const all = { selection: { events, devices: ["wg0", "wg1"], peers }, digestMs: 300_000 };
    const { settings, warnings } = run(argv, { toml });
    expect(settings.targets).toEqual([
      webhook("https://a.example", "json", all),
      webhook("https://b.example", "json", all),
      webhook("https://c.example", "json", {
        selection: { events: [], devices: ["wg2"], peers: [] },
      }),
    ]);
    // bob's phone is not in these settings, but another file may name this peer.
    expect(warnings).toEqual([]);
    expect(describeSettings(settings, "gw1")["targets"]).toEqual([
      `1 json:https://a.example (events peer.*|device.added; devices wg0|wg1; peers bob's phone|alice|${KEY}; digest 5m)`,
      `2 json:https://b.example (events peer.*|device.added; devices wg0|wg1; peers bob's phone|alice|${KEY}; digest 5m)`,
      "3 json:https://c.example (devices wg2)",
    ]);
  });

  test("a filter in the file can contain a peer's name with a comma", () => {
    const toml = `webhook = "https://a.example"\nwebhook_peers = ["Ada, at home"]`;
    expect(run([], { toml }).settings.targets[0]!.selection.peers).toEqual(["Ada, at home"]);
  });

  test.each<[string[], ...string[]]>([
    [
      ["--webhook-events=peer.conected"],
      '--webhook-events: "peer.conected" is not peer.connected, peer.roamed, peer.disconnected, handshake.unknown, device.added, device.removed, alert.firing, alert.resolved, gateway.lost, gateway.back, gateway.stopped, fleet.partition, fleet.gap, fleet.duplicate-name, peer.*, device.*, alert.*, gateway.* or fleet.*; did you mean peer.connected?',
    ],
    [
      ["--webhook-events=peer.connected,*"],
      '--webhook-events (2 of 2): "*" is not peer.connected, peer.roamed, peer.disconnected, handshake.unknown, device.added, device.removed, alert.firing, alert.resolved, gateway.lost, gateway.back, gateway.stopped, fleet.partition, fleet.gap, fleet.duplicate-name, peer.*, device.*, alert.*, gateway.* or fleet.*',
    ],
    [
      ["--webhook-devices=a/b/c"],
      '--webhook-devices: "a/b/c" is not the name of a network interface (1 to 15 bytes, no / : or space)',
    ],
    [["--webhook-peers=,"], "--webhook-peers: the value is empty; an example is alice"],
    [["--webhook-digest=2h"], '--webhook-digest: "2h" is too long; the maximum is 1h'],
    [
      ["--webhook-events=device.*", "--webhook-peers=alice"],
      "together, webhook-events and webhook-peers select nothing: events of devices have no peer",
    ],
  ])("a filter or a digest is refused in this case: %j", (argv, ...messages) => {
    expect(errors(["--webhook=https://a.example", ...argv])).toEqual(messages);
  });
});

describe("a table [[target]]", () => {
  test("a table [[target]] can be one line", () => {
    const toml = `target = [{ url = "https://a.example/x", peers = ["laptop"], events = ["peer.disconnected"] }]`;
    expect(shown([], { toml })).toEqual([
      "1 json:https://a.example/... (events peer.disconnected; peers laptop)",
    ]);
  });

  test("a table [[target]] can have all keys of a target", () => {
    const toml = `
      webhook_digest = "1m"
      [[target]]
      name = "ops"
      url = "${SLACK}"
      [[target]]
      name = "x-1_2.3"
      url_file = "/u"
      format = "json"
      secret_file = "/s"
      events = "peer.*, device.added"
      devices = ["wg0"]
      peers = ["alice"]
      digest = "5s"
      timeout = "60s"
      [[target]]
      name = "page"
      exec = ["/usr/local/bin/notify", "--token", "", "a b"]
      timeout = "1s"
      [peers."${KEY}"]
      name = "alice"`;
    const files = { "/u": "# of the office\nhttps://b.example/x\n", "/s": SECRET };
    const { settings, warnings } = run([], { toml, files });
    expect(warnings).toEqual([]);
    expect(settings.targets).toMatchObject([
      { name: "ops", destination: { type: "webhook", url: SLACK }, timeoutMs: 10_000 },
      {
        name: "x-1_2.3",
        destination: { url: "https://b.example/x", formatName: "json", secrets: [{}] },
        selection: { events: ["peer.*", "device.added"], devices: ["wg0"], peers: ["alice"] },
        digestMs: 5000,
        timeoutMs: 60_000,
      },
      {
        destination: {
          type: "exec",
          command: ["/usr/local/bin/notify", "--token", "", "a b"],
        },
        timeoutMs: 1000,
      },
    ]);
    expect(describeSettings(settings, "gw1")["targets"]).toEqual([
      "ops slack:https://hooks.slack.com/... (digest 1m)",
      "x-1_2.3 json:https://b.example/... (events peer.*|device.added; devices wg0; peers alice; digest 5s; signed)",
      "page exec:/usr/local/bin/notify (digest 1m)",
    ]);
  });

  test("a table [[target]] is numbered after the webhooks, and is found by name or number", () => {
    const toml = `target = [{ name = "ops", url = "https://b.example" }, { name = "2", url = "https://c.example" }]`;
    const { targets } = run(["--webhook=https://a.example"], { toml }).settings;
    expect(targets.map(({ name }) => name)).toEqual([null, "ops", "2"]);
    const found = ["ops", "1", "2", "3", "4", "0", "01", "op", ""].map((word) =>
      targetAt(targets, word),
    );
    expect(found).toEqual([1, 0, 2, 2, null, null, null, null, null]);
  });

  test.each([
    [`url = "slack:https://a.example"`, "slack"],
    [`url = "https://a.example"\nformat = "teams"`, "teams"],
    [`url = "https://a.example"`, "form"],
    [`url = "${SLACK}"\nformat = "auto"`, "slack"],
    [`url = "https://a.example"\ntemplate = '''{ "text": "{{text}}" }'''`, "template"],
    [`url = "${SLACK}"\ntemplate_file = "/t"\nformat = "template"`, "template"],
  ])("the target %j has the format %s", (fields, format) => {
    const toml = `webhook_format = "form"\n[[target]]\n${fields}`;
    const { settings } = run([], { toml, files: { "/t": '["{{title}}"]' } });
    expect(settings.targets).toMatchObject([{ destination: { formatName: format } }]);
  });

  test("a table [[target]] causes a warning if it has a secret but is not signed", () => {
    const toml = `target = [{ name = "a", url = "${SLACK}", secret_file = "/s" }]`;
    expect(run([], { toml, files: { "/s": SECRET } }).warnings).toEqual([
      `${FILE}: target 1 (a): secret_file has no effect: format slack is not signed`,
    ]);
  });

  const one = `url = "https://a.example"`;
  test.each<[string, ...string[]]>([
    [`target = 1`, "target must be a list of tables, such as [[target]]"],
    [`[target]\n${one}`, "target must be a list of tables, such as [[target]]"],
    [`target = ["x"]`, "target 1: must be a table, not a string"],
    [`[[targets]]\n${one}`, 'there is no key "targets"; did you mean target?'],
    [`[[target]]`, "target 1: has no address; give exactly one of url, url_file and exec"],
    [
      `[[target]]\n${one}\nurl_file = "/u"\nexec = ["/x"]`,
      "target 1: has url, url_file and exec; give exactly one of url, url_file and exec",
    ],
    [
      `[[target]]\nname = "a b"\nUrl = "x"`,
      'target 1: there is no key "Url"; did you mean url?',
      'target 1: name: "a b" is not a name (1 to 32 letters, digits and - _ . after the first)',
      "target 1: has no address; give exactly one of url, url_file and exec",
    ],
    [
      `target = [{ ${one}, name = "ops" }, { ${one}, name = "ops", evnts = [] }]`,
      "target 2 (ops): target 1 has this name already",
      'target 2 (ops): there is no key "evnts"; did you mean events?',
    ],
    [
      `[[target]]\nname = "-x"\n${one}`,
      'target 1: name: "-x" is not a name (1 to 32 letters, digits and - _ . after the first)',
    ],
    [`[[target]]\nname = ["x"]\n${one}`, "target 1: name: must be a string, not a list"],
    [
      `[[target]]\nurl = "a.example"`,
      "target 1: url: (hidden) is not a URL that starts with http:// or https://",
    ],
    [`[[target]]\nurl = ["https://a.example"]`, "target 1: url: must be a string, not a list"],
    [
      `[[target]]\nname = "t"\nurl = "${TELEGRAM}"`,
      "target 1 (t): url: (hidden) has no chat_id: write .../sendMessage?chat_id=123",
    ],
    [
      `[[target]]\n${one}\nformat = "slak"`,
      `target 1: format: "slak" is not ${formatList([...FORMAT_CHOICES, "template"], "or")}; did you mean slack?`,
    ],
    [
      `[[target]]\nurl = "slack:https://a.example"\nformat = "json"`,
      "target 1: has slack: before its URL and format json; give only one of them",
    ],
    [
      `[[target]]\nurl = "slack:https://a.example"\nformat = "template"\ntemplate = "1"`,
      "target 1: has slack: before its URL and a template; give only one of them",
    ],
    [
      `[[target]]\n${one}\nformat = "json"\ntemplate = "1"`,
      "target 1: has format json and a template; give only one of them",
    ],
    [
      `[[target]]\n${one}\nformat = "template"`,
      "target 1: format template needs template or template_file",
    ],
    [
      `[[target]]\n${one}\ntemplate = "1"\ntemplate_file = "/t"`,
      "target 1: has template and template_file; give only one of them",
    ],
    [`[[target]]\n${one}\ntemplate = '{'`, "target 1: template: (hidden) is not JSON"],
    [
      `[[target]]\n${one}\n[target.template]\ntext = "{{text}}"`,
      "target 1: template: must be a string, not a table",
    ],
    [
      `[[target]]\n${one}\nformat = "template"\ntemplate = { text = "{{text}}" }`,
      "target 1: template: must be a string, not a table",
    ],
    [
      `[[target]]\n${one}\nformat = "template"\ntemplate_file = 1`,
      "target 1: template_file: must be a string, not a number",
    ],
    [`[[target]]\n${one}\ntemplate_file = "/u"`, "target 1: template_file: the file is not JSON"],
    [
      `[[target]]\n${one}\ntemplate_file = "t.json"`,
      "target 1: template_file: (hidden) is not an absolute path, such as /etc/wgmon/ops.json",
    ],
    [`[[target]]\nurl_file = "/none"`, "target 1: url_file: there is no such file"],
    [`[[target]]\nurl_file = "/denied"`, "target 1: url_file: the file cannot be read: EACCES"],
    [`[[target]]\nurl_file = "/empty"`, "target 1: url_file: the file has 0 webhooks, not one"],
    [`[[target]]\nurl_file = "/u"`, "target 1: url_file: the file has 2 webhooks, not one"],
    [
      `[[target]]\nurl_file = "/one"`,
      "target 1: url_file, line 1: (hidden) is not a URL that starts with http:// or https://",
    ],
    [
      `[[target]]\nurl_file = "x"\nsecret_file = "${SECRET}"`,
      "target 1: url_file: (hidden) is not an absolute path, such as /etc/wgmon/ops.url",
      "target 1: secret_file: (hidden) is not an absolute path, such as /etc/wgmon/ops.secret",
    ],
    [`[[target]]\n${one}\ndigest = "1d"`, 'target 1: digest: "1d" is too long; the maximum is 1h'],
    [
      `[[target]]\n${one}\ntimeout = "0s"`,
      'target 1: timeout: "0s" is too short; the minimum is 1s',
    ],
    [
      `[[target]]\n${one}\ntimeout = "61s"`,
      'target 1: timeout: "61s" is too long; the maximum is 60s',
    ],
    [
      `[[target]]\n${one}\nevents = ["peer.gone", "device"]`,
      'target 1: events (1 of 2): "peer.gone" is not peer.connected, peer.roamed, peer.disconnected, handshake.unknown, device.added, device.removed, alert.firing, alert.resolved, gateway.lost, gateway.back, gateway.stopped, fleet.partition, fleet.gap, fleet.duplicate-name, peer.*, device.*, alert.*, gateway.* or fleet.*',
      'target 1: events (2 of 2): "device" is not peer.connected, peer.roamed, peer.disconnected, handshake.unknown, device.added, device.removed, alert.firing, alert.resolved, gateway.lost, gateway.back, gateway.stopped, fleet.partition, fleet.gap, fleet.duplicate-name, peer.*, device.*, alert.*, gateway.* or fleet.*; did you mean device.*?',
    ],
    [
      `[[target]]\n${one}\nevents = "device.*"\npeers = "alice"`,
      "target 1: together, events and peers select nothing: events of devices have no peer",
    ],
    [
      `[[target]]\nexec = "/x"`,
      'target 1: exec: must be a list of strings, such as ["/usr/local/bin/notify", "--urgent"]',
    ],
    [
      `[[target]]\nexec = []`,
      'target 1: exec: must be a list of strings, such as ["/usr/local/bin/notify", "--urgent"]',
    ],
    [
      `[[target]]\nexec = ["/x", 1]`,
      'target 1: exec: must be a list of strings, such as ["/usr/local/bin/notify", "--urgent"]',
    ],
    [
      `[[target]]\nexec = ["notify"]`,
      "target 1: exec: (hidden) is not the absolute path of a program, without spaces; its arguments follow, each a string of its own",
    ],
    [
      `[[target]]\nexec = ["/bin/sh -c 'echo s3cret'"]`,
      "target 1: exec: (hidden) is not the absolute path of a program, without spaces; its arguments follow, each a string of its own",
    ],
    [`[[target]]\nexec = ["/x", "\\u0000"]`, "target 1: exec: (hidden) contains a NUL character"],
    [
      `[[target]]\nexec = ["/x"]\nformat = "json"\nsecret_file = "/s"`,
      "target 1: format does not apply to exec",
      "target 1: secret_file does not apply to exec",
    ],
    [`target = [${`{ ${one} },`.repeat(101)}]`, "there are 101 targets; the maximum is 100"],
  ])("a table [[target]] is refused: %.60j", (toml, ...messages) => {
    const files = {
      "/u": "https://a.example\nhttps://b.example",
      "/one": "a.example",
      "/empty": "",
      "/s": SECRET,
      "/t": "2",
      "/denied": denied,
    };
    const expected = messages.map((message) =>
      message.startsWith("there are") ? message : `${FILE}: ${message}`,
    );
    expect(errors([], { toml, files })).toEqual(expected);
  });

  test("a table [[target]] has all its errors reported at once", () => {
    const toml = `tick = "5"\ntarget = [{ evnts = 1 }, { url = "x", peers = 1 }, 3]`;
    expect(errors(["--webhook=x", "--nonsense"], { toml })).toEqual([
      "--nonsense: there is no such flag",
      "--webhook: (hidden) is not a URL that starts with http:// or https://",
      `${FILE}: tick: "5" has no unit; write "5s" for seconds`,
      `${FILE}: target 1: there is no key "evnts"; did you mean events?`,
      `${FILE}: target 1: has no address; give exactly one of url, url_file and exec`,
      `${FILE}: target 2: url: (hidden) is not a URL that starts with http:// or https://`,
      `${FILE}: target 2: peers: must be a string or a list of strings, not a number`,
      `${FILE}: target 3: must be a table, not a number`,
    ]);
  });
});

describe("the key exec of a target", () => {
  const toml = `[[target]]\nexec = ["/x"]`;
  const refused = `${FILE}: exec is refused, because`;

  const ours = { bits: 0o644, isOwnedByUsOrRoot: true, isRegular: true };
  const chown = "chown it to root and chmod go-w it, or move the settings to /etc/wgmon";

  test.each<[Omit<Given, "toml">, ...string[]]>([
    [{ mode: ours }],
    [{ mode: { bits: 0o400, isOwnedByUsOrRoot: true, isRegular: true } }],
    [
      { mode: { bits: 0o664, isOwnedByUsOrRoot: true, isRegular: true } },
      `${refused} other users can write to this file, its mode is 664; chmod go-w it`,
    ],
    [
      { mode: { bits: 0o602, isOwnedByUsOrRoot: true, isRegular: true } },
      `${refused} other users can write to this file, its mode is 602; chmod go-w it`,
    ],
    [
      { mode: { bits: 0o600, isOwnedByUsOrRoot: false, isRegular: true } },
      `${refused} this file belongs to neither root nor the user that wgmon runs as; chown it`,
    ],
    [{ mode: null }, `${refused} the mode of this file cannot be read`],
    [
      { mode: ours, openFolder: "/srv/shared" },
      `${refused} other users can replace files in the folder /srv/shared; ${chown}`,
    ],
    [
      { mode: ours, openFolder: new SystemError("scan x", "EACCES") },
      `${refused} its parent folders cannot be examined: EACCES`,
    ],
  ])("exec depends on who can change the settings file: %j", (given, ...messages) => {
    expect(errors([], { toml, ...given })).toEqual(messages);
  });

  test("exec is the only reason to check who can change the file", () => {
    const given = {
      mode: { bits: 0o666, isOwnedByUsOrRoot: false, isRegular: true },
      openFolder: "/",
    };
    expect(errors([], { toml: `target = [{ url = "https://a.example" }]`, ...given })).toEqual([]);
  });

  test("exec is neither a flag nor a variable", () => {
    expect(errors(["--exec=/x"])).toEqual(["--exec: there is no such flag"]);
    expect(run([], { env: { WGMON_EXEC: "/x", WGMON_TARGET: "x" } })).toMatchObject({
      settings: { targets: [] },
      warnings: ["unknown environment variables are ignored: WGMON_EXEC, WGMON_TARGET"],
    });
  });
});
