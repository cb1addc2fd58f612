/**
 * README.md and docs/ are correct: the firewall snippets are applied in network namespaces; settings, flags, events and
 * the source tree are compared with the program. test/docs.test.ts checks links and lengths.
 */

import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { formats } from "../../src/channels/formats/index.ts";
import { commands, parseCommand, table } from "../../src/config/config.ts";
import { EventSchema } from "../../src/events/event-schema.ts";
import { type Message, messages } from "../support/logged-packets.ts";
import {
  codeBlocks,
  generatedTables,
  readAllPages,
  readPage,
  snippet,
  tableInDocs,
} from "../support/readme.ts";
import { TEST_MS } from "../support/until.ts";

const ROOT = join(import.meta.dir, "../..");

describe("the documentation", () => {
  test.each(generatedTables)(
    "has the program's table of $name, which npm run readme writes",
    (table) => {
      expect(cells(tableInDocs(table))).toEqual(cells(table.make()));
    },
  );

  test("mentions only flags that exist", () => {
    const own = Object.values(commands).flatMap(({ flags: some }) => Object.keys(some));
    const flags = new Set([...Object.keys(table), ...own]);
    for (const flag of ["no-announce-existing", "help", "version", "licenses"]) flags.add(flag);
    // Flags of iptables, setpriv, unshare, the tests and the build; the last three are examples.
    const foreign =
      "dport nflog-group nflog-threshold reuid regid clear-groups inh-caps ambient-caps net timeout " +
      "no-kernel no-packaging no-vm only where soak minify idle unix-socket flag urgent release check " +
      // Flags of podman and docker.
      "name network read-only cap-drop cap-add build-arg format tmpfs rm";
    const known = new Set([...flags, ...foreign.split(" ")]);
    const named = readAllPages().matchAll(/(?<![\w-])--(?:\[no-\])?([a-z][\w-]*)/g);
    const unknown = [...named].map(([, name]) => name!).filter((name) => !known.has(name));
    expect(unknown).toEqual([]);
  });

  test("has a valid example of each type of event", () => {
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

  test("has a valid settings file", () => {
    const command = parseCommand({
      argv: [],
      env: {},
      hostname: "gw1",
      readFile: (path) =>
        path === table.config.defaultValue ? { text: snippet("toml"), mode: null } : null,
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

  test("has a source tree that matches the files", () => {
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

const unable = ["unshare", "ip", "nft", "bash"].filter((program) => Bun.which(program) === null);
if (process.getuid?.() !== 0) unable.unshift("root");
if (unable.length > 0 && process.env["WGMON_KERNEL_TESTS"] === "require") {
  throw new Error(`WGMON_KERNEL_TESTS=require, but there is no ${unable.join(", ")}`);
}
const note = unable.length > 0 ? ` [skipped: no ${unable.join(", ")}]` : "";
const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";

describe.skipIf(unable.length > 0)(`the documentation's firewall rules${note}`, () => {
  const handshakes: Message[] = ["initiation", "response", "first data"];
  const everything = Object.keys(messages) as Message[];

  test(
    "with nftables for handshakes log exactly the handshake messages",
    async () => {
      await expectRules(nft(snippet("nft-handshake")), handshakes);
    },
    TEST_MS,
  );

  test(
    "with nftables for every packet log all messages",
    async () => {
      await expectRules(nft(snippet("nft-plain")), everything);
    },
    TEST_MS,
  );

  test.skipIf(noIptables !== "")(
    `with iptables log all messages${noIptables}`,
    async () => {
      const [add, remove] = [snippet("iptables-add"), snippet("iptables-remove")];
      await expectRules({ add, remove }, everything);
    },
    60_000,
  );

  test(
    "of wg-quick log exactly the handshake messages",
    async () => {
      const add = hooks("PostUp");
      const remove = hooks("PostDown");
      await expectRules({ add: add + add, remove: remove + remove }, handshakes);
      // The tunnel must come up even if nft fails.
      await inNamespace(`nft() { return 1; }\n${add}${remove}`);
    },
    TEST_MS,
  );

  /** The hooks as wg-quick(8) runs them in bash, with %i replaced by the interface. */
  function hooks(name: string): string {
    const found = [...snippet("wg-quick").matchAll(new RegExp(`^${name} = (.*)$`, "gm"))];
    return found.map(([, hook]) => `${hook!.replaceAll("%i", "wg0")}\n`).join("");
  }

  /** The documented commands for a file of rules. It is loaded twice, which must be the same as loading it once. */
  function nft(text: string) {
    const path = "/etc/wgmon/wgmon.nft";
    expect(snippet("nft-load")).toContain(path);
    const load = `${snippet("nft-load").trim().replace(path, "/dev/stdin")} <<'END'\n${text}END\n`;
    return { add: load + load, remove: snippet("nft-remove") };
  }

  /**
   * Applies the rules next to rules of another firewall. The other rules must not change, other traffic must
   * pass, exactly the `wanted` messages must be logged, once each, over IPv4 and IPv6, and no rule may remain
   * after the removal.
   */
  async function expectRules(
    { add, remove }: { readonly add: string; readonly remove: string },
    wanted: readonly Message[],
  ) {
    const folder = mkdtempSync(join(tmpdir(), "wgmon-docs-"));
    try {
      const output = await inNamespace(`
        cd '${folder}'
        rules() { nft -s list ruleset 2>&1; }
        ip link set lo up
        nft add table inet other
        nft 'add chain inet other input { type filter hook input priority 0; policy accept; }'
        nft add rule inet other input tcp dport 22 accept
        # iptables creates its tables at its first use, and keeps them.
        if type iptables >&/dev/null; then iptables -P INPUT ACCEPT; ip6tables -P INPUT ACCEPT; fi
        rules >before
        ${add}
        rules >during
        ! cmp -s before during
        nft -s list table inet other >other
        "$bun" '${join(ROOT, "test/support/logged-packets.ts")}'
        ${remove}
        rules >after
        cmp before after
      `);
      expect(JSON.parse(output)).toEqual({ "127.0.0.1": wanted, "::1": wanted });
      const during = await Bun.file(join(folder, "during")).text();
      const other = await Bun.file(join(folder, "other")).text();
      expect(during).toContain(other.trim());
      expect(during).not.toMatch(/policy (?!accept)|\b(drop|reject)\b/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
});

describe.skipIf(unable.length > 0)(`wgmon as another user, as documented,${note}`, () => {
  test(
    "has a store and a socket, and commands can query it",
    async () => {
      const output = await inNamespace(
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
        ["--mount", "--pid", "--fork", "--kill-child"],
      );
      expect(output).toBe("nobody 600\nnobody 600\n");
    },
    TEST_MS,
  );
});

async function inNamespace(script: string, more: readonly string[] = []): Promise<string> {
  const command = ["unshare", "--net", ...more, "bash", "-euo", "pipefail", "-c", script];
  const child = Bun.spawn(command, {
    env: { ...process.env, bun: process.execPath },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, complaint, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect({ script, complaint, exitCode }).toEqual({ script, complaint: "", exitCode: 0 });
  return output;
}

/** The files that a line of the source tree stands for: SERVICE is the name of any format. */
function namedBy(file: string): string[] {
  if (!file.includes("SERVICE")) return [file];
  return Object.keys(formats).map((name) => file.replace("SERVICE", name));
}

function cells(markdown: string): string[][] {
  return markdown
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^[|\s-]+$/.test(line))
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
}
