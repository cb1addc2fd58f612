/** No output shows a secret, whatever the settings are and wherever a secret was put by mistake. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { ruleText } from "../../src/alerts/rule-text.ts";
import { ConfigError, SystemError } from "../../src/base/errors.ts";
import { helpText } from "../../src/cli/help.ts";
import { commands } from "../../src/config/commands-table.ts";
import { type Command, describeSettings } from "../../src/config/config.ts";
import { keyOf, table, variableOf } from "../../src/config/settings-table.ts";
import { type Given, parse } from "../support/settings.ts";

const SECRET = "s3cr3tTok3n";
/** A valid secret, with the prefix of all. */
const SIGNING_SECRET = `whsec_${btoa(`${SECRET}${SECRET}${SECRET}`)}`;
/** A file in wgmon.d. */
const PART = "/etc/wgmon/wgmon.d/part.toml";
const KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/** All text that wgmon prints about a command line, and the command if it is valid. */
function textOf(
  argv: readonly string[],
  given: Given,
): { readonly text: string; readonly command: Command | null } {
  try {
    const command = parse(argv, given);
    if (command.type === "help") return { text: helpText(command.command), command };
    if (!("settings" in command)) return { text: Bun.inspect(command), command };
    const { settings, warnings } = command;
    const errors = "errors" in command ? command.errors : [];
    const rules = settings.alerts.map((rule) => ruleText(rule));
    const shown = [describeSettings(settings, "gw1"), warnings, errors, rules];
    return { text: JSON.stringify(shown), command };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.errors).not.toBeEmpty();
    expect(error.errors.join("")).not.toMatch(/\p{Cc}/u);
    const text = error.message + JSON.stringify(error) + String(error.cause) + Bun.inspect(error);
    return { text, command: null };
  }
}

function expectNoSecret(text: string): void {
  expect(text).not.toContain(SECRET);
  expect(text).not.toContain(SIGNING_SECRET.slice("whsec_".length, 30));
}

const urls = [
  `https://a.example/${SECRET}`,
  `https://u:${SECRET}@a.example:8443`,
  `http://a.example?t=${SECRET}`,
  `form:https://a.example/#${SECRET}`,
  `json:https://a.example:99999/${SECRET}`,
  `ftp://a.example/${SECRET}`,
  `slak:https://a.example/${SECRET}`,
  `slack:https://a.example/${SECRET}`,
  `telegram:https://api.telegram.org/bot${SECRET}/sendMessage`,
  `https://api.telegram.org/bot${SECRET}/sendMessage?chat=1`,
  `pushover:https://a.example/?token=${SECRET}`,
  `https:/a.example/${SECRET}`,
  `https://a.example/ https://b.example/${SECRET}`,
];

describe("a secret in the settings", () => {
  const files: Given["files"] = {
    "/url": `# ${SECRET}\n${urls.join("\n")}\n`,
    "/secret": SIGNING_SECRET,
    "/short": SECRET,
    "/words": `${SIGNING_SECRET} ${SIGNING_SECRET}`,
    "/template": `{ "authorization": "${SECRET}", "x": "{{nothing}}", "${SECRET}{{": 1 }`,
    "/json": `{ "authorization": "${SECRET}" `,
    [`/denied/${SECRET}`]: new SystemError(`read /denied/${SECRET}`, "EACCES"),
  };
  const paths = [...Object.keys(files), `/none/${SECRET}`, SECRET, SIGNING_SECRET];

  test.each(["", "test-webhook", "outbox", "receive"])(
    "wgmon %s does not show a secret",
    (command) => {
      for (const path of paths) {
        for (const flag of ["webhook-file", "webhook-secret-file", "secret-file"]) {
          const argv = [...command.split(" "), `--${flag}`, path].filter((word) => word !== "");
          expectNoSecret(textOf([...argv, "--webhook=https://a.example"], { files }).text);
          expectNoSecret(textOf(argv, { files }).text);
          expectNoSecret(textOf([...argv, SECRET.replace("s", "https://a/s")], { files }).text);
        }
      }
    },
  );

  test.each(["url", "url_file", "secret_file", "template", "template_file"])(
    "a secret in the key %s of a target is not shown",
    (key) => {
      const values = [...urls, ...paths, `{ "a": "${SECRET}" `, `{ "a": "{{${SECRET}!" }`];
      for (const value of values) {
        const url = key.startsWith("url") ? {} : { url: "https://a.example" };
        const fields = Object.entries({ name: "ops", ...url, [key]: value });
        const lines = fields.map(([name, text]) => `${name} = ${JSON.stringify(text)}`);
        expectNoSecret(textOf([], { toml: `[[target]]\n${lines.join("\n")}`, files }).text);
      }
    },
  );

  test.each([
    `["/usr/bin/curl", "${SECRET}"]`,
    `["curl", "${SECRET}"]`,
    `["/usr/bin/curl ${SECRET}"]`,
    `["/usr/bin/curl\\n${SECRET}"]`,
    `["/usr/bin/curl", "${SECRET}\\u0000"]`,
    `["/usr/bin/curl", "${SECRET}", 1]`,
    `["https://a.example/${SECRET}"]`,
    `["/usr/bin/https://a.example/${SECRET}"]`,
    `"/usr/bin/curl ${SECRET}"`,
    `["/usr/bin/curl", "${SECRET}"`,
  ])("a secret in exec = %s is not shown", (exec) => {
    for (const bits of [0o600, 0o666]) {
      const toml = `[[target]]\nexec = ${exec}\n`;
      expectNoSecret(
        textOf([], { toml, mode: { bits, isOwnedByUsOrRoot: true, isRegular: true } }).text,
      );
      expectNoSecret(textOf([], { toml: `${toml}[[target]]\nformat = 1` }).text);
    }
  });

  test.each([
    `webhook = "https://a.example/${SECRET}`,
    `webhook = ${SECRET}`,
    `webhook = ["https://a.example" ${SECRET}]`,
    `webhook = ["https://a.example" "${SECRET}"]`,
    `"https://a.example" ${SECRET}`,
    `webhook = "a" '${SECRET}'`,
    `target = [{ url = "https://a.example", ${SECRET} = 1, ${SECRET} = 2 }]`,
    `[["https://a.example/${SECRET}"]]\n["https://a.example/${SECRET}"]`,
    `["https://a.example/${SECRET}"]\n[["https://a.example/${SECRET}"]]`,
    `"https://a.example/${SECRET}" = 1\n[["https://a.example/${SECRET}"]]`,
    `[[target]]\n"https://a.example/${SECRET}" = 1`,
    `[[target]]\ntemplate = '''{ "x": "${SECRET}"`,
  ])("a secret in an invalid settings file is not shown: %j", (toml) => {
    expectNoSecret(textOf([], { toml }).text);
  });
});

describe("any combination of arguments, variables and files", () => {
  const name = fc.constantFrom(
    ...Object.keys(table),
    ...Object.values(commands).flatMap(({ flags }) => Object.keys(flags)),
    "webhok",
    "h0st",
    "no-announce-existing",
    "no-json",
    "__proto__",
  );
  const value = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...urls) },
    { weight: 2, arbitrary: fc.constantFrom("/secret", "/urls", "/x.toml", SIGNING_SECRET) },
    fc.constantFrom("bpf", "10s", "0", "5", "true", "", " ", "-5s", "--", "wg0", "peer.*", "ops"),
    fc.constantFrom(...Object.keys(commands), "list", "retry", "drop"),
    fc.string({ unit: "binary", maxLength: 8 }),
  );
  const dash = fc.constantFrom("-", "--");
  const argument = fc.oneof(
    fc.tuple(dash, name).map((parts) => parts.join("")),
    fc.tuple(dash, name, value).map(([dashes, flag, text]) => `${dashes}${flag}=${text}`),
    value,
  );
  const argv = fc.oneof(
    fc.array(argument, { maxLength: 5 }),
    fc
      .tuple(fc.constantFrom(...Object.keys(commands)), fc.array(argument, { maxLength: 4 }))
      .map(([command, rest]) => [command, ...rest]),
    // So that each command also occurs without an error. Some need one more word.
    {
      weight: 3,
      arbitrary: fc.constantFrom(...Object.keys(commands)).map((command) => {
        const more: Readonly<Record<string, string>> = {
          completion: "fish",
          peer: "alice",
          schema: "event",
        };
        return Object.hasOwn(more, command) ? [command, more[command]!] : [command];
      }),
    },
  );
  const variable = fc.oneof(
    name.map(variableOf),
    name,
    fc.constantFrom("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"),
    fc.string().map((text) => `WGMON_${text}`),
  );
  const quotedValue = value.map((text) => JSON.stringify(text));
  const tomlValue = fc.oneof(
    quotedValue,
    fc.array(quotedValue, { maxLength: 3 }).map((list) => `[${list.join()}]`),
    fc.constantFrom("1", "-0", "inf", "nan", "true", "1979-05-27", "{}", "{ a = 1 }"),
    value,
  );
  const targetKey = fc.constantFrom(
    ..."name url url_file exec format template template_file secret_file events".split(" "),
    ..."devices peers digest timeout evnts __proto__".split(" "),
  );
  const target = fc
    .array(fc.tuple(targetKey, tomlValue), { maxLength: 5 })
    .map((fields) => `{ ${fields.map((pair) => pair.join(" = ")).join(", ")} }`);
  const alertKey = fc.constantFrom(
    ..."name kind peers tags devices for repeat severity targets times time_zone dry_run".split(
      " ",
    ),
    ..."disconnects within turns quota per percents rate allowed new at changes bogus".split(" "),
  );
  const alert = fc
    .tuple(
      fc.constantFrom("down", "traffic", "hours", "place", "changed", "target"),
      fc.array(fc.tuple(alertKey, tomlValue), { maxLength: 4 }),
    )
    .map(([kind, fields]) =>
      [["name", '"a"'], ["kind", `"${kind}"`], ...fields].map((pair) => pair.join(" = ")),
    )
    .map((fields) => `{ ${fields.join(", ")} }`);
  const tomlKey = fc.oneof(
    name.map(keyOf),
    fc.constantFrom(
      `peers."${KEY}".name`,
      `peers."${KEY}".idle_timeout`,
      `peers."${KEY}"`,
      "peers",
      "peers.x.y",
      "target",
    ),
    quotedValue,
    quotedValue.map((text) => `peers.${text}`),
  );
  const toml = fc
    .array(
      fc.oneof(
        fc.tuple(tomlKey, tomlValue).map((pair) => pair.join(" = ")),
        fc.array(target, { maxLength: 3 }).map((list) => `target = [${list.join()}]`),
        fc.array(alert, { maxLength: 3 }).map((list) => `alert = [${list.join()}]`),
        value,
      ),
      { maxLength: 4 },
    )
    .map((lines) => lines.join("\n"));
  const fileText = fc.oneof(
    fc.array(value, { maxLength: 3 }).map((lines) => lines.join("\n")),
    fc.constant(SIGNING_SECRET),
  );
  const given = fc.record({
    argv,
    env: fc.dictionary(variable, value, { maxKeys: 4 }),
    toml,
    files: fc.record({
      "/secret": fileText,
      "/urls": fileText,
      "/x.toml": toml,
      [PART]: fc.oneof({ weight: 4, arbitrary: fc.constant("") }, toml),
    }),
    mode: fc.record({
      bits: fc.constantFrom(0o600, 0o664),
      isOwnedByUsOrRoot: fc.boolean(),
      isRegular: fc.boolean(),
    }),
  });

  test("any combination of arguments, variables and files is a command or a ConfigError, and no secret is shown", () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(given, ({ argv: words, ...rest }) => {
        const { text, command } = textOf(words, rest);
        const type = command?.type ?? "error";
        seen.set(type, (seen.get(type) ?? 0) + 1);
        expectNoSecret(text);
      }),
      { numRuns: 4000 },
    );
    expect([...seen.keys()].sort()).toEqual([...Object.keys(commands), "error"].sort());
  });
});
