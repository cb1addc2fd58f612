/** The JSON Schema of the settings file accepts what wgmon accepts, and refuses mistakes that an editor can find. */

import { describe, expect, test } from "bun:test";

import Ajv from "ajv";
import fc from "fast-check";

import { RULE_DEFAULTS } from "../../src/alerts/rule.ts";
import { ALERT_EXAMPLES } from "../../src/cli/alert-examples.ts";
import { settingsFile } from "../../src/cli/settings-example.ts";
import { keysOf, KINDS } from "../../src/config/alert-keys.ts";
import { configSchema } from "../../src/config/json-schema.ts";
import { keyOf, type Setting, table } from "../../src/config/settings-table.ts";
import { codeBlocks, pages } from "../support/readme.ts";
import { errors } from "../support/settings.ts";

const ajv = new Ajv({
  strict: true,
  allowUnionTypes: true,
  strictTypes: false,
  strictRequired: false,
  verbose: false,
});
const validate = ajv.compile(configSchema());

function problems(toml: string): unknown {
  return validate(Bun.TOML.parse(toml)) ? [] : validate.errors;
}

/** Blocks of TOML that are settings. Those of other programs have other keys. */
const documented = pages.flatMap((page) =>
  codeBlocks(page, "toml").map((text) => [page, text] as const),
);

describe("wgmon schema config", () => {
  test.each(documented)("the schema accepts the settings in %s", (_, text) => {
    expect(problems(text)).toEqual([]);
  });

  test("the schema accepts the examples of alerts, and the settings file of the service without the #", () => {
    expect(problems(ALERT_EXAMPLES)).toEqual([]);
    expect(problems(ALERT_EXAMPLES.replace(/^#(?! )/gm, ""))).toEqual([]);
    const lines = settingsFile().replace(/^#(?! )/gm, "");
    expect(problems(lines)).toEqual([]);
  });

  test.each(
    Object.entries<Setting<unknown>>(table).filter(([, { flagOnly }]) => flagOnly !== true),
  )(
    "the schema describes the setting %s, and accepts its default and its example",
    (name, { example, defaultValue, tomlTypes, description }) => {
      const properties = configSchema()["properties"] as Record<string, { description?: string }>;
      expect(properties[keyOf(name)]?.description).toBe(description);
      for (const text of [example, ...(defaultValue === null ? [] : [defaultValue])]) {
        const value = tomlTypes[0] === "string" ? JSON.stringify(text) : text;
        expect(problems(`${keyOf(name)} = ${value}`)).toEqual([]);
      }
    },
  );

  test.each(KINDS)("the schema has every key of the kind %s, with a description", (kind) => {
    const { alert } = configSchema()["properties"] as {
      alert: { items: { allOf: { then: Alternative }[] } };
    };
    const found = alert.items.allOf.find(({ then }) => then.title === kind)!.then;
    expect(Object.keys(found.properties).toSorted()).toEqual(Object.keys(keysOf(kind)).toSorted());
    for (const { description } of Object.values(found.properties)) {
      expect(description).toBeString();
    }
  });

  test.each([
    "tikc = '5s'",
    "tick = 'soon'",
    "monitor = 'auto2'",
    "group = 70000",
    "report_unknown = 'yes'",
    "[[alert]]\nname = 'a'",
    "[[alert]]\nkind = 'down'",
    "[[alert]]\nname = 'a'\nkind = 'dwon'",
    "[[alert]]\nname = 'a'\nkind = 'down'\nrate = '10MB/s'",
    "[[alert]]\nname = 'a'\nkind = 'down'\nfor = 5",
    "[[alert]]\nname = 'a'\nkind = 'hours'",
    "[[alert]]\nname = 'a'\nkind = 'traffic'",
    "[[alert]]\nname = 'a'\nkind = 'traffic'\nquota = '50'",
    "[[alert]]\nname = 'a'\nkind = 'place'\nfor = '1m'",
    "[[target]]\nname = 'a'",
    "[[target]]\nurl = 'https://a.example'\nexec = ['/bin/true']",
    "[[target]]\nurl = 'https://a.example'\nfromat = 'json'",
    "[peers.alice]\nname = 'alice'",
  ])("the schema refuses %j, as wgmon does", (toml) => {
    expect(problems(toml)).not.toEqual([]);
    expect(errors([], { toml })).not.toEqual([]);
  });

  test("an editor marks the key that is wrong, and not the table", () => {
    const marked = (lines: string) => {
      const toml = `[[alert]]\nname = 'a'\n${lines}`;
      return (problems(toml) as { instancePath: string; params: object }[])
        .filter(({ params }) => !("failingKeyword" in params))
        .map(({ instancePath }) => instancePath);
    };
    expect(marked("kind = 'down'\nfor = ''")).toEqual(["/alert/0/for"]);
    expect(marked("kind = 'down'\nseverity = 'high'")).toEqual(["/alert/0/severity"]);
    expect(marked("kind = 'dwon'")).toEqual(["/alert/0/kind"]);
  });

  test("the schema accepts every rule that wgmon accepts", () => {
    const values: Readonly<Record<string, readonly unknown[]>> = {
      peers: ["alice", ["a*"]],
      tags: ["a,b"],
      for: ["90s", "1h30m", "0"],
      repeat: ["4h", "1d"],
      severity: ["info"],
      times: ["mon-fri 08:00-18:00 UTC", ["sat", "sun 10:00-12:00 UTC"]],
      time_zone: ["Europe/Berlin"],
      dry_run: [true],
      disconnects: [1, 63],
      within: ["10m"],
      steady_for: ["1h"],
      turns: [3],
      direction: ["rx"],
      quota: ["50GB", "1GiB", "9B"],
      per: ["month"],
      reset_day: [31],
      percents: [[80, 100], 50],
      rate: ["100 Mbit/s", "1MiB/s"],
      over: ["5m"],
      allowed: ["mon-fri 07:00-20:00 UTC", "de", ["AS1", "FR"]],
      new: ["asn"],
      days: [30],
      at: ["7:30"],
      changes: ["added, removed", ["endpoint"]],
      messages: [0],
    };
    let accepted = 0;
    const key = fc.constantFrom(...Object.keys(values));
    fc.assert(
      fc.property(
        fc.constantFrom(...(Object.keys(RULE_DEFAULTS) as string[])),
        fc.uniqueArray(key, { maxLength: 5 }),
        fc.nat(),
        (kind, keys, seed) => {
          const lines = keys.map((name) => {
            const options = values[name]!;
            return `${name} = ${JSON.stringify(options[seed % options.length])}`;
          });
          const alert = `[[alert]]\nname = "a"\nkind = "${kind}"\n${lines.join("\n")}`;
          const toml = `places = "/x"\n${alert}`;
          if (errors([], { toml }).length > 0) return;
          accepted++;
          expect(problems(toml)).toEqual([]);
        },
      ),
      { numRuns: 2000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });
});

interface Alternative {
  readonly title: string;
  readonly properties: Readonly<Record<string, { readonly description?: string }>>;
}
