/** The initial settings file: all settings, commented out. Pure. */

import { keyOf, type Setting, table } from "../config/settings-table.ts";
import { meaning, wrap } from "./help.ts";

const COLUMNS = 100;

export function settingsFile(): string {
  const settings: [string, Setting<unknown>][] = Object.entries(table);
  const entries = settings
    .filter(([, { flagOnly }]) => flagOnly !== true)
    .map(([name, setting]) => `${comment(meaning(setting))}#${keyOf(name)} = ${toml(setting)}\n`);
  return `${comment("Settings of wgmon, in TOML. All settings are commented out: remove the # in front of a key to set it. Values are defaults, or examples where there is no default. `systemctl reload wgmon` (SIGHUP) makes a running wgmon read this file again.")}#
${comment("The service can read this file only if all users can (mode 644). So put secrets, such as a webhook's URL, in files in /etc/credstore, which only root can read: wgmon.webhooks (URLs, one on each line), wgmon.webhook-secret, wgmon.listen-token, wgmon.hub. `systemctl restart wgmon` reads those again.")}
${entries.join("\n")}
# The tables below must stay after all of the keys above.

#[peers."8ly5SwKCANPdyunxgCDvAf8o7MNQwsSu1ofnadakHlc="]
#name = "alice"
#tags = ["phone"]
#idle_timeout = "75s"

#[[target]]
#name = "ops"
#url = "https://hooks.example.net/wgmon"
#peers = ["alice"]
#events = ["peer.disconnected"]

# wgmon alerts examples prints more. wgmon.d beside this file may have files with more of these tables.

#[[alert]]
#name = "office-down"
#kind = "down"
#peers = ["office"]
#for = "2m"
#repeat = "4h"
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
