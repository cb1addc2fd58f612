/** The actions of the outbox page, and their latest results, which the page shows for some minutes. */

import type { PageActions, TestResult } from "../http/page-actions.ts";
import type { ReadModel } from "../http/read-model.ts";
import { viewTargets } from "../http/view.ts";
import { counted } from "./format.ts";

const SHOWN_MS = 5 * 60_000;
/** Most targets with a result. */
const RESULTS_MAX = 100;
/** How long the response waits for the result of a test; the page shows a later result when it arrives. */
const TEST_WAIT_MS = 4000;

/** The result of an action. */
export interface Done {
  readonly atMs: number;
  readonly text: string;
  readonly isGood: boolean;
}

export class ActionLog {
  readonly #actions: PageActions;
  readonly #source: ReadModel;
  readonly #results = new Map<string, Done>();
  /** Targets that a test is being sent to: one at a time. */
  readonly #testing = new Set<string>();

  constructor(actions: PageActions, source: ReadModel) {
    this.#actions = actions;
    this.#source = source;
  }

  /** The result of the latest action on a target; null if it is not shown any more. */
  latest(target: string): Done | null {
    const done = this.#results.get(target);
    if (done === undefined || this.#source.clock.now().wallMs - done.atMs > SHOWN_MS) return null;
    return done;
  }

  /** Runs an action. Returns false if there is no such action or target. */
  async run(action: string, target: string): Promise<boolean> {
    // Also a target that is no longer in the settings, but still has events or dead letters.
    if (!viewTargets(this.#source).some(({ key }) => key === target)) return false;
    switch (action) {
      case "retry": {
        const letters = this.#actions.retry(target);
        if (letters === null) return false;
        const text =
          letters === 0
            ? // An attempt may be running already, which this one would be the same as.
              "The waiting events are sent now."
            : `${counted(letters, "dead letter")} queued again.`;
        this.#record(target, text, true);
        return true;
      }
      case "delete-dead":
      case "delete-waiting": {
        const kind = action === "delete-dead" ? "dead" : "waiting";
        const deleted = this.#actions.deleteMessages(target, kind);
        const noun = kind === "dead" ? "dead letter" : "waiting event";
        this.#record(target, `${counted(deleted, noun)} deleted.`, true);
        return true;
      }
      case "test":
        return await this.#test(target);
      default:
        return false;
    }
  }

  async #test(target: string): Promise<boolean> {
    if (this.#testing.has(target)) return true;
    this.#testing.add(target);
    this.#record(target, "A test is being sent.", true);
    const test = this.#actions.test(target).then((result) => {
      this.#testing.delete(target);
      if (result === null) this.#results.delete(target);
      else this.#record(target, textOf(result), result.isDelivered);
      return result !== null;
    });
    let cancel = () => {};
    const timeout = new Promise<boolean>((resolve) => {
      cancel = this.#source.clock.after(TEST_WAIT_MS, () => resolve(true));
    });
    try {
      return await Promise.race([test, timeout]);
    } finally {
      cancel();
    }
  }

  #record(target: string, text: string, isGood: boolean): void {
    this.#results.delete(target);
    this.#results.set(target, { atMs: this.#source.clock.now().wallMs, text, isGood });
    if (this.#results.size <= RESULTS_MAX) return;
    const [oldest] = this.#results.keys();
    this.#results.delete(oldest!);
  }
}

function textOf({ isDelivered, reason, tookMs }: TestResult): string {
  return isDelivered ? `Test delivered in ${tookMs} ms.` : `Test not delivered: ${reason}.`;
}
