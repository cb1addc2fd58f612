/**
 * The rows that wgmon needs to continue while the file cannot be used: copies them from the file, `disk`, to memory,
 * `main`, and moves them back. database.ts decides when.
 */

import type { Database as Sqlite } from "bun:sqlite";

import { NEW_EPOCH } from "./epoch-rows.ts";
import { slotTables } from "./ranges.ts";

/** Most events that are copied to memory because a hub does not have them: about 10 MB. */
const UNCONFIRMED_MAX = 10_000;

/** The tables whose rows are numbered, and whose numbers are never reused. */
const NUMBERED = ["events", "alert_notices"];

/**
 * Copies the rows to memory: open sessions, waiting events, the latest event and the latest notice.
 *
 * @returns whether the events in memory are of an epoch of their own.
 * @throws SQLiteError if the file cannot be read. Then nothing is copied.
 */
export function copyToMemory(sqlite: Sqlite): boolean {
  // The rows of the outbox that are copied to memory. Other rows, such as those that an external tool adds meanwhile,
  // stay in the file.
  sqlite.run("CREATE TEMP TABLE IF NOT EXISTS copied (target, seq)");
  sqlite.run("DELETE FROM temp.copied");
  return sqlite
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
      // The latest rows may have been deleted.
      continueSequence(sqlite, "disk", "main");
      return !copyUplinks(sqlite);
    })
    .deferred();
}

/**
 * Copies how far the hub has the events, and the events that it does not have. If these are too many, or if there is no
 * hub so far, copies nothing and begins an epoch for the events in memory: see `reviseEpochs`.
 */
function copyUplinks(sqlite: Sqlite): boolean {
  // Finalized at the end of the function, because a prepared statement keeps the file open.
  using unconfirmed = sqlite.prepare<{ count: number }, []>(
    `SELECT iif(EXISTS (SELECT 1 FROM disk.epochs), count(*), ${UNCONFIRMED_MAX} + 1) AS count FROM
       (SELECT 1 FROM disk.events WHERE seq > (${CONFIRMED}) LIMIT ${UNCONFIRMED_MAX} + 1)`,
  );
  if (unconfirmed.get()!.count > UNCONFIRMED_MAX) {
    beginEpoch(sqlite, "disk");
    return false;
  }
  for (const table of ["epochs", "uplinks"]) {
    sqlite.run(`INSERT INTO main.${table} SELECT * FROM disk.${table}`);
  }
  sqlite.run(
    `INSERT OR IGNORE INTO main.events SELECT * FROM disk.events WHERE seq > (${CONFIRMED})`,
  );
  return true;
}

/** Each hub has the events up to this number. If the epochs are new, it is sent all events again. */
const CONFIRMED = `SELECT coalesce(min(iif(epoch IN (SELECT epoch FROM disk.epochs), confirmed_seq, 0)), 0)
  FROM disk.uplinks`;

/** Begins an epoch in memory, after the last event of the database. */
function beginEpoch(sqlite: Sqlite, schema: "main" | "disk"): void {
  sqlite.run(
    `INSERT INTO main.epochs (first_seq, epoch) VALUES
       (coalesce((SELECT seq FROM ${schema}.sqlite_sequence WHERE name = 'events'), 0) + 1, ${NEW_EPOCH})`,
  );
}

/** Lets the numbers of new rows in one database start after those of the other. */
function continueSequence(sqlite: Sqlite, from: "main" | "disk", to: "main" | "disk"): void {
  for (const table of NUMBERED) {
    sqlite.run(
      `INSERT INTO ${to}.sqlite_sequence SELECT ?, 0
         WHERE NOT EXISTS (SELECT 1 FROM ${to}.sqlite_sequence WHERE name = ?)`,
      [table, table],
    );
    sqlite.run(
      `UPDATE ${to}.sqlite_sequence
         SET seq = max(seq, coalesce((SELECT seq FROM ${from}.sqlite_sequence WHERE name = ?1), 0))
         WHERE name = ?1`,
      [table],
    );
  }
}

/**
 * Lets the events and notices in memory start after each sequence number in the file, which may become readable again.
 * The events are of a new epoch.
 */
export function skipSequence(sqlite: Sqlite, wallMs: number): void {
  for (const table of NUMBERED) {
    sqlite.run(
      `INSERT INTO main.sqlite_sequence SELECT ?, 0
         WHERE NOT EXISTS (SELECT 1 FROM main.sqlite_sequence WHERE name = ?)`,
      [table, table],
    );
  }
  sqlite.run("UPDATE main.sqlite_sequence SET seq = max(seq, ?)", [Math.round(wallMs)]);
  beginEpoch(sqlite, "main");
}

/**
 * A hub may have the events in memory, which are of an epoch of their own, but not those in the file that come before.
 * So all epochs get new ids, and all events are sent again, in order. The hub knows the events by their ids.
 */
function reviseEpochs(sqlite: Sqlite): void {
  sqlite.run(
    `INSERT INTO disk.epochs (first_seq, epoch)
       SELECT seq, ${NEW_EPOCH} FROM (SELECT min(seq) AS seq FROM disk.events)
       WHERE seq IS NOT NULL AND NOT EXISTS (SELECT 1 FROM disk.epochs)`,
  );
  for (const schema of ["disk", "main"]) {
    sqlite.run(
      `UPDATE ${schema}.epochs SET epoch = ${NEW_EPOCH} WHERE EXISTS (SELECT 1 FROM disk.events)`,
    );
  }
}

interface MoveOptions {
  /** Whether it is the file that failed, not a new one. */
  readonly isSameFile: boolean;
  /** Whether `copyToMemory` succeeded when the file failed. */
  readonly wasCopied: boolean;
  /** Whether the events in memory are of an epoch of their own. */
  readonly hasOwnEpoch: boolean;
}

/**
 * Moves the rows in memory to the file. Call it in a transaction.
 *
 * @throws SQLiteError
 */
export function moveToFile(
  sqlite: Sqlite,
  { isSameFile, wasCopied, hasOwnEpoch }: MoveOptions,
): void {
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
    "epochs",
    "uplinks",
  ];
  if (hasOwnEpoch) reviseEpochs(sqlite);
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
  // The latest rows may have been deleted in memory.
  continueSequence(sqlite, "main", "disk");
}
