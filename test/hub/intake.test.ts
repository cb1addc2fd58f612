/** What the hub stores of the messages of gateways, and what it answers. */

import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { join } from "node:path";

import fc from "fast-check";

import type { Target } from "../../src/delivery/target.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { makeFleetSamples } from "../../src/events/samples.ts";
import { checkState } from "../../src/hub/check-messages.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { aliceReport, startHub, TestGateway } from "../support/fleet.ts";
import { ALICE, peer } from "../support/peers.ts";
import { parse } from "../support/settings.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const { folder } = useStoreFolders();
const command = parse(["hub", "--host", "hub1"]);
if (command.type !== "hub") throw new Error();
const { settings } = command;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

async function hubWith(...names: string[]) {
  const running = await startHub({ settings });
  for (const name of names) running.hub.enroll(name);
  return running;
}

type Running = Awaited<ReturnType<typeof startHub>>;

/** The stored events, as text of their bodies, in the order of the hub. */
function bodies({ store }: Running): string[] {
  const query = { order: "oldest", from: null, limit: 10_000 } as const;
  const none = { type: null, publicKey: null, sinceMs: null };
  return store.events.query({ ...query, ...none }).map(({ event }) => JSON.stringify(event));
}

function types(running: Running): string[] {
  return bodies(running).map((body) => (JSON.parse(body) as { type: string }).type);
}

describe("events of a gateway", () => {
  test("the hub stores events in the order of the gateway, and confirms the last one", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 5; n++) berlin.device();
    expect(berlin.send(running, berlin.message(0))).toMatchObject({ confirmed: 5, problem: null });
    expect(bodies(running)).toEqual(berlin.events.map(({ event }) => JSON.stringify(event)));
  });

  test("the stored body is byte for byte that of the gateway's store", async () => {
    const clock = new HandClock();
    const onGateway = folder();
    const onHub = folder();
    const running = await startHub({ settings, clock, directory: onHub });
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", clock);
    const own = await Store.open({ directory: onGateway, clock, log: silent });
    berlin.connect();
    // A name with quotes, other scripts, an escape sequence and half of a character; numbers with many digits.
    const odd = peer({ publicKey: ALICE, endpoint: "[fe80::1%2]:1", allowedIps: ["fd00::/8"] });
    const session = { startedAtMs: clock.now().wallMs, rxBytes: 2 ** 53 - 1, txBytes: 0, roams: 7 };
    const change = { type: "peer.connected", atMs: 1, device: "wg\u00e9", peer: odd } as const;
    const name = '"\\\u2028\u{1F980}\u001b[31m\ud800__proto__';
    const id = `evt_${"7".repeat(32)}`;
    berlin.record(eventOf({ ...change, session, initial: true }, { id, host: "berlin", name }));
    for (const { event } of berlin.events) {
      own.record({ events: [{ event, targets: [] }], sessions: [], ended: [], devices: null }, 0);
    }
    const rows = own.events.query({
      order: "oldest",
      from: null,
      limit: 10,
      type: null,
      publicKey: null,
      sinceMs: null,
    });
    const message = { ...berlin.message(0), events: rows };
    const sent = JSON.parse(JSON.stringify(message)) as ReturnType<TestGateway["message"]>;
    expect(berlin.send(running, sent).confirmed).toBe(2);
    await running.hub.stop();
    own[Symbol.dispose]();
    const read = (directory: string) => {
      using file = new Database(join(directory, "wgmon.db"), { readonly: true });
      return file.query("SELECT id, type, at_ms, CAST(body AS BLOB) AS body FROM events").all();
    };
    expect(read(onHub)).toEqual(read(onGateway));
    expect(read(onHub)).toHaveLength(2);
  });

  test("events that were sent before are not stored twice, nor sent to targets twice", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 4; n++) berlin.device();
    const first = berlin.message(0, 3);
    berlin.send(running, first);
    expect(berlin.send(running, first)).toMatchObject({ confirmed: 3 });
    expect(berlin.send(running, berlin.message(1))).toMatchObject({ confirmed: 4 });
    expect(bodies(running)).toHaveLength(4);
  });

  test("a message that begins too late is not stored; the answer says where to continue", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 6; n++) berlin.device();
    berlin.send(running, berlin.message(0, 2));
    expect(berlin.send(running, berlin.message(4))).toMatchObject({ confirmed: 2, problem: null });
    expect(bodies(running)).toHaveLength(2);
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 6 });
    expect(types(running)).not.toContain("fleet.gap");
  });

  test("numbers that the gateway does not have any more are one event fleet.gap, once", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 10; n++) berlin.device();
    berlin.send(running, berlin.message(0, 3));
    berlin.events.splice(3, 4);
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 10 });
    berlin.sendAll(running);
    const gaps = bodies(running).flatMap((body) => {
      const event = JSON.parse(body) as { type: string; data: unknown };
      return event.type === "fleet.gap" ? [event.data] : [];
    });
    const gap = { gateway: "berlin", epoch: "00000001", firstSeq: 4, lastSeq: 7, count: 4 };
    expect(gaps).toEqual([gap]);
  });

  test("a gateway whose oldest events are deleted is asked where it begins before the hub calls them lost", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 10; n++) berlin.device();
    berlin.events.splice(0, 4);
    // It believes that the hub has 6, and does not have that event any more.
    const late = { ...berlin.message(6), after: null };
    expect(berlin.send(running, late)).toMatchObject({ confirmed: 0 });
    expect(types(running)).toEqual([]);
    expect(berlin.send(running, berlin.message(0))).toMatchObject({ confirmed: 10 });
    expect(types(running).filter((type) => type === "fleet.gap")).toHaveLength(1);
    expect(types(running).filter((type) => type === "device.added")).toHaveLength(6);
  });

  test("an event about a device that looks like that of another gateway is refused", async () => {
    const running = await hubWith("berlin", "paris");
    const berlin = new TestGateway("berlin", running.clock);
    const event = berlin.device() as Extract<Event, { type: "device.added" }>;
    const [first] = berlin.events;
    const data = { ...event.data, device: "paris/wg0" };
    berlin.events[0] = { ...first!, event: { ...event, data } };
    expect(berlin.send(running, berlin.message(0))).toMatchObject({ confirmed: 1 });
    expect(types(running)).toEqual(["fleet.gap"]);
  });

  test("a gateway that reports the host of another one is shown with its own name", async () => {
    const running = await hubWith("berlin", "paris");
    const berlin = new TestGateway("berlin", running.clock);
    const hostOf = () => running.hub.stages.fleet.gateway("berlin")?.host;
    berlin.host = "Berlin";
    berlin.report(running);
    expect(hostOf()).toBe("Berlin");
    berlin.host = "paris";
    berlin.report(running);
    expect(hostOf()).toBe("berlin");
  });

  test.each([
    { nowMs: -1e308 },
    { nowMs: 1e300 },
    { startedAtMs: 8.64e15 },
    { last: 2 ** 53 },
    { first: 2 ** 53 },
  ])("a state with %j is refused, because the hub could not show it", (fields) => {
    const berlin = new TestGateway("berlin", new HandClock());
    expect(checkState(berlin.state())).toMatchObject({ message: {} });
    expect(checkState({ ...berlin.state(), ...fields })).toMatchObject({
      problem: expect.stringContaining(Object.keys(fields)[0]!) as string,
    });
  });

  test("events that a gateway recorded under another name are stored, but are not news: it cannot speak for others", async () => {
    const sent: string[] = [];
    const ops: Target = {
      key: "ops",
      digestMs: 0,
      accepts: () => true,
      channel: {
        name: "ops",
        attempt({ events }) {
          sent.push(...events.map(({ host }) => host));
          return Promise.resolve({ type: "delivered" });
        },
      },
    };
    const running = await startHub({ settings, targets: [ops] });
    for (const name of ["berlin", "paris"]) running.hub.enroll(name);
    const berlin = new TestGateway("berlin", running.clock);
    for (const host of ["Paris", "berlin-mitte", "berlin"]) {
      berlin.host = host;
      berlin.device();
    }
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 3 });
    for (let turn = 0; turn < 9; turn++) await Promise.resolve();
    expect(types(running)).toEqual(["device.added", "device.added", "device.added"]);
    expect(sent).toEqual(["berlin-mitte", "berlin"]);
    const none = { type: null, publicKey: null, sinceMs: null, from: null };
    const query = { order: "oldest", limit: 9, gateway: "paris", ...none } as const;
    expect(running.store.events.query(query)).toEqual([]);
  });

  test("gaps that follow each other are one event, and at most 100 in an hour are reported", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (const sample of makeFleetSamples(berlin.nowMs, "berlin")) berlin.record(sample);
    berlin.device();
    berlin.sendAll(running);
    expect(types(running)).toEqual(["device.added", "fleet.gap"]);
    for (let n = 0; n < 400; n++) {
      berlin.device();
      if (n % 2 === 0) berlin.events.pop();
    }
    berlin.sendAll(running);
    expect(types(running).filter((type) => type === "fleet.gap")).toHaveLength(100);
    const warnings = running.lines.filter(({ text }) => /refused|more than/.test(text));
    expect(warnings.map(({ text }) => text)).toEqual([
      "events were refused, because only a hub can record them",
      "more than 100 gaps in an hour; further ones are not reported",
    ]);
  });
});

test("a gateway cannot report events about gateways, which are those of the hub", async () => {
  const running = await hubWith("berlin", "paris");
  const berlin = new TestGateway("berlin", running.clock);
  for (const sample of makeFleetSamples(berlin.nowMs, "berlin")) berlin.record(sample);
  berlin.device();
  expect(berlin.sendAll(running)).toMatchObject({ confirmed: 7 });
  expect(types(running).filter((type) => type !== "fleet.gap")).toEqual(["device.added"]);
});

describe("stores that were put back, wiped or copied", () => {
  test("a new store of the gateway is a new epoch, and its events are stored beside the old ones", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 3; n++) berlin.device();
    berlin.sendAll(running);
    const wiped = new TestGateway("berlin", running.clock);
    wiped.epoch = "0000000f";
    wiped.device();
    expect(wiped.sendAll(running)).toMatchObject({ confirmed: 1, problem: null });
    expect(bodies(running)).toHaveLength(4);
  });

  test("a gateway's store that was put back has diverged; all that it has is known or is stored", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 3; n++) berlin.device();
    berlin.sendAll(running);
    const lost = [berlin.device(), berlin.device()];
    berlin.sendAll(running);
    // Yesterday's copy has three events, and then numbers others in their place.
    berlin.events.splice(3);
    berlin.last = 3;
    const others = [berlin.device(), berlin.device(), berlin.device()];
    expect(berlin.send(running, berlin.message(5))).toMatchObject({ problem: "diverged" });
    expect(berlin.sendAll(running)).toMatchObject({ problem: null, confirmed: 6 });
    const ids = bodies(running).map((body) => (JSON.parse(body) as { id: string }).id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual([
      ...berlin.events.slice(0, 3).map(({ event }) => event.id),
      ...lost.map(({ id }) => id),
      ...others.map(({ id }) => id),
    ]);
  });

  test("a hub that was wiped gets all events again", async () => {
    const first = await hubWith("berlin");
    const berlin = new TestGateway("berlin", first.clock);
    for (let n = 0; n < 1200; n++) berlin.device();
    berlin.sendAll(first);
    const second = await hubWith("berlin");
    expect(berlin.send(second, berlin.message(1200))).toMatchObject({ confirmed: 0 });
    expect(berlin.sendAll(second)).toMatchObject({ confirmed: 1200 });
    expect(bodies(second)).toEqual(bodies(first));
  });

  test("a hub's store that was put back gets what it lost", async () => {
    const clock = new HandClock();
    const now = folder();
    const yesterday = folder();
    let running = await startHub({ settings, clock, directory: now });
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", clock);
    for (let n = 0; n < 10; n++) berlin.device();
    berlin.sendAll(running);
    await running.hub.stop();
    cpSync(now, yesterday, { recursive: true });
    running = await startHub({ settings, clock, directory: now });
    for (let n = 0; n < 10; n++) berlin.device();
    berlin.sendAll(running);
    await running.hub.stop();
    running = await startHub({ settings, clock, directory: yesterday });
    expect(berlin.send(running, berlin.message(20))).toMatchObject({ confirmed: 10 });
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 20 });
    expect(bodies(running)).toEqual(berlin.events.map(({ event }) => JSON.stringify(event)));
    await running.hub.stop();
  });

  test("wgmon hub rebuild asks for all events again, and stores only those that are missing", async () => {
    const running = await hubWith("berlin", "paris");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 5; n++) berlin.device();
    berlin.sendAll(running);
    berlin.report(running);
    expect(running.hub.stages.intake.rebuild(null)).toBe(2);
    expect(berlin.report(running)).toMatchObject({ confirmed: 0, replayAfter: 0 });
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 5 });
    expect(bodies(running)).toHaveLength(5);
    expect(types(running)).not.toContain("fleet.gap");
  });

  test("events that the gateway has deleted since are no gap after a rebuild, also if the hub was restarted meanwhile", async () => {
    const clock = new HandClock();
    const directory = folder();
    let running = await startHub({ settings, clock, directory });
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", clock);
    for (let n = 0; n < 10; n++) berlin.device();
    berlin.sendAll(running);
    berlin.events.splice(0, 4);
    running.hub.rebuild(null);
    await running.hub.stop();
    running = await startHub({ settings, clock, directory });
    for (let n = 0; n < 4; n++) berlin.device();
    // Of the new ones, two are lost.
    berlin.events.splice(7, 2);
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 14 });
    const gaps = bodies(running).flatMap((body) => {
      const event = JSON.parse(body) as { type: string; data: unknown };
      return event.type === "fleet.gap" ? [event.data] : [];
    });
    expect(gaps).toMatchObject([{ firstSeq: 12, lastSeq: 13 }]);
    await running.hub.stop();
  });

  test("events from a stream do not count as an answer, which only a request gets", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 10; n++) berlin.device();
    const { intake } = running.hub.stages;
    const waited = berlin.message(0, 2) as never;
    intake.events("berlin", waited, { isSignOfLife: false });
    // The beginning of a later message is missing in the stream, and not on the gateway.
    const late = { ...berlin.message(6), after: null } as never;
    intake.events("berlin", late, { isSignOfLife: false });
    expect(types(running)).not.toContain("fleet.gap");
  });

  test("two gateways with one name: the older one gets the answer duplicate-name, and one event in an hour reports it", async () => {
    const running = await hubWith("berlin");
    const [one, two] = [
      new TestGateway("berlin", running.clock),
      new TestGateway("berlin", running.clock),
    ];
    two.epoch = "00000002";
    for (const each of [one, two]) each.device();
    one.sendAll(running);
    two.sendAll(running);
    for (let n = 0; n < 20; n++) {
      running.clock.advance(15_000);
      expect(one.report(running)).toMatchObject({ problem: "duplicate-name", confirmed: null });
      expect(two.report(running)).toMatchObject({ problem: null, confirmed: 1 });
    }
    expect(types(running).filter((type) => type === "fleet.duplicate-name")).toHaveLength(1);
    expect(running.hub.stages.fleet.gateways()).toMatchObject([
      { epoch: "00000002", condition: "up" },
    ]);
  });

  test("events of an old epoch that waited in a stream are stored, and are no duplicate name", async () => {
    const running = await hubWith("berlin");
    const [old, now] = [
      new TestGateway("berlin", running.clock),
      new TestGateway("berlin", running.clock),
    ];
    now.epoch = "00000002";
    for (const each of [old, old, now]) each.device();
    const { intake, fleet } = running.hub.stages;
    const waited = (gateway: TestGateway, after: number) =>
      intake.events("berlin", gateway.message(after, 1) as never, { isSignOfLife: false });
    now.report(running);
    waited(old, 0);
    now.sendAll(running);
    waited(old, 1);
    expect(types(running)).toEqual(["device.added", "device.added", "device.added"]);
    expect(now.report(running)).toMatchObject({ problem: null, confirmed: 1 });
    expect(fleet.gateway("berlin")).toMatchObject({
      epoch: "00000002",
      confirmedSeq: 1,
      lastSeq: 1,
    });
  });

  test("events from a stream do not make a lost gateway report again", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    for (let n = 0; n < 9; n++) berlin.device();
    berlin.report(running);
    running.clock.advance(120_000);
    for (let n = 0; n < 9; n++) {
      const message = berlin.message(n, 1) as never;
      running.hub.stages.intake.events("berlin", message, { isSignOfLife: false });
    }
    expect(running.hub.stages.fleet.gateway("berlin")).toMatchObject({
      condition: "lost",
      confirmedSeq: 9,
    });
  });

  test("an old epoch that reports when the current one is silent has diverged", async () => {
    const running = await hubWith("berlin");
    const [one, two] = [
      new TestGateway("berlin", running.clock),
      new TestGateway("berlin", running.clock),
    ];
    two.epoch = "00000002";
    for (const each of [one, two]) each.device();
    one.sendAll(running);
    two.sendAll(running);
    running.clock.advance(61_000);
    expect(one.report(running)).toMatchObject({ problem: "diverged" });
  });

  test("after any course of losses, the hub has exactly the union of what the gateways had, in their order", async () => {
    const step = fc.record({
      does: fc.constantFrom(
        "event",
        "event",
        "event",
        "send",
        "send-part",
        "wipe-hub",
        "trim",
        "resend",
      ),
      count: fc.integer({ min: 1, max: 7 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        let running = await hubWith("berlin");
        const berlin = new TestGateway("berlin", running.clock);
        let confirmed = 0;
        for (const { does, count } of steps) {
          if (does === "event") for (let n = 0; n < count; n++) berlin.device();
          else if (does === "send") confirmed = berlin.sendAll(running, count).confirmed ?? 0;
          else if (does === "send-part") {
            confirmed = berlin.send(running, berlin.message(confirmed, count)).confirmed ?? 0;
          } else if (does === "resend")
            berlin.send(running, berlin.message(Math.max(0, confirmed - count)));
          else if (does === "wipe-hub") running = await hubWith("berlin");
          else if (berlin.events.length > 0) berlin.events.shift();
        }
        berlin.sendAll(running);
        const stored = bodies(running).filter((body) => !body.includes("fleet.gap"));
        const had = berlin.events.map(({ event }) => JSON.stringify(event));
        expect(stored.slice(-had.length || Infinity)).toEqual(had);
        expect(new Set(stored).size).toBe(stored.length);
      }),
      { numRuns: 60 },
    );
  });
});

describe("sessions, targets and history", () => {
  const accepted: string[][] = [];
  const target = (): Target => ({
    key: "ops",
    digestMs: 0,
    accepts: () => true,
    channel: {
      name: "ops",
      attempt({ events }) {
        accepted.push(events.map(({ type }) => type));
        return Promise.resolve({ type: "delivered" });
      },
    },
  });

  test("an event of a type that only newer gateways know is stored, and not sent to targets", async () => {
    accepted.length = 0;
    const running = await startHub({ settings, targets: [target()] });
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    berlin.device();
    berlin.device();
    const [first] = berlin.events;
    const data = { device: "wg0", peer: null, peers: "many", alerts: 3 };
    const event = { ...first!.event, type: "peer.teleported", data } as unknown as Event;
    berlin.events[0] = { ...first!, event };
    expect(berlin.sendAll(running)).toMatchObject({ confirmed: 2 });
    await Promise.resolve();
    expect(types(running)).toEqual(["peer.teleported", "device.added"]);
    expect(accepted).toEqual([["device.added"]]);
  });

  test("a session is open in the store from its first event to its last one, under the hub's name of the device", async () => {
    const running = await hubWith("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    berlin.report(running, { peers: [aliceReport()] });
    running.clock.advance(1000);
    const startedAtMs = berlin.nowMs;
    berlin.connect();
    berlin.sendAll(running);
    const query = { device: "berlin/wg0", publicKey: ALICE, sinceMs: null, from: null, limit: 9 };
    const rows = () => running.store.sessions.query({ ...query, isOpen: null });
    expect(rows()).toMatchObject([{ startedAtMs, endedAtMs: null, rxBytes: 148 }]);
    expect(running.hub.stages.fleet.session("berlin/wg0", ALICE)).toMatchObject({
      startedAtMs,
    });
    running.clock.advance(60_000);
    berlin.disconnect({ startedAtMs });
    berlin.sendAll(running);
    expect(rows()).toMatchObject([
      { startedAtMs, endedAtMs: startedAtMs + 60_000, reason: "idle", rxBytes: 5000 },
    ]);
    expect(running.hub.stages.fleet.session("berlin/wg0", ALICE)).toBeNull();
  });

  test("news is sent to the hub's targets, and history is only stored", async () => {
    accepted.length = 0;
    const running = await startHub({ settings, targets: [target()] });
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    berlin.device(berlin.nowMs - 3_700_000);
    berlin.device(berlin.nowMs - 3_500_000);
    const heard: number[] = [];
    running.hub.stages.reporter.subscribe((events) => heard.push(events.length));
    berlin.sendAll(running);
    await Promise.resolve();
    expect(accepted).toEqual([["device.added"]]);
    expect(heard).toEqual([2]);
    expect(bodies(running)).toHaveLength(2);
  });

  test("a gateway whose clock is a day behind sends news", async () => {
    accepted.length = 0;
    const running = await startHub({ settings, targets: [target()] });
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", running.clock);
    berlin.offsetMs = -86_400_000;
    berlin.startedAtMs = berlin.nowMs;
    berlin.report(running);
    berlin.device();
    berlin.sendAll(running);
    await Promise.resolve();
    expect(accepted).toEqual([["device.added"]]);
    expect(running.hub.stages.fleet.gateways()).toMatchObject([{ clockOffsetMs: -86_400_000 }]);
  });

  test("a session that the gateway does not have any more ends in the store, also without an event", async () => {
    const clock = new HandClock();
    const directory = folder();
    let running = await startHub({ settings, clock, directory });
    running.hub.enroll("berlin");
    const berlin = new TestGateway("berlin", clock);
    berlin.report(running, { peers: [aliceReport()] });
    clock.advance(1000);
    berlin.connect();
    berlin.sendAll(running);
    await running.hub.stop();
    running = await startHub({ settings, clock, directory });
    // Until the gateway reports, its sessions are unknown.
    const { fleet } = running.hub.stages;
    expect(fleet.session("berlin/wg0", ALICE)).not.toBeNull();
    expect(fleet.isObserved("berlin/wg0")).toBe(false);
    clock.advance(1000);
    expect(berlin.report(running)).toMatchObject({ wantsAllPeers: true });
    berlin.report(running, { isComplete: true, peers: [aliceReport()] });
    const query = { device: null, publicKey: null, sinceMs: null, from: null, limit: 9 };
    expect(running.store.sessions.query({ ...query, isOpen: true })).toEqual([]);
    expect(running.store.sessions.query({ ...query, isOpen: false })).toMatchObject([
      { device: "berlin/wg0", reason: "not-watched" },
    ]);
    await running.hub.stop();
  });
});

test("events that the store's file cannot keep are not confirmed, and are stored once when it works again", async () => {
  const clock = new HandClock();
  const directory = folder();
  const running = await startHub({ settings, clock, directory });
  running.hub.enroll("berlin");
  const berlin = new TestGateway("berlin", clock);
  for (let n = 0; n < 3; n++) berlin.device();
  berlin.report(running);
  berlin.sendAll(running);
  for (let n = 0; n < 3; n++) berlin.device();
  const other = new Database(join(directory, "wgmon.db"));
  other.run("BEGIN IMMEDIATE");
  expect(() => berlin.send(running, berlin.message(3))).toThrow("store events");
  // Also not in memory, where they would be lost with the process.
  berlin.device();
  expect(() => berlin.send(running, berlin.message(3))).toThrow("store events");
  expect(berlin.report(running)).toMatchObject({ confirmed: 3, problem: null });
  other.run("ROLLBACK");
  other.close();
  clock.advance(61_000);
  expect(running.store.problem).toBeNull();
  expect(berlin.sendAll(running)).toMatchObject({ confirmed: 7 });
  await running.hub.stop();
  using file = new Database(join(directory, "wgmon.db"), { readonly: true });
  const rows = file.query<{ seq: number; body: string }, []>(
    "SELECT fleet_events.seq AS seq, body FROM fleet_events JOIN events ON events.seq = event ORDER BY 1",
  );
  expect(rows.all()).toEqual(
    berlin.events.map(({ seq, event }) => ({ seq, body: JSON.stringify(event) })),
  );
});

test("while the store's file fails, a gateway is neither enrolled nor forgotten, and no rebuild begins", async () => {
  const clock = new HandClock();
  const directory = folder();
  const running = await startHub({ settings, clock, directory });
  running.hub.enroll("berlin");
  const other = new Database(join(directory, "wgmon.db"));
  other.run("BEGIN IMMEDIATE");
  // The file fails with the first of them.
  expect(() => running.hub.enroll("paris")).toThrow("enroll paris");
  expect(() => running.hub.enroll("berlin")).toThrow("enroll berlin");
  expect(() => running.hub.forget("berlin")).toThrow("forget berlin");
  expect(() => running.hub.rebuild(null)).toThrow("rebuild");
  other.run("ROLLBACK");
  other.close();
  clock.advance(61_000);
  expect(running.store.problem).toBeNull();
  expect(running.store.fleet.gateways().map(({ gateway }) => gateway)).toEqual(["berlin"]);
  expect(running.hub.forget("berlin")).toBe(true);
  await running.hub.stop();
});

test("states of gateways that were saved while the file failed are saved again when it works", async () => {
  const clock = new HandClock();
  const directory = folder();
  const running = await startHub({ settings, clock, directory });
  running.hub.enroll("berlin");
  const berlin = new TestGateway("berlin", clock);
  berlin.report(running);
  const other = new Database(join(directory, "wgmon.db"));
  other.run("BEGIN IMMEDIATE");
  running.hub.stages.saver.saveStates();
  berlin.report(running, { isStopping: true });
  running.hub.stages.saver.saveStates();
  expect(running.store.problem).not.toBeNull();
  other.run("ROLLBACK");
  other.close();
  clock.advance(61_000);
  expect(running.store.problem).toBeNull();
  running.hub.stages.saver.saveStates();
  const [row] = running.store.fleet.gateways();
  expect(JSON.parse(row!.state)).toMatchObject({ condition: "stopped" });
  await running.hub.stop();
});

test("a gateway that reported before a crash of the hub, and not after, is lost", async () => {
  const clock = new HandClock();
  const directory = folder();
  const first = await startHub({ settings, clock, directory });
  first.hub.enroll("berlin");
  new TestGateway("berlin", clock).report(first);
  // The first hub does not stop, and is not heard of any more.
  const crashed = folder();
  cpSync(directory, crashed, { recursive: true });
  const second = await startHub({ settings, clock: new HandClock(), directory: crashed });
  second.clock.advance(100_000);
  expect(types(second)).toEqual(["gateway.lost"]);
  expect(second.hub.stages.fleet.gateway("berlin")).toMatchObject({
    host: "berlin",
    condition: "lost",
  });
  await second.hub.stop();
  await first.hub.stop();
});

test("after the hub's clock was set, stored events and sessions keep the times of their gateways", async () => {
  const running = await hubWith("berlin");
  const { clock, hub, store } = running;
  const berlin = new TestGateway("berlin", clock);
  berlin.report(running, { peers: [aliceReport()] });
  clock.advance(1000);
  const startedAtMs = berlin.nowMs;
  berlin.connect();
  berlin.sendAll(running);
  clock.jump(3_600_000);
  berlin.offsetMs = -3_600_000;
  hub.stages.clockSteps.read();
  clock.advance(70_000);
  const query = { device: null, publicKey: ALICE, sinceMs: null, from: null, limit: 9 };
  const rows = () => store.sessions.query({ ...query, isOpen: null });
  expect(rows()).toMatchObject([{ startedAtMs, endedAtMs: null }]);
  berlin.disconnect({ startedAtMs });
  berlin.sendAll(running);
  expect(rows()).toMatchObject([{ startedAtMs, endedAtMs: startedAtMs + 70_000 }]);
  expect(hub.stages.fleet.session("berlin/wg0", ALICE)).toBeNull();
});

test.each(["hub", "gateway"])(
  "after the clock of the %s was set, a session goes on as one row, and its bytes are counted once",
  async (which) => {
    const running = await hubWith("berlin");
    const { clock, hub, store } = running;
    const berlin = new TestGateway("berlin", clock);
    let startedAtMs = berlin.nowMs;
    const report = () => {
      const lastActivityMs = berlin.nowMs;
      const session = { startedAtMs, lastActivityMs, rxBytes: 5000, txBytes: 0, roams: 0 };
      berlin.report(running, { peers: [aliceReport({ session })] });
    };
    for (let n = 0; n < 10; n++) {
      report();
      clock.advance(15_000);
    }
    if (which === "hub") {
      clock.jump(7_200_000);
      berlin.offsetMs = -7_200_000;
      hub.stages.clockSteps.read();
    } else {
      berlin.offsetMs = -7_200_000;
      startedAtMs -= 7_200_000;
    }
    for (let n = 0; n < 10; n++) {
      report();
      clock.advance(15_000);
    }
    const query = { device: null, publicKey: ALICE, sinceMs: null, from: null, limit: 9 };
    expect(store.sessions.query({ ...query, isOpen: null })).toMatchObject([
      { startedAtMs, endedAtMs: null },
    ]);
    const { rxBytes } = store.traffic.range("berlin/wg0", ALICE, "24h", clock.now().wallMs);
    expect(rxBytes.reduce((sum, bytes) => sum + bytes)).toBe(5000);
  },
);

test("a gateway that is lost, back and stopped is three events of the hub, and its peers are unknown meanwhile", async () => {
  const running = await hubWith("berlin");
  const { clock, hub } = running;
  const berlin = new TestGateway("berlin", clock);
  for (let n = 0; n < 10; n++) {
    berlin.report(running, { peers: [aliceReport()] });
    clock.advance(15_000);
  }
  expect(hub.stages.fleet.isObserved("berlin/wg0")).toBe(true);
  clock.advance(60_000);
  expect(types(running)).toEqual(["gateway.lost"]);
  expect(hub.stages.fleet.isObserved("berlin/wg0")).toBe(false);
  for (let n = 0; n < 2; n++) {
    berlin.report(running, { peers: [aliceReport()] });
    clock.advance(15_000);
  }
  expect(types(running)).toEqual(["gateway.lost", "gateway.back"]);
  berlin.report(running, { isStopping: true });
  clock.advance(600_000);
  expect(types(running)).toEqual(["gateway.lost", "gateway.back", "gateway.stopped"]);
  expect(JSON.parse(bodies(running)[0]!)).toMatchObject({
    host: "hub1",
    data: { gateway: "berlin", peers: 1, connected: 0 },
  });
});
