/** `wgmon check`, `wgmon alerts examples` and `wgmon schema event`: what they print, and their exit codes. */

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import Ajv from "ajv";

import { ALERT_EXAMPLES } from "../../src/cli/alert-examples.ts";
import { runCheck } from "../../src/cli/check.ts";
import { schemaText } from "../../src/cli/schema.ts";
import { KINDS } from "../../src/config/alert-keys.ts";
import { mmdb } from "../support/mmdb.ts";
import { ALICE } from "../support/peers.ts";
import { codeBlocks, snippet } from "../support/readme.ts";
import { errors, type Given, parse, run, SETTINGS_FILE as FILE } from "../support/settings.ts";

const folder = mkdtempSync(join(tmpdir(), "wgmon-check-"));
afterAll(() => rmSync(folder, { recursive: true }));
const places = join(folder, "places.mmdb");
writeFileSync(places, mmdb({ "192.0.2.0/24": { country: { iso_code: "DE" } } }));

async function check(argv: readonly string[], given: Given) {
  const command = parse(["check", ...argv], given);
  if (command.type !== "check") throw new Error(command.type);
  const [printed, warned]: [string[], string[]] = [[], []];
  const output = {
    print: (line: string) => void printed.push(line),
    warn: (line: string) => void warned.push(line),
  };
  return { code: await runCheck(command, output), printed, warned };
}

describe("wgmon check", () => {
  test("wgmon check prints the targets, and the rules in words", async () => {
    const toml = `${snippet("alert")}
[[alert]]
name = "quota"
kind = "traffic"
quota = "50GB"
targets = ["ops"]
dry_run = true
`;
    expect(await check([], { toml })).toEqual({
      code: 0,
      warned: [],
      printed: [
        `${FILE}: correct; 1 target, 2 alerts, 0 peers`,
        "",
        "Targets:",
        "  ops json:https://hooks.example.net/... (events alert.*)",
        "",
        "Alerts:",
        "  berlin-down (down)",
        "    fires when berlin-office is absent for 2m",
        "    severity critical",
        "    alerts within 30s are one message",
        "    reminds every 4h",
        "    sends only at mon-fri 08:00-18:00 Europe/Berlin",
        "    goes to ops",
        "    first message about 2m30s after the last activity; of a peer without PersistentKeepalive 3m30s",
        "  quota (traffic)",
        "    fires when a peer transfers 80 % or 100 % of 50GB per month from day 1 (UTC)",
        "    severity warning",
        "    is only recorded (dry_run)",
        "",
        "names of peers are compared when wgmon runs: wgmon doctor shows what matches nothing",
      ],
    });
  });

  test("wgmon check warns of an alert that no target accepts", async () => {
    const toml = `[[target]]
name = "o"
url = "https://a.example"
events = ["peer.*"]
[[alert]]
name = "x"
kind = "down"
`;
    const { code, warned, printed } = await check([], { toml });
    expect({ code, warned }).toEqual({
      code: 0,
      warned: [
        `warning: ${FILE}, line 5: alert 1 (x): no target accepts it: "o" has events = ["peer.*"]; add "alert.*" to it, or targets = ["o"] to the rule`,
      ],
    });
    expect(printed).toContain("    goes to no target");
  });

  test("wgmon check warns of tags that no peer has, and of names that are probably mistyped", async () => {
    const toml = `[peers."${ALICE}"]
name = "berlin-office"
tags = ["site"]
`;
    const warningsOf = async (lines: string) => {
      const rule = `[[alert]]\nname = "x"\nkind = "down"\ndry_run = true\n${lines}\n`;
      return (await check([], { toml: rule + toml })).warned;
    };
    expect(await warningsOf(`peers = ["berlin-ofice"]\ntags = ["sites", "hub", "s*"]`)).toEqual([
      'warning: alert x: no peer in the settings has the tag "sites"; did you mean site?',
      'warning: alert x: no peer in the settings has the tag "hub"',
      'warning: alert x: the settings have no peer "berlin-ofice"; did you mean berlin-office?',
    ]);
    // These names may be in other files; a name with another number is another peer.
    expect(
      await warningsOf(`peers = ["munich", "berlin-*", "berlin-office2", "${ALICE}"]`),
    ).toEqual([]);
    expect(await warningsOf(`tags = ["site"]\npeers = ["berlin-office"]`)).toEqual([]);
  });

  test("wgmon check prints all mistakes and warnings, and its exit code is 2", async () => {
    const toml = `places = "/absent.mmdb"\ntick = "x"\n[[alert]]\nname = "a"\nkind = "hours"\nallowed = "sat"\nfor = 1`;
    expect(await check([], { toml })).toEqual({
      code: 2,
      warned: [
        `${FILE}: tick: "x" is not a duration; write it like 250ms, 90s or 1m30s`,
        `${FILE}, line 3: alert 1 (a): for: "1" has no unit; write "1s" for seconds`,
        "places: /absent.mmdb: there is no such file; download an MMDB file, or correct the path",
        `warning: ${FILE}, line 3: alert 1 (a): allowed has no time zone, so it is in UTC; add one, such as Europe/Berlin`,
      ],
      printed: [`${FILE}: 3 mistakes and 1 warning`],
    });
  });

  test("wgmon check FILE checks another file, with wgmon.d beside it", async () => {
    const files = {
      "./my.toml": "",
      "./wgmon.d/a.toml": `[[alert]]\nname = "a"\nkind = "down"`,
    };
    const { printed, code } = await check(["./my.toml"], { files, toml: "bogus" });
    expect(code).toBe(0);
    expect(printed[0]).toBe("./my.toml: correct; 0 targets, 1 alert, 0 peers");
    expect(errors(["check", "a", "--config=b"])).toContain(
      "FILE and --config: give only one of them",
    );
    const absent = await check(["./absent.toml"], {});
    expect(absent).toMatchObject({ code: 2, warned: ["FILE: there is no file ./absent.toml"] });
  });

  test("wgmon check without a settings file checks the defaults", async () => {
    const { printed, code } = await check([], {});
    expect({ printed, code }).toEqual({
      printed: ["no settings file: correct; 0 targets, 0 alerts, 0 peers"],
      code: 0,
    });
  });
});

describe("the examples of alerts", () => {
  // The example of kind place is commented out, because it needs a file.
  const all = `report_unknown = true\nplaces = ${JSON.stringify(places)}\n${ALERT_EXAMPLES.replace(/^#(?! )/gm, "")}`;

  test("wgmon check accepts all examples, as they are and with the settings that they need", async () => {
    expect((await check([], { toml: ALERT_EXAMPLES })).code).toBe(0);
    const target = `[[target]]\nurl = "https://a.example"`;
    const peer = `[peers."${ALICE}"]\ntags = ["shop", "site", "mobile", "contractor"]`;
    expect(await check([], { toml: `${all}\n${target}\n${peer}` })).toMatchObject({
      code: 0,
      warned: [],
    });
  });

  test("there is an example of each kind, and each has a comment", () => {
    const { alerts } = run([], { toml: all }).settings;
    expect([...new Set(alerts.map(({ kind }) => kind))].toSorted()).toEqual(KINDS.toSorted());
    expect(alerts.length).toBeGreaterThanOrEqual(12);
    for (const block of ALERT_EXAMPLES.split(/\n\n/)) expect(block).toStartWith("# ");
  });

  test("each example in docs/alerts.md is valid, without warnings", () => {
    const blocks = codeBlocks("docs/alerts.md", "toml");
    expect(blocks.length).toBeGreaterThanOrEqual(KINDS.length);
    const target = `[[target]]\nname = "ops"\nurl = "https://a.example"`;
    // Settings of the whole file are in their own blocks.
    const isRoot = (toml: string) => !toml.includes("[[");
    const root = blocks.filter(isRoot).join("\n");
    for (const toml of blocks.filter((each) => !isRoot(each))) {
      const given = `${root}\n${toml}\n${toml.includes("[[target]]") ? "" : target}`;
      expect(run([], { toml: given }).warnings).toEqual([]);
    }
  });
});

test("wgmon schema prints JSON Schemas that validators accept", () => {
  const ajv = new Ajv({ strict: false, formats: { "date-time": true } });
  const validate = ajv.compile(JSON.parse(schemaText("event")) as object);
  for (const text of codeBlocks("docs/events.md", "json")) {
    expect(validate(JSON.parse(text))).toBe(true);
  }
  expect(validate({ type: "peer.connected" })).toBe(false);
  expect(JSON.parse(schemaText("config"))).toMatchObject({ type: "object" });
});
