/**
 * Alerts at a gateway with real WireGuard over crashes of wgmon: an alert that was pending fires once, and a quota is
 * counted on, also when the device is created again. Prints the time from each fault to its alert.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { $ } from "bun";

import { AlertWatch, rule } from "../support/alert-watch.ts";
import { needs } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { secretsOf, texts } from "../support/secrets.ts";
import { TEST_MS, until } from "../support/until.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

const QUOTA_BYTES = 100_000;
/** Of an echo request and its reply of 1000 bytes each, with the headers of ICMP, IP and WireGuard, padded to 16. */
const PING_BYTES = 2 * (1040 + 32);

$.throws(true);

describe.skipIf(kernel.missing)(kernel.title("alerts over crashes of wgmon"), () => {
  const receiver = new Receiver();
  const crashing = new AlertWatch(receiver, "crashing");
  const counting = new AlertWatch(receiver, "counting");
  let lab: Lab;
  let wg0: LabDevice;
  let wg1: LabDevice;
  let secrets: string[];

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    wg1 = await lab.device("wg1", { port: 51821 });
    secrets = [...(await secretsOf("wg0")), ...(await secretsOf("wg1"))].flatMap(texts);
  }, TEST_MS);

  afterAll(async () => {
    for (const watch of [crashing, counting]) await watch[Symbol.asyncDispose]();
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  function settingsOf(device: string): string {
    return `
      monitor = "bpf"
      interface = "any"
      device = "${device}"
      idle_timeout = "15s"
      tick = "1s"
      reconcile = "0s"
    `;
  }

  test.concurrent(
    "an alert that was pending when wgmon was killed fires once, and goes on after the next crash",
    async () => {
      const anchor = await wg0.client("anchor", { keepaliveSeconds: 5 });
      const lost = await wg0.client("lost", { keepaliveSeconds: 5 });
      const values = { peers: lost.publicKey, for: "30s", wait: "0s", repeat: "5s" };
      await crashing.configure(settingsOf("wg0"), rule("lost", "down", values));
      await crashing.start();
      for (const client of [anchor, lost]) {
        await client.connect();
        await crashing.reports("peer.connected", client.publicKey);
      }
      await lost.down();
      const pending = await crashing.has("lost", ({ state }) => state === "pending");
      await crashing.kill();
      expect(crashing.told("lost")).toEqual([]);

      const startMs = performance.now();
      await crashing.start();
      const firing = await crashing.tells("lost", "firing");
      await crashing.kill();
      console.log(
        `from the start after a crash to the alert: ${((crashing.receivedMs(firing) - startMs) / 1000).toFixed(1)} s`,
      );
      // What happened while wgmon did not run is not known, but since when the peer is down is.
      expect(firing.data).toMatchObject({ since: pending.since, count: 1, reminder: false });
      const { id } = firing.data.alerts[0]!;
      await crashing.start();
      expect(await crashing.has("lost", () => true)).toMatchObject({ id, state: "firing" });
      const before = crashing.told("lost").length;
      await crashing.tells("lost", "reminder", before);
      const [word, ...others] = crashing.told("lost");
      expect(word).toBe("firing");
      expect(new Set(others)).toEqual(new Set(["reminder"]));
      expect(crashing.alerts().every(({ data }) => data.alerts[0]!.id === id)).toBe(true);
    },
    TEST_MS,
  );

  test.concurrent(
    "traffic: a quota is counted on when the device is created again, and when wgmon is killed",
    async () => {
      const client = await wg1.client("reader");
      await counting.configure(
        settingsOf("wg1"),
        rule("quota", "traffic", { quota: `${QUOTA_BYTES}B`, per: "month", percents: [50, 100] }),
      );
      await counting.start();
      await client.connect();
      await counting.reports("peer.connected", client.publicKey);
      const fetch = async (share: number) => {
        const count = Math.round((share * QUOTA_BYTES) / PING_BYTES);
        await client.run(
          ...["ping", "-n", "-q", "-i", "0.05", "-s", "1000", "-c", `${count}`],
          client.innerGateway,
        );
      };
      await fetch(0.3);
      const first = await wg1.state(client);
      expect(first.rxBytes + first.txBytes).toBeLessThan(0.4 * QUOTA_BYTES);
      // The scan that counts it is not the one that finds the new device.
      const scans = counting.scans("tick");
      await until("a tick", () => counting.scans("tick") >= scans + 2);
      expect(counting.told("quota")).toEqual([]);

      await recreate(wg1);
      await counting.reports("peer.disconnected", client.publicKey);
      await client.forgetSession();
      await client.connect();
      await counting.reports("peer.connected", client.publicKey, 2);
      await fetch(0.4);
      const { data: half } = await counting.tells("quota", "firing");
      const second = await wg1.state(client);
      expect(second.rxBytes + second.txBytes).toBeLessThan(0.5 * QUOTA_BYTES);
      expect(half.sentence).toMatch(/ \(wg1\) has used [5-7]\d % of its 100 kB for this month$/);

      await counting.kill();
      await fetch(0.4);
      await counting.start();
      const { data: full } = await counting.tells("quota", "firing", 2);
      expect(full.sentence).toMatch(/ \(wg1\) has used 1[0-3]\d % of its 100 kB for this month$/);
      const { rxBytes, txBytes } = await wg1.state(client);
      expect(rxBytes + txBytes).toBeLessThan(QUOTA_BYTES);
      expect(counting.told("quota")).toEqual(["firing", "firing"]);
    },
    TEST_MS,
  );

  test("no event has a secret key", () => {
    expect(secrets).toHaveLength(4);
    const bodies = receiver.requests.map(({ body }) => body);
    expect(bodies.filter((body) => secrets.some((secret) => body.includes(secret)))).toEqual([]);
  });

  /** Deletes the device, and creates it with the same settings, as `systemctl restart wg-quick@wg1` does. */
  async function recreate({ name }: LabDevice): Promise<void> {
    const settings = await $`wg showconf ${name}`.text();
    const addresses = (await $`ip -o addr show dev ${name} scope global`.text())
      .trim()
      .split("\n")
      .map((line) => /inet6? (\S+)/.exec(line)![1]!);
    await $`ip link delete ${name}`;
    await $`ip link add ${name} type wireguard`;
    await $`wg setconf ${name} /dev/stdin < ${Buffer.from(settings)}`;
    for (const address of addresses) await $`ip addr add ${address} dev ${name}`;
    await $`ip link set ${name} up`;
  }
});
