import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  type Device,
  type Instant,
  type Peer,
  type PublicKey,
  REJECT_AFTER_MS,
} from "../../src/base/wireguard.ts";
import { describeEvent, eventOf } from "../../src/events/event.ts";
import { type Change } from "../../src/sessions/change.ts";
import { Tracker, type TrackerOptions } from "../../src/sessions/tracker.ts";
import { ALICE, BOB, device, peer, ScanMaker } from "../support/peers.ts";

/** Wall clock at the start of each story. */
const T0 = Date.UTC(2026, 0, 1);
const IDLE_MS = 180_000;

/** A gateway that is scanned from time to time. Times are seconds since the start of the story. */
class Story {
  readonly tracker: Tracker;
  readonly #scans = new ScanMaker();
  /** How far the wall clock was set forward. */
  jumpedMs = 0;

  constructor(rules: Partial<TrackerOptions> = {}, tracker?: Tracker) {
    this.tracker =
      tracker ??
      new Tracker({ idleTimeoutMs: () => IDLE_MS, holdMs: 0, announceExisting: true, ...rules });
  }

  instant(seconds: number): Instant {
    return { wallMs: T0 + seconds * 1000 + this.jumpedMs, monotonicMs: seconds * 1000 };
  }

  changes(seconds: number, ...found: (readonly [Device, readonly Peer[]])[]): Change[] {
    return this.tracker.observe(this.#scans.scan(...found), this.instant(seconds));
  }

  /** What people read after a scan wg0 with these peers. */
  at(seconds: number, ...peers: Peer[]): string[] {
    return this.changes(seconds, [device(), peers]).map(said);
  }
}

function said(change: Change): string {
  return describeEvent(eventOf(change, { id: "evt_0", host: "gw1", name: nameOf(change) }));
}

function nameOf(change: Change): string | null {
  if (!("peer" in change)) return null;
  return change.peer.publicKey === ALICE ? "alice" : "bob";
}

/** A peer whose last handshake was `seconds` into the story. */
function shook(seconds: number, rxBytes = 180, fields: Parameters<typeof peer>[0] = {}): Peer {
  return peer({ lastHandshakeMs: T0 + seconds * 1000, rxBytes, ...fields });
}

describe("a session", () => {
  test("a peer connects, roams and disconnects", () => {
    const story = new Story();
    expect(story.at(0, peer())).toEqual([]);
    expect(story.at(5, shook(5))).toEqual(["alice (wg0) connected from 192.0.2.1:51820"]);
    expect(story.at(10, shook(5, 500, { endpoint: "192.0.2.1:40000" }))).toEqual([
      "alice (wg0) roamed from 192.0.2.1:51820 to 192.0.2.1:40000",
    ]);
    const silent = shook(5, 500, { endpoint: "192.0.2.1:40000" });
    expect(story.at(189, silent)).toEqual([]);
    expect(story.at(190, silent)).toEqual(["alice (wg0) disconnected after 5s"]);
    expect(story.at(400, silent)).toEqual([]);
  });

  test("one scan is enough: no second packet and no second scan is needed", () => {
    const story = new Story();
    story.at(0, peer());
    expect(story.at(1, shook(1))).toHaveLength(1);
  });

  test("is told of once, however often it is scanned", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    for (let seconds = 2; seconds < 100; seconds++) {
      expect(story.at(seconds, shook(1, 180 + seconds * 32))).toEqual([]);
    }
  });

  test("renewed keys are no news", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    for (let seconds = 121; seconds < 2000; seconds += 120) {
      expect(story.at(seconds, shook(seconds, 180 * seconds))).toEqual([]);
    }
  });

  test("reports start, end, duration, bytes and roams of itself alone", () => {
    const story = new Story();
    story.at(0, peer({ rxBytes: 10_000, txBytes: 5_000 }));
    story.at(5, shook(5, 10_180, { txBytes: 5_092 }));
    story.at(10, shook(5, 11_000, { txBytes: 6_000, endpoint: "192.0.2.9:1" }));
    const [change] = story.changes(190, [
      device(),
      [shook(5, 11_000, { txBytes: 7_000, endpoint: "192.0.2.9:1" })],
    ]);
    expect(change).toMatchObject({
      type: "peer.disconnected",
      atMs: T0 + 190_000,
      endedAtMs: T0 + 10_000,
      reason: "idle",
      session: { startedAtMs: T0 + 5_000, rxBytes: 1_000, txBytes: 2_000, roams: 1 },
    });
  });

  test("a peer that is back after its end begins another one", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(181, shook(1))).toEqual(["alice (wg0) disconnected after 0s"]);
    expect(story.at(300, shook(300, 400))).toEqual(["alice (wg0) connected from 192.0.2.1:51820"]);
  });

  test("data under keys that are still good revives a peer that was given up", () => {
    const story = new Story({ idleTimeoutMs: () => 20_000 });
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(21, shook(1))).toHaveLength(1);
    expect(story.at(60, shook(1, 180 + 96))).toEqual([
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a peer that returns without a handshake is found by a tick, which runs until its keys expire", () => {
    const story = new Story({ idleTimeoutMs: () => 20_000 });
    const ticked = () => [[...story.tracker.tickedDevices].join(), story.tracker.needsTick];
    story.at(0, peer());
    expect(ticked()).toEqual(["", false]);
    story.at(1, shook(1));
    expect(ticked()).toEqual(["wg0", true]);
    expect(story.at(21, shook(1))).toHaveLength(1);
    for (let seconds = 30; seconds < 181; seconds += 10) {
      expect(story.at(seconds, shook(1))).toEqual([]);
      expect(ticked()).toEqual(["wg0", true]);
    }
    expect(story.at(181, shook(1))).toEqual([]);
    expect(ticked()).toEqual(["", false]);
    // Whatever it received since can only have been attempts.
    expect(story.at(190, shook(1, 5000))).toEqual([]);
    expect(ticked()).toEqual(["", false]);
  });

  test.each([
    ["the peer is removed", (story: Story) => story.at(30)],
    ["the device is removed", (story: Story) => story.changes(30)],
    ["the device is made anew", (story: Story) => story.changes(30, [device({ index: 9 }), []])],
  ])("the tick stops when %s: the keys are gone with it", (_, remove) => {
    const story = new Story({ idleTimeoutMs: () => 20_000 });
    story.at(0, peer());
    story.at(1, shook(1));
    story.at(21, shook(1));
    expect(story.tracker.needsTick).toBe(true);
    remove(story);
    expect(story.tracker.needsTick).toBe(false);
  });

  test("a peer that returned has a session from the first sign of life to the last", () => {
    const story = new Story({ idleTimeoutMs: () => 20_000 });
    story.at(0, peer());
    story.at(1, shook(1));
    story.at(21, shook(1));
    expect(story.at(60, shook(1, 276))).toHaveLength(1);
    expect(story.at(70, shook(1, 372))).toEqual([]);
    expect(story.at(90, shook(1, 372))).toEqual(["alice (wg0) disconnected after 10s"]);
    // It was heard from once.
    expect(story.at(100, shook(1, 468))).toHaveLength(1);
    expect(story.at(120, shook(1, 468))).toEqual(["alice (wg0) disconnected after 0s"]);
  });

  test("an idle timeout can be the peer's own", () => {
    const story = new Story({ idleTimeoutMs: (key) => (key === BOB ? 30_000 : IDLE_MS) });
    const bob = (seconds: number) =>
      shook(seconds, 180, { publicKey: BOB, endpoint: "192.0.2.2:1" });
    story.at(0, peer(), peer({ publicKey: BOB, endpoint: null }));
    story.at(1, shook(1), bob(1));
    expect(story.tracker.nextDeadlineMs()).toBe(31_000);
    expect(story.at(31, shook(1), bob(1))).toEqual(["bob (wg0) disconnected after 0s"]);
    expect(story.tracker.nextDeadlineMs()).toBe(181_000);
  });
});

describe("what is no proof", () => {
  test("an attempt that never completes is no connection", () => {
    const story = new Story();
    story.at(0, peer({ endpoint: null }));
    for (let attempt = 1; attempt < 30; attempt++) {
      const trying = peer({
        rxBytes: attempt * 148,
        txBytes: attempt * 92,
        endpoint: "192.0.2.6:6",
      });
      expect(story.at(attempt * 5, trying)).toEqual([]);
    }
  });

  test("attempts do not keep a dead session alive, nor move it", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    // From another place, every 5 seconds, with a preshared key that is wrong.
    const said: string[] = [];
    for (let seconds = 6; seconds <= 200; seconds += 5) {
      const attempts = Math.floor((seconds - 1) / 5);
      said.push(...story.at(seconds, shook(1, 180 + attempts * 148, { endpoint: "192.0.2.6:6" })));
    }
    expect(said).toEqual(["alice (wg0) disconnected after 0s"]);
  });

  test("several attempts between two scans are still attempts", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(11, shook(1, 180 + 2 * 148))).toEqual([]);
    expect(story.at(181, shook(1, 180 + 5 * 148))).toEqual(["alice (wg0) disconnected after 0s"]);
  });

  test("the attempts of a long time without a scan are still attempts", () => {
    const roaming = new Story();
    roaming.at(0, peer());
    roaming.at(1, shook(1));
    expect(roaming.at(31, shook(1, 180 + 6 * 148, { endpoint: "192.0.2.6:6" }))).toEqual([]);
    expect(roaming.at(32, shook(1, 180 + 6 * 148 + 32))).toEqual([]);

    const returning = new Story({ idleTimeoutMs: () => 75_000 });
    returning.at(0, peer());
    returning.at(1, shook(1));
    expect(returning.at(77, shook(1))).toEqual(["alice (wg0) disconnected after 0s"]);
    expect(returning.at(120, shook(1, 180 + 8 * 148, { endpoint: "192.0.2.6:6" }))).toEqual([]);
    expect(returning.at(130, shook(1, 180 + 8 * 148 + 96))).toHaveLength(1);
  });

  test("what is sent to a peer is no sign of its life", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    for (let seconds = 2; seconds < 181; seconds++) {
      expect(story.at(seconds, shook(1, 180, { txBytes: seconds * 1000 }))).toEqual([]);
    }
    expect(story.at(181, shook(1, 180, { txBytes: 181_000 }))).toEqual([
      "alice (wg0) disconnected after 0s",
    ]);
  });

  test("after 180 seconds the keys are dead, and what still comes in is not data", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    story.at(170, shook(1, 1000));
    story.at(182, shook(1, 2000));
    expect(story.at(350, shook(1, 2000))).toEqual(["alice (wg0) disconnected after 2m 49s"]);
  });

  test("an administrator who sets an endpoint makes nobody roam", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(2, shook(1, 180, { endpoint: "192.0.2.77:7" }))).toEqual([]);
    // The peer speaks from where it was.
    expect(story.at(3, shook(1, 300))).toEqual([]);
  });

  test("an old handshake is none at the first scan", () => {
    expect(new Story().at(1000, shook(1000 - REJECT_AFTER_MS / 1000))).toEqual([]);
    expect(new Story().at(1000, shook(1001 - REJECT_AFTER_MS / 1000))).toHaveLength(1);
  });
});

describe("who is who", () => {
  test("three roams are three roams, no connect and no disconnect", () => {
    const story = new Story();
    story.at(0, peer());
    const said = [5, 10, 15, 20].flatMap((seconds) =>
      story.at(seconds, shook(5, seconds * 100, { endpoint: `192.0.2.1:${seconds}` })),
    );
    expect(said).toEqual([
      "alice (wg0) connected from 192.0.2.1:5",
      "alice (wg0) roamed from 192.0.2.1:5 to 192.0.2.1:10",
      "alice (wg0) roamed from 192.0.2.1:10 to 192.0.2.1:15",
      "alice (wg0) roamed from 192.0.2.1:15 to 192.0.2.1:20",
    ]);
  });

  test("peers without an endpoint do not collide", () => {
    const story = new Story();
    const alice = { endpoint: null };
    const bob = { publicKey: BOB, endpoint: null };
    story.at(0, peer(alice), peer(bob));
    expect(story.at(1, shook(1, 180, alice), peer(bob))).toEqual(["alice (wg0) connected"]);
    expect(story.at(2, shook(1, 180, alice), shook(2, 180, bob))).toEqual(["bob (wg0) connected"]);
  });

  test("one key on two devices is two peers, even at one address", () => {
    const story = new Story();
    const wg1 = device({ name: "wg1", index: 4, listenPort: 51821 });
    story.changes(0, [device(), [peer()]], [wg1, [peer()]]);
    expect(story.changes(1, [device(), [shook(1)]], [wg1, [peer()]])).toMatchObject([
      { type: "peer.connected", device: "wg0" },
    ]);
    expect(story.changes(2, [device(), [shook(1)]], [wg1, [shook(2)]])).toMatchObject([
      { type: "peer.connected", device: "wg1" },
    ]);
  });

  test("a second key that takes over an address and port is told of", () => {
    const story = new Story();
    story.at(0, peer(), peer({ publicKey: BOB, endpoint: null }));
    story.at(1, shook(1), peer({ publicKey: BOB, endpoint: null }));
    expect(story.at(60, shook(1), shook(60, 180, { publicKey: BOB }))).toEqual([
      "bob (wg0) connected from 192.0.2.1:51820",
    ]);
    expect(story.tracker.handshakeAtMs("192.0.2.1", 51820, 51820)).toBe(60_000);
  });

  test("two peers at one address and port, with two devices, have each their own keys", () => {
    const story = new Story();
    const wg1 = device({ name: "wg1", index: 4, listenPort: 51821 });
    const handshakes = () =>
      [51820, 51821, 443].map((port) => story.tracker.handshakeAtMs("192.0.2.1", 51820, port));
    const bob = { publicKey: BOB };
    story.changes(0, [device(), [peer()]], [wg1, [peer(bob)]]);
    story.changes(1, [device(), [shook(1)]], [wg1, [peer(bob)]]);
    // Nobody listens to 443: it must be redirected, who knows where.
    expect(handshakes()).toEqual([1000, null, 1000]);
    story.changes(2, [device(), [shook(1)]], [wg1, [shook(2, 180, bob)]]);
    expect(handshakes()).toEqual([1000, 2000, 2000]);
    story.changes(3, [device(), [shook(1)]], [wg1, []]);
    expect(handshakes()).toEqual([1000, null, 1000]);
  });

  test("a scope id that the kernel fills in is no roaming, another one is", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1, 180, { endpoint: "[fe80::1]:5" }));
    expect(story.at(2, shook(1, 300, { endpoint: "[fe80::1%2]:5" }))).toEqual([]);
    expect(story.at(3, shook(1, 400, { endpoint: "[fe80::1%3]:5" }))).toEqual([
      "alice (wg0) roamed from [fe80::1%2]:5 to [fe80::1%3]:5",
    ]);
    expect(story.tracker.handshakeAtMs("fe80::1", 5, 51820)).toBe(1000);
  });
});

describe("what goes away", () => {
  test("a peer that is removed is disconnected at once", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(5)).toEqual(["alice (wg0) disconnected after 0s, peer removed"]);
  });

  test("a peer that is removed and added again is told of with its next handshake", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    story.at(5);
    expect(story.at(6, peer())).toEqual([]);
    expect(story.at(7, shook(7))).toEqual(["alice (wg0) connected from 192.0.2.1:51820"]);
  });

  test("a device that is deleted takes its peers with it, and comes back as a new one", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.changes(5).map(said)).toEqual([
      "alice (wg0) disconnected after 0s, device removed",
      "wg0 removed",
    ]);
    const again = device({ index: 9 });
    expect(story.changes(6, [again, [peer()]]).map(said)).toEqual([
      "wg0 added, listening on port 51820",
    ]);
    expect(story.changes(7, [again, [shook(7)]]).map(said)).toEqual([
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a device that is deleted and made again between two scans is seen to be another", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.changes(5, [device({ index: 9 }), [peer()]]).map(said)).toEqual([
      "alice (wg0) disconnected after 0s, device removed",
      "wg0 removed",
      "wg0 added, listening on port 51820",
    ]);
  });

  test("counters that start again from zero end nothing and invent nothing", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1, 50_000));
    expect(story.at(2, peer({ rxBytes: 0 }))).toEqual([]);
    expect(story.at(3, shook(3, 180))).toEqual([]);
    const [change] = story.changes(183, [device(), [shook(3, 180)]]);
    expect(change).toMatchObject({ session: { rxBytes: 50_180 }, endedAtMs: T0 + 3_000 });
  });
});

describe("hold", () => {
  test("a peer that is back within it was never gone", () => {
    const story = new Story({ idleTimeoutMs: () => 20_000, holdMs: 30_000 });
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(45, shook(1))).toEqual([]);
    expect(story.at(50, shook(50, 400))).toEqual([]);
    expect(story.at(99, shook(50, 400))).toEqual([]);
    expect(story.at(100, shook(50, 400))).toEqual(["alice (wg0) disconnected after 49s"]);
  });

  test("covers a device that is taken down and up again", () => {
    const story = new Story({ holdMs: 30_000 });
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.changes(5).map(said)).toEqual(["wg0 removed"]);
    const again = device({ index: 9 });
    expect(story.changes(6, [again, [peer()]]).map(said)).toEqual([
      "wg0 added, listening on port 51820",
    ]);
    expect(story.changes(7, [again, [shook(7)]])).toEqual([]);
    expect(story.changes(60, [again, [shook(7)]])).toEqual([]);
  });

  test("a removed peer that stays away is told of when it is over, with its reason", () => {
    const story = new Story({ holdMs: 30_000 });
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(5)).toEqual([]);
    expect(story.tracker.nextDeadlineMs()).toBe(35_000);
    expect(story.at(35)).toEqual(["alice (wg0) disconnected after 0s, peer removed"]);
  });
});

describe("start and restart", () => {
  test("who is connected already is told of as such", () => {
    expect(new Story().changes(60, [device(), [shook(1)]])).toMatchObject([
      { type: "peer.connected", initial: true, session: { startedAtMs: T0 + 1000 } },
    ]);
  });

  test("or not at all, and its end is told of all the same", () => {
    const story = new Story({ announceExisting: false });
    expect(story.at(60, shook(1))).toEqual([]);
    expect(story.at(181, shook(1))).toEqual(["alice (wg0) disconnected after 0s"]);
  });

  test("a peer that connects later is not initial, nor are the peers of a device that comes later", () => {
    const story = new Story();
    story.changes(0, [device(), [peer()]]);
    const wg1 = device({ name: "wg1", index: 4 });
    expect(story.changes(1, [device(), [shook(1)]], [wg1, [shook(1)]])).toMatchObject([
      { type: "peer.connected", device: "wg0", initial: false },
      { type: "device.added", device: "wg1" },
      { type: "peer.connected", device: "wg1", initial: false },
    ]);
  });

  test("rules that change while running hold from then on", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    story.tracker.setOptions({ idleTimeoutMs: () => 10_000, holdMs: 0, announceExisting: true });
    expect(story.at(11, shook(1))).toEqual(["alice (wg0) disconnected after 0s"]);
  });
});

describe("silence", () => {
  const wg1 = device({ name: "wg1", index: 4 });

  test("is nobody's whose device was not scanned", () => {
    const story = new Story();
    story.changes(0, [device(), [peer()]], [wg1, [peer()]]);
    story.changes(1, [device(), [shook(1)]], [wg1, [shook(1)]]);
    // As after hours in which nobody could scan; what woke us was about wg0.
    const one = { device: device(), changed: [], removed: [] };
    const changes = story.tracker.observe({ devices: [one], removed: [] }, story.instant(9000));
    expect(changes).toMatchObject([{ type: "peer.disconnected", device: "wg0" }]);
    // It is high time for another scan, and if that fails, for the one after it.
    expect(story.tracker.nextDeadlineMs()).toBe(181_000);
    expect(story.tracker.nextDeadlineMs(9_000_000)).toBeNull();
    const alive = [wg1, [shook(8990, 9000)]] as const;
    expect(story.changes(9001, [device(), [shook(1)]], alive)).toEqual([]);
    expect(story.tracker.connected).toBe(1);
  });

  test("does not keep those who were taken away with a device", () => {
    const story = new Story();
    story.changes(0, [device(), [peer()]], [wg1, [peer()]]);
    story.changes(1, [device(), [shook(1)]], [wg1, [shook(1)]]);
    const changes = story.tracker.observe({ devices: [], removed: [wg1] }, story.instant(9000));
    expect(changes.map(({ type, device: name }) => `${name} ${type}`)).toEqual([
      "wg1 peer.disconnected",
      "wg1 device.removed",
    ]);
  });
});

// What a machine does that was suspended: CLOCK_MONOTONIC, by which silence is counted, stands still.
describe("a machine that slept for eight hours", () => {
  const HOURS_MS = 8 * 3_600_000;

  test("gives everybody the rest of his time to come back", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(100, shook(1, 9000))).toEqual([]);
    story.jumpedMs = HOURS_MS;
    // Its keys are dead: the kernel counts the time asleep. So it shakes hands anew, and was never gone.
    expect(story.at(101, shook(1, 9000))).toEqual([]);
    expect(story.at(110, shook(110 + HOURS_MS / 1000, 9180))).toEqual([]);
    expect(story.tracker.connected).toBe(1);
  });

  test("then says who did not, with the last activity before it", () => {
    const story = new Story();
    story.at(0, peer());
    story.at(1, shook(1));
    expect(story.at(100, shook(1, 9000))).toEqual([]);
    story.jumpedMs = HOURS_MS;
    expect(story.at(279, shook(1, 9000))).toEqual([]);
    expect(story.changes(280, [device(), [shook(1, 9000)]])).toMatchObject([
      { type: "peer.disconnected", endedAtMs: T0 + 100_000, durationMs: 99_000 },
    ]);
  });
});

describe("a wall clock that is set", () => {
  for (const jump of [-86_400_000, 86_400_000]) {
    test(`by ${jump / 3_600_000} hours ends and begins nothing`, () => {
      const story = new Story();
      story.at(0, peer());
      story.at(1, shook(1));
      story.jumpedMs = jump;
      expect(story.at(100, shook(1, 1000))).toEqual([]);
      // The next handshake has the new time.
      expect(story.at(121, shook(121 + jump / 1000, 2000))).toEqual([]);
      expect(story.at(300, shook(121 + jump / 1000, 2000))).toEqual([]);
      // From 1 s to 121 s into the story, whatever the clock on the wall says.
      const end = story.changes(301, [device(), [shook(121 + jump / 1000, 2000)]]);
      expect(end).toMatchObject([{ endedAtMs: T0 + 121_000 + jump, durationMs: 120_000 }]);
    });

    test(`by ${jump / 3_600_000} hours does not hide who connects then`, () => {
      const story = new Story();
      story.at(0, shook(-1000));
      story.jumpedMs = jump;
      expect(story.at(5, shook(5 + jump / 1000))).toHaveLength(1);
    });
  }
});

// gotatun reports "now minus age", and so are boringtun's ages read; wireguard-go and the kernel report
// the time that the clock had.
describe.each(["now minus age", "the time itself"] as const)(
  "a program that reports %s",
  (kind) => {
    /** A handshake at this time of the story, made before the clock was set, as it is reported now. */
    const reported = (story: Story, seconds: number, jitterMs = 0): number =>
      T0 + seconds * 1000 + (kind === "now minus age" ? story.jumpedMs + jitterMs : 0);
    const found = (story: Story, seconds: number, rxBytes: number, jitterMs = 0): Peer =>
      peer({ lastHandshakeMs: reported(story, seconds, jitterMs), rxBytes });

    test("has no new handshake when its time moves by less than a second", () => {
      const story = new Story();
      story.at(0, peer());
      expect(story.at(5, found(story, 5, 500))).toHaveLength(1);
      for (let seconds = 10; seconds < 185; seconds += 5) {
        expect(story.at(seconds, found(story, 5, 500, (seconds % 20) - 9.5))).toEqual([]);
      }
      expect(story.at(185, found(story, 5, 500))).toEqual(["alice (wg0) disconnected after 0s"]);
    });

    test.each([-86_400_000, -30_000, 30_000, 86_400_000])(
      "neither loses nor gains a peer when the clock is set by %i ms",
      (jump) => {
        const story = new Story({ idleTimeoutMs: () => 60_000 });
        const [silent, gone] = [BOB, "gone" as PublicKey].map((publicKey) => ({ publicKey }));
        const at = (seconds: number, rxBytes: number) =>
          story.at(
            seconds,
            found(story, 5, rxBytes, seconds % 7),
            { ...found(story, 5, 180, seconds % 5), ...silent },
            { ...found(story, -500, 180, seconds % 3), ...gone },
          );
        story.at(0, peer(), peer(silent), { ...found(story, -500, 180), ...gone });
        expect(at(5, 180)).toHaveLength(2);
        expect(at(40, 5000)).toEqual([]);
        expect(at(65, 6000)).toEqual(["bob (wg0) disconnected after 0s"]);
        story.jumpedMs = jump;
        for (const seconds of [70, 80, 90, 100]) expect(at(seconds, seconds * 100)).toEqual([]);
        // A return under keys that are still valid is one, too.
        const back = { ...found(story, 5, 276), ...silent };
        expect(story.at(105, found(story, 5, 10_500), back)).toEqual([
          "bob (wg0) connected from 192.0.2.1:51820",
        ]);
        expect(story.at(110, found(story, 5, 10_500), back)).toEqual([]);
        expect(story.at(165, found(story, 5, 10_500), back)).toEqual([
          expect.stringContaining("alice (wg0) disconnected after"),
          expect.stringContaining("bob (wg0) disconnected after"),
        ]);
      },
    );

    test("no handshake is missed and none is invented, whatever the jitter and the steps of the clock", () => {
      const step = fc.record({
        seconds: fc.double({ min: 0.001, max: 400, noNaN: true }),
        handshake: fc.boolean(),
        jitterMs: fc.double({ min: 0, max: 499, noNaN: true }),
        jumpMs: fc.constantFrom(0, 0, 0, 3_600_000, 86_400_000, -20_000_000),
      });
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
          const story = new Story({ idleTimeoutMs: () => 1e9 });
          let seconds = 0;
          /** When the last one was, and by how much the clock was set then. */
          let last: { seconds: number; jumpedMs: number } | null = null;
          story.at(0, peer());
          for (const next of steps) {
            seconds += next.seconds;
            story.jumpedMs += next.jumpMs;
            // REKEY_TIMEOUT: handshakes are no closer, but scans may be.
            const isNew = next.handshake && (last === null || seconds - last.seconds >= 5);
            if (isNew) last = { seconds, jumpedMs: story.jumpedMs };
            const lastHandshakeMs =
              last === null
                ? null
                : reported(story, last.seconds, next.jitterMs) +
                  (kind === "now minus age" ? 0 : last.jumpedMs);
            const before = story.tracker.session("wg0", ALICE)?.handshakeAt ?? null;
            const told = story.at(seconds, peer({ lastHandshakeMs }));
            const after = story.tracker.session("wg0", ALICE)?.handshakeAt ?? null;
            expect(told).toHaveLength(isNew && before === null ? 1 : 0);
            expect(after !== before).toBe(isNew);
          }
        }),
        { numRuns: 500 },
      );
    });
  },
);

test("whatever the scans, each peer's events alternate and no session is invented", () => {
  const step = fc.record({
    waitSeconds: fc.nat(200),
    handshake: fc.boolean(),
    rxBytes: fc.nat(500),
    txBytes: fc.nat(500),
    port: fc.integer({ min: 1, max: 3 }),
    present: fc.boolean(),
    deviceIndex: fc.integer({ min: 1, max: 2 }),
    jumpMs: fc.constantFrom(0, 0, 0, -3_600_000, 3_600_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(0, 30_000), (steps, holdMs) => {
      const story = new Story({ holdMs });
      let seconds = 0;
      let now = peer();
      let isConnected = false;
      let handshakes = 0;
      story.at(0, now);
      for (const next of steps) {
        seconds += next.waitSeconds + 1;
        story.jumpedMs += next.jumpMs;
        if (next.handshake) handshakes++;
        now = peer({
          endpoint: `192.0.2.1:${next.port}`,
          lastHandshakeMs: next.handshake ? story.instant(seconds).wallMs : now.lastHandshakeMs,
          rxBytes: now.rxBytes + next.rxBytes,
          txBytes: now.txBytes + next.txBytes,
        });
        const found = [device({ index: next.deviceIndex }), next.present ? [now] : []] as const;
        for (const change of story.changes(seconds, found)) {
          if (change.type === "peer.connected") {
            expect(isConnected).toBe(false);
            expect(handshakes).toBeGreaterThan(0);
            isConnected = true;
          } else if (change.type === "peer.disconnected") {
            expect(isConnected).toBe(true);
            isConnected = false;
          } else if (change.type === "peer.roamed") {
            expect(isConnected).toBe(true);
          }
        }
        expect([...story.tracker.sessions].length).toBe(isConnected ? 1 : 0);
      }
      // Silence ends everything.
      seconds += 100_000;
      story.changes(seconds, [device(), []]);
      story.changes(seconds + 100_000, [device(), []]);
      expect(story.tracker.connected).toBe(0);
      expect(story.tracker.nextDeadlineMs()).toBeNull();
    }),
    { numRuns: 500 },
  );
});

describe("what a session counts", () => {
  test("begins at the scan before it: the response to a known peer is sent within it", () => {
    const story = new Story();
    story.at(0, peer({ rxBytes: 10_000, txBytes: 5_000 }));
    expect(story.changes(5, [device(), [shook(5, 10_180, { txBytes: 5_092 })]])).toMatchObject([
      { type: "peer.connected", session: { rxBytes: 180, txBytes: 92 } },
    ]);
  });

  test("begins at the first look for who was there already: nobody knows when the rest was", () => {
    const story = new Story();
    expect(story.changes(5, [device(), [shook(1, 10_180, { txBytes: 5_092 })]])).toMatchObject([
      { type: "peer.connected", session: { rxBytes: 0, txBytes: 0 } },
    ]);
  });

  test("begins at the scan before it, too, for who is back under the keys of another session", () => {
    const story = new Story({ idleTimeoutMs: () => 20_000 });
    story.at(0, peer());
    story.at(1, shook(1, 180, { txBytes: 92 }));
    expect(story.at(21, shook(1, 180, { txBytes: 124 }))).toHaveLength(1);
    const heard = shook(1, 180 + 96, { txBytes: 156 });
    expect(story.changes(60, [device(), [heard]])).toMatchObject([
      { type: "peer.connected", session: { rxBytes: 96, txBytes: 32 } },
    ]);
  });

  test("is what a counter has, where that has started again from zero", () => {
    const story = new Story();
    story.at(0, peer({ rxBytes: 10_000, txBytes: 5_000 }));
    expect(story.changes(5, [device(), [shook(5, 180, { txBytes: 92 })]])).toMatchObject([
      { type: "peer.connected", session: { rxBytes: 180, txBytes: 92 } },
    ]);
  });

  test("is all there is of a peer that was added and connected between two scans", () => {
    const story = new Story();
    const known = peer({ publicKey: BOB, endpoint: null });
    const added = shook(7, 276, { txBytes: 124 });
    story.at(0, known);
    expect(story.changes(10, [device(), [known, added]])).toEqual([
      {
        type: "peer.connected",
        atMs: T0 + 7_000,
        device: "wg0",
        peer: added,
        session: { startedAtMs: T0 + 7_000, rxBytes: 276, txBytes: 124, roams: 0 },
        initial: false,
      },
    ]);
    expect(story.at(11, known, added)).toEqual([]);
    // Its silence counts from its handshake and not from the scan that found it.
    expect(story.tracker.nextDeadlineMs()).toBe(187_000);
    const later = shook(7, 376, { txBytes: 200 });
    expect(story.at(20, known, later)).toEqual([]);
    expect(story.changes(200, [device(), [known, later]])).toMatchObject([
      {
        type: "peer.disconnected",
        endedAtMs: T0 + 20_000,
        session: { startedAtMs: T0 + 7_000, rxBytes: 376, txBytes: 200 },
      },
    ]);
  });
});
