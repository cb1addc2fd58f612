/**
 * The program, a real NATS server and the program as a hub: what `wgmon hub enroll` prints is enough, events arrive at
 * once, and none is lost or doubled when each part is killed. WGMON_TEST_KILLS=500 kills them more often.
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
import { natsNeeds, natsServers } from "../support/nats.ts";
import { TEST_MS, until } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const KILLS = Number(process.env["WGMON_TEST_KILLS"] ?? 10);
const NAME = "wghub";

const tools = needs("own namespaces");
const isMissing = tools.missing || natsNeeds.missing;

/** The bodies of the events in a store, in order. */
function bodiesOf(path: string, types: string): string[] {
  using database = new Database(path, { readonly: true });
  // A program that was killed and started again recovers its file first.
  database.run("PRAGMA busy_timeout = 60000");
  const query = `SELECT body FROM events WHERE type GLOB '${types}' ORDER BY seq`;
  return database
    .query<{ body: string }, []>(query)
    .all()
    .map(({ body }) => body);
}

class Parts implements AsyncDisposable {
  readonly folder: string;
  hub: Wgmon;
  readonly #hubArgs: readonly string[];
  readonly #environment: Readonly<Record<string, string>>;

  private constructor(folder: string, address: string) {
    this.folder = folder;
    const nats = `nats://${HUB_USER}:${passwordOf(HUB_USER)}@${address}`;
    this.#hubArgs = ["--nats", nats, "--state-dir", join(folder, "hub"), "--host", "hub"];
    this.#environment = { RUNTIME_DIRECTORY: join(folder, "run") };
    this.hub = this.#startHub();
  }

  static async start(address: string): Promise<Parts> {
    const folder = await mkdtemp(join(tmpdir(), "wgmon-hub-nats-"));
    for (const name of ["hub", "run", "state"]) await mkdir(join(folder, name));
    return new Parts(folder, address);
  }

  #startHub(): Wgmon {
    return startWgmon(["hub", ...this.#hubArgs], { environment: this.#environment });
  }

  async restartHub(signal: NodeJS.Signals): Promise<void> {
    await this.hub.stop(signal);
    this.hub = this.#startHub();
    await this.hub.ready;
  }

  /** Returns what `wgmon hub enroll` prints. */
  async enroll(gateway: string): Promise<string> {
    await using command = startWgmon(["hub", "enroll", gateway, ...this.#hubArgs], {
      environment: this.#environment,
    });
    const text = await command.stdout();
    expect(await command.exited).toBe(0);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true });
  }
}

describe.skipIf(isMissing).each(natsServers)(
  tools.title(natsNeeds.title("nats-server $version")),
  ({ program }) => {
    test(
      `the hub has each event of a gateway once and unchanged if all parts are killed ${KILLS} times`,
      async () => {
        await using server = await fleetServer(program, []);
        await using parts = await Parts.start(server.address);
        await parts.hub.ready;
        const printed = await parts.enroll("gw1");
        const [, line = ""] = /^ +(\{ user: "gw1".*)$/m.exec(printed) ?? [];
        const [, setting = ""] = /^ +(hub = "nats:.*")$/m.exec(printed) ?? [];
        await server.edit((config) => config.replace("users: [", `users: [\n      ${line}`));
        server.reload();
        await writeFile(join(parts.folder, "setting"), `${setting}\n`);

        await using device = await FakeUapiDevice.create(NAME);
        device.onQuery = () => device.changeAtRandom();
        const state = join(parts.folder, "state");
        const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME, "--host", "gw1"];
        args.push("--state-dir", state, "--hub-file", join(parts.folder, "setting"));
        for (let kill = 0; kill < KILLS; kill++) {
          await using wgmon = startWgmon(args);
          await wgmon.ready;
          await Bun.sleep(Math.random() * 1500);
          if (kill % 3 === 1) await parts.restartHub("SIGKILL");
          if (kill % 3 === 2) {
            await server.kill();
            if (kill % 2 === 0) await server.truncateStream(1000);
            await server.start();
          }
          await wgmon.stop("SIGKILL");
        }
        device.onQuery = () => {};
        await using wgmon = startWgmon(args);
        await wgmon.ready;
        const hubStore = join(parts.folder, "hub", "wgmon.db");
        const gatewayStore = join(state, "wgmon.db");
        await until("the hub has all events", () => {
          const wanted = bodiesOf(gatewayStore, "[dp]e*");
          return wanted.length > 0 && bodiesOf(hubStore, "[dp]e*").length >= wanted.length;
        });
        expect(await wgmon.stop()).toBe(0);
        expect(await parts.hub.stop()).toBe(0);
        const wanted = bodiesOf(gatewayStore, "[dp]e*");
        const found = bodiesOf(hubStore, "[dp]e*");
        console.log(`hub over NATS: ${found.length} events`);
        expect(found).toEqual(wanted);
        expect(bodiesOf(hubStore, "fleet.*")).toEqual([]);
      },
      TEST_MS,
    );
  },
);
