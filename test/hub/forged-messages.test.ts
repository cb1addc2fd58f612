/** Messages that a stolen gateway could forge: they change nothing of other gateways, and do not stop the hub. */

import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";

import type { StateMessage } from "../../src/fleet/messages.ts";
import { checkEvents, checkState } from "../../src/hub/check-messages.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { aliceReport, startHub, TestGateway } from "../support/fleet.ts";
import { ALICE } from "../support/peers.ts";
import { parse } from "../support/settings.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const { folder } = useStoreFolders();
const command = parse(["hub", "--host", "hub1"]);
if (command.type !== "hub") throw new Error();
const { settings } = command;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

async function hubWith(...names: string[]) {
  const running = await startHub({ settings, directory: folder() });
  for (const name of names) running.hub.enroll(name);
  return running;
}

describe("numbers", () => {
  const session = { startedAtMs: 0, lastActivityMs: 0, rxBytes: 1, txBytes: 2, roams: 0 };

  test.each<[string, Partial<StateMessage>]>([
    ["a number of an event", { last: 1e300 }],
    ["an order", { order: 2 ** 53 }],
    ["a time", { nowMs: -1e300 }],
    ["a year", { nowMs: 1e15 }],
    ["a start", { startedAtMs: 1e300 }],
    ["a handshake", { peers: [aliceReport({ lastHandshakeMs: 1e300 })] }],
    ["a counter", { peers: [aliceReport({ rxBytes: 1e300 })] }],
    ["bytes", { peers: [aliceReport({ session: { ...session, rxBytes: 1e300 } })] }],
    [
      "a session's start",
      { peers: [aliceReport({ session: { ...session, startedAtMs: 1e300 } })] },
    ],
  ])("%s outside of the range makes the state invalid", (_, fields) => {
    const berlin = new TestGateway("berlin", new HandClock());
    expect(checkState(berlin.state({}))).toHaveProperty("message");
    expect(checkState(berlin.state(fields))).toHaveProperty("problem");
  });

  test("a number or a counter that is too large makes events invalid", () => {
    const berlin = new TestGateway("berlin", new HandClock());
    berlin.disconnect({ startedAtMs: 0, rxBytes: 2 ** 53 - 1 });
    expect(checkEvents(berlin.message(0))).toHaveProperty("message");
    const [first] = berlin.message(0).events;
    for (const message of [
      { ...berlin.message(0), events: [{ ...first!, seq: 1e300 }] },
      { ...berlin.message(0), first: 1e300, events: [] },
      { ...berlin.message(0), after: { seq: 1e300, id: "x" }, events: [] },
    ]) {
      expect(checkEvents(message)).toHaveProperty("problem");
    }
    const large = new TestGateway("berlin", new HandClock());
    large.disconnect({ startedAtMs: 0, rxBytes: 1e300 });
    expect(checkEvents(large.message(0))).toHaveProperty("problem");
  });

  test("sessions with the largest counters are stored, and their sums stay numbers", async () => {
    const { hub, store, clock } = await hubWith("berlin");
    const berlin = new TestGateway("berlin", clock);
    for (let n = 0; n < 3; n++) {
      const startedAtMs = berlin.nowMs;
      const rxBytes = Number.MAX_SAFE_INTEGER;
      const forged = { ...session, startedAtMs, lastActivityMs: startedAtMs, rxBytes };
      berlin.report(
        { hub, store, clock, lines: [] },
        { peers: [aliceReport({ session: forged })] },
      );
      clock.advance(61_000);
    }
    expect(store.problem).toBeNull();
    const { rxBytes } = store.traffic.range("berlin/wg0", ALICE, "24h", clock.now().wallMs);
    expect(Math.max(...rxBytes)).toBe(Number.MAX_SAFE_INTEGER);
    await hub.stop();
  });
});

test("two events with the same id in one message are refused", () => {
  const berlin = new TestGateway("berlin", new HandClock());
  const id = `evt_${"1".repeat(32)}`;
  berlin.connect({ id });
  berlin.connect({ id });
  expect(checkEvents(berlin.message(0))).toEqual({ problem: "two events have the same id" });
});

test("a row that the store's tables do not allow is an error, and not a failure of the file", async () => {
  const directory = folder();
  const store = await Store.open({ directory, clock: new HandClock(), log: silent });
  expect(() => store.fleet.addEpoch("berlin", "00000001", 1e300)).toThrow();
  expect(store.problem).toBeNull();
  expect(store.isInMemory).toBe(false);
  store[Symbol.dispose]();
  using file = new Database(`${directory}/wgmon.db`, { readonly: true });
  expect(file.query("SELECT * FROM fleet_epochs").all()).toEqual([]);
});
