/**
 * Alerts at a gateway with real WireGuard: each kind of rule, with the fault that it is for. One wgmon has all rules but
 * one; the tests run concurrently, since they mostly wait. Prints the time from each fault to its alert.
 *
 * Serial, because the clock is set for a moment before wgmon starts, and because the times are measured.
 */
// @serial

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { $ } from "bun";

import type { AlertEvent } from "../../src/events/event-schema.ts";
import { AlertWatch, rule } from "../support/alert-watch.ts";
import { needs, whyNotOurMachine } from "../support/kernel.ts";
import { newKeys } from "../support/keys.ts";
import { type Client, type ClientOptions, Lab, type LabDevice } from "../support/lab.ts";
import { mmdb } from "../support/mmdb.ts";
import { Receiver } from "../support/receiver.ts";
import { secretsOf, texts } from "../support/secrets.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { isComplaint } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");
const notOurs = whyNotOurMachine();
const ours = notOurs === null ? "" : ` [skipped: ${notOurs}]`;

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** Keeps a client connected. */
const ALIVE = { keepaliveSeconds: 5 };
/** Longer than two sides repeat one handshake (REKEY_TIMEOUT, 5 s, messages.h), and rounded down to seconds by wg(8). */
const NEXT_HANDSHAKE_MS = 8000;

$.throws(true);

describe.skipIf(kernel.missing)(kernel.title("alerts"), () => {
  const receiver = new Receiver();
  const office = new AlertWatch(receiver, "office");
  const links = new AlertWatch(receiver, "links");
  /** Milliseconds from a fault to its alert. */
  const delays = new Map<string, number>();
  let isBroken = true;
  let lab: Lab;
  let wg0: LabDevice;
  let wg2: LabDevice;
  let peers: Record<keyof typeof roles, Client>;
  let keys: string;
  let rules: string;

  /** The peers of wg0 by name. */
  const roles = {
    anchor: ALIVE,
    berlin: ALIVE,
    madrid: ALIVE,
    rome: {},
    copied: {},
    oslo: ALIVE,
    traveller: ALIVE,
    kim: ALIVE,
    ghost: { endpointKnown: true },
    mallory: { wrongPresharedKey: true },
    old: { presharedKey: true },
  } satisfies Record<string, ClientOptions>;

  beforeAll(async () => {
    receiver.answer = ({ path }) => ({ status: path === "/broken" && isBroken ? 500 : 204 });
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    wg2 = await lab.device("wg2", { port: 51822 });
    const made: [string, Client][] = [];
    for (const [name, options] of Object.entries(roles)) {
      made.push([name, await wg0.client(name, options)]);
    }
    peers = Object.fromEntries(made) as typeof peers;
    if (notOurs === null) await connectDaysAgo(peers.old, 2);

    const folder = newStateFolder();
    const names = join(folder, "names");
    await mkdir(names);
    const sections = made.map(([name, { publicKey }]) => section(name, publicKey));
    await Bun.write(join(names, "wg0.conf"), sections.join(""));
    const places = join(folder, "places.mmdb");
    const { clientAddress } = peers.traveller.link;
    const countries = {
      [`${clientAddress}/32`]: { country: { iso_code: "DE" } },
      [`${nextAddress(clientAddress)}/32`]: { country: { iso_code: "FR" } },
    };
    await Bun.write(places, mmdb(countries));

    keys = `
      monitor = "bpf"
      interface = "any"
      device = "wg0"
      idle_timeout = "15s"
      tick = "1s"
      reconcile = "2s"
      report_unknown = true
      names = "${names}/"
      places = "${places}"
    `;
    rules = `
      [[target]]
      name = "broken"
      url = "${receiver.url("/broken")}"

      ${rule("office-down", "down", { peers: "berlin", for: "1s", wait: "1s", repeat: "10s" })}
      ${rule("dry", "down", { peers: "berlin", for: "1s", wait: "1s", dry_run: true })}
      ${rule("maintained", "down", { peers: "madrid", for: "1s", wait: "0s" })}
      ${rule("unstable", "flapping", { peers: "rome", disconnects: 1 })}
      ${rule("copies", "shared-key", { peers: "copied" })}
      ${rule("nights", "hours", { peers: "oslo", allowed: hoursFromNow(2) })}
      ${rule("abroad", "place", { peers: "traveller" })}
      ${rule("unused", "unused", { peers: "old", days: 1, at: timeOfDay(Date.now() + 2 * MINUTE_MS), time_zone: "UTC" })}
      ${rule("changes", "changed", { wait: "0s" })}
      ${rule("attempts", "handshakes", { peers: "mallory", messages: 2 })}
      ${rule("delivery", "target", { for: "1s" })}
    `;
    await office.configure(keys, rules);
    // The usual idle timeout and tick: how long they take is a part of what is tested.
    await links.configure(
      'monitor = "bpf"\ninterface = "any"\ndevice = "wg2"\n',
      rule("black-hole", "no-return-traffic", { peers: "*", steady_for: "10s" }),
    );
    await Promise.all([office.start(), links.start()]);
    for (const name of ["anchor", "berlin", "madrid", "kim"] as const) await peers[name].connect();
  }, TEST_MS);

  afterAll(async () => {
    const seconds = [...delays].map(([what, ms]) => `  ${what}: ${(ms / 1000).toFixed(1)} s`);
    console.log(`from the fault to the alert:\n${seconds.join("\n")}`);
    for (const watch of [office, links]) await watch[Symbol.asyncDispose]();
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  /** Lets a client connect while the clock is set back, so that the kernel's time of its handshake is that of then. */
  async function connectDaysAgo(client: Client, days: number): Promise<void> {
    const [wallMs, monotonicMs] = [Date.now(), performance.now()];
    const setClock = async (offsetMs: number) => {
      const nowMs = wallMs + (performance.now() - monotonicMs) + offsetMs;
      await $`date -s @${(nowMs / 1000).toFixed(3)}`.quiet();
    };
    try {
      await setClock(-days * DAY_MS);
      await client.connect();
    } finally {
      await setClock(0);
    }
  }

  /** Notes the time from a fault to the event, which was received first. */
  function measured(what: string, watch: AlertWatch, event: AlertEvent, faultMs: number): number {
    const ms = watch.receivedMs(event) - faultMs;
    delays.set(what, ms);
    return ms;
  }

  /** Waits until the client's latest handshake is so old that another one is not a repetition. */
  async function untilNextHandshake(client: Client): Promise<void> {
    const { latestHandshakeSeconds } = await wg0.state(client);
    const atMs = latestHandshakeSeconds! * 1000 + NEXT_HANDSHAKE_MS;
    await until("its handshake is old enough", () => Date.now() >= atMs);
  }

  test.concurrent(
    "down: a branch office whose link fails and returns is one alert, one reminder and one end",
    async () => {
      const { berlin } = peers;
      await office.reports("peer.connected", berlin.publicKey);
      const end = ["ip", "link", "set", berlin.link.clientInterface];
      const faultMs = performance.now();
      await berlin.run(...end, "down");
      const firing = await office.tells("office-down", "firing");
      measured("down", office, firing, faultMs);
      expect(firing.data).toMatchObject({
        kind: "down",
        severity: "critical",
        device: "wg0",
        peer: { publicKey: berlin.publicKey, name: "berlin", tags: [] },
        sentence: expect.stringMatching(
          /^berlin \(wg0\) is down: no data for \d+ seconds; check the peer and its network$/,
        ),
        cause: null,
        reminder: false,
        count: 1,
      });
      const reminder = await office.tells("office-down", "reminder");
      expect(reminder.data.sentence).toStartWith("still: berlin (wg0) is down: no data for ");
      expect(reminder.data.since).toBe(firing.data.since);
      expect(reminder.data.alerts[0]!.id).toBe(firing.data.alerts[0]!.id);
      const backMs = performance.now();
      await berlin.run(...end, "up");
      berlin.sendDatagram();
      const resolved = await office.tells("office-down", "resolved");
      measured("down: the end", office, resolved, backMs);
      expect(resolved.data.sentence).toMatch(/^berlin \(wg0\) is back after \d+ seconds$/);
      expect(office.told("office-down")).toEqual(["firing", "reminder", "resolved"]);
    },
    TEST_MS,
  );

  test.concurrent(
    "a silence holds the alert back, which is sent when the silence ends earlier",
    async () => {
      const { madrid } = peers;
      await office.reports("peer.connected", madrid.publicKey);
      const words = ["silence", "add", "peer=mad*", "rule=maintained", "--for", "1h"];
      const added = await office.command(...words, "--comment", "a new router");
      const [, id] = /^([\w-]+): peer=mad\* rule=maintained until /.exec(added) ?? [];
      expect(id).toBeDefined();
      await madrid.down();
      const held = await office.has("maintained", ({ heldBack }) => heldBack !== null);
      expect(held).toMatchObject({
        state: "firing",
        sent: false,
        heldBack: { type: "silence", silence: id!, comment: "a new router" },
      });
      expect(await office.command("alerts")).toMatch(/^held back .*madrid \(wg0\) is down/m);
      const explained = await office.command("alerts", "explain", held.id!);
      expect(explained).toContain("held back");
      expect(explained).toContain("a new router");
      expect(office.told("maintained")).toEqual([]);
      const endMs = performance.now();
      await office.command("silence", "expire", id!);
      measured("an expired silence", office, await office.tells("maintained", "firing"), endMs);
      expect(await office.command("silence", "list")).toBe("no silences\n");
      expect(office.told("maintained")).toEqual(["firing"]);
    },
    TEST_MS,
  );

  test.concurrent(
    "flapping: a peer that was disconnected twice is an alert",
    async () => {
      const { rome } = peers;
      for (let count = 1; count <= 2; count++) {
        await rome.forgetSession();
        await rome.connect();
        await office.reports("peer.connected", rome.publicKey, count);
        expect(office.told("unstable")).toEqual([]);
        await office.reports("peer.disconnected", rome.publicKey, count);
      }
      const { data } = await office.tells("unstable", "firing");
      expect(data.sentence).toStartWith("rome (wg0) was disconnected 2 times within 1 hour: ");
    },
    TEST_MS,
  );

  test.concurrent(
    "shared-key: two machines with one private key in turns are an alert with both endpoints",
    async () => {
      const { copied } = peers;
      const copy = await wg0.client("copy", { sharesKeyWith: copied, ownNamespace: true });
      await copied.connect();
      await office.reports("peer.connected", copied.publicKey);
      const faultMs = performance.now();
      for (let turn = 1; turn <= 3; turn++) {
        await untilNextHandshake(copied);
        expect(office.told("copies")).toEqual([]);
        const client = turn % 2 === 1 ? copy : copied;
        await client.forgetSession();
        await client.connect();
        await office.reports("peer.roamed", copied.publicKey, turn);
      }
      const firing = await office.tells("copies", "firing");
      measured("shared-key, from the first turn", office, firing, faultMs);
      expect(firing.data).toMatchObject({ severity: "critical", count: 1 });
      const [a, b] = [copied.endpoint, copy.endpoint].sort();
      expect(firing.data.sentence).toStartWith(
        `copied (wg0) is used from two places in turns, ${a} and ${b}: `,
      );
    },
    TEST_MS,
  );

  test.concurrent(
    "hours: a peer that connects outside its allowed times is an alert",
    async () => {
      const { oslo } = peers;
      const faultMs = performance.now();
      await oslo.connect();
      const firing = await office.tells("nights", "firing");
      measured("hours", office, firing, faultMs);
      expect(firing.data.sentence).toStartWith(
        `oslo (wg0) is connected from ${oslo.endpoint} outside its allowed hours: `,
      );
    },
    TEST_MS,
  );

  test.concurrent(
    "place: a peer that roams to another country is an alert, and its first country is none",
    async () => {
      const { traveller } = peers;
      await traveller.connect();
      await office.reports("peer.connected", traveller.publicKey);
      await traveller.roam("address");
      const faultMs = performance.now();
      traveller.sendDatagram();
      const firing = await office.tells("abroad", "firing");
      measured("place", office, firing, faultMs);
      const address = traveller.link.clientAddress;
      expect(firing.data.sentence).toStartWith(
        `traveller (wg0) is connected from FR for the first time: ${address}; `,
      );
      expect(office.told("abroad")).toEqual(["firing"]);
    },
    TEST_MS,
  );

  test.skipIf(notOurs !== null).concurrent(
    `unused: a peer whose last handshake was two days ago is in the summary of the day${ours}`,
    async () => {
      const { data } = await office.tells("unused", "firing");
      expect(data).toMatchObject({
        severity: "info",
        sentence: "old (wg0) was not connected for 2 days: remove it if it is not needed",
        count: 1,
      });
    },
    TEST_MS,
  );

  test.concurrent(
    "changed: what another program sets with wg(8) is an alert each",
    async () => {
      const { ghost, kim } = peers;
      const [first, second] = kim.allowedIps;
      const added = newKeys().publicKey;
      const short = `${added.slice(0, 8)}… (wg0)`;
      await office.reports("peer.connected", kim.publicKey);
      const remedy = "; if that was not intended, check who changed the device";
      const set = async (who: string, ...words: readonly string[]) =>
        void (await $`wg set wg0 peer ${who} ${words}`);
      const steps = [
        [
          "changed: allowed IPs",
          () => set(kim.publicKey, "allowed-ips", first!),
          `the allowed IPs of kim (wg0) were changed: ${first}, ${second} -> ${first}`,
        ],
        [
          "changed: added",
          () => set(added, "allowed-ips", "10.250.0.9/32"),
          `${short} was added with 10.250.0.9/32`,
        ],
        ["changed: removed", () => set(added, "remove"), `${short} was removed`],
        [
          "changed: endpoint",
          () => set(ghost.publicKey, "endpoint", "192.0.2.7:1000"),
          `the endpoint of ghost (wg0) was set: ${ghost.endpoint} -> 192.0.2.7:1000`,
        ],
        [
          "changed: keep-alive",
          () => set(kim.publicKey, "persistent-keepalive", "21"),
          "the keep-alive interval of kim (wg0) was changed: 0 s -> 21 s",
        ],
      ] as const;
      for (const [index, [what, change, sentence]] of steps.entries()) {
        const faultMs = performance.now();
        await change();
        const firing = await office.tells("changes", "firing", index + 1);
        measured(what, office, firing, faultMs);
        expect(firing.data.sentence).toBe(sentence + remedy);
      }
    },
    TEST_MS,
  );

  test.concurrent(
    "handshakes: attempts with a wrong preshared key are an alert of the device",
    async () => {
      const faultMs = performance.now();
      peers.mallory.sendDatagram();
      const firing = await office.tells("attempts", "firing");
      measured("handshakes", office, firing, faultMs);
      expect(firing.data).toMatchObject({ kind: "handshakes", device: "wg0", peer: null });
      expect(firing.data.sentence).toMatch(
        /^wg0: \d+ handshake messages within 10 minutes from .* that no peer completed; /,
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
      expect(firing.data.sentence).toMatch(/^target broken has failed for \d+ seconds: /);
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
    "no-return-traffic: a busy link whose return path drops everything is an alert, and its repair is the end",
    async () => {
      const client = await wg2.client("hole");
      await client.connect();
      await links.reports("peer.connected", client.publicKey);
      const { innerGateway, innerAddress } = client;
      await using ping = Bun.spawn(
        ["ping", "-n", "-q", "-i", "0.2", "-I", innerGateway, innerAddress],
        { stdin: "ignore", stdout: "ignore", stderr: "inherit" },
      );
      // The link is busy after six ticks with data in both directions. The fault comes just after a tick.
      const wanted = links.scans("tick") + 8;
      await until("the link is known", () => links.scans("tick") >= wanted);
      const faultMs = performance.now();
      const queue = ["dev", client.link.clientInterface, "root"];
      await client.run("tc", "qdisc", "add", ...queue, "netem", "loss", "100%");
      const firing = await links.tells("black-hole", "firing");
      const ms = measured("no-return-traffic", links, firing, faultMs);
      expect(ms).toBeLessThan(30_000);
      expect(firing.data.severity).toBe("critical");
      expect(firing.data.sentence).toMatch(
        /hole.* \(wg2\) receives nothing, or its answers are lost: data was sent, none came back for \d+ seconds; /,
      );
      const repairMs = performance.now();
      await client.run("tc", "qdisc", "del", ...queue);
      measured(
        "no-return-traffic: the end",
        links,
        await links.tells("black-hole", "resolved"),
        repairMs,
      );
      ping.kill();
      expect(links.alerts()).toHaveLength(2);
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
        expect(explained).toMatch(new RegExp(`${word} .*sent to pager delivered`));
      }
      const dry = past.find((alert) => alert.rule === "dry")!;
      expect(await office.command("alerts", "explain", dry.id)).toContain("dry_run");

      const replayed = await office.command("alerts", "test", "--since", "1h");
      for (const line of [
        /firing +office-down: berlin \(wg0\) is down: .*\(to pager, broken\)$/m,
        /resolved +office-down: berlin \(wg0\) is back after /m,
        /firing +unstable: rome \(wg0\) was disconnected 2 times/m,
        /firing +nights: oslo \(wg0\) is connected from /m,
        /firing +abroad: traveller \(wg0\) is connected from FR/m,
        /firing +attempts: wg0: \d+ handshake messages/m,
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
      const changed = rules.replace(hoursOf(rules), "00:00-24:00 UTC");
      await office.configure(keys, changed);
      const startMs = performance.now();
      await office.reload();
      const resolved = await office.tells("nights", "resolved");
      measured("a reload", office, resolved, startMs);
      expect(resolved.data.sentence).toBe("the allowed hours of oslo (wg0) have begun");
    },
    TEST_MS,
  );

  test(
    "nothing else was told, and no event has a secret key",
    async () => {
      const told = Object.groupBy(office.alerts(), ({ data }) => data.rule);
      const counts = Object.entries(told).map(([name, events]) => [name, events!.length]);
      expect(Object.fromEntries(counts)).toEqual({
        "office-down": 3,
        maintained: 1,
        unstable: 1,
        copies: 1,
        nights: 2,
        abroad: 1,
        ...(notOurs === null ? { unused: 1 } : {}),
        changes: 5,
        attempts: 1,
        delivery: 2,
      });
      const secrets = [...(await secretsOf("wg0")), ...(await secretsOf("wg2"))].flatMap(texts);
      // Two devices, and the preshared keys of two peers.
      expect(secrets).toHaveLength(8);
      const bodies = receiver.requests.map(({ body }) => body);
      expect(bodies.filter((body) => secrets.some((secret) => body.includes(secret)))).toEqual([]);
      for (const { wgmon } of [office, links]) {
        expect(wgmon.log.filter(isComplaint)).toEqual([]);
        expect(await wgmon.stop()).toBe(0);
      }
    },
    TEST_MS,
  );
});

/** A section of a file of wg-quick, whose comment is the name. */
function section(name: string, publicKey: string): string {
  return `[Peer]\n# ${name}\nPublicKey = ${publicKey}\n`;
}

/** An hour that begins in `hours` hours. */
function hoursFromNow(hours: number): string {
  const [from, to] = [hours, hours + 1].map((each) =>
    timeOfDay(Date.now() + each * 60 * MINUTE_MS),
  );
  return `${from}-${to} UTC`;
}

function hoursOf(tables: string): string {
  return /allowed = "(.*)"/.exec(tables)![1]!;
}

/** `14:05`, in UTC. */
function timeOfDay(atMs: number): string {
  return new Date(atMs).toISOString().slice(11, 16);
}

/** The address that a client of the lab has after it has roamed once. */
function nextAddress(address: string): string {
  return address.replace(/\d+$/, (host) => String(Number(host) + 1));
}
