/**
 * Alerts of a running wgmon at a gateway with real WireGuard: reminders and ends, silences, a target that fails, the
 * commands, a reload, and crashes. The other kinds of rules are in alerts.test.ts. Prints the time from each fault to its
 * alert.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { $ } from "bun";

import { AlertWatch, Delays, rule } from "../support/alert-watch.ts";
import { needs } from "../support/kernel.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { secretsOf, texts } from "../support/secrets.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { isComplaint, type LogLine } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

const HOUR_MS = 3_600_000;
const REPEAT_MS = 10_000;
/** Keeps a client connected. */
const ALIVE = { keepaliveSeconds: 5 };
const QUOTA_BYTES = 100_000;
/** Of an echo request and its reply of 1000 bytes each, with the headers of ICMP, IP and WireGuard, padded to 16. */
const PING_BYTES = 2 * (1040 + 32);

$.throws(true);

describe.skipIf(kernel.missing)(kernel.title("alerts of a running wgmon"), () => {
  const receiver = new Receiver();
  const crashing = new AlertWatch(receiver, "crashing");
  const counting = new AlertWatch(receiver, "counting");
  const office = new AlertWatch(receiver, "office");
  const delays = new Delays();
  let isBroken = true;
  let sending: Timer;
  let lab: Lab;
  let wg0: LabDevice;
  let wg1: LabDevice;
  let wg2: LabDevice;
  let berlin: Client;
  let madrid: Client;
  let oslo: Client;
  let keys: string;
  const secrets: string[] = [];

  beforeAll(async () => {
    receiver.answer = ({ path }) => ({ status: path === "/broken" && isBroken ? 500 : 204 });
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    wg1 = await lab.device("wg1", { port: 51821 });
    wg2 = await lab.device("wg2", { port: 51822 });
    berlin = await wg2.client("berlin", { ...ALIVE, presharedKey: true });
    madrid = await wg2.client("madrid", ALIVE);
    oslo = await wg2.client("oslo");
    for (const { name } of [wg0, wg1, wg2]) secrets.push(...(await secretsOf(name)).flatMap(texts));

    const names = join(newStateFolder(), "wg2.conf");
    const sections = [berlin, madrid, oslo].map(
      ({ name, publicKey }) => `[Peer]\n# ${name}\nPublicKey = ${publicKey}\n`,
    );
    await Bun.write(names, sections.join(""));
    keys = `${settingsOf("wg2")}\nnames = "${names}"`;
    await office.configure(keys, rulesOf(hoursFromNow(2)));
    await office.start();
    for (const client of [berlin, madrid]) await client.connect();
  }, TEST_MS);

  afterAll(async () => {
    delays.print();
    clearInterval(sending);
    for (const watch of [office, crashing, counting]) await watch[Symbol.asyncDispose]();
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

  function rulesOf(allowed: string): string {
    return [
      `[[target]]\nname = "broken"\nurl = "${receiver.url("/broken")}"\n`,
      rule("office-down", "down", {
        peers: "berlin",
        for: "1s",
        wait: "1s",
        repeat: `${REPEAT_MS / 1000}s`,
      }),
      rule("dry", "down", { peers: "berlin", for: "1s", wait: "1s", dry_run: true }),
      rule("maintained", "down", { peers: "madrid", for: "1s", wait: "0s" }),
      rule("nights", "hours", { peers: "oslo", allowed }),
      rule("delivery", "target", { for: "1s" }),
    ].join("");
  }

  test.concurrent(
    "down: a branch office whose link fails and returns is one alert, with reminders until it returns, and one end",
    async () => {
      await office.reports("peer.connected", berlin.publicKey);
      const end = ["ip", "link", "set", berlin.link.clientInterface];
      const faultMs = performance.now();
      await berlin.run(...end, "down");
      const firing = await office.tells("office-down", "firing");
      delays.add("down", office, firing, faultMs);
      expect(firing.data).toMatchObject({
        kind: "down",
        severity: "critical",
        device: "wg2",
        peer: { publicKey: berlin.publicKey, name: "berlin", tags: [] },
        sentence: expect.stringMatching(
          /^berlin \(wg2\) is down: no data for \d+[ms]( \d+s)?; check the peer and its network$/,
        ),
        cause: null,
        reminder: false,
        count: 1,
      });
      const reminder = await office.tells("office-down", "reminder");
      expect(reminder.data.sentence).toStartWith("berlin (wg2) is down: no data for ");
      expect(reminder.data.since).toBe(firing.data.since);
      expect(reminder.data.alerts[0]!.id).toBe(firing.data.alerts[0]!.id);
      const backMs = performance.now();
      await berlin.run(...end, "up");
      berlin.sendDatagram();
      const resolved = await office.tells("office-down", "resolved");
      delays.add("down: the end", office, resolved, backMs);
      expect(resolved.data.sentence).toMatch(/^berlin \(wg2\) is back after \d+[ms]( \d+s)?$/);
      // On a slow machine the return is noticed late, and more than one reminder is due until then.
      const downMs = Date.parse(resolved.timestamp) - Date.parse(firing.timestamp);
      const reminders = office.told("office-down").slice(1, -1);
      expect(office.told("office-down")).toEqual(["firing", ...reminders, "resolved"]);
      expect(new Set(reminders)).toEqual(new Set(["reminder"]));
      expect(reminders.length).toBeLessThanOrEqual(downMs / REPEAT_MS);
    },
    TEST_MS,
  );

  test.concurrent(
    "a silence holds the alert back, which is sent when the silence ends earlier",
    async () => {
      await office.reports("peer.connected", madrid.publicKey);
      const words = ["silence", "add", "peer=mad*", "rule=maintained", "--for", "1h"];
      const added = await office.command(...words, "--comment", "a new router");
      const [, id] = /^([\w-]+): peer=mad\* and rule=maintained until /.exec(added) ?? [];
      expect(id).toBeDefined();
      await madrid.down();
      const held = await office.has("maintained", ({ heldBack }) => heldBack !== null);
      expect(held).toMatchObject({
        state: "firing",
        sent: false,
        heldBack: { type: "silence", silence: id!, comment: "a new router" },
      });
      expect(await office.command("alerts")).toMatch(/^held back .*madrid \(wg2\) is down/m);
      const explained = await office.command("alerts", "explain", held.id!);
      expect(explained).toContain("held back");
      expect(explained).toContain("a new router");
      expect(office.told("maintained")).toEqual([]);
      const endMs = performance.now();
      await office.command("silence", "expire", id!);
      delays.add("an expired silence", office, await office.tells("maintained", "firing"), endMs);
      expect(await office.command("silence", "list")).toBe("no silences\n");
      expect(office.told("maintained")).toEqual(["firing"]);
    },
    TEST_MS,
  );

  test.concurrent(
    "hours: a peer that connects outside its allowed times is an alert",
    async () => {
      const faultMs = performance.now();
      await oslo.connect();
      sending = setInterval(() => oslo.sendDatagram(), 3000);
      const firing = await office.tells("nights", "firing");
      delays.add("hours", office, firing, faultMs);
      expect(firing.data.sentence).toStartWith(
        `oslo (wg2) is connected from ${oslo.endpoint} outside its allowed hours; `,
      );
    },
    TEST_MS,
  );

  test.concurrent(
    "target: a receiver that answers 500 is an alert to the other target, which also receives the end",
    async () => {
      const firing = await office.tells("delivery", "firing");
      expect(firing.data).toMatchObject({ kind: "target", device: null, peer: null });
      expect(firing.data.alerts).toMatchObject([{ target: "broken" }]);
      expect(firing.data.sentence).toMatch(/^target broken has failed for \d+[ms]( \d+s)?: /);
      isBroken = false;
      const { data } = await office.tells("delivery", "resolved");
      expect(data.sentence).toBe("target broken works again");
      const aboutItself = ({ path, event }: (typeof receiver.requests)[number]) =>
        path === "/broken" &&
        event !== null &&
        "rule" in event.data &&
        event.data.rule === "delivery";
      expect(receiver.requests.filter(aboutItself)).toEqual([]);
      expect(office.told("delivery")).toEqual(["firing", "resolved"]);
    },
    TEST_MS,
  );

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
      delays.add("down, from the start after a crash", crashing, firing, startMs);
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
        const ping = ["ping", "-n", "-q", "-i", "0.05", "-s", "1000", "-c", `${count}`];
        await client.run(...ping, client.innerGateway);
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

  test(
    "the commands show the alerts, why they fired, and what the rules would have sent",
    async () => {
      const current = await office.command("alerts");
      expect(current).toMatch(/^firing .*nights/m);
      const { data } = await office.tells("office-down", "firing");
      const { id } = data.alerts[0]!;
      const past = (await office.command("alerts", "--since", "1h", "--json"))
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { id: string; rule: string; state: string });
      expect(past.find((alert) => alert.id === id)).toMatchObject({
        rule: "office-down",
        state: "resolved",
      });
      const explained = await office.command("alerts", "explain", id);
      for (const word of ["firing", "reminder", "resolved"]) {
        expect(explained).toMatch(
          new RegExp(`${word} +sent: pager .*delivered, broken .*delivered$`, "m"),
        );
      }
      const dry = past.find((alert) => alert.rule === "dry")!;
      expect(await office.command("alerts", "explain", dry.id)).toContain("dry_run");

      const replayed = await office.command("alerts", "test", "--since", "1h");
      for (const line of [
        /firing +office-down: berlin \(wg2\) is down: .*\(to pager, broken\)$/m,
        /resolved +office-down: berlin \(wg2\) is back after /m,
        /firing +nights: oslo \(wg2\) is connected from /m,
      ]) {
        expect(replayed).toMatch(line);
      }
    },
    TEST_MS,
  );

  test(
    "a reload with a changed rule ends the alert that the rule no longer causes",
    async () => {
      expect(office.told("nights")).toEqual(["firing"]);
      await office.configure(keys, rulesOf("00:00-24:00 UTC"));
      const startMs = performance.now();
      await office.reload();
      const resolved = await office.tells("nights", "resolved");
      delays.add("a reload", office, resolved, startMs);
      expect(resolved.data.sentence).toBe("the allowed hours of oslo (wg2) have begun");
    },
    TEST_MS,
  );

  test(
    "nothing else was reported, and no event has a secret key",
    async () => {
      const unexpected = office.unexpected({
        "office-down": office.told("office-down").length,
        maintained: 1,
        nights: 2,
        delivery: 2,
      });
      expect(unexpected).toEqual([]);
      // Three devices, and the preshared key of a peer, each as two texts.
      expect(secrets).toHaveLength(8);
      const bodies = receiver.requests.map(({ body }) => body);
      expect(bodies.filter((body) => secrets.some((secret) => body.includes(secret)))).toEqual([]);
      // Critical alerts are warnings, and so are the failures of the target.
      const isOther = ({ event, msg }: LogLine) =>
        event === undefined && !String(msg).startsWith("broken ");
      expect(office.wgmon.log.filter(isComplaint).filter(isOther)).toEqual([]);
      expect(await office.wgmon.stop()).toBe(0);
    },
    TEST_MS,
  );

  /** Deletes the device, and creates it with the same settings, as `systemctl restart wg-quick@wg1` does. */
  async function recreate({ name }: LabDevice): Promise<void> {
    const file = join(newStateFolder(), `${name}.conf`);
    await Bun.write(file, await $`wg showconf ${name}`.text(), { mode: 0o600 });
    const addresses = (await $`ip -o addr show dev ${name} scope global`.text())
      .trim()
      .split("\n")
      .map((line) => /inet6? (\S+)/.exec(line)![1]!);
    await $`ip link delete ${name}`;
    await $`ip link add ${name} type wireguard`;
    await $`wg setconf ${name} ${file}`;
    for (const address of addresses) await $`ip addr add ${address} dev ${name}`;
    await $`ip link set ${name} up`;
  }
});

/** An hour that begins in `hours` hours. */
function hoursFromNow(hours: number): string {
  const [from, to] = [hours, hours + 1].map((each) =>
    new Date(Date.now() + each * HOUR_MS).toISOString().slice(11, 16),
  );
  return `${from}-${to} UTC`;
}
