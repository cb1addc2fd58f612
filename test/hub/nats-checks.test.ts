/** The checks of `wgmon doctor` about NATS. */

import { describe, expect, test } from "bun:test";

import { jetstreamManager } from "@nats-io/jetstream";

import type { Finding } from "../../src/base/check.ts";
import { HUB_USER, STREAM } from "../../src/fleet/nats-names.ts";
import { checkNats, judgeNats, type NatsState } from "../../src/hub/nats-checks.ts";
import { connectAs, fleetServer, hubAt, loginOf } from "../support/fleet-nats.ts";
import { natsNeeds, type NatsServer, natsServers } from "../support/nats.ts";
import { until } from "../support/until.ts";

function lines(findings: readonly Finding[]): string[] {
  return findings.map(({ verdict, found }) => `${verdict}: ${found}`);
}

const SYNC =
  "warning: whether the server writes each event to the disk at once cannot be read from here";

describe("what the checks say", () => {
  test("an old server", () => {
    const state: NatsState = { version: "2.9.25", isCluster: false, stream: null, consumer: null };
    expect(lines(judgeNats(state))).toEqual([
      "problem: nats-server 2.9.25: older than 2.10, it may store an event twice",
      "problem: there is no stream WGMON_EVENTS",
    ]);
    expect(lines(judgeNats({ ...state, version: "2.10.0" }))[0]).toBe("ok: nats-server 2.10.0");
    expect(lines(judgeNats({ ...state, version: "3.0.0" }))[0]).toBe("ok: nats-server 3.0.0");
  });
});

describe.skipIf(natsNeeds.missing).each(natsServers)(
  natsNeeds.title("nats-server $version"),
  ({ program, version }) => {
    const check = async (server: NatsServer) =>
      lines(await checkNats(loginOf(HUB_USER, server.address), "hub-test"));

    test("before the hub has started, after it, with an altered stream, and without a server", async () => {
      await using server = await fleetServer(program, []);
      const found = `ok: nats-server ${version}`;
      expect(await check(server)).toEqual([found, "problem: there is no stream WGMON_EVENTS"]);
      await runHubOnce(server);
      const good = [
        found,
        "ok: stream WGMON_EVENTS: 0 events",
        "ok: one server: events wait on the gateways while it is away",
        SYNC,
        "ok: the hub has read the stream",
      ];
      expect(await check(server)).toEqual(good);
      {
        await using admin = await connectAs(HUB_USER, server);
        const manager = await jetstreamManager(admin);
        const { config } = await manager.streams.info(STREAM);
        await manager.streams.update(STREAM, { ...config, discard: "new", max_age: 0 });
      }
      expect((await check(server))[1]).toBe(
        `problem: stream WGMON_EVENTS was changed: discard is "new"`,
      );
      // The hub repairs what would lose events, and keeps the administrator's limit.
      await runHubOnce(server);
      expect(await check(server)).toEqual(good);
      await using admin = await connectAs(HUB_USER, server);
      const { config } = await (await jetstreamManager(admin)).streams.info(STREAM);
      expect(config.max_age).toBe(0);
      await admin.close();
      await server.kill();
      expect(await check(server)).toEqual([
        `problem: nats://${server.address}: connection refused`,
      ]);
    });

    test("a server that has little room gets a smaller stream", async () => {
      await using server = await fleetServer(program, []);
      await server.kill();
      await server.edit((config) => config.replace("store_dir:", "max_file: 1GB\n  store_dir:"));
      await server.start();
      await runHubOnce(server);
      await using admin = await connectAs(HUB_USER, server);
      const { config } = await (await jetstreamManager(admin)).streams.info(STREAM);
      expect(config.max_bytes).toBe(1024 ** 3);
    });
  },
);

async function runHubOnce(server: NatsServer): Promise<void> {
  await using hub = hubAt(loginOf(HUB_USER, server.address));
  await until("the hub receives", () => hub.receiver.problem === null);
}
