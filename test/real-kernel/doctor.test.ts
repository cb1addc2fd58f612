/** `wgmon doctor` at a gateway with real WireGuard: with a correct setup, and with faults. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import type { Finding } from "../../src/base/check.ts";
import { nftRules } from "../../src/firewall/nft-rules.ts";
import { needs } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS } from "../support/until.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

const BINARY = join(import.meta.dir, "../../wgmon");
const PORT = 51820;
const GROUP = 61;

describe.skipIf(kernel.missing)(kernel.title("the doctor"), () => {
  let lab: Lab;
  let wg0: LabDevice;

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: PORT });
    await wg0.client("alice");
  }, TEST_MS);

  afterAll(async () => {
    await $`nft flush ruleset`.quiet();
    lab[Symbol.dispose]();
  });

  /** Runs the doctor again if a check timed out, as on a busy machine. */
  async function doctor(...args: readonly string[]) {
    for (;;) {
      const result = await doctorOnce(...args);
      const hasTimedOut = result.findings.some(
        ({ verdict, found }) => verdict === "skipped" && /timed out|took more than/.test(found),
      );
      if (!hasTimedOut) return result;
    }
  }

  async function doctorOnce(...args: readonly string[]) {
    const monitor = args.includes("--monitor") ? [] : ["--monitor", "nflog"];
    const always = ["--json", ...monitor, "--group", String(GROUP), "--names", "off"];
    const environment = { STATE_DIRECTORY: newStateFolder(), RUNTIME_DIRECTORY: newStateFolder() };
    const command = $`${BINARY} doctor ${always} ${args}`.env(environment);
    const { stdout, exitCode } = await command.quiet().nothrow();
    const lines = stdout.toString().trimEnd().split("\n");
    const findings = lines.map((line) => JSON.parse(line) as Finding & { check: string });
    const problems = findings.filter(({ verdict }) => verdict === "problem");
    return {
      exitCode,
      findings,
      problems: problems.map(({ check, found }) => `${check}: ${found}`),
    };
  }

  async function load(port: number, group: number): Promise<void> {
    await $`nft flush ruleset`;
    await $`nft -f /dev/stdin < ${Buffer.from(nftRules({ ports: [port], group }))}`;
  }

  test(
    "the doctor finds no problem in a correct setup",
    async () => {
      await load(PORT, GROUP);
      const { findings, ...rest } = await doctor();
      expect(rest).toEqual({ exitCode: 0, problems: [] });
      const found = findings.map(({ found: text }) => text);
      expect(found).toContain("wg0 listens on port 51820 and has 1 peer");
      expect(found).toContain(
        `wg0's port 51820 is logged to group ${GROUP} (inet wgmon_${GROUP} messages)`,
      );
      expect(found.join("\n")).toMatch(/WireGuard is in kernel/);
      expect(await doctor("--monitor", "bpf", "--interface", "any")).toMatchObject({
        problems: [],
      });
    },
    TEST_MS,
  );

  test(
    "the doctor finds a rule for another port or group",
    async () => {
      await load(PORT + 1, GROUP);
      expect((await doctor()).problems).toEqual([
        expect.stringMatching(/^rules: no rule logs wg0's port 51820 to group/),
      ]);
      await load(PORT, GROUP + 1);
      expect(await doctor()).toMatchObject({
        exitCode: 1,
        problems: [`rules: no rule logs to group ${GROUP}; rules log to group ${GROUP + 1}`],
      });
    },
    TEST_MS,
  );

  test(
    "the doctor finds a device that is down or has no key",
    async () => {
      await load(PORT, GROUP);
      await $`ip link add wg9 type wireguard`;
      expect((await doctor()).problems).toEqual(["devices: wg9 has no private key"]);
      const key = `${newStateFolder()}/key`;
      await $`wg genkey > ${key} && wg set wg9 private-key ${key}`.quiet();
      expect((await doctor()).problems).toEqual(["devices: wg9 is down"]);
      await $`ip link del wg9`;
      expect((await doctor("--device", "wg9")).problems).toEqual([
        "devices: there is no WireGuard device wg9 in this network namespace",
      ]);
    },
    TEST_MS,
  );
});
