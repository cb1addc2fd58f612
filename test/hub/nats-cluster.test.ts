/** Three NATS servers as a cluster: the stream is on all three, and one of them may fail. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { jetstreamManager } from "@nats-io/jetstream";

import { HUB_USER, STREAM } from "../../src/fleet/nats-names.ts";
import { checkNats } from "../../src/hub/nats-checks.ts";
import {
  connectAs,
  EPOCH,
  eventOf,
  eventsOf,
  fleetServer,
  gatewayAt,
  hubAt,
  loginOf,
  noSignal,
  stateOf,
  streamOf,
  untilTaken,
} from "../support/fleet-nats.ts";
import { freePort, natsNeeds, type NatsServer, natsServers } from "../support/nats.ts";
import { TEST_MS, until } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const CLUSTER_TRIES = 4;
/** Servers that can reach each other agree within seconds, also on a busy machine. */
const LEADER_MS = 40_000;

describe.skipIf(natsNeeds.missing).each(natsServers)(
  natsNeeds.title("a cluster of nats-server $version"),
  ({ program }) => {
    test("the server that leads the stream is killed: no event is lost, doubled or out of order", async () => {
      await using stack = new AsyncDisposableStack();
      const servers = await startCluster(program, stack);
      const [one, two, three] = servers.map(({ address }) => address);
      const addresses = [one!, two!, three!] as const;
      const hub = stack.use(hubAt(loginOf(HUB_USER, ...addresses)));
      await until("the hub receives", () => hub.receiver.problem === null);
      using berlin = gatewayAt("berlin", loginOf("berlin", ...addresses));
      let sent = 0;
      const sendTo = async (last: number) => {
        while (sent < last) {
          const result = await berlin.sendEvents(eventsOf("berlin", sent + 1, last));
          if (result.type === "stored") sent = result.upTo;
          else await Bun.sleep(20);
        }
      };
      await sendTo(20);
      await until("the hub has 20 events", () => hub.store.count("berlin") === 20);
      const findings = await checkNats(loginOf(HUB_USER, ...addresses), "hub-test");
      expect(findings.map(({ verdict, found }) => `${verdict}: ${found}`).slice(1)).toEqual([
        "ok: stream WGMON_EVENTS: 20 events",
        "ok: the stream is on 3 servers",
        "ok: the hub has read the stream",
      ]);

      const leader = await leaderOf(servers);
      await leader.kill();
      await sendTo(40);
      await leader.start();
      await sendTo(60);
      const { transport } = berlin;
      for (let confirmed = 0; confirmed < 60;) {
        const answer = await untilTaken(() => transport.sendState(stateOf("berlin", 60), noSignal));
        if (answer.type !== "answer") throw new Error(JSON.stringify(answer));
        confirmed = answer.answer.confirmed ?? 0;
        if (confirmed === 60) break;
        const missing = eventsOf("berlin", confirmed + 1, 60);
        await untilTaken(() => transport.replayEvents(missing, noSignal));
      }
      const wanted = Array.from({ length: 60 }, (_, index) => eventOf("berlin", index + 1));
      expect(hub.store.stored.get(`berlin ${EPOCH}`)).toEqual(
        wanted.map((event) => JSON.stringify(event)),
      );
      const seqs = (await streamOf(servers[0]!)).map(({ seq }) => seq);
      expect(seqs).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
      expect(berlin.log.lines).toEqual([]);
    });
  },
);

/** Three servers that have agreed on a leader. Another process may take a chosen port: then they begin with new ports. */
async function startCluster(
  program: string,
  stack: AsyncDisposableStack,
): Promise<readonly NatsServer[]> {
  for (let tries = 0; tries < CLUSTER_TRIES; tries++) {
    await using mine = new AsyncDisposableStack();
    const servers = await startServers(program, mine);
    if (!(await haveLeader(servers))) continue;
    stack.use(mine.move());
    return servers;
  }
  throw new Error(`the servers agreed on no leader in ${CLUSTER_TRIES} tries`);
}

async function haveLeader(servers: readonly NatsServer[]): Promise<boolean> {
  const endMs = performance.now() + LEADER_MS;
  while (performance.now() < endMs) {
    try {
      await using admin = await connectAs(HUB_USER, servers[0]!);
      await (await jetstreamManager(admin)).getAccountInfo();
      return true;
    } catch {
      await Bun.sleep(200);
    }
  }
  return false;
}

async function startServers(
  program: string,
  stack: AsyncDisposableStack,
): Promise<readonly NatsServer[]> {
  const ports = [freePort(), freePort(), freePort()];
  const routes = ports.map((port) => `nats-route://127.0.0.1:${port}`).join(", ");
  const servers: NatsServer[] = [];
  for (const [index, port] of ports.entries()) {
    const server = stack.use(await fleetServer(program, ["berlin"]));
    await server.kill();
    await server.wipe();
    await server.edit(
      (config) =>
        `${config}server_name: "n${index}"\ncluster { name: fleet, listen: "127.0.0.1:${port}", routes: [${routes}] }\n`,
    );
    servers.push(server);
  }
  await Promise.all(servers.map((server) => server.start()));
  return servers;
}

async function leaderOf(servers: readonly NatsServer[]): Promise<NatsServer> {
  await using admin = await connectAs(HUB_USER, servers[0]!);
  const { cluster } = await (await jetstreamManager(admin)).streams.info(STREAM);
  return servers[Number(cluster?.leader?.slice(1))]!;
}
