/** Saves the state of the tracker in the store while the tracker changes. */

import { expect, test } from "bun:test";

import type { PublicKey } from "../../src/base/wireguard.ts";
import { eventOf } from "../../src/events/event.ts";
import { createLog } from "../../src/platform/log.ts";
import { Tracker } from "../../src/sessions/tracker.ts";
import { StateRecorder } from "../../src/store/state-recorder.ts";
import { Store } from "../../src/store/store.ts";
import { HandClock } from "../support/clock.ts";
import { device, peer, ScanMaker } from "../support/peers.ts";

test("a session that ends during a save of many sessions is not saved as open again", async () => {
  const clock = new HandClock();
  const log = createLog({ format: "text", level: "error" });
  using store = await Store.open({ directory: null, clock, log });
  const recorder = new StateRecorder(store, clock);
  const tracker = new Tracker({
    idleTimeoutMs: () => 180_000,
    holdMs: 0,
    announceExisting: true,
  });
  const scans = new ScanMaker();
  const lastHandshakeMs = clock.now().wallMs;
  const peers = Array.from({ length: 300 }, (_, n) =>
    peer({ publicKey: `peer ${n}` as PublicKey, lastHandshakeMs }),
  );
  const observe = (count: number) =>
    tracker.observe(scans.scan([device(), peers.slice(0, count)]), clock.now());
  observe(300);
  recorder.saveChanged(tracker);
  const events = observe(299).map((change) => {
    const event = eventOf(change, { id: "evt_1", host: "gw1", name: null });
    return { change, event, targets: [] };
  });
  expect(events.map(({ change }) => change.type)).toEqual(["peer.disconnected"]);
  recorder.record(events, tracker, [device()]);
  clock.advance(1);
  expect(store.sessions.loadState(0)!.sessions).toHaveLength(299);
});
