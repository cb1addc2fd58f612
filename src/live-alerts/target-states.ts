/** Finds targets that begin to fail, are stopped, or work again, for the alert engine. */

import type { Input } from "../alerts/input.ts";
import { savedTargets } from "../alerts/saved-rows.ts";
import { type ClockStep, moved } from "../base/wall-clock.ts";
import type { Target } from "../delivery/target.ts";

/** A target and the state of its queue. */
export interface QueuedTarget extends Pick<Target, "key" | "accepts"> {
  readonly state: {
    readonly label: string;
    readonly isStopped: boolean;
    readonly failures: number;
  };
}

type TargetInput = Extract<Input, { type: "target" }>;

/** Notices call a target by its name in the settings; without one, by its label. */
export function nameOfTarget(
  { key, state }: QueuedTarget,
  named: ReadonlySet<string | null>,
): string {
  return named.has(key) ? key : state.label;
}

export class TargetStates {
  /** Targets that do not work, by name. */
  readonly #failing = new Map<string, { readonly state: TargetInput["state"]; sinceMs: number }>();

  /** @param saved the rows of the engine's state, which has the targets that failed in the previous run. */
  constructor(saved: ReadonlyMap<string, string | null>) {
    for (const { name, state, sinceAtMs } of savedTargets(saved)) {
      if (state !== "ok") this.#failing.set(name, { state, sinceMs: sinceAtMs });
    }
  }

  /** Returns the targets whose state changed. A target that was removed counts as one that works. */
  changes(
    targets: readonly QueuedTarget[],
    named: ReadonlySet<string | null>,
    nowMs: number,
  ): TargetInput[] {
    const inputs: TargetInput[] = [];
    const works = new Set(this.#failing.keys());
    for (const target of targets) {
      const { isStopped, failures } = target.state;
      if (!isStopped && failures === 0) continue;
      const name = nameOfTarget(target, named);
      const state = isStopped ? "stopped" : "failing";
      works.delete(name);
      if (this.#failing.get(name)?.state === state) continue;
      this.#failing.set(name, { state, sinceMs: nowMs });
      inputs.push({ type: "target", target: name, state, sinceMs: nowMs });
    }
    for (const name of works) {
      this.#failing.delete(name);
      inputs.push({ type: "target", target: name, state: "ok", sinceMs: nowMs });
    }
    return inputs;
  }

  clockSet(step: ClockStep): void {
    for (const failing of this.#failing.values()) failing.sinceMs = moved(step, failing.sinceMs);
  }
}
