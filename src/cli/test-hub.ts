/** `wgmon test-webhook`, for the hub: sends a message without events, and prints what the hub answered. */

import { version } from "../../package.json";
import type { Clock } from "../base/clock.ts";
import { FLEET_VERSION } from "../fleet/messages.ts";
import type { Log } from "../platform/log.ts";
import type { Store } from "../store/store.ts";
import type { HubSettings } from "../uplink/hub-settings.ts";
import type { HubResult } from "../uplink/hub-transport.ts";
import { createTransport } from "../uplink/load-uplink.ts";
import { UplinkCursor } from "../uplink/uplink-cursor.ts";

interface Options {
  readonly clock: Clock;
  readonly log: Log;
  /** Opens the store of the daemon: the message needs the epoch of its events. */
  readonly openStore: () => Promise<Store>;
  readonly print: (line: string) => void;
}

/**
 * Returns whether the hub accepted the message.
 *
 * @throws SystemError if there is no store, or this user may not open it.
 */
export async function testHub(
  hub: HubSettings,
  { clock, log, openStore, print }: Options,
): Promise<boolean> {
  const transport = createTransport(hub, { clock, log, source: { program: version } });
  print(transport.name);
  using store = await openStore();
  const { epoch, first } = new UplinkCursor(store, store.targetKey(hub.url)).place().epoch;
  const startMs = clock.now().monotonicMs;
  const message = { version: FLEET_VERSION, epoch, first, after: null, events: [] } as const;
  const result = await transport.replayEvents(
    { ...message, events: [] },
    new AbortController().signal,
  );
  transport.close();
  const ms = Math.round(clock.now().monotonicMs - startMs);
  print(`  ${ms} ms  ${describe(result)}`);
  return result.type === "answer" && result.answer.problem === null;
}

function describe(result: HubResult): string {
  switch (result.type) {
    case "answer": {
      const { confirmed, problem } = result.answer;
      if (problem !== null) return `refused: ${problem}`;
      return confirmed === null
        ? "accepted"
        : `accepted; the hub has the events up to ${confirmed}`;
    }
    case "stored":
      return "accepted";
    case "retry":
      return `would be retried: ${result.reason}`;
  }
}
