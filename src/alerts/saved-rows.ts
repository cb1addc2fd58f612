/**
 * Reads rows of the engine's saved state without an engine. A wgmon without rules loads no engine, but it has silences, and
 * the numbers of alerts continue when rules are added. state.ts writes the rows. Pure.
 */

import type { TargetFacts } from "./facts.ts";
import type { Silence } from "./silences.ts";
import type { Rows } from "./state.ts";

/** Whether there are rows that only an engine can handle, such as alerts that must be resolved. */
export function hasEngineState(rows: Rows): boolean {
  return [...rows.keys()].some((key) => !isKeptWithoutEngine(key));
}

export function savedSilences(rows: Rows): Silence[] {
  return valuesOf<Silence>(rows, "silence");
}

export function savedTargets(rows: Rows): TargetFacts[] {
  return valuesOf<TargetFacts>(rows, "target");
}

/** The engine's time when the rows were saved, by the clock of that time; null: there was no engine. */
export function savedAtMs(rows: Rows): number | null {
  return engineRow(rows).nowMs || null;
}

/** The row of a silence; null: the silence is deleted. */
export function silenceRow(id: string, silence: Silence | null): [string, string | null] {
  return [`silence ${id}`, silence === null ? null : JSON.stringify(silence)];
}

/** Returns the rows that delete the state of an engine, and keep what is kept without one. */
export function rowsWithoutEngine(rows: Rows): Rows {
  const kept = new Map(
    Array.from(rows, ([key, value]) => [key, isKeptWithoutEngine(key) ? value : null]),
  );
  return kept.set("engine", JSON.stringify({ nowMs: 0, nextId: engineRow(rows).nextId }));
}

function isKeptWithoutEngine(key: string): boolean {
  return key === "engine" || key.startsWith("silence ");
}

function engineRow(rows: Rows): { readonly nowMs: number; readonly nextId: number } {
  const text = rows.get("engine") ?? null;
  if (text === null) return { nowMs: 0, nextId: 1 };
  return JSON.parse(text) as { nowMs: number; nextId: number };
}

function valuesOf<Value>(rows: Rows, table: string): Value[] {
  return Array.from(rows).flatMap(([key, value]) =>
    key.startsWith(`${table} `) && value !== null ? [JSON.parse(value) as Value] : [],
  );
}
