/** Keys of targets without a name: they reveal nothing of the address, and keys of an older wgmon are converted. */

import { Database as Sqlite } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { makeTargets } from "../../src/channels/create-targets.ts";
import { Outbox } from "../../src/delivery/outbox.ts";
import { createLog } from "../../src/platform/log.ts";
import { migrations, SCHEMA_VERSION } from "../../src/store/schema.ts";
import { Store } from "../../src/store/store.ts";
import { fromPlainHash, targetKey } from "../../src/store/target-key.ts";
import { HandClock } from "../support/clock.ts";
import { anEvent } from "../support/events.ts";
import { Receiver } from "../support/receiver.ts";
import { run } from "../support/settings.ts";
import { useStoreFolders } from "../support/store-folders.ts";
import { until } from "../support/until.ts";

const URL = "https://admin:sunshine1@push.example.net/gateways";
/** The last schema version without a secret. */
const OLD_VERSION = 2;

const { folder, opened, close } = useStoreFolders();

async function open(directory: string | null, clock = new HandClock()): Promise<Store> {
  const log = createLog({ format: "journal", level: "error", write: () => {} });
  const store = await Store.open({ directory, clock, log });
  return opened(store);
}

/** The key of a target in that version. */
function plainHash(address: string): string {
  return new Bun.CryptoHasher("sha256").update(address).digest("hex").slice(0, 16);
}

/** A store of that version, with this number of waiting events for each target, and one dead letter each. */
function oldStore(directory: string, targets: Readonly<Record<string, number>>): void {
  using file = new Sqlite(join(directory, "wgmon.db"));
  for (const sql of migrations.slice(0, OLD_VERSION)) file.run(sql.replaceAll("$.", "main."));
  file.run(`PRAGMA user_version=${OLD_VERSION}`);
  let seq = 0;
  const add = (insert: (seq: number) => void) => {
    seq++;
    const id = `evt_${seq.toString(16).padStart(32, "0")}`;
    const body = JSON.stringify({ ...anEvent("peer.connected"), id });
    file.run("INSERT INTO events VALUES (?, ?, 'peer.connected', 0, ?)", [seq, id, body]);
    insert(seq);
  };
  for (const [target, count] of Object.entries(targets)) {
    for (let n = 0; n < count; n++) {
      add((at) => {
        file.run("INSERT INTO outbox VALUES (?, ?, ?, NULL)", [target, at, Date.now()]);
      });
    }
    add((at) => file.run("INSERT INTO dead_letters VALUES (?, ?, '', '404', 0)", [target, at]));
    file.run("INSERT INTO targets VALUES (?, ?, 3, 0, 'timeout')", [target, `label of ${target}`]);
  }
}

describe("the key of a target in the store", () => {
  test("a target's key cannot be computed from the address alone, and differs in another store", async () => {
    const [first, second] = [await open(null), await open(folder())];
    const keys = [first.targetKey(URL), second.targetKey(URL), plainHash(URL)];
    expect(new Set(keys).size).toBe(3);
    expect(first.targetKey(URL)).toMatch(/^[0-9a-f]{16}$/);
    expect(first.targetKey(URL)).toBe(keys[0]!);
    expect(first.targetKey(`${URL}/`)).not.toBe(keys[0]!);
  });

  test("a target's key stays the same as long as its store exists", async () => {
    const directory = folder();
    const first = await open(directory);
    const key = first.targetKey(URL);
    close(first);
    expect((await open(directory)).targetKey(URL)).toBe(key);
  });

  test("a target's key stays the same when a corrupt file is replaced while wgmon runs", async () => {
    const [directory, clock] = [folder(), new HandClock()];
    const before = await open(directory, clock);
    const key = before.targetKey(URL);
    const record = (store: Store, count: number) => {
      const events = Array.from({ length: count }, (_, n) => {
        return { event: { ...anEvent("peer.connected"), id: `${count}-${n}` }, targets: [key] };
      });
      store.record({ events, sessions: [], ended: [], devices: null }, 0);
    };
    record(before, 500);
    close(before);
    const path = join(directory, "wgmon.db");
    // Overwrites all but the first pages of the tables.
    writeFileSync(path, readFileSync(path).fill(0xff, 4096 * 60));
    const first = await open(directory, clock);
    record(first, 1);
    expect(first.isInMemory).toBe(true);
    expect(first.targetKey(URL)).toBe(key);
    await until("the file is renamed", () => !existsSync(path));
    clock.advance(60_000);
    expect(first.isInMemory).toBe(false);
    expect(first.targetKey(URL)).toBe(key);
    close(first);
    const second = await open(directory);
    expect(second.targetKey(URL)).toBe(key);
    expect(second.outbox.count(key)).toBeGreaterThan(0);
  });
});

describe("the keys of an older wgmon", () => {
  test("the keys of an older wgmon are converted in all tables, and names are not", async () => {
    const directory = folder();
    const plain = plainHash(URL);
    oldStore(directory, { [plain]: 3, [`${plain}-2`]: 2, ops: 1, deadbeef: 1 });
    const store = await open(directory);
    const key = store.targetKey(URL);
    const rows = [key, `${key}-2`, "ops", "deadbeef"].map((target) => [
      store.outbox.count(target),
      store.outbox.deadLetters({ target, after: 0, limit: 9 }).length,
      store.outbox.targetState(target)?.failures,
    ]);
    expect(rows).toEqual([
      [3, 1, 3],
      [2, 1, 3],
      [1, 1, 3],
      [1, 1, 3],
    ]);
    expect(store.outbox.count(plain)).toBe(0);
    close(store);
    using file = new Sqlite(join(directory, "wgmon.db"));
    expect(file.query("PRAGMA user_version").get()).toEqual({ user_version: SCHEMA_VERSION });
    expect(JSON.stringify(file.query("SELECT * FROM outbox").all())).not.toContain(plain);
  });

  test("the keys of an older wgmon do not prevent the delivery of waiting events after the upgrade, in order and only once", async () => {
    using receiver = new Receiver();
    const url = receiver.url("/json");
    const directory = folder();
    oldStore(directory, { [plainHash(url)]: 5 });
    const { targets } = run([`--webhook=${url}`]).settings;
    const log = createLog({ format: "journal", level: "error", write: () => {} });
    for (let start = 0; start < 2; start++) {
      const store = await open(directory);
      const keyOf = (address: string) => store.targetKey(address);
      const outbox = new Outbox({ store, clock: systemClock, log });
      outbox.setTargets(makeTargets(targets, { version: "0.0.0", clock: systemClock, keyOf }));
      await outbox.drain(10_000);
      close(store);
    }
    expect(receiver.requests.map(({ event }) => Number(`0x${event!.id.slice(4)}`))).toEqual([
      1, 2, 3, 4, 5,
    ]);
  });

  test.each(["ops", "0123456789ABCDEF", "0123456789abcdef0", "0123456789abcdef-", "", "-2"])(
    "the keys of an older wgmon do not include %p, which is not a hash",
    (key) => {
      expect(fromPlainHash(key, new Uint8Array(32))).toBeNull();
    },
  );

  test("the keys of an older wgmon are converted to the new key of the address, with their number", () => {
    const secret = crypto.getRandomValues(new Uint8Array(32));
    expect(fromPlainHash(plainHash(URL), secret)).toBe(targetKey(URL, secret));
    expect(fromPlainHash(`${plainHash(URL)}-12`, secret)).toBe(`${targetKey(URL, secret)}-12`);
  });
});
