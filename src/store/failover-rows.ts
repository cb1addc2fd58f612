/**
 * The rows that wgmon needs to continue while the file cannot be used: copies them from the file, `disk`, to memory,
 * `main`, and moves them back. database.ts decides when.
 */

import type { Database as Sqlite } from "bun:sqlite";

import { slotTables } from "./ranges.ts";

/**
 * Copies the rows to memory: open sessions, waiting events, the latest event and the latest notice.
 *
 * @throws SQLiteError if the file cannot be read. Then nothing is copied.
 */
export function copyToMemory(sqlite: Sqlite): void {
  // The rows of the outbox that are copied to memory. Other rows, such as those that an external tool adds meanwhile,
  // stay in the file.
  sqlite.run("CREATE TEMP TABLE IF NOT EXISTS copied (target, seq)");
  sqlite.run("DELETE FROM temp.copied");
  sqlite
    .transaction(() => {
      for (const table of ["outbox", "targets", "devices", "clock", "sessions"]) {
        const rows = table === "sessions" ? "WHERE ended_at_ms IS NULL" : "";
        sqlite.run(`INSERT INTO main.${table} SELECT * FROM disk.${table} ${rows}`);
      }
      sqlite.run("INSERT INTO temp.copied SELECT target, seq FROM disk.outbox");
      sqlite.run(
        `INSERT INTO main.events SELECT * FROM disk.events WHERE seq IN (SELECT seq FROM disk.outbox)
           OR seq = (SELECT max(seq) FROM disk.events)`,
      );
      // Notices continue after the latest one.
      sqlite.run(
        `INSERT INTO main.alert_notices SELECT * FROM disk.alert_notices
           WHERE seq = (SELECT max(seq) FROM disk.alert_notices)`,
      );
    })
    .deferred();
}

/** Lets the events and notices in memory start after each sequence number in the file, which may become readable again. */
export function skipSequence(sqlite: Sqlite, wallMs: number): void {
  for (const table of ["events", "alert_notices"]) {
    sqlite.run(
      `INSERT INTO main.sqlite_sequence SELECT ?, 0
         WHERE NOT EXISTS (SELECT 1 FROM main.sqlite_sequence WHERE name = ?)`,
      [table, table],
    );
  }
  sqlite.run("UPDATE main.sqlite_sequence SET seq = max(seq, ?)", [wallMs]);
}

interface MoveOptions {
  /** Whether it is the file that failed, not a new one. */
  readonly isSameFile: boolean;
  /** Whether `copyToMemory` succeeded when the file failed. */
  readonly wasCopied: boolean;
}

/**
 * Moves the rows in memory to the file. Call it in a transaction.
 *
 * @throws SQLiteError
 */
export function moveToFile(sqlite: Sqlite, { isSameFile, wasCopied }: MoveOptions): void {
  const tables = [
    "devices",
    "clock",
    "sessions",
    "targets",
    "dead_letters",
    "outbox",
    "traffic_peers",
    "alerts",
    "alert_notices",
    "noticed_alerts",
    "alert_state",
  ];
  // Messages that an external tool deleted from the file meanwhile must not be restored. From a new file, none was
  // deleted.
  if (isSameFile) {
    sqlite.run(
      `DELETE FROM main.outbox WHERE (target, seq) IN (SELECT target, seq FROM temp.copied)
         AND (target, seq) NOT IN (SELECT target, seq FROM disk.outbox)`,
    );
  }
  sqlite.run("DELETE FROM disk.devices");
  // In memory, the state of the alerts is complete, or it was never written: see AlertRows.putState.
  sqlite.run("DELETE FROM disk.alert_state WHERE EXISTS (SELECT 1 FROM main.alert_state)");
  // In memory, these sessions may have ended, or have another start time because the clock was set.
  if (wasCopied) sqlite.run("DELETE FROM disk.sessions WHERE ended_at_ms IS NULL");
  sqlite.run(
    "DELETE FROM disk.outbox WHERE (target, seq) IN (SELECT target, seq FROM temp.copied)",
  );
  sqlite.run("INSERT OR IGNORE INTO disk.events SELECT * FROM main.events");
  for (const table of tables) {
    sqlite.run(`INSERT OR REPLACE INTO disk.${table} SELECT * FROM main.${table}`);
  }
  for (const [table, { merge }] of Object.entries(slotTables)) {
    sqlite.run(`INSERT INTO disk.${table} SELECT * FROM main.${table} WHERE true ${merge}`);
  }
  for (const table of ["events", ...tables, ...Object.keys(slotTables)]) {
    sqlite.run(`DELETE FROM main.${table}`);
  }
}
