/**
 * Runs rules over the past: the events of the store, for `wgmon alerts test`, or any other recorded inputs. It is the same
 * engine as in the daemon, with a tick at each deadline. Stored events have no scans. So peers are down after the idle
 * timeout only, `shared-key` needs one more turn, `no-return-traffic` and `changed` never fire, and `traffic` needs the
 * traffic of the store beside the events. Pure.
 */

import type { Notice } from "./alert.ts";
import { AlertEngine } from "./engine.ts";
import type { Input } from "./input.ts";
import type { Lookup } from "./kinds/kind.ts";
import type { Rule } from "./rule.ts";

/** An input and its time. */
export interface Recorded {
  readonly atMs: number;
  readonly input: Input;
}

export interface ReplayOptions {
  readonly rules: readonly Rule[];
  readonly lookup?: Lookup;
  /** The end of the past: what is pending until then is decided. */
  readonly untilMs: number;
}

/** Yields the notices that the rules would have sent, and those that they would have held back. */
export function* replay(
  history: Iterable<Recorded>,
  { untilMs, ...options }: ReplayOptions,
): Iterable<Notice> {
  const engine = new AlertEngine({ ...options, isSaved: false });
  for (const { input, atMs } of history) {
    // There are no ticks while wgmon is away.
    const untilAtMs = input.type === "away" ? input.fromMs : atMs;
    // Most inputs cause nothing, so the loops are entered only if they have something to do.
    if (isDue(engine, untilAtMs)) yield* tickBefore(engine, untilAtMs);
    const notices = engine.advance(input, atMs);
    if (notices.length > 0) yield* notices;
  }
  yield* tickBefore(engine, untilMs + 1);
}

function isDue({ nextDeadlineMs }: AlertEngine, untilMs: number): boolean {
  return nextDeadlineMs !== null && nextDeadlineMs < untilMs;
}

/** Lets the time pass, deadline by deadline. Those at the time of the next input are part of its step. */
function* tickBefore(engine: AlertEngine, untilMs: number): Iterable<Notice> {
  for (;;) {
    const dueMs = engine.nextDeadlineMs;
    if (dueMs === null || dueMs >= untilMs) return;
    yield* engine.advance({ type: "tick" }, dueMs);
  }
}
