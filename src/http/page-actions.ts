/** What a user can do on the page: retry, delete, and test the delivery of events. */

import type { Clock } from "../base/clock.ts";
import type { Event } from "../events/event-schema.ts";
import { makeSamples } from "../events/samples.ts";

export interface PageActions {
  /**
   * Queues the dead letters of a target again, and tries its waiting events at once.
   *
   * @returns the number of dead letters; null if there is no such target, or it has stopped.
   */
  retry(target: string): number | null;
  /** Deletes all dead letters or all waiting events of a target. Returns how many there were. */
  deleteMessages(target: string, kind: "dead" | "waiting"): number;
  /** Sends a sample event to a target, whatever its filter is. Returns null if there is no such target. */
  test(target: string): Promise<TestResult | null>;
}

export interface TestResult {
  readonly isDelivered: boolean;
  /** Why it was not delivered, without secrets; empty if it was. */
  readonly reason: string;
  readonly tookMs: number;
}

/** The parts of the running program that the actions use. */
interface Stages {
  readonly clock: Clock;
  readonly outbox: Pick<PageActions, "retry" | "deleteMessages"> & {
    test(
      target: string,
      event: Event,
    ): Promise<{ readonly type: string; readonly reason?: string } | null>;
  };
  /** The hub that a gateway reports to, which is among its targets; null: this program is a hub. */
  readonly hub: {
    has(target: string): boolean;
    retry(): void;
    test(): Promise<{ readonly type: string; readonly reason?: string } | null>;
  } | null;
  settings(): { readonly host: string };
}

export function makePageActions({ clock, hub, outbox, ...stages }: Stages): PageActions {
  return {
    retry(target) {
      if (hub === null || !hub.has(target)) return outbox.retry(target);
      hub.retry();
      return 0;
    },
    deleteMessages: (target, kind) => outbox.deleteMessages(target, kind),
    async test(target) {
      const startMs = clock.now().monotonicMs;
      const [sample] = makeSamples(clock.now().wallMs, stages.settings().host);
      const result =
        hub?.has(target) === true ? await hub.test() : await outbox.test(target, sample!);
      if (result === null) return null;
      const tookMs = Math.round(clock.now().monotonicMs - startMs);
      return { isDelivered: result.type === "delivered", reason: result.reason ?? "", tookMs };
    },
  };
}
