/** Scans for viewers of the counters: when they run, and how often. */

import { beforeEach, expect, test } from "bun:test";

import { ViewerScans } from "../../src/scan/viewer-scans.ts";
import { HandClock } from "../support/clock.ts";

let clock: HandClock;
let scans: ViewerScans;
/** Times of the scans. */
let times: number[];
/** What a scan costs and how long it takes, in milliseconds. */
let costMs: number;
let durationMs: number;

beforeEach(() => {
  clock = new HandClock();
  times = [];
  costMs = 1;
  durationMs = 0;
  scans = new ViewerScans({
    clock,
    scan: async () => {
      times.push(clock.now().monotonicMs);
      if (durationMs > 0) await new Promise<void>((done) => void clock.after(durationMs, done));
      return costMs;
    },
  });
});

async function pass(ms: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 10) {
    clock.advance(10);
    // The scan, and the promises that depend on it.
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  }
}

test("without a viewer there is no scan and no timer", async () => {
  await pass(60_000);
  expect(times).toEqual([]);
  expect(clock.waiting).toBe(0);
});

test("an open page causes a scan at once and then every second, until it is closed", async () => {
  const leave = scans.addViewer();
  await pass(4500);
  expect(times).toHaveLength(5);
  expect(times[0]).toBe(0);
  expect(times.slice(1).map((at, index) => at - times[index]!)).toEqual([1000, 1000, 1000, 1000]);
  leave();
  expect(clock.waiting).toBe(0);
  await pass(10_000);
  expect(times).toHaveLength(5);
});

test("two open pages cause as many scans as one, and the last one to leave ends them", async () => {
  const [first, second] = [scans.addViewer(), scans.addViewer()];
  await pass(4500);
  expect(times).toHaveLength(5);
  first();
  first();
  await pass(5000);
  expect(times).toHaveLength(10);
  second();
  expect(clock.waiting).toBe(0);
});

test("a page that is opened again and again does not cause more scans", async () => {
  for (let visit = 0; visit < 50; visit++) {
    const leave = scans.addViewer();
    await pass(50);
    leave();
    await pass(50);
  }
  expect(times).toHaveLength(5);
});

test("a program that sends requests repeatedly is a viewer until three seconds after the last one", async () => {
  for (let request = 0; request < 10; request++) {
    scans.requested("/v1/peers");
    await pass(1000);
  }
  // The first scan is at the second request, because the first may be the only one.
  expect(times[0]).toBe(1000);
  expect(times.at(-1)).toBe(10_000);
  expect(times).toHaveLength(10);
  await pass(2000);
  expect(times.slice(10)).toEqual([11_000]);
  expect(clock.waiting).toBe(0);
  await pass(60_000);
  expect(times).toHaveLength(11);
});

test("a single request, and requests every ten seconds, cause no scan", async () => {
  for (let request = 0; request < 10; request++) {
    scans.requested("/v1/peers");
    expect(clock.waiting).toBe(0);
    await pass(10_000);
  }
  expect(times).toEqual([]);
});

test("requests for different URLs are not repetitions of each other", async () => {
  for (let n = 0; n < 100; n++) {
    scans.requested(`/v1/peers?offset=${n}`);
    await pass(100);
  }
  expect(times).toEqual([]);
  expect(clock.waiting).toBe(0);
});

test("expensive scans take two percent of one core", async () => {
  for (const cost of [13, 50, 500]) {
    costMs = cost;
    times = [];
    const leave = scans.addViewer();
    await pass(200_000);
    leave();
    const spentMs = times.length * costMs;
    // At most one scan more than the share, which is the one at the start.
    expect(spentMs).toBeLessThanOrEqual(200_000 * 0.02 + 20 + costMs);
    if (cost === 13) expect(times.length).toBeGreaterThanOrEqual(199);
    else expect(spentMs).toBeGreaterThanOrEqual(200_000 * 0.02 * 0.8);
    await pass(100_000);
  }
});

test("slow scans run for a twentieth of the time, so that scans for packets rarely wait for them", async () => {
  durationMs = 1000;
  scans.addViewer();
  await pass(200_000);
  expect(times).toHaveLength(10);
});

test("a page that is closed during a scan leaves no timer, also when wgmon stops", async () => {
  durationMs = 100;
  const leave = scans.addViewer();
  await pass(50);
  leave();
  await pass(1000);
  expect(times).toHaveLength(1);
  expect(clock.waiting).toBe(0);
  scans.addViewer();
  await pass(2000);
  scans.stop();
  expect(clock.waiting).toBe(0);
  scans.addViewer();
  scans.requested("/v1/peers");
  expect(clock.waiting).toBe(0);
});
