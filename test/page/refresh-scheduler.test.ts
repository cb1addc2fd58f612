/** When open pages are updated, depending on the cost of the updates. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { RefreshScheduler, type Subscriber } from "../../src/page/refresh-scheduler.ts";
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
async function updatesIn(ms: number, pages: number, costMs: number): Promise<number> {
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
    const page = scheduler.subscribe()!;
    open.push(page);
    void follow(page);
  }
  for (let passedMs = 0; passedMs < ms; passedMs += 100) {
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
  // Two thirds of the limit are for what the cost does not include.
  expect(updates * 30).toBeLessThanOrEqual(60_000 * 0.0045);
  expect(updates * 30).toBeGreaterThan(60_000 * 0.0025);
});

test("the updates of many pages take at most four percent of one core", async () => {
  const updates = await updatesIn(60_000, 20, 10);
  expect(updates * 10).toBeLessThanOrEqual(60_000 * 0.044);
  expect(updates * 10).toBeGreaterThan(60_000 * 0.032);
});

test("an expensive page keeps to the limit, and gets a heartbeat every ten seconds", async () => {
  // At 1 s, 2 s and 62 s: the cost is known after the first update.
  expect(await updatesIn(70_000, 1, 200)).toBe(3);
  expect(heartbeats).toBe(5);
});

test("an event updates an expensive page before its period ends", async () => {
  const page = scheduler.subscribe()!;
  for (const ms of [1000, 1000]) {
    source.clock.advance(ms);
    expect(await page.next()).toBe("update");
    page.addCost(400);
  }
  source.clock.advance(5000);
  source.tell(anEvent("peer.connected"));
  source.clock.advance(20);
  expect(await page.next()).toBe("update");
});

test("the counters are kept up to date while a page is open", () => {
  expect(source.viewers).toBe(0);
  const pages = [scheduler.subscribe()!, scheduler.subscribe()!];
  expect(source.viewers).toBe(1);
  pages[0]!.leave();
  expect(source.viewers).toBe(1);
  pages[1]!.leave();
  expect(source.viewers).toBe(0);
  scheduler.subscribe();
  scheduler[Symbol.dispose]();
  expect([source.viewers, source.clock.waiting]).toEqual([0, 0]);
});
