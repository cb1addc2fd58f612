/**
 * Installs, changes and removes wgmon's rules next to another firewall while a TCP connection is open:
 * `unshare --net bun test/support/firewall-scenarios.ts`, with lo up. Prints JSON, an entry for each step. For
 * test/e2e/rules.test.ts.
 */

import { type RulesRequest, runRules } from "../../src/cli/rules.ts";
import { FirewallManager } from "../../src/firewall/firewall-manager.ts";
import { HandClock } from "./clock.ts";
import { fakeScan } from "./scans.ts";
import { until } from "./until.ts";

export interface Step {
  readonly step: string;
  /** The ports in the rules, by wgmon's tables. */
  readonly ports: Readonly<Record<string, string>>;
  /** Lines that wgmon printed or logged. */
  readonly said: readonly string[];
  /** `nft list ruleset` shows the other tables, with their counters, as before the step. */
  readonly othersAreUntouched: boolean;
}

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

if (import.meta.main) {
  nft(FOREIGN);
  const echo = await connect();
  const steps: Step[] = [];
  let said: string[] = [];

  async function step(name: string, act: () => Promise<unknown>): Promise<void> {
    said = [];
    await echo(name);
    const before = ruleset();
    await act();
    const { ports, others } = ruleset();
    await echo(`${name}, done`);
    steps.push({ step: name, ports, said, othersAreUntouched: others === before.others });
  }
  async function run(action: RulesRequest["action"], ports: number[], group = 1): Promise<void> {
    const devices = { scan: async () => fakeScan(...ports) };
    const say = (text: string) => void said.push(text);
    const options = { devices, print: say, warn: say };
    const exitCode = await runRules({ action, devices: [], group }, options);
    if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${said.join("\n")}`);
  }

  await step("install", () => run("install", [51820]));
  await step("update", () => run("install", [51821, 51820]));
  await step("install for another group", () => run("install", [51822], 7));
  await step("remove", () => run("remove", []));
  await step("remove again", () => run("remove", []));

  const log = (text: string) => void said.push(text);
  const manager = new FirewallManager({
    group: 1,
    // The clock does not advance: nft has unlimited time when the manager closes.
    clock: new HandClock(),
    log: { info: log, warn: log },
  });
  await step("left behind by a daemon that was killed", () => run("install", [4444]));
  await step("manager starts", async () => {
    manager.setPorts([51820]);
    await until("rules for one port", () => said.length === 1);
  });
  await step("ports change, and again", async () => {
    for (const ports of [[1], [1, 2], [1, 2, 3], [3, 1]]) manager.setPorts(ports);
    await until("rules for the last ports", () => said.length === 2);
  });
  await step("another program removes it", async () => {
    nft("delete table inet wgmon");
    manager.check();
    await until("rules again", () => said.length === 2);
  });
  await step("manager ends", () => manager.close());
  console.log(JSON.stringify(steps));
  process.exit(0);
}
