/**
 * The rules that wgmon makes, at a gateway with real WireGuard: they know its handshakes by their
 * indexes, and log each, whatever is forged beside them.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { Capture } from "../../src/capture/capture.ts";
import { openGroup } from "../../src/capture/nflog.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { runRules } from "../../src/cli/rules.ts";
import { systemClock } from "../../src/clock.ts";
import { removeRules } from "../../src/firewall.ts";
import { Devices } from "../../src/kernel/devices.ts";
import { formatEndpoint, MessageType } from "../../src/wireguard.ts";
import { Forger } from "../support/forged.ts";
import { needs } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { data, response } from "../support/packets.ts";
import { REPORT_MS, TEST_MS, until } from "../support/until.ts";

const kernel = needs("root", "wireguard", "ip", "wg", "nft", "tc", "ping");

const GROUP = 60;

describe.skipIf(kernel.missing)(kernel.title("rules made by wgmon"), () => {
  let lab: Lab;
  let wg0: LabDevice;
  let group: Capture;
  /** `data 10.128.1.2:40001` */
  let logged: string[] = [];
  let onLogged = () => {};

  beforeAll(async () => {
    lab = await Lab.create();
    wg0 = await lab.device("wg0", { port: 51820 });
    using devices = new Devices([]);
    let printed = "";
    const print = (text: string) => void (printed += `${text}\n`);
    const complain = (text: string) => expect(text).toBe("");
    const request = { action: "install", devices: ["wg0"], group: GROUP } as const;
    expect(await runRules(request, { devices, print, complain })).toBe(0);
    expect(printed).toContain("handshakes to port 51820");
    group = await openGroup(GROUP, systemClock, {
      packet(bytes) {
        const { type, sourceAddress: address, sourcePort: port } = parsePacket(bytes)!;
        const name = Object.entries(MessageType).find(([, number]) => number === type)![0];
        logged.push(`${name} ${formatEndpoint({ address, port, scopeId: 0 })}`);
        onLogged();
      },
      lost(reason) {
        throw new Error(reason);
      },
    });
  }, TEST_MS);

  beforeEach(() => {
    logged = [];
  });

  afterAll(async () => {
    group.close();
    await removeRules(GROUP);
    lab[Symbol.dispose]();
  });

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

  /** Ten times what may pass of them. */
  async function underFlood(message: Uint8Array, act: () => Promise<void>): Promise<void> {
    using forger = new Forger(4);
    const indexAt = message[0] === MessageType.data ? 4 : 8;
    const vary = (bytes: Uint8Array) =>
      void crypto.getRandomValues(bytes.subarray(indexAt, indexAt + 4));
    const flood = () => forger.flood(message, { count: 20, port: wg0.port, vary });
    for (let round = 0; round < 50; round++) flood();
    const timer = setInterval(flood, 10);
    await act();
    clearInterval(timer);
  }

  test(
    "each peer's first data is logged, while first data of nobody floods the port",
    async () => {
      const clients = await wg0.clients(Array.from({ length: 10 }, (_, i) => `v4-${i}`));
      clients.push(...(await wg0.clients(["v6-0", "v6-1"], { family: 6 })));
      await underFlood(data(0), async () => {
        for (const client of clients) {
          await client.connect();
          await isLogged(`data ${client.endpoint}`);
        }
      });
      const known = logged.filter((each) => clients.some((c) => each === `data ${c.endpoint}`));
      expect(known).toHaveLength(clients.length);
      // Each passes once, and is forgotten then; that of an attempt which a slow machine had to repeat, in time.
      await until("no index is left", () => {
        const list = Bun.spawnSync(["nft", "list", "set", "inet", `wgmon_${GROUP}`, "indexes"]);
        expect(list.stdout.toString()).toContain("set indexes");
        return !list.stdout.toString().includes("elements");
      });
    },
    TEST_MS,
  );

  test(
    "a session that the gateway begins is logged by the peer's response",
    async () => {
      const clients = await wg0.clients(
        Array.from({ length: 5 }, (_, i) => `called-${i}`),
        { endpointKnown: true },
      );
      await underFlood(response(), async () => {
        for (const client of clients) {
          wg0.sendTo(client);
          await isLogged(`response ${client.endpoint}`);
        }
      });
    },
    TEST_MS,
  );

  test(
    "data of a session is not logged",
    async () => {
      const client = await wg0.client("busy");
      await client.connect();
      await isLogged(`data ${client.endpoint}`);
      for (let sent = 0; sent < 20; sent++) await client.connect();
      // Something of the clients before may still be on its way.
      const own = logged.filter((line) => line.endsWith(client.endpoint));
      // One of each; more only where a slow machine repeats or renews the handshake.
      const initiations = own.filter((line) => line.startsWith("initiation")).length;
      const data = own.filter((line) => line.startsWith("data")).length;
      expect(data).toBeLessThanOrEqual(initiations);
      expect(initiations).toBeLessThan(10);
    },
    TEST_MS,
  );
});
