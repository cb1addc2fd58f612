/** Sessions in a store of an earlier version are kept, although the fields of a saved session were renamed. */

import { Database as Sqlite } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createLog } from "../../src/platform/log.ts";
import { migrations } from "../../src/store/schema.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { peer } from "../support/peers.ts";

/** The last version whose sessions have the fields `lastSignMs` and `gone`. */
const OLD_VERSION = 5;

const folder = mkdtempSync(join(tmpdir(), "wgmon-schema-"));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("an open session of an earlier version is restored with its last activity and its pending end", async () => {
  const session = {
    device: "wg0",
    peer: peer(),
    startedAtMs: 1000,
    endpoint: null,
    handshakeAtMs: 1000,
    silentSinceMs: 2000,
    rxBytes: 1,
    txBytes: 2,
    roams: 0,
  };
  const ending = { reason: "idle", sinceMs: 3000 };
  const state = JSON.stringify({ ...session, lastSignMs: 2000, gone: ending });
  {
    using file = new Sqlite(join(folder, "wgmon.db"));
    for (const sql of migrations.slice(0, OLD_VERSION)) file.run(sql.replaceAll("$.", "main."));
    file.run(`PRAGMA user_version=${OLD_VERSION}`);
    file.run("INSERT INTO devices VALUES (1, '[]')");
    file.run("INSERT INTO sessions VALUES ('wg0', ?, 1000, NULL, NULL, NULL, 1, 2, 0, ?)", [
      session.peer.publicKey,
      state,
    ]);
  }
  const log = createLog({ format: "journal", level: "error", write: () => {} });
  using store = await Store.open({ directory: folder, clock: new HandClock(), log });
  expect(store.sessions.loadState(0)?.sessions).toEqual([
    { ...session, lastActivityMs: 2000, ending } as never,
  ]);
});
