/**
 * README.md and docs/ are correct: settings, flags, events and the source tree are compared with the program.
 * test/netns/documented-rules.test.ts checks the firewall snippets, test/docs.test.ts links and lengths.
 */

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { RULE_DEFAULTS } from "../../src/alerts/rule.ts";
import { formats } from "../../src/channels/formats/index.ts";
import { commands } from "../../src/config/commands-table.ts";
import { parseCommand } from "../../src/config/config.ts";
import { table } from "../../src/config/settings-table.ts";
import { EventSchema } from "../../src/events/event-schema.ts";
import { needs } from "../support/kernel.ts";
import {
  codeBlocks,
  generatedTables,
  readAllPages,
  readPage,
  snippet,
  tableInDocs,
} from "../support/readme.ts";
import { runScript } from "../support/script.ts";
import { TEST_MS } from "../support/until.ts";

const ROOT = join(import.meta.dir, "../..");

describe("the documentation", () => {
  test.each(generatedTables)(
    "the documentation has the program's table of $name, which npm run readme writes",
    (table) => {
      expect(cells(tableInDocs(table))).toEqual(cells(table.make()));
    },
  );

  test("the documentation mentions only flags that exist", () => {
    const own = Object.values(commands).flatMap(({ flags: some }) => Object.keys(some));
    const flags = new Set([...Object.keys(table), ...own]);
    for (const flag of ["no-announce-existing", "help", "version", "licenses"]) flags.add(flag);
    // Flags of iptables, setpriv, unshare, the tests and the build; the last three are examples.
    const foreign =
      "dport nflog-group nflog-threshold reuid regid clear-groups inh-caps ambient-caps net timeout " +
      "no-kernel no-packaging no-vm only where stay soak minify idle unix-socket flag urgent release check " +
      // Flags of podman and docker, of nats-server, and of systemctl.
      "name network read-only cap-drop cap-add build-arg format tmpfs rm signal now";
    const known = new Set([...flags, ...foreign.split(" ")]);
    const named = readAllPages().matchAll(/(?<![\w-])--(?:\[no-\])?([a-z][\w-]*)/g);
    const unknown = [...named].map(([, name]) => name!).filter((name) => !known.has(name));
    expect(unknown).toEqual([]);
  });

  test("the documentation has a valid example of each type of event", () => {
    FormatRegistry.Set("date-time", (text) => new Date(text).toJSON() === text);
    const eventsOf = (page: string) =>
      codeBlocks(page, "json").map((text) => JSON.parse(text) as { type: string });
    const events = eventsOf("docs/events.md");
    for (const event of [...events, ...eventsOf("README.md")]) {
      expect([...Value.Errors(EventSchema, event)]).toEqual([]);
    }
    const types = EventSchema.anyOf.map(({ properties }) => properties.type.const);
    // The example of device.removed also stands for device.added.
    const wanted = types.filter((type) => type !== "device.added");
    expect(events.map(({ type }) => type).sort()).toEqual(wanted.sort());
    for (const type of types) expect(readPage("docs/events.md")).toContain(`\`${type}\``);
  });

  test("the documentation has a valid settings file", () => {
    const command = parseCommand({
      argv: [],
      env: {},
      hostname: "gw1",
      readFile: (path) =>
        path === table.config.defaultValue ? { text: snippet("toml"), mode: null } : null,
      listFolder: () => [],
      folderOpenToOthers: () => null,
    });
    expect(command).toMatchObject({
      type: "run",
      warnings: [],
      settings: {
        devices: ["wg0", "wg1"],
        targets: [{ destination: { formatName: "json" } }, { destination: { formatName: "form" } }],
        idleTimeoutMs: 75_000,
        holdMs: 30_000,
      },
    });
    expect(command.type === "run" && [...command.settings.peers.values()]).toEqual([
      expect.objectContaining({ name: "alice", idleTimeoutMs: null }),
      expect.objectContaining({ name: "bob's phone", idleTimeoutMs: 600_000 }),
    ]);
  });

  test("the documentation has a source tree that matches the files", () => {
    const named = [
      ...readPage("docs/source-tree.md").matchAll(
        /^((?:src|deploy|test)\/\S+\.(?:m?ts|tsx|js|css)|build\.ts)\s/gm,
      ),
    ].flatMap(([, file]) => namedBy(file!));
    expect(named.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
    const files = [...new Bun.Glob("src/**/*.{ts,tsx,js,css}").scanSync(ROOT)];
    const isNamed = (file: string) => named.includes(file) || file.endsWith(".d.ts");
    expect(files.filter((file) => !isNamed(file))).toEqual([]);
  });
});

const tools = needs("namespaces", "nft", "setpriv", "bash");

describe.skipIf(tools.missing)(tools.title("the documented commands"), () => {
  test(
    "the documented commands give another user a wgmon with a store and a socket, which commands can query",
    async () => {
      const output = await runScript(
        `
      for folder in /run /var/lib /usr/local/bin; do mount -t tmpfs -o mode=755 tmpfs $folder; done
      cp '${join(ROOT, "wgmon")}' /usr/local/bin/wgmon
      sudo() { env "$@"; }
      cd /
      ${snippet("setpriv").trim()} >/run/log 2>&1 &
      for ((i = 0; i < 300; i++)); do grep -qs msg=ready /run/log && break; sleep 0.1; done
      grep -q msg=ready /run/log
      ${/`(sudo RUNTIME_DIRECTORY=.*?)`/.exec(readPage("docs/install.md"))![1]} >/run/status
      stat -c '%U %a' /var/lib/wgmon-nobody/wgmon.db /run/wgmon-nobody/wgmon.sock
      grep -E 'EACCES|EPERM|memory only' /run/log || true
      `,
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"],
      );
      expect(output).toBe("nobody 600\nnobody 600\n");
    },
    TEST_MS,
  );
});

/** The files that a line of the source tree stands for: SERVICE is the name of any format. */
function namedBy(file: string): string[] {
  if (file.includes("KIND")) {
    return Object.keys(RULE_DEFAULTS).map((kind) => file.replace("KIND", kind));
  }
  if (!file.includes("SERVICE")) return [file];
  return Object.keys(formats).map((name) => file.replace("SERVICE", name));
}

function cells(markdown: string): string[][] {
  return markdown
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^[|\s-]+$/.test(line))
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
}
