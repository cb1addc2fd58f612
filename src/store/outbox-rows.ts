/**
 * The rows of `outbox`, `targets` and `dead_letters`: the events that are queued for each target, the state of its
 * delivery attempts, and the events that will not be delivered.
 */

import type { Event } from "../events/event-schema.ts";
import type { Database } from "./database.ts";

/** An event that is queued for a target. */
export interface QueuedEvent {
  /** The sequence number of the event. */
  readonly seq: number;
  readonly event: Event;
  readonly addedAtMs: number;
  /** Id of the digest that it is part of; null if it is not part of one. */
  readonly message: string | null;
}

/** State of the delivery attempts to a target. */
export interface TargetState {
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** Failed attempts since the last success or rejection; the pause before the next attempt grows with them. */
  readonly retries: number;
  /** When the next attempt is due, in wall-clock time; 0 means at once. */
  readonly nextAtMs: number;
  /** Why the latest attempt failed; empty if it succeeded. */
  readonly reason: string;
}

/** The backlog of one target, for display. */
export interface TargetBacklog extends TargetState {
  readonly target: string;
  readonly label: string;
  readonly waiting: number;
  readonly oldestAtMs: number;
}

export interface DeadLetter {
  readonly target: string;
  readonly label: string;
  readonly seq: number;
  readonly reason: string;
  readonly atMs: number;
  readonly event: Event;
}

export type MessageKind = "dead" | "waiting";

/** Consecutive messages of one target and kind. */
export interface MessageSlice {
  readonly target: string;
  /** The sequence number before the first one. */
  readonly after: number;
  /** The sequence number of the last one. */
  readonly last: number;
  readonly count: number;
}

type Durability = Parameters<Database["write"]>[0];

const tables = { dead: "dead_letters", waiting: "outbox" } as const;

interface WaitingRow {
  readonly seq: number;
  readonly added_at_ms: number;
  readonly message: string | null;
  readonly body: string;
}

export class OutboxRows {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Queues a stored event for a target; the caller's transaction writes it. */
  add(target: string, seq: number, nowMs: number): void {
    this.#database.run(
      "INSERT INTO $.outbox (target, seq, added_at_ms) VALUES (?, ?, ?)",
      target,
      seq,
      nowMs,
    );
  }

  /** The oldest events queued for the target, after the sequence number `after`. */
  waiting(target: string, after: number, limit: number): QueuedEvent[] {
    return this.#database
      .all<WaitingRow>(
        `SELECT seq, added_at_ms, message, body FROM $.outbox JOIN $.events USING (seq)
         WHERE target = ? AND seq > ? ORDER BY seq LIMIT ?`,
        target,
        after,
        limit,
      )
      .map(({ seq, added_at_ms: addedAtMs, message, body }) => ({
        seq,
        event: JSON.parse(body) as Event,
        addedAtMs,
        message,
      }));
  }

  /** The number of events queued for the target. */
  count(target: string): number {
    return this.#database.get<{ count: number }>(
      "SELECT count(*) AS count FROM $.outbox WHERE target = ?",
      target,
    )!.count;
  }

  /** Marks events as parts of one digest, so that they stay together. */
  assignDigest(target: string, seqs: readonly number[], message: string): void {
    this.#database.write("soon", () => {
      for (const seq of seqs) {
        this.#database.run(
          "UPDATE $.outbox SET message = ? WHERE target = ? AND seq = ?",
          message,
          target,
          seq,
        );
      }
    });
  }

  /** Removes delivered events from the outbox. A power failure may undo it; the events are then sent again. */
  delivered(rows: readonly { readonly target: string; readonly seq: number }[]): void {
    this.#database.write("soon", () => {
      for (const { target, seq } of rows) this.#deleteQueued(target, seq);
    });
  }

  /** Moves events that will not be delivered from the outbox to the dead letters, except those that were deleted. */
  deadLetter(
    target: string,
    label: string,
    seqs: readonly number[],
    reason: string,
    atMs: number,
  ): void {
    this.#database.write("soon", () => {
      for (const seq of seqs) {
        this.#database.run(
          `INSERT OR REPLACE INTO $.dead_letters (target, seq, label, reason, at_ms)
           SELECT target, seq, ?, ?, ? FROM $.outbox WHERE target = ? AND seq = ?`,
          label,
          reason,
          Math.round(atMs),
          target,
          seq,
        );
        this.#deleteQueued(target, seq);
      }
    });
  }

  targetState(target: string): TargetState | null {
    return this.#database.get<TargetState>(
      "SELECT failures, retries, next_at_ms AS nextAtMs, reason FROM $.targets WHERE target = ?",
      target,
    );
  }

  saveTarget(target: string, label: string, state: TargetState): void {
    const { failures, retries, nextAtMs, reason } = state;
    this.#database.write("soon", () =>
      this.#database.run(
        "INSERT OR REPLACE INTO $.targets (target, label, failures, retries, next_at_ms, reason) VALUES (?, ?, ?, ?, ?, ?)",
        target,
        label,
        failures,
        retries,
        Math.round(nextAtMs),
        reason,
      ),
    );
  }

  /** The backlog of each target that has one, including targets that are no longer in the settings. */
  queues(): TargetBacklog[] {
    return this.#database.all<TargetBacklog>(
      `SELECT target, coalesce(label, target) AS label, coalesce(failures, 0) AS failures, coalesce(retries, 0) AS retries,
         coalesce(next_at_ms, 0) AS nextAtMs, coalesce(reason, '') AS reason,
         count(*) AS waiting, min(added_at_ms) AS oldestAtMs
       FROM $.outbox LEFT JOIN $.targets USING (target) GROUP BY target ORDER BY label, target`,
    );
  }

  /** Moves the backlog of one target to another. */
  moveBacklog(from: string, to: string): void {
    this.#database.write("soon", () => {
      this.#database.run("UPDATE OR IGNORE $.outbox SET target = ? WHERE target = ?", to, from);
      this.#database.run("DELETE FROM $.outbox WHERE target = ?", from);
      this.#database.run("DELETE FROM $.targets WHERE target = ?", from);
    });
  }

  /** All dead letters, or at most `limit` of one target, after the sequence number `after`. */
  deadLetters(of?: { target: string; after: number; limit: number }): DeadLetter[] {
    const columns = "target, label, seq, reason, dead_letters.at_ms AS atMs, body";
    const tables = "$.dead_letters JOIN $.events USING (seq)";
    type Row = Omit<DeadLetter, "event"> & { readonly body: string };
    const rows =
      of === undefined
        ? this.#database.all<Row>(`SELECT ${columns} FROM ${tables} ORDER BY seq`)
        : this.#database.all<Row>(
            `SELECT ${columns} FROM ${tables} WHERE target = ? AND seq > ? ORDER BY seq LIMIT ?`,
            of.target,
            of.after,
            of.limit,
          );
    return rows.map(({ body, ...letter }) => ({ ...letter, event: JSON.parse(body) as Event }));
  }

  /** Puts dead letters back into the outbox, as if they had just been added. */
  requeue(
    letters: readonly { readonly target: string; readonly seq: number }[],
    nowMs: number,
  ): void {
    this.#database.write("now", () => {
      for (const { target, seq } of letters) {
        this.#database.run(
          "INSERT OR IGNORE INTO $.outbox (target, seq, added_at_ms) VALUES (?, ?, ?)",
          target,
          seq,
          Math.round(nowMs),
        );
        this.#deleteDeadLetter(target, seq);
      }
    });
  }

  /** Deletes messages from the outbox and the dead letters. */
  deleteMessages(rows: readonly { readonly target: string; readonly seq: number }[]): void {
    this.#database.write("now", () => {
      for (const { target, seq } of rows) {
        this.#deleteQueued(target, seq);
        this.#deleteDeadLetter(target, seq);
      }
    });
  }

  /** The first `limit` dead letters or waiting events of a target after the sequence number `after`; null: none. */
  slice(target: string, kind: MessageKind, after: number, limit: number): MessageSlice | null {
    const { count, last } = this.#database.get<{ count: number; last: number | null }>(
      `SELECT count(*) AS count, max(seq) AS last FROM
         (SELECT seq FROM $.${tables[kind]} WHERE target = ? AND seq > ? ORDER BY seq LIMIT ?)`,
      target,
      after,
      limit,
    )!;
    return last === null ? null : { target, after, last, count };
  }

  /** Puts the dead letters of a slice back into the outbox, as if they had just been added. */
  requeueSlice({ target, after, last }: MessageSlice, nowMs: number, durability: Durability): void {
    this.#database.write(durability, () => {
      this.#database.run(
        `INSERT OR IGNORE INTO $.outbox (target, seq, added_at_ms)
         SELECT target, seq, ? FROM $.dead_letters WHERE target = ? AND seq > ? AND seq <= ?`,
        Math.round(nowMs),
        target,
        after,
        last,
      );
      this.#deleteRange("dead", target, after, last);
    });
  }

  deleteSlice(
    { target, after, last }: MessageSlice,
    kind: MessageKind,
    durability: Durability,
  ): void {
    this.#database.write(durability, () => this.#deleteRange(kind, target, after, last));
  }

  /** Those of the events that are still queued for the target. */
  stillQueued(target: string, seqs: readonly number[]): number[] {
    return this.#database
      .all<{ seq: number }>(
        "SELECT seq FROM $.outbox WHERE target = ? AND seq IN (SELECT value FROM json_each(?))",
        target,
        JSON.stringify(seqs),
      )
      .map(({ seq }) => seq);
  }

  /** The number of dead letters of each target; targets without dead letters are left out. */
  deadCounts(): { readonly target: string; readonly label: string; readonly count: number }[] {
    return this.#database.all(
      "SELECT target, max(label) AS label, count(*) AS count FROM $.dead_letters GROUP BY target",
    );
  }

  #deleteRange(kind: MessageKind, target: string, after: number, last: number): void {
    this.#database.run(
      `DELETE FROM $.${tables[kind]} WHERE target = ? AND seq > ? AND seq <= ?`,
      target,
      after,
      last,
    );
  }

  #deleteQueued(target: string, seq: number): void {
    this.#database.run("DELETE FROM $.outbox WHERE target = ? AND seq = ?", target, seq);
  }

  #deleteDeadLetter(target: string, seq: number): void {
    this.#database.run("DELETE FROM $.dead_letters WHERE target = ? AND seq = ?", target, seq);
  }
}
