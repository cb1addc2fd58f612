/**
 * Two gateways with real WireGuard and the real hub: what happens at the gateways is at the hub at once, is there after
 * all three were killed, and is the same, byte for byte, as in the gateways' stores.
 */

import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import type { Event } from "../../src/events/event-schema.ts";
import { socketPath } from "../../src/platform/socket-path.ts";
import { needs } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { newStateFolder, ownFolders } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { isComplaint, startWgmon, type Wgmon } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "ping");

const PORT = 9587;
/** Most of the events must be at the hub this soon after they happened; the processors are emulated. */
const ARRIVAL_MS = 1000;

interface Item {
  /** The gateway that the event is of, or about. */
  readonly host: string;
  readonly event: Event;
}

/** A program that can be killed and started again with the same store. */
class Program {
  readonly #args: readonly string[];
  readonly environment = ownFolders();
  #wgmon: Wgmon | null = null;

  constructor(...args: readonly string[]) {
    this.#args = args;
  }

  async start(): Promise<void> {
    this.#wgmon = startWgmon([...this.#args], { environment: this.environment });
    await this.#wgmon.ready;
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    await this.#wgmon?.stop(signal);
  }

  get complaints(): readonly unknown[] {
    return this.#wgmon!.log.filter(isComplaint);
  }

  async command(...args: readonly string[]): Promise<string> {
    await using command = startWgmon([...args], { environment: this.environment });
    const text = await command.stdout();
    expect(await command.exited).toBe(0);
    return text;
  }

  async get<Body>(path: string): Promise<Body> {
    const unix = socketPath(this.environment.RUNTIME_DIRECTORY);
    const response = await fetch(`http://localhost${path}`, { unix });
    return (await response.json()) as Body;
  }

  /** The bodies of the stored events of a host, in order. */
  bodies(host: string): string[] {
    const path = join(this.environment.STATE_DIRECTORY, "wgmon.db");
    using database = new Database(path, { readonly: true });
    return database
      .query<{ body: string }, [string]>(
        "SELECT body FROM events WHERE body ->> 'host' = ? ORDER BY seq",
      )
      .all(host)
      .map(({ body }) => body);
  }
}

describe.skipIf(kernel.missing)(kernel.title("a hub of two gateways"), () => {
  const hub = new Program("hub", "--listen", `127.0.0.1:${PORT}`, "--host", "hub1");
  const gateways: Program[] = [];
  let lab: Lab;
  let devices: LabDevice[];

  beforeAll(async () => {
    lab = await Lab.create();
    devices = [await lab.device("wg0", { port: 51820 }), await lab.device("wg1", { port: 51821 })];
    await hub.start();
    for (const [index, host] of ["berlin", "lyon"].entries()) {
      const printed = await hub.command("hub", "enroll", host, "--host", "hub1");
      const [, secret = ""] = /:(whsec_[^@]+)@/.exec(printed) ?? [];
      const file = join(newStateFolder(), "hub");
      await Bun.write(file, `http://${host}:${secret}@127.0.0.1:${PORT}\n`);
      const args = ["--monitor", "bpf", "--interface", "any", "--device", `wg${index}`];
      args.push("--tick", "1s", "--host", host, "--hub-file", file);
      gateways.push(new Program(...args));
    }
    for (const gateway of gateways) await gateway.start();
  }, TEST_MS);

  afterAll(async () => {
    for (const program of [...gateways, hub]) await program.stop("SIGKILL");
    lab[Symbol.dispose]();
  });

  const eventsAtHub = async (query = "") =>
    (await hub.get<{ items: Item[] }>(`/v1/events?limit=1000${query}`)).items;

  test(
    "peers that connect at either gateway are at the hub at once, with the gateway as host",
    async () => {
      const delays: number[] = [];
      for (const [index, host] of ["berlin", "lyon"].entries()) {
        for (let count = 0; count < 5; count++) {
          const client = await devices[index]!.client(`${host}${count}`);
          await client.connect();
          const isThere = async () =>
            (await eventsAtHub(`&host=${host}&type=peer.connected`)).length === count + 1;
          await until("the event is at the hub", isThere);
          const [latest] = await eventsAtHub(`&host=${host}&type=peer.connected`);
          delays.push(Date.now() - Date.parse(latest!.event.timestamp));
        }
      }
      delays.sort((a, b) => a - b);
      console.log(`from the handshake to the hub's API: ${delays.join(" ")} ms`);
      expect(delays[delays.length >> 1]).toBeLessThan(ARRIVAL_MS);
      await until("the hub knows the peers", async () => {
        const { items } = await hub.get<{ items: { state: string; host: string }[] }>("/v1/peers");
        const connected = items.filter(({ state }) => state === "connected");
        return ["berlin", "lyon"].every(
          (host) => connected.filter((peer) => peer.host === host).length === 5,
        );
      });
    },
    TEST_MS,
  );

  test(
    "after the hub and both gateways were killed, nothing is missing, and nothing is there twice",
    async () => {
      for (const program of [hub, ...gateways]) await program.stop("SIGKILL");
      // The hub is away while the gateways start, and see what happened meanwhile.
      for (const gateway of gateways) await gateway.start();
      const late = await devices[0]!.client("late");
      await late.connect();
      await until("the gateway has recorded it", () =>
        gateways[0]!.bodies("berlin").some((body) => body.includes(late.publicKey)),
      );
      await hub.start();
      for (const [index, host] of ["berlin", "lyon"].entries()) {
        await until(`the hub has the events of ${host}`, () => {
          const own = gateways[index]!.bodies(host);
          const found = hub.bodies(host);
          return own.length > 0 && JSON.stringify(found) === JSON.stringify(own);
        });
      }
    },
    TEST_MS,
  );

  test(
    "a gateway that stops is stopped, not lost, and its peers are unknown, not disconnected",
    async () => {
      await gateways[1]!.stop("SIGTERM");
      const [stopped] = await eventsAtHub("&type=gateway.stopped");
      expect(stopped).toMatchObject({
        host: "lyon",
        event: { host: "hub1", data: { gateway: "lyon" } },
      });
      const { items } = await hub.get<{ items: { state: string }[] }>("/v1/peers?host=lyon");
      expect(new Set(items.map(({ state }) => state))).toEqual(new Set(["unknown"]));
      expect(await eventsAtHub("&type=gateway.lost")).toEqual([]);
      expect(await hub.command("hub", "gateways")).toMatch(/^lyon +stopped /m);
      expect(hub.complaints).toEqual([]);
    },
    TEST_MS,
  );
});
