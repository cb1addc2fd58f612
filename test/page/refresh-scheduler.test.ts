/** When open pages are updated, depending on the cost of the updates. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { RefreshScheduler, type Subscriber } from "../../src/page/refresh-scheduler.ts";
import { RenderCost } from "../../src/page/render-cost.ts";
import { anEvent } from "../support/events.ts";
import { FakeSource } from "../support/source.ts";

let source: FakeSource;
let scheduler: RefreshScheduler;

beforeEach(async () => {
  source = await FakeSource.make();
  scheduler = new RefreshScheduler(source);
});

afterEach(() => {
  scheduler[Symbol.dispose]();
  source.store[Symbol.dispose]();
});

/** Heartbeats of all pages of `updatesIn`. */
let heartbeats = 0;

/** Opens pages whose updates cost this much; returns the number of updates of all of them within the time. */
async function updatesIn(
  ms: number,
  pages: number,
  costMs: number,
  happen = () => {},
): Promise<number> {
  const open: Subscriber[] = [];
  let updates = 0;
  heartbeats = 0;
  const follow = async (page: Subscriber) => {
    for (let due = await page.next(); due !== "end"; due = await page.next()) {
      if (due === "heartbeat") heartbeats++;
      else {
        updates++;
        page.addCost(costMs);
      }
    }
  };
  for (let n = 0; n < pages; n++) {
    const page = scheduler.subscribe("tcp")!;
    open.push(page);
    void follow(page);
  }
  for (let passedMs = 0; passedMs < ms; passedMs += 100) {
    happen();
    source.clock.advance(100);
    for (let turn = 0; turn <= pages; turn++) {
      await new Promise<void>((done) => void setImmediate(done));
    }
  }
  for (const page of open) page.leave();
  return updates;
}

test("an open page is updated every second while an update costs little", async () => {
  expect(await updatesIn(20_000, 1, 1)).toBe(20);
});

test("the updates of one page take at most one percent of one core", async () => {
  const updates = await updatesIn(60_000, 1, 30);
  // Most of the limit is for what the cost does not include.
  expect(updates * 30).toBeLessThanOrEqual(60_000 * 0.002);
  expect(updates * 30).toBeGreaterThan(60_000 * 0.001);
});

test("the updates of many pages take at most four percent of one core", async () => {
  const updates = await updatesIn(60_000, 40, 10);
  expect(updates * 10).toBeLessThanOrEqual(60_000 * 0.044);
  expect(updates * 10).toBeGreaterThan(60_000 * 0.032);
});

test("an expensive page keeps to the limit, and gets a heartbeat every ten seconds", async () => {
  // At 1 s, 6 s and 146 s: the cost is known after the first update.
  expect(await updatesIn(150_000, 1, 200)).toBe(3);
  expect(heartbeats).toBe(13);
});

test("an event updates an expensive page before its period ends", async () => {
  const page = scheduler.subscribe("tcp")!;
  for (const ms of [1000, 5000]) {
    source.clock.advance(ms);
    expect(await page.next()).toBe("update");
    page.addCost(200);
  }
  source.clock.advance(2000);
  source.tell(anEvent("peer.connected"));
  source.clock.advance(3020);
  expect(await page.next()).toBe("update");
});

test("the updates of many pages after events take at most four percent of one core", async () => {
  let ids = 0;
  const unique = () => ({
    ...anEvent("peer.connected"),
    id: `evt_${String(++ids).padStart(32, "0")}`,
  });
  const updates = await updatesIn(60_000, 20, 10, () => void source.tell(unique()));
  expect(updates * 10).toBeLessThanOrEqual(60_000 * 0.044);
  expect(updates * 10).toBeGreaterThan(60_000 * 0.03);
});

test("the Unix socket and TCP have separate limits of open pages", () => {
  for (let n = 0; n < 64; n++) expect(scheduler.subscribe("tcp")).not.toBeNull();
  expect(scheduler.subscribe("tcp")).toBeNull();
  expect(scheduler.subscribe("unix")).not.toBeNull();
});

test("the cost of an update does not include the updates that run while it waits", async () => {
  const cost = new RenderCost(source);
  source.clock.advance(3);
  const { promise, resolve } = Promise.withResolvers<void>();
  const waiting = cost.without(promise);
  source.clock.advance(100);
  resolve();
  await waiting;
  source.clock.advance(4);
  expect(cost.ms()).toBe(7);
});

test("the counters are kept up to date while a page is open", () => {
  expect(source.viewers).toBe(0);
  const pages = [scheduler.subscribe("tcp")!, scheduler.subscribe("tcp")!];
  expect(source.viewers).toBe(1);
  pages[0]!.leave();
  expect(source.viewers).toBe(1);
  pages[1]!.leave();
  expect(source.viewers).toBe(0);
  scheduler.subscribe("tcp");
  scheduler[Symbol.dispose]();
  expect([source.viewers, source.clock.waiting]).toEqual([0, 0]);
});
