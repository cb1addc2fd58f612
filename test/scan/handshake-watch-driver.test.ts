/** What the driver does for the watch: its timer, its scans, the tap and the selection. */

import { beforeEach, expect, test } from "bun:test";

import { MessageType } from "../../src/base/wireguard.ts";
import type { Datagram } from "../../src/capture/packet.ts";
import { OVERLOAD_HINTS, PROBE_EVERY_MS, PROBE_MS } from "../../src/scan/guarded-mode.ts";
import { HandshakeWatchDriver } from "../../src/scan/handshake-watch-driver.ts";
import { HandClock } from "../support/clock.ts";

let clock: HandClock;
/** What was done, in its order. */
let done: string[];
let mayTap: boolean;
let canSelect: boolean;
let scan: () => Promise<number>;
let driver: HandshakeWatchDriver;

beforeEach(() => {
  clock = new HandClock();
  done = [];
  mayTap = true;
  canSelect = true;
  scan = () => Promise.resolve(0.1);
  driver = new HandshakeWatchDriver({
    clock,
    select(indexes) {
      done.push(`select ${indexes?.join() ?? "all"}`);
      return canSelect;
    },
    openSentTap() {
      done.push("open tap");
      return mayTap ? { close: () => void done.push("close tap") } : null;
    },
    scan(ports) {
      done.push(`scan ${ports === "all" ? "all" : [...ports].join()}`);
      return scan();
    },
    onGuarded: (isGuarded) => void done.push(isGuarded ? "guarded" : "hints"),
    onFlooded: (isFlooded) => void done.push(isFlooded ? "flooded" : "no flood"),
    handshakeAtMs: () => null,
  });
});

const datagram = (type: Datagram["type"], index: number): Datagram => ({
  sourceAddress: "192.0.2.1",
  sourcePort: 5000,
  destinationPort: 51_820,
  type,
  isFirstData: type === MessageType.data,
  index,
  isOwnIndex: true,
});
const data = (index: number) => datagram(MessageType.data, index);

async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed++) {
    clock.advance(1);
    for (let turn = 0; turn < 3; turn++) await Promise.resolve();
  }
}

function overload(): void {
  for (let n = 0; n <= OVERLOAD_HINTS; n++) driver.onReceived(data(1000 + n));
}

test("a packet causes its scans and no others", async () => {
  driver.onReceived(data(1));
  await pass(60_000);
  expect(done).toEqual(Array.from({ length: 5 }, () => "scan 51820"));
});

test("packets that come one after the other do not delay the scan that is due", async () => {
  for (let n = 0; n < 20; n++) {
    driver.onReceived(data(n));
    await pass(1);
  }
  expect(done.length).toBeGreaterThan(15);
});

test("the next scan begins after the previous one has ended", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  scan = () => promise;
  driver.onReceived(data(1));
  await pass(500);
  driver.onReceived(data(2));
  await pass(500);
  expect(done).toEqual(["scan 51820"]);
  resolve(0.1);
  await pass(2);
  expect(done).toEqual(["scan 51820", "scan 51820"]);
});

test("too many hints open the tap before the kernel selects packets, and the end of guarded mode closes it", async () => {
  overload();
  expect(done).toEqual(["open tap", "guarded", "select "]);
  driver.onSent(datagram(MessageType.response, 7));
  expect(done.at(-1)).toBe("select 7");
  await pass(PROBE_EVERY_MS + PROBE_MS + 5);
  expect(done.filter((each) => !each.startsWith("scan")).slice(4)).toEqual([
    "select all",
    "close tap",
    "hints",
  ]);
});

test("a selection that fails is tried again", async () => {
  canSelect = false;
  overload();
  await pass(3);
  const tries = () => done.filter((each) => each === "select ").length;
  expect(tries()).toBeGreaterThan(1);
  canSelect = true;
  await pass(1);
  const before = tries();
  await pass(1000);
  expect(tries()).toBeLessThanOrEqual(before + 1);
});

test("a flood is reported when a probe finds it and when it is over", async () => {
  overload();
  await pass(PROBE_EVERY_MS + 2);
  overload();
  expect(done.slice(-2)).toEqual(["flooded", "select "]);
  await pass(PROBE_EVERY_MS + PROBE_MS + 5);
  expect(done.filter((each) => each === "no flood")).toHaveLength(1);
});

test("without a tap, all devices are scanned until guarded mode ends", async () => {
  mayTap = false;
  overload();
  await pass(PROBE_EVERY_MS);
  expect(done.filter((each) => each === "scan all").length).toBeGreaterThan(30);
});

test("a flood of sent packets that WireGuard does not send closes the tap", async () => {
  overload();
  for (let n = 0; n < 1000; n++) driver.onSent(null);
  expect(done).not.toContain("close tap");
  driver.onSent(null);
  expect(done.at(-1)).toBe("close tap");
  done.length = 0;
  await pass(5000);
  expect(done.filter((each) => each === "scan all").length).toBeGreaterThan(10);
});

test("a stopped driver scans nothing, and its tap is closed", async () => {
  overload();
  driver.stop();
  expect(done.at(-1)).toBe("close tap");
  const before = done.length;
  driver.onReceived(data(1));
  await pass(60_000);
  expect(done).toHaveLength(before);
});
