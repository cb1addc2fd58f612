/** The uplink with a hand clock and a fake hub: what is sent, and that nothing is lost whatever fails. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import { newId } from "../../src/base/new-id.ts";
import { eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import { Store } from "../../src/store/store.ts";
import { StateReport, type StateSource } from "../../src/uplink/state-report.ts";
import { Uplink } from "../../src/uplink/uplink.ts";
import { HandClock } from "../support/clock.ts";
import { failStore } from "../support/fail-store.ts";
import { FakeHub } from "../support/fake-hub.ts";
import { FakeTransport, type Fate } from "../support/fake-transport.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const HOUR_MS = 3_600_000;
const { folder, opened, close } = useStoreFolders();

const noPeers = (clock: HandClock): StateSource => ({
  program: "0.1.0",
  startedAtMs: 0,
  now: () => clock.now(),
  host: () => "berlin",
  devices: () => [],
  count: () => 0,
  peers: () => [],
  inCurrentClock: (peer) => peer,
  session: () => null,
  nameOf: () => null,
  tagsOf: () => [],
});

/** A gateway with a store and an uplink, which can be killed and started again. */
class Gateway {
  readonly clock: HandClock;
  readonly lines: string[] = [];
  store: Store;
  transport: FakeTransport;
  uplink: Uplink | null = null;

  private constructor(clock: HandClock, store: Store, transport: FakeTransport) {
    this.clock = clock;
    this.store = store;
    this.transport = transport;
  }

  static async make({
    nextFate = () => "ok" as Fate,
    isStream = false,
    clock = new HandClock(),
    hub = new FakeHub(() => clock.now().wallMs),
    directory = null as string | null,
  } = {}): Promise<Gateway> {
    const store = await newStore(clock, directory);
    return new Gateway(clock, store, new FakeTransport(hub, { nextFate, isStream }));
  }

  get hub(): FakeHub {
    return this.transport.hub;
  }

  start(transport = this.transport): void {
    const { clock, store, lines } = this;
    this.transport = transport;
    this.uplink = new Uplink({
      key: "hub",
      placeKey: "1",
      store,
      clock,
      log: createLog({ format: "text", level: "debug", write: (line) => lines.push(line) }),
      transport,
      report: new StateReport(noPeers(clock)),
      random: () => 1,
    });
    this.uplink.start();
  }

  record(count = 1): void {
    const change = {
      type: "device.added",
      atMs: this.clock.now().wallMs,
      device: "wg0",
      listenPort: 0,
    } as const;
    const events = Array.from({ length: count }, () => ({
      event: eventOf(change, { id: newId("evt"), host: "berlin", name: null }),
      targets: [],
    }));
    this.store.record({ events, sessions: [], ended: [], devices: null }, 0);
    this.uplink?.eventsAdded();
  }

  /** The ids of all stored events, in order. */
  get ids(): string[] {
    return this.store.uplinks.events(0, null, 1e6).map(({ event }) => event.id);
  }

  /** The ids that the hub has, in the order of the gateway's epochs and numbers. */
  get idsAtHub(): string[] {
    return this.store.epochs.all().flatMap(({ epoch }) => this.hub.idsOf(epoch));
  }

  async advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 5000) {
      this.clock.advance(Math.min(left, 5000));
      await settle();
    }
  }
}

async function newStore(clock: HandClock, directory: string | null): Promise<Store> {
  const log = createLog({ format: "text", level: "error", write: () => {} });
  return opened(await Store.open({ directory, clock, log }));
}

/** Lets all requests and answers arrive. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}

describe("the uplink", () => {
  test("the first message is a state, and events follow it at once", async () => {
    const gateway = await Gateway.make();
    gateway.record(3);
    gateway.start();
    await settle();
    expect(gateway.hub.states).toMatchObject([
      { order: 1, last: 3, first: 1, isComplete: true, isStopping: false },
    ]);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    gateway.record();
    await settle();
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    expect(gateway.hub.states).toHaveLength(1);
    expect(gateway.uplink!.state).toMatchObject({ waiting: 0, failures: 0, reason: "" });
  });

  test("a state is sent every 15 s, and a second after connected peers changed", async () => {
    const gateway = await Gateway.make();
    gateway.start();
    await settle();
    await gateway.advance(60_000);
    expect(gateway.hub.states).toHaveLength(5);
    gateway.uplink!.stateChanged();
    gateway.clock.advance(999);
    await settle();
    expect(gateway.hub.states).toHaveLength(5);
    gateway.clock.advance(1);
    await settle();
    expect(gateway.hub.states).toHaveLength(6);
  });

  test("many events are sent in full messages, with the states between them", async () => {
    const gateway = await Gateway.make();
    gateway.record(1201);
    gateway.start();
    await settle();
    expect(gateway.transport.sent).toEqual([500, 500, 201]);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
  });

  test("after a failure it tries again with growing pauses of at most 16 s", async () => {
    let fate: Fate = "lost";
    const gateway = await Gateway.make({ nextFate: () => fate });
    gateway.record();
    gateway.start();
    await settle();
    await gateway.advance(HOUR_MS);
    expect(gateway.transport.requests).toBeGreaterThan(170);
    expect(gateway.transport.requests).toBeLessThan(260);
    const { state } = gateway.uplink!;
    expect(state).toMatchObject({ key: "hub", waiting: 1, reason: "ECONNRESET" });
    const failures = gateway.lines.filter((line) => line.includes("ECONNRESET"));
    expect(failures[0]).toContain(
      "hub https://hub.example.net: ECONNRESET, attempt 1, next in 1 s",
    );
    fate = "ok";
    await gateway.advance(16_000);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    expect(gateway.lines.at(-1)).toMatch(/works again after \d+ failed attempts/);
    expect(gateway.uplink!.state).toMatchObject({ waiting: 0, failures: 0, reason: "" });
    // The list of peers that was not sent so far.
    expect(gateway.hub.states.map(({ isComplete }) => isComplete)).toEqual([false, true]);
  });

  test("a hub that lost its store, or has an older one, is sent what it lacks", async () => {
    const gateway = await Gateway.make();
    gateway.start();
    gateway.record(3);
    await settle();
    gateway.hub.backUp();
    gateway.record(3);
    await settle();
    gateway.hub.putBack();
    await gateway.advance(15_000);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    gateway.hub.forget();
    await gateway.advance(15_000);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    expect(gateway.hub.ids).toEqual(gateway.ids);
  });

  test("a gateway whose store was put back begins a new epoch, and sends all that it has", async () => {
    const clock = new HandClock();
    const gateway = await Gateway.make({ clock });
    gateway.start();
    gateway.record(5);
    await settle();
    const epoch = gateway.store.epochs.all()[0]!.epoch;
    const lost = gateway.ids;
    gateway.uplink!.close();
    for (const recorded of [2, 5, 8]) {
      const back = await Gateway.make({ clock, hub: gateway.hub });
      back.record(recorded);
      back.store.epochs.all();
      // The same store, two events younger.
      setEpoch(back.store, epoch);
      back.start();
      await settle();
      back.record();
      await settle();
      const [now] = back.store.epochs.all();
      expect(now!.epoch).not.toBe(epoch);
      expect(back.idsAtHub).toEqual(back.ids);
      expect(gateway.hub.ids).toEqual(expect.arrayContaining([...lost, ...back.ids]));
      expect(back.lines.join()).toContain("All events are sent again");
      back.uplink!.close();
      gateway.hub.forget();
      gateway.start(new FakeTransport(gateway.hub));
      await settle();
      gateway.uplink!.close();
    }
  });

  test("a gateway with the name of another one pauses, and continues when the other is gone", async () => {
    const clock = new HandClock();
    const first = await Gateway.make({ clock });
    first.start();
    first.record();
    await settle();
    const second = await Gateway.make({ clock, hub: first.hub });
    second.start();
    second.record();
    await settle();
    await first.advance(15_000);
    expect(first.uplink!.state.reason).toContain("another gateway with this name");
    const { requests } = first.transport;
    await first.advance(50_000);
    expect(first.transport.requests).toBe(requests);
    second.uplink!.close();
    await first.advance(200_000);
    expect(first.uplink!.state).toMatchObject({ failures: 0, waiting: 0 });
    expect(first.idsAtHub).toEqual(first.ids);
  });

  test("at the end it sends what is left, and says goodbye", async () => {
    const gateway = await Gateway.make();
    gateway.start();
    await settle();
    gateway.record(600);
    await gateway.uplink!.stop(800);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    expect(gateway.hub.states.at(-1)).toMatchObject({ isStopping: true, last: 600 });
    expect(gateway.clock.waiting).toBe(0);
  });

  test("at the end it does not wait longer than it may for a hub that is silent", async () => {
    let fate: Fate = "ok";
    const gateway = await Gateway.make({ nextFate: () => fate });
    gateway.start();
    await settle();
    fate = "hang";
    gateway.record();
    const stopped = gateway.uplink!.stop(800);
    await gateway.advance(800);
    await stopped;
    expect(gateway.clock.waiting).toBe(0);
  });

  test("a failure at the end is not repeated", async () => {
    let fate: Fate = "ok";
    const gateway = await Gateway.make({ nextFate: () => fate });
    gateway.start();
    await settle();
    fate = "lost";
    gateway.record();
    await settle();
    const { requests } = gateway.transport;
    await gateway.uplink!.stop(800);
    expect(gateway.transport.requests).toBe(requests + 1);
  });

  test("while the hub takes no events, it still gets complete states, and one line of the log says what fails", async () => {
    const gateway = await Gateway.make();
    gateway.start();
    await settle();
    const { transport } = gateway;
    const reason = "503: the hub's store cannot keep events now";
    const refuse = async () => ({ type: "retry", reason, afterMs: null }) as const;
    const accept = transport.sendEvents.bind(transport);
    transport.sendEvents = refuse;
    gateway.hub.wantsAllPeers = true;
    gateway.record();
    await settle();
    await gateway.advance(HOUR_MS);
    expect(gateway.hub.states.length).toBeGreaterThan(150);
    expect(gateway.hub.states.at(2)).toMatchObject({ isComplete: true });
    const shown = () => gateway.lines.filter((line) => !line.includes("debug"));
    expect(shown().filter((line) => line.includes("works again"))).toEqual([]);
    expect(shown().filter((line) => line.includes(reason))).toHaveLength(1);
    expect(await gateway.uplink!.test()).toEqual({ type: "delivered" });
    transport.sendEvents = accept;
    await gateway.advance(40_000);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    expect(gateway.lines.at(-1)).toMatch(/works again after \d+ failed attempts/);
  });

  test("an event that no message can hold is left out with one warning, and those around it arrive", async () => {
    const gateway = await Gateway.make();
    gateway.record();
    const change = { type: "device.added", atMs: 0, device: "wg0", listenPort: 0 } as const;
    const head = { id: newId("evt"), host: "x".repeat(1_100_000), name: null };
    const long = { event: eventOf(change, head), targets: [] };
    gateway.store.record({ events: [long], sessions: [], ended: [], devices: null }, 0);
    gateway.record();
    gateway.start();
    await gateway.advance(60_000);
    expect(gateway.idsAtHub).toEqual(gateway.ids.filter((id) => id !== head.id));
    expect(gateway.lines.filter((line) => line.includes("too long"))).toHaveLength(1);
    expect(gateway.uplink!.state).toMatchObject({ waiting: 0, failures: 0 });
  });

  test("a test sends the state, and tells the answer", async () => {
    let fate: Fate = "ok";
    const gateway = await Gateway.make({ nextFate: () => fate });
    gateway.start();
    await settle();
    expect(await gateway.uplink!.test()).toEqual({ type: "delivered" });
    fate = "lost";
    expect(await gateway.uplink!.test()).toMatchObject({ type: "retry", reason: "ECONNRESET" });
  });

  test("a hub that confirms nothing is not asked in a loop", async () => {
    const gateway = await Gateway.make();
    gateway.record();
    const { hub } = gateway;
    hub.receiveEvents = () => ({ ...hub.receiveState(hub.states[0]!), confirmed: 0 });
    gateway.start();
    await settle();
    expect(gateway.transport.requests).toBe(2);
    expect(gateway.uplink!.state.reason).toBe("the hub has not stored the events");
  });
});

describe("the uplink to a stream", () => {
  test("events are sent once the stream has them, and confirmed by the answer to a state", async () => {
    const gateway = await Gateway.make({ isStream: true });
    gateway.start();
    await settle();
    gateway.record(3);
    await settle();
    expect(gateway.uplink!.progress).toMatchObject({ sent: 3, confirmed: 0, last: 3 });
    for (const message of gateway.transport.stream) gateway.hub.receiveEvents(message);
    await gateway.advance(15_000);
    expect(gateway.uplink!.progress).toMatchObject({ sent: 3, confirmed: 3, last: 3 });
    expect(gateway.transport.sent).toEqual([3]);
  });

  test("what the stream lost is sent again when the hub asks for it", async () => {
    const gateway = await Gateway.make({ isStream: true });
    gateway.start();
    await settle();
    gateway.record(3);
    await settle();
    gateway.record(2);
    await settle();
    gateway.hub.replayAfter = 0;
    await gateway.advance(15_000);
    expect(gateway.idsAtHub).toEqual(gateway.ids);
    expect(gateway.uplink!.progress).toMatchObject({ sent: 5, confirmed: 5 });
    expect(gateway.transport.sent).toEqual([3, 2]);
  });
});

/** Gives the only epoch of a store this id. */
function setEpoch(store: Store, epoch: string): void {
  const rows = store.epochs as unknown as { all: () => unknown };
  const [own] = store.epochs.all();
  const original = rows.all.bind(rows);
  const renew = store.epochs.renew.bind(store.epochs);
  rows.all = () => [{ ...own, epoch }];
  store.epochs.renew = () => {
    rows.all = original;
    renew();
  };
}

type Step =
  | { readonly type: "record"; readonly count: number }
  | { readonly type: "advance"; readonly ms: number }
  | { readonly type: "kill" | "forget" | "back-up" | "put-back" | "renew" | "retry" | "skip" };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant("record" as const), count: fc.nat(700) }) },
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant("advance" as const), ms: fc.nat(90_000) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constantFrom(
        ...(["kill", "forget", "back-up", "put-back", "renew", "retry", "skip"] as const),
      ),
    }),
  },
);
const fate = fc.constantFrom<Fate>("ok", "ok", "lost", "answer-lost", "hang", "answer-hangs");

test("whatever is lost, killed or forgotten, the hub ends with exactly the gateway's events, in order", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 25 }),
      fc.array(fate, { maxLength: 60 }),
      async (steps, fates) => {
        const queue = [...fates];
        const nextFate = () => queue.shift() ?? "ok";
        const gateway = await Gateway.make({ nextFate });
        gateway.start();
        for (const each of steps) {
          switch (each.type) {
            case "record":
              gateway.record(each.count);
              break;
            case "advance":
              await gateway.advance(each.ms);
              break;
            case "kill":
              gateway.uplink!.close();
              gateway.start(new FakeTransport(gateway.hub, { nextFate }));
              break;
            case "forget":
              gateway.hub.forget();
              break;
            case "back-up":
              gateway.hub.backUp();
              break;
            case "put-back":
              gateway.hub.putBack();
              break;
            case "renew":
              gateway.store.epochs.renew();
              break;
            case "retry":
              gateway.uplink!.retry();
              break;
            // Some microtasks, so that what follows happens while a request is in flight.
            case "skip":
              await Promise.resolve();
          }
        }
        // From here on nothing fails, and the process is started again, because a request may hang.
        queue.length = 0;
        gateway.uplink!.close();
        gateway.start(new FakeTransport(gateway.hub));
        await gateway.advance(10 * 60_000);
        expect(gateway.idsAtHub).toEqual(gateway.ids);
        expect(new Set(gateway.hub.ids).size).toBe(gateway.hub.ids.length);
        expect(new Set(gateway.hub.ids)).toEqual(new Set(gateway.ids));
        expect(gateway.uplink!.state).toMatchObject({ waiting: 0, failures: 0 });
        gateway.uplink!.close();
        close(gateway.store);
      },
    ),
    { numRuns: Number(process.env["FLEET_RUNS"] ?? 100) },
  );
}, 120_000);

type Act =
  "record" | "fail" | "fail-read" | "mend" | "restart" | "hub-away" | "hub-back" | "advance";

/** The hub must be sent all events again in new epochs, but only few events are in memory. */
const NEW_EPOCHS_AND_FAILURE: Act[] = [
  ...(["record", "advance", "fail-read", "record", "advance", "hub-away", "mend"] as const),
  ...(["fail", "record", "hub-back", "advance"] as const),
];

test("whatever happens to the file of the store, the hub ends with all events, in order", async () => {
  type Act =
    "record" | "fail" | "fail-read" | "mend" | "restart" | "hub-away" | "hub-back" | "advance";
  const act = fc.constantFrom<Act>(
    ...(["record", "record", "fail", "fail-read", "mend", "restart"] as const),
    ...(["hub-away", "hub-back", "advance"] as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 25 }), async (acts) => {
      const directory = folder();
      let isAway = false;
      const nextFate = (): Fate => (isAway ? "lost" : "ok");
      const gateway = await Gateway.make({ directory, nextFate });
      gateway.start();
      let mend: (() => void) | null = null;
      const mended = async () => {
        mend?.();
        mend = null;
        await gateway.advance(60_000);
      };
      for (const each of acts) {
        if (each === "record") gateway.record(3);
        else if (each === "mend") await mended();
        else if (each === "advance") await gateway.advance(20_000);
        else if (each === "hub-away") isAway = true;
        else if (each === "hub-back") isAway = false;
        else if (each === "restart") {
          mend?.();
          mend = null;
          gateway.uplink!.close();
          close(gateway.store);
          gateway.store = await newStore(gateway.clock, directory);
          gateway.start(new FakeTransport(gateway.hub, { nextFate }));
        } else if (mend === null && !gateway.store.isInMemory) {
          mend = failStore(directory, each === "fail-read");
        }
      }
      isAway = false;
      await mended();
      await gateway.advance(5 * 60_000);
      expect(gateway.store.isInMemory).toBe(false);
      expect(gateway.idsAtHub).toEqual(gateway.ids);
      expect(gateway.hub.ids.toSorted()).toEqual(gateway.ids.toSorted());
      gateway.uplink!.close();
      close(gateway.store);
    }),
    {
      numRuns: Number(process.env["FLEET_RUNS"] ?? 40),
      examples: [[NEW_EPOCHS_AND_FAILURE]],
    },
  );
}, 120_000);
