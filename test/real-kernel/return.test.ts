/**
 * A peer returns after a disconnect by silence, at a gateway with real WireGuard. Its session keys are still valid, so
 * there is no handshake, and no other peer is connected.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { needs } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { Watcher } from "../support/watcher.ts";
import { isComplaint } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

const TEST_MS = 240_000;
const TICK_MS = 1000;
/** Tolerance for a report on an emulated processor. */
const SLACK_MS = 4000;
const GROUP = 5;

describe.skipIf(kernel.missing)(kernel.title("a peer that returns without a handshake"), () => {
  const receiver = new Receiver();
  const monitors = {
    nflog: ["--group", `${GROUP}`],
    bpf: ["--monitor", "bpf", "--interface", "any"],
    poll: ["--monitor", "poll"],
  };
  const watchers: Record<string, Watcher> = {};
  let lab: Lab;
  let device: LabDevice;

  beforeAll(async () => {
    lab = await Lab.create();
    device = await lab.device("wg0", { port: 51820 });
    await lab.addHandshakeRules(device.port, GROUP);
    // No reconcile scan, which could find the peer before the tick.
    const args = ["--idle-timeout", "15s", "--tick", `${TICK_MS}ms`, "--reconcile", "0"];
    for (const [name, monitor] of Object.entries(monitors)) {
      watchers[name] = new Watcher(receiver, ...args, ...monitor);
      await watchers[name].wgmon.ready;
    }
  }, TEST_MS);

  afterAll(async () => {
    for (const watcher of Object.values(watchers)) await watcher[Symbol.asyncDispose]();
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  test(
    "a peer that returns without a handshake is found by the next tick, with every monitor, and ticks stop when its keys expire",
    async () => {
      const all = Object.entries(watchers);
      const byPackets = all.filter(([name]) => name !== "poll").map(([, watcher]) => watcher);
      for (const watcher of byPackets) expect(watcher.scans("tick")).toBe(0);
      const alice = await device.client("alice");
      await alice.connect();
      for (const [, watcher] of all) await watcher.reports("peer.disconnected", alice);

      const { latestHandshakeSeconds } = await device.state(alice);
      const sentMs = Date.now();
      alice.sendDatagram();
      for (const [name, watcher] of all) {
        const { timestamp } = await watcher.reports("peer.connected", alice, 2);
        const lateMs = Date.parse(timestamp) - sentMs;
        expect({ name, isInTime: lateMs < TICK_MS + SLACK_MS, lateMs }).toMatchObject({
          name,
          isInTime: true,
        });
      }
      expect((await device.state(alice)).latestHandshakeSeconds).toBe(latestHandshakeSeconds);

      // Removing the peer removes its keys.
      await device.removePeer(alice);
      for (const [, watcher] of all) await watcher.reports("peer.disconnected", alice, 2);
      const trying = await device.client("trying", { wrongPresharedKey: true });
      // The scans that an attempt causes take at least a second: no tick in this time.
      const before = byPackets.map((watcher) => ({
        watcher,
        ticks: watcher.scans("tick"),
        attempts: watcher.scans("packet"),
      }));
      trying.sendDatagram();
      for (const { watcher, ticks, attempts } of before) {
        await watcher.scannedFor("packet", attempts + 2);
        expect(watcher.scans("tick")).toBe(ticks);
      }
      for (const [, { wgmon }] of all) expect(wgmon.log.filter(isComplaint)).toEqual([]);
    },
    TEST_MS,
  );
});
