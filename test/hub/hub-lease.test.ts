/** Which of two hubs works, by hand clocks and a lease in memory. */

import { expect, test } from "bun:test";

import fc from "fast-check";

import { HubLease, type Lease, type LeasePlace } from "../../src/hub/hub-lease.ts";
import { HandClock } from "../support/clock.ts";
import { recordingLog } from "../support/fleet-nats.ts";

/** The server with the lease. */
class Server {
  held: { seq: number; lease: Lease } | null = null;
  #seq = 0;

  place(isReachable: () => boolean): LeasePlace {
    const check = () => {
      if (!isReachable()) throw new Error("timeout");
    };
    return {
      name: "nats://test",
      read: () => {
        check();
        return Promise.resolve(this.held);
      },
      write: (lease, seq) => {
        check();
        if ((this.held?.seq ?? 0) !== seq) return Promise.resolve(false);
        this.held = { seq: ++this.#seq, lease: structuredClone(lease) };
        return Promise.resolve(true);
      },
      close: () => Promise.resolve(),
    };
  }
}

class TestHub {
  readonly lease: HubLease;
  readonly clock = new HandClock();
  readonly log = recordingLog();
  isReachable = true;
  committed: number | null = null;

  constructor(server: Server, name: string, id = name) {
    const place = server.place(() => this.isReachable);
    this.lease = new HubLease({ place, id, hub: name, clock: this.clock, log: this.log });
    this.lease.hold({ committed: () => this.committed, gateways: () => ({ berlin: "up" }) });
  }

  /** A step after three seconds. */
  async step(): Promise<boolean> {
    this.clock.advance(3000);
    await this.lease.step();
    return this.lease.isActive;
  }

  async steps(count: number): Promise<boolean> {
    for (let n = 0; n < count; n++) await this.step();
    return this.lease.isActive;
  }
}

function pair() {
  const server = new Server();
  return { server, one: new TestHub(server, "one"), two: new TestHub(server, "two") };
}

test("a hub that is alone works at once, and again at once after it was killed", async () => {
  const { server, one } = pair();
  await one.lease.step();
  expect(one.lease.isActive).toBeTrue();
  const next = new TestHub(server, "one");
  await next.lease.step();
  expect(next.lease.isActive).toBeTrue();
});

test("the second hub stands by while the first renews, and takes over 15 s after it stopped to", async () => {
  const { one, two } = pair();
  await one.step();
  for (let n = 0; n < 20; n++) {
    expect([await one.step(), await two.step()]).toEqual([true, false]);
  }
  expect(two.lease.active).toBe("one");
  // The first one is killed.
  expect(await two.steps(4)).toBeFalse();
  expect(await two.step()).toBeTrue();
  expect(two.log.lines).toEqual(["one does not work any more: two takes over"]);
  expect(await one.step()).toBeFalse();
  expect(one.lease.active).toBe("two");
  expect(one.log.lines).toEqual(["two works instead of this hub"]);
});

test("a hub that is stopped in order is replaced at the next step", async () => {
  const { one, two } = pair();
  await one.step();
  await two.step();
  await one.lease.stop();
  expect(await two.step()).toBeTrue();
});

test("a hub that cannot reach NATS at its start stands by, and one that works goes on", async () => {
  const { one, two } = pair();
  one.isReachable = false;
  expect(await one.step()).toBeFalse();
  expect(one.lease.problem).toBe("timeout");
  one.isReachable = true;
  expect(await one.step()).toBeTrue();
  one.isReachable = false;
  expect(await one.steps(10)).toBeTrue();
  expect(await two.steps(5)).toBeFalse();
  expect(await two.step()).toBeTrue();
  one.isReachable = true;
  expect(await one.step()).toBeFalse();
});

test("the lease says what was committed 15 s ago, also over a change of hubs, and which gateways report", async () => {
  const { server, one, two } = pair();
  await one.step();
  one.committed = 100;
  await one.step();
  one.committed = 200;
  expect(await one.steps(4)).toBeTrue();
  expect(server.held!.lease.committed).toBeNull();
  await one.step();
  expect(server.held!.lease.committed).toBe(100);
  await two.steps(6);
  expect(two.lease.isActive).toBeTrue();
  expect(server.held!.lease).toMatchObject({
    hub: "two",
    committed: 100,
    gateways: { berlin: "up" },
  });
});

test("of several hubs at most one holds the lease after each step, whatever fails", async () => {
  const action = fc.record({
    hub: fc.nat(2),
    isReachable: fc.boolean(),
    steps: fc.integer({ min: 1, max: 6 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
      const server = new Server();
      const hubs = ["a", "b", "c"].map((name) => new TestHub(server, name));
      for (const { hub, isReachable, steps } of actions) {
        hubs[hub]!.isReachable = isReachable;
        await hubs[hub]!.steps(steps);
        const reachable = hubs.filter((each) => each.isReachable);
        for (const each of reachable) await each.lease.step();
        const working = reachable.filter(({ lease }) => lease.isActive);
        expect(working.length).toBeLessThanOrEqual(1);
      }
    }),
  );
});
