/** `wgmon outbox`: lists, retries or drops dead letters and waiting events. */

import { redactUrl } from "../base/redact.ts";
import { counted, sanitize, shortName } from "../base/text.ts";
import type { OutboxRequest } from "../config/command-requests.ts";
import { describeEvent, duration } from "../events/event.ts";
import type { DeadLetter, QueuedEvent, TargetBacklog } from "../store/outbox-rows.ts";
import type { Store } from "../store/store.ts";
import { HUB_KEY, type HubSettings } from "../uplink/hub-settings.ts";
import { UplinkCursor } from "../uplink/uplink-cursor.ts";
import { json } from "./text.ts";

/** Maximum number of rows in one query of the store. */
const CHUNK = 500;
/** Maximum number of dead letters in the list. --json prints all. */
const LETTERS_MAX = 50;

interface Options {
  /** The target's key in the store; null: all targets. */
  readonly target: string | null;
  /** The hub, if it is one of the targets; null: there is no hub, or another target was selected. */
  readonly hub: Pick<HubSettings, "url"> | null;
  readonly nowMs: number;
  readonly print: (line: string) => void;
}

type RowKey = Pick<DeadLetter, "target" | "seq">;

export function runOutbox(store: Store, request: OutboxRequest, options: Options): void {
  const { action, dead, json } = request;
  const letters = store.outbox.deadLetters().filter((letter) => isWanted(letter, request, options));
  const queues = dead ? [] : queuesOf(store, options);
  const hub = dead || request.id !== null ? null : hubBacklog(store, options);
  switch (action) {
    case "list":
      if (json) printJson(store, { queues, letters }, request, options);
      else printList({ queues: hub === null ? queues : [...queues, hub], letters }, options);
      return;
    case "retry": {
      store.outbox.requeue(letters, options.nowMs);
      const retried = hub === null ? queues : [...queues, hub];
      for (const { target, label, ...state } of retried) {
        store.outbox.saveTarget(target, label, { ...state, nextAtMs: 0 });
      }
      const waiting = retried.reduce((sum, queue) => sum + queue.waiting, 0);
      options.print(
        `${counted(letters.length, "dead letter")} queued again, ${counted(waiting, "event")} to be retried within 10 s (or at the next start)`,
      );
      return;
    }
    case "drop": {
      const waiting = [...waitingOf(store, queues, request)];
      store.outbox.deleteMessages([...letters, ...waiting]);
      options.print(
        `${counted(waiting.length, "event")} and ${counted(letters.length, "dead letter")} deleted`,
      );
    }
  }
}

function queuesOf(store: Store, { target }: Options): TargetBacklog[] {
  return store.outbox.queues().filter((queue) => target === null || queue.target === target);
}

/** The events that the hub does not have. They are not queued: the hub is sent all events of the store. */
function hubBacklog(store: Store, { hub }: Options): TargetBacklog | null {
  if (hub === null) return null;
  const { count, oldestAtMs } = new UplinkCursor(store, store.targetKey(hub.url)).waiting();
  const state = store.outbox.targetState(HUB_KEY);
  if (count === 0 && (state?.failures ?? 0) === 0) return null;
  const { failures = 0, retries = 0, nextAtMs = 0, reason = "" } = state ?? {};
  const label = `hub ${/^https?:/.test(hub.url) ? redactUrl(hub.url) : hub.url}`;
  return {
    target: HUB_KEY,
    label,
    waiting: count,
    oldestAtMs: oldestAtMs ?? 0,
    failures,
    retries,
    nextAtMs,
    reason,
  };
}

function isWanted(letter: DeadLetter, { id }: OutboxRequest, { target }: Options): boolean {
  return (target === null || letter.target === target) && (id === null || letter.event.id === id);
}

function* waitingOf(
  store: Store,
  queues: readonly TargetBacklog[],
  { id }: OutboxRequest,
): Generator<QueuedEvent & RowKey> {
  for (const { target } of queues) {
    let after = 0;
    for (;;) {
      const rows = store.outbox.waiting(target, after, CHUNK);
      if (rows.length === 0) break;
      after = rows.at(-1)!.seq;
      for (const row of rows) {
        if (id === null || row.event.id === id || row.message === id) yield { ...row, target };
      }
    }
  }
}

interface Found {
  readonly queues: readonly TargetBacklog[];
  readonly letters: readonly DeadLetter[];
}

function printJson(
  store: Store,
  { queues, letters }: Found,
  request: OutboxRequest,
  { print }: Options,
): void {
  const labels = new Map(queues.map(({ target, label }) => [target, label]));
  for (const { target, event, addedAtMs, message } of waitingOf(store, queues, request)) {
    const since = new Date(addedAtMs).toISOString();
    const name = labels.get(target);
    print(json({ state: "waiting", target, name, since, digest: message, event }));
  }
  for (const { target, label: name, reason, atMs, event } of letters) {
    const since = new Date(atMs).toISOString();
    print(json({ state: "dead-letter", target, name, since, reason, event }));
  }
}

function printList({ queues, letters }: Found, { print, nowMs }: Options): void {
  if (queues.length === 0 && letters.length === 0)
    print("no events are waiting, and there are no dead letters");
  for (const { label, waiting, oldestAtMs, failures, reason, nextAtMs } of queues) {
    const oldest = waiting === 0 ? "" : `, the oldest for ${duration(nowMs - oldestAtMs)}`;
    const parts = [`${counted(waiting, "event")} waiting${oldest}`];
    if (failures > 0) parts.push(`${failures} failed attempts in a row, the last: ${reason}`);
    if (nextAtMs > nowMs) parts.push(`next attempt in ${duration(nextAtMs - nowMs)}`);
    print(`${label}: ${parts.join("; ")}`);
  }
  if (letters.length > 0) print(`${counted(letters.length, "dead letter")}:`);
  for (const { label, event, reason, atMs } of letters.slice(-LETTERS_MAX)) {
    print(`  ${new Date(atMs).toISOString()} ${event.id} ${label}: ${reason}`);
    print(
      `    ${event.timestamp} ${describeEvent(event, { name: shortName, sentence: sanitize })}`,
    );
  }
  if (letters.length > LETTERS_MAX) print(`  ... the latest ${LETTERS_MAX}; --json lists all`);
}
