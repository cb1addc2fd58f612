/**
 * The firewall rules of wgmon on this kernel: which messages they log, and that they do not affect other rules and
 * connections.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";
import fc from "fast-check";

import { type RulesRequest, runRules } from "../../src/cli/rules.ts";
import { FirewallManager } from "../../src/firewall/firewall-manager.ts";
import { iptablesRules, nftRules } from "../../src/firewall/nft-rules.ts";
import { HandClock } from "../support/clock.ts";
import { needs } from "../support/kernel.ts";
import { loadedByIptables, loadedByNft, nftLoad } from "../support/load-rules.ts";
import { expectLogged, type Logged } from "../support/logged-messages.ts";
import { fakeScan } from "../support/scans.ts";
import { runScript } from "../support/script.ts";
import { until } from "../support/until.ts";

const tools = needs("own namespaces", "nft", "setpriv", "bash");
const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";

const PORTS = [51820, 51821];
/** The sender sends a response before the first data that answers it, and before later data. */
const handshakes: readonly Logged[] = ["response", "sent response", "first data", "sent response"];

describe.skipIf(tools.missing)(tools.title("firewall rules"), () => {
  afterEach(async () => {
    await $`nft flush ruleset`.quiet();
  });

  test("nft accepts the rules for any ports and group, also if they are loaded again", async () => {
    const port = fc.integer({ min: 1, max: 65_535 });
    const ports = fc.uniqueArray(port, { minLength: 1, maxLength: 200 });
    const options = fc.record({ ports, group: fc.integer({ min: 0, max: 65_535 }) });
    const texts = fc.sample(options, 20).map((each) => nftRules(each));
    const check = texts.map((text) => nftLoad(text, "-c"));
    const load = texts.slice(0, 3).map((text) => nftLoad(text));
    await runScript([...check, ...load, ...load].join(""));
  });

  test("the rules of nft log sent responses and the messages that complete a handshake, and nothing else, over IPv4 and IPv6", async () => {
    await runScript(loadedByNft(...PORTS));
    await expectLogged(handshakes);
  });

  test.skipIf(noIptables !== "")(
    `the rules of iptables log the same messages as those of nft${noIptables}`,
    async () => {
      await runScript(loadedByIptables(...PORTS));
      await expectLogged(handshakes);
    },
  );

  test.skipIf(noIptables !== "")(
    `the rules of iptables can be loaded again with other ports, and the commands in their comment remove them${noIptables}`,
    async () => {
      const list = "iptables -S; ip6tables -S";
      const text = iptablesRules({ ports: [1], group: 1 });
      const removal = [...text.matchAll(/^# {3}(ip6?tables .*)$/gm)].map(([, line]) => line!);
      const many = Array.from({ length: 31 }, (_, i) => 1000 + i);
      const lists = await runScript(`
        ${list}; echo ---
        ${loadedByIptables(...PORTS)} ${list}; echo ---
        ${loadedByIptables(...many)} ${loadedByIptables(...PORTS)} ${list}; echo ---
        ${removal.join("\n")}
        ${list}
      `);
      const [before, once, twice, after] = lists.split("---\n");
      expect(once).not.toBe(before);
      expect(twice).toBe(once);
      expect(after).toBe(before);
    },
  );

  test("the rules do not affect another firewall and its connections at any step", async () => {
    let said: string[] = [];
    const say = (text: string) => void said.push(text);
    nft(FOREIGN);
    const echo = await connect();
    /** `ports`: those in wgmon's rules after the step, by table. */
    async function step(
      name: string,
      ports: Readonly<Record<string, string>>,
      act: () => Promise<unknown>,
    ): Promise<void> {
      said = [];
      await echo(name);
      const before = ruleset();
      await act();
      const after = ruleset();
      await echo(`${name}, done`);
      expect({ step: name, ports: after.ports }).toEqual({ step: name, ports });
      // With their counters.
      expect({ step: name, others: after.others }).toEqual({ step: name, others: before.others });
    }
    async function run(action: RulesRequest["action"], ports: number[], group = 1) {
      const devices = { scan: async () => fakeScan(...ports) };
      const options = { devices, print: say, warn: say };
      const exitCode = await runRules({ action, devices: [], group }, options);
      expect({ said, exitCode }).toEqual({ said, exitCode: 0 });
    }

    const [both, other] = ["{ 51820, 51821 }", { wgmon_7: "51822" }];
    await step("install", { wgmon: "51820" }, () => run("install", [51820]));
    await step("update", { wgmon: both }, () => run("install", [51821, 51820]));
    await step("install for another group", { wgmon: both, ...other }, () =>
      run("install", [51822], 7),
    );
    await step("remove", other, () => run("remove", []));
    expect(said).toEqual(["removed table inet wgmon"]);
    await step("remove again", other, () => run("remove", []));
    expect(said).toEqual([]);

    const manager = new FirewallManager({
      group: 1,
      // The clock does not advance: nft has unlimited time when the manager closes.
      clock: new HandClock(),
      log: { info: say, warn: say },
    });
    await step("left behind by a daemon that was killed", { wgmon: "4444", ...other }, () =>
      run("install", [4444]),
    );
    await step("manager starts", { wgmon: "51820", ...other }, async () => {
      manager.setPorts([51820]);
      await until("rules for one port", () => said.length === 1);
    });
    await step("ports change, and again", { wgmon: "{ 1, 3 }", ...other }, async () => {
      for (const ports of [[1], [1, 2], [1, 2, 3], [3, 1]]) manager.setPorts(ports);
      await until("rules for the last ports", () => said.length === 2);
    });
    await step("another program removes it", { wgmon: "{ 1, 3 }", ...other }, async () => {
      nft("delete table inet wgmon");
      manager.check();
      await until("rules again", () => said.length === 2);
    });
    await step("manager ends", other, () => manager.close());
  });

  test("the error of nft names a remedy if nft or the capability is missing", async () => {
    const [load, remove] = ["installRules({ ports: [51820], group: 1 })", "removeRules(1)"];
    const nft = join(import.meta.dir, "../../src/firewall/nft.ts");
    const attempt = (act: string) =>
      `"$bun" -e 'import { installRules, removeRules } from "${nft}";
           await ${act}.catch(({ message }) => console.log(message))'\n`;
    const unprivileged = "setpriv --bounding-set=-net_admin --inh-caps=-net_admin ";
    const output = await runScript(`
        ${unprivileged}${attempt(load)}
        ${unprivileged}${attempt(remove)}
        # Hides nft in all folders, also if /usr is another file system than /: /dev/null is not executable.
        unshare --mount sh -euc '
          for folder in /usr/sbin /usr/bin /sbin /bin; do
            [ ! -e $folder/nft ] || mount --bind /dev/null $folder/nft
          done
          exec sh' <<'END'
          ${attempt(load)} ${attempt(remove)}
END
      `);
    const noPermission = "Operation not permitted; it needs CAP_NET_ADMIN, which root has)";
    const noProgram =
      "nft is not installed (not in /usr/sbin:/usr/bin:/sbin:/bin; install nftables, or use wgmon rules --iptables)";
    expect(output.trim().split("\n")).toEqual([
      expect.stringMatching(/^load table inet wgmon: EPERM \(nft: /),
      expect.stringMatching(/^remove table inet wgmon: EPERM \(nft: /),
      `load table inet wgmon: ${noProgram}`,
      `remove table inet wgmon: ${noProgram}`,
    ]);
    expect(output.split(noPermission)).toHaveLength(3);
  });
});

/** Its counters count new connections only, so that the open connection does not change them. */
const FOREIGN = `
table inet filter {
  counter began { }
  set friends { type ipv4_addr; flags timeout; elements = { 192.0.2.1 } }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    ct state new counter name began
    tcp dport 2222 ct state new counter accept
  }
  chain output { type filter hook output priority filter; policy accept; ct state new counter; }
}
table ip nat {
  chain output { type nat hook output priority -100; policy accept; counter; }
}
`;

interface Ruleset {
  readonly ports: Readonly<Record<string, string>>;
  readonly others: string;
}

/** Runs an nft script; returns its standard output. */
function nft(script: string): string {
  const done = Bun.spawnSync(["nft", "-f", "/dev/stdin"], { stdin: Buffer.from(script) });
  if (done.exitCode !== 0) throw new Error(`${script}: ${done.stderr.toString()}`);
  return done.stdout.toString();
}

function ruleset(): Ruleset {
  const text = nft("list ruleset");
  const tables = text.split(/^(?=table )/m);
  const ours = tables.filter((table) => table.startsWith("table inet wgmon"));
  const ports = ours.map((table) => [
    /^table inet (\S+)/.exec(table)![1]!,
    /udp dport (.*) jump/.exec(table)![1]!,
  ]);
  const others = tables.filter((table) => !ours.includes(table));
  return { ports: Object.fromEntries(ports) as Record<string, string>, others: others.join("") };
}

/** Opens a connection to an echo server, like an administrator's SSH session. Returns a function that uses it. */
async function connect() {
  let answered = (_text: string) => {};
  const { promise: connected, resolve } = Promise.withResolvers<void>();
  Bun.listen({
    hostname: "127.0.0.1",
    port: 2222,
    socket: { data: (socket, bytes) => void socket.write(bytes) },
  });
  const client = await Bun.connect({
    hostname: "127.0.0.1",
    port: 2222,
    socket: { data: (_socket, bytes) => answered(bytes.toString()), open: () => resolve() },
  });
  await connected;
  return async function echo(text: string): Promise<void> {
    let answer = "";
    answered = (received) => (answer += received);
    client.write(text);
    await until("the connection answers", () => answer === text);
  };
}
