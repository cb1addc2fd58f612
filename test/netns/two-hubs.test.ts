/**
 * Two hubs, a real NATS server and a gateway: one hub works and the other stands by. The one that works is killed; the other
 * works within 30 s, and each event of the gateway reaches the receiver, with the gateway's id.
 */

import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { HUB_USER } from "../../src/fleet/nats-names.ts";
import { FakeUapiDevice } from "../support/fake-uapi-device.ts";
import { fleetServer, passwordOf } from "../support/fleet-nats.ts";
import { needs } from "../support/kernel.ts";
import { freePort, natsNeeds, natsServers } from "../support/nats.ts";
import { Receiver } from "../support/receiver.ts";
import { TEST_MS, until } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const KILLS = Number(process.env["WGMON_TEST_KILLS"] ?? 3);
const NAME = "wgtwo";

const tools = needs("own namespaces");
const isMissing = tools.missing || natsNeeds.missing;

/** The events of peers and devices in a store: id and body, in order. */
function eventsIn(path: string): { id: string; body: string }[] {
  using database = new Database(path, { readonly: true });
  database.run("PRAGMA busy_timeout = 60000");
  return database
    .query<{ body: string }, []>("SELECT body FROM events WHERE type GLOB '[dp]e*' ORDER BY seq")
    .all()
    .map(({ body }) => ({ body, id: (JSON.parse(body) as { id: string }).id }));
}

class TestHub implements AsyncDisposable {
  readonly name: string;
  readonly folder: string;
  readonly port = freePort();
  readonly #args: readonly string[];
  wgmon: Wgmon;

  private constructor(folder: string, name: string, nats: string, webhook: string) {
    this.name = name;
    this.folder = folder;
    this.#args = [
      "hub",
      `--nats=${nats}`,
      `--state-dir=${join(folder, "state")}`,
      `--host=${name}`,
      `--webhook=${webhook}`,
      `--listen=127.0.0.1:${this.port}`,
    ];
    this.wgmon = this.#start();
  }

  static async start(parent: string, name: string, nats: string, webhook: string) {
    const folder = join(parent, name);
    for (const each of ["", "state", "run"]) await mkdir(join(folder, each));
    return new TestHub(folder, name, nats, webhook);
  }

  get store(): string {
    return join(this.folder, "state", "wgmon.db");
  }

  #start(): Wgmon {
    return startWgmon(this.#args, { environment: { RUNTIME_DIRECTORY: join(this.folder, "run") } });
  }

  async restart(): Promise<void> {
    await this.wgmon.exited;
    this.wgmon = this.#start();
    await this.wgmon.ready;
  }

  /** What a load balancer sees: `200 ready`, `503 this hub stands by: a works`; null: no answer. */
  async ready(): Promise<string | null> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.port}/readyz`);
      return `${response.status} ${(await response.text()).trim()}`;
    } catch {
      return null;
    }
  }

  async metric(): Promise<string | undefined> {
    const response = await fetch(`http://127.0.0.1:${this.port}/metrics`);
    return (await response.text()).split("\n").find((line) => line.startsWith("wgmon_hub_active "));
  }

  async command(...args: readonly string[]): Promise<{ code: number; text: string }> {
    const environment = { RUNTIME_DIRECTORY: join(this.folder, "run") };
    const [, ...settings] = this.#args;
    await using command = startWgmon(["hub", ...args, ...settings.slice(0, 3)], { environment });
    const text = await command.stdout();
    return { code: await command.exited, text: text + command.logText };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.wgmon[Symbol.asyncDispose]();
  }
}

describe.skipIf(isMissing).each(natsServers)(
  tools.title(natsNeeds.title("nats-server $version")),
  ({ program }) => {
    test(
      `the hub that works is killed or suspended ${KILLS} times: the other works within 30 s, and the receiver gets each event`,
      async () => {
        await using server = await fleetServer(program, ["gw1"]);
        using receiver = new Receiver();
        const folder = await mkdtemp(join(tmpdir(), "wgmon-two-hubs-"));
        const nats = `nats://${HUB_USER}:${passwordOf(HUB_USER)}@${server.address}`;
        await using one = await TestHub.start(folder, "one", nats, receiver.url());
        await one.wgmon.ready;
        expect((await one.command("enroll", "gw1")).code).toBe(0);
        await using two = await TestHub.start(folder, "two", nats, receiver.url());
        await two.wgmon.ready;
        expect(await one.ready()).toBe("200 ready");
        expect(await two.ready()).toBe("503 this hub stands by: one works");
        expect(await one.metric()).toBe("wgmon_hub_active 1");
        expect(await two.metric()).toBe("wgmon_hub_active 0");
        expect((await two.command("gateways")).text).toContain("this hub stands by: one works");
        expect((await one.command("gateways")).text).toContain("this hub works: one");
        const refused = await two.command("enroll", "gw2");
        expect(refused.code).not.toBe(0);
        expect(refused.text).toContain("this hub stands by: one works; use the command there");

        await using device = await FakeUapiDevice.create(NAME);
        const state = join(folder, "gateway");
        await mkdir(state);
        const setting = join(folder, "setting");
        await writeFile(setting, `nats://gw1:${passwordOf("gw1")}@${server.address}\n`);
        const args = ["--monitor", "poll", "--tick", "200ms", "--device", NAME, "--host", "gw1"];
        args.push("--state-dir", state, "--hub-file", setting);
        await using gateway = startWgmon(args);
        await gateway.ready;
        const gatewayStore = join(state, "wgmon.db");
        let random = 0;
        device.onQuery = () => {
          // A few events in a second.
          if (random++ % 10 === 0) device.changeAtRandom();
        };
        const received = () => new Set(receiver.requests.map(({ event }) => event?.id));
        const allReceived = () => {
          const ids = received();
          const wanted = eventsIn(gatewayStore);
          return wanted.length > 0 && wanted.every(({ id }) => ids.has(id));
        };
        let [active, other] = [one, two];
        for (let kill = 0; kill < KILLS; kill++) {
          await Bun.sleep(5000 + Math.random() * 15_000);
          const killedMs = performance.now();
          const isPaused = kill % 2 === 1;
          if (isPaused) active.wgmon.signal("SIGSTOP");
          else await active.wgmon.stop("SIGKILL");
          await until("the other hub works", async () => (await other.ready()) === "200 ready");
          const workingMs = performance.now() - killedMs;
          await until("it hears the gateway", async () => {
            const { text } = await other.command("gateways");
            return /gw1 +up/.test(text);
          });
          const heardMs = performance.now() - killedMs;
          const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
          console.log(
            `two hubs: ${other.name} works after ${seconds(workingMs)}, hears the gateway after ${seconds(heardMs)}`,
          );
          const standsBy = `503 this hub stands by: ${other.name} works`;
          if (isPaused) {
            active.wgmon.signal("SIGCONT");
            await until("it stands by", async () => (await active.ready()) === standsBy);
          } else {
            await active.restart();
            expect(await active.ready()).toBe(standsBy);
          }
          [active, other] = [other, active];
        }
        device.onQuery = () => {};
        await until("the receiver has all events", allReceived);
        expect(await gateway.stop()).toBe(0);
        const wanted = eventsIn(gatewayStore);
        await until(
          "the hub that works has all events",
          () => eventsIn(active.store).length >= wanted.length,
        );
        expect(eventsIn(active.store)).toEqual(wanted);
        const count = receiver.requests.filter(
          ({ event }) => event !== null && /^[dp]e/.test(event.type),
        ).length;
        console.log(`two hubs: ${wanted.length} events, ${count} deliveries`);
        // The other one is stopped in order: nothing waits.
        expect(await active.wgmon.stop()).toBe(0);
        await until("the other hub works", async () => (await other.ready()) === "200 ready");
        await until("it has all events, too", () => eventsIn(other.store).length >= wanted.length);
        expect(eventsIn(other.store)).toEqual(wanted);
        expect(await other.wgmon.stop()).toBe(0);
        for (const { wgmon } of [active, other]) {
          expect(wgmon.log.filter(({ msg }) => /stack|bug/.test(String(msg)))).toEqual([]);
        }
        await rm(folder, { recursive: true });
      },
      TEST_MS,
    );
  },
);

describe.skipIf(tools.missing)(tools.title("over HTTP on the loopback"), () => {
  test(
    "the address moves to a second hub with the same secrets: it gets all events of the gateway, and the first one what it missed",
    async () => {
      const folder = await mkdtemp(join(tmpdir(), "wgmon-two-hubs-"));
      const listen = `127.0.0.1:${freePort()}`;
      const hub = (name: string, ...args: readonly string[]) => {
        const environment = { RUNTIME_DIRECTORY: join(folder, `run-${name}`) };
        const settings = ["--state-dir", join(folder, name), "--host", name, "--listen", listen];
        return startWgmon(["hub", ...args, ...settings], { environment });
      };
      const names = ["one", "two"];
      for (const name of [...names, "run-one", "run-two", "gw"]) await mkdir(join(folder, name));
      const enroll = async (name: string, ...args: readonly string[]) => {
        await using command = hub(name, "enroll", "gw1", ...args);
        const text = await command.stdout();
        expect(await command.exited).toBe(0);
        return text;
      };
      const line = await enroll("one");
      await writeFile(join(folder, "line"), line);
      await enroll("two", "--secret-file", join(folder, "line"));
      await using device = await FakeUapiDevice.create(NAME);
      device.onQuery = () => device.changeAtRandom();
      const setting = join(folder, "setting");
      const secret = /whsec_[^@]+/.exec(line)![0];
      await writeFile(setting, `http://gw1:${secret}@${listen}\n`);
      const args = ["--monitor", "poll", "--tick", "200ms", "--device", NAME, "--host", "gw1"];
      args.push("--state-dir", join(folder, "gw"), "--hub-file", setting);
      await using gateway = startWgmon(args);
      await gateway.ready;
      const wanted = () => eventsIn(join(folder, "gw", "wgmon.db"));
      const found = (name: string) => eventsIn(join(folder, name, "wgmon.db"));
      for (const name of ["one", "two", "one", "two"]) {
        await using working = hub(name);
        await working.ready;
        const count = wanted().length;
        const startMs = performance.now();
        await until("the hub has what the gateway has", () => found(name).length > count);
        const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
        console.log(`hub ${name} at the same address: ${count} events after ${seconds} s`);
        await working.stop("SIGKILL");
      }
      device.onQuery = () => {};
      for (const name of names) {
        await using working = hub(name);
        await working.ready;
        await until("it has all", () => found(name).length >= wanted().length);
        expect(await working.stop()).toBe(0);
        expect(found(name)).toEqual(wanted());
      }
      expect(await gateway.stop()).toBe(0);
      await rm(folder, { recursive: true });
    },
    TEST_MS,
  );
});
