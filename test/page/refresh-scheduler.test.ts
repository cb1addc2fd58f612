/** When open pages are updated, depending on the cost of the updates. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { RefreshScheduler, type Subscriber } from "../../src/page/refresh-scheduler.ts";
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

/** Opens pages whose updates cost this much; returns the number of updates of all of them within the time. */
async function updatesIn(ms: number, pages: number, costMs: number): Promise<number> {
  const open: Subscriber[] = [];
  let updates = 0;
  const follow = async (page: Subscriber) => {
    while (await page.next()) {
      updates++;
      page.addCost(costMs);
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
  expect(updates * 30).toBeLessThanOrEqual(60_000 * 0.011);
  expect(updates * 30).toBeGreaterThan(60_000 * 0.008);
});

test("the updates of many pages take at most four percent of one core", async () => {
  const updates = await updatesIn(60_000, 20, 10);
  expect(updates * 10).toBeLessThanOrEqual(60_000 * 0.044);
  expect(updates * 10).toBeGreaterThan(60_000 * 0.032);
});

test("a page is updated at least every ten seconds, whatever an update costs", async () => {
  expect(await updatesIn(60_000, 1, 400)).toBeGreaterThanOrEqual(6);
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
