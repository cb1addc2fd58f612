/**
 * Faults of all kinds in a random order, with real servers: at the end the hub has the events of all gateways, each once
 * and in order, and the stream has none twice. A failed run prints its seed; WGMON_TEST_SEED repeats it.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";

import { SystemError } from "../../src/base/errors.ts";
import { HUB_USER } from "../../src/fleet/nats-names.ts";
import {
  EPOCH,
  eventOf,
  eventsOf,
  fleetServer,
  gatewayAt,
  hubAt,
  loginOf,
  LossyProxy,
  MemoryHub,
  noSignal,
  stateOf,
  streamOf,
  untilTaken,
} from "../support/fleet-nats.ts";
import { natsNeeds, type NatsServer, natsServers } from "../support/nats.ts";
import { TEST_MS, until } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const STEPS = 25;
const GATEWAYS = ["berlin", "paris", "rome"];

describe.skipIf(natsNeeds.missing).each(natsServers)(
  natsNeeds.title("nats-server $version"),
  ({ program }) => {
    test("after faults in a random order, the hub has each event once, unchanged and in order", async () => {
      const seed = Number(process.env["WGMON_TEST_SEED"] ?? Math.floor(Math.random() * 1e9));
      const steps: string[] = [];
      try {
        await runFaults(program, mulberry(seed), steps);
      } catch (error) {
        throw new Error(`seed ${seed}: ${steps.join(", ")}`, { cause: error });
      }
    });
  },
);

/** A gateway whose store has the events 1 to `last`. */
class TestGateway implements Disposable {
  readonly name: string;
  last = 0;
  #sent = 0;
  readonly #proxy: LossyProxy;
  readonly #gateway: ReturnType<typeof gatewayAt>;

  constructor(name: string, proxy: LossyProxy) {
    this.name = name;
    this.#proxy = proxy;
    this.#gateway = gatewayAt(name, loginOf(name, proxy.address), { timeoutMs: 5000 });
  }

  async send(count: number): Promise<void> {
    this.last += count;
    const message = eventsOf(this.name, this.#sent + 1, this.last);
    const result = await this.#gateway.sendEvents(message);
    if (result.type === "stored") this.#sent = result.upTo;
  }

  /** The server gets the events, or some of them, and the gateway does not learn it. */
  async sendWithoutAnswer(count: number): Promise<void> {
    this.#proxy.lose();
    const sending = this.send(count);
    await Bun.sleep(30);
    this.#proxy.cut();
    await sending;
  }

  /** Sends again what the hub asks for, until it has all events. */
  async converge(): Promise<void> {
    const { transport } = this.#gateway;
    for (;;) {
      await this.send(0);
      const state = stateOf(this.name, this.last);
      const result = await untilTaken(() => transport.sendState(state, noSignal));
      if (result.type !== "answer") throw new Error(JSON.stringify(result));
      const { confirmed, replayAfter } = result.answer;
      if (confirmed === this.last) return;
      const message = eventsOf(this.name, replayAfter! + 1, this.last);
      await untilTaken(() => transport.replayEvents(message, noSignal));
    }
  }

  [Symbol.dispose](): void {
    this.#gateway[Symbol.dispose]();
  }
}

async function runFaults(program: string, random: () => number, steps: string[]): Promise<void> {
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)]!;
  await using server = await fleetServer(program, GATEWAYS);
  using proxy = await LossyProxy.start(server.port);
  const store = new MemoryHub();
  let hub = await startHub(server, store);
  using gateways = new DisposableStack();
  const fleet = GATEWAYS.map((name) => gateways.use(new TestGateway(name, proxy)));
  const restart = async (change: () => Promise<void>): Promise<void> => {
    await server.kill();
    await change();
    await server.start();
  };
  const faults: Record<string, () => Promise<void>> = {
    "lost answer": async () => await pick(fleet).sendWithoutAnswer(1 + Math.floor(random() * 3)),
    "server killed": async () => await restart(async () => {}),
    "server away": async () =>
      await restart(async () => {
        for (const gateway of fleet) await gateway.send(1);
      }),
    "stream truncated": async () =>
      await restart(async () => await server.truncateStream(Math.floor(random() * 2000))),
    "stream wiped": async () => await restart(async () => await server.wipe()),
    "hub restarted": async () => {
      await hub.receiver.stop();
      hub = await startHub(server, store);
    },
    "hub without room": async () => {
      store.failure = new SystemError("store events", "disk full");
      await pick(fleet).send(2);
      await hub.receiver.stop();
      store.failure = null;
      hub = await startHub(server, store);
    },
    "hub's store put back": async () => {
      for (const bodies of store.stored.values()) bodies.length = Math.floor(bodies.length / 2);
      return await Promise.resolve();
    },
  };
  try {
    for (let step = 0; step < STEPS; step++) {
      for (const gateway of fleet) await gateway.send(Math.floor(random() * 4));
      if (random() < 0.5) continue;
      const name = pick(Object.keys(faults));
      steps.push(name);
      await faults[name]!();
    }
    for (const gateway of fleet) await gateway.converge();
  } finally {
    await hub.receiver.stop();
  }
  for (const { name, last } of fleet) {
    const wanted = Array.from({ length: last }, (_, index) =>
      JSON.stringify(eventOf(name, index + 1)),
    );
    expect(store.stored.get(`${name} ${EPOCH}`)).toEqual(wanted);
  }
  const places = (await streamOf(server)).map(({ subject, seq }) => `${subject} ${seq}`);
  expect(places.length).toBe(new Set(places).size);
}

async function startHub(server: NatsServer, store: MemoryHub) {
  const hub = hubAt(loginOf(HUB_USER, server.address), store);
  await until("the hub receives", () => hub.receiver.problem === null);
  return hub;
}

/** mulberry32, a small random number generator with a seed. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}
