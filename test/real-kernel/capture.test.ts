/**
 * Capture at a gateway with real WireGuard: the errors if it cannot be opened, and that it continues when interfaces,
 * devices and peers change or receive buffers overflow.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import { deviceOf } from "../../src/events/event.ts";
import { needs } from "../support/kernel.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { initiation } from "../support/packets.ts";
import { Receiver } from "../support/receiver.ts";
import { REPORT_MS, TEST_MS } from "../support/until.ts";
import { processorMs, Watcher } from "../support/watcher.ts";
import { isComplaint, startWgmon, type Wgmon } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

/** Keeps clients of earlier tests connected: on a slow machine they would disconnect during a later test. */
const NO_SILENCE = ["--idle-timeout", "1h"];
/** Scans only after packets and link changes, otherwise once an hour. */
const BY_PACKETS = ["--tick", "1h", "--reconcile", "0", ...NO_SILENCE];
const WGMON = join(import.meta.dir, "../../wgmon");

$.throws(true);

describe.skipIf(kernel.missing)(kernel.title("the wake-up"), () => {
  const receiver = new Receiver();
  let lab: Lab;
  let wg0: LabDevice;

  const watch = (...args: readonly string[]) => new Watcher(receiver, ...args);

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    await lab.addPlainRule(wg0.port, 1);
  }, TEST_MS);

  afterAll(() => {
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  async function expectRefusal(wgmon: Wgmon, ...messages: readonly (string | RegExp)[]) {
    expect(await wgmon.exited).toBe(1);
    for (const message of messages) expect(wgmon.logText).toMatch(message);
    // After the first log line, one sentence for people, without a stack trace.
    const lines = wgmon.logText.trim().split("\n");
    expect(lines.map((line) => line.slice(0, 7))).toEqual(['{"time"', "wgmon: "]);
  }

  test(
    "an NFLOG group of another process is refused, and available after that process has stopped",
    async () => {
      const owner = watch("--monitor", "nflog", "--group", "40");
      await owner.wgmon.ready;
      await using refused = startWgmon(["--monitor", "nflog", "--group", "40"]);
      const hint = new RegExp(`another program uses it \\(process ${owner.wgmon.pid}, wgmon\\)`);
      await expectRefusal(refused, "NFLOG group 40", hint, "--group");
      expect(await owner.wgmon.stop()).toBe(0);
      await using next = watch("--monitor", "nflog", "--group", "40");
      await next.wgmon.ready;
    },
    TEST_MS,
  );

  test.each([
    [
      "nflog",
      ["--monitor", "nflog", "--group", "41"],
      /bind NFLOG group 41: EPERM .*CAP_NET_ADMIN/,
    ],
    ["bpf", ["--monitor", "bpf", "--interface", "lo"], /packet socket: EPERM .*CAP_NET_RAW/],
    ["poll", ["--monitor", "poll"], /scan wg0: EPERM .*CAP_NET_ADMIN/],
  ] as const)(
    "%s without its capability fails with an error that names the capability",
    async (_monitor, args, message) => {
      const dropped = ["--inh-caps=-all", "--bounding-set=-all", WGMON];
      await using wgmon = startWgmon([...dropped, ...args], { binary: "setpriv" });
      await expectRefusal(wgmon, message);
      expect(wgmon.logText).not.toContain("another program");
    },
    TEST_MS,
  );

  test(
    "a capture interface that does not exist is an error",
    async () => {
      await using wgmon = startWgmon(["--monitor", "bpf", "--interface", "nosuch0"]);
      await expectRefusal(wgmon, "interface nosuch0", "no such interface");
    },
    TEST_MS,
  );

  test(
    "capture continues after the interface goes down and up, and after it is deleted and created again",
    async () => {
      const first = await wg0.client("first");
      const { name } = first.link;
      await using watcher = watch(...BY_PACKETS, "--monitor", "bpf", "--interface", name);
      await watcher.wgmon.ready;
      await $`ip link set ${name} down`;
      await watcher.logs(`${name} went down`);
      await expectIdle(watcher);
      await $`ip link set ${name} up`;
      await first.connect();
      await reportsConnect(watcher, first);

      await $`ip link delete ${name}`;
      await watcher.logs(`${name} was removed, waiting for it`);
      await expectIdle(watcher);
      const second = await wg0.client("second");
      const other = second.link.name;
      await $`ip link set ${other} down && ip link set ${other} name ${name} && ip link set ${name} up`;
      await watcher.logs(`${name} is back`);
      await second.connect();
      await reportsConnect(watcher, second);
      await expectIdle(watcher);
    },
    TEST_MS,
  );

  test(
    "lost link changes cause one scan, and a new capture interface is found",
    async () => {
      const before = await wg0.client("before the flood");
      const { name } = before.link;
      const after = await wg0.client("after the flood");
      const other = after.link.name;
      await using watcher = watch(...BY_PACKETS, "--monitor", "bpf", "--interface", name);
      await watcher.wgmon.ready;
      await watcher.freeze();
      const changes = Array.from({ length: 1000 }, (_, i) => `link set lo mtu ${60_000 + (i % 2)}`);
      await $`ip -batch - < ${Buffer.from(`${changes.join("\n")}\n`)}`;
      await $`ip link delete ${name}`;
      await $`ip link set ${other} down && ip link set ${other} name ${name} && ip link set ${name} up`;
      watcher.resume();
      await watcher.logs("link changes were lost (ENOBUFS)");
      await watcher.scannedFor("lost");
      await watcher.logs(`${name} is back`);
      await after.connect();
      await reportsConnect(watcher, after);
      await expectIdle(watcher);
    },
    TEST_MS,
  );

  test(
    "lost packets of the NFLOG socket cause a scan, and capture continues",
    async () => {
      const group = 42;
      await lab.addPlainRule(wg0.port, group);
      const socket = await Bun.udpSocket({ hostname: "127.0.0.1" });
      // Each datagram is logged twenty times.
      for (let i = 0; i < 20; i++) await lab.addPlainRule(socket.port, group);
      await using watcher = watch(...BY_PACKETS, "--monitor", "nflog", "--group", String(group));
      await watcher.wgmon.ready;
      await watcher.freeze();
      for (let sent = 0; sent < 1000; sent++) socket.send(initiation(), socket.port, "127.0.0.1");
      socket.close();
      const missed = await wg0.client("missed");
      await missed.connect();
      watcher.resume();
      await watcher.logs("reading only packets that complete a handshake");
      // The packets of this client were lost; the scan found it.
      await reportsConnect(watcher, missed);
      const later = await wg0.client("later");
      await later.connect();
      await reportsConnect(watcher, later);
      await expectIdle(watcher);
    },
    TEST_MS,
  );

  test(
    "the default filter follows a device's listen port",
    async () => {
      const wg3 = await lab.device("wg3", { port: 51830 });
      await $`wg set wg3 listen-port 51831`;
      const args = ["--monitor", "bpf", "--interface", "any", "--device", "wg3", "--tick", "1h"];
      await using watcher = watch(...args, "--reconcile", "1s");
      await watcher.wgmon.ready;
      const client = await wg3.client("of another port");
      await $`wg set wg3 listen-port 51830`;
      await watcher.scannedFor("reconcile", watcher.scans("reconcile") + 2);
      expect(watcher.scans("packet")).toBe(0);
      await client.connect();
      await reportsConnect(watcher, client, "wg3");
      await watcher.scannedFor("packet");
    },
    TEST_MS,
  );

  test(
    "a device that is added while wgmon runs is watched immediately, also after a rename, until it is deleted",
    async () => {
      await using watcher = watch(...BY_PACKETS);
      await watcher.wgmon.ready;
      await lab.addPlainRule(51840, 1);
      const wg4 = await lab.device("wg4", { port: 51840 });
      const client = await wg4.client("of a new device");
      await client.connect();
      await reportsConnect(watcher, client, "wg4");

      await $`ip link set wg4 down && ip link set wg4 name wg4b && ip link set wg4b up`;
      const about = (name: string) =>
        watcher.events.filter((event) => deviceOf(event) === name).map(({ type }) => type);
      await watcher.waitFor("a new name", () => about("wg4b").includes("peer.connected"));
      await client.forgetSession();
      await client.connect();
      await $`ip link delete wg4b`;
      await watcher.waitFor("the end", () => about("wg4b").includes("device.removed"));
      for (const name of ["wg4", "wg4b"]) {
        expect(about(name)).toEqual([
          "device.added",
          "peer.connected",
          "peer.disconnected",
          "device.removed",
        ]);
      }
    },
    TEST_MS,
  );

  test(
    "while peers change in a loop, a connect is reported once and no other peer is reported",
    async () => {
      const stable = await wg0.client("stable", { keepaliveSeconds: 5 });
      await stable.connect();
      await wg0.addSilentPeers(400);
      const [spare, ...known] = (await $`wg show wg0 peers`.text()).trim().split("\n");
      const count = known.length + 1;
      expect(spare).not.toBe(stable.publicKey);
      await using packets = watch(...BY_PACKETS, "--no-announce-existing");
      const polling = ["--monitor", "poll", "--tick", "100ms", "--reconcile", "0", ...NO_SILENCE];
      await using poll = watch(...polling, "--no-announce-existing");
      for (const { wgmon } of [packets, poll]) await wgmon.ready;

      const script = `while :; do
        wg set wg0 peer ${known.at(-1)} allowed-ips 10.250.0.1/32
        wg set wg0 peer ${spare} remove peer ${spare} allowed-ips 10.250.0.2/32
      done`;
      const loops = [1, 2].map(() => Bun.spawn(["bash", "-c", script]));
      const newcomer = await wg0.client("newcomer");
      await newcomer.connect();
      for (const watcher of [packets, poll]) await reportsConnect(watcher, newcomer);
      await poll.scannedFor("tick", poll.scans("tick") + 20);
      for (const loop of loops) {
        loop.kill();
        await loop.exited;
      }
      expect((await $`wg show wg0 peers`.text()).trim().split("\n")).toHaveLength(count + 1);
      for (const watcher of [packets, poll]) {
        expect(watcher.events).toMatchObject([
          { type: "peer.connected", data: { peer: { publicKey: newcomer.publicKey } } },
        ]);
        const { log } = watcher.wgmon;
        expect(log.filter(isComplaint)).toEqual([]);
      }

      // After the loops, a removed peer is reported.
      await wg0.removePeer(newcomer);
      await poll.waitFor("a removal", () => poll.events.length > 1);
      expect(poll.events[1]).toMatchObject({
        type: "peer.disconnected",
        data: { reason: "peer-removed", peer: { publicKey: newcomer.publicKey } },
      });
    },
    TEST_MS,
  );

  test(
    "a device that is scanned all the time can be deleted",
    async () => {
      await using poll = watch("--monitor", "poll", "--tick", "100ms", ...NO_SILENCE);
      await poll.wgmon.ready;
      const wg7 = await lab.device("wg7", { port: 51870 });
      await wg7.addSilentPeers(500);
      await poll.scannedFor("tick", poll.scans("tick") + 3);
      // An unfinished dump would keep a reference to the device, and its deletion would hang.
      await $`timeout 300 ip link delete wg7`;
      await poll.waitFor("the end", () => poll.events.at(-1)?.type === "device.removed");
      expect(poll.events.map(({ type }) => type).slice(-2)).toEqual([
        "device.added",
        "device.removed",
      ]);
    },
    TEST_MS,
  );
});

/** Waits for the connect event of the client, which must be its only event. */
async function reportsConnect(watcher: Watcher, client: Client, device = "wg0"): Promise<void> {
  await watcher.waitFor(client.name, () => watcher.eventsOf(client).length > 0);
  expect(watcher.eventsOf(client)).toMatchObject([
    { type: "peer.connected", data: { device, peer: { endpoint: client.endpoint } } },
  ]);
}

/**
 * Fails if wgmon uses more than a fifth of a processor in each of ten idle seconds. In a single second it may be more:
 * an emulated processor also counts the time in which its host runs other programs.
 */
async function expectIdle({ wgmon }: Watcher): Promise<void> {
  await wgmon.waitForLog(({ msg }) => msg === "warm", REPORT_MS);
  const usedMs: number[] = [];
  while (usedMs.length < 10 && !(usedMs.at(-1)! < 200)) {
    const before = await processorMs(wgmon.pid);
    await Bun.sleep(1000);
    usedMs.push((await processorMs(wgmon.pid)) - before);
  }
  expect(Math.min(...usedMs)).toBeLessThan(200);
}
