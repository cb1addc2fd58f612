/**
 * Faults at a gateway with real WireGuard: peers, devices, the module and the clock change while wgmon runs, and file
 * descriptors run out. wgmon reports each real change once and nothing else, and recovers by itself.
 */
// @serial

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { $ } from "bun";

import { shortKey } from "../../src/base/wireguard.ts";
import { Devices } from "../../src/kernel/devices.ts";
import {
  type MessageVisitor,
  NetlinkSocket,
  type Request,
} from "../../src/kernel/netlink-socket.ts";
import { NETLINK_GENERIC } from "../../src/platform/constants.ts";
import { needs, whyNotOurMachine } from "../support/kernel.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { packetSockets } from "../support/packet-sockets.ts";
import { Receiver } from "../support/receiver.ts";
import { newStateFolder } from "../support/state.ts";
import { REPORT_MS, TEST_MS, until } from "../support/until.ts";
import { processorMs, Watcher } from "../support/watcher.ts";
import { isComplaint, startWgmon } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");
const notOurs = whyNotOurMachine();
const ours = notOurs === null ? "" : ` [skipped: ${notOurs}]`;

const DAY_SECONDS = 86_400;
const POLL = ["--monitor", "poll", "--tick", "100ms", "--reconcile", "0"];
/** More than 10 s: a WireGuard peer answers received data after 10 s at the latest. */
const IDLE_MS = 15_000;
const SHORT = ["--idle-timeout", `${IDLE_MS}ms`, "--tick", "1s", "--reconcile", "0"];
/** Keeps a client connected. */
const ALIVE = { keepaliveSeconds: 5 };

/** More than wgmon reads on any machine. An emulated machine sends less. */
const FLOOD_PER_SECOND = 20_000;
const SENDER = join(import.meta.dir, "../bench/sender.ts");

$.throws(true);

describe.skipIf(kernel.missing)(kernel.title("wgmon during faults of the kernel"), () => {
  const receiver = new Receiver();
  let lab: Lab;
  let wg0: LabDevice;
  let stable: Client;

  const watch = (...args: readonly string[]) => new Watcher(receiver, ...args);

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    for (const group of [1, 2, 3]) await lab.addPlainRule(wg0.port, group);
    stable = await wg0.client("stable", ALIVE);
    await stable.connect();
  }, TEST_MS);

  afterAll(() => {
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  test(
    "while peers change in loops, a connect, roam and removal are each reported once, at little cost",
    async () => {
      await wg0.addSilentPeers(800);
      const peers = (await $`wg show wg0 peers`.text()).trim().split("\n");
      const [first, second, ...others] = peers.filter((key) => key !== stable.publicKey);
      await using packets = watch(...SHORT, "--no-announce-existing");
      await using poll = watch(...POLL, "--no-announce-existing");
      const both = [packets, poll];
      for (const watcher of both) await watcher.logs("warm");

      const quiet = await scanCost(packets);
      // Peers at the start and at the end of the list, so that dumps are interrupted in the middle.
      const loops = [first!, second!, others.at(-1)!].map((key) => {
        const change = `wg set wg0 peer ${key} remove peer ${key} allowed-ips 10.250.0.1/32`;
        // Ends when the test process ends for any reason.
        const during = `while kill -0 ${process.pid}; do ${change}; done`;
        return Bun.spawn(["bash", "-c", during], { stderr: "ignore" });
      });
      const newcomer = await wg0.client("newcomer", ALIVE);
      try {
        await newcomer.connect();
        for (const watcher of both) await watcher.reports("peer.connected", newcomer);
        const endpoint = await newcomer.roam();
        newcomer.sendDatagram();
        for (const watcher of both) {
          const { data } = await watcher.reports("peer.roamed", newcomer);
          expect(data.peer.endpoint).toBe(endpoint);
        }
        // At one scan a second, at most a third of a processor, or three times the cost without changes.
        expect(await scanCost(packets)).toBeLessThan(Math.max(300, 3 * quiet));
        await wg0.removePeer(newcomer);
      } finally {
        for (const loop of loops) {
          loop.kill();
          await loop.exited;
        }
      }
      for (const watcher of both) {
        const { data } = await watcher.reports("peer.disconnected", newcomer);
        expect(data.reason).toBe("peer-removed");
        expect(watcher.events).toHaveLength(3);
        expect(watcher.wgmon.log.filter(isComplaint)).toEqual([]);
      }
    },
    TEST_MS,
  );

  test.each(["nflog", "bpf"])(
    "%s does not read a flood, and detects a peer that connects meanwhile by WireGuard's own response",
    async (monitor) => {
      const sockets = packetSockets();
      const args = ["--monitor", monitor, "--interface", "any", "--reconcile", "0"];
      await using watcher = watch(...args, "--no-announce-existing");
      await watcher.logs("warm");
      const withCapture = packetSockets();
      expect(withCapture - sockets).toBe(monitor === "bpf" ? 1 : 0);
      const newcomer = await wg0.client(`newcomer-${monitor}`, ALIVE);
      const called = await wg0.client(`called-${monitor}`, { endpointKnown: true });

      // The count is never reached: the test kills the sender.
      // Packets on the loopback are also outgoing packets; the tap for sent packets does not pass initiations.
      const kind = ["initiations", wg0.publicKey];
      const words = [wg0.port, 1e9, FLOOD_PER_SECOND, ...kind].map(String);
      const sender = Bun.spawn([process.execPath, SENDER, ...words], { stdout: "ignore" });
      try {
        await watcher.logs("packet flood");
        await until("another socket", () => packetSockets() !== withCapture);
        expect(packetSockets()).toBe(withCapture + 1);
        await newcomer.connect();
        await watcher.reports("peer.connected", newcomer);
        wg0.sendTo(called);
        await watcher.reports("peer.connected", called);
      } finally {
        sender.kill("SIGKILL");
        await sender.exited;
      }
      await until("the socket is closed", () => packetSockets() <= withCapture);
      for (const client of [newcomer, called]) {
        await client.down();
        await wg0.removePeer(client);
        await watcher.reports("peer.disconnected", client);
      }
      expect(watcher.events).toHaveLength(4);
    },
    TEST_MS,
  );

  test(
    "while every dump is interrupted, scans report no removed peer, not even a really removed one",
    async () => {
      await wg0.addSilentPeers(500);
      const peers = (await $`wg show wg0 peers`.text()).trim().split("\n");
      const spare = peers.find((key) => key !== stable.publicKey)!;
      const socket = new InterruptingSocket(NETLINK_GENERIC);
      using devices = new Devices(["wg0"], socket);
      await devices.scan("list");
      // The peer is missing in all dumps from the second on.
      socket.change = ["wg", "set", "wg0", "peer", spare, "remove"];
      for (let scan = 0; scan < 3; scan++) {
        const { devices: found, removed, problems } = await devices.scan("list");
        expect({ removed, problems }).toEqual({ removed: [], problems: [] });
        expect(found).toMatchObject([{ device: { name: "wg0" }, removed: [] }]);
      }
      socket.change = null;
      expect((await devices.scan("list")).devices).toMatchObject([{ removed: [spare] }]);
    },
    TEST_MS,
  );

  test(
    "a device that is created and deleted in a loop during scans is reported as added and removed, and each deletion succeeds",
    async () => {
      await using packets = watch(...SHORT, "--no-announce-existing");
      await using poll = watch(...POLL, "--no-announce-existing");
      for (const { wgmon } of [packets, poll]) await wgmon.ready;
      const peers = Array.from({ length: 100 }, () => {
        const key = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64");
        return `[Peer]\nPublicKey = ${key}\n`;
      });
      const file = join(newStateFolder(), "wg8.conf");
      await writeFile(file, `[Interface]\nListenPort = 51880\n${peers.join("")}`);
      const script = `for i in $(seq 4); do
        ip link add wg8 type wireguard
        wg setconf wg8 ${file}
        ip link set wg8 up
        sleep 0.$((RANDOM % 20 + 10))
        ip link delete wg8
      done`;
      // An unfinished dump would keep a reference to the device, and its deletion would hang.
      await $`timeout 300 bash -euc ${script}`;
      for (const watcher of [packets, poll]) {
        const removals = () => watcher.typesOf("wg8").filter((type) => type === "device.removed");
        await watcher.waitFor("the end", () => watcher.typesOf("wg8").at(-1) === "device.removed");
        expect(removals().length).toBeGreaterThan(0);
        const each = ["device.added", "device.removed"];
        expect(watcher.typesOf("wg8")).toEqual(removals().flatMap(() => each));
        expect(watcher.typesOf(stable)).toEqual([]);
        expect(watcher.wgmon.log.filter(isComplaint)).toEqual([]);
      }
    },
    TEST_MS,
  );

  test(
    "in a network namespace without devices, wgmon waits and reports new devices of this namespace only",
    async () => {
      for (const args of [POLL, ["--monitor", "nflog", "--group", "7"]]) {
        const command = ["--net", join(import.meta.dir, "../../wgmon"), ...args];
        await using wgmon = startWgmon(command, { binary: "unshare" });
        expect((await wgmon.ready)["devices"]).toEqual([]);
        await wgmon.waitForLog(({ msg }) => String(msg).startsWith("there is no"), REPORT_MS);
        const inside = ["nsenter", "--target", String(wgmon.pid), "--net"];
        await $`${inside} ip link add wg0 type wireguard`;
        await wgmon.waitForLog(({ msg }) => msg === "wg0 added", REPORT_MS);
        await $`${inside} ip link delete wg0`;
        await wgmon.waitForLog(({ msg }) => msg === "wg0 removed", REPORT_MS);
        expect(await wgmon.stop()).toBe(0);
        expect(wgmon.log.filter(isComplaint)).toEqual([]);
        const eventLines = wgmon.log.filter(({ event }) => event !== undefined);
        expect(eventLines).toHaveLength(2);
      }
    },
    TEST_MS,
  );

  test(
    "without free file descriptors, scans and names still work, and events are delivered later",
    async () => {
      const dora = await wg0.client("dora");
      const nameless = await wg0.client("nameless");
      const folder = await mkdtemp(join(newStateFolder(), "names-"));
      await writeFile(join(folder, "wg0.conf"), `[Peer]\n# dora\nPublicKey = ${dora.publicKey}\n`);
      const args = [
        "--monitor",
        "nflog",
        "--group",
        "2",
        "--names",
        `${folder}/`,
        "--tick",
        "1h",
        "--reconcile",
        "0",
      ];
      await using watcher = watch(...args);
      // After the first delivery: Bun aborts the process if the first fetch gets no descriptor.
      await watcher.reports("peer.connected", stable);
      await watcher.logs("warm");
      await $`prlimit --pid ${watcher.wgmon.pid} --nofile=3:`;
      await nameless.connect();
      await watcher.logs(`${shortKey(nameless.publicKey)} (wg0) connected`);
      await dora.connect();
      await watcher.logs("dora (wg0) connected");
      await $`prlimit --pid ${watcher.wgmon.pid} --nofile=1000:`;
      for (const client of [stable, nameless, dora]) {
        await watcher.reports("peer.connected", client);
        expect(watcher.typesOf(client)).toHaveLength(1);
      }
    },
    TEST_MS,
  );

  test.skipIf(notOurs !== null)(
    `setting the clock by a day, back and forward, causes no event, and durations are correct${ours}`,
    async () => {
      // A handshake while the clock is ahead would block later ones for a day; after this one, the next is in two
      // minutes.
      await stable.forgetSession();
      await stable.connect();
      await using watcher = watch(
        ...SHORT,
        "--monitor",
        "nflog",
        "--group",
        "3",
        "--no-announce-existing",
      );
      await watcher.wgmon.ready;
      const [wallMs, monotonicMs] = [Date.now(), performance.now()];
      const setClock = async (seconds: number) => {
        const nowMs = wallMs + (performance.now() - monotonicMs) + seconds * 1000;
        await $`date -s @${(nowMs / 1000).toFixed(3)}`.quiet();
      };
      /** performance.now() before and after a step, on the clock that is not set. */
      type Span = readonly [fromMs: number, toMs: number];
      const began = new Map<Client, Span>();
      const connects = async (name: string) => {
        const client = await wg0.client(name, ALIVE);
        const fromMs = performance.now();
        await client.connect();
        began.set(client, [fromMs, performance.now()]);
        const { data } = await watcher.reports("peer.connected", client);
        expect(Math.abs(Date.parse(data.session.startedAt) - Date.now())).toBeLessThan(REPORT_MS);
        expect(data.initial).toBe(false);
      };
      try {
        await connects("anna");
        // First back, then forward: the kernel rejects a handshake that is older than the peer's last one.
        for (const [name, days] of [
          ["bert", -1],
          ["carl", 1],
        ] as const) {
          await setClock(days * DAY_SECONDS);
          await connects(name);
          await watcher.scannedFor("tick", watcher.scans("tick") + 3);
        }
      } finally {
        await setClock(0);
      }
      await watcher.scannedFor("tick", watcher.scans("tick") + 3);
      for (const client of began.keys()) {
        expect(watcher.typesOf(client)).toEqual(["peer.connected"]);
      }

      const ended = new Map<Client, Span>();
      for (const client of began.keys()) {
        const fromMs = performance.now();
        await client.down();
        ended.set(client, [fromMs, performance.now()]);
      }
      for (const client of began.keys()) {
        const { data } = await watcher.reports("peer.disconnected", client);
        const [begins, ends] = [began.get(client)!, ended.get(client)!];
        expect(data.reason).toBe("idle");
        // The last activity was a keepalive earlier, or a tick found it later.
        const { durationMs } = data.session;
        expect(durationMs).toBeGreaterThan(ends[0] - begins[1] - 15_000);
        expect(durationMs).toBeLessThan(ends[1] - begins[0] + 15_000);
        expect(performance.now() - ends[0]).toBeGreaterThan(IDLE_MS - 10_000);
      }
      expect(watcher.typesOf(stable)).toEqual([]);
      expect(watcher.wgmon.log.filter(isComplaint)).toEqual([]);
    },
    TEST_MS,
  );

  test.skipIf(notOurs !== null)(
    `wgmon does not load the module after it was unloaded, and continues when new devices exist${ours}`,
    async () => {
      await using packets = watch(...SHORT, "--monitor", "nflog", "--group", "8");
      await using poll = watch(...POLL);
      const both = [packets, poll];
      for (const watcher of both) await watcher.reports("peer.connected", stable);
      lab[Symbol.dispose]();
      for (const watcher of both) {
        const { data } = await watcher.reports("peer.disconnected", stable);
        expect(data.reason).toBe("device-removed");
        await watcher.reports("device.removed", "wg0");
      }
      // The clients' devices are deleted a little later than their namespace.
      const unload = async () => (await $`rmmod wireguard`.nothrow().quiet()).exitCode === 0;
      await until("the module is unloaded", unload);
      await poll.scannedFor("tick", poll.scans("tick") + 5);
      expect(existsSync("/sys/module/wireguard")).toBe(false);

      await $`modprobe wireguard`;
      lab = await Lab.create();
      await lab.addPlainRule(51829, 8);
      const wg9 = await lab.device("wg9", { port: 51829 });
      const client = await wg9.client("of the next module");
      await client.connect();
      for (const watcher of both) {
        await watcher.reports("device.added", "wg9");
        await watcher.reports("peer.connected", client);
        expect(watcher.wgmon.log.filter(isComplaint)).toEqual([]);
      }
    },
    TEST_MS,
  );
});

/**
 * Processor time in ms for each scan at a tick, including its consequences. Depends on the load of the machine: compare
 * only values measured shortly after each other.
 */
async function scanCost(watcher: Watcher): Promise<number> {
  const scans = 10;
  const { pid } = watcher.wgmon;
  const before = await processorMs(pid);
  await watcher.scannedFor("tick", watcher.scans("tick") + scans);
  return ((await processorMs(pid)) - before) / scans;
}

/** Interrupts each dump: runs a command that changes the list of peers after the first message. */
class InterruptingSocket extends NetlinkSocket {
  /** The command; null: dumps are not interrupted. */
  change: string[] | null = null;

  override request(operation: string, request: Request, visit: MessageVisitor) {
    let change = request.dump ? this.change : null;
    const isInterrupted = change !== null;
    const answer = super.request(operation, request, (...message) => {
      if (change !== null) expect(Bun.spawnSync(change).exitCode).toBe(0);
      change = null;
      visit(...message);
    });
    expect(answer.interrupted).toBe(isInterrupted);
    return answer;
  }
}
