/**
 * The firewall rules of wgmon on this machine's kernel, in network namespaces: which messages they log, what
 * they log during a flood, and that they do not affect other rules and connections.
 */

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import fc from "fast-check";

import { iptablesRules, nftRules } from "../../src/firewall/nft-rules.ts";
import type { Announced } from "../support/announced-handshakes.ts";
import type { Thinned } from "../support/data-filter-scenarios.ts";
import type { Step } from "../support/firewall-scenarios.ts";
import type { Count, UnderFlood } from "../support/flood-scenarios.ts";
import type { Logged } from "../support/logged-packets.ts";
import { TEST_MS } from "../support/until.ts";

const SUPPORT = join(import.meta.dir, "../support");

const unable = ["unshare", "ip", "nft", "sh"].filter((program) => Bun.which(program) === null);
if (process.getuid?.() !== 0) unable.unshift("root");
if (unable.length > 0 && process.env["WGMON_KERNEL_TESTS"] === "require") {
  throw new Error(`WGMON_KERNEL_TESTS=require, but there is no ${unable.join(", ")}`);
}
const note = unable.length > 0 ? ` [skipped: no ${unable.join(", ")}]` : "";
const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";

const PORTS = [51820, 51821];
/** The sender of logged-packets.ts sends a response before the first data that answers it, and before later data. */
const handshakes: readonly Logged[] = ["response", "sent response", "first data", "sent response"];

describe.skipIf(unable.length > 0)(`the rules of wgmon${note}`, () => {
  test(
    "are accepted by nft for any ports and group, and can be loaded again",
    async () => {
      const port = fc.integer({ min: 1, max: 65_535 });
      const ports = fc.uniqueArray(port, { minLength: 1, maxLength: 200 });
      const options = fc.record({ ports, group: fc.integer({ min: 0, max: 65_535 }) });
      const texts = fc.sample(options, 20).map((each) => nftRules(each));
      const check = texts.map((text) => `nft -c -f /dev/stdin ${hereDocument(text)}`);
      const load = texts.slice(0, 3).map((text) => `nft -f /dev/stdin ${hereDocument(text)}`);
      await inNamespace([...check, ...load, ...load].join(""));
    },
    TEST_MS,
  );

  test(
    "of nft log sent responses and the messages that complete a handshake, and nothing else, for IPv4 and IPv6",
    async () => expectHandshakes(loadedByNft()),
    TEST_MS,
  );

  test.skipIf(noIptables !== "")(
    `of iptables log the same messages${noIptables}`,
    async () => expectHandshakes(loadedByIptables(...PORTS)),
    TEST_MS,
  );

  test.skipIf(noIptables !== "")(
    `of iptables can be loaded again with other ports, and the commands in their comment remove them${noIptables}`,
    async () => {
      const list = "iptables -S; ip6tables -S";
      const text = iptablesRules({ ports: [1], group: 1 });
      const removal = [...text.matchAll(/^# {3}(ip6?tables .*)$/gm)].map(([, line]) => line!);
      const many = Array.from({ length: 31 }, (_, i) => 1000 + i);
      const lists = await inNamespace(`
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
    TEST_MS,
  );

  test.each([4, 6] as const)(
    "of nft log nothing of a flood over IPv%d, and all real handshakes",
    async (version) => {
      const { initiations, data, responses, dropped } = await underFlood(loadedByNft(), version);
      expect(initiations).toMatchObject({ logged: 0, answered: 10, sent: 10 });
      expect(data).toMatchObject({ logged: 0, answered: 10, sent: 10 });
      expect(responses).toMatchObject({ logged: 0, answered: 10, sent: 0 });
      expect(dropped).toBe(0);
    },
    TEST_MS,
  );

  test.skipIf(noIptables !== "").each([4, 6] as const)(
    `of iptables log a flood over IPv%d only up to the limit, and drop no packets${noIptables}`,
    async (version) => {
      const count = await underFlood(loadedByIptables(...PORTS), version);
      const { initiations, data, responses, dropped } = count;
      expect(initiations).toMatchObject({ logged: 0, answered: 10, sent: 10 });
      // Real messages share the limit with forged ones, except the responses of this machine.
      expectWithin(data, { burst: 500, rate: 500 });
      expect(data.sent).toBe(10);
      expectWithin(responses, { burst: 500, rate: 500 });
      expect(responses.sent).toBe(0);
      expect(dropped).toBe(0);
    },
    TEST_MS,
  );

  test(
    "do not affect another firewall and its connections at any step",
    async () => {
      const steps = JSON.parse(
        await inNamespace(`"$bun" '${SUPPORT}/firewall-scenarios.ts'`),
      ) as Step[];
      const [both, other] = ["{ 51820, 51821 }", { wgmon_7: "51822" }];
      expect(Object.fromEntries(steps.map(({ step, ports }) => [step, ports]))).toEqual({
        install: { wgmon: "51820" },
        update: { wgmon: both },
        "install for another group": { wgmon: both, ...other },
        remove: other,
        "remove again": other,
        "left behind by a daemon that was killed": { wgmon: "4444", ...other },
        "manager starts": { wgmon: "51820", ...other },
        "ports change, and again": { wgmon: "{ 1, 3 }", ...other },
        "another program removes it": { wgmon: "{ 1, 3 }", ...other },
        "manager ends": other,
      });
      expect(steps.filter(({ othersAreUntouched }) => !othersAreUntouched)).toEqual([]);
      const printed = (name: string) => steps.find(({ step }) => step === name)!.said;
      expect(printed("remove")).toEqual(["removed table inet wgmon"]);
      expect(printed("remove again")).toEqual([]);
    },
    TEST_MS,
  );

  test(
    "cause an error with a remedy if nft or the capability is missing",
    async () => {
      const [load, remove] = ["installRules({ ports: [51820], group: 1 })", "removeRules(1)"];
      const nft = join(import.meta.dir, "../../src/firewall/nft.ts");
      const attempt = (act: string) =>
        `"$bun" -e 'import { installRules, removeRules } from "${nft}";
           await ${act}.catch(({ message }) => console.log(message))'\n`;
      const unprivileged = "setpriv --bounding-set=-net_admin --inh-caps=-net_admin ";
      const output = await inNamespace(`
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
    },
    TEST_MS,
  );
});

describe.skipIf(unable.length > 0)(`with a rule or a filter that passes all data${note}`, () => {
  const rule = `table inet plain {
    chain input {
      type filter hook input priority 0;
      udp dport 51820 log group 1 snaplen 65535;
    }
  }
`;

  test.each(["nflog", "bpf"])(
    "the kernel passes only handshakes and selected data (%s)",
    async (monitor) => {
      const load = `nft -f /dev/stdin ${hereDocument(rule)}`;
      const output = await inNamespace(
        `${load} "$bun" '${SUPPORT}/data-filter-scenarios.ts' ${monitor}`,
      );
      const handshakes = ["initiation eeeeeeee", "response eeeeeeee"];
      const all = [...handshakes, "first data deadbeef", "first data 5"];
      expect(JSON.parse(output) as Thinned).toEqual({
        all,
        selected: ["first data deadbeef"],
        none: [],
        again: all,
      });
    },
    TEST_MS,
  );
});

describe.skipIf(unable.length > 0)(`the tap for sent messages${note}`, () => {
  test(
    "delivers each response and first data once, and nothing else, until it is closed",
    async () => {
      const output = await inNamespace(`"$bun" '${SUPPORT}/announced-handshakes.ts'`);
      const delivered = ["4 from 51820", "2 from 51820", "4 from 51821", "2 from 51821"];
      expect(JSON.parse(output) as Announced).toEqual({
        heard: delivered,
        many: 1000,
        again: delivered,
        lost: [],
      });
    },
    TEST_MS,
  );

  test(
    "is null without the capability",
    async () => {
      const [tap, clock] = ["capture/sent-handshakes.ts", "base/clock.ts"].map((file) =>
        join(import.meta.dir, "../../src", file),
      );
      const handler = "{ onData() {}, onLost() {} }";
      const output = await inNamespace(`
        setpriv --bounding-set=-net_raw --inh-caps=-net_raw "$bun" -e '
          import { openSentTap } from "${tap}";
          import { systemClock } from "${clock}";
          console.log(openSentTap(systemClock, ${handler}));'
      `);
      expect(output.trim()).toBe("null");
    },
    TEST_MS,
  );
});

function loadedByNft(): string {
  return `nft -f /dev/stdin ${hereDocument(nftRules({ ports: PORTS, group: 1 }))}`;
}

/** With -e: all lines must succeed, except those that redirect their errors to /dev/null. */
function loadedByIptables(...ports: number[]): string {
  const text = iptablesRules({ ports, group: 1 }).replaceAll("2>/dev/null\n", "2>/dev/null || :\n");
  return `sh -e ${hereDocument(text)}`;
}

function hereDocument(text: string): string {
  return `<<'END'\n${text}END\n`;
}

async function expectHandshakes(load: string): Promise<void> {
  const output = await inNamespace(`${load} "$bun" '${SUPPORT}/logged-packets.ts'`);
  expect(JSON.parse(output)).toEqual({ "127.0.0.1": handshakes, "::1": handshakes });
}

async function underFlood(load: string, version: 4 | 6): Promise<UnderFlood> {
  const output = await inNamespace(`${load} "$bun" '${SUPPORT}/flood-scenarios.ts' ${version}`);
  return JSON.parse(output) as UnderFlood;
}

/** Expects that some packets of the flood were logged, and no more than the limit allows for its duration. */
function expectWithin(
  { logged, answered, seconds }: Count,
  { burst, rate }: { readonly burst: number; readonly rate: number },
): void {
  expect(logged).toBeGreaterThan(0);
  expect(logged + answered).toBeLessThanOrEqual(burst + Math.ceil(rate * seconds));
}

async function inNamespace(script: string): Promise<string> {
  const whole = `ip link set lo up\n${script}`;
  const child = Bun.spawn(["unshare", "--net", "sh", "-euc", whole], {
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
