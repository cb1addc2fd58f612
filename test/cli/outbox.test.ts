/** `wgmon outbox` on a store in memory: its output, and what remains in the store. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { runOutbox } from "../../src/cli/outbox.ts";
import type { OutboxRequest } from "../../src/config/command-requests.ts";
import { eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import { type Change } from "../../src/sessions/change.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { peer } from "../support/peers.ts";

const NOW_MS = Date.UTC(2026, 0, 1, 12);
const OPS = "ops (json https://hooks.example.net/...)";
let store: Store;

beforeEach(async () => {
  const log = createLog({ format: "text", level: "error" });
  store = await Store.open({ directory: null, clock: new HandClock(), log });
  const at = (minutes: number) => NOW_MS - minutes * 60_000;
  const changes: Change[] = [1, 2, 3, 4].map((n) => ({
    type: "device.added",
    atMs: at(100 - n),
    device: `wg${n}`,
    listenPort: 0,
  }));
  changes.push({
    type: "peer.connected",
    atMs: at(10),
    device: "wg0",
    peer: peer(),
    session: { startedAtMs: at(10), rxBytes: 0, txBytes: 0, roams: 0 },
    initial: false,
  });
  for (const [index, change] of changes.entries()) {
    const id = `evt_${String(index + 1).padStart(32, "0")}`;
    const event = eventOf(change, { id, host: "gw1", name: "al\u001b[2Jice" });
    const events = [{ event, targets: index === 3 ? ["ops", "script"] : ["ops"] }];
    store.record({ events, sessions: [], ended: [], devices: null }, change.atMs);
  }
  store.outbox.saveTarget("ops", OPS, {
    failures: 7,
    retries: 6,
    nextAtMs: NOW_MS + 90_000,
    reason: "503",
  });
  store.outbox.deadLetter("ops", OPS, [1, 5], "404: not found, check the URL", at(5));
});

afterEach(() => store[Symbol.dispose]());

function run(
  action: OutboxRequest["action"],
  request: Partial<OutboxRequest> = {},
  target: string | null = null,
  hub: { readonly url: string } | null = null,
): string[] {
  const lines: string[] = [];
  const whole = { action, target, id: null, dead: false, json: false, ...request };
  runOutbox(store, whole, { target, hub, nowMs: NOW_MS, print: (line) => lines.push(line) });
  return lines;
}

const remaining = () => ({
  ops: store.outbox.waiting("ops", 0, 99).map(({ seq }) => seq),
  script: store.outbox.waiting("script", 0, 99).map(({ seq }) => seq),
  dead: store.outbox.deadLetters().map(({ seq }) => seq),
});

describe("wgmon outbox list", () => {
  test("outbox list prints for each target how many events wait and why, then the dead letters", () => {
    expect(run("list")).toEqual([
      `${OPS}: 3 events waiting, the oldest for 1h 38m; 7 failed attempts in a row, the last: 503; next attempt in 1m 30s`,
      "script: 1 event waiting, the oldest for 1h 36m",
      "2 dead letters:",
      `  2026-01-01T11:55:00.000Z evt_00000000000000000000000000000001 ${OPS}: 404: not found, check the URL`,
      "    2026-01-01T10:21:00.000Z wg1 added",
      `  2026-01-01T11:55:00.000Z evt_00000000000000000000000000000005 ${OPS}: 404: not found, check the URL`,
      "    2026-01-01T11:50:00.000Z al [2Jice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("outbox list can be limited to one target or to dead letters, and says if there is nothing", () => {
    expect(run("list", {}, "script")).toHaveLength(1);
    expect(run("list", { dead: true })[0]).toBe("2 dead letters:");
    expect(run("list", {}, "other")).toEqual([
      "no events are waiting, and there are no dead letters",
    ]);
  });

  test("outbox list --json prints every message with its event", () => {
    const rows = run("list", { json: true }).map((line) => JSON.parse(line) as object);
    expect(rows).toHaveLength(6);
    expect(rows[0]).toMatchObject({
      state: "waiting",
      target: "ops",
      name: OPS,
      event: { type: "device.added", data: { device: "wg2" } },
    });
    expect(rows.at(-1)).toMatchObject({
      state: "dead-letter",
      reason: "404: not found, check the URL",
      event: { type: "peer.connected" },
    });
  });
});

describe("wgmon outbox retry", () => {
  test("outbox retry queues dead letters again, and makes waiting events due", () => {
    expect(run("retry")).toEqual([
      "2 dead letters queued again, 4 events to be retried within 10 s (or at the next start)",
    ]);
    expect(remaining()).toEqual({ ops: [1, 2, 3, 4, 5], script: [4], dead: [] });
    expect(store.outbox.targetState("ops")).toMatchObject({ nextAtMs: 0, failures: 7, retries: 6 });
  });

  test("outbox retry with an id or --dead changes nothing else", () => {
    run("retry", { id: `evt_${"5".padStart(32, "0")}`, dead: true });
    expect(remaining()).toEqual({ ops: [2, 3, 4, 5], script: [4], dead: [1] });
    expect(store.outbox.targetState("ops")).toMatchObject({ nextAtMs: NOW_MS + 90_000 });
  });
});

describe("wgmon outbox drop", () => {
  test("outbox drop deletes dead letters, one message, or everything", () => {
    expect(run("drop", { dead: true })).toEqual(["0 events and 2 dead letters deleted"]);
    expect(remaining()).toEqual({ ops: [2, 3, 4], script: [4], dead: [] });
    run("drop", { id: `evt_${"4".padStart(32, "0")}` }, "ops");
    expect(remaining()).toEqual({ ops: [2, 3], script: [4], dead: [] });
    run("drop");
    expect(remaining()).toEqual({ ops: [], script: [], dead: [] });
  });
});

describe("wgmon outbox and the hub", () => {
  const url = "https://hub.example.net/pl4nted";
  const hub = { url };

  test("outbox shows how many events the hub does not have, and why, and retries them", () => {
    store.outbox.saveTarget("hub", "hub", {
      failures: 3,
      retries: 3,
      nextAtMs: NOW_MS + 5000,
      reason: "ECONNREFUSED",
    });
    expect(run("list", {}, "hub", hub)).toEqual([
      "hub https://hub.example.net/...: 5 events waiting, the oldest for 1h 39m; 3 failed attempts in a row, the last: ECONNREFUSED; next attempt in 5s",
    ]);
    expect(run("retry", {}, "hub", hub)).toEqual([
      "0 dead letters queued again, 5 events to be retried within 10 s (or at the next start)",
    ]);
    expect(store.outbox.targetState("hub")).toMatchObject({ failures: 3, nextAtMs: 0 });
  });

  test("outbox shows nothing of a hub that has all events, and drops none of its events", () => {
    expect(run("drop", {}, "hub", hub)).toEqual(["0 events and 0 dead letters deleted"]);
    const { epoch } = store.epochs.all()[0]!;
    const position = { epoch, sent: 5, confirmed: 5, streamSeq: null };
    store.uplinks.save(store.targetKey(url), position);
    expect(run("list", {}, "hub", hub)).toEqual([
      "no events are waiting, and there are no dead letters",
    ]);
  });
});
