/** `wgmon test-webhook`: the samples that it sends, and the results that it prints. */

import { describe, expect, test } from "bun:test";

import { FormatRegistry } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { systemClock } from "../../src/base/clock.ts";
import { form } from "../../src/channels/formats/form.ts";
import { json } from "../../src/channels/formats/json.ts";
import { createWebhook } from "../../src/channels/webhook.ts";
import { receive } from "../../src/cli/receive.ts";
import { testTargets } from "../../src/cli/test-webhook.ts";
import type { DeliveryResult, Message, Target } from "../../src/delivery/target.ts";
import { type EventFilter, matchesFilter } from "../../src/events/event-filter.ts";
import { EventSchema } from "../../src/events/event-schema.ts";
import { HandClock } from "../support/clock.ts";
import { eventTypes } from "../support/events.ts";
import { type Answer, Receiver } from "../support/receiver.ts";

/** A result, and how long the attempt takes in milliseconds; default: 7. */
type TimedVerdict = DeliveryResult & { readonly ms?: number };

const DELIVERED: TimedVerdict = { type: "delivered" };

/** A target whose attempts have these results in turn, and are then delivered. */
class FakeTarget implements Target {
  readonly key = "ops";
  readonly digestMs = 0;
  readonly messages: Message[] = [];
  readonly #verdicts: readonly TimedVerdict[];
  readonly #clock: HandClock;
  readonly #selection: Partial<EventFilter>;

  constructor(
    clock: HandClock,
    verdicts: readonly TimedVerdict[] = [],
    selection: Partial<EventFilter> = {},
  ) {
    this.#clock = clock;
    this.#verdicts = verdicts;
    this.#selection = selection;
  }

  readonly channel = {
    name: "ops (json https://hooks.example.net/...)",
    attempt: (message: Message): Promise<DeliveryResult> => {
      const verdict = this.#verdicts[this.messages.length] ?? DELIVERED;
      this.messages.push(message);
      this.#clock.advance(verdict.ms ?? 7);
      return Promise.resolve(verdict);
    },
  };

  accepts(event: Parameters<Target["accepts"]>[0]): boolean {
    return matchesFilter(event, { events: [], devices: [], peers: [], ...this.#selection });
  }

  get types(): string[] {
    return this.messages.map(({ events: [event] }) => event.type);
  }
}

/** Runs the test. Returns its result and the printed lines. */
async function tested(clock: HandClock, ...targets: readonly Target[]) {
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const delivered = await testTargets(targets, { clock, host: "gw1", print });
  return { delivered, lines };
}

/** The lines about one target. */
async function linesOn(
  verdicts: readonly TimedVerdict[],
  selection: Partial<EventFilter> = {},
): Promise<readonly string[]> {
  const clock = new HandClock();
  return (await tested(clock, new FakeTarget(clock, verdicts, selection))).lines.slice(1);
}

function webhook(url: string, format = json): Target {
  const channel = createWebhook({
    url,
    format,
    secrets: [],
    label: "webhook http://127.0.0.1/...",
    version: "1.2.3",
    clock: systemClock,
  });
  return { key: "k", channel, accepts: () => true, digestMs: 0 };
}

describe("the samples of wgmon test-webhook", () => {
  test("the samples are one valid event of each type, in the order of a typical session", async () => {
    FormatRegistry.Set("date-time", (text) => new Date(text).toJSON() === text);
    const clock = new HandClock();
    const target = new FakeTarget(clock);
    expect(await tested(clock, target)).toMatchObject({ delivered: true });
    // handshake.unknown is off by default.
    expect(target.types).toEqual(eventTypes.filter((type) => type !== "handshake.unknown"));
    for (const { id, events } of target.messages) {
      expect(events).toHaveLength(1);
      expect([...Value.Errors(EventSchema, events[0])]).toEqual([]);
      expect(id).toBe(events[0].id);
      expect(events[0]).toMatchObject({ host: "gw1", data: { device: "wg-test" } });
      if ("peer" in events[0].data) expect(events[0].data.peer?.name).toBe("wgmon-test");
    }
  });

  test("the samples have new ids in each test, the same for all targets", async () => {
    const clock = new HandClock();
    const [first, second, third] = [1, 2, 3].map(() => new FakeTarget(clock));
    await tested(clock, first!, second!);
    await tested(clock, third!);
    const ids = (target: FakeTarget) => target.messages.map(({ id }) => id);
    expect(ids(second!)).toEqual(ids(first!));
    expect(new Set([...ids(first!), ...ids(third!)]).size).toBe(14);
  });

  test("wgmon receive prints the samples", async () => {
    const lines: string[] = [];
    const print = (line: string) => void lines.push(line);
    const common = { address: "127.0.0.1", secrets: [], clock: systemClock };
    const receiving = receive({ ...common, port: 0, print });
    lines.length = 0;
    const targets = [webhook(receiving.url), webhook(receiving.url, form)];
    const options = { clock: systemClock, host: "gw1", print: () => {} };
    expect(await testTargets(targets, options)).toBe(true);
    await receiving.stop();
    const alerts = [
      "critical: wgmon-test (wg-test) is down: no data for 5m; check the peer and its network (rule test)",
      "resolved: wgmon-test (wg-test) is back after 5m (rule test)",
    ];
    const key = "wg-test:wgmonTESTwgmonTESTwgmonTESTwgmonTESTwgmonTE=";
    expect(lines.map((line) => line.slice("16:19:04 ".length))).toEqual([
      "wgmon-test (wg-test) connected from 198.51.100.7:40001",
      "wgmon-test (wg-test) roamed from 198.51.100.7:40001 to 203.0.113.9:40002",
      "wgmon-test (wg-test) disconnected after 1m 5s",
      "wg-test added, listening on port 51820",
      "wg-test removed",
      ...alerts,
      `Connection ${key} on endpoint 198.51.100.7:40001 is opened`,
      "wgmon-test (wg-test) roamed from 198.51.100.7:40001 to 203.0.113.9:40002",
      `Connection ${key} on endpoint 203.0.113.9:40002 is closed`,
      "wg-test added, listening on port 51820",
      "wg-test removed",
      ...alerts,
    ]);
  });
});

describe("the results of wgmon test-webhook", () => {
  test("the result is printed for each sample, with the time that it took", async () => {
    const verdicts: readonly TimedVerdict[] = [
      { type: "delivered", ms: 1234.4 },
      { type: "retry", reason: "503", afterMs: null },
      { type: "drop", reason: "404: not found, check the URL", ms: 12 },
      { type: "drop", reason: "400: no such chat, check chat_id", ms: 9000 },
    ];
    const clock = new HandClock();
    expect(await tested(clock, new FakeTarget(clock, verdicts))).toEqual({
      delivered: false,
      lines: [
        "ops (json https://hooks.example.net/...)",
        "  peer.connected      1234 ms  delivered",
        "  peer.roamed            7 ms  would be retried: 503",
        "  peer.disconnected     12 ms  refused: 404: not found, check the URL",
        "  device.added        9000 ms  refused: 400: no such chat, check chat_id",
        "  device.removed         7 ms  delivered",
        "  alert.firing           7 ms  delivered",
        "  alert.resolved         7 ms  delivered",
      ],
    });
  });

  test("the result of one target does not prevent the test of the next one", async () => {
    const clock = new HandClock();
    const gone = new FakeTarget(clock, [{ type: "stop", reason: "410: the target is gone" }]);
    const well = new FakeTarget(clock);
    const { delivered, lines } = await tested(clock, gone, well);
    expect(delivered).toBe(false);
    expect(lines.slice(0, 4)).toEqual([
      "ops (json https://hooks.example.net/...)",
      "  peer.connected         7 ms  refused permanently: 410: the target is gone",
      "  the other samples are not sent to it",
      "ops (json https://hooks.example.net/...)",
    ]);
    expect([gone.messages.length, well.messages.length]).toEqual([1, 7]);
  });

  test("test-webhook prints a hint if there is no target", async () => {
    expect(await tested(new HandClock())).toEqual({
      delivered: false,
      lines: ["there is no target to test: give a --webhook URL, or set webhook or [[target]]"],
    });
  });
});

describe("a target that fails", () => {
  test.each<[string, TimedVerdict, string]>([
    [
      "after a timeout",
      { type: "retry", reason: "timeout", afterMs: null, ms: 10_000 },
      "10000 ms  would be retried: timeout",
    ],
    [
      "after the shortest timeout, measured short",
      { type: "retry", reason: "timeout", afterMs: null, ms: 999.6 },
      " 1000 ms  would be retried: timeout",
    ],
    [
      "to a target that requests a delay",
      { type: "retry", reason: "429", afterMs: 29_001 },
      "    7 ms  would be retried after 30 s: 429",
    ],
  ])("the other samples are not sent %s", async (_, verdict, line) => {
    expect(await linesOn([DELIVERED, verdict])).toEqual([
      "  peer.connected         7 ms  delivered",
      `  peer.roamed        ${line}`,
      "  the other samples are not sent to it",
    ]);
  });

  test("no reason is printed after the last sample, because no other sample follows", async () => {
    const verdict: DeliveryResult = { type: "stop", reason: "410: the target is gone" };
    const lines = await linesOn([...Array.from({ length: 6 }, () => DELIVERED), verdict]);
    expect(lines).toHaveLength(7);
  });
});

describe("the filters of a target in wgmon test-webhook", () => {
  const few: Partial<EventFilter> = { events: ["peer.connected", "peer.roamed"] };

  test("test-webhook ignores a filter of types, and prints the excluded types", async () => {
    const lines = await linesOn([], few);
    expect(lines).toHaveLength(8);
    expect(lines.at(-1)).toBe(
      "  note: its filter excludes peer.disconnected, device.added, device.removed, alert.firing, alert.resolved; this test ignores the filter",
    );
  });

  test.each<Partial<EventFilter>>([
    { devices: ["wg0"] },
    { peers: ["alice"] },
    { ...few, peers: ["alice"] },
  ])("test-webhook ignores a filter of devices or peers, and prints so: %j", async (selection) => {
    const lines = await linesOn([], selection);
    expect(lines).toHaveLength(8);
    expect(lines.at(-1)).toBe(
      "  note: its filter selects other peers or devices; this test ignores the filter",
    );
  });

  test("a filter is also printed if the other samples are not sent", async () => {
    const lines = await linesOn([{ type: "stop", reason: "410: the target is gone" }], few);
    expect(lines).toHaveLength(3);
    expect(lines.at(-1)).toContain("excludes peer.disconnected");
  });
});

describe("test-webhook with a real receiver", () => {
  test.each<[Answer, string]>([
    [{ status: 204 }, "delivered"],
    [{ status: 503 }, "would be retried: 503"],
    [{ status: 404 }, "refused: 404: not found, check the URL"],
    [{ status: 410 }, "refused permanently: 410: the target is gone"],
    [{ status: 429, headers: { "retry-after": "9" } }, "would be retried after 9 s: 429"],
  ])("test-webhook prints the result of the answer %j", async (answer, result) => {
    using receiver = new Receiver();
    receiver.answer = answer;
    const lines: string[] = [];
    const options = {
      clock: systemClock,
      host: "gw1",
      print: (line: string) => void lines.push(line),
    };
    const delivered = await testTargets([webhook(receiver.url("/s3cret?s3cret"))], options);
    expect(delivered).toBe(result === "delivered");
    expect(lines[1]).toMatch(/^ {2}peer\.connected {2,}\d+ ms {2}/);
    expect(lines[1]).toEndWith(result);
    expect(lines.join()).not.toContain("s3cret");
  });

  test("test-webhook sends all samples to a closed port, because it fails without delay", async () => {
    const receiver = new Receiver();
    const url = receiver.url();
    receiver[Symbol.dispose]();
    const lines: string[] = [];
    const options = {
      clock: systemClock,
      host: "gw1",
      print: (line: string) => void lines.push(line),
    };
    expect(await testTargets([webhook(url)], options)).toBe(false);
    expect(lines.filter((line) => line.endsWith("would be retried: ECONNREFUSED"))).toHaveLength(7);
  });
});
