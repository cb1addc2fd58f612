/** Creates the tables in an empty database, and converts those that an older wgmon wrote. */

import type { Database as Sqlite } from "bun:sqlite";

import { migrations, SCHEMA_VERSION } from "./schema.ts";
import { fromPlainHash } from "./target-key.ts";

interface Options {
  readonly schema: "main" | "disk";
  /** The version of the tables; 0: the database is empty. */
  readonly from: number;
  /** Written to the database, unless it has a secret already. */
  readonly secret: Uint8Array;
}

/** Migrates in one transaction. */
export function migrate(sqlite: Sqlite, { schema, from, secret }: Options): void {
  if (from === SCHEMA_VERSION) return;
  sqlite
    .transaction(() => {
      for (const sql of migrations.slice(from)) sqlite.run(sql.replaceAll("$.", `${schema}.`));
      const { changes: added } = sqlite.run(
        `INSERT OR IGNORE INTO ${schema}.secret (id, value) VALUES (1, ?)`,
        [secret],
      );
      if (added > 0) convertTargetKeys(sqlite, schema, secret);
      sqlite.run(`PRAGMA ${schema}.user_version=${SCHEMA_VERSION}`);
    })
    .deferred();
}

/** Converts the target keys of rows that an older wgmon wrote before the store had a secret. */
function convertTargetKeys(sqlite: Sqlite, schema: "main" | "disk", secret: Uint8Array): void {
  for (const table of ["outbox", "targets", "dead_letters"]) {
    // Finalized at the end of this block, because a prepared statement keeps the file open.
    using targets = sqlite.prepare<{ target: string }, []>(
      `SELECT DISTINCT target FROM ${schema}.${table}`,
    );
    for (const { target } of targets.all()) {
      const key = fromPlainHash(target, secret);
      if (key === null) continue;
      sqlite.run(`UPDATE ${schema}.${table} SET target = ? WHERE target = ?`, [key, target]);
    }
  }
}
