/** The store on real files: what it keeps, and all ways in which its file can fail. */

import { Database as Sqlite } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import {
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { SystemError } from "../../src/base/errors.ts";
import type { Event } from "../../src/events/event-schema.ts";
import { eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import type { SavedSession } from "../../src/sessions/session.ts";
import { SCHEMA_VERSION } from "../../src/store/schema.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { ALICE, BOB, device, peer } from "../support/peers.ts";
import { keyOf } from "../support/source.ts";
import { useStoreFolders } from "../support/store-folders.ts";
import { until } from "../support/until.ts";

const DAY_MS = 86_400_000;
const { folder, opened, close } = useStoreFolders();

async function open(
  directory: string | null,
  {
    clock = new HandClock(),
    refusal = null,
    boot,
  }: {
    readonly clock?: HandClock;
    readonly refusal?: SystemError | null;
    readonly boot?: string | null;
  } = {},
) {
  const lines: string[] = [];
  const log = createLog({ format: "journal", level: "info", write: (line) => lines.push(line) });
  const store = await Store.open({
    directory,
    refusal,
    clock,
    log,
    ...(boot === undefined ? {} : { boot }),
  });
  return { store: opened(store), lines, clock };
}

function event(n: number, atMs = Date.UTC(2026, 0, 1)): Event {
  const change = { type: "device.added", atMs, device: `wg${n}`, listenPort: 0 } as const;
  const id = `evt_${n.toString(16).padStart(32, "0")}`;
  return eventOf(change, { id, host: "gw1", name: null });
}

function record(store: Store, n: number, targets: readonly string[] = [], atMs?: number): number {
  const events = [{ event: event(n, atMs), targets }];
  return store.record({ events, sessions: [], ended: [], devices: null }, 1000 + n)[0]!;
}

/** In one transaction, because a disk may need milliseconds for each. */
function recordMany(store: Store, count: number, atMs?: number): void {
  const events = Array.from({ length: count }, (_, n) => ({ event: event(n, atMs), targets: [] }));
  store.record({ events, sessions: [], ended: [], devices: null }, 1000);
}

const session: SavedSession = {
  device: "wg0",
  peer: peer({ rxBytes: 5000, lastHandshakeMs: 1_767_225_600_123.456 }),
  startedAtMs: 1_767_225_600_123.456,
  endpoint: peer().endpoint,
  handshakeAtMs: 1_767_225_600_123.456,
  lastActivityMs: 1_767_225_700_000,
  silentSinceMs: 1_767_225_700_000,
  rxBytes: 4000,
  txBytes: 300,
  roams: 2,
  ending: null,
};

const ended = {
  device: "wg0",
  publicKey: ALICE,
  startedAtMs: session.startedAtMs,
  endedAtMs: 1_767_225_800_000,
  durationMs: 200_000,
  reason: "idle",
  endpoint: "192.0.2.1:51820",
  rxBytes: 4001,
  txBytes: 301,
  roams: 2,
  peer: { lastHandshakeMs: 1_767_225_600_123.456, rxBytes: 5001, txBytes: 400 },
} as const;

describe("the store", () => {
  test("the store returns null at the first run, and later exactly the saved sessions and devices", async () => {
    const directory = folder();
    const { store, lines } = await open(directory);
    expect(store.sessions.loadState(0)).toBeNull();
    store.record({ events: [], sessions: [session], ended: [], devices: [device()] }, 0);
    close(store);
    const later = await open(directory);
    expect(later.store.sessions.loadState(0)).toEqual({
      devices: [device()],
      sessions: [session],
      ended: [],
    });
    expect([lines, later.lines]).toEqual([[], []]);
  });

  test.each([
    ["another boot", "a", "b", 0],
    ["the same boot", "a", "a", 3],
    ["a boot that is unknown now", "a", null, 3],
    ["a boot that was unknown then", null, "b", 3],
  ])(
    "the store returns devices of %s with their saved index, or 0",
    async (_, then, now, index) => {
      const directory = folder();
      const { store } = await open(directory, { boot: then });
      store.record({ events: [], sessions: [], ended: [], devices: [device({ index: 3 })] }, 0);
      close(store);
      const later = await open(directory, { boot: now });
      expect(later.store.sessions.loadState(0)!.devices).toEqual([device({ index })]);
    },
  );

  test("the store distinguishes an empty list of devices from a first run", async () => {
    const { store } = await open(null);
    store.record({ events: [], sessions: [], ended: [], devices: [] }, 0);
    expect(store.sessions.loadState(0)).toMatchObject({ devices: [], sessions: [] });
  });

  test("the store does not restore a session that ended", async () => {
    const { store } = await open(null);
    store.record({ events: [], sessions: [session], ended: [], devices: [device()] }, 0);
    store.sessions.save([{ ...session, rxBytes: 4001 }]);
    store.record({ events: [], sessions: [], ended: [ended], devices: null }, 0);
    expect(store.sessions.loadState(0)).toMatchObject({
      sessions: [],
      ended: [{ device: "wg0", publicKey: ALICE, ...ended.peer }],
    });
    expect(store.sessions.loadState(ended.endedAtMs)!.ended).toEqual([]);
  });

  test("the store keeps the waiting events of each target in order, with their sequence numbers", async () => {
    const { store } = await open(null);
    const seqs = [1, 2, 3].map((n) => record(store, n, n === 2 ? ["a"] : ["a", "b"]));
    expect(seqs).toEqual([1, 2, 3]);
    expect(store.outbox.waiting("a", 0, 2)).toEqual([
      { seq: 1, event: event(1), addedAtMs: 1001, message: null },
      { seq: 2, event: event(2), addedAtMs: 1002, message: null },
    ]);
    expect(store.outbox.waiting("b", 1, 9).map(({ seq }) => seq)).toEqual([3]);
    expect([store.outbox.count("a"), store.outbox.count("b"), store.outbox.count("c")]).toEqual([
      3, 2, 0,
    ]);
  });

  test("the store changes nothing if it refuses an event with a known id", async () => {
    const { store } = await open(null);
    record(store, 1, ["a"]);
    const events = [1, 2].map((n) => ({ event: event(3 - n), targets: ["a"] }));
    expect(() =>
      store.record({ events, sessions: [session], ended: [], devices: [device()] }, 0),
    ).toThrow("UNIQUE");
    expect(store.outbox.count("a")).toBe(1);
    expect(store.sessions.loadState(0)).toBeNull();
  });

  test("the store creates files that only its user can read", async () => {
    const directory = folder();
    const { store } = await open(directory);
    record(store, 1);
    const modes = readdirSync(directory).map((name) => [
      name,
      (statSync(join(directory, name)).mode & 0o777).toString(8),
    ]);
    expect(Object.fromEntries(modes)).toEqual({
      "wgmon.db": "600",
      "wgmon.db-shm": "600",
      "wgmon.db-wal": "600",
    });
  });
});

const ALL = { order: "oldest", from: null, type: null, publicKey: null, sinceMs: null } as const;

describe("retention", () => {
  test("retention deletes old events in small steps, except waiting ones", async () => {
    const { store } = await open(null);
    for (let n = 0; n < 450; n++) record(store, n, n === 7 ? ["a"] : [], n);
    record(store, 450, [], 10 * DAY_MS);
    store.record(
      { events: [], sessions: [], ended: [{ ...ended, endedAtMs: 5 }], devices: null },
      0,
    );
    const steps: boolean[] = [];
    do steps.push(store.trim({ keepMs: DAY_MS, maxBytes: 1e9 }, 10 * DAY_MS));
    while (steps.at(-1));
    expect(steps).toHaveLength(3);
    expect(store.outbox.waiting("a", 0, 9).map(({ seq }) => seq)).toEqual([8]);
    store.outbox.deadLetter("a", "a", [8], "refused", 0);
    expect(store.outbox.deadLetters()).toHaveLength(1);
    store.trim({ keepMs: DAY_MS, maxBytes: 1e9 }, 10 * DAY_MS);
    expect(store.outbox.deadLetters()).toHaveLength(0);
    // The newest event is not too old.
    expect(store.trim({ keepMs: DAY_MS, maxBytes: 1e9 }, 10 * DAY_MS)).toBe(false);
    expect(record(store, 451)).toBe(452);
  });

  test("retention deletes old events even if many waiting ones are older", async () => {
    const { store } = await open(null);
    const events = Array.from({ length: 9000 }, (_, n) => ({
      event: event(n, n),
      targets: n % 4000 === 3999 ? [] : ["a"],
    }));
    store.record({ events, sessions: [], ended: [], devices: null }, 1000);
    const all = {
      order: "oldest",
      from: null,
      type: null,
      publicKey: null,
      sinceMs: null,
    } as const;
    const kept = () => new Set(store.events.query({ ...all, limit: 9000 }).map(({ seq }) => seq));
    const trim = () => {
      while (store.trim({ keepMs: DAY_MS, maxBytes: 1e9 }, 10 * DAY_MS));
    };
    expect(kept()).toContain(4000);
    trim();
    expect(kept().size).toBe(8998);
    expect(kept()).not.toContain(4000);
    // The next trim begins with the oldest event again.
    store.outbox.deadLetter("a", "a", [1], "refused", 0);
    trim();
    expect(kept()).not.toContain(1);
    expect(store.outbox.count("a")).toBe(8997);
  });

  test("retention deletes the oldest events above the maximum size, and the file shrinks", async () => {
    const directory = folder();
    const { store } = await open(directory);
    recordMany(store, 3000, DAY_MS);
    const retention = { keepMs: 100 * DAY_MS, maxBytes: 400_000 };
    let steps = 0;
    while (store.trim(retention, DAY_MS)) steps++;
    expect(steps).toBeGreaterThan(3);
    expect(steps).toBeLessThan(15);
    close(store);
    const size = statSync(join(directory, "wgmon.db")).size;
    expect(size).toBeLessThan(500_000);
    expect(size).toBeGreaterThan(200_000);
  });

  test("retention deletes all other events if the waiting ones exceed the maximum size, and then stops", async () => {
    const { store } = await open(null);
    const events = Array.from({ length: 3000 }, (_, n) => ({
      event: event(n, DAY_MS + n),
      targets: n === 2999 ? [] : ["a"],
    }));
    store.record({ events, sessions: [], ended: [], devices: null }, 1000);
    const trim = () => store.trim({ keepMs: 100 * DAY_MS, maxBytes: 100_000 }, DAY_MS);
    expect([trim(), trim()]).toEqual([true, false]);
    expect(store.outbox.count("a")).toBe(2999);
    expect(store.events.query({ ...ALL, from: 2998, limit: 9 }).map(({ seq }) => seq)).toEqual([
      2999,
    ]);
  });

  test("the store does not reuse sequence numbers, even if all events are deleted", async () => {
    const directory = folder();
    const { store } = await open(directory);
    record(store, 1, [], 0);
    store.trim({ keepMs: 0, maxBytes: 1e9 }, DAY_MS);
    close(store);
    const later = await open(directory);
    expect(record(later.store, 2)).toBe(2);
  });
});

describe("a file of the store that cannot be used", () => {
  test("a store in an unusable folder is replaced by a store in memory", async () => {
    const refusal = new SystemError("open wgmon.lock", "EROFS");
    const { store, lines } = await open(folder(), { refusal });
    expect(lines[0]).toMatch(
      /^<3>use .*: EROFS \(set --state-dir to a directory that wgmon can write to\); .* kept in memory only/,
    );
    expect(store.isInMemory).toBe(true);
    record(store, 1, ["a"]);
    expect(store.outbox.count("a")).toBe(1);
  });

  test("a symbolic link in the place of the store is not opened, and its target is not changed", async () => {
    const directory = folder();
    const victim = join(folder(), "victim");
    symlinkSync(victim, join(directory, "wgmon.db"));
    const { store, lines } = await open(directory);
    expect(lines[0]).toMatch(/wgmon\.db: unable to open .* symbolic link there; set --state-dir/);
    expect(store.isInMemory).toBe(true);
    expect(existsSync(victim)).toBe(false);
  });

  test("a store in a folder that is a link is used, as with DynamicUser=yes", async () => {
    const directory = folder();
    const link = join(folder(), "link");
    symlinkSync(directory, link);
    const { store, lines } = await open(link);
    expect([store.isInMemory, lines]).toEqual([false, []]);
    expect(existsSync(join(directory, "wgmon.db"))).toBe(true);
  });

  test("a store that a newer wgmon wrote is not changed", async () => {
    const directory = folder();
    const { store } = await open(directory);
    record(store, 1);
    close(store);
    const path = join(directory, "wgmon.db");
    const newer = new Sqlite(path);
    newer.run(`PRAGMA user_version=${SCHEMA_VERSION + 1}`);
    newer.close();
    const before = readFileSync(path);
    const later = await open(directory);
    expect(later.lines[0]).toContain(
      `a newer wgmon wrote it (version ${SCHEMA_VERSION + 1}, this one supports ${SCHEMA_VERSION})`,
    );
    expect(later.store.isInMemory).toBe(true);
    close(later.store);
    expect(readFileSync(path)).toEqual(before);
  });

  test("a corrupt store is renamed, and a new one is created", async () => {
    const directory = folder();
    const path = join(directory, "wgmon.db");
    const garbage = "this is no database ".repeat(1000);
    writeFileSync(path, garbage);
    const { store, lines } = await open(directory);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^<3>.*wgmon\.db: file is not a database; renamed to .*\.corrupt-20260101T000000Z; starting/,
    );
    expect(store.problem).toBeNull();
    record(store, 1, ["a"]);
    const aside = readdirSync(directory).filter((name) => name.includes("corrupt"));
    expect(aside).toHaveLength(1);
    expect(readFileSync(join(directory, aside[0]!), "utf8")).toBe(garbage);
  });

  test("a store that becomes corrupt during use is replaced, and readable waiting events are kept", async () => {
    const directory = folder();
    const path = join(directory, "wgmon.db");
    const { store: first } = await open(directory);
    recordMany(first, 1990);
    for (let n = 1990; n < 2000; n++) record(first, n, ["a"]);
    close(first);
    // Overwrites the pages of the events' indexes and of the older events.
    const bytes = readFileSync(path);
    bytes.fill(0xff, 4096 * 60, bytes.length - 4096 * 12);
    writeFileSync(path, bytes);
    const { store, lines, clock } = await open(directory);
    record(store, 5000, ["a"]);
    expect(lines[0]).toMatch(/malformed.*; continuing in memory/);
    await until("the file is renamed", () => lines.some((line) => line.includes("renamed to")));
    expect(store.outbox.count("a")).toBeGreaterThan(0);
    clock.advance(60_000);
    expect(lines.at(-1)).toContain("is writable again");
    expect(store.problem).toBeNull();
    expect(existsSync(path)).toBe(true);
    expect(store.outbox.count("a")).toBeGreaterThan(0);
  });
});

test("the store continues in memory if its corrupt file is noticed by a read", async () => {
  const directory = folder();
  const path = join(directory, "wgmon.db");
  const { store: first } = await open(directory);
  for (let n = 0; n < 400; n++) record(first, n, ["a"]);
  close(first);
  const bytes = readFileSync(path);
  bytes.fill(0xff, 4096 * 60);
  writeFileSync(path, bytes);
  const { store, lines } = await open(directory);
  expect(() => store.outbox.waiting("a", 0, 256)).not.toThrow();
  expect(lines[0]).toMatch(/malformed.*; continuing in memory/);
  record(store, 5000, ["a"]);
  expect(store.outbox.waiting("a", 0, 256).at(-1)!.event).toEqual(event(5000));
});

describe("a file of the store that cannot be written for a while", () => {
  /** Makes writes of events fail until the returned function is called. */
  function failWrites(directory: string): () => void {
    using other = new Sqlite(join(directory, "wgmon.db"));
    other.run(
      "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'disk is full'); END",
    );
    return () => {
      using again = new Sqlite(join(directory, "wgmon.db"));
      again.run("DROP TRIGGER full");
    };
  }

  test("a store that cannot be written keeps dead letters that a command queues again meanwhile", async () => {
    const directory = folder();
    const { store, clock } = await open(directory);
    for (const n of [1, 2, 3]) record(store, n, ["a"]);
    store.outbox.deadLetter("a", "a", [2, 3], "refused", 0);
    const end = failWrites(directory);
    record(store, 4, ["a"]);
    expect(store.isInMemory).toBe(true);
    const log = createLog({ format: "text", level: "info" });
    using tool = await Store.open({ directory, clock, log, isExternalTool: true });
    tool.outbox.requeue(tool.outbox.deadLetters(), 0);
    end();
    const version = store.externalDataVersion;
    clock.advance(60_000);
    expect(store.isInMemory).toBe(false);
    expect(store.externalDataVersion).not.toBe(version);
    expect(store.outbox.waiting("a", 0, 9).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect(store.outbox.deadLetters()).toEqual([]);
  });

  test("a store that was in memory adds the traffic counted there to that of the file", async () => {
    const directory = folder();
    const { store, clock } = await open(directory);
    const { wallMs } = clock.now();
    const count = (publicKey: string) => {
      store.traffic.add([{ device: "wg0", publicKey, rxBytes: 5, txBytes: 1 }], wallMs);
      store.totals.add({ rxBytes: 5, txBytes: 1, connected: 2 }, wallMs);
    };
    count(ALICE);
    for (const n of [1, 2]) {
      const end = failWrites(directory);
      record(store, n);
      expect(store.isInMemory).toBe(true);
      count(ALICE);
      count(keyOf(n));
      end();
      clock.advance(60_000);
      expect(store.isInMemory).toBe(false);
    }
    for (const range of ["24h", "30d"] as const) {
      expect(store.traffic.range("wg0", ALICE, range, wallMs).rxBytes.at(-1)).toBe(15);
      expect(store.totals.range(range, wallMs).rxBytes.at(-1)).toBe(25);
    }
    expect(await store.traffic.top(wallMs, 9)).toHaveLength(3);
  });

  test("a store that cannot be written keeps the deletion of events that a command deletes meanwhile", async () => {
    const directory = folder();
    const { store, clock } = await open(directory);
    for (const n of [1, 2]) record(store, n, ["a"]);
    const end = failWrites(directory);
    record(store, 3, ["a"]);
    const log = createLog({ format: "text", level: "info" });
    using tool = await Store.open({ directory, clock, log, isExternalTool: true });
    tool.outbox.deleteMessages([{ target: "a", seq: 1 }]);
    end();
    clock.advance(60_000);
    expect(store.outbox.waiting("a", 0, 9).map(({ seq }) => seq)).toEqual([2, 3]);
  });

  test("a store that can be neither written nor read, twice, keeps its waiting events, and new ones after them", async () => {
    const directory = folder();
    const { store, lines, clock } = await open(directory);
    using other = new Sqlite(join(directory, "wgmon.db"));
    for (const n of [1, 4]) {
      record(store, n, ["a"]);
      record(store, n + 1, ["a"]);
      const end = failWrites(directory);
      other.run("ALTER TABLE devices ADD COLUMN more TEXT");
      record(store, n + 2, ["a"]);
      expect(lines.at(-1)).toContain("undelivered events cannot be read either");
      end();
      other.run("ALTER TABLE devices DROP COLUMN more");
      clock.advance(60_000);
      expect(store.isInMemory).toBe(false);
    }
    const waiting = store.outbox.waiting("a", 0, 9).map(({ event: { id } }) => id);
    expect(waiting).toEqual([1, 2, 3, 4, 5, 6].map((n) => event(n).id));
  });

  test("a store gets all changes that were kept in memory once it is writable", async () => {
    const directory = folder();
    const { store, lines, clock } = await open(directory);
    record(store, 1, ["a"]);
    store.record({ events: [], sessions: [session], ended: [], devices: [device()] }, 0);
    const other = new Sqlite(join(directory, "wgmon.db"));
    for (const table of ["events", "sessions", "outbox"]) {
      other.run(
        `CREATE TRIGGER no_${table} BEFORE INSERT ON ${table} BEGIN SELECT raise(ABORT, 'disk is full'); END`,
      );
    }

    expect(record(store, 2, ["a", "b"])).toBe(2);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^<3>.*wgmon\.db: disk is full; continuing in memory/);
    expect(store.problem).toContain("disk is full");
    expect(store.outbox.waiting("a", 0, 9).map(({ event: { id } }) => id)).toEqual([
      event(1).id,
      event(2).id,
    ]);
    store.record({ events: [], sessions: [], ended: [ended], devices: [] }, 0);
    store.outbox.delivered([{ target: "a", seq: 1 }]);
    store.outbox.deadLetter("b", "b", [2], "refused", 0);
    clock.advance(60_000);
    expect(lines).toHaveLength(1);

    for (const table of ["events", "sessions", "outbox"]) other.run(`DROP TRIGGER no_${table}`);
    other.close();
    clock.advance(60_000);
    expect(lines.at(-1)).toMatch(
      /^<6>.*is writable again, and now contains everything that was kept in memory/,
    );
    expect(store.problem).toBeNull();
    expect(record(store, 3, ["a"])).toBe(3);
    close(store);

    const later = await open(directory);
    expect(later.store.outbox.waiting("a", 0, 9).map(({ seq }) => seq)).toEqual([2, 3]);
    expect(later.store.outbox.deadLetters()).toMatchObject([
      { target: "b", seq: 2, event: event(2) },
    ]);
    expect(later.store.sessions.loadState(0)).toMatchObject({ devices: [], sessions: [] });
  });

  test("a store that another program has locked gets its changes later", async () => {
    const directory = folder();
    const { store, lines, clock } = await open(directory);
    const other = new Sqlite(join(directory, "wgmon.db"));
    other.run("BEGIN IMMEDIATE");
    record(store, 1, ["a"]);
    expect(lines[0]).toContain("database is locked (another program has locked it)");
    other.run("ROLLBACK");
    other.close();
    clock.advance(60_000);
    expect(store.problem).toBeNull();
    expect(store.outbox.count("a")).toBe(1);
  });

  test("a store gets the changes in memory at a clean end if it is writable then", async () => {
    const directory = folder();
    const { store } = await open(directory);
    const other = new Sqlite(join(directory, "wgmon.db"));
    other.run("BEGIN IMMEDIATE");
    record(store, 1, ["a"]);
    other.run("ROLLBACK");
    other.close();
    close(store);
    expect((await open(directory)).store.outbox.count("a")).toBe(1);
  });
});

describe("a command that opens the store of a running wgmon", () => {
  const log = createLog({ format: "text", level: "info" });

  test("a command reads waiting events of a running wgmon, and its changes are noticed", async () => {
    const directory = folder();
    const { store, clock } = await open(directory);
    record(store, 1, ["a"]);
    const version = store.externalDataVersion;
    using tool = await Store.open({ directory, clock, log, isExternalTool: true });
    expect(tool.outbox.count("a")).toBe(1);
    tool.outbox.deleteMessages([{ target: "a", seq: 1 }]);
    expect(store.externalDataVersion).not.toBe(version);
    expect(store.outbox.count("a")).toBe(0);
  });

  test("a command does not create a missing store", async () => {
    const directory = folder();
    const opened = Store.open({ directory, clock: new HandClock(), log, isExternalTool: true });
    expect(opened).rejects.toThrow(
      "/wgmon.db: there is no store yet: start wgmon first, or check --state-dir",
    );
    await opened.catch(() => {});
    expect(readdirSync(directory)).toEqual([]);
  });

  test("a command does not change a store of an older wgmon, and reports it", async () => {
    const directory = folder();
    const { store } = await open(directory);
    close(store);
    const path = join(directory, "wgmon.db");
    using file = new Sqlite(path);
    file.run(`PRAGMA user_version=${SCHEMA_VERSION - 1}`);
    const opened = Store.open({ directory, clock: new HandClock(), log, isExternalTool: true });
    expect(opened).rejects.toThrow("/wgmon.db: an older wgmon wrote it; ");
    await opened.catch(() => {});
    expect(file.query("PRAGMA user_version").get()).toEqual({ user_version: SCHEMA_VERSION - 1 });
  });
});

describe("a step of the clock", () => {
  const BOOT = 120_000;
  const TODAY = Date.UTC(2026, 10, 29);
  const state = { bootId: "boot", bootedAtMs: TODAY, unsureSinceMs: null };
  const step = { ms: TODAY - BOOT, fromMs: BOOT, toMs: BOOT + 3_600_000, unsureFromMs: BOOT };
  const at = (ms: number, seconds: number) => ms + seconds * 1000;

  async function filled() {
    const { store } = await open(folder());
    return fill(store);
  }

  function fill(store: Store): Store {
    record(store, 1, ["ops"], TODAY - 86_400_000);
    record(store, 2, ["ops", "old"], at(BOOT, 10));
    store.record(
      {
        events: [{ event: event(3, at(BOOT, 20)), targets: ["ops"] }],
        sessions: [
          {
            ...session,
            startedAtMs: at(BOOT, 5),
            handshakeAtMs: at(BOOT, 5),
            lastActivityMs: at(BOOT, 7),
            silentSinceMs: at(BOOT, 7),
          },
        ],
        ended: [
          { ...ended, publicKey: BOB, startedAtMs: at(BOOT, 1), endedAtMs: at(BOOT, 2) },
          { ...ended, publicKey: BOB, startedAtMs: at(BOOT, 2), endedAtMs: at(BOOT, 3) },
        ],
        devices: [device()],
      },
      at(BOOT, 20),
    );
    store.outbox.deadLetter("old", "old", [2], "404", at(BOOT, 30));
    store.outbox.saveTarget("ops", "ops", {
      failures: 1,
      retries: 1,
      nextAtMs: at(BOOT, 100),
      reason: "503",
    });
    store.outbox.saveTarget("old", "old", { failures: 1, retries: 0, nextAtMs: 0, reason: "404" });
    store.traffic.add([{ device: "wg0", publicKey: ALICE, rxBytes: 1, txBytes: 2 }], at(BOOT, 20));
    return store;
  }

  const past = {
    device: null,
    publicKey: null,
    sinceMs: null,
    from: null,
    limit: 9,
    isOpen: false,
  };
  const times = (store: Store) => ({
    ended: store.sessions.query(past).map(({ startedAtMs, endedAtMs }) => [startedAtMs, endedAtMs]),
    letters: store.outbox.deadLetters().map(({ atMs }) => atMs),
    recent: store.events.query({
      order: "oldest",
      from: null,
      limit: 9,
      type: null,
      publicKey: null,
      sinceMs: TODAY,
    }).length,
    traffic: store.traffic.range("wg0", ALICE, "24h", TODAY).rxBytes.at(-1),
  });

  const movedTimes = {
    ended: [
      [at(TODAY, 2), at(TODAY, 3)],
      [at(TODAY, 1), at(TODAY, 2)],
    ],
    letters: [at(TODAY, 30)],
    recent: 2,
    traffic: 1,
  };

  test("a step of the clock moves the times of open sessions and waiting events, and past times if the clock was not synchronised", async () => {
    const store = await filled();
    store.clockSet(step, state);
    expect(store.clockState()).toEqual(state);
    expect(store.outbox.waiting("ops", 0, 9).map(({ addedAtMs }) => addedAtMs)).toEqual([
      1001,
      1002,
      at(TODAY, 20),
    ]);
    expect(store.outbox.queues()[0]!.nextAtMs).toBe(at(TODAY, 100));
    const [open] = store.sessions.loadState(0)!.sessions;
    expect(open).toMatchObject({
      startedAtMs: at(TODAY, 5),
      handshakeAtMs: at(TODAY, 5),
      lastActivityMs: at(TODAY, 7),
    });
    expect(open!.peer).toEqual(session.peer);
    expect(times(store)).toEqual(movedTimes);
    store.trim({ keepMs: 2 * 86_400_000, maxBytes: 1e9 }, at(TODAY, 60));
    expect(store.events.sequenceRange().first).toBe(1);
  });

  test("a step of the clock from 1970 does not move the time 0, which means that no retry is scheduled", async () => {
    const store = await filled();
    store.clockSet({ ...step, fromMs: 0 }, state);
    expect(store.outbox.targetState("old")!.nextAtMs).toBe(0);
  });

  test("a step of the clock does not move past times if the clock was synchronised", async () => {
    const store = await filled();
    const before = times(store);
    store.clockSet({ ...step, unsureFromMs: null }, state);
    expect(times(store)).toEqual(before);
    expect(store.sessions.loadState(0)!.sessions[0]).toMatchObject({ startedAtMs: at(TODAY, 5) });
  });

  test("a step of the clock while the file cannot be written moves its rows later, and duplicates no session", async () => {
    const directory = folder();
    const { store, clock } = await open(directory);
    fill(store);
    const other = new Sqlite(join(directory, "wgmon.db"));
    other.run("BEGIN IMMEDIATE");
    store.clockSet(step, state);
    expect(store.isInMemory).toBe(true);
    other.run("ROLLBACK");
    other.close();
    clock.advance(60_000);
    expect(store.isInMemory).toBe(false);
    expect(store.clockState()).toEqual(state);
    const lasting = store.sessions.query({ ...past, isOpen: true });
    expect(lasting.map(({ startedAtMs }) => startedAtMs)).toEqual([at(TODAY, 5)]);
    expect(times(store)).toEqual(movedTimes);
    // The times were moved only once.
    store.clockSet({ ...step, ms: 0 }, state);
    expect(times(store)).toEqual(movedTimes);
  });

  test("a step of the clock while the file cannot be written does not reopen a session that ended meanwhile", async () => {
    const directory = folder();
    const { store, clock } = await open(directory);
    fill(store);
    const other = new Sqlite(join(directory, "wgmon.db"));
    other.run("BEGIN IMMEDIATE");
    const { publicKey } = ended;
    const over = { ...ended, publicKey, startedAtMs: at(BOOT, 5), endedAtMs: at(BOOT, 40) };
    store.record({ events: [], sessions: [], ended: [over], devices: null }, at(BOOT, 40));
    store.clockSet({ ...step, unsureFromMs: null }, state);
    other.run("ROLLBACK");
    other.close();
    clock.advance(60_000);
    expect(store.sessions.query({ ...past, isOpen: true })).toEqual([]);
    expect(store.sessions.query({ ...past, publicKey })).toHaveLength(1);
  });

  test("a step of the clock forward and then back changes nothing", async () => {
    const store = await filled();
    const before = {
      ...times(store),
      sessions: store.sessions.loadState(0)!.sessions,
      queues: store.outbox.queues(),
    };
    for (const ms of [300_000, -300_000]) {
      const by = { ms, fromMs: Math.min(BOOT, BOOT - ms), toMs: BOOT + 3_600_000 };
      store.clockSet({ ...by, unsureFromMs: by.fromMs }, state);
    }
    expect({
      ...times(store),
      sessions: store.sessions.loadState(0)!.sessions,
      queues: store.outbox.queues(),
    }).toEqual(before);
  });
});
