/** The rows of alerts on a real file: what a query finds, retention, steps of the clock, and a file that fails. */

import { Database as Sqlite } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import type { Rows } from "../../src/alerts/state.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { type AlertQuery, type AlertRecord, ALL_ALERTS } from "../../src/store/alert-rows.ts";
import { migrations } from "../../src/store/schema.ts";
import { type AlertWrite, Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { ALICE, BOB } from "../support/peers.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 0, 10);
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const { folder, opened, close } = useStoreFolders();

async function open(directory: string | null, clock = new HandClock(START_MS)): Promise<Store> {
  const store = await Store.open({ directory, clock, log: silent });
  return opened(store);
}

function alert(n: number, fields: Partial<AlertRecord> = {}): AlertRecord {
  return {
    id: `alert-${n}`,
    rule: "down",
    kind: "down",
    severity: "critical",
    resolves: true,
    isSent: true,
    sentence: `sentence ${n}`,
    device: "wg0",
    publicKey: ALICE,
    peerName: "alice",
    target: null,
    sinceMs: START_MS + n * 1000 - 500,
    firedAtMs: START_MS + n * 1000,
    resolvedAtMs: null,
    ...fields,
  };
}

function notice(alertIds: readonly string[], atMs = START_MS): AlertWrite["notices"][number] {
  return {
    type: "firing",
    atMs,
    rule: "down",
    dryRun: false,
    sentence: "down",
    heldBack: null,
    alertIds,
    targets: ["pager"],
    event: null,
  };
}

function write(fields: Partial<AlertWrite> & { readonly rows?: Rows; readonly all?: Rows } = {}) {
  const { rows = new Map(), all = rows, ...rest } = fields;
  const state = { rows, all: () => all };
  return { state, alerts: [], events: [], notices: [], ...rest };
}

function record(store: Store, alerts: AlertWrite): number[] {
  return store.record({ events: [], sessions: [], ended: [], devices: null, alerts }, START_MS);
}

function event(n: number): Event {
  const change = { type: "device.added", atMs: START_MS, device: "wg0", listenPort: 0 } as const;
  const id = `evt_${n.toString(16).padStart(32, "0")}`;
  return eventOf(change, { id, host: "gw1", name: null });
}

const all: AlertQuery = { ...ALL_ALERTS, limit: 100 };

function ids(store: Store, query: Partial<AlertQuery> = {}): string[] {
  return store.alerts.query({ ...all, ...query }).map(({ id }) => id);
}

describe("a query of alerts", () => {
  test("a query returns the latest alerts first, page by page, and each filter selects", async () => {
    const store = await open(null);
    const ended = { resolvedAtMs: START_MS + 60_000 };
    const alerts = [
      alert(1),
      alert(2, { ...ended, publicKey: BOB, peerName: null }),
      alert(10, { rule: "changed", kind: "changed", resolves: false }),
      // At the same time as the previous one.
      alert(11, { ...ended, firedAtMs: START_MS + 10_000, device: null, target: "pager" }),
    ];
    record(store, write({ alerts }));
    expect(store.alerts.query(all)).toEqual([alerts[3]!, alerts[2]!, alerts[1]!, alerts[0]!]);
    const [, second] = store.alerts.query({ ...all, limit: 2 });
    expect(ids(store, { before: second! })).toEqual(["alert-2", "alert-1"]);
    expect(ids(store, { state: "firing" })).toEqual(["alert-1"]);
    expect(ids(store, { state: "resolved" })).toEqual(["alert-11", "alert-10", "alert-2"]);
    expect(ids(store, { rule: "changed" })).toEqual(["alert-10"]);
    expect(ids(store, { device: "wg0", publicKey: BOB })).toEqual(["alert-2"]);
    expect(ids(store, { sinceMs: START_MS + 2000, untilMs: START_MS + 10_000 })).toEqual([
      "alert-2",
    ]);
    expect(store.alerts.find("alert-2")).toEqual(alerts[1]!);
    for (const id of ["alert-3", "alert-", "2", "alert-2 OR 1"]) {
      expect(store.alerts.find(id)).toBeNull();
    }
  });

  test("a notice has its alerts, its event and why it was held back", async () => {
    const store = await open(null);
    const by = { type: "silence", id: "s1", comment: "move" } as const;
    const seqs = store.record(
      {
        events: [{ event: event(1), targets: [] }],
        sessions: [],
        ended: [],
        devices: null,
        alerts: write({
          alerts: [alert(1), alert(2)],
          events: [{ event: event(2), targets: ["a"] }],
          notices: [
            { ...notice(["alert-1"]), heldBack: by, targets: [] },
            { ...notice(["alert-1", "alert-2"]), event: 0 },
          ],
        }),
      },
      START_MS,
    );
    expect(seqs).toEqual([1, 2]);
    expect(store.outbox.waiting("a", 0, 10).map(({ seq }) => seq)).toEqual([2]);
    const { event: _, ...shared } = notice(["alert-1", "alert-2"]);
    expect(store.alerts.notices("alert-2")).toEqual([{ ...shared, seq: 2, eventSeq: 2 }]);
    expect(store.alerts.notices("alert-1")).toMatchObject([
      { seq: 1, heldBack: by, eventSeq: null, targets: [] },
      { seq: 2, heldBack: null, eventSeq: 2, targets: ["pager"] },
    ]);
    expect(store.alerts.notices("alert-3")).toEqual([]);
  });
});

describe("the state of the engine", () => {
  test("changed rows are written and deleted rows are gone, with the events or not at all", async () => {
    const directory = folder();
    const store = await open(directory);
    record(
      store,
      write({
        rows: new Map([
          ["a", "1"],
          ["b", "2"],
        ]),
      }),
    );
    store.saveAlerts(
      write({
        rows: new Map([
          ["a", null],
          ["b", "3"],
        ]),
      }),
    );
    const broken = {
      ...notice(["alert-1"]),
      get sentence(): string {
        throw new Error("broken");
      },
    };
    const rows = new Map([["b", "4"]]);
    const events = [{ event: event(1), targets: [] }];
    const failing = write({ rows, alerts: [alert(1)], events, notices: [broken] });
    expect(() => record(store, failing)).toThrow("broken");
    expect(store.events.sequenceRange().last).toBe(0);
    expect([...store.alerts.loadState()]).toEqual([["b", "3"]]);
    expect(ids(store)).toEqual([]);
    close(store);
    expect([...(await open(directory)).alerts.loadState()]).toEqual([["b", "3"]]);
  });

  test("a step of the clock is noted for the engine, until it has written its state", async () => {
    const store = await open(null);
    const state = { bootId: "boot", bootedAtMs: 0, unsureSinceMs: null };
    const step = { ms: 1000, fromMs: 0, toMs: START_MS, unsureFromMs: null };
    store.clockSet(step, state);
    expect(store.alerts.loadSteps()).toEqual([]);
    store.saveAlerts(write({ rows: new Map([["engine", "{}"]]) }));
    const steps = [step, { ...step, ms: -5000 }];
    for (const each of steps) store.clockSet(each, state);
    expect(store.alerts.loadSteps()).toEqual(steps);
    expect([...store.alerts.loadState().keys()]).toEqual(["engine"]);
    store.saveAlerts(write());
    expect(store.alerts.loadSteps()).toEqual([]);
    expect([...store.alerts.loadState().keys()]).toEqual(["engine"]);
  });
});

test("a step of the clock moves the times of past alerts only if the old clock may have been wrong", async () => {
  const store = await open(null);
  record(
    store,
    write({
      alerts: [alert(1, { resolvedAtMs: START_MS + 9000 })],
      notices: [notice(["alert-1"])],
    }),
  );
  const state = { bootId: "boot", bootedAtMs: 0, unsureSinceMs: null };
  const step = { ms: DAY_MS, fromMs: 0, toMs: START_MS + DAY_MS, unsureFromMs: null };
  const times = () => {
    const { sinceMs, firedAtMs, resolvedAtMs } = store.alerts.find("alert-1")!;
    const [first] = store.alerts.notices("alert-1");
    return [sinceMs, firedAtMs, resolvedAtMs!, first!.atMs].map((ms) => ms - START_MS);
  };
  store.clockSet(step, state);
  expect(times()).toEqual([500, 1000, 9000, 0]);
  store.clockSet({ ...step, unsureFromMs: 0 }, state);
  expect(times()).toEqual([500, 1000, 9000, 0].map((ms) => ms + DAY_MS));
});

describe("retention", () => {
  const keep = { keepMs: 30 * DAY_MS, maxBytes: 1e9 };
  const trimAll = (store: Store, retention: typeof keep, nowMs: number) => {
    while (store.trim(retention, nowMs));
  };

  test("alerts that ended and notices are deleted after the time to keep; an alert that fires stays", async () => {
    const store = await open(null);
    const ended = { resolvedAtMs: START_MS + DAY_MS };
    const alerts = Array.from({ length: 500 }, (_, n) => alert(n + 1, ended));
    alerts.push(alert(501), alert(502, { resolves: false }));
    const notices = alerts.map(({ id }) => notice([id]));
    record(store, write({ alerts, notices }));
    trimAll(store, keep, START_MS + 29 * DAY_MS);
    expect(ids(store, { limit: 1000 })).toHaveLength(502);
    trimAll(store, keep, START_MS + 30 * DAY_MS + 3_600_000);
    expect(ids(store, { limit: 1000 })).toHaveLength(501);
    expect(store.alerts.notices("alert-501")).toEqual([]);
    trimAll(store, keep, START_MS + 31 * DAY_MS + 3_600_000);
    expect(ids(store)).toEqual(["alert-501"]);
    expect(store.alerts.oldestMs).toBeNull();
  });

  test("a store that is too big deletes the oldest alerts and notices, like all other rows", async () => {
    const store = await open(null);
    const sentence = "x".repeat(500);
    for (let day = 0; day < 40; day++) {
      const at = (n: number) => START_MS + day * DAY_MS + n;
      const alerts = Array.from({ length: 50 }, (_, n) =>
        alert(day * 50 + n + 1, { sentence, firedAtMs: at(n), resolvedAtMs: at(n) }),
      );
      record(store, write({ alerts, notices: alerts.map(({ id }) => notice([id], at(0))) }));
    }
    trimAll(store, { keepMs: 1e12, maxBytes: 800_000 }, START_MS + 40 * DAY_MS);
    const left = store.alerts.query({ ...all, limit: 10_000 });
    expect(left.length).toBeWithin(50, 1500);
    expect(left[0]!.id).toBe("alert-2000");
    const oldest = left.at(-1)!;
    expect(store.alerts.oldestMs).toBeWithin(oldest.firedAtMs - DAY_MS, oldest.firedAtMs + 1);
    expect(store.alerts.notices(oldest.id)).toHaveLength(1);
  });
});

describe("a file that cannot be written", () => {
  /** Keeps others from writing the file. */
  function block(directory: string): () => void {
    const other = new Sqlite(join(directory, "wgmon.db"));
    other.run("BEGIN IMMEDIATE");
    return () => {
      other.run("ROLLBACK");
      other.close();
    };
  }

  test("the whole state is written to memory, and back, and notices continue their numbers", async () => {
    const directory = folder();
    const clock = new HandClock(START_MS);
    const store = await open(directory, clock);
    const rows = (text: string) =>
      new Map(Object.entries(JSON.parse(text) as Record<string, string>));
    const first = rows('{"a":"1","b":"1"}');
    record(store, write({ rows: first, alerts: [alert(1)], notices: [notice(["alert-1"])] }));
    const unblock = block(directory);
    record(
      store,
      write({
        rows: rows('{"c":"2"}'),
        all: rows('{"a":"1","c":"2"}'),
        alerts: [alert(1, { resolvedAtMs: START_MS }), alert(2)],
        notices: [notice(["alert-1", "alert-2"])],
      }),
    );
    expect(store.isInMemory).toBeTrue();
    record(store, write({ rows: rows('{"d":"3"}') }));
    expect([...store.alerts.loadState().keys()].sort()).toEqual(["a", "c", "d"]);
    unblock();
    clock.advance(60_000);
    expect(store.isInMemory).toBeFalse();
    expect([...store.alerts.loadState().keys()].sort()).toEqual(["a", "c", "d"]);
    expect(store.alerts.find("alert-1")!.resolvedAtMs).toBe(START_MS);
    expect(ids(store)).toEqual(["alert-2", "alert-1"]);
    expect(store.alerts.notices("alert-1").map(({ seq }) => seq)).toEqual([1, 2]);
    // The file may be a new one.
    record(store, write({ rows: rows('{"e":"4"}'), all: rows('{"a":"5","e":"4"}') }));
    expect(Object.fromEntries(store.alerts.loadState())).toEqual({ a: "5", e: "4" });
  });
});

test("a store of an earlier version gets the tables of alerts", async () => {
  const directory = folder();
  const before = 7;
  {
    using file = new Sqlite(join(directory, "wgmon.db"));
    for (const sql of migrations.slice(0, before)) file.run(sql.replaceAll("$.", "main."));
    file.run(`PRAGMA user_version=${before}`);
  }
  const store = await open(directory);
  record(
    store,
    write({ rows: new Map([["a", "1"]]), alerts: [alert(1)], notices: [notice(["alert-1"])] }),
  );
  expect(ids(store)).toEqual(["alert-1"]);
  expect(store.alerts.notices("alert-1")).toHaveLength(1);
});
