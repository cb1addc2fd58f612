/** The hub's receiver, with real servers and gateways. The hub's store is in memory. */

import { describe, expect, test } from "bun:test";

import { jetstreamManager } from "@nats-io/jetstream";

import { SystemError } from "../../src/base/errors.ts";
import { HUB_USER, STREAM } from "../../src/fleet/nats-names.ts";
import {
  connectAs,
  EPOCH,
  eventOf,
  eventsOf,
  fleetServer,
  type Gateway,
  gatewayAt,
  hubAt,
  loginOf,
  MemoryHub,
  noSignal,
  stateOf,
  streamOf,
  untilTaken,
} from "../support/fleet-nats.ts";
import { natsNeeds, type NatsServer, natsServers } from "../support/nats.ts";
import { until } from "../support/until.ts";

describe.skipIf(natsNeeds.missing).each(natsServers)(
  natsNeeds.title("nats-server $version"),
  ({ program }) => {
    test("the hub gets each event once and unchanged, and acknowledges it", async () => {
      await using server = await fleetServer(program, ["berlin", "paris"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      await Promise.all([berlin.send(1, 50), paris.send(1, 30)]);
      await untilComplete(hub.store, { berlin: 50, paris: 30 });
      expectUnchanged(hub.store, "berlin", 50);
      expectUnchanged(hub.store, "paris", 30);
      expect(hub.store.again).toBe(0);
      await until("all are acknowledged", async () => (await consumerOf(server)).pending === 0);
      expect(hub.log.lines).toEqual([]);
    });

    test("the hub answers a state, and asks for events that it does not have", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      const answer = await berlin.transport.sendState(stateOf("berlin", 3), noSignal);
      expect(answer).toMatchObject({ type: "answer", answer: { confirmed: 0, replayAfter: 0 } });
      const replayed = await berlin.transport.replayEvents(eventsOf("berlin", 1, 3), noSignal);
      expect(replayed).toMatchObject({ type: "answer", answer: { confirmed: 3 } });
      expectUnchanged(hub.store, "berlin", 3);
      expect(await streamOf(server)).toEqual([]);
    });

    test("a hub that stands by keeps what the other has committed, answers nothing, and continues from there when it works", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      const store = new MemoryHub();
      let committed: number | null = null;
      {
        const login = loginOf(HUB_USER, server.address);
        await using hub = hubAt(login, store, { committed: () => committed });
        await until("it receives", () => hub.receiver.problem === null);
        await berlin.send(1, 30);
        await until("all are delivered", async () => (await consumerOf(server)).pending === 30);
        expect(hub.store.count("berlin")).toBe(0);
        expect(await berlin.transport.sendState(stateOf("berlin", 30), noSignal)).toMatchObject({
          type: "retry",
          reason: "no hub is connected to NATS",
        });
        committed = 20;
        await untilComplete(hub.store, { berlin: 20 });
        await until("20 are acknowledged", async () => (await consumerOf(server)).pending === 10);
        expectUnchanged(hub.store, "berlin", 20);
        expect(hub.receiver.committed).toBe(20);
      }
      // The store of the hub that stood by.
      await using hub = hubAt(loginOf(HUB_USER, server.address), store);
      await untilComplete(store, { berlin: 30 });
      expectUnchanged(store, "berlin", 30);
      expect(store.again).toBe(0);
      const answer = await berlin.transport.sendState(stateOf("berlin", 30), noSignal);
      expect(answer).toMatchObject({ type: "answer", answer: { confirmed: 30 } });
      expect(hub.log.lines).toEqual([]);
    });

    test("events that the hub cannot store are not acknowledged, and stored later", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 1);
      await untilComplete(hub.store, { berlin: 1 });
      hub.store.failure = diskFull;
      await berlin.send(2, 4);
      await until("the failure is logged", () => hub.log.lines.length > 0);
      expect(hub.log.lines[0]).toBe(
        "events of the gateways cannot be stored: store events: disk full",
      );
      expect((await consumerOf(server)).pending).toBe(3);
      const refused = await berlin.transport.sendState(stateOf("berlin", 4), noSignal);
      expect(refused).toMatchObject({
        type: "retry",
        reason: "the hub refuses the message: it could not be stored",
      });
      hub.store.failure = null;
      await untilComplete(hub.store, { berlin: 4 });
      expectUnchanged(hub.store, "berlin", 4);
    });

    test("an error with the events of one gateway does not stop those of the others", async () => {
      await using server = await fleetServer(program, ["paris", "berlin"]);
      await using hub = await readyHub(server);
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      hub.store.failure = new Error("out of range");
      hub.store.failing = "paris";
      await paris.send(1, 3);
      await berlin.send(1, 3);
      await untilComplete(hub.store, { berlin: 3 });
      await until("all are acknowledged", async () => (await consumerOf(server)).pending === 0);
      expect(hub.log.lines).toEqual(["events of paris cannot be stored: out of range"]);
      hub.store.failure = null;
      await converge(paris, "paris", 3);
      expectUnchanged(hub.store, "paris", 3);
    });

    test("a hub that stopped without acknowledging gets the same events first, in order", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      {
        await using hub = await readyHub(server);
        hub.store.failure = diskFull;
        await berlin.send(1, 20);
        await until("all are delivered", async () => (await consumerOf(server)).pending === 20);
      }
      await berlin.send(21, 25);
      await using hub = hubAt(loginOf(HUB_USER, server.address));
      await untilComplete(hub.store, { berlin: 25 });
      expectUnchanged(hub.store, "berlin", 25);
      expect(hub.store.again).toBe(0);
    });

    test("the server is killed and started again: the hub gets all events without a replay", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 10);
      await untilComplete(hub.store, { berlin: 10 });
      await server.kill();
      await server.start();
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 11, 20)));
      await untilComplete(hub.store, { berlin: 20 });
      expectUnchanged(hub.store, "berlin", 20);
    });

    test("acknowledged events that the server lost come from the gateway's store", async () => {
      await using server = await fleetServer(program, ["berlin", "paris"]);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      {
        await using hub = await readyHub(server);
        await untilReady(hub.receiver);
      }
      await Promise.all([berlin.send(1, 20), paris.send(1, 20)]);
      await server.kill();
      await server.truncateStream(600);
      await server.start();
      expect((await streamOf(server)).length).toBeLessThan(40);
      await using hub = hubAt(loginOf(HUB_USER, server.address));
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 21, 25)));
      await converge(berlin, "berlin", 25);
      await converge(paris, "paris", 20);
      expectUnchanged(hub.store, "berlin", 25);
      expectUnchanged(hub.store, "paris", 20);
    });

    test("events that the server lost after the hub had them: the hub reads on behind the loss", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 20);
      await untilComplete(hub.store, { berlin: 20 });
      await until("all are acknowledged", async () => (await consumerOf(server)).pending === 0);
      await server.kill();
      await server.truncateStream(600);
      await server.start();
      expect((await streamOf(server)).length).toBeLessThan(20);
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 21, 22)));
      await converge(berlin, "berlin", 22);
      // Without a replay, once the hub reads the stream again.
      await berlin.send(23, 40);
      await untilComplete(hub.store, { berlin: 40 });
      expectUnchanged(hub.store, "berlin", 40);
    });

    test("the stream is wiped: the hub creates a new one, and no event is missing or doubled", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 10);
      await untilComplete(hub.store, { berlin: 10 });
      hub.store.stored.clear();
      await server.kill();
      await server.wipe();
      await server.start();
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 11, 12)));
      await converge(berlin, "berlin", 12);
      expectUnchanged(hub.store, "berlin", 12);
    });

    test("the stream is deleted while the hub reads it: the hub creates it again", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 5);
      await untilComplete(hub.store, { berlin: 5 });
      {
        await using admin = await connectAs(HUB_USER, server);
        await (await jetstreamManager(admin)).streams.delete(STREAM);
      }
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 6, 8)));
      await untilComplete(hub.store, { berlin: 8 });
      expectUnchanged(hub.store, "berlin", 8);
    });

    test("a hub that is stopped at any moment of its start stops", async () => {
      await using server = await fleetServer(program, []);
      for (let turns = 0; turns < 60; turns++) {
        const { receiver } = hubAt(loginOf(HUB_USER, server.address));
        for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
        await receiver.stop();
      }
    });

    test("rebuild: the hub reads the whole stream again", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 10);
      await untilComplete(hub.store, { berlin: 10 });
      hub.store.stored.clear();
      hub.receiver.rebuild();
      await untilComplete(hub.store, { berlin: 10 });
      await berlin.send(11, 12);
      await untilComplete(hub.store, { berlin: 12 });
      expectUnchanged(hub.store, "berlin", 12);
    });

    test("messages that are not those of a gateway are refused or ignored", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await using hub = await readyHub(server);
      await using attacker = await connectAs("berlin", server);
      const answerTo = async (body: string) => {
        const answer = await attacker.request("wgmon.v1.state.berlin", body, { timeout: 60_000 });
        return answer.headers?.get("Wgmon-Error");
      };
      expect(await answerTo("not JSON")).toBe("it is not JSON");
      expect(await answerTo("{}")).toBe("/version: Expected required property");
      expect(await answerTo('{"version":2}')).toBe(
        "version 2 of the protocol is not supported; update the hub before its gateways",
      );
      for (let count = 0; count < 3; count++) {
        await attacker.request("wgmon.v1.event.berlin", "not an event", { timeout: 60_000 });
      }
      await until("it is logged", () => hub.log.lines.length > 0);
      expect(hub.log.lines).toEqual(["a message of berlin in the NATS stream is not an event"]);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 2);
      await untilComplete(hub.store, { berlin: 2 });
    });

    test("a gateway that is not enrolled gets this as the answer", async () => {
      await using server = await fleetServer(program, ["stranger", "berlin"]);
      await using hub = await readyHub(server);
      using stranger = gatewayAt("stranger", loginOf("stranger", server.address));
      await stranger.send(1, 2);
      const reason = "the hub refuses the message: stranger is not enrolled: wgmon hub enroll";
      const refused = { type: "retry", reason, afterMs: null };
      const { transport } = stranger;
      expect(await transport.sendState(stateOf("stranger", 2), noSignal)).toEqual(refused as never);
      expect(await transport.replayEvents(eventsOf("stranger", 1, 2), noSignal)).toEqual(
        refused as never,
      );
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 1);
      await untilComplete(hub.store, { berlin: 1 });
      expect(hub.store.count("stranger")).toBe(0);
    });

    test("events of another version are refused, and do not stop those of other gateways", async () => {
      await using server = await fleetServer(program, ["paris", "berlin"]);
      await using hub = await readyHub(server);
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      const message = eventsOf("paris", 1, 1);
      message.events[0]!.event = { ...eventOf("paris", 1), version: 2 };
      await paris.sendEvents(message);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 1);
      await untilComplete(hub.store, { berlin: 1 });
      expect(hub.store.count("paris")).toBe(0);
      expect(hub.log.lines).toEqual([
        "events of paris were refused: event 1 has version 2, and this wgmon knows version 1; update the hub before its gateways",
      ]);
    });
  },
);

const diskFull = new SystemError("store events", "disk full");

/** A hub that has created the stream. */
async function readyHub(server: NatsServer) {
  const hub = hubAt(loginOf(HUB_USER, server.address));
  await untilReady(hub.receiver);
  return hub;
}

async function untilReady(receiver: { readonly problem: string | null }): Promise<void> {
  await until("the hub receives", () => receiver.problem === null);
}

async function untilComplete(store: MemoryHub, counts: Record<string, number>): Promise<void> {
  for (const [gateway, count] of Object.entries(counts)) {
    await until(`${count} events of ${gateway}`, () => store.count(gateway) === count);
  }
}

function expectUnchanged(store: MemoryHub, gateway: string, count: number): void {
  const wanted = Array.from({ length: count }, (_, index) =>
    JSON.stringify(eventOf(gateway, index + 1)),
  );
  expect(store.stored.get(`${gateway} ${EPOCH}`)).toEqual(wanted);
}

/** Reports the state, and sends again what the hub asks for, as the uplink does. */
async function converge({ transport }: Gateway, name: string, last: number): Promise<void> {
  for (;;) {
    const result = await untilTaken(() => transport.sendState(stateOf(name, last), noSignal));
    if (result.type !== "answer") throw new Error(JSON.stringify(result));
    const { confirmed, replayAfter } = result.answer;
    if (confirmed === last) return;
    const message = eventsOf(name, replayAfter! + 1, last);
    await untilTaken(() => transport.replayEvents(message, noSignal));
  }
}

async function consumerOf(server: NatsServer): Promise<{ readonly pending: number }> {
  await using admin = await connectAs(HUB_USER, server);
  const manager = await jetstreamManager(admin);
  const { num_ack_pending, num_pending } = await manager.consumers.info(STREAM, "hub-test");
  return { pending: num_ack_pending + num_pending };
}
