/** The initial settings file: everything that can be set, as comments. Pure. */

import { keyOf, type Setting, table } from "../config/settings-table.ts";
import { meaning, wrap } from "./help.ts";

const COLUMNS = 100;

export function settingsFile(): string {
  const settings: [string, Setting<unknown>][] = Object.entries(table);
  const entries = settings
    .filter(([, { flagOnly }]) => flagOnly !== true)
    .map(([name, setting]) => `${comment(meaning(setting))}#${keyOf(name)} = ${toml(setting)}\n`);
  return `${comment("Settings of wgmon, in TOML. As it is, this file changes nothing: take the # away before a key to set it. Where there is no default, the value is an example. A running wgmon reads it again at `systemctl reload wgmon` (SIGHUP).")}#
${comment("The service may read it only if everybody may (mode 644). So what nobody should know, such as a webhook's URL, belongs into a file of /etc/credstore, which is for root alone: wgmon.webhooks (URLs, a line each), wgmon.webhook-secret, wgmon.listen-token. Those are read at `systemctl restart wgmon`.")}
${entries.join("\n")}
# What follows must stay behind all of the above.

#[peers."8ly5SwKCANPdyunxgCDvAf8o7MNQwsSu1ofnadakHlc="]
#name = "alice"
#tags = ["phone"]
#idle_timeout = "75s"

#[[target]]
#name = "ops"
#url = "https://hooks.example.net/wgmon"
#peers = ["alice"]
#events = ["peer.disconnected"]
`;
}

function comment(text: string): string {
  return wrap(text, COLUMNS - 2)
    .map((line) => `# ${line}\n`)
    .join("");
}

/** The default as TOML, or the example. */
function toml({ defaultValue, example, tomlTypes, separator }: Setting<unknown>): string {
  const text = defaultValue ?? example;
  const value = tomlTypes[0] === "string" ? JSON.stringify(text) : text;
  return separator === undefined ? value : `[${value}]`;
}
