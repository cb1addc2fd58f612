/**
 * The rules of `wgmon rules` at a gateway with real WireGuard: they recognise its handshakes by their indexes, and log
 * its responses and the packets that complete a handshake, but no forged packets.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import { systemClock } from "../../src/base/clock.ts";
import { formatEndpoint, MessageType } from "../../src/base/wireguard.ts";
import type { Capture } from "../../src/capture/capture.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { runRules } from "../../src/cli/rules.ts";
import { removeRules } from "../../src/firewall/nft.ts";
import { Devices } from "../../src/kernel/devices.ts";
import { Forger } from "../support/forged.ts";
import { needs } from "../support/kernel.ts";
import { type Client, Lab, type LabDevice } from "../support/lab.ts";
import { data, initiation, response } from "../support/packets.ts";
import { passAllLogged } from "../support/unfiltered.ts";
import { REPORT_MS, TEST_MS, until } from "../support/until.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

const GROUP = 60;

describe.skipIf(kernel.missing)(kernel.title("rules made by wgmon"), () => {
  let lab: Lab;
  let wg0: LabDevice;
  let group: Capture;
  /** Logged messages with their source (`data 10.128.1.2:40001`), or `sent response` with its destination. */
  let logged: string[] = [];
  let onLogged = () => {};
  const allClients: Client[] = [];

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    using devices = new Devices([]);
    let printed = "";
    const print = (text: string) => void (printed += `${text}\n`);
    const warn = (text: string) => expect(text).toBe("");
    const request = { action: "install", devices: ["wg0"], group: GROUP } as const;
    expect(await runRules(request, { devices, print, warn })).toBe(0);
    expect(printed).toContain("handshakes to port 51820");
    const note = (bytes: Uint8Array, way: "received" | "sent") => {
      const { type, isFirstData, ...from } = parsePacket(bytes, way)!;
      const { sourceAddress: address, sourcePort: port } = from;
      const name = Object.entries(MessageType).find(([, number]) => number === type)![0];
      const what = type === MessageType.data && !isFirstData ? "later data" : name;
      const endpoint = formatEndpoint({ address, port, scopeId: 0 });
      logged.push(`${way === "sent" ? "sent " : ""}${what} ${endpoint}`);
      onLogged();
    };
    group = await openGroup(GROUP, systemClock, {
      onReceived: (bytes) => note(bytes, "received"),
      onSent: (bytes) => note(bytes, "sent"),
      onPacketsLost(reason) {
        throw new Error(reason);
      },
    });
    passAllLogged();
  }, TEST_MS);

  beforeEach(() => {
    logged = [];
  });

  afterAll(async () => {
    group.close();
    await removeRules(GROUP);
    lab[Symbol.dispose]();
  });

  async function newClients(...args: Parameters<LabDevice["clients"]>): Promise<Client[]> {
    const clients = await wg0.clients(...args);
    allClients.push(...clients);
    return clients;
  }

  async function isLogged(what: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => reject(new Error(`not logged: ${what}`)), REPORT_MS);
    onLogged = () => {
      if (logged.includes(what)) resolve();
    };
    onLogged();
    await promise;
    clearTimeout(timer);
  }

  /** Runs `act` while forged copies of `message` with random indexes flood the port. */
  async function underFlood(message: Uint8Array, act: () => Promise<void>): Promise<void> {
    using forger = new Forger(4);
    const indexAt = message[0] === MessageType.response ? 8 : 4;
    const vary = (bytes: Uint8Array) =>
      void crypto.getRandomValues(bytes.subarray(indexAt, indexAt + 4));
    const flood = () => forger.flood(message, { count: 20, port: wg0.port, vary });
    for (let round = 0; round < 50; round++) flood();
    const timer = setInterval(flood, 10);
    await act();
    clearInterval(timer);
  }

  /** Logged messages of unknown addresses. Clients of all tests are known, since they may still send packets. */
  function forged(): string[] {
    const known = new Set(allClients.map(({ endpoint }) => endpoint));
    return logged.filter((line) => !known.has(line.slice(line.lastIndexOf(" ") + 1)));
  }

  test.each([
    ["first data", data(0)],
    ["initiations", initiation()],
  ] as const)(
    "while forged %s flood the port, each peer's response and first data are logged",
    async (name, message) => {
      const names = Array.from({ length: 6 }, (_, i) => `v4-${name}-${i}`);
      const clients = await newClients(names);
      clients.push(...(await newClients([`v6-${name}`], { family: 6 })));
      await underFlood(message, async () => {
        for (const client of clients) {
          await client.connect();
          await isLogged(`data ${client.endpoint}`);
        }
      });
      for (const { endpoint } of clients) {
        const own = logged.filter((line) => line.endsWith(` ${endpoint}`));
        // On a slow machine, the handshake may be repeated; only the last one is completed.
        expect(own.at(0)).toBe(`sent response ${endpoint}`);
        expect(own.filter((line) => line === `data ${endpoint}`)).toHaveLength(1);
        expect(new Set(own).size).toBe(2);
      }
      expect(forged()).toEqual([]);
      // An index is deleted when its packet has passed, or when its timeout expires (repeated handshakes).
      await until("no index is left", () => {
        const list = Bun.spawnSync(["nft", "list", "set", "inet", `wgmon_${GROUP}`, "indexes"]);
        expect(list.stdout.toString()).toContain("set indexes");
        return !list.stdout.toString().includes("elements");
      });
    },
    TEST_MS,
  );

  test(
    "the rules log the peer's response to a handshake of the gateway, and no forged responses",
    async () => {
      const names = Array.from({ length: 5 }, (_, i) => `called-${i}`);
      const clients = await newClients(names, { endpointKnown: true });
      await underFlood(response(), async () => {
        for (const client of clients) {
          wg0.sendTo(client);
          await isLogged(`response ${client.endpoint}`);
        }
      });
      expect(forged()).toEqual([]);
    },
    TEST_MS,
  );

  test(
    "the rules do not log data of a session",
    async () => {
      const [client] = await newClients(["busy"]);
      await client!.connect();
      await isLogged(`data ${client!.endpoint}`);
      for (let sent = 0; sent < 20; sent++) await client!.connect();
      // Clients of earlier tests may still send packets.
      const own = logged.filter((line) => line.endsWith(` ${client!.endpoint}`));
      // One response and one first data; more only if a slow machine repeats or renews the handshake.
      const responses = own.filter((line) => line.startsWith("sent response")).length;
      const data = own.filter((line) => line.startsWith("data")).length;
      expect(data).toBeLessThanOrEqual(responses);
      expect(responses).toBeLessThan(10);
      expect(own).toHaveLength(data + responses);
    },
    TEST_MS,
  );
});
