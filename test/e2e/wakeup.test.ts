/**
 * `--monitor auto` of the binary: what it selects depending on the firewall rules and its capabilities, in a
 * network namespace with a fake userspace device.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

import { needs } from "../support/kernel.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

setDefaultTimeout(TEST_MS);

const ROOT = join(import.meta.dir, "../..");
const BINARY = join(ROOT, "wgmon");
const PORT = 51820;

const tools = needs("ip", "nft");
const isRoot = process.getuid?.() === 0;
const title = tools.title(isRoot ? "--monitor auto" : "--monitor auto [skipped: not root]");

describe.skipIf(tools.missing || !isRoot)(title, () => {
  let namespace: Bun.Subprocess<"ignore", "pipe", "inherit">;
  const runtimeFolder = newStateFolder();
  const enter = () => ["--target", String(namespace.pid), "--net", "--mount"];

  beforeAll(async () => {
    const script = `
      mount -t tmpfs none "$(readlink -f /var/run)"
      ip link set lo up
      exec "$0" '${ROOT}/test/support/idle-device.ts' wg0 ${PORT}`;
    namespace = Bun.spawn(["unshare", "--net", "--mount", "sh", "-ec", script, process.execPath], {
      stdin: "ignore",
      stdout: "pipe",
    });
    const { value } = await namespace.stdout.getReader().read();
    expect(new TextDecoder().decode(value)).toBe("ready\n");
  });

  afterAll(() => namespace.kill());

  async function nft(script: string): Promise<void> {
    const load = Bun.spawn(["nsenter", ...enter(), "nft", "-f", "-"], {
      stdin: new TextEncoder().encode(script),
    });
    expect(await load.exited).toBe(0);
  }

  const rules = (port: number) =>
    `flush ruleset; table inet t { chain input { type filter hook input priority 0; udp dport ${port} log group 1; }; }`;

  /** @param without The capability to drop, such as net_raw, or null. */
  function start(without: string | null, ...args: readonly string[]): Wgmon {
    const drop = without === null ? [] : ["setpriv", `--bounding-set=-${without}`];
    const environment = { RUNTIME_DIRECTORY: runtimeFolder };
    return startWgmon([...enter(), ...drop, BINARY, ...args], { binary: "nsenter", environment });
  }

  const warning = (wgmon: Wgmon, part: string) =>
    wgmon.waitForLog(({ level, msg }) => level === "warn" && String(msg).includes(part));

  test("selects bpf on all interfaces if no rule logs the port, and logs the reason", async () => {
    await nft("flush ruleset");
    await using wgmon = start(null);
    expect(await wgmon.ready).toMatchObject({
      monitor: "bpf",
      interface: "any",
      reason: "no rule logs to group 1",
      devices: ["wg0"],
    });
  });

  test("selects nflog if a rule logs the port", async () => {
    await nft(rules(PORT));
    await using wgmon = start(null);
    const reason = `wg0's port ${PORT} is logged to group 1 (inet t input)`;
    expect(await wgmon.ready).toMatchObject({ monitor: "nflog", group: 1, reason });
  });

  test("selects bpf if the rules log only another port", async () => {
    await nft(rules(PORT + 1));
    await using wgmon = start(null);
    const { monitor, reason } = await wgmon.ready;
    expect(monitor).toBe("bpf");
    expect(reason).toStartWith(`no rule logs wg0's port ${PORT} to group 1`);
  });

  test("selects nflog without CAP_NET_RAW and rules, and logs a warning with the remedy at the start", async () => {
    await nft("flush ruleset");
    await using wgmon = start("net_raw");
    const { monitor, reason } = await wgmon.ready;
    expect(monitor).toBe("nflog");
    expect(reason).toMatch(/^no rule logs to group 1; open a packet socket: EPERM/);
    await warning(wgmon, "no rule logs to group 1. Fix: wgmon rules --install");
  });

  test("selects nflog with --manage-rules, although its rules are not loaded yet", async () => {
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
    expect(text).toContain("woken by bpf on any (no rule logs to group 1)");
  });
});
