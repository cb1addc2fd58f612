/**
 * Alerts at a gateway with real WireGuard: kinds of rules, each with the fault that it is for; others are in
 * alerts-running.test.ts. The tests run concurrently, since they mostly wait. Prints the time from each fault to its alert.
 *
 * Serial, because the clock is set for a moment before wgmon starts, and because the times are measured.
 */
// @serial

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { $ } from "bun";

import { AlertWatch, Delays, rule } from "../support/alert-watch.ts";
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
/** Tolerance for a scan and a delivery on an emulated processor. */
const SLACK_MS = 2000;
const SHORT = `
  monitor = "bpf"
  interface = "any"
  idle_timeout = "15s"
  tick = "1s"
  reconcile = "2s"
`;
/** Keeps a client connected. */
const ALIVE = { keepaliveSeconds: 5 };
/** Longer than two sides repeat one handshake (REKEY_TIMEOUT, 5 s, messages.h), and rounded down to seconds by wg(8). */
const NEXT_HANDSHAKE_MS = 8000;

$.throws(true);

describe.skipIf(kernel.missing)(kernel.title("alerts"), () => {
  const receiver = new Receiver();
  const office = new AlertWatch(receiver, "office");
  /** Rules about black holes: with the usual tick, and with a short one. */
  const links = new AlertWatch(receiver, "links");
  const quickLinks = new AlertWatch(receiver, "quick-links");
  const delays = new Delays();
  let lab: Lab;
  let wg0: LabDevice;
  /** The only peer of wg2. */
  let client: Client;
  let peers: Record<keyof typeof roles, Client>;

  /** The peers of wg0 by name. */
  const roles = {
    anchor: ALIVE,
    rome: {},
    copied: {},
    traveller: ALIVE,
    kim: ALIVE,
    ghost: { endpointKnown: true },
    mallory: { wrongPresharedKey: true },
    old: { presharedKey: true },
  } satisfies Record<string, ClientOptions>;

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    const wg2 = await lab.device("wg2", { port: 51822 });
    client = await wg2.client("hole");
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

    await office.configure(
      `${SHORT}\ndevice = "wg0"\nreport_unknown = true\nnames = "${names}/"\nplaces = "${places}"`,
      [
        rule("unstable", "flapping", { peers: "rome", disconnects: 1 }),
        rule("copies", "shared-key", { peers: "copied" }),
        rule("abroad", "place", { peers: "traveller" }),
        rule("unused", "unused", { peers: "old", days: 1, at: timeOfDay(2 * MINUTE_MS) }),
        rule("changes", "changed", { wait: "0s" }),
        rule("attempts", "handshakes", { peers: "mallory", messages: 2 }),
      ].join(""),
    );
    for (const [watch, tick] of [
      [links, ""],
      [quickLinks, 'tick = "1s"'],
    ] as const) {
      await watch.configure(
        `monitor = "bpf"\ninterface = "any"\ndevice = "wg2"\n${tick}`,
        rule("black-hole", "no-return-traffic", { peers: "*", steady_for: "5s" }),
      );
    }
    for (const watch of [office, links, quickLinks]) await watch.start();
    for (const name of ["anchor", "kim"] as const) await peers[name].connect();
  }, TEST_MS);

  afterAll(async () => {
    delays.print();
    for (const watch of [office, links, quickLinks]) await watch[Symbol.asyncDispose]();
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

  /** Waits until the client's latest handshake is so old that another one is not a repetition. */
  async function untilNextHandshake(client: Client): Promise<void> {
    const { latestHandshakeSeconds } = await wg0.state(client);
    const atMs = latestHandshakeSeconds! * 1000 + NEXT_HANDSHAKE_MS;
    await until("its handshake is old enough", () => Date.now() >= atMs);
  }

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
      expect(data.sentence).toStartWith("rome (wg0) was disconnected 2 times within 1h; ");
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
      // The machine that lost its keys soon makes a handshake by itself, which may be a turn more.
      for (let turn = 1; turn <= 3; turn++) {
        await untilNextHandshake(copied);
        const client = turn % 2 === 1 ? copy : copied;
        await client.forgetSession();
        await client.connect();
        await office.reports("peer.roamed", copied.publicKey, turn);
      }
      const firing = await office.tells("copies", "firing");
      delays.add("shared-key, from the first turn", office, firing, faultMs);
      expect(firing.data).toMatchObject({ severity: "critical", count: 1 });
      const [a, b] = [copied.endpoint, copy.endpoint].sort();
      expect(firing.data.sentence).toStartWith(
        `the key of copied (wg0) is used from two places in turns, ${a} and ${b}: `,
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
      delays.add("place", office, firing, faultMs);
      const address = traveller.link.clientAddress;
      expect(firing.data.sentence).toStartWith(
        `traveller (wg0) is connected from FR for the first time, with the address ${address}; `,
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
        sentence: "old (wg0) was not connected for 2d; remove it if it is not needed",
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
        delays.add(what, office, firing, faultMs);
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
      delays.add("handshakes", office, firing, faultMs);
      expect(firing.data).toMatchObject({ kind: "handshakes", device: "wg0", peer: null });
      expect(firing.data.sentence).toMatch(
        /^wg0 received \d+ handshake messages from .* within 10m that no peer completed; /,
      );
    },
    TEST_MS,
  );

  test.concurrent(
    "no-return-traffic: a busy link whose return path drops everything is an alert, and its repair is the end",
    async () => {
      await client.connect();
      await links.reports("peer.connected", client.publicKey);
      const { innerGateway, innerAddress } = client;
      await using ping = Bun.spawn(
        ["ping", "-n", "-q", "-i", "0.2", "-I", innerGateway, innerAddress],
        { stdin: "ignore", stdout: "ignore", stderr: "inherit" },
      );
      // The link is steady after six ticks with data in both directions. The fault comes just after a tick.
      const wanted = links.scans("tick") + 8;
      await until("the link is known", () => links.scans("tick") >= wanted);
      const faultMs = performance.now();
      const queue = ["dev", client.link.clientInterface, "root"];
      await client.run("tc", "qdisc", "add", ...queue, "netem", "loss", "100%");
      // The next tick still shows an answer, and the second one none.
      for (const [what, watch, maxMs] of [
        ["no-return-traffic, ticks of 1 s", quickLinks, 20_000],
        ["no-return-traffic, ticks of 10 s", links, 20_000 + SLACK_MS],
      ] as const) {
        const firing = await watch.tells("black-hole", "firing");
        expect(delays.add(what, watch, firing, faultMs)).toBeLessThan(maxMs);
        expect(firing.data.severity).toBe("critical");
        expect(firing.data.sentence).toMatch(
          / \(wg2\) does not answer: data was sent to it, and none came back for \d+[ms]( \d+s)?; /,
        );
      }
      const repairMs = performance.now();
      await client.run("tc", "qdisc", "del", ...queue);
      for (const watch of [quickLinks, links]) {
        const resolved = await watch.tells("black-hole", "resolved");
        delays.add(
          watch === links ? "its end" : "its end, ticks of 1 s",
          watch,
          resolved,
          repairMs,
        );
        expect(watch.told("black-hole")).toEqual(["firing", "resolved"]);
      }
      ping.kill();
    },
    TEST_MS,
  );

  test(
    "nothing else was reported, and no event has a secret key",
    async () => {
      const unexpected = office.unexpected({
        unstable: 1,
        copies: 1,
        abroad: 1,
        ...(notOurs === null ? { unused: 1 } : {}),
        changes: 5,
        attempts: 1,
      });
      expect(unexpected).toEqual([]);
      const secrets = [...(await secretsOf("wg0")), ...(await secretsOf("wg2"))].flatMap(texts);
      // Two devices, and the preshared keys of two peers.
      expect(secrets).toHaveLength(8);
      const bodies = receiver.requests.map(({ body }) => body);
      expect(bodies.filter((body) => secrets.some((secret) => body.includes(secret)))).toEqual([]);
      for (const { wgmon } of [office, links, quickLinks]) {
        // Critical alerts are warnings.
        const complaints = wgmon.log.filter(isComplaint).filter(({ event }) => event === undefined);
        expect(complaints).toEqual([]);
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

/** The time of day in UTC, some time from now: `14:05`. */
function timeOfDay(fromNowMs: number): string {
  return new Date(Date.now() + fromNowMs).toISOString().slice(11, 16);
}

/** The address that a client of the lab has after it has roamed once. */
function nextAddress(address: string): string {
  return address.replace(/\d+$/, (host) => String(Number(host) + 1));
}
