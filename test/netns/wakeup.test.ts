/**
 * `--monitor auto` of the binary: what it selects depending on the firewall rules and its capabilities, with a fake
 * userspace device.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import { FakeUapiDevice } from "../support/fake-uapi-device.ts";
import { needs } from "../support/kernel.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const BINARY = join(import.meta.dir, "../../wgmon");
const PORT = 51820;

const tools = needs("own namespaces", "nft", "setpriv");

describe.skipIf(tools.missing)(tools.title("--monitor auto"), () => {
  const runtimeFolder = newStateFolder();
  let device: FakeUapiDevice;

  beforeAll(async () => {
    device = await FakeUapiDevice.create("wg0", { port: PORT });
  });

  afterAll(async () => {
    await device[Symbol.asyncDispose]();
  });

  async function nft(script: string): Promise<void> {
    await $`nft -f - < ${Buffer.from(script)}`.quiet();
  }

  const rules = (port: number) =>
    `flush ruleset; table inet t { chain input { type filter hook input priority 0; udp dport ${port} log group 1; }; }`;

  /** @param without The capability to drop, such as net_raw, or null. */
  function start(without: string | null, ...args: readonly string[]): Wgmon {
    const environment = { RUNTIME_DIRECTORY: runtimeFolder };
    if (without === null) return startWgmon(args, { environment });
    const command = [`--bounding-set=-${without}`, BINARY, ...args];
    return startWgmon(command, { binary: "setpriv", environment });
  }

  const warning = (wgmon: Wgmon, part: string) =>
    wgmon.waitForLog(({ level, msg }) => level === "warn" && String(msg).includes(part));

  test("wgmon selects bpf on all interfaces if no rule logs the port, and logs the reason", async () => {
    await nft("flush ruleset");
    await using wgmon = start(null);
    expect(await wgmon.ready).toMatchObject({
      monitor: "bpf",
      interface: "any",
      reason: "no firewall rule logs to NFLOG group 1",
      devices: ["wg0"],
    });
  });

  test("wgmon selects nflog if a rule logs the port", async () => {
    await nft(rules(PORT));
    await using wgmon = start(null);
    const reason = `wg0's port ${PORT} is logged to group 1 (inet t input)`;
    expect(await wgmon.ready).toMatchObject({ monitor: "nflog", group: 1, reason });
  });

  test("wgmon selects bpf if the rules log only another port", async () => {
    await nft(rules(PORT + 1));
    await using wgmon = start(null);
    const { monitor, reason } = await wgmon.ready;
    expect(monitor).toBe("bpf");
    expect(reason).toStartWith(`no rule logs wg0's port ${PORT} to group 1`);
  });

  test("wgmon selects nflog without CAP_NET_RAW and rules, and logs a warning with the remedy at the start", async () => {
    await nft("flush ruleset");
    await using wgmon = start("net_raw");
    const { monitor, reason } = await wgmon.ready;
    expect(monitor).toBe("nflog");
    expect(reason).toMatch(/^no firewall rule logs to NFLOG group 1; open a packet socket: EPERM/);
    await warning(wgmon, "no rule logs to group 1. Fix: wgmon rules --install");
  });

  test("wgmon selects nflog with --manage-rules, although its rules are not loaded yet", async () => {
    await nft("flush ruleset");
    await using wgmon = start(null, "--manage-rules");
    const { monitor, reason } = await wgmon.ready;
    expect({ monitor, reason }).toEqual({
      monitor: "nflog",
      reason: "manage-rules is set",
    });
  });

  test("--monitor nflog without a rule logs a warning with the remedy at the start", async () => {
    await nft("flush ruleset");
    await using wgmon = start(null, "--monitor", "nflog");
    await warning(wgmon, "no rule logs to group 1. Fix: wgmon rules --install");
  });

  test("--monitor bpf without --interface captures on all interfaces", async () => {
    await using wgmon = start(null, "--monitor", "bpf");
    expect(await wgmon.ready).toMatchObject({ monitor: "bpf", interface: "any" });
    expect((await wgmon.ready)["reason"]).toBeUndefined();
  });

  test("wgmon status shows the selected monitor and the reason", async () => {
    await nft("flush ruleset");
    await using wgmon = start(null);
    await wgmon.ready;
    const status = async () => {
      const env = { RUNTIME_DIRECTORY: runtimeFolder };
      return await Bun.spawn([BINARY, "status", "--state-dir", newStateFolder()], {
        env,
      }).stdout.text();
    };
    // The socket comes after "ready".
    let text = await status();
    while (!text.includes("woken by")) text = await status();
    expect(text).toContain(
      "woken by bpf on all interfaces (no firewall rule logs to NFLOG group 1)",
    );
  });
});
