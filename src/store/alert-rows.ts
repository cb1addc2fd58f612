/** The rows of alerts: the engine's state, the alerts that fired, and the notices about them. */

import type { AlertView, Notice, Suppression } from "../alerts/alert.ts";
import type { Rows } from "../alerts/state.ts";
import type { ClockStep } from "../base/wall-clock.ts";
import type { Database, Value } from "./database.ts";

/** An alert that fired, now or in the past. */
export interface AlertRecord extends Pick<
  AlertView,
  "id" | "rule" | "kind" | "severity" | "resolves" | "isSent" | "sentence"
> {
  readonly device: string | null;
  readonly publicKey: string | null;
  /** The peer's name when the alert last changed. */
  readonly peerName: string | null;
  readonly target: string | null;
  readonly sinceMs: number;
  readonly firedAtMs: number;
  /** null: it still fires, or it is a moment. */
  readonly resolvedAtMs: number | null;
}

/** When an alert was over: resolved, or, if it is a moment, when it fired. null: it is not over. */
export function overAtMs({
  resolves,
  firedAtMs,
  resolvedAtMs,
}: Pick<AlertView, "resolves" | "firedAtMs" | "resolvedAtMs">): number | null {
  return resolves ? resolvedAtMs : firedAtMs;
}

/** Selects alerts, the latest first; a filter that is null matches every alert. */
export interface AlertQuery {
  /** Only alerts before this one in the order; null: from the latest. */
  readonly before: { readonly firedAtMs: number; readonly id: string } | null;
  readonly limit: number;
  /** resolved: those that are over, moments included. */
  readonly state: "firing" | "resolved" | null;
  readonly rule: string | null;
  readonly device: string | null;
  /** On a hub: only alerts about devices of this gateway. Omitted: as null. */
  readonly gateway?: string | null;
  readonly publicKey: string | null;
  /** Only alerts that fired at this time or later. */
  readonly sinceMs: number | null;
  /** Only alerts that fired before this time. */
  readonly untilMs: number | null;
}

/** Selects all alerts. */
export const ALL_ALERTS: Omit<AlertQuery, "limit"> = {
  before: null,
  state: null,
  rule: null,
  device: null,
  publicKey: null,
  sinceMs: null,
  untilMs: null,
};

/** One message about alerts: sent, or held back. */
export interface NoticeRecord extends Pick<
  Notice,
  "type" | "atMs" | "rule" | "dryRun" | "sentence"
> {
  readonly seq: number;
  readonly alertIds: readonly string[];
  readonly heldBack: Suppression | null;
  /** The sequence number of its event; null: it was not sent. */
  readonly eventSeq: number | null;
  /** Labels of the targets that its event was queued for. */
  readonly targets: readonly string[];
}

/** A notice to be stored. */
export type NewNotice = Omit<NoticeRecord, "seq">;

/** Rows of the engine's state that changed. */
export interface StateChanges {
  readonly rows: Rows;
  /** All rows, which are written instead if the rows are now in another database: see `putState`. */
  readonly all: () => Rows;
}

/** The rows with steps of the clock. No row of the engine's state has such a key. */
const STEP = "clock-step";
const IS_STEP = `(key >= '${STEP} ' AND key < '${STEP}!')`;
/** The conditions of `firing`, as in the index. */
const FIRING = "(resolved_at_ms IS NULL AND resolves = 1)";
/** Deleted rows per step of retention. */
const SLICE = 200;

interface AlertRow {
  readonly id: number;
  readonly rule: string;
  readonly kind: AlertRecord["kind"];
  readonly severity: AlertRecord["severity"];
  readonly device: string | null;
  readonly public_key: string | null;
  readonly peer_name: string | null;
  readonly target: string | null;
  readonly resolves: 0 | 1;
  readonly is_sent: 0 | 1;
  readonly since_ms: number;
  readonly fired_at_ms: number;
  readonly resolved_at_ms: number | null;
  readonly sentence: string;
}

interface NoticeRow {
  readonly seq: number;
  readonly type: NoticeRecord["type"];
  readonly at_ms: number;
  readonly rule: string;
  readonly dry_run: 0 | 1;
  readonly sentence: string;
  readonly suppressed_by: string | null;
  readonly event_seq: number | null;
  readonly targets: string;
}

export class AlertRows {
  readonly #database: Database;
  /** Where the rows of the state were when they were last written. */
  #wasInMemory: boolean;

  constructor(database: Database) {
    this.#database = database;
    this.#wasInMemory = database.isInMemory;
  }

  /** The rows of the engine's state. */
  loadState(): Rows {
    const rows = this.#database.all<{ key: string; value: string }>(
      `SELECT key, value FROM $.alert_state WHERE NOT ${IS_STEP}`,
    );
    return new Map(rows.map(({ key, value }) => [key, value]));
  }

  /** The steps of the clock since the state was written, in their order. */
  loadSteps(): ClockStep[] {
    return this.#database
      .all<{ value: string }>(`SELECT value FROM $.alert_state WHERE ${IS_STEP} ORDER BY key`)
      .map(({ value }) => JSON.parse(value) as ClockStep);
  }

  /** Notes a step of the clock, if there is a state; the caller's transaction writes it. */
  putStep(step: ClockStep): void {
    this.#database.run(
      `INSERT INTO $.alert_state (key, value)
         SELECT '${STEP} ' || printf('%06d', (SELECT count(*) FROM $.alert_state WHERE ${IS_STEP})), ?
         WHERE EXISTS (SELECT 1 FROM $.alert_state)`,
      JSON.stringify(step),
    );
  }

  /** Writes changed rows of the state. */
  saveState(changes: StateChanges): void {
    this.#database.write("now", () => this.putState(changes));
  }

  /**
   * Writes changed rows of the state; the caller's transaction writes them. The rows are not copied when the file fails,
   * and a new file has none, so all rows are written after the store moved to memory or back.
   */
  putState({ rows, all }: StateChanges): void {
    const { isInMemory } = this.#database;
    const hasMoved = isInMemory !== this.#wasInMemory;
    this.#wasInMemory = isInMemory;
    // The engine knows the steps of the clock by now.
    this.#database.run(`DELETE FROM $.alert_state${hasMoved ? "" : ` WHERE ${IS_STEP}`}`);
    for (const [key, value] of hasMoved ? all() : rows) {
      if (value === null) this.#database.run("DELETE FROM $.alert_state WHERE key = ?", key);
      else {
        this.#database.run(
          "INSERT OR REPLACE INTO $.alert_state (key, value) VALUES (?, ?)",
          key,
          value,
        );
      }
    }
  }

  /** Adds or replaces an alert; the caller's transaction writes it. */
  put(alert: AlertRecord): void {
    this.#database.run(
      `INSERT OR REPLACE INTO $.alerts (id, rule, kind, severity, device, public_key, peer_name, target, resolves,
         is_sent, since_ms, fired_at_ms, resolved_at_ms, sentence)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      numberOf(alert.id),
      alert.rule,
      alert.kind,
      alert.severity,
      alert.device,
      alert.publicKey,
      alert.peerName,
      alert.target,
      Number(alert.resolves),
      Number(alert.isSent),
      Math.round(alert.sinceMs),
      Math.round(alert.firedAtMs),
      alert.resolvedAtMs === null ? null : Math.round(alert.resolvedAtMs),
      alert.sentence,
    );
  }

  /** Adds a notice; the caller's transaction writes it. */
  addNotice(notice: NewNotice): void {
    const { type, atMs, rule, dryRun, sentence, heldBack, eventSeq, targets } = notice;
    const { seq } = this.#database.get<{ seq: number }>(
      `INSERT INTO $.alert_notices (type, at_ms, rule, dry_run, sentence, suppressed_by, event_seq, targets)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
      type,
      Math.round(atMs),
      rule,
      Number(dryRun),
      sentence,
      heldBack === null ? null : JSON.stringify(heldBack),
      eventSeq,
      JSON.stringify(targets),
    )!;
    for (const id of notice.alertIds) {
      this.#database.run(
        "INSERT OR IGNORE INTO $.noticed_alerts (alert, notice) VALUES (?, ?)",
        numberOf(id),
        seq,
      );
    }
  }

  /** The alerts that a query selects. */
  query(query: AlertQuery): AlertRecord[] {
    const { before, limit, state, rule, device, gateway = null, publicKey } = query;
    const { sinceMs, untilMs } = query;
    const conditions: string[] = [];
    const values: Value[] = [];
    const where = (condition: string, ...given: Value[]): void => {
      conditions.push(condition);
      values.push(...given);
    };
    if (before !== null) {
      where("(fired_at_ms, id) < (?, ?)", Math.round(before.firedAtMs), numberOf(before.id));
    }
    if (state !== null) where(state === "firing" ? FIRING : `NOT ${FIRING}`);
    if (rule !== null) where("rule = ?", rule);
    if (device !== null) where("device = ?", device);
    // The names of its devices begin with its name and a slash, which the digit 0 follows in ASCII.
    if (gateway !== null) where("device > ? AND device < ?", `${gateway}/`, `${gateway}0`);
    if (publicKey !== null) where("public_key = ?", publicKey);
    if (sinceMs !== null) where("fired_at_ms >= ?", sinceMs);
    if (untilMs !== null) where("fired_at_ms < ?", untilMs);
    return this.#database
      .all<AlertRow>(
        `SELECT * FROM $.alerts ${conditions.length === 0 ? "" : "WHERE "}${conditions.join(" AND ")}
         ORDER BY fired_at_ms DESC, id DESC LIMIT ?`,
        ...values,
        limit,
      )
      .map(recordOf);
  }

  /** null: there is no such alert. */
  find(id: string): AlertRecord | null {
    const row = this.#database.get<AlertRow>("SELECT * FROM $.alerts WHERE id = ?", numberOf(id));
    return row === null ? null : recordOf(row);
  }

  /** The notices about an alert, in their order. */
  notices(alertId: string): NoticeRecord[] {
    const rows = this.#database.all<NoticeRow>(
      `SELECT * FROM $.alert_notices WHERE seq IN (SELECT notice FROM $.noticed_alerts WHERE alert = ?)
       ORDER BY seq`,
      numberOf(alertId),
    );
    return rows.map((row) => this.#noticeOf(row));
  }

  /** Whether a target accepted a message about these alerts. Alerts without a stored message that was sent are missing. */
  accepted(ids: readonly string[]): ReadonlyMap<string, boolean> {
    const rows = this.#database.all<{ alert: number; accepted: 0 | 1 }>(
      `SELECT alert, max(targets <> '[]') AS accepted FROM $.noticed_alerts
         JOIN $.alert_notices ON seq = notice
         WHERE alert IN (SELECT value FROM json_each(?)) AND event_seq IS NOT NULL GROUP BY alert`,
      JSON.stringify(ids.map(numberOf)),
    );
    return new Map(rows.map(({ alert, accepted }) => [idOf(alert), accepted === 1]));
  }

  /** The end of the oldest alert that does not fire any more, or the oldest notice; null: there are none. */
  get oldestMs(): number | null {
    return this.#database.get<{ ms: number | null }>(
      `SELECT min(ms) AS ms FROM (
         SELECT min(fired_at_ms) AS ms FROM $.alerts WHERE NOT ${FIRING}
         UNION ALL SELECT min(at_ms) FROM $.alert_notices)`,
    )!.ms;
  }

  /** Deletes a slice of the notices before this time, and of the alerts that ended before it. Returns the larger number. */
  deleteBefore(beforeMs: number): number {
    const notices = this.#database.all<{ seq: number }>(
      `SELECT seq FROM $.alert_notices WHERE at_ms < ? ORDER BY at_ms LIMIT ${SLICE}`,
      beforeMs,
    );
    for (const { seq } of notices) {
      this.#database.run("DELETE FROM $.noticed_alerts WHERE notice = ?", seq);
      this.#database.run("DELETE FROM $.alert_notices WHERE seq = ?", seq);
    }
    const alerts = this.#database.run(
      `DELETE FROM $.alerts WHERE id IN (
         SELECT id FROM $.alerts WHERE fired_at_ms < ? AND coalesce(resolved_at_ms, fired_at_ms) < ? AND NOT ${FIRING}
         ORDER BY fired_at_ms LIMIT ${SLICE})`,
      beforeMs,
      beforeMs,
    );
    return Math.max(notices.length, alerts);
  }

  #noticeOf(row: NoticeRow): NoticeRecord {
    const ids = this.#database.all<{ alert: number }>(
      "SELECT alert FROM $.noticed_alerts WHERE notice = ? ORDER BY alert",
      row.seq,
    );
    return {
      seq: row.seq,
      type: row.type,
      atMs: row.at_ms,
      rule: row.rule,
      dryRun: row.dry_run === 1,
      sentence: row.sentence,
      heldBack: row.suppressed_by === null ? null : (JSON.parse(row.suppressed_by) as Suppression),
      eventSeq: row.event_seq,
      targets: JSON.parse(row.targets) as string[],
      alertIds: ids.map(({ alert }) => idOf(alert)),
    };
  }
}

const PREFIX = "alert-";

/** The number of `alert-7`, by which alerts are stored; -1 for a text that is not an id. */
function numberOf(id: string): number {
  return /^alert-\d{1,15}$/.test(id) ? Number(id.slice(PREFIX.length)) : -1;
}

function idOf(number: number): string {
  return `${PREFIX}${number}`;
}

function recordOf(row: AlertRow): AlertRecord {
  return {
    id: idOf(row.id),
    rule: row.rule,
    kind: row.kind,
    severity: row.severity,
    device: row.device,
    publicKey: row.public_key,
    peerName: row.peer_name,
    target: row.target,
    resolves: row.resolves === 1,
    isSent: row.is_sent === 1,
    sinceMs: row.since_ms,
    firedAtMs: row.fired_at_ms,
    resolvedAtMs: row.resolved_at_ms,
    sentence: row.sentence,
  };
}
