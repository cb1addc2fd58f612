/** A tracker that continues from the saved state of a previous process reports no change twice and misses none. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import type { Device, Instant, Peer, Scan } from "../../src/base/wireguard.ts";
import { describeEvent, eventOf } from "../../src/events/event.ts";
import { type Change } from "../../src/sessions/change.ts";
import { type RestoredState, saved } from "../../src/sessions/session.ts";
import { Tracker, type TrackerOptions } from "../../src/sessions/tracker.ts";
import { ALICE, BOB, device, peer, ScanMaker } from "../support/peers.ts";

const T0 = Date.UTC(2026, 0, 1);

/** Processes that follow one another on one gateway. Times are in seconds since the start of the test. */
class Runs {
  readonly #rules: TrackerOptions;
  #tracker: Tracker;
  #scans = new ScanMaker();
  #ended: RestoredState["ended"] = [];
  #devices: readonly Device[] = [];
  /** When the present boot began; each process has its own monotonic clock. */
  #bootSeconds = 0;

  constructor(rules: Partial<TrackerOptions> = {}) {
    this.#rules = { idleTimeoutMs: () => 180_000, holdMs: 0, announceExisting: true, ...rules };
    this.#tracker = new Tracker(this.#rules);
  }

  get tickedDevices(): string[] {
    return [...this.#tracker.tickedDevices];
  }

  instant(seconds: number): Instant {
    return { wallMs: T0 + seconds * 1000, monotonicMs: (seconds - this.#bootSeconds) * 1000 };
  }

  changes(seconds: number, ...found: (readonly [Device, readonly Peer[]])[]): Change[] {
    const present = new Set(found.map(([{ name }]) => name));
    const scan: Scan = { ...this.#scans.scan(...found), present };
    const changes = this.#tracker.observe(scan, this.instant(seconds));
    this.#devices = found.map(([each]) => each);
    for (const change of changes) {
      if (change.type !== "peer.disconnected") continue;
      const { publicKey, lastHandshakeMs, rxBytes, txBytes } = change.peer;
      const counters = { lastHandshakeMs, rxBytes, txBytes };
      this.#ended = [...this.#ended, { device: change.device, publicKey, ...counters }];
    }
    return changes;
  }

  /** The texts of the changes after a scan that finds wg0 with these peers. */
  at(seconds: number, ...peers: Peer[]): string[] {
    return this.changes(seconds, [device(), peers]).map(textOf);
  }

  /** Ends the process at `seconds`, with its state saved, and starts another one at `laterSeconds`. */
  restart(seconds: number, laterSeconds = seconds, { isOtherBoot = false } = {}): void {
    const now = this.instant(seconds);
    const earlier: RestoredState = {
      devices: isOtherBoot ? this.#devices.map((each) => ({ ...each, index: 0 })) : this.#devices,
      sessions: [...this.#tracker.sessions].map((session) => saved(session, now)),
      ended: this.#ended,
    };
    // As if the machine had booted an hour before the new process.
    this.#bootSeconds = laterSeconds - 3600;
    const text = JSON.stringify(earlier);
    this.#tracker = new Tracker(
      this.#rules,
      JSON.parse(text) as RestoredState,
      this.instant(laterSeconds),
    );
    this.#scans = new ScanMaker();
  }
}

function textOf(change: Change): string {
  const name = "peer" in change ? (change.peer.publicKey === ALICE ? "alice" : "bob") : null;
  return describeEvent(eventOf(change, { id: "evt_0", host: "gw1", name }));
}

/** A peer whose last handshake was at `seconds`. */
function withHandshake(
  seconds: number,
  rxBytes = 180,
  fields: Parameters<typeof peer>[0] = {},
): Peer {
  return peer({ lastHandshakeMs: T0 + seconds * 1000, rxBytes, ...fields });
}

/** Alice connects at 100 s, and her last data is received at 150 s. */
function alice(rules: Partial<TrackerOptions> = {}): Runs {
  const runs = new Runs(rules);
  runs.at(0, peer());
  expect(runs.at(100, withHandshake(100))).toEqual(["alice (wg0) connected from 192.0.2.1:51820"]);
  expect(runs.at(150, withHandshake(100, 1000))).toEqual([]);
  return runs;
}

describe("a peer that was connected before a restart", () => {
  test("a peer that stays connected over a restart is not reported again, and its session continues", () => {
    const runs = alice();
    runs.restart(160, 300);
    expect(runs.at(300, withHandshake(220, 5000))).toEqual([]);
    expect(runs.changes(480, [device(), [withHandshake(220, 5000)]])).toMatchObject([
      {
        type: "peer.disconnected",
        session: { startedAtMs: T0 + 100_000, rxBytes: 5000 },
        endedAtMs: T0 + 300_000,
      },
    ]);
  });

  test("a peer that is silent over a restart keeps the rest of its idle timeout", () => {
    const runs = alice();
    runs.restart(160, 200);
    expect(runs.at(200, withHandshake(100, 1000))).toEqual([]);
    expect(runs.at(329, withHandshake(100, 1000))).toEqual([]);
    expect(runs.at(330, withHandshake(100, 1000))).toEqual(["alice (wg0) disconnected after 50s"]);
  });

  test("a peer that left during a restart is reported as disconnected at the last known activity", () => {
    const runs = alice();
    runs.restart(160, 4000);
    expect(runs.changes(4000, [device(), [withHandshake(100, 1000)]])).toMatchObject([
      { type: "peer.disconnected", reason: "idle", endedAtMs: T0 + 150_000 },
    ]);
    expect(runs.at(4010, withHandshake(100, 1000))).toEqual([]);
  });

  test("a peer that completed a handshake and left during a restart is disconnected no earlier than the handshake", () => {
    const runs = alice();
    runs.restart(160, 4000);
    expect(runs.changes(4000, [device(), [withHandshake(1000, 9000)]])).toMatchObject([
      { type: "peer.disconnected", endedAtMs: T0 + 1_000_000, session: { rxBytes: 9000 } },
    ]);
  });

  test("a peer that roamed during a restart is reported", () => {
    const runs = alice();
    runs.restart(160, 300);
    expect(runs.at(300, withHandshake(220, 5000, { endpoint: "192.0.2.7:7" }))).toEqual([
      "alice (wg0) roamed from 192.0.2.1:51820 to 192.0.2.7:7",
    ]);
  });

  test("a peer that was removed during a restart is reported", () => {
    const runs = alice();
    runs.restart(160, 200);
    expect(runs.at(200)).toEqual(["alice (wg0) disconnected after 50s, peer removed"]);
  });

  test("a peer whose device was removed during a restart is reported with the device", () => {
    const runs = alice();
    runs.restart(160, 200);
    expect(runs.changes(200).map(textOf)).toEqual([
      "alice (wg0) disconnected after 50s, device removed",
      "wg0 removed",
    ]);
  });

  test("a peer whose machine was rebooted begins a new session", () => {
    const runs = alice();
    runs.restart(160, 200);
    expect(runs.at(200, withHandshake(195, 180))).toEqual([
      "alice (wg0) disconnected after 50s, peer removed",
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a peer whose machine was rebooted begins a new session, whatever its counters are", () => {
    const runs = alice();
    // The store returns devices of another boot with index 0.
    runs.restart(160, 200, { isOtherBoot: true });
    const [end, removed, added, begin] = runs.changes(200, [
      device(),
      [withHandshake(195, 50_000)],
    ]);
    expect(end).toMatchObject({
      type: "peer.disconnected",
      reason: "device-removed",
      endedAtMs: T0 + 150_000,
      session: { rxBytes: 1000 },
    });
    expect([removed?.type, added?.type]).toEqual(["device.removed", "device.added"]);
    expect(begin).toMatchObject({
      type: "peer.connected",
      session: { startedAtMs: T0 + 195_000, rxBytes: 50_000 },
    });
  });

  test("a peer whose handshake during a restart is earlier than a rekey is due, and after the idle timeout, begins a new session", () => {
    const runs = alice({ idleTimeoutMs: () => 30_000 });
    runs.restart(160, 210);
    const [end, begin] = runs.changes(210, [device(), [withHandshake(205, 5000)]]);
    expect(end).toMatchObject({
      type: "peer.disconnected",
      reason: "idle",
      endedAtMs: T0 + 150_000,
      session: { rxBytes: 1000 },
    });
    expect(begin).toMatchObject({
      type: "peer.connected",
      initial: false,
      session: { startedAtMs: T0 + 205_000, rxBytes: 4000 },
    });
    expect(runs.at(211, withHandshake(205, 5100))).toEqual([]);
  });

  test.each([
    ["within the idle timeout", 175, 200],
    ["when a rekey is due", 220, 225],
    ["after many hours", 50_000, 50_010],
  ])(
    "a peer that completed a handshake during a restart %s counts as connected all the time",
    (_, handshake, later) => {
      const runs = alice({ idleTimeoutMs: () => 30_000 });
      runs.restart(160, later);
      expect(runs.at(later, withHandshake(handshake, 5000))).toEqual([]);
    },
  );

  test("a peer with a lower counter than before a restart was removed and added again", () => {
    const runs = new Runs();
    runs.at(0, peer());
    runs.at(100, withHandshake(100, 180, { txBytes: 9000 }));
    runs.restart(160, 200);
    expect(runs.at(200, withHandshake(195, 400, { txBytes: 92 }))).toEqual([
      "alice (wg0) disconnected after 0s, peer removed",
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a peer whose handshake time differs by milliseconds after a restart has no new handshake", () => {
    const runs = alice();
    runs.restart(160, 200);
    expect(runs.at(200, withHandshake(100.3, 1000))).toEqual([]);
    expect(runs.at(330, withHandshake(99.8, 1000))).toEqual(["alice (wg0) disconnected after 50s"]);
  });

  test("a peer that is held during a restart is not reported if it returns in time", () => {
    const runs = alice({ holdMs: 60_000 });
    expect(runs.at(160)).toEqual([]);
    runs.restart(165, 170);
    expect(runs.at(170, withHandshake(168, 1300))).toEqual([]);
    const later = alice({ holdMs: 60_000 });
    expect(later.at(160)).toEqual([]);
    later.restart(165, 230);
    expect(later.at(230)).toEqual(["alice (wg0) disconnected after 50s, peer removed"]);
  });
});

describe("a peer that was not connected before a restart", () => {
  test("a peer that connected during a restart is reported, also with --no-announce-existing", () => {
    const runs = new Runs({ announceExisting: false });
    runs.at(0, peer());
    runs.restart(10, 100);
    expect(runs.changes(100, [device(), [withHandshake(60)]])).toMatchObject([
      { type: "peer.connected", atMs: T0 + 60_000, initial: false },
    ]);
  });

  test("a peer that was disconnected by its idle timeout before a restart is not reported again until its next handshake", () => {
    const runs = new Runs({ idleTimeoutMs: () => 20_000 });
    runs.at(0, peer());
    expect(runs.at(10, withHandshake(10))).toHaveLength(1);
    expect(runs.at(40, withHandshake(10))).toEqual(["alice (wg0) disconnected after 0s"]);
    runs.restart(40, 50);
    expect(runs.at(50, withHandshake(10))).toEqual([]);
    expect(runs.at(60, withHandshake(55, 400))).toEqual([
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a peer that was disconnected by its idle timeout before a restart is scanned on the tick until its keys expire, and can return", () => {
    const runsAfter = (laterSeconds: number) => {
      const runs = new Runs({ idleTimeoutMs: () => 20_000 });
      runs.at(0, peer());
      runs.at(10, withHandshake(10));
      expect(runs.at(40, withHandshake(10))).toEqual(["alice (wg0) disconnected after 0s"]);
      runs.restart(40, laterSeconds);
      expect(runs.at(laterSeconds, withHandshake(10.2))).toEqual([]);
      return runs;
    };
    const runs = runsAfter(50);
    expect(runs.tickedDevices).toEqual(["wg0"]);
    expect(runs.at(60, withHandshake(10.3, 180 + 96))).toEqual([
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
    expect(runsAfter(189).tickedDevices).toEqual(["wg0"]);
    expect(runsAfter(191).tickedDevices).toEqual([]);
  });
});

describe("devices of a previous process", () => {
  test("devices that were added or replaced during a restart are reported", () => {
    const runs = alice();
    runs.restart(160, 200);
    const wg1 = device({ name: "wg1", index: 9 });
    expect(
      runs.changes(200, [device({ index: 4 }), [withHandshake(190)]], [wg1, []]).map(textOf),
    ).toEqual([
      "alice (wg0) disconnected after 50s, device removed",
      "wg0 removed",
      "wg0 added, listening on port 51820",
      "alice (wg0) connected from 192.0.2.1:51820",
      "wg1 added, listening on port 51820",
    ]);
  });

  test("devices that could not be scanned since a restart do not end a session", () => {
    const now = { wallMs: T0, monotonicMs: 0 };
    const rules = { idleTimeoutMs: () => 180_000, holdMs: 0, announceExisting: true };
    const before = new Tracker(rules);
    const scans = new ScanMaker();
    before.observe(scans.scan([device(), [peer()]]), now);
    before.observe(scans.scan([device(), [withHandshake(0)]]), now);
    const sessions = [...before.sessions].map((session) => saved(session, now));
    const earlier = { devices: [device()], sessions, ended: [] };
    const late = { wallMs: T0 + 3_600_000, monotonicMs: 1000 };
    const tracker = new Tracker(rules, earlier, late);
    // The dump of the device failed, for example because no descriptor was free.
    expect(tracker.observe({ devices: [], removed: [], present: null }, late)).toEqual([]);
    expect(tracker.nextDeadlineMs()).toBeNull();
    expect(tracker.observe(scans.scan([device(), [withHandshake(3599, 600)]]), late)).toEqual([]);
    expect(tracker.connected).toBe(1);
  });
});

test("a device of a previous run is removed if a list does not contain it, not if no scan finds it", () => {
  const rules = { idleTimeoutMs: () => 180_000, holdMs: 0, announceExisting: true };
  const earlier: RestoredState = {
    devices: ["wg0", "wg1", "wg2"].map((name, index) => device({ name, index })),
    sessions: [],
    ended: [],
  };
  const now = { wallMs: T0, monotonicMs: 0 };
  const tracker = new Tracker(rules, earlier, now);
  const scan = new ScanMaker().scan([device({ name: "wg0", index: 0 }), []]);
  expect(tracker.observe(scan, now)).toEqual([]);
  const present = new Set(["wg0", "wg1"]);
  const changes = tracker.observe({ devices: [], removed: [], present }, now);
  expect(changes.map(textOf)).toEqual(["wg2 removed"]);
});

/** What a peer does before a scan. */
const act = fc.constantFrom("nothing", "handshake", "data", "attempt", "roam", "remove");
const step = fc.record({
  seconds: fc.integer({ min: 1, max: 60 }),
  alice: act,
  bob: act,
  restart: fc.boolean(),
});

test("with restarts at any time, the same changes are reported as without", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 90, size: "max" }),
      fc.constantFrom(20_000, 180_000),
      fc.constantFrom(0, 30_000),
      (steps, idleMs, holdMs) => {
        const rules = { idleTimeoutMs: () => idleMs, holdMs };
        const [whole, cut] = [new Runs(rules), new Runs(rules)];
        const peers = new Map([ALICE, BOB].map((key) => [key, peer({ publicKey: key })]));
        let seconds = 0;
        let port = 1000;
        for (const { restart, ...each } of [
          { seconds: 0, alice: "nothing", bob: "nothing", restart: false } as const,
          ...steps,
        ]) {
          const beforeSeconds = seconds;
          seconds += each.seconds;
          for (const [key, what] of [
            [ALICE, each.alice],
            [BOB, each.bob],
          ] as const) {
            const now = peers.get(key);
            if (what === "remove") peers.delete(key);
            else if (now === undefined) {
              // The peer is added again, and scanned once before it does anything else.
              if (what !== "nothing") peers.set(key, peer({ publicKey: key }));
            } else
              peers.set(
                key,
                after(now, what, T0 + seconds * 1000 - 500, () => ++port),
              );
          }
          if (restart) cut.restart(beforeSeconds, seconds);
          const found = [...peers.values()];
          expect(cut.at(seconds, ...found)).toEqual(whole.at(seconds, ...found));
        }
      },
    ),
    { numRuns: 500 },
  );
});

function after(
  before: Peer,
  what: "nothing" | "handshake" | "data" | "attempt" | "roam",
  atMs: number,
  nextPort: () => number,
): Peer {
  const { rxBytes } = before;
  switch (what) {
    case "nothing":
      return before;
    case "handshake":
      return { ...before, rxBytes: rxBytes + 180, lastHandshakeMs: atMs };
    case "data":
      return { ...before, rxBytes: rxBytes + 96 };
    case "attempt":
      return { ...before, rxBytes: rxBytes + 148 };
    case "roam": {
      const endpoint = { address: "192.0.2.9", port: nextPort(), scopeId: 0 };
      return { ...before, endpoint, rxBytes: rxBytes + 96 };
    }
  }
}
