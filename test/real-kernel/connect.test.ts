/**
 * A peer connects at a gateway with real WireGuard: each wgmon, with different capture settings, reports it once. All
 * of them run during each test. They scan only after packets, otherwise once an hour, so that only packets can be the
 * reason for a report.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { type Event, EventSchema } from "../../src/events/event-schema.ts";
import { needs } from "../support/kernel.ts";
import { type Client, type ClientOptions, Lab, type LabDevice } from "../support/lab.ts";
import { Receiver } from "../support/receiver.ts";
import { REPORT_MS, TEST_MS } from "../support/until.ts";
import { isComplaint, type LogLine, startWgmon, type Wgmon } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

const BY_PACKETS = ["--reconcile", "0", "--tick", "1h", "--idle-timeout", "1h"];
const BPF = ["--monitor", "bpf", "--interface", "any"];
const OWN_FILTER = "udp and dst port 51820";

/** The flags of each wgmon, by name; the first three capture handshakes of both devices. */
const ways = {
  "nflog, every datagram": [...BY_PACKETS, "--monitor", "nflog", "--group", "1"],
  // No rule logs to this group: the default filter of bpf.
  "auto, without rules": [...BY_PACKETS, "--group", "9"],
  // Rules log handshakes to this group.
  "auto, with rules": [...BY_PACKETS, "--group", "7"],
  "bpf, own filter": [...BY_PACKETS, ...BPF, "--filter", OWN_FILTER, "--device", "wg0"],
  poll: ["--reconcile", "0", "--monitor", "poll", "--tick", "500ms", "--idle-timeout", "1h"],
  "one device": [...BY_PACKETS, "--monitor", "nflog", "--group", "3", "--device", "wg1"],
};

/** These have a second webhook, in the format of the Go program. */
const ALL_PACKETS: readonly string[] = ["nflog, every datagram", "auto, without rules"];
const BOTH_DEVICES = [...ALL_PACKETS, "auto, with rules", "poll"];
const FIRST_DEVICE = [...BOTH_DEVICES, "bpf, own filter"];

describe.skipIf(kernel.missing)(kernel.title("a peer that connects"), () => {
  const receiver = new Receiver();
  const running = new Map<string, Wgmon>();
  const clients: Client[] = [];
  let lab: Lab;
  let wg0: LabDevice;
  let wg1: LabDevice;

  beforeAll(async () => {
    FormatRegistry.Set("date-time", (text) => new Date(text).toJSON() === text);
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    wg1 = await lab.device("wg1", { port: 51821 });
    for (const { port } of [wg0, wg1]) {
      await lab.addPlainRule(port, 1);
      await lab.addPlainRule(port, 3);
      await lab.addHandshakeRules(port, 7);
    }
    for (const [way, args] of Object.entries(ways)) start(way, args);
    for (const wgmon of running.values()) await wgmon.ready;
  }, TEST_MS);

  afterAll(async () => {
    for (const wgmon of running.values()) await wgmon[Symbol.asyncDispose]();
    receiver[Symbol.dispose]();
    lab[Symbol.dispose]();
  });

  function start(way: string, args: readonly string[]): Wgmon {
    const formats = ALL_PACKETS.includes(way) ? ["", "form:"] : [""];
    const webhooks = formats.flatMap((format) => [
      "--webhook",
      `${format}${receiver.url(`/${format}${encodeURIComponent(way)}`)}`,
    ]);
    const wgmon = startWgmon([...args, ...webhooks, "--host", "gw-test"]);
    running.set(way, wgmon);
    return wgmon;
  }

  async function newClients(device: LabDevice, names: string[], options?: ClientOptions) {
    const made = await device.clients(names, options);
    clients.push(...made);
    return made;
  }

  async function newClient(device: LabDevice, name: string, options?: ClientOptions) {
    return (await newClients(device, [name], options))[0]!;
  }

  /** The events of the client from one wgmon; a repeated event only once. */
  function eventsOf(client: Client, way: string): Event[] {
    const events = receiver.requests
      .filter(({ path }) => path === pathOf(way))
      .map(({ event }) => event!)
      .filter(({ data }) => "session" in data && data.peer.publicKey === client.publicKey);
    return [...new Map(events.map((event) => [event.id, event])).values()];
  }

  function peersOf(way: string): string[] {
    return receiver.requests.flatMap(({ path, event }) =>
      path === pathOf(way) && event !== null && "session" in event.data
        ? [event.data.peer.publicKey]
        : [],
    );
  }

  async function waitForReports(wanted: readonly Client[], from: readonly string[]) {
    for (const way of from) {
      const missing = () => {
        const reported = new Set(peersOf(way));
        return wanted.filter(({ publicKey }) => !reported.has(publicKey));
      };
      await receiver
        .waitFor(() => missing().length === 0, REPORT_MS)
        .catch((error: Error) => {
          const names = missing().map(({ name }) => name);
          const log = running.get(way)!.logText;
          throw new Error(`${way}, ${names.join(", ")}: ${error.message}; it logged:\n${log}`);
        });
    }
  }

  /** Waits for a connect event from each wgmon, which must be the client's only event and correct. */
  async function expectReport(client: Client, device: LabDevice, from: readonly string[]) {
    await waitForReports([client], from);
    for (const way of from) {
      expect({ way, events: eventsOf(client, way) }).toMatchObject({
        way,
        events: [
          {
            type: "peer.connected",
            host: "gw-test",
            data: {
              device: device.name,
              peer: { name: null, allowedIps: client.allowedIps, endpoint: client.endpoint },
              initial: false,
            },
          },
        ],
      });
    }
  }

  test("auto selects nflog if rules log the ports, and bpf otherwise", async () => {
    /** The log line "ready". Restarts wgmon if the firewall's programs did not answer within three seconds. */
    const ready = async (way: string): Promise<LogLine> => {
      const wgmon = running.get(way)!;
      const line = await wgmon.ready;
      if (!/timed out/.test(String(line["reason"]))) return line;
      await wgmon.stop();
      start(way, ways[way as keyof typeof ways]);
      return await ready(way);
    };
    expect(await ready("auto, with rules")).toMatchObject({ monitor: "nflog", group: 7 });
    expect(await ready("auto, without rules")).toMatchObject({ monitor: "bpf", interface: "any" });
  });

  describe.each([4, 6] as const)("IPv%i", (family) => {
    test(
      `a peer that connects with one datagram over IPv${family} is reported`,
      async () => {
        const alice = await newClient(wg0, `alice over IPv${family}`, { family });
        alice.sendDatagram();
        await expectReport(alice, wg0, FIRST_DEVICE);
      },
      TEST_MS,
    );

    test(
      `a peer that connects with ping and a preshared key over IPv${family} is reported`,
      async () => {
        const options = { family, presharedKey: true } as const;
        const bob = await newClient(wg0, `bob over IPv${family}`, options);
        expect(await bob.ping(3)).toBe(3);
        await expectReport(bob, wg0, FIRST_DEVICE);
      },
      TEST_MS,
    );
  });

  test(
    "the event peer.connected is valid against the schema, and has the start of the session",
    async () => {
      const carol = await newClient(wg0, "carol");
      const beforeMs = Date.now();
      carol.sendDatagram();
      await waitForReports([carol], FIRST_DEVICE);
      for (const way of FIRST_DEVICE) {
        const event = eventsOf(carol, way)[0]!;
        expect([...Value.Errors(EventSchema, event)]).toEqual([]);
        if (event.type !== "peer.connected") throw new Error(event.type);
        const { session } = event.data;
        expect(event.timestamp).toBe(session.startedAt);
        // The kernel's handshake time comes from a coarse clock, which may lag by some milliseconds.
        expect(Date.parse(session.startedAt)).toBeGreaterThan(beforeMs - 10);
        expect(Date.parse(session.startedAt)).toBeLessThanOrEqual(Date.now());
        expect(session.roams).toBe(0);
      }
    },
    TEST_MS,
  );

  test(
    "a form webhook gets the body that the Go program sent",
    async () => {
      const dave = await newClient(wg0, "dave");
      dave.sendDatagram();
      const content = `Connection wg0:${dave.publicKey} on endpoint ${dave.endpoint} is opened`;
      const body = new URLSearchParams({ content }).toString();
      for (const way of ALL_PACKETS) {
        const path = `/form:${encodeURIComponent(way)}`;
        const isReport = (request: { path: string; body: string }) =>
          request.path === path && request.body === body;
        await receiver.waitFor((requests) => requests.some(isReport), REPORT_MS);
        const [report] = receiver.requests.filter(isReport);
        expect(report!.headers.get("content-type")).toBe("application/x-www-form-urlencoded");
      }
    },
    TEST_MS,
  );

  test(
    "a peer that connects through a VLAN is reported, captured on all interfaces and on the parent interface only",
    async () => {
      const erin = await newClient(wg0, "erin", { vlan: 7 });
      const { name: parent } = erin.link;
      await start("bpf, parent", [...BY_PACKETS, "--monitor", "bpf", "--interface", parent]).ready;
      erin.sendDatagram();
      await expectReport(erin, wg0, [...FIRST_DEVICE, "bpf, parent"]);
    },
    TEST_MS,
  );

  test(
    "two peers that connect at two devices, from one address, are reported",
    async () => {
      const [frank] = await newClients(wg0, ["frank"]);
      const [grace] = await newClients(wg1, ["grace"], { sharesLinkWith: frank! });
      frank!.sendDatagram();
      grace!.sendDatagram();
      await expectReport(frank!, wg0, FIRST_DEVICE);
      await expectReport(grace!, wg1, BOTH_DEVICES);
      // This wgmon watches the second device only.
      await expectReport(grace!, wg1, ["one device"]);
      expect(eventsOf(frank!, "one device")).toEqual([]);
    },
    TEST_MS,
  );

  // With the longest round trip, all scans after the initiation are too early: only the packet that
  // completes the handshake can cause the report.
  test.each([0, 40, 300, 4000])(
    "a peer that connects with a round trip of %i ms is reported",
    async (roundTripMs) => {
      const heidi = await newClient(wg0, `heidi, ${roundTripMs} ms away`, { roundTripMs });
      heidi.sendDatagram();
      await expectReport(heidi, wg0, FIRST_DEVICE);
    },
    TEST_MS,
  );

  test(
    "a peer is reported when the packet that completes the handshake is lost and a later one completes it",
    async () => {
      const ivan = await newClient(wg0, "ivan");
      await ivan.loseFirstDatagrams();
      // The first ping is lost, the others arrive.
      expect(await ivan.ping(4)).toBeGreaterThan(0);
      await expectReport(ivan, wg0, FIRST_DEVICE);
      await ivan.keepFirstDatagrams();
    },
    TEST_MS,
  );

  test(
    "a peer is reported when the gateway initiates the handshake",
    async () => {
      const judy = await newClient(wg0, "judy", { endpointKnown: true });
      wg0.sendTo(judy);
      // Rules that do not log responses log the peer's first data, a keepalive ten seconds later.
      await expectReport(judy, wg0, FIRST_DEVICE);
    },
    TEST_MS,
  );

  test(
    "fifty peers that connect at the same time are reported",
    async () => {
      // Until its port is configured, each device has a port that the kernel chooses: it must not be
      // the port of another client.
      const range = "echo 50000 60999 >/proc/sys/net/ipv4/ip_local_port_range";
      await clients[0]!.run("sh", "-c", range);
      const many = await newClients(
        wg0,
        Array.from({ length: 50 }, (_, i) => `mike ${i}`),
      );
      for (const client of many) client.sendDatagram();
      await waitForReports(many, FIRST_DEVICE);
      for (const client of many) await expectReport(client, wg0, FIRST_DEVICE);
    },
    TEST_MS,
  );

  test(
    "no wgmon has reported anything else in all tests",
    async () => {
      for (const [way, wgmon] of running) {
        // wgmon sends pending events before it exits.
        expect({ way, exitCode: await wgmon.stop() }).toEqual({ way, exitCode: 0 });
        const complaints = wgmon.log.filter(isComplaint);
        expect({ way, complaints }).toEqual({ way, complaints: [] });
      }
      for (const way of running.keys()) {
        const counts = clients.map((client) => [client.name, eventsOf(client, way).length]);
        expect({ way, twice: counts.filter(([, count]) => Number(count) > 1) }).toEqual({
          way,
          twice: [],
        });
      }
      const types = new Set(receiver.requests.flatMap(({ event }) => event?.type ?? []));
      expect([...types]).toEqual(["peer.connected"]);
    },
    TEST_MS,
  );
});

function pathOf(way: string): string {
  return `/${encodeURIComponent(way)}`;
}
