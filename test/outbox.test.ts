/** The outbox with targets that a test answers by hand, on a clock that it moves by hand. */

import { afterEach, describe, expect, test } from "bun:test";

import type { Channel, Verdict } from "../src/channel/channel.ts";
import { createWebhook } from "../src/channel/webhook.ts";
import { systemClock } from "../src/clock.ts";
import type { Event } from "../src/contract.ts";
import { eventOf } from "../src/event.ts";
import { createLog } from "../src/log.ts";
import { Outbox } from "../src/outbox.ts";
import { HandClock } from "./support/clock.ts";
import { Receiver } from "./support/receiver.ts";

const HOUR_MS = 3_600_000;
const delivered: Verdict = { type: "delivered" };
const down: Verdict = { type: "retry", reason: "503", afterMs: null };
const refused: Verdict = { type: "drop", reason: "404: not found" };
const gone: Verdict = { type: "stop", reason: "410: the target is gone" };

/** Holds each attempt until the test gives the verdict, or answers all alike. */
class FakeChannel implements Channel {
  /** The devices of the events, one for each attempt: `wg<n>` for the n-th event. */
  readonly attempts: string[] = [];
  readonly name: string;
  readonly #always: Verdict | undefined;
  #pending: ((verdict: Verdict) => void) | null = null;
  signal: AbortSignal | undefined;

  constructor(name = "target", always?: Verdict) {
    this.name = name;
    this.#always = always;
  }

  attempt(event: Event, signal: AbortSignal): Promise<Verdict> {
    expect(this.#pending).toBeNull();
    this.attempts.push(event.data.device);
    this.signal = signal;
    if (this.#always !== undefined) return Promise.resolve(this.#always);
    return new Promise((resolve) => {
      this.#pending = resolve;
    });
  }

  /** Ends the attempt that is under way, and lets the outbox act on it. */
  async settle(verdict: Verdict): Promise<void> {
    const resolve = this.#pending!;
    this.#pending = null;
    resolve(verdict);
    await promises();
  }
}

/** All promises that can go on have gone on. */
const promises = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function event(n: number): Event {
  const change = { type: "device.added", atMs: 0, device: `wg${n}`, listenPort: 0 } as const;
  const id = `evt_${n.toString(16).padStart(32, "0")}`;
  return eventOf(change, { id, host: "gw1", name: null });
}

interface Options {
  random?: () => number;
  level?: "info" | "debug";
}

function setup({ random = () => 0.5, level = "info" }: Options = {}) {
  const clock = new HandClock();
  const lines: string[] = [];
  const log = createLog({ format: "journal", level, write: (line) => lines.push(line) });
  const outbox = new Outbox({ clock, log, random });
  return { clock, lines, outbox };
}

/** An outbox with one target. */
function single(options: Options = {}) {
  const channel = new FakeChannel();
  const parts = setup(options);
  parts.outbox.setTargets([channel]);
  return { ...parts, channel };
}

function add(outbox: Outbox, from: number, to = from): void {
  for (let n = from; n <= to; n++) outbox.add(event(n));
}

describe("order", () => {
  test("the first attempt has begun before add returns", () => {
    const { outbox, channel, clock } = single();
    add(outbox, 1);
    expect(channel.attempts).toEqual(["wg1"]);
    expect(clock.waiting).toBe(0);
  });

  test("one attempt at a time, events in order, also past a failure", async () => {
    const { outbox, channel, clock } = single();
    add(outbox, 1, 3);
    expect(channel.attempts).toEqual(["wg1"]);
    await channel.settle(down);
    add(outbox, 4);
    expect(channel.attempts).toEqual(["wg1"]);
    clock.advance(500);
    for (let n = 0; n < 4; n++) await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg1", "wg2", "wg3", "wg4"]);
    expect(outbox.waiting).toBe(0);
  });

  test("an event that comes as the last one ends is sent", async () => {
    const { outbox, channel } = single();
    add(outbox, 1);
    const settled = channel.settle(delivered);
    // Between every two steps of the promises there is room for an event.
    for (let n = 2; n < 12; n++) {
      add(outbox, n);
      await Promise.resolve();
    }
    await settled;
    for (let n = 2; n < 12; n++) await channel.settle(delivered);
    expect(channel.attempts).toHaveLength(11);
  });

  test("a target that hangs or fails holds up no other", async () => {
    const { outbox } = setup();
    const [hanging, failing] = [new FakeChannel("a"), new FakeChannel("b", down)];
    const good = new FakeChannel("c", delivered);
    outbox.setTargets([hanging, failing, good]);
    add(outbox, 1, 3);
    await promises();
    expect([hanging.attempts.length, failing.attempts.length]).toEqual([1, 1]);
    expect(good.attempts).toEqual(["wg1", "wg2", "wg3"]);
    expect(outbox.waiting).toBe(6);
  });
});

describe("pauses", () => {
  /** The pauses before the second to the 16th attempt. */
  async function pauses(random: () => number): Promise<number[]> {
    const { outbox, channel, clock } = single({ random });
    add(outbox, 1);
    const found: number[] = [];
    for (let attempt = 1; attempt < 16; attempt++) {
      await channel.settle(down);
      const fromMs = clock.now().monotonicMs;
      while (channel.attempts.length === attempt) clock.advance(1);
      found.push(clock.now().monotonicMs - fromMs);
    }
    return found;
  }

  test("the limit doubles from 1 s to 15 min", async () => {
    const doubled = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].map((s) => s * 1000);
    const longest = Array.from({ length: 5 }, () => 900_000);
    expect(await pauses(() => 1)).toEqual([...doubled, ...longest]);
  });

  test("the jitter is full", async () => {
    expect(await pauses(() => 0.5)).toEqual(
      [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000].concat(
        Array.from({ length: 5 }, () => 450_000),
      ),
    );
    expect(await pauses(() => 0)).toEqual(Array.from({ length: 15 }, () => 1));
  });

  test("a target's own wish counts, but never makes a flood", async () => {
    const { outbox, channel, clock } = single();
    add(outbox, 1);
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

  test("a success makes the next pause short again", async () => {
    const { outbox, channel, clock } = single();
    add(outbox, 1, 2);
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

describe("giving up", () => {
  test("10,000 events wait; for each more the oldest goes, with one warning and a count", async () => {
    const { outbox, channel, clock, lines } = single();
    add(outbox, 1);
    await channel.settle(down);
    add(outbox, 2, 10_000);
    expect(outbox.waiting).toBe(10_000);
    expect(lines.splice(0)).toHaveLength(1);
    add(outbox, 10_001, 10_003);
    expect(outbox.waiting).toBe(10_000);
    expect(lines.splice(0)).toEqual(["<4>target: 10000 events wait, the oldest are given up"]);
    clock.advance(500);
    for (let n = 0; n < 10_000; n++) {
      expect(channel.attempts.at(-1)).toBe(`wg${n + 4}`);
      await channel.settle(delivered);
    }
    expect(lines).toEqual([
      "<6>target: delivering again after 1 failed attempt",
      "<4>target: nothing waits any more, 3 events had been given up",
    ]);
  });

  test("the event that is on its way is not given up", async () => {
    const { outbox, channel } = single();
    add(outbox, 1, 10_001);
    await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg3"]);
  });

  test("an event that is older than 3 days is given up, whatever the wall clock does", async () => {
    const { outbox, channel, clock, lines } = single();
    add(outbox, 1);
    clock.jump(1000 * HOUR_MS);
    await channel.settle(down);
    clock.advance(71 * HOUR_MS);
    add(outbox, 2);
    await channel.settle(down);
    expect(outbox.waiting).toBe(2);
    lines.length = 0;
    clock.advance(2 * HOUR_MS);
    await channel.settle(down);
    clock.advance(1 * HOUR_MS);
    expect(channel.attempts.at(-1)).toBe("wg2");
    expect(lines).toEqual(["<4>target: events have waited for 3 days and are given up"]);
    await channel.settle(delivered);
    expect(lines.at(-1)).toBe("<4>target: nothing waits any more, 1 event had been given up");
  });

  test("a refused event is dropped and the next one sent", async () => {
    const { outbox, channel, lines } = single();
    add(outbox, 1, 2);
    await channel.settle(refused);
    await channel.settle(delivered);
    expect(channel.attempts).toEqual(["wg1", "wg2"]);
    expect(lines).toEqual(["<3>target: 404: not found; event dropped type=device.added"]);
  });

  test("a target that is gone gets nothing more until a reload", async () => {
    const { outbox, channel, lines } = single();
    add(outbox, 1, 3);
    await channel.settle(gone);
    add(outbox, 4);
    expect(outbox.waiting).toBe(0);
    expect(channel.attempts).toEqual(["wg1"]);
    expect(lines).toEqual([
      "<3>target: 410: the target is gone; nothing more is sent to it until a reload dropped=3",
    ]);
    const fresh = new FakeChannel();
    outbox.setTargets([fresh]);
    add(outbox, 5);
    expect(fresh.attempts).toEqual(["wg5"]);
  });
});

describe("the log", () => {
  test("tells when failing begins, when the reason changes, and when it ends", async () => {
    const { outbox, channel, clock, lines } = single({ random: () => 1 });
    add(outbox, 1, 2);
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

  test("tells of each success and failure only at debug", async () => {
    const { outbox, channel, clock, lines } = single({ level: "debug" });
    add(outbox, 1);
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

describe("a reload", () => {
  test("a target with the same name keeps its queue and is tried at once", async () => {
    const { outbox, clock } = setup();
    const [old, other] = [new FakeChannel("a"), new FakeChannel("b")];
    outbox.setTargets([old, other]);
    add(outbox, 1, 2);
    await old.settle(down);
    const fresh = new FakeChannel("a", delivered);
    outbox.setTargets([fresh]);
    await promises();
    expect(fresh.attempts).toEqual(["wg1", "wg2"]);
    clock.advance(HOUR_MS);
    expect(old.attempts).toEqual(["wg1"]);
  });

  test("an attempt under way is left to end, the next goes to the new channel", async () => {
    const { outbox } = setup();
    const old = new FakeChannel("a");
    outbox.setTargets([old]);
    add(outbox, 1, 2);
    const fresh = new FakeChannel("a");
    outbox.setTargets([fresh]);
    expect(old.signal!.aborted).toBe(false);
    expect(fresh.attempts).toEqual([]);
    await old.settle(delivered);
    expect(fresh.attempts).toEqual(["wg2"]);
  });

  test("a target that is no longer there is broken off, and what it misses is told", async () => {
    const { outbox, lines, clock } = setup();
    const [busy, pausing] = [new FakeChannel("a"), new FakeChannel("b")];
    outbox.setTargets([busy, pausing]);
    add(outbox, 1, 2);
    await pausing.settle(down);
    lines.length = 0;
    outbox.setTargets([]);
    expect(busy.signal!.aborted).toBe(true);
    await busy.settle(delivered);
    clock.advance(HOUR_MS);
    expect([busy.attempts, pausing.attempts]).toEqual([["wg1"], ["wg1"]]);
    expect(outbox.waiting).toBe(0);
    expect(lines).toEqual([
      "<4>a: no longer a target, 2 events not delivered",
      "<4>b: no longer a target, 2 events not delivered",
    ]);
  });

  test("two targets whose names look alike keep a queue each", async () => {
    const { outbox } = setup();
    outbox.setTargets([new FakeChannel("a"), new FakeChannel("a")]);
    add(outbox, 1);
    expect(outbox.waiting).toBe(2);
    outbox.setTargets([new FakeChannel("a"), new FakeChannel("a")]);
    expect(outbox.waiting).toBe(2);
  });
});

describe("the end", () => {
  test("with nothing to send comes at once", async () => {
    const { outbox, clock, lines } = single();
    await outbox.drain(5000);
    expect(clock.waiting).toBe(0);
    expect(lines).toEqual([]);
  });

  test("every target is tried once more, in order, up to its first failure", async () => {
    const { outbox, clock, lines } = setup();
    const [back, still] = [new FakeChannel("a"), new FakeChannel("b")];
    outbox.setTargets([back, still]);
    add(outbox, 1, 3);
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
    add(outbox, 4);
    expect(outbox.waiting).toBe(0);
  });

  test("what hangs is broken off when the time is over", async () => {
    const { outbox, channel, clock, lines } = single();
    add(outbox, 1, 2);
    let ended = false;
    const drained = outbox.drain(5000).then(() => (ended = true));
    clock.advance(4999);
    await promises();
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

describe("with a real webhook", () => {
  const SECRET = "s3cr3t";
  const outboxes: Outbox[] = [];
  afterEach(async () => {
    for (const outbox of outboxes.splice(0)) await outbox.drain(0);
  });

  function real(receiver: Receiver) {
    const lines: string[] = [];
    const log = createLog({ format: "text", level: "debug", write: (line) => lines.push(line) });
    const outbox = new Outbox({ clock: systemClock, log, random: () => 0 });
    outboxes.push(outbox);
    const url = new URL(receiver.url(`/${SECRET}?token=${SECRET}`));
    url.username = url.password = SECRET;
    const label = "webhook http://127.0.0.1/...";
    const options = { url: url.href, label, version: "1.2.3", clock: systemClock };
    outbox.setTargets([createWebhook({ ...options, format: "json" })]);
    return { outbox, lines };
  }

  test("each event arrives once and in order, through failures of every kind; no secret is logged", async () => {
    using receiver = new Receiver();
    const bad = [{ status: 503 }, "reset", { status: 429 }, "reset", { status: 500 }] as const;
    receiver.answer = () => bad[receiver.requests.length - 1] ?? { status: 204 };
    const { outbox, lines } = real(receiver);
    add(outbox, 1, 20);
    await receiver.waitFor((requests) => requests.length === bad.length + 20);
    const devices = receiver.requests.map(({ event: sent }) => sent!.data.device);
    expect(devices.slice(0, bad.length)).toEqual(bad.map(() => "wg1"));
    expect(devices.slice(bad.length)).toEqual(Array.from({ length: 20 }, (_, i) => `wg${i + 1}`));
    expect(new Set(receiver.requests.map(({ headers }) => headers.get("webhook-id"))).size).toBe(
      20,
    );
    expect(lines.length).toBeGreaterThan(20);
    expect(lines.join("\n")).not.toContain(SECRET);
  });

  test("an event is on the wire within milliseconds", async () => {
    using receiver = new Receiver();
    const { outbox } = real(receiver);
    const latencies: number[] = [];
    for (let n = 1; n <= 20; n++) {
      const atMs = performance.timeOrigin + performance.now();
      add(outbox, n);
      await receiver.waitFor((requests) => requests.length === n);
      latencies.push(receiver.requests.at(-1)!.atMs - atMs);
      await promises();
    }
    // The median, because the machine has other work too.
    expect(latencies.toSorted((a, b) => a - b)[10]).toBeLessThan(3);
  });
});
