/**
 * Keeps the rows in a file, or in memory while the file cannot be used; more than 400 lines because each operation may be
 * the one at which the file fails. One SQLite connection has both, as two databases
 * with the same tables: `disk` and `main`. When the file fails, the rows that wgmon needs to continue are copied to
 * memory, and back once the file can be written again (failover-rows.ts).
 */

import type { Database as Sqlite, Statement } from "bun:sqlite";

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import type { Log } from "../platform/log.ts";
import { copyToMemory, moveToFile, skipSequence } from "./failover-rows.ts";
import { migrate } from "./migrate.ts";
import { SCHEMA_VERSION } from "./schema.ts";
import {
  cannotOpen,
  checkAccess,
  describeError,
  explainDirectory,
  isCorrupt,
  isRefusedRow,
  isSqliteError,
  OlderStore,
} from "./store-errors.ts";

const FILE_NAME = "wgmon.db";

/**
 * How long to wait for the lock of another process. `wgmon outbox` holds the lock for a shorter time. A longer wait
 * would block all of wgmon.
 */
const BUSY_MS = 100;
/** Pause before the file is tried again after a failure. */
const RETRY_MS = 60_000;
/** The size of an HMAC-SHA256 digest. */
const SECRET_BYTES = 32;
/** The journal file shrinks to this once its content is in the main file. */
const JOURNAL_BYTES = 4 * 1024 * 1024;

export interface DatabaseOptions {
  /** Directory of the file; null keeps the rows in memory only. */
  readonly directory: string | null;
  readonly clock: Clock;
  readonly log: Log;
  /** true: a command such as `wgmon outbox` opens the store, not the daemon. It does not create or migrate the file. */
  readonly isExternalTool?: boolean;
  /** Why the directory cannot be used, as lockInstance() in platform/instance-lock.ts found; omitted or null if it can. */
  readonly refusal?: SystemError | null;
}

/** A value in a row. */
export type Value = string | number | Uint8Array | null;

export class Database implements Disposable {
  readonly #sqlite: Sqlite;
  readonly #options: DatabaseOptions;
  readonly #statements = new Map<string, Statement<unknown, Value[]>>();
  #backend: "main" | "disk" = "main";
  #isDurable: boolean | null = null;
  /** The file to return to after a failure; null if the rows are in memory only. */
  #path: string | null = null;
  #problem: string | null = null;
  #cancelRetry = () => {};
  /** Whether the rows that wgmon needs to continue were copied to memory. */
  #isCopied = false;
  /** Whether the events in memory are of an epoch of their own: see failover-rows.ts. */
  #hasOwnEpoch = false;
  /** The functions passed to `repeatOnDisk` since the file failed. */
  #pending: (() => void)[] = [];
  /** The secret in the file, or the one to write to a new file. */
  #secret: Uint8Array = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));

  /** @throws SystemError only for an external tool. The daemon continues in memory and logs an error. */
  static async open(options: DatabaseOptions): Promise<Database> {
    // Imported here because loading takes a quarter of a millisecond, and commands such as --help do not need it.
    const { constants, Database: Memory } = await import("bun:sqlite");
    // The flags also apply to the attached file. NOFOLLOW: in another user's directory, a symbolic link could point to
    // any file.
    const { SQLITE_OPEN_READWRITE, SQLITE_OPEN_CREATE, SQLITE_OPEN_NOFOLLOW } = constants;
    const flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW;
    const database = new Database(new Memory(":memory:", flags), options);
    if (options.directory === null) database.#migrate("main");
    else database.#openFile(options.directory);
    return database;
  }

  private constructor(sqlite: Sqlite, options: DatabaseOptions) {
    this.#sqlite = sqlite;
    this.#options = options;
    sqlite.run(`PRAGMA busy_timeout=${BUSY_MS}`);
  }

  /** Why the file cannot be used; null if it can, or if no directory is set. */
  get problem(): string | null {
    return this.#problem;
  }

  /** The secret for the keys of targets. It stays the same as long as the file exists. */
  get secret(): Uint8Array {
    return this.#secret;
  }

  get isInMemory(): boolean {
    return this.#backend === "main";
  }

  /** A value that changes when another process has written, and when the rows move between file and memory. */
  get externalDataVersion(): string {
    return `${this.#backend} ${this.#number("PRAGMA $.data_version")}`;
  }

  /** Bytes that the rows use, without free pages. */
  get usedBytes(): number {
    const pages = this.#number("PRAGMA $.page_count") - this.#number("PRAGMA $.freelist_count");
    return pages * this.#number("PRAGMA $.page_size");
  }

  /** Returns all rows. `$` in the SQL stands for the name of the database. */
  all<Row>(sql: string, ...values: Value[]): Row[] {
    return this.#read(() => this.#statement(sql).all(...values) as Row[]);
  }

  /** Returns the first row; null if there is no row. */
  get<Row>(sql: string, ...values: Value[]): Row | null {
    const row = this.#read(() => this.#statement(sql).get(...values));
    return (row as Row | null | undefined) ?? null;
  }

  /** Returns the number of changed rows. */
  run(sql: string, ...values: Value[]): number {
    return this.#statement(sql).run(...values).changes;
  }

  /**
   * Runs `work` in one transaction. If the file cannot be written, runs it in memory instead.
   *
   * @param durability "now": once this returns, the changes survive a power failure. "soon": they survive the
   *   end of the process, but a power failure only after the next write with "now".
   */
  write<Result>(durability: "now" | "soon", work: () => Result): Result {
    if (this.#backend === "disk") {
      try {
        this.#setDurable(durability === "now");
        const result = this.#sqlite.transaction(work).immediate();
        // Set here, so that it does not delay the next write, which may be an event.
        this.#setDurable(true);
        return result;
      } catch (error) {
        this.#failed(error);
      }
    }
    // Not immediate, because that would lock the file as well.
    return this.#sqlite.transaction(work).deferred();
  }

  /** While the rows are in memory: runs `work` again on those in the file, before those in memory are copied back. */
  repeatOnDisk(work: () => void): void {
    if (this.#backend === "main" && this.#path !== null) this.#pending.push(work);
  }

  /** Returns at most this many pages of deleted rows to the file system. */
  shrink(pages: number): void {
    // The pragma frees one page per step, and run() makes only one step.
    this.all(`PRAGMA $.incremental_vacuum(${pages})`);
  }

  [Symbol.dispose](): void {
    this.#cancelRetry();
    if (this.#backend === "main" && this.#path !== null) this.#failBack();
    this.#forgetStatements();
    this.#sqlite.close();
  }

  #number(sql: string): number {
    return Object.values(this.get<Record<string, number>>(sql) ?? {})[0] ?? 0;
  }

  /** Continues in memory if the file cannot be read. In a transaction, `write` handles the error. */
  #read<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      if (this.#backend === "main" || this.#sqlite.inTransaction) throw error;
      this.#failed(error);
      return work();
    }
  }

  /**
   * Continues in memory after an error of the file. Throws any other error, also that a row is not allowed, and in an
   * external tool every error.
   */
  #failed(error: unknown): void {
    if (!isSqliteError(error) || isRefusedRow(error)) throw error;
    if (this.#options.isExternalTool === true) throw error;
    this.#failOver(error);
  }

  #statement(sql: string): Statement<unknown, Value[]> {
    const text = sql.replaceAll("$.", `${this.#backend}.`);
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#sqlite.prepare<unknown, Value[]>(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  #setDurable(isDurable: boolean): void {
    if (this.#isDurable === isDurable) return;
    this.#isDurable = isDurable;
    // In WAL mode, NORMAL writes the journal without waiting for the disk: sqlite.org/pragma.html.
    this.#sqlite.run(`PRAGMA disk.synchronous=${isDurable ? "FULL" : "NORMAL"}`);
  }

  #openFile(directory: string): void {
    const { log, isExternalTool, refusal = null } = this.#options;
    const path = `${directory}/${FILE_NAME}`;
    try {
      if (refusal !== null) throw explainDirectory(refusal, directory);
      if (isExternalTool === true) checkAccess(path);
      try {
        this.#attach(path);
      } catch (error) {
        if (!isCorrupt(error) || isExternalTool === true) throw error;
        this.#quarantine(path, error);
        this.#attach(path);
      }
      this.#path = path;
      this.#backend = "disk";
    } catch (error) {
      if (!(isSqliteError(error) || error instanceof SystemError)) throw error;
      const problem =
        error instanceof SystemError ? error.message : `${path}: ${describeError(error)}`;
      if (isExternalTool === true)
        throw error instanceof SystemError ? error : cannotOpen(path, error);
      this.#problem = problem;
      log.error(
        `${problem}; sessions and waiting events are kept in memory only; fix this, then restart wgmon`,
      );
      this.#detach();
      this.#migrate("main");
    }
  }

  /** @throws SQLiteError; SystemError for a file that a newer wgmon wrote. */
  #attach(path: string): void {
    const before = process.umask(0o077);
    try {
      this.#sqlite.run("ATTACH ? AS disk", [withRealFolder(path)]);
      // Reading a file that is not an SQLite database fails here.
      const version = Object.values(
        this.#sqlite.query<Record<string, number>, []>("PRAGMA disk.user_version").get() ?? {},
      )[0];
      if ((version ?? 0) > SCHEMA_VERSION) {
        throw new SystemError(
          `open ${path}`,
          `a newer wgmon wrote it (version ${version}, this one supports ${SCHEMA_VERSION}); use the newer wgmon, or another --state-dir`,
        );
      }
      this.#sqlite.run("PRAGMA disk.auto_vacuum=INCREMENTAL");
      this.#sqlite.run("PRAGMA disk.journal_mode=WAL");
      this.#sqlite.run(`PRAGMA disk.journal_size_limit=${JOURNAL_BYTES}`);
      this.#isDurable = null;
      this.#setDurable(true);
      if (this.#options.isExternalTool !== true) this.#migrate("disk", version);
      else if (version !== SCHEMA_VERSION) throw new OlderStore(path);
      // Finalized at the end of this block, because a prepared statement keeps the file open.
      using secret = this.#sqlite.prepare<{ value: Uint8Array }, []>(
        "SELECT value FROM disk.secret",
      );
      this.#secret = secret.get()!.value;
    } finally {
      process.umask(before);
    }
  }

  /** SQLite keeps the file open as long as a prepared statement exists. */
  #forgetStatements(): void {
    for (const statement of this.#statements.values()) statement.finalize();
    this.#statements.clear();
  }

  #detach(): void {
    this.#forgetStatements();
    this.#isDurable = null;
    try {
      this.#sqlite.run("DETACH disk");
    } catch (error) {
      if (!isSqliteError(error)) throw error;
    }
  }

  /** Renames a damaged file instead of deleting it, so that its rows can still be recovered. */
  #quarantine(path: string, error: unknown): void {
    this.#detach();
    const { renameSync } = process.getBuiltinModule("node:fs");
    const { wallMs } = this.#options.clock.now();
    const stamp = new Date(wallMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const aside = `${path}.corrupt-${stamp}`;
    for (const suffix of ["", "-wal", "-shm"]) {
      try {
        renameSync(path + suffix, aside + suffix);
      } catch {
        // The two other files may not exist. If the first cannot be renamed, opening it fails again.
      }
    }
    this.#options.log.error(
      `${path}: ${describeError(error)}; renamed to ${aside}; starting with an empty store`,
    );
  }

  #migrate(schema: "main" | "disk", from = 0): void {
    migrate(this.#sqlite, { schema, from, secret: this.#secret });
  }

  #failOver(error: unknown): void {
    const { log, clock } = this.#options;
    this.#problem = `${this.#path}: ${describeError(error)}`;
    log.error(
      `${this.#problem}; continuing in memory; undelivered events are lost if wgmon ends before the file is writable again`,
    );
    this.#backend = "main";
    if (this.#number("PRAGMA main.user_version") === 0) this.#migrate("main");
    this.#isCopied = false;
    this.#hasOwnEpoch = true;
    try {
      this.#hasOwnEpoch = copyToMemory(this.#sqlite);
      this.#isCopied = true;
    } catch (readError) {
      if (!isSqliteError(readError)) throw readError;
      log.error(
        `${this.#path}: undelivered events cannot be read either: ${describeError(readError)}`,
      );
      skipSequence(this.#sqlite, clock.now().wallMs);
    }
    // A damaged file would fail again.
    if (isCorrupt(error)) this.#quarantine(this.#path!, error);
    this.#cancelRetry = clock.after(RETRY_MS, () => this.#retry());
  }

  #repeatPending(): void {
    this.#backend = "disk";
    try {
      for (const work of this.#pending) work();
    } finally {
      this.#backend = "main";
    }
  }

  #retry(): void {
    if (this.#failBack()) return;
    this.#cancelRetry = this.#options.clock.after(RETRY_MS, () => this.#retry());
  }

  /** Copies the rows in memory back to the file. Returns whether that succeeded. */
  #failBack(): boolean {
    const path = this.#path!;
    try {
      const attached = this.#sqlite
        .query<{ name: string }, []>("PRAGMA database_list")
        .all()
        .some(({ name }) => name === "disk");
      if (!attached) this.#attach(path);
      this.#setDurable(true);
      this.#sqlite
        .transaction(() => {
          this.#repeatPending();
          moveToFile(this.#sqlite, {
            isSameFile: attached,
            wasCopied: this.#isCopied,
            hasOwnEpoch: this.#hasOwnEpoch,
          });
        })
        .immediate();
    } catch (error) {
      if (isSqliteError(error) || error instanceof SystemError) return false;
      throw error;
    }
    this.#backend = "disk";
    this.#problem = null;
    this.#pending = [];
    this.#options.log.info(
      `${path}: is writable again, and now contains everything that was kept in memory`,
    );
    return true;
  }
}

/**
 * The path of the same file without symbolic links in its directories: SQLITE_OPEN_NOFOLLOW rejects those as well, and
 * systemd makes /var/lib/wgmon a link to private/wgmon if a service has DynamicUser=yes.
 */
function withRealFolder(path: string): string {
  const { realpathSync } = process.getBuiltinModule("node:fs");
  const folder = path.slice(0, -FILE_NAME.length - 1);
  try {
    return `${realpathSync(folder)}/${FILE_NAME}`;
  } catch {
    // SQLite reports what is wrong with the path.
    return path;
  }
}
