/**
 * Connected peers at a gateway with real WireGuard: they roam, fall silent, return and are removed, and wgmon restarts.
 * The tests run concurrently, since they mostly wait for idle timeouts.
 *
 * No idle timeout is below 15 s, because a WireGuard peer answers received data after 10 s at the latest.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import { needs } from "../support/kernel.ts";
import { type Client, type ClientOptions, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { newStateFolder } from "../support/state.ts";
import { REPORT_MS, TEST_MS, until } from "../support/until.ts";
import { Watcher } from "../support/watcher.ts";
import { isComplaint } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

const IDLE_MS = 15_000;
const HOLD_MS = 15_000;
const INITIATION_BYTES = 148;

const BPF = ["--monitor", "bpf", "--interface", "any"];
const SHORT = ["--idle-timeout", "15s", "--tick", "1s"];
/** Scans only after packets, otherwise once an hour. */
const BY_PACKETS = ["--tick", "1h"];

describe.skipIf(kernel.missing)(kernel.title("a connected peer"), () => {
  const receiver = new Receiver();
  const watchers: Watcher[] = [];
  const clients: Client[] = [];
  let lab: Lab;
  let wg0: LabDevice;
  let nflog: Watcher;
  let bpf: Watcher;
  let patient: Watcher;
  let holding: Watcher;
  let holdingLong: Watcher;
  let longHold: string;
  let nflogByPackets: Watcher;
  let bpfByPackets: Watcher;

  function watch(...args: readonly string[]): Watcher {
    const watcher = new Watcher(receiver, ...args, "--reconcile", "0");
    watchers.push(watcher);
    return watcher;
  }

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    for (const group of [1, 2, 3, 4]) await lab.addPlainRule(wg0.port, group);
    nflog = watch(...SHORT, "--monitor", "nflog");
    bpf = watch(...SHORT, ...BPF);
    patient = watch("--idle-timeout", "75s", "--tick", "1s", ...BPF);
    holding = watch(...SHORT, "--hold", `${HOLD_MS}ms`, "--monitor", "nflog", "--group", "2");
    // Longer than any peer needs to return, even on a busy machine.
    longHold = join(newStateFolder(), "wgmon.toml");
    await Bun.write(longHold, 'hold = "1h"\n');
    holdingLong = watch(...SHORT, "--config", longHold, ...BPF);
    nflogByPackets = watch(...BY_PACKETS, "--monitor", "nflog", "--group", "3");
    bpfByPackets = watch(...BY_PACKETS, ...BPF);
    for (const { wgmon } of watchers) await wgmon.ready;
    // Until its port is configured, a client's device has a port that the kernel chooses: it must not
    // be the port of another client.
    const first = await newClient(wg0, "first");
    await first.run("sh", "-c", "echo 50000 60999 >/proc/sys/net/ipv4/ip_local_port_range");
  }, TEST_MS);

  afterAll(async () => {
    for (const { wgmon } of watchers) await wgmon[Symbol.asyncDispose]();
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  async function newClient(device: LabDevice, name: string, options?: ClientOptions) {
    const client = await device.client(name, options);
    clients.push(client);
    return client;
  }

  async function newDevice(name: string, port: number): Promise<LabDevice> {
    const device = await lab.device(name, { port });
    // The last step is a link change, as with wg-quick: changes of keys and ports cause no notification.
    await $`ip link set ${name} mtu 1400`;
    return device;
  }

  /** Waits until the kernel has received at least `bytes` from the client. */
  async function received(client: Client, bytes: number): Promise<void> {
    const isReceived = async () => (await wg0.state(client)).rxBytes >= bytes;
    await until(`${bytes} bytes of ${client.name}`, isReceived);
  }

  async function handshakeOlderThan(client: Client, ms: number): Promise<void> {
    const { latestHandshakeSeconds } = await wg0.state(client);
    const endMs = latestHandshakeSeconds! * 1000 + 1000 + ms;
    await until("its handshake is old enough", () => Date.now() >= endMs);
  }

  test.concurrent(
    "a connected peer roams to another port, another address and both, and each roam is reported once",
    async () => {
      const roamer = await newClient(wg0, "roamer");
      await roamer.connect();
      for (const watcher of [nflogByPackets, patient])
        await watcher.reports("peer.connected", roamer);
      let previousEndpoint = roamer.endpoint;
      for (const [index, to] of (["port", "address", "both"] as const).entries()) {
        const endpoint = await roamer.roam(to);
        roamer.sendDatagram();
        // The first captures every datagram and reports at once; the second finds the roam at its tick.
        for (const watcher of [nflogByPackets, patient]) {
          const { data } = await watcher.reports("peer.roamed", roamer, index + 1);
          expect(data).toMatchObject({ device: "wg0", previousEndpoint, peer: { endpoint } });
          expect(data.session.roams).toBe(index + 1);
        }
        previousEndpoint = endpoint;
      }
      const types = ["peer.connected", ...Array<string>(3).fill("peer.roamed")];
      expect(nflogByPackets.typesOf(roamer)).toEqual(types);
      expect(patient.typesOf(roamer)).toEqual(types);
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer that falls silent is disconnected and returns; with a long hold, only the last disconnect is reported",
    async () => {
      const quiet = await newClient(wg0, "quiet");
      const startMs = Date.now();
      await quiet.connect();
      for (const watcher of [nflog, bpf]) {
        const { data, timestamp } = await watcher.reports("peer.disconnected", quiet);
        const { session, reason, peer } = data;
        expect(reason).toBe("idle");
        expect(peer.endpoint).toBe(quiet.endpoint);
        const startedMs = Date.parse(session.startedAt);
        const endedMs = Date.parse(session.endedAt);
        expect(startedMs).toBeGreaterThan(startMs - 10);
        expect(endedMs).toBeGreaterThanOrEqual(startedMs);
        expect(session.durationMs).toBe(endedMs - startedMs);
        // The session ends at the last activity, not when the idle timeout expires.
        expect(Date.parse(timestamp) - endedMs).toBeGreaterThanOrEqual(IDLE_MS);
        // At least a datagram and the keepalive that answers it: a scan may have counted the handshake
        // messages before the session began.
        expect(session.rxBytes).toBeGreaterThanOrEqual(32);
        expect(session.txBytes).toBeGreaterThanOrEqual(32);
        expect(session.roams).toBe(0);
      }

      await quiet.forgetSession();
      await quiet.connect();
      for (const watcher of [nflog, bpf]) {
        await watcher.reports("peer.connected", quiet, 2);
        await watcher.reports("peer.disconnected", quiet, 2);
      }
      expect(holdingLong.typesOf(quiet)).toEqual(["peer.connected"]);
      // A reload without the hold sends the events that were held back.
      await Bun.write(longHold, "");
      holdingLong.wgmon.signal("SIGHUP");
      const { data } = await holdingLong.reports("peer.disconnected", quiet);
      // The session includes the silence in its middle.
      expect(data.session.durationMs).toBeGreaterThanOrEqual(IDLE_MS);
      expect(holdingLong.typesOf(quiet)).toEqual(["peer.connected", "peer.disconnected"]);
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer that is switched off while the gateway continues sending is disconnected; with a hold, later",
    async () => {
      const dead = await newClient(wg0, "dead");
      await dead.connect();
      // The peer answers these datagrams, so it is not silent before it is switched off.
      const sending = setInterval(() => wg0.sendTo(dead), 250);
      for (const watcher of [nflog, bpf, holding]) await watcher.reports("peer.connected", dead);
      await dead.down();
      const before = await wg0.state(dead);
      for (const watcher of [nflog, bpf]) {
        const { data } = await watcher.reports("peer.disconnected", dead);
        expect(data.reason).toBe("idle");
        // The gateway has sent data, which does not count as the peer's activity.
        expect(data.session.txBytes).toBeGreaterThan(before.txBytes);
      }
      clearInterval(sending);
      const { data, timestamp } = await holding.reports("peer.disconnected", dead);
      const silentMs = Date.parse(timestamp) - Date.parse(data.session.endedAt);
      expect(silentMs).toBeGreaterThanOrEqual(IDLE_MS + HOLD_MS);
      expect(holding.typesOf(dead)).toEqual(["peer.connected", "peer.disconnected"]);
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer is removed from the device, added again and reconnects",
    async () => {
      const removed = await newClient(wg0, "removed", { keepaliveSeconds: 5 });
      await removed.connect();
      for (const watcher of [nflog, bpf]) await watcher.reports("peer.connected", removed);
      await wg0.removePeer(removed);
      for (const watcher of [nflog, bpf]) {
        const { data } = await watcher.reports("peer.disconnected", removed);
        expect(data.reason).toBe("peer-removed");
      }
      await wg0.restorePeer(removed);
      await removed.forgetSession();
      await removed.connect();
      for (const watcher of [nflog, bpf]) await watcher.reports("peer.connected", removed, 2);
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer is disconnected when its device is deleted, and another connects to a new device of that name",
    async () => {
      const both = [nflogByPackets, bpfByPackets];
      const port = 51825;
      await lab.addPlainRule(port, 3);
      const before = await newDevice("wg5", port);
      for (const watcher of both) await watcher.reports("device.added", "wg5");
      const client = await newClient(before, "of the first wg5");
      await client.connect();
      for (const watcher of both) await watcher.reports("peer.connected", client);
      await before.delete();
      for (const watcher of both) {
        const { data } = await watcher.reports("peer.disconnected", client);
        expect(data).toMatchObject({ device: "wg5", reason: "device-removed" });
        await watcher.reports("device.removed", "wg5");
      }

      const after = await newDevice("wg5", port);
      const next = await newClient(after, "of the second wg5");
      for (const watcher of both) {
        await watcher.reports("device.added", "wg5", 2);
      }
      await next.connect();
      for (const watcher of both) {
        const { data } = await watcher.reports("peer.connected", next);
        expect(data).toMatchObject({ device: "wg5", initial: false });
        expect(watcher.typesOf("wg5")).toEqual(["device.added", "device.removed", "device.added"]);
      }
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer that loses its link for a while disconnects and connects with a short idle timeout, and not with a long one",
    async () => {
      const cut = await newClient(wg0, "cut off", { keepaliveSeconds: 5 });
      await cut.connect();
      for (const watcher of [nflog, patient]) await watcher.reports("peer.connected", cut);
      await cut.dropLink();
      await nflog.reports("peer.disconnected", cut);
      await cut.restoreLink();
      // The next keepalive, with the same keys, causes the connect.
      await nflog.reports("peer.connected", cut, 2);
      expect(nflog.typesOf(cut)).toEqual(["peer.connected", "peer.disconnected", "peer.connected"]);
      expect(patient.typesOf(cut)).toEqual(["peer.connected"]);
    },
    TEST_MS,
  );

  test.concurrent(
    "a peer with a wrong preshared key is never reported, in half a minute of attempts",
    async () => {
      const mallory = await newClient(wg0, "mallory", { wrongPresharedKey: true });
      mallory.sendDatagram();
      // An attempt every five seconds.
      await received(mallory, 7 * INITIATION_BYTES);
      for (const watcher of watchers) expect(watcher.typesOf(mallory)).toEqual([]);
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer that is switched off is disconnected while another host with its key, but not its preshared key, keeps trying",
    async () => {
      const victim = await newClient(wg0, "victim", { presharedKey: true });
      const thief = await newClient(wg0, "thief", {
        sharesKeyWith: victim,
        wrongPresharedKey: true,
        ownNamespace: true,
      });
      await victim.connect();
      for (const watcher of [nflog, bpf]) await watcher.reports("peer.connected", victim);
      await victim.down();
      const before = await wg0.state(victim);
      thief.sendDatagram();
      await received(victim, before.rxBytes + INITIATION_BYTES);
      expect((await wg0.state(victim)).endpoint).toBe(thief.endpoint);
      for (const watcher of [nflog, bpf]) {
        const { data } = await watcher.reports("peer.disconnected", victim);
        expect(data.peer.endpoint).toBe(victim.endpoint);
      }
      // Further attempts cause no event.
      await received(victim, before.rxBytes + 4 * INITIATION_BYTES);
      for (const watcher of [nflog, bpf]) {
        expect(watcher.typesOf(victim)).toEqual(["peer.connected", "peer.disconnected"]);
      }
    },
    TEST_MS,
  );

  test.concurrent(
    "a peer that replaces a connected peer at the same address and port is reported",
    async () => {
      const both = [nflogByPackets, bpfByPackets];
      const phone = await newClient(wg0, "phone", { ownNamespace: true });
      await phone.connect();
      for (const watcher of both) await watcher.reports("peer.connected", phone);
      await phone.down();
      const outerPort = Number(phone.endpoint.split(":").at(-1));
      const next = await newClient(wg0, "next", { sharesLinkWith: phone, outerPort });
      expect(next.endpoint).toBe(phone.endpoint);
      await next.connect();
      for (const watcher of both) {
        const { data } = await watcher.reports("peer.connected", next);
        expect(data.peer.endpoint).toBe(phone.endpoint);
      }
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer is reported as initial when wgmon restarts, except with --no-announce-existing",
    async () => {
      const args = [...SHORT, ...BPF];
      const kim = await newClient(wg0, "kim", { keepaliveSeconds: 5 });
      await kim.connect();
      const runs: Watcher[] = [];
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        const watcher = watch(...args);
        runs.push(watcher);
        const { data } = await watcher.reports("peer.connected", kim);
        expect(data.initial).toBe(true);
        expect(await watcher.wgmon.stop(signal)).toBe(signal === "SIGTERM" ? 0 : 137);
      }
      // The handshake is older than the idle timeout, but the peer is not silent.
      await handshakeOlderThan(kim, IDLE_MS);
      const last = watch(...args);
      const silent = watch(...args, "--no-announce-existing");
      expect((await last.reports("peer.connected", kim)).data.initial).toBe(true);
      await silent.wgmon.ready;
      await received(kim, (await wg0.state(kim)).rxBytes + 2 * 32);
      expect(last.typesOf(kim)).toEqual(["peer.connected"]);
      expect(silent.typesOf(kim)).toEqual([]);
      await kim.down();
      for (const watcher of [last, silent]) {
        const { data } = await watcher.reports("peer.disconnected", kim);
        expect(data.reason).toBe("idle");
      }
      for (const watcher of runs) expect(watcher.typesOf(kim)).toEqual(["peer.connected"]);
      expect(last.typesOf(kim)).toEqual(["peer.connected", "peer.disconnected"]);
      expect(silent.typesOf(kim)).toEqual(["peer.disconnected"]);
    },
    TEST_MS,
  );

  test.concurrent(
    "a connected peer is reported once, even if it sends data after the start, and not again after SIGHUP",
    async () => {
      const leo = await newClient(wg0, "leo", { keepaliveSeconds: 5 });
      await leo.connect();
      const watcher = watch(...SHORT, "--monitor", "nflog", "--group", "4");
      await watcher.wgmon.ready;
      leo.sendDatagram();
      expect((await watcher.reports("peer.connected", leo)).data.initial).toBe(true);
      await watcher.scannedFor("tick", 2);
      expect(await leo.ping(3)).toBe(3);

      watcher.wgmon.signal("SIGHUP");
      await watcher.wgmon.waitForLog(({ msg }) => msg === "settings reloaded", REPORT_MS);
      await watcher.scannedFor("tick", watcher.scans("tick") + 1);
      // Events are delivered in order: after this one, no earlier event is pending.
      const later = await newClient(wg0, "later");
      await later.connect();
      await watcher.reports("peer.connected", later);
      expect(watcher.typesOf(leo)).toEqual(["peer.connected"]);
    },
    TEST_MS,
  );

  test(
    "connects and disconnects of each peer alternate, in the events of every wgmon",
    async () => {
      for (const watcher of watchers) {
        const { wgmon } = watcher;
        // wgmon sends pending events before it exits.
        expect([0, 137]).toContain(await wgmon.stop());
        const complaints = wgmon.log.filter(isComplaint);
        expect(complaints).toEqual([]);
        const announces = !wgmon.log.some((line) => line["announceExisting"] === false);
        for (const client of clients) {
          const types = watcher.typesOf(client).join();
          const session = "peer.connected(,peer.roamed)*";
          const all = new RegExp(`^(${session},peer.disconnected,?)*(${session})?$`);
          if (announces) expect(types).toMatch(all);
        }
      }
    },
    TEST_MS,
  );
});
