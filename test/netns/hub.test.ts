/**
 * The program and a hub: events arrive at once, and none is lost or doubled when the program is killed, or the hub is
 * away or loses its store. WGMON_TEST_KILLS=500 kills it more often.
 */

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { parseSecrets } from "../../src/channels/signature.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { FakeUapiDevice } from "../support/fake-uapi-device.ts";
import { HubServer } from "../support/hub-server.ts";
import { needs } from "../support/kernel.ts";
import { TEST_MS, until } from "../support/until.ts";
import { startWgmon } from "../support/wgmon.ts";

const KILLS = Number(process.env["WGMON_TEST_KILLS"] ?? 20);
const NAME = "wghub";
const SECRET = `whsec_${Buffer.from("planted".repeat(5)).toString("base64")}`;
/** Nearly all events are at the hub this soon after they happened. */
const ARRIVAL_MS = 250;

const tools = needs("own namespaces");
const parsed = parseSecrets(SECRET);
const secret = "value" in parsed ? parsed.value[0]! : null;

interface Stored {
  readonly epochs: readonly string[];
  readonly events: readonly Event[];
}

/** The epochs and the events in the store of a program that has ended. */
function readStore(path: string): Stored {
  using database = new Database(path, { readonly: true });
  const epochs = database.query<{ epoch: string }, []>("SELECT epoch FROM epochs").all();
  const events = database.query<{ body: string }, []>("SELECT body FROM events ORDER BY seq").all();
  return {
    epochs: epochs.map(({ epoch }) => epoch),
    events: events.map(({ body }) => JSON.parse(body) as Event),
  };
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "wgmon-hub-"));
  try {
    await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test.skipIf(tools.missing)(
  tools.title("events and the state arrive at the hub at once, over TLS, and a stop is announced"),
  () =>
    inFolder(async (folder) => {
      await using device = await FakeUapiDevice.create(NAME);
      using server = new HubServer({ gateway: "gw1", secret: secret!, isTls: true, aheadMs: 5e7 });
      const { certificates } = await import("../support/tls.ts");
      await Bun.write(join(folder, "ca.pem"), certificates.valid);
      await Bun.write(join(folder, "hub"), `hub = "${server.url(`gw1:${SECRET}`)}"\n`);
      const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME, "--host", "gw1"];
      args.push("--state-dir", join(folder, "state"));
      args.push("--hub-file", join(folder, "hub"), "--hub-ca", join(folder, "ca.pem"));
      await using wgmon = startWgmon(args);
      await wgmon.ready;
      device.connect(1, 2);
      const { hub } = server;
      await until("the hub has two connected peers", () => {
        const connected = [...hub.peers.values()].filter(({ session }) => session !== null);
        return connected.length === 2;
      });
      for (let n = 0; n < 40; n++) {
        const before = hub.ids.length;
        device.roam(1);
        device.talk(1);
        await until("the event arrives", () => hub.ids.length > before);
      }
      expect(await wgmon.stop()).toBe(0);
      expect(hub.states.at(-1)).toMatchObject({ isStopping: true, host: "gw1" });
      const { epochs, events } = readStore(join(folder, "state", "wgmon.db"));
      expect(epochs).toHaveLength(1);
      expect(hub.ids).toEqual(events.map(({ id }) => id));
      expect(hub.states.at(-1)!.last).toBe(events.length);
      // Without the first ones, which wait for the connection.
      const delays = events
        .slice(-40)
        .map(({ id, timestamp }) => server.arrivedMs.get(id)! - Date.parse(timestamp))
        .toSorted((a, b) => a - b);
      console.log(
        `hub: ${events.length} events, median ${delays[delays.length >> 1]} ms, worst ${delays.at(-1)} ms`,
      );
      expect(delays[Math.floor(delays.length * 0.95)]).toBeLessThan(ARRIVAL_MS);
      expect(wgmon.logText).not.toContain(SECRET.slice(6));
      expect(server.answers.filter((answer) => !answer.endsWith(" 200")).length).toBe(1);
    }),
  TEST_MS,
);

test.skipIf(tools.missing)(
  tools.title(`the hub has each event once if wgmon is killed ${KILLS} times, and the hub fails`),
  () =>
    inFolder(async (folder) => {
      await using device = await FakeUapiDevice.create(NAME);
      device.onQuery = () => device.changeAtRandom();
      using server = new HubServer({ gateway: "gw1", secret: secret! });
      const { hub } = server;
      const failure = () => (Math.random() < 0.2 ? new Response("", { status: 503 }) : null);
      server.before = failure;
      server.after = failure;
      const args = ["--monitor", "poll", "--tick", "100ms", "--device", NAME, "--host", "gw1"];
      args.push("--state-dir", join(folder, "state"), "--hub", server.url(`gw1:${SECRET}`));
      for (let kill = 0; kill < KILLS; kill++) {
        await using wgmon = startWgmon(args);
        await wgmon.ready;
        await Bun.sleep(Math.random() * 700);
        if (kill % 5 === 1) hub.backUp();
        if (kill % 5 === 3) hub.putBack();
        if (kill % 7 === 6) hub.forget();
        await wgmon.stop("SIGKILL");
      }
      device.onQuery = () => {};
      server.before = () => null;
      server.after = () => null;
      await using wgmon = startWgmon(args);
      await wgmon.ready;
      await until("the hub has all events", () => {
        const state = hub.states.at(-1);
        return state !== undefined && hub.idsOf(state.epoch).length === state.last;
      });
      await wgmon.stop();
      const { epochs, events } = readStore(join(folder, "state", "wgmon.db"));
      console.log(`hub: ${events.length} events, ${server.answers.length} requests`);
      expect(epochs).toHaveLength(1);
      const ids = events.map(({ id }) => id);
      expect(hub.idsOf(epochs[0]!)).toEqual(ids);
      expect(hub.ids.toSorted()).toEqual(ids.toSorted());
      const connected = [...hub.peers.values()].filter(({ session }) => session !== null);
      expect(hub.states.at(-1)).toMatchObject({ isStopping: true });
      expect(connected.length).toBeGreaterThan(0);
    }),
  TEST_MS,
);
