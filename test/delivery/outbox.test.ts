/** The outbox, with targets whose results and a clock whose time the test controls. */

import { afterEach, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Clock, systemClock } from "../../src/base/clock.ts";
import { WallClock } from "../../src/base/wall-clock.ts";
import { json } from "../../src/channels/formats/json.ts";
import { createWebhook } from "../../src/channels/webhook.ts";
import { Outbox } from "../../src/delivery/outbox.ts";
import type { Channel, DeliveryResult, Message, Target } from "../../src/delivery/target.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { deviceOf, eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import type { TargetBacklog } from "../../src/store/outbox-rows.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { Receiver } from "../support/receiver.ts";

const HOUR_MS = 3_600_000;
const delivered: DeliveryResult = { type: "delivered" };
const down: DeliveryResult = { type: "retry", reason: "503", afterMs: null };
const silent: DeliveryResult = { type: "retry", reason: "timeout", afterMs: null };
const refused: DeliveryResult = { type: "drop", reason: "404: not found" };
const gone: DeliveryResult = { type: "stop", reason: "410: the target is gone" };

/** Holds each attempt until the test settles it, or gives all the same result. */
class FakeChannel implements Channel {
  /** The devices of the events, for each attempt: `wg<n>` for the n-th event. */
  readonly attempts: string[] = [];
  readonly ids: string[] = [];
  readonly name: string;
  readonly #always: DeliveryResult | undefined;
  #pending: ((verdict: DeliveryResult) => void) | null = null;
  signal: AbortSignal | undefined;

  constructor(name = "target", always?: DeliveryResult) {
    this.name = name;
    this.#always = always;
  }

  attempt({ id, events }: Message, signal: AbortSignal): Promise<DeliveryResult> {
    expect(this.#pending).toBeNull();
    this.attempts.push(events.map((event) => deviceOf(event)).join(" "));
    this.ids.push(id);
    this.signal = signal;
    if (this.#always !== undefined) return Promise.resolve(this.#always);
    return new Promise((resolve) => {
      this.#pending = resolve;
    });
  }

  get isBusy(): boolean {
    return this.#pending !== null;
  }

  /** Ends the current attempt, and lets the outbox process the result. */
  async settle(verdict: DeliveryResult): Promise<void> {
    const resolve = this.#pending!;
    this.#pending = null;
    resolve(verdict);
    await flushPromises();
  }
}

/** Waits until all settled flushPromises have run their callbacks. */
const flushPromises = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function event(n: number): Event {
  const change = { type: "device.added", atMs: 0, device: `wg${n}`, listenPort: 0 } as const;
  const id = `evt_${n.toString(16).padStart(32, "0")}`;
  return eventOf(change, { id, host: "gw1", name: null });
}

/** A copy of the folder in its present state, which is what a crash of the process would leave. */
function copyOf(directory: string, folders: string[]): string {
  const copy = mkdtempSync(join(tmpdir(), "wgmon-outbox-"));
  folders.push(copy);
  cpSync(directory, copy, { recursive: true });
  return copy;
}

/** A target that accepts all events, with its name as its key. */
function target(channel: Channel, fields: Partial<Target> = {}): Target {
  return { key: channel.name, channel, accepts: () => true, digestMs: 0, ...fields };
}

interface Options {
  random?: () => number;
  level?: "info" | "debug";
  /** Directory of the store; default: in memory. */
  directory?: string;
  clock?: HandClock;
}

async function setup({
  random = () => 0.5,
  level = "info",
  directory,
  clock = new HandClock(),
}: Options = {}) {
  const lines: string[] = [];
  const log = createLog({ format: "journal", level, write: (line) => lines.push(line) });
  const store = await Store.open({ directory: directory ?? null, clock, log });
  const wall = new WallClock({ clock, machine: clock, saved: store.clockState() });
  wall.read();
  const outbox = new Outbox({ clock: wall, log, store, random });
  return { clock, wall, lines, outbox, store };
}

/** An outbox with one target. */
async function single(options: Options = {}, fields: Partial<Target> = {}) {
  const channel = new FakeChannel();
  const parts = await setup(options);
  parts.outbox.setTargets([target(channel, fields)]);
  const add = (from: number, to = from) => addTo(parts, from, to);
  return { ...parts, add, channel };
}

interface Parts {
  readonly store: Store;
  readonly outbox: Outbox;
  readonly wall: Clock;
}

function addTo({ store, outbox, wall }: Parts, from: number, to = from) {
  for (let n = from; n <= to; n++) {
    const entry = { event: event(n), targets: outbox.keysFor(event(n)) };
    const record = { events: [entry], sessions: [], ended: [], devices: null };
    const [seq] = store.record(record, wall.now().wallMs);
    outbox.added([{ ...entry, seq: seq! }]);
  }
}

describe("the order of attempts", () => {
  test("the first attempt begins before added() returns", async () => {
    const { add, channel, clock } = await single();
    add(1);
    expect(channel.attempts).toEqual(["wg1"]);
    expect(clock.waiting).toBe(0);
  });

  test("the outbox makes one attempt at a time, and events stay in order after a failure", async () => {
    const { add, outbox, channel, clock } = await single();
    add(1, 3);
    expect(channel.attempts).toEqual(["wg1"]);
    await channel.settle(down);
    add(4);
    expect(channel.attempts).toEqual(["wg1"]);
    clock.advance(500);
    for (let n = 0; n < 4; n++) await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg1", "wg2", "wg3", "wg4"]);
    expect(outbox.waiting).toBe(0);
  });

  test("an event that is added while the last attempt ends is sent", async () => {
    const { add, channel } = await single();
    add(1);
    const settled = channel.settle(delivered);
    // Adds an event between every two steps of the promise chain.
    for (let n = 2; n < 12; n++) {
      add(n);
      await Promise.resolve();
    }
    await settled;
    for (let n = 2; n < 12; n++) await channel.settle(delivered);
    expect(channel.attempts).toHaveLength(11);
  });

  test("a target that hangs or fails does not delay the others", async () => {
    const parts = await setup();
    const { outbox } = parts;
    const [hanging, failing] = [new FakeChannel("a"), new FakeChannel("b", down)];
    const good = new FakeChannel("c", delivered);
    outbox.setTargets([target(hanging), target(failing), target(good)]);
    addTo(parts, 1, 3);
    await flushPromises();
    expect([hanging.attempts.length, failing.attempts.length]).toEqual([1, 1]);
    expect(good.attempts).toEqual(["wg1", "wg2", "wg3"]);
    expect(outbox.waiting).toBe(6);
  });
});

describe("the delay before a retry", () => {
  /** The delays before the second to the 16th attempt. */
  async function delays(random: () => number): Promise<number[]> {
    const { add, channel, clock } = await single({ random });
    add(1);
    const found: number[] = [];
    for (let attempt = 1; attempt < 16; attempt++) {
      await channel.settle(down);
      const fromMs = clock.now().monotonicMs;
      while (channel.attempts.length === attempt) clock.advance(1);
      found.push(clock.now().monotonicMs - fromMs);
    }
    return found;
  }

  test("the delay before a retry is at most 1 s at first, and its maximum doubles up to 15 min", async () => {
    const doubled = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].map((s) => s * 1000);
    const longest = Array.from({ length: 5 }, () => 900_000);
    expect(await delays(() => 1)).toEqual([...doubled, ...longest]);
  });

  test("the delay before a retry has full jitter", async () => {
    expect(await delays(() => 0.5)).toEqual(
      [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000].concat(
        Array.from({ length: 5 }, () => 450_000),
      ),
    );
    expect(await delays(() => 0)).toEqual(Array.from({ length: 15 }, () => 1));
  });

  test("the delay before a retry is the one that the target requests, but at least 1 s", async () => {
    const { add, channel, clock } = await single();
    add(1);
    for (const [afterMs, pauseMs] of [
      [7000, 7000],
      [0, 1000],
      [900_000, 900_000],
    ] as const) {
      const count = channel.attempts.length;
      await channel.settle({ type: "retry", reason: "429", afterMs });
      clock.advance(pauseMs - 1);
      expect(channel.attempts).toHaveLength(count);
      clock.advance(1);
      expect(channel.attempts).toHaveLength(count + 1);
    }
  });

  test("the delay before a retry is short again after a success", async () => {
    const { add, channel, clock } = await single();
    add(1, 2);
    for (let n = 0; n < 8; n++) {
      await channel.settle(down);
      clock.advance(900_000);
    }
    await channel.settle(delivered);
    await channel.settle(down);
    clock.advance(500);
    expect(channel.attempts.at(-1)).toBe("wg2");
    expect(channel.attempts).toHaveLength(11);
  });
});

describe("dead letters", () => {
  test("dead letters begin with event 10,001: the oldest becomes one, with one warning and a count at the end", async () => {
    const { add, outbox, channel, clock, lines } = await single();
    add(1);
    await channel.settle(down);
    add(2, 10_000);
    expect(outbox.waiting).toBe(10_000);
    expect(lines.splice(0)).toHaveLength(1);
    add(10_001, 10_003);
    expect(outbox.waiting).toBe(10_000);
    expect(lines.splice(0)).toEqual([
      "<4>target: 10000 events are waiting; the oldest become dead letters",
    ]);
    clock.advance(500);
    for (let n = 0; n < 10_000; n++) {
      expect(channel.attempts.at(-1)).toBe(`wg${n + 4}`);
      await channel.settle(delivered);
    }
    expect(lines).toEqual([
      "<6>target: delivering again after 1 failed attempt",
      "<4>target: queue empty; 3 events became dead letters meanwhile",
    ]);
  });

  test("dead letters do not include the event that is being sent", async () => {
    const { add, channel } = await single();
    add(1, 10_001);
    await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg3"]);
  });

  for (const hours of [-500_000, -1000, 1, 1000]) {
    test(`an event is a dead letter after 3 days of elapsed time if the clock is set by ${hours} h meanwhile`, async () => {
      const { add, outbox, channel, clock, wall, store } = await single();
      clock.advance(1000 * HOUR_MS);
      add(1);
      await channel.settle(down);
      clock.advance(10 * HOUR_MS);
      await channel.settle(down);
      clock.jump(hours * HOUR_MS);
      // The step has not been read yet.
      clock.advance(5000);
      const step = wall.read()!;
      store.clockSet(step, wall.state);
      outbox.clockSet(step);
      const [{ oldestAtMs, nextAtMs }] = store.outbox.queues() as [TargetBacklog];
      expect(wall.now().wallMs - oldestAtMs).toBe(10 * HOUR_MS + 5000);
      expect(nextAtMs - wall.now().wallMs).toBeWithin(-5000, 15 * 60_000);
      clock.advance(61 * HOUR_MS);
      await channel.settle(down);
      clock.advance(50 * 60_000);
      expect(outbox.waiting).toBe(1);
      await channel.settle(down);
      clock.advance(1 * HOUR_MS);
      await channel.settle(down);
      clock.advance(15 * 60_000);
      expect(outbox.waiting).toBe(0);
    });
  }

  test("an event that is older than 3 days is a dead letter, also if a step of the clock has not been read yet", async () => {
    const { add, outbox, channel, clock, lines } = await single();
    add(1);
    clock.jump(1000 * HOUR_MS);
    await channel.settle(down);
    clock.advance(71 * HOUR_MS);
    add(2);
    await channel.settle(down);
    expect(outbox.waiting).toBe(2);
    lines.length = 0;
    clock.advance(2 * HOUR_MS);
    await channel.settle(down);
    clock.advance(1 * HOUR_MS);
    expect(channel.attempts.at(-1)).toBe("wg2");
    expect(lines).toEqual([
      "<4>target: events that have been waiting for 3 days become dead letters",
    ]);
    await channel.settle(delivered);
    expect(lines.at(-1)).toBe("<4>target: queue empty; 1 event became dead letters meanwhile");
  });

  test("a refused event is a dead letter, and the next event is sent", async () => {
    const { add, channel, lines } = await single();
    add(1, 2);
    await channel.settle(refused);
    await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg2"]);
    expect(lines).toEqual([
      "<3>target: 404: not found; moved to the dead letters type=device.added id=evt_00000000000000000000000000000001",
      "<6>target: delivering again after 1 failed attempt",
    ]);
  });

  test("dead letters count as failures of the target, whose state has the reason of the latest attempt until a success", async () => {
    const { add, outbox, channel, clock, store } = await single();
    const failureState = () => {
      const { failures, reason } = outbox.states[0]!;
      expect(store.outbox.targetState("target") ?? { failures, reason }).toMatchObject({
        failures,
        reason,
      });
      return [failures, reason];
    };
    add(1, 3);
    await channel.settle({ ...down, reason: "ECONNREFUSED" });
    expect(failureState()).toEqual([1, "ECONNREFUSED"]);
    clock.advance(1000);
    await channel.settle(refused);
    expect(failureState()).toEqual([2, "404: not found"]);
    await channel.settle(refused);
    expect(failureState()).toEqual([3, "404: not found"]);
    // A refusal resets the backoff: the delay is half a second, as after the first failure.
    await channel.settle(down);
    expect(failureState()).toEqual([4, "503"]);
    clock.advance(500);
    await channel.settle(delivered);
    expect(failureState()).toEqual([0, ""]);
  });

  test("all events of a target that no longer exists become dead letters, until a reload", async () => {
    const { add, outbox, channel, lines } = await single();
    add(1, 3);
    await channel.settle(gone);
    add(4);
    expect(outbox.waiting).toBe(0);
    expect(channel.attempts).toEqual(["wg1"]);
    expect(lines).toEqual([
      "<3>target: 410: the target is gone; nothing more is sent to it until a reload deadLetters=3",
    ]);
    const fresh = new FakeChannel();
    outbox.setTargets([target(fresh)]);
    add(5);
    expect(fresh.attempts).toEqual(["wg5"]);
  });
});

describe("the log of the outbox", () => {
  test("the log reports the first failure, a changed reason, and the first success", async () => {
    const { add, channel, clock, lines } = await single({ random: () => 1 });
    add(1, 2);
    for (const reason of ["503", "503", "503", "ECONNREFUSED"]) {
      await channel.settle({ type: "retry", reason, afterMs: null });
      clock.advance(8000);
    }
    await channel.settle(delivered);
    await channel.settle(delivered);
    expect(lines).toEqual([
      "<4>target: 503, attempt 1, next in 1 s",
      "<4>target: ECONNREFUSED, attempt 4, next in 8 s",
      "<6>target: delivering again after 4 failed attempts",
    ]);
  });

  test("the log reports each success and failure only at level debug", async () => {
    const { add, channel, clock, lines } = await single({ level: "debug" });
    add(1);
    await channel.settle(down);
    clock.advance(500);
    await channel.settle(down);
    clock.advance(1000);
    await channel.settle(delivered);
    expect(lines).toEqual([
      "<4>target: 503, attempt 1, next in 1 s",
      "<7>target: 503, attempt 2, next in 1 s",
      "<7>target: delivered type=device.added id=evt_00000000000000000000000000000001",
      "<6>target: delivering again after 2 failed attempts",
    ]);
  });
});

describe("a reload of the outbox", () => {
  test("a reload keeps the queue of a target with the same name, and retries it at once", async () => {
    const parts = await setup();
    const { outbox, clock } = parts;
    const [old, other] = [new FakeChannel("a"), new FakeChannel("b")];
    outbox.setTargets([target(old), target(other)]);
    addTo(parts, 1, 2);
    await old.settle(down);
    const fresh = new FakeChannel("a", delivered);
    outbox.setTargets([target(fresh)]);
    await flushPromises();
    expect(fresh.attempts).toEqual(["wg1", "wg2"]);
    clock.advance(HOUR_MS);
    expect(old.attempts).toEqual(["wg1"]);
  });

  test("a reload lets the current attempt end, and uses the new channel for the next one", async () => {
    const parts = await setup();
    const { outbox } = parts;
    const old = new FakeChannel("a");
    outbox.setTargets([target(old)]);
    addTo(parts, 1, 2);
    const fresh = new FakeChannel("a");
    outbox.setTargets([target(fresh)]);
    expect(old.signal!.aborted).toBe(false);
    expect(fresh.attempts).toEqual([]);
    await old.settle(delivered);
    expect(fresh.attempts).toEqual(["wg2"]);
  });

  test("a reload aborts the attempt at a removed target, and reports the events that become dead letters", async () => {
    const parts = await setup();
    const { outbox, lines, clock } = parts;
    const [busy, pausing] = [new FakeChannel("a"), new FakeChannel("b")];
    outbox.setTargets([target(busy), target(pausing)]);
    addTo(parts, 1, 2);
    await pausing.settle(down);
    lines.length = 0;
    outbox.setTargets([]);
    expect(busy.signal!.aborted).toBe(true);
    await busy.settle(delivered);
    clock.advance(HOUR_MS);
    expect([busy.attempts, pausing.attempts]).toEqual([["wg1"], ["wg1"]]);
    expect(outbox.waiting).toBe(0);
    expect(lines).toEqual([
      "<4>a: no longer a target, 2 events became dead letters",
      "<4>b: no longer a target, 2 events became dead letters",
    ]);
  });

  test("a reload keeps separate queues for two targets with the same label", async () => {
    const parts = await setup();
    const two = () => ["1", "2"].map((key) => target(new FakeChannel("a"), { key }));
    parts.outbox.setTargets(two());
    addTo(parts, 1);
    expect(parts.outbox.waiting).toBe(2);
    parts.outbox.setTargets(two());
    expect(parts.outbox.waiting).toBe(2);
  });

  test("a reload moves the waiting events to a webhook whose token was replaced", async () => {
    const { add, channel, outbox, lines } = await single({}, { key: "old" });
    add(1, 2);
    await channel.settle(down);
    lines.length = 0;
    const fresh = new FakeChannel("target", delivered);
    outbox.setTargets([target(fresh, { key: "new" })]);
    await flushPromises();
    expect(fresh.attempts).toEqual(["wg1", "wg2"]);
    expect(lines).toEqual([]);
  });
});

describe("the filters of targets", () => {
  test("filters select the events that a target gets", async () => {
    const parts = await setup();
    const [some, all] = [new FakeChannel("a", delivered), new FakeChannel("b", delivered)];
    const accepts = (event: Event) => deviceOf(event) === "wg2";
    parts.outbox.setTargets([target(some, { accepts }), target(all)]);
    addTo(parts, 1, 3);
    await flushPromises();
    expect([some.attempts, all.attempts]).toEqual([["wg2"], ["wg1", "wg2", "wg3"]]);
  });
});

describe("a digest", () => {
  const digest = { digestMs: 30_000 };

  test("a digest collects the events of its interval, which begins with the first event", async () => {
    const { add, channel, clock } = await single({}, digest);
    add(1);
    clock.advance(20_000);
    add(2, 3);
    clock.advance(9_999);
    expect(channel.attempts).toEqual([]);
    clock.advance(1);
    expect(channel.attempts).toEqual(["wg1 wg2 wg3"]);
    expect(channel.ids[0]).toMatch(/^msg_[0-9a-f]{32}$/);
    await channel.settle(delivered);
    add(4);
    clock.advance(30_000);
    // A single event is not wrapped in a digest.
    expect(channel.attempts.at(-1)).toBe("wg4");
    expect(channel.ids.at(-1)).toBe(event(4).id);
  });

  test("a digest stays the same message in all attempts, even if events are added", async () => {
    const { add, channel, clock } = await single({ random: () => 1 }, digest);
    add(1, 2);
    clock.advance(30_000);
    await channel.settle(down);
    add(3, 4);
    clock.advance(1000);
    expect(channel.attempts).toEqual(["wg1 wg2", "wg1 wg2"]);
    expect(new Set(channel.ids).size).toBe(1);
    await channel.settle(delivered);
    clock.advance(30_000);
    expect(channel.attempts.at(-1)).toBe("wg3 wg4");
    expect(new Set(channel.ids).size).toBe(2);
  });

  test("a digest has at most a hundred events, and the next one follows at once", async () => {
    const { add, channel, clock } = await single({}, digest);
    add(1, 250);
    clock.advance(30_000);
    for (let part = 0; part < 3; part++) await channel.settle(delivered);
    expect(channel.attempts.map((attempt) => attempt.split(" ").length)).toEqual([100, 100, 50]);
  });

  test("a digest is sent at once when wgmon stops", async () => {
    const { add, channel, outbox } = await single({}, digest);
    add(1, 2);
    const drained = outbox.drain(5000);
    expect(channel.attempts).toEqual(["wg1 wg2"]);
    await channel.settle(delivered);
    await drained;
  });
});

describe("the outbox after a restart", () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });

  /** An outbox with a store on disk, and a function that simulates a restart after kill -9, on the same clock. */
  async function first(fields: Partial<Target> = {}) {
    const directory = mkdtempSync(join(tmpdir(), "wgmon-outbox-"));
    folders.push(directory);
    const clock = new HandClock();
    const run = await single({ directory, clock, random: () => 1 }, fields);
    const restarted = async (of: string) => {
      const channel = new FakeChannel();
      // The state that kill -9 leaves: nothing is closed, and the lock is free.
      const copy = copyOf(of, folders);
      const parts = await setup({ directory: copy, clock });
      parts.outbox.setTargets([target(channel, fields)]);
      const add = (from: number, to = from) => addTo(parts, from, to);
      return { ...parts, channel, add, again: () => restarted(copy) };
    };
    return { ...run, again: () => restarted(directory) };
  }

  test("after a restart, waiting events are sent in order, and new ones after them", async () => {
    const { add, channel, clock, again } = await first();
    add(1, 600);
    await channel.settle(delivered);
    await channel.settle(refused);
    clock.advance(1000);
    const later = await again();
    later.add(601);
    expect(later.outbox.waiting).toBe(599);
    for (let n = 0; n < 599; n++) await later.channel.settle(delivered);
    expect(later.channel.attempts).toEqual(Array.from({ length: 599 }, (_, i) => `wg${i + 3}`));
    expect(later.store.outbox.deadLetters().map(({ reason, seq }) => [reason, seq])).toEqual([
      ["404: not found", 2],
    ]);
  });

  test("an event that was delivered just before a crash is sent again, with the same id", async () => {
    const { add, channel, again } = await first();
    add(1, 2);
    await channel.settle(delivered);
    const later = await again();
    expect(later.channel.attempts).toEqual(["wg1"]);
    expect(later.channel.ids).toEqual([channel.ids[0]!]);
  });

  test("after a restart, a delay that the target requested is kept, and so is the count of failures", async () => {
    const { add, channel, clock, again } = await first();
    add(1);
    await channel.settle({ type: "retry", reason: "429", afterMs: 60_000 });
    clock.advance(10_000);
    const later = await again();
    expect(later.channel.attempts).toEqual([]);
    clock.advance(50_000);
    expect(later.channel.attempts).toEqual(["wg1"]);
    await later.channel.settle({ type: "retry", reason: "503", afterMs: null });
    expect(later.lines.at(-1)).toBe("<4>target: 503, attempt 2, next in 1 s");
  });

  test("after a restart, the delay grows with retries, not with refusals", async () => {
    const { add, channel, again } = await first();
    add(1, 14);
    for (let n = 0; n < 12; n++) await channel.settle(refused);
    const second = await again();
    await second.channel.settle(down);
    expect(second.lines.at(-1)).toBe("<4>target: 503, attempt 1, next in 1 s");
    expect(second.outbox.states[0]!.failures).toBe(13);
    // After another restart, with one retry counted.
    const third = await second.again();
    third.clock.advance(1000);
    await third.channel.settle(silent);
    expect(third.lines.at(-1)).toBe("<4>target: timeout, attempt 2, next in 1 s");
  });

  test("after a restart, a digest whose attempt had begun stays the same message", async () => {
    const { add, channel, clock, again } = await first({ digestMs: 1000 });
    add(1, 3);
    clock.advance(1000);
    const later = await again();
    later.add(4);
    expect(later.channel.attempts).toEqual(["wg1 wg2 wg3"]);
    expect(later.channel.ids).toEqual(channel.ids);
  });

  test("after a restart, events that became older than 3 days are dead letters", async () => {
    const { add, channel, clock, again } = await first();
    add(1, 2);
    await channel.settle(down);
    clock.advance(73 * HOUR_MS);
    const later = await again();
    expect(later.channel.attempts).toEqual([]);
    expect(later.outbox.waiting).toBe(0);
    expect(later.store.outbox.deadLetters()).toHaveLength(2);
  });

  test("after a restart, events for a target that was removed from the settings become dead letters", async () => {
    const { add, again, store } = await first();
    add(1, 3);
    expect(store.outbox.queues()).toMatchObject([{ target: "target", waiting: 3 }]);
    const { outbox, store: later, lines } = await again();
    outbox.setTargets([]);
    expect(later.outbox.queues()).toEqual([]);
    expect(later.outbox.deadLetters()).toHaveLength(3);
    expect(lines.at(-1)).toBe("<4>target: no longer a target, 3 events became dead letters");
  });
});

test("a target that was down for ten hours gets all events in order, after a limited number of attempts", async () => {
  const directory = mkdtempSync(join(tmpdir(), "wgmon-outbox-"));
  try {
    // Seeded, so that the number of attempts is the same in each run.
    let seed = 1;
    const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
    const { add, channel, clock, outbox, lines } = await single({ directory, random });
    const end = () => clock.now().monotonicMs >= 10 * HOUR_MS;
    let last = 0;
    while (!end()) {
      add(++last);
      // One event every 20 seconds. The target alternates between 503 and timeouts.
      for (let second = 0; second < 20; second++) {
        clock.advance(1000);
        if (channel.isBusy) await channel.settle(last % 2 === 0 ? down : silent);
      }
    }
    const attempts = channel.attempts.length;
    expect(new Set(channel.attempts)).toEqual(new Set(["wg1"]));
    // About twelve until the maximum of 15 minutes is reached, then one every 7.5 minutes on average.
    expect(attempts).toBeGreaterThan(60);
    expect(attempts).toBeLessThan(130);
    expect(outbox.waiting).toBe(1800);
    expect(lines.length).toBeLessThan(attempts);
    clock.advance(15 * 60_000);
    while (channel.isBusy) await channel.settle(delivered);
    const all = Array.from({ length: 1800 }, (_, index) => `wg${index + 1}`);
    expect(channel.attempts.slice(attempts)).toEqual(all);
    expect(outbox.waiting).toBe(0);
    await outbox.drain(0);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

describe("a command that changes the outbox of a running wgmon", () => {
  test("the outbox notices that another process deletes events and queues dead letters again", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wgmon-outbox-"));
    try {
      const { add, channel, clock, outbox } = await single({ directory });
      add(1, 3);
      await channel.settle(refused);
      await channel.settle(down);
      const log = createLog({ format: "text", level: "info" });
      using tool = await Store.open({ directory, clock, log, isExternalTool: true });
      tool.outbox.deleteMessages([{ target: "target", seq: 2 }]);
      tool.outbox.requeue(tool.outbox.deadLetters(), clock.now().wallMs);
      outbox.refresh();
      expect(outbox.waiting).toBe(2);
      expect(channel.attempts.at(-1)).toBe("wg1");
      await channel.settle(delivered);
      await channel.settle(delivered);
      expect(channel.attempts).toEqual(["wg1", "wg2", "wg1", "wg3"]);
      await outbox.drain(0);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe("the actions of a user", () => {
  test("a retry queues dead letters again, and the pause of a failing target ends", async () => {
    const { add, outbox, channel, store, lines } = await single();
    add(1, 2);
    await channel.settle(refused);
    await channel.settle(down);
    expect(channel.attempts).toEqual(["wg1", "wg2"]);
    expect(outbox.retry("target")).toBe(1);
    expect(lines.join("\n")).toContain(
      "target: 1 dead letter and 1 waiting event retried on the page",
    );
    for (let n = 0; n < 2; n++) await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg2", "wg1", "wg2"]);
    expect([outbox.waiting, store.outbox.deadCounts()]).toEqual([0, []]);
    expect(outbox.retry("nothing")).toBeNull();
  });

  test("a retry is refused for a target that has stopped", async () => {
    const { add, outbox, channel } = await single();
    add(1);
    await channel.settle(gone);
    expect(outbox.retry("target")).toBeNull();
  });

  test("dead letters and waiting events can be deleted, and later events are sent", async () => {
    const { add, outbox, channel, store, clock } = await single();
    add(1, 4);
    await channel.settle(refused);
    await channel.settle(down);
    expect(outbox.deleteMessages("target", "dead")).toBe(1);
    expect(store.outbox.deadCounts()).toEqual([]);
    expect(outbox.deleteMessages("target", "waiting")).toBe(3);
    expect([outbox.waiting, channel.isBusy]).toEqual([0, false]);
    add(5);
    await channel.settle(down);
    // Deleted while it is being sent.
    clock.advance(2000);
    expect(channel.isBusy).toBe(true);
    expect(outbox.deleteMessages("target", "waiting")).toBe(1);
    await channel.settle(down);
    clock.advance(900_000);
    expect([channel.isBusy, outbox.waiting]).toEqual([false, 0]);
    add(6);
    await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg2", "wg5", "wg5", "wg6"]);
  });

  for (const [result, text] of [
    [refused, "refuses them"],
    [gone, "is gone"],
    [down, "is down"],
  ] as const) {
    test(`events that are deleted during an attempt do not come back if the target ${text}`, async () => {
      const { add, outbox, channel, store, lines } = await single();
      add(1, 3);
      expect(outbox.deleteMessages("target", "waiting")).toBe(3);
      expect([outbox.waiting, outbox.states[0]!.waiting]).toEqual([0, 0]);
      expect(lines.join("\n")).toContain("target: 3 waiting events deleted on the page");
      await channel.settle(result);
      expect([store.outbox.deadCounts(), outbox.waiting]).toEqual([[], 0]);
      if (result === gone) return;
      add(4);
      expect(channel.attempts).toEqual(["wg1", "wg4"]);
      await channel.settle(refused);
      expect(store.outbox.deadLetters().map(({ seq }) => seq)).toEqual([4]);
      expect(outbox.waiting).toBe(0);
    });
  }

  test("an event that was added after the deletion, during the same attempt, is kept", async () => {
    const { add, outbox, channel } = await single();
    add(1, 3);
    outbox.deleteMessages("target", "waiting");
    add(4, 5);
    expect(outbox.waiting).toBe(2);
    await channel.settle(delivered);
    for (let n = 0; n < 2; n++) await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg4", "wg5"]);
    expect(outbox.waiting).toBe(0);
  });

  test("many messages are deleted and queued again in slices, without those that are added meanwhile", async () => {
    const { add, outbox, channel, clock, store } = await single();
    add(1, 4500);
    await channel.settle(down);
    expect(outbox.deleteMessages("target", "waiting")).toBe(4500);
    expect(store.outbox.count("target")).toBe(2500);
    add(4501);
    for (let n = 0; n < 3; n++) clock.advance(0);
    expect([outbox.waiting, store.outbox.count("target")]).toEqual([1, 1]);
    expect(channel.attempts).toEqual(["wg1", "wg4501"]);
    await channel.settle(delivered);

    add(4502, 7000);
    for (let n = 4502; n <= 7000; n++) await channel.settle(refused);
    expect(outbox.retry("target")).toBe(2499);
    const drained = outbox.drain(1);
    clock.advance(1);
    await drained;
    expect([store.outbox.deadCounts(), store.outbox.count("target")]).toEqual([[], 2499]);
  });

  test("a target whose queue is paused can be tested, without a change of its state", async () => {
    const { add, outbox, channel, lines } = await single();
    add(1);
    await channel.settle(down);
    const before = outbox.states;
    lines.length = 0;
    const result = outbox.test("target", event(9));
    await channel.settle(silent);
    expect(await result).toEqual(silent);
    const accepted = outbox.test("target", event(9));
    await channel.settle(delivered);
    expect(await accepted).toEqual(delivered);
    expect(outbox.states).toEqual(before);
    expect(await outbox.test("nothing", event(9))).toBeNull();
    expect(lines).toEqual([
      `<6>target: test from the page not delivered: ${silent.reason}`,
      "<6>target: test from the page delivered",
    ]);
  });
});

describe("drain()", () => {
  test("drain() returns at once if there is nothing to send", async () => {
    const { outbox, clock, lines } = await single();
    await outbox.drain(5000);
    expect(clock.waiting).toBe(0);
    expect(lines).toEqual([]);
  });

  test("drain() sends to each target in order, up to its first failure", async () => {
    const parts = await setup();
    const { outbox, clock, lines } = parts;
    const [back, still] = [new FakeChannel("a"), new FakeChannel("b")];
    outbox.setTargets([target(back), target(still)]);
    addTo(parts, 1, 3);
    await back.settle(down);
    await still.settle(down);
    lines.length = 0;

    const drained = outbox.drain(5000);
    expect([back.attempts, still.attempts]).toEqual([
      ["wg1", "wg1"],
      ["wg1", "wg1"],
    ]);
    await still.settle(down);
    for (let n = 0; n < 3; n++) await back.settle(delivered);
    await drained;
    expect(back.attempts).toEqual(["wg1", "wg1", "wg2", "wg3"]);
    expect(lines).toEqual([
      "<6>a: delivering again after 1 failed attempt",
      "<4>b: stopping, 3 events not delivered",
    ]);
    expect(clock.waiting).toBe(0);
    addTo(parts, 4);
    expect(outbox.waiting).toBe(0);
  });

  test("drain() aborts a hanging attempt when its time is over", async () => {
    const { add, outbox, channel, clock, lines } = await single();
    add(1, 2);
    let ended = false;
    const drained = outbox.drain(5000).then(() => (ended = true));
    clock.advance(4999);
    await flushPromises();
    expect([ended, channel.signal!.aborted]).toEqual([false, false]);
    clock.advance(1);
    await drained;
    expect(channel.signal!.aborted).toBe(true);
    expect(lines).toEqual(["<4>target: stopping, 2 events not delivered"]);
    await channel.settle(down);
    expect(clock.waiting).toBe(0);
    expect(lines).toHaveLength(1);
  });
});

describe("the outbox with a real webhook", () => {
  const SECRET = "s3cr3t";
  const outboxes: Outbox[] = [];
  afterEach(async () => {
    for (const outbox of outboxes.splice(0)) await outbox.drain(0);
  });

  async function real(receiver: Receiver, clock: Clock = systemClock) {
    const lines: string[] = [];
    const log = createLog({ format: "text", level: "debug", write: (line) => lines.push(line) });
    const store = await Store.open({ directory: null, clock, log });
    const outbox = new Outbox({ clock, log, store, random: () => 0 });
    outboxes.push(outbox);
    const url = new URL(receiver.url(`/${SECRET}?token=${SECRET}`));
    url.username = url.password = SECRET;
    const label = "webhook http://127.0.0.1/...";
    const options = { url: url.href, label, version: "1.2.3", clock, secrets: [] };
    outbox.setTargets([target(createWebhook({ ...options, format: json }))]);
    return { outbox, store, lines, wall: systemClock };
  }

  test("each event arrives once and in order despite failures of all kinds, and no secret is logged", async () => {
    using receiver = new Receiver();
    const bad = [{ status: 503 }, "reset", { status: 429 }, "reset", { status: 500 }] as const;
    receiver.answer = () => bad[receiver.requests.length - 1] ?? { status: 204 };
    const { lines, ...parts } = await real(receiver);
    addTo(parts, 1, 20);
    await receiver.waitFor((requests) => requests.length === bad.length + 20);
    const devices = receiver.requests.map(({ event: sent }) => deviceOf(sent!));
    expect(devices.slice(0, bad.length)).toEqual(bad.map(() => "wg1"));
    expect(devices.slice(bad.length)).toEqual(Array.from({ length: 20 }, (_, i) => `wg${i + 1}`));
    expect(new Set(receiver.requests.map(({ headers }) => headers.get("webhook-id"))).size).toBe(
      20,
    );
    expect(lines.length).toBeGreaterThan(20);
    expect(lines.join("\n")).not.toContain(SECRET);
  });

  // test/bench measures the delay.
  test("an event is sent without waiting for a timer", async () => {
    using receiver = new Receiver();
    const parts = await real(receiver, new HandClock());
    for (let n = 1; n <= 20; n++) {
      addTo(parts, n);
      await receiver.waitFor((requests) => requests.length === n);
      await flushPromises();
    }
  });
});
