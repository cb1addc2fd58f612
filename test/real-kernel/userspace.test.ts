/**
 * A gateway with the userspace program wireguard-go, which wgmon queries through its UAPI socket. The clients use the
 * kernel's WireGuard.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, rm } from "node:fs/promises";

import { $ } from "bun";

import type { Event } from "../../src/events/event-schema.ts";
import { needs } from "../support/kernel.ts";
import { Lab, LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { searchBetweenScans, secretsOf, texts } from "../support/secrets.ts";
import { REPORT_MS, TEST_MS, until } from "../support/until.ts";
import { Watcher } from "../support/watcher.ts";
import { isComplaint, startWgmon, type Wgmon } from "../support/wgmon.ts";

const PROGRAM = "wireguard-go";
const kernel = needs("own network", "wireguard", PROGRAM, "ip", "wg", "nft", "tc", "ping");

const FOLDER = "/var/run/wireguard";
/** Different from other tests' devices: all network namespaces share the folder. */
const NAME = "wgtest-go";
/** A device whose socket exists, but no program listens on it. */
const STALE = "wgtest-stale";
/** Higher than the numbers of the lab's own devices. */
const NUMBER = 90;
const PORT = 51890;

describe.skipIf(kernel.missing)(kernel.title("a userspace device"), () => {
  const receiver = new Receiver();
  const running = new Map<string, Wgmon>();
  let lab: Lab;
  let daemon: Bun.Subprocess;
  let device: LabDevice;

  beforeAll(async () => {
    lab = await Lab.create();
    await $`modprobe tun`.nothrow().quiet();
    daemon = Bun.spawn([PROGRAM, "--foreground", NAME], {
      // Without this, wireguard-go exits if the kernel has WireGuard.
      env: { ...process.env, WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: "1" },
      stdout: "ignore",
      stderr: "ignore",
    });
    const started = () => $`wg show ${NAME}`.nothrow().quiet();
    await until(`${PROGRAM} has created its device`, async () => {
      if (daemon.exitCode !== null) throw new Error(`${PROGRAM} ended`);
      return (await started()).exitCode === 0;
    });
    device = await configure();
    await lab.addPlainRule(PORT, 1);
    await leaveStaleSocket();
    const watch = ["--idle-timeout", "15s", "--reconcile", "0"];
    start("nflog", ...watch, "--tick", "1s");
    start("poll", ...watch, "--monitor", "poll", "--tick", "500ms");
    for (const wgmon of running.values()) await wgmon.ready;
  }, TEST_MS);

  afterAll(async () => {
    for (const wgmon of running.values()) await wgmon[Symbol.asyncDispose]();
    receiver[Symbol.dispose]();
    daemon.kill();
    await daemon.exited;
    for (const name of [NAME, STALE]) await rm(`${FOLDER}/${name}.sock`, { force: true });
    await $`ip link delete ${STALE}`.nothrow().quiet();
    lab[Symbol.dispose]();
  });

  /** Configures the device like Lab.device does for a device of the kernel. */
  async function configure(): Promise<LabDevice> {
    const privateKey = (await $`wg genkey`.text()).trim();
    const publicKey = (await $`echo ${privateKey} | wg pubkey`.text()).trim();
    // With sh, because /dev/stdin cannot be opened on a pipe of Bun's shell.
    const set = `echo ${privateKey} | wg set ${NAME} listen-port ${PORT} private-key /dev/stdin`;
    await $`sh -c ${set}`;
    const inner = `10.${60 + NUMBER}`;
    await $`ip addr add ${inner}.0.1/16 dev ${NAME} && ip link set ${NAME} up`;
    await $`ip route add local ${inner}.128.0/17 dev lo`;
    const keys = { privateKey, publicKey };
    return new LabDevice(lab, { name: NAME, number: NUMBER, port: PORT, keys });
  }

  /** Creates a stale socket, as left by a killed program, and an interface of the same name. */
  async function leaveStaleSocket(): Promise<void> {
    await mkdir(FOLDER, { recursive: true });
    const path = `${FOLDER}/${STALE}.sock`;
    const script = `const server = Bun.listen({ unix: process.argv[1], socket: { data() {} } });
      process.kill(process.pid, "SIGKILL");`;
    await $`${process.execPath} -e ${script} ${path}`.nothrow().quiet();
    await $`ip link add ${STALE} type dummy`;
    expect((await $`test -S ${path}`.nothrow()).exitCode).toBe(0);
  }

  function start(name: string, ...args: readonly string[]): void {
    running.set(name, startWgmon([...args, "--webhook", receiver.url(`/${name}`)]));
  }

  function events(name: string): Event[] {
    return receiver.requests
      .filter(({ path }) => path === `/${name}`)
      .map(({ event }) => event!)
      .filter(({ data }) => "peer" in data);
  }

  async function expectReports(wanted: readonly object[]): Promise<void> {
    for (const [name, wgmon] of running) {
      await receiver
        .waitFor(() => events(name).length >= wanted.length, REPORT_MS)
        .catch((error: Error) => {
          throw new Error(`${name}: ${error.message}; it logged:\n${wgmon.logText}`);
        });
      expect({ name, events: events(name) }).toMatchObject({ name, events: wanted });
    }
  }

  test(
    "a userspace device is watched from the start, and a device with a stale socket is not",
    () => {
      for (const wgmon of running.values()) {
        const ready = wgmon.log.find(({ msg }) => msg === "ready");
        expect(ready?.["devices"]).toEqual([NAME]);
      }
    },
    TEST_MS,
  );

  test(
    "a peer of a userspace device connects, roams and falls silent, and all three are reported",
    async () => {
      const alice = await device.client("alice", { presharedKey: true });
      await alice.connect();
      const { publicKey, endpoint, allowedIps } = alice;
      const peer = { publicKey, endpoint, allowedIps };
      const connected = { type: "peer.connected", data: { device: NAME, peer, initial: false } };
      await expectReports([connected]);

      const roamedTo = await alice.roam("both");
      await alice.connect();
      const roamed = {
        type: "peer.roamed",
        data: { previousEndpoint: endpoint, peer: { publicKey, endpoint: roamedTo } },
      };
      await expectReports([connected, roamed]);

      await expectReports([
        connected,
        roamed,
        { type: "peer.disconnected", data: { reason: "idle", peer: { endpoint: roamedTo } } },
      ]);
    },
    TEST_MS,
  );

  test(
    "the keys of a userspace device are in no log line, no webhook request and not in memory",
    async () => {
      // The answer is larger than the initial read buffer.
      await device.addSilentPeers(400);
      await lab.addPlainRule(PORT, 2);
      const quiet = ["--tick", "1h", "--reconcile", "0", "--monitor", "nflog", "--group", "2"];
      await using watcher = new Watcher(receiver, ...quiet);
      const { wgmon } = watcher;
      await wgmon.waitForLog(({ msg }) => msg === "warm", REPORT_MS);
      const carol = await device.client("carol", { presharedKey: true });
      await carol.connect();
      await watcher.reports("peer.connected", carol);
      // A link change causes three scans; after them, there is no reason for another scan.
      await $`ip link set ${NAME} mtu 1380`;
      await watcher.scannedFor("link", 3);

      const keys = await secretsOf(NAME);
      // Alice's and carol's preshared keys, too.
      expect(keys).toHaveLength(3);
      const known = [Buffer.from(carol.publicKey)];
      const found = await searchBetweenScans(watcher, { secrets: keys, known }, () =>
        Bun.sleep(100),
      );
      expect(found).toEqual(known);

      const output = [wgmon.logText, ...receiver.requests.map(({ body }) => body)].join("\n");
      expect(output).toContain(carol.publicKey);
      for (const text of keys.flatMap(texts)) expect(output.includes(text)).toBe(false);
    },
    TEST_MS,
  );

  test(
    "a userspace device is removed when its program ends",
    async () => {
      const bob = await device.client("bob");
      await bob.connect();
      const { publicKey } = bob;
      const isBobs = (type: string) => (event: Event) =>
        event.type === type && "session" in event.data && event.data.peer.publicKey === publicKey;
      const reported = async (type: string) => {
        for (const name of running.keys()) {
          await receiver.waitFor(() => events(name).some(isBobs(type)), REPORT_MS);
        }
      };
      await reported("peer.connected");
      daemon.kill("SIGKILL");
      await reported("peer.disconnected");
      for (const [name, wgmon] of running) {
        const end = events(name).find(isBobs("peer.disconnected"));
        expect(end).toMatchObject({ data: { reason: "device-removed" } });
        // On a slow machine, the dying program does not answer for a while.
        const complaints = wgmon.log
          .filter(isComplaint)
          .filter(({ msg }) => !String(msg).includes("its program does not answer"));
        expect({ name, complaints }).toEqual({ name, complaints: [] });
      }
    },
    TEST_MS,
  );
});
