/**
 * What a gateway's credentials allow, tried against real servers: a stolen gateway can send messages in its own name, and
 * nothing else. The users are as `wgmon hub enroll` prints them.
 */

import { describe, expect, test } from "bun:test";

import { jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";

import { HUB_USER, STREAM } from "../../src/fleet/nats-names.ts";
import {
  connectAs,
  eventsOf,
  fleetServer,
  gatewayAt,
  hubAt,
  loginOf,
  noSignal,
  stateOf,
  streamOf,
} from "../support/fleet-nats.ts";
import { operatorServer } from "../support/nats-operator.ts";
import { natsNeeds, natsServers } from "../support/nats.ts";
import { until } from "../support/until.ts";

const TIMEOUT_MS = 60_000;

describe.skipIf(natsNeeds.missing).each(natsServers)(
  natsNeeds.title("nats-server $version"),
  ({ program }) => {
    test("a gateway cannot send to the subjects of others, nor use the API of JetStream", async () => {
      await using server = await fleetServer(program, ["berlin", "paris"]);
      await using hub = hubAt(loginOf(HUB_USER, server.address));
      await until("the hub receives", () => hub.receiver.problem === null);
      await using thief = await connectAs("berlin", server);
      for (const subject of [
        "wgmon.v1.event.paris",
        "wgmon.v1.state.paris",
        "wgmon.v1.replay.paris",
        "wgmon.v1.event.berlin.x",
        "wgmon.v1.event",
        "_INBOX.x",
        "_INBOX_GW.paris.x",
        `$JS.API.STREAM.INFO.${STREAM}`,
        `$JS.API.STREAM.NAMES`,
        `$JS.API.STREAM.CREATE.OTHER`,
        `$JS.API.STREAM.UPDATE.${STREAM}`,
        `$JS.API.STREAM.DELETE.${STREAM}`,
        `$JS.API.STREAM.PURGE.${STREAM}`,
        `$JS.API.STREAM.MSG.GET.${STREAM}`,
        `$JS.API.STREAM.MSG.DELETE.${STREAM}`,
        `$JS.API.DIRECT.GET.${STREAM}`,
        `$JS.API.DIRECT.GET.${STREAM}.wgmon.v1.event.berlin`,
        `$JS.API.CONSUMER.CREATE.${STREAM}`,
        `$JS.API.CONSUMER.DURABLE.CREATE.${STREAM}.x`,
        `$JS.API.CONSUMER.MSG.NEXT.${STREAM}.hub-test`,
        `$JS.API.CONSUMER.DELETE.${STREAM}.hub-test`,
        `$JS.ACK.${STREAM}.hub-test.1.1.1.1.1`,
        "$SYS.REQ.SERVER.PING",
        "$KV.x.y",
      ]) {
        expect({ subject, result: await requestResult(thief, subject) }).toEqual({
          subject,
          result: `Permissions Violation for Publish to "${subject}"`,
        });
      }
      expect(await streamOf(server)).toEqual([]);
      expect(hub.store.states).toEqual([]);
    });

    test("a gateway can receive nothing but the answers to its own messages", async () => {
      await using server = await fleetServer(program, ["berlin", "paris"]);
      await using hub = hubAt(loginOf(HUB_USER, server.address));
      await until("the hub receives", () => hub.receiver.problem === null);
      await using thief = await connectAs("berlin", server);
      const received: string[] = [];
      const refused: string[] = [];
      const subjects = [
        ">",
        "*.>",
        "wgmon.>",
        "wgmon.v1.event.berlin",
        "wgmon.v1.event.paris",
        "wgmon.v1.state.*",
        "_INBOX.>",
        "_INBOX_GW.paris.>",
        "_INBOX_GW.>",
        "_INBOX_GW.*.>",
        "$JS.>",
        "$JS.EVENT.>",
        "$SYS.>",
      ];
      for (const subject of subjects) {
        thief.subscribe(subject, {
          callback: (error, message) => {
            if (error === null) received.push(message.subject);
            else refused.push(subject);
          },
        });
      }
      await until("all are refused", () => refused.length === subjects.length);
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      await paris.send(1, 3);
      await paris.transport.sendState(stateOf("paris", 3), noSignal);
      await thief.flush();
      expect(received).toEqual([]);
    });

    test("a gateway cannot have answers sent to another gateway, or events in another's name", async () => {
      await using server = await fleetServer(program, ["berlin", "paris"]);
      await using hub = hubAt(loginOf(HUB_USER, server.address));
      await until("the hub receives", () => hub.receiver.problem === null);
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      await paris.send(1, 2);
      await using thief = await connectAs("berlin", server);
      // NATS does not check where an answer goes. The hub does.
      for (const reply of ["wgmon.v1.event.paris", "wgmon.v1.state.paris", "_INBOX_GW.paris.x"]) {
        thief.publish("wgmon.v1.state.berlin", JSON.stringify(stateOf("berlin", 0)), { reply });
        thief.publish("wgmon.v1.replay.berlin", JSON.stringify(eventsOf("berlin", 1, 1)), {
          reply,
        });
      }
      await thief.flush();
      expect((await streamOf(server)).map(({ subject }) => subject)).toEqual([
        "wgmon.v1.event.paris",
        "wgmon.v1.event.paris",
      ]);
      // The stream's acknowledgement can be sent to a subject of another gateway. It is no event.
      const body = JSON.stringify(eventsOf("paris", 3, 3).events[0]!.event);
      thief.publish("wgmon.v1.event.berlin", body, { reply: "wgmon.v1.event.paris" });
      await until("the hub ignores both", () => hub.log.lines.length === 2);
      expect(hub.log.lines.toSorted()).toEqual([
        "a message of berlin in the NATS stream is not an event",
        "a message of paris in the NATS stream is not an event",
      ]);
      await paris.send(3, 4);
      await until("paris goes on", () => hub.store.count("paris") === 4);
      expect(hub.store.count("berlin")).toBe(0);
      expect(paris.log.lines).toEqual([]);
    });

    test("a gateway cannot delete or change the stream through answers or headers", async () => {
      await using server = await fleetServer(program, ["berlin", "paris"]);
      await using hub = hubAt(loginOf(HUB_USER, server.address));
      await until("the hub receives", () => hub.receiver.problem === null);
      using paris = gatewayAt("paris", loginOf("paris", server.address));
      await paris.send(1, 3);
      await until("the hub has them", () => hub.store.count("paris") === 3);
      await using thief = await connectAs("berlin", server);
      const before = await configOf(server);
      for (const reply of [
        `$JS.API.STREAM.PURGE.${STREAM}`,
        `$JS.API.STREAM.DELETE.${STREAM}`,
        `$JS.API.CONSUMER.DELETE.${STREAM}.hub-test`,
        `$JS.ACK.${STREAM}.hub-test.1.4.4.1.0`,
      ]) {
        thief.publish("wgmon.v1.event.berlin", "{}", { reply });
      }
      for (const [name, value] of [
        ["Nats-Rollup", "all"],
        ["Nats-Rollup", "sub"],
        ["Nats-TTL", "1s"],
        ["Nats-Schedule", "@at 2020-01-01T00:00:00Z"],
        ["Nats-Trace-Dest", "wgmon.v1.event.paris"],
      ] as const) {
        const header = headers();
        header.set(name, value);
        if (name === "Nats-Schedule") header.set("Nats-Schedule-Target", "wgmon.v1.event.paris");
        thief.publish("wgmon.v1.event.berlin", "{}", { headers: header });
      }
      await thief.flush();
      await paris.send(4, 6);
      await until("the hub has them", () => hub.store.count("paris") === 6);
      const events = (await streamOf(server)).filter(({ subject }) => subject.endsWith("paris"));
      expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(await configOf(server)).toEqual(before);
      expect(paris.log.lines).toEqual([]);
    });

    test("without credentials, or with those of a gateway that was removed, nothing works", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      for (const user of ["paris", "hub", "admin", ""]) {
        const failure = await connectAs(user, server).then(
          () => "connected",
          (error: Error) => error.name,
        );
        expect({ user, failure }).toEqual({ user, failure: "AuthorizationError" });
      }
    });

    test("with credentials files of one signing key, a gateway also has only its own subjects", async () => {
      await using fleet = await operatorServer(program, HUB_USER, ["berlin", "paris"]);
      await using hub = hubAt(fleet.login(HUB_USER));
      await until("the hub receives", () => hub.receiver.problem === null);
      using berlin = gatewayAt("berlin", fleet.login("berlin"));
      await berlin.send(1, 3);
      expect(await berlin.transport.sendState(stateOf("berlin", 3), noSignal)).toMatchObject({
        type: "answer",
      });
      await until("the hub has them", () => hub.store.count("berlin") === 3);
      // The credentials of berlin, used for another name.
      using thief = gatewayAt("paris", fleet.login("berlin"));
      const permission = /the server does not permit this: Permissions Violation/;
      expect(await thief.sendEvents(eventsOf("paris", 1, 1))).toMatchObject({
        type: "retry",
        reason: expect.stringMatching(permission),
      });
      expect(await thief.transport.sendState(stateOf("paris", 1), noSignal)).toMatchObject({
        type: "retry",
        reason: expect.stringMatching(permission),
      });
      expect(hub.store.count("paris")).toBe(0);
    });
  },
);

async function requestResult(connection: NatsConnection, subject: string): Promise<string> {
  return await connection.request(subject, "{}", { timeout: TIMEOUT_MS }).then(
    (answer) => `answered: ${answer.string()}`,
    (error: Error) => error.message,
  );
}

async function configOf(server: Parameters<typeof connectAs>[1]): Promise<unknown> {
  await using admin = await connectAs(HUB_USER, server);
  const manager = await jetstreamManager(admin);
  const { config } = await manager.streams.info(STREAM);
  const consumer = await manager.consumers.info(STREAM, "hub-test");
  return { config, consumer: consumer.config };
}
