/** The gateway's transport over NATS, with real servers. What the stream has is read by the hub's user. */

import { describe, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { jetstreamManager } from "@nats-io/jetstream";

import { HUB_USER, STREAM } from "../../src/fleet/nats-names.ts";
import {
  connectAs,
  createStream,
  eventOf,
  eventsOf,
  fleetServer,
  gatewayAt,
  loginOf,
  LossyProxy,
  noSignal,
  seqsOf,
  stateOf,
  streamOf,
  untilTaken,
} from "../support/fleet-nats.ts";
import { natsNeeds, type NatsServer, natsServers } from "../support/nats.ts";
import { certificates, key } from "../support/tls.ts";
import { until } from "../support/until.ts";

describe.skipIf(natsNeeds.missing).each(natsServers)(
  natsNeeds.title("nats-server $version"),
  ({ program }) => {
    test("the stream has each event once, in order, with its place in the gateway's store", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      expect(await berlin.send(1, 3)).toBe(3);
      expect(await berlin.send(4, 5)).toBe(5);
      const stored = await streamOf(server);
      expect(stored.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
      expect(stored[1]).toEqual({
        subject: "wgmon.v1.event.berlin",
        streamSeq: 2,
        epoch: "0a1b2c3d",
        seq: 2,
        body: JSON.stringify(eventOf("berlin", 2)),
      });
    });

    test("a lost acknowledgement: the event is sent again, and the stream has it once", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      await loseOneAcknowledgement(server);
    });

    test("a lost acknowledgement of an event that the server no longer knows by its id: the stream has it once", async () => {
      await using server = await fleetServer(program, ["berlin", "other"]);
      await createStream(server);
      await shortenDuplicateWindow(server);
      await loseOneAcknowledgement(server, async () => {
        await untilForgotten(server);
      });
    });

    test("a gateway that was killed before it wrote down the acknowledgements: the stream has each event once", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      let recorded: number;
      {
        using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
        recorded = await berlin.send(1, 2);
        await berlin.send(3, 5);
      }
      using again = gatewayAt("berlin", loginOf("berlin", server.address), {
        streamSeq: recorded,
      });
      expect(await again.send(3, 6)).toBe(6);
      expect(await seqsOf(server, "berlin")).toBe("1 2 3 4 5 6");
      expect(again.log.lines).toEqual([]);
    });

    test("the server is killed and started again: the events that it had are not sent twice", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 3);
      await server.kill();
      const failed = await berlin.sendEvents(eventsOf("berlin", 4, 4));
      expect(failed).toMatchObject({ type: "retry" });
      await server.start();
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 4, 4)));
      await berlin.send(5, 6);
      expect(await seqsOf(server, "berlin")).toBe("1 2 3 4 5 6");
    });

    test("a server that answers nothing for a while: no event is lost or doubled", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address), {
        timeoutMs: 2000,
      });
      await berlin.send(1, 1);
      server.pause(true);
      const late = await berlin.sendEvents(eventsOf("berlin", 2, 2));
      expect(late).toEqual({ type: "retry", reason: "timeout", afterMs: null });
      server.pause(false);
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 2, 2)));
      await berlin.send(3, 4);
      expect(await seqsOf(server, "berlin")).toBe("1 2 3 4");
    });

    test("the server lost acknowledged events: the gateway goes on after what is left", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 10);
      await server.kill();
      await server.truncateStream(200);
      await server.start();
      const left = (await streamOf(server)).length;
      expect(left).toBeGreaterThan(0);
      expect(left).toBeLessThan(10);
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 11, 12)));
      const seqs = (await streamOf(server)).map(({ seq }) => seq);
      expect(seqs).toEqual([...Array.from({ length: left }, (_, index) => index + 1), 11, 12]);
      expect(berlin.log.lines).toEqual([]);
    });

    test("a new stream: the gateway continues with the next event", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 3);
      await server.kill();
      await server.wipe();
      await server.start();
      const failed = await untilReason(() => berlin.sendEvents(eventsOf("berlin", 4, 4)));
      expect(failed).toBe("the stream of the hub does not exist: start the hub once");
      await createStream(server);
      await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 4, 5)));
      expect(await seqsOf(server, "berlin")).toBe("4 5");
    });

    test("two gateways with one name: all events of both are in the stream, and the log says so once", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using one = gatewayAt("berlin", loginOf("berlin", server.address));
      using two = gatewayAt("berlin", loginOf("berlin", server.address));
      for (let seq = 1; seq <= 5; seq++) {
        await one.send(seq, seq, "0a1b2c3d");
        await two.send(seq, seq, "99999999");
      }
      const epochs = Map.groupBy(await streamOf(server), ({ epoch }) => epoch);
      for (const stored of epochs.values()) {
        expect(stored.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
      }
      const warning = `hub nats://${server.address}: another program also sends events as berlin: give each gateway its own name`;
      expect([one.log.lines, two.log.lines]).toEqual([[warning], [warning]]);
    });

    test("an event that is too long for the stream does not stop the following ones", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      const message = eventsOf("berlin", 1, 3);
      message.events[1]!.event = { ...eventOf("berlin", 2), long: "x".repeat(70_000) };
      const result = await berlin.sendEvents(message);
      expect(result).toEqual({ type: "stored", streamSeq: 2, upTo: 3 });
      expect(await seqsOf(server, "berlin")).toBe("1 3");
    });

    test("the first of several servers is down: the second is used", async () => {
      await using down = await fleetServer(program, []);
      await down.kill();
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", down.address, server.address));
      await berlin.send(1, 2);
      expect(await seqsOf(server, "berlin")).toBe("1 2");
    });

    test("the reason of a failure names the server, and no secret", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      const reasonOf = async (login: Parameters<typeof gatewayAt>[1]) => {
        using gateway = gatewayAt("berlin", login);
        return await untilReason(() => gateway.transport.sendState(stateOf("berlin", 0), noSignal));
      };
      const login = loginOf("berlin", server.address);
      const place = `nats://${server.address}`;
      expect(await reasonOf(login)).toBe("no hub is connected to NATS");
      expect(await reasonOf({ ...login, password: "wrong-password" })).toBe(
        `${place}: the server refuses the user or the password`,
      );
      expect(await reasonOf({ ...login, isTls: true })).toBe(
        `tls://${server.address}: the server offers no TLS`,
      );
      await server.kill();
      expect(await reasonOf(login)).toBe(`${place}: connection refused`);
    });

    test("TLS: a gateway accepts the certificate only if the given authority has signed it", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      const tls = { certFile: join(server.folder, "crt"), keyFile: join(server.folder, "key") };
      await writeFile(tls.certFile, certificates.valid);
      await writeFile(tls.keyFile, key);
      await createStream(server);
      await server.kill();
      await server.edit((config) =>
        config.replace("jetstream {", `tls { cert_file: "crt", key_file: "key" }\njetstream {`),
      );
      await server.start();
      const place = `localhost:${server.port}`;
      const login = { ...loginOf("berlin", place), isTls: true };
      using stranger = gatewayAt("berlin", login);
      const reason = await untilReason(() => stranger.sendEvents(eventsOf("berlin", 1, 1)));
      expect(reason).toStartWith(`tls://${place}: `);
      expect(reason).toMatch(/certificate/);
      using berlin = gatewayAt("berlin", { ...login, ca: certificates.valid });
      expect(await berlin.send(1, 2)).toBe(2);
    });

    test("an interrupted attempt ends at once", async () => {
      await using server = await fleetServer(program, ["berlin"]);
      await createStream(server);
      using berlin = gatewayAt("berlin", loginOf("berlin", server.address));
      await berlin.send(1, 1);
      server.pause(true);
      const controller = new AbortController();
      const attempt = berlin.sendEvents(eventsOf("berlin", 2, 2), controller.signal);
      controller.abort();
      expect(await attempt).toEqual({ type: "retry", reason: "interrupted", afterMs: null });
      server.pause(false);
      await berlin.send(2, 3);
      expect(await seqsOf(server, "berlin")).toBe("1 2 3");
    });
  },
);

/** The stream gets event 3, and the gateway no answer; then it sends 3 again, and 4. */
async function loseOneAcknowledgement(
  server: NatsServer,
  meanwhile: () => Promise<void> = async () => {},
): Promise<void> {
  using proxy = await LossyProxy.start(server.port);
  using berlin = gatewayAt("berlin", loginOf("berlin", proxy.address));
  await berlin.send(1, 2);
  proxy.lose();
  const attempt = berlin.sendEvents(eventsOf("berlin", 3, 4));
  await until("the stream has event 3", async () => (await seqsOf(server, "berlin")) === "1 2 3");
  proxy.cut();
  expect(await attempt).toMatchObject({ type: "retry" });
  await meanwhile();
  const result = await untilTaken(() => berlin.sendEvents(eventsOf("berlin", 3, 4)));
  expect(result).toMatchObject({ type: "stored", upTo: 4 });
  expect(await seqsOf(server, "berlin")).toBe("1 2 3 4");
  expect(berlin.log.lines).toEqual([]);
}

async function shortenDuplicateWindow(server: NatsServer): Promise<void> {
  await using hub = await connectAs(HUB_USER, server);
  const manager = await jetstreamManager(hub);
  const { config } = await manager.streams.info(STREAM);
  await manager.streams.update(STREAM, { ...config, duplicate_window: 100_000_000 });
}

/** Waits until the server has forgotten the ids of the messages that it has stored. */
async function untilForgotten(server: NatsServer): Promise<void> {
  await using hub = await connectAs(HUB_USER, server);
  const { headers } = await import("@nats-io/transport-node");
  const header = headers();
  header.set("Nats-Msg-Id", "probe");
  const publish = async () => {
    const answer = await hub.request("wgmon.v1.event.other", "{}", {
      headers: header,
      timeout: 5000,
    });
    return answer.json<{ duplicate?: boolean }>();
  };
  await publish();
  await until("the id is forgotten", async () => (await publish()).duplicate !== true);
}

async function untilReason(attempt: () => Promise<unknown>): Promise<string> {
  const result = (await attempt()) as { type: string; reason?: string };
  if (result.reason === undefined) throw new Error(`no failure: ${JSON.stringify(result)}`);
  return result.reason;
}
