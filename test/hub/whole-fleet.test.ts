/** A whole fleet: whatever fails, the hub has each event of each gateway exactly once, byte for byte and in order. */

import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";

import fc from "fast-check";

import type { Fate } from "../support/fake-transport.ts";
import { parse } from "../support/settings.ts";
import { useStoreFolders } from "../support/store-folders.ts";
import { GatewayInTest, HubInTest, pass, settle } from "../support/whole-fleet.ts";

const { folder } = useStoreFolders();
const NAMES = ["berlin", "lyon", "paris"];
const DAY_MS = 86_400_000;
const command = parse(["hub", "--host", "hub1"]);
if (command.type !== "hub") throw new Error();
const { settings } = command;

/** What happens to the fleet. `at`: which gateway. */
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("record" as const),
      at: fc.nat(2),
      count: fc.integer({ min: 1, max: 700 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant("pass" as const),
      seconds: fc.constantFrom(1, 5, 20, 90, 3600),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant("network" as const),
      at: fc.nat(2),
      fate: fc.constantFrom<Fate[]>("ok", "lost", "answer-lost"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("flaky" as const),
      at: fc.nat(2),
      fates: fc.array(fc.constantFrom<Fate[]>("ok", "lost", "answer-lost"), { maxLength: 30 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constantFrom("kill-hub" as const, "kill-gateway" as const),
      at: fc.nat(2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constantFrom("copy-gateway" as const, "put-back-gateway" as const),
      at: fc.nat(2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constantFrom("copy-hub" as const, "put-back-hub" as const, "wipe-hub" as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("clock" as const),
      at: fc.nat(2),
      days: fc.constantFrom(-1, 1),
    }),
  },
);
/** A gateway whose store was put back, and which has recorded more since than the hub had of the lost part. */
const AFTER_PUT_BACK: Step[] = [
  { type: "record", at: 0, count: 10 },
  { type: "pass", seconds: 20 },
  { type: "copy-gateway", at: 0 },
  { type: "record", at: 0, count: 20 },
  { type: "pass", seconds: 20 },
  { type: "network", at: 0, fate: "lost" },
  { type: "put-back-gateway", at: 0 },
  { type: "record", at: 0, count: 50 },
];
/** A hub whose store was put back, while gateways had sent more. */
const AFTER_HUB_PUT_BACK: Step[] = [
  { type: "record", at: 0, count: 600 },
  { type: "record", at: 1, count: 5 },
  { type: "pass", seconds: 20 },
  { type: "copy-hub" },
  { type: "record", at: 0, count: 600 },
  { type: "record", at: 2, count: 7 },
  { type: "pass", seconds: 20 },
  { type: "put-back-hub" },
  { type: "record", at: 1, count: 3 },
];

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

class Fleet {
  readonly hub: HubInTest;
  readonly gateways: readonly GatewayInTest[];
  readonly #constant: Fate[];
  readonly #next: Fate[][];

  constructor() {
    const root = folder();
    this.hub = new HubInTest(settings, join(root, "hub"), NAMES);
    this.#constant = NAMES.map(() => "ok");
    this.#next = NAMES.map(() => []);
    this.gateways = NAMES.map(
      (name, index) =>
        new GatewayInTest(
          name,
          join(root, name),
          this.hub,
          () => this.#next[index]!.shift() ?? this.#constant[index]!,
        ),
    );
  }

  async start(): Promise<void> {
    await this.hub.start();
    for (const gateway of this.gateways) await gateway.start();
  }

  async apply(step: Step): Promise<void> {
    const gateway = "at" in step ? this.gateways[step.at]! : null;
    switch (step.type) {
      case "record":
        gateway!.record(step.count);
        break;
      case "pass":
        await pass(step.seconds * 1000, this.hub, this.gateways);
        break;
      case "network":
        this.#constant[step.at] = step.fate;
        break;
      case "flaky":
        this.#next[step.at] = [...step.fates];
        break;
      case "kill-hub":
        await this.hub.restart();
        break;
      case "kill-gateway":
        await gateway!.restart();
        break;
      case "copy-gateway":
        gateway!.copyStore();
        await gateway!.start();
        break;
      case "put-back-gateway":
        gateway!.putBack();
        await gateway!.start();
        break;
      case "copy-hub":
        this.hub.copyStore();
        await this.hub.start();
        break;
      case "put-back-hub":
        this.hub.putBack();
        await this.hub.start();
        break;
      case "wipe-hub":
        this.hub.wipe();
        await this.hub.start();
        break;
      case "clock":
        gateway!.clock.jump(step.days * DAY_MS);
        break;
    }
    await settle();
  }

  /** The network works again, for ten minutes. */
  async recover(): Promise<void> {
    this.#constant.fill("ok");
    for (const fates of this.#next) fates.length = 0;
    await pass(600_000, this.hub, this.gateways);
  }

  stop(): void {
    this.hub.kill();
    for (const gateway of this.gateways) gateway.kill();
  }
}

const running: Fleet[] = [];
afterEach(() => {
  for (const fleet of running.splice(0)) fleet.stop();
});

async function fleetAfter(steps: readonly Step[]): Promise<Fleet> {
  const fleet = new Fleet();
  running.push(fleet);
  await fleet.start();
  for (const each of steps) await fleet.apply(each);
  await fleet.recover();
  return fleet;
}

/** What the hub must have: the union of the gateways' stores. */
function expectUnion({ hub, gateways }: Fleet): void {
  const atHub = hub.events;
  for (const gateway of gateways) {
    const own = gateway.events;
    const places = new Map(
      atHub.map((each) => [`${each.gateway} ${each.epoch} ${each.seq}`, each]),
    );
    const missing = own.filter(({ epoch, seq, id, body }) => {
      const found = places.get(`${gateway.name} ${epoch} ${seq}`);
      return found?.id !== id || found.body !== body;
    });
    expect({ gateway: gateway.name, missing: missing.length, reason: gateway.reason }).toEqual({
      gateway: gateway.name,
      missing: 0,
      reason: "",
    });
  }
  const { ids } = hub;
  expect(new Set(ids).size).toBe(ids.length);
}

describe("a whole fleet", () => {
  test("after any failures of the network, the machines and the stores, the hub has the union of the gateways' stores, and each event once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const fleet = await fleetAfter(steps);
        expectUnion(fleet);
        fleet.stop();
        running.length = 0;
      }),
      {
        numRuns: Number(process.env["FLEET_RUNS"] ?? 40),
        examples: [[AFTER_PUT_BACK], [AFTER_HUB_PUT_BACK]],
      },
    );
  });
});
