/** The tracker: which scans mean that a peer connects, roams or disconnects. */

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

/** Wall-clock time at the start of each test. */
const T0 = Date.UTC(2026, 0, 1);
const IDLE_MS = 180_000;

/** A gateway that is scanned from time to time. Times are in seconds since the start of the test. */
class Gateway {
  readonly tracker: Tracker;
  readonly #scans = new ScanMaker();
  /** By how much the wall clock was set forward. */
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

  /** The texts of the changes after a scan that finds wg0 with these peers. */
  at(seconds: number, ...peers: Peer[]): string[] {
    return this.changes(seconds, [device(), peers]).map(textOf);
  }
}

function textOf(change: Change): string {
  return describeEvent(eventOf(change, { id: "evt_0", host: "gw1", name: nameOf(change) }));
}

function nameOf(change: Change): string | null {
  if (!("peer" in change)) return null;
  return change.peer.publicKey === ALICE ? "alice" : "bob";
}

/** A peer whose last handshake was at `seconds`. */
function withHandshake(
  seconds: number,
  rxBytes = 180,
  fields: Parameters<typeof peer>[0] = {},
): Peer {
  return peer({ lastHandshakeMs: T0 + seconds * 1000, rxBytes, ...fields });
}

describe("a session", () => {
  test("a session begins when a peer connects, continues when it roams, and ends when it is silent", () => {
    const gateway = new Gateway();
    expect(gateway.at(0, peer())).toEqual([]);
    expect(gateway.at(5, withHandshake(5))).toEqual(["alice (wg0) connected from 192.0.2.1:51820"]);
    expect(gateway.at(10, withHandshake(5, 500, { endpoint: "192.0.2.1:40000" }))).toEqual([
      "alice (wg0) roamed from 192.0.2.1:51820 to 192.0.2.1:40000",
    ]);
    const silent = withHandshake(5, 500, { endpoint: "192.0.2.1:40000" });
    expect(gateway.at(189, silent)).toEqual([]);
    expect(gateway.at(190, silent)).toEqual(["alice (wg0) disconnected after 5s"]);
    expect(gateway.at(400, silent)).toEqual([]);
  });

  test("a session is reported after one scan", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    expect(gateway.at(1, withHandshake(1))).toHaveLength(1);
  });

  test("a session is reported only once, however often it is scanned", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    for (let seconds = 2; seconds < 100; seconds++) {
      expect(gateway.at(seconds, withHandshake(1, 180 + seconds * 32))).toEqual([]);
    }
  });

  test("a session is not reported again when its keys are renewed", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    for (let seconds = 121; seconds < 2000; seconds += 120) {
      expect(gateway.at(seconds, withHandshake(seconds, 180 * seconds))).toEqual([]);
    }
  });

  test("a session has its own start, end, bytes and roams", () => {
    const gateway = new Gateway();
    gateway.at(0, peer({ rxBytes: 10_000, txBytes: 5_000 }));
    gateway.at(5, withHandshake(5, 10_180, { txBytes: 5_092 }));
    gateway.at(10, withHandshake(5, 11_000, { txBytes: 6_000, endpoint: "192.0.2.9:1" }));
    const [change] = gateway.changes(190, [
      device(),
      [withHandshake(5, 11_000, { txBytes: 7_000, endpoint: "192.0.2.9:1" })],
    ]);
    expect(change).toMatchObject({
      type: "peer.disconnected",
      atMs: T0 + 190_000,
      endedAtMs: T0 + 10_000,
      reason: "idle",
      session: { startedAtMs: T0 + 5_000, rxBytes: 1_000, txBytes: 2_000, roams: 1 },
    });
  });

  test("a session is a new one if the peer returns after the end", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(181, withHandshake(1))).toEqual(["alice (wg0) disconnected after 0s"]);
    expect(gateway.at(300, withHandshake(300, 400))).toEqual([
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a session begins with data under valid keys if the peer was disconnected because of its idle timeout", () => {
    const gateway = new Gateway({ idleTimeoutMs: () => 20_000 });
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(21, withHandshake(1))).toHaveLength(1);
    expect(gateway.at(60, withHandshake(1, 180 + 96))).toEqual([
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a session begins on a tick if a peer returns without a handshake, and ticks continue until its keys expire", () => {
    const gateway = new Gateway({ idleTimeoutMs: () => 20_000 });
    const ticked = () => [[...gateway.tracker.tickedDevices].join(), gateway.tracker.needsTick];
    gateway.at(0, peer());
    expect(ticked()).toEqual(["", false]);
    gateway.at(1, withHandshake(1));
    expect(ticked()).toEqual(["wg0", true]);
    expect(gateway.at(21, withHandshake(1))).toHaveLength(1);
    for (let seconds = 30; seconds < 181; seconds += 10) {
      expect(gateway.at(seconds, withHandshake(1))).toEqual([]);
      expect(ticked()).toEqual(["wg0", true]);
    }
    expect(gateway.at(181, withHandshake(1))).toEqual([]);
    expect(ticked()).toEqual(["", false]);
    // Bytes that were received since then can only be attempts.
    expect(gateway.at(190, withHandshake(1, 5000))).toEqual([]);
    expect(ticked()).toEqual(["", false]);
  });

  test.each([
    ["the peer is removed", (gateway: Gateway) => gateway.at(30)],
    ["the device is removed", (gateway: Gateway) => gateway.changes(30)],
    [
      "the device is replaced",
      (gateway: Gateway) => gateway.changes(30, [device({ index: 9 }), []]),
    ],
  ])("a session causes no more ticks when %s, because its keys no longer exist", (_, remove) => {
    const gateway = new Gateway({ idleTimeoutMs: () => 20_000 });
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    gateway.at(21, withHandshake(1));
    expect(gateway.tracker.needsTick).toBe(true);
    remove(gateway);
    expect(gateway.tracker.needsTick).toBe(false);
  });

  test("a session lasts from the first to the last activity if the peer returned without a handshake", () => {
    const gateway = new Gateway({ idleTimeoutMs: () => 20_000 });
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    gateway.at(21, withHandshake(1));
    expect(gateway.at(60, withHandshake(1, 276))).toHaveLength(1);
    expect(gateway.at(70, withHandshake(1, 372))).toEqual([]);
    expect(gateway.at(90, withHandshake(1, 372))).toEqual(["alice (wg0) disconnected after 10s"]);
    // There was only one activity.
    expect(gateway.at(100, withHandshake(1, 468))).toHaveLength(1);
    expect(gateway.at(120, withHandshake(1, 468))).toEqual(["alice (wg0) disconnected after 0s"]);
  });

  test("a session ends by the peer's own idle timeout if it has one", () => {
    const gateway = new Gateway({ idleTimeoutMs: (key) => (key === BOB ? 30_000 : IDLE_MS) });
    const bob = (seconds: number) =>
      withHandshake(seconds, 180, { publicKey: BOB, endpoint: "192.0.2.2:1" });
    gateway.at(0, peer(), peer({ publicKey: BOB, endpoint: null }));
    gateway.at(1, withHandshake(1), bob(1));
    expect(gateway.tracker.nextDeadlineMs()).toBe(31_000);
    expect(gateway.at(31, withHandshake(1), bob(1))).toEqual(["bob (wg0) disconnected after 0s"]);
    expect(gateway.tracker.nextDeadlineMs()).toBe(181_000);
  });
});

describe("the activity of a peer", () => {
  test("a handshake attempt that never completes is not activity", () => {
    const gateway = new Gateway();
    gateway.at(0, peer({ endpoint: null }));
    for (let attempt = 1; attempt < 30; attempt++) {
      const trying = peer({
        rxBytes: attempt * 148,
        txBytes: attempt * 92,
        endpoint: "192.0.2.6:6",
      });
      expect(gateway.at(attempt * 5, trying)).toEqual([]);
    }
  });

  test("a series of handshake attempts is not activity: it neither prolongs a session nor causes a roam", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    // From another endpoint, every 5 seconds, with a wrong preshared key.
    const texts: string[] = [];
    for (let seconds = 6; seconds <= 200; seconds += 5) {
      const attempts = Math.floor((seconds - 1) / 5);
      texts.push(
        ...gateway.at(seconds, withHandshake(1, 180 + attempts * 148, { endpoint: "192.0.2.6:6" })),
      );
    }
    expect(texts).toEqual(["alice (wg0) disconnected after 0s"]);
  });

  test("several handshake attempts between two scans are not activity", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(11, withHandshake(1, 180 + 2 * 148))).toEqual([]);
    expect(gateway.at(181, withHandshake(1, 180 + 5 * 148))).toEqual([
      "alice (wg0) disconnected after 0s",
    ]);
  });

  test("handshake attempts in a long time without a scan are not activity", () => {
    const roaming = new Gateway();
    roaming.at(0, peer());
    roaming.at(1, withHandshake(1));
    expect(roaming.at(31, withHandshake(1, 180 + 6 * 148, { endpoint: "192.0.2.6:6" }))).toEqual(
      [],
    );
    expect(roaming.at(32, withHandshake(1, 180 + 6 * 148 + 32))).toEqual([]);

    const returning = new Gateway({ idleTimeoutMs: () => 75_000 });
    returning.at(0, peer());
    returning.at(1, withHandshake(1));
    expect(returning.at(77, withHandshake(1))).toEqual(["alice (wg0) disconnected after 0s"]);
    expect(returning.at(120, withHandshake(1, 180 + 8 * 148, { endpoint: "192.0.2.6:6" }))).toEqual(
      [],
    );
    expect(returning.at(130, withHandshake(1, 180 + 8 * 148 + 96))).toHaveLength(1);
  });

  test("data that is sent to the peer is not activity", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    for (let seconds = 2; seconds < 181; seconds++) {
      expect(gateway.at(seconds, withHandshake(1, 180, { txBytes: seconds * 1000 }))).toEqual([]);
    }
    expect(gateway.at(181, withHandshake(1, 180, { txBytes: 181_000 }))).toEqual([
      "alice (wg0) disconnected after 0s",
    ]);
  });

  test("data that is received after the keys have expired is not activity", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    gateway.at(170, withHandshake(1, 1000));
    gateway.at(182, withHandshake(1, 2000));
    expect(gateway.at(350, withHandshake(1, 2000))).toEqual([
      "alice (wg0) disconnected after 2m 49s",
    ]);
  });

  test("an endpoint that an administrator sets is not activity", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(2, withHandshake(1, 180, { endpoint: "192.0.2.77:7" }))).toEqual([]);
    // The peer still sends from its old endpoint.
    expect(gateway.at(3, withHandshake(1, 300))).toEqual([]);
  });

  test("a handshake that is too old at the first scan is not activity", () => {
    expect(new Gateway().at(1000, withHandshake(1000 - REJECT_AFTER_MS / 1000))).toEqual([]);
    expect(new Gateway().at(1000, withHandshake(1001 - REJECT_AFTER_MS / 1000))).toHaveLength(1);
  });
});

describe("the identity of a peer", () => {
  test("a peer that roams stays the same: three roams are neither a connect nor a disconnect", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    const texts = [5, 10, 15, 20].flatMap((seconds) =>
      gateway.at(seconds, withHandshake(5, seconds * 100, { endpoint: `192.0.2.1:${seconds}` })),
    );
    expect(texts).toEqual([
      "alice (wg0) connected from 192.0.2.1:5",
      "alice (wg0) roamed from 192.0.2.1:5 to 192.0.2.1:10",
      "alice (wg0) roamed from 192.0.2.1:10 to 192.0.2.1:15",
      "alice (wg0) roamed from 192.0.2.1:15 to 192.0.2.1:20",
    ]);
  });

  test("peers without an endpoint are distinct", () => {
    const gateway = new Gateway();
    const alice = { endpoint: null };
    const bob = { publicKey: BOB, endpoint: null };
    gateway.at(0, peer(alice), peer(bob));
    expect(gateway.at(1, withHandshake(1, 180, alice), peer(bob))).toEqual([
      "alice (wg0) connected",
    ]);
    expect(gateway.at(2, withHandshake(1, 180, alice), withHandshake(2, 180, bob))).toEqual([
      "bob (wg0) connected",
    ]);
  });

  test("one key on two devices is two peers, even at one address", () => {
    const gateway = new Gateway();
    const wg1 = device({ name: "wg1", index: 4, listenPort: 51821 });
    gateway.changes(0, [device(), [peer()]], [wg1, [peer()]]);
    expect(gateway.changes(1, [device(), [withHandshake(1)]], [wg1, [peer()]])).toMatchObject([
      { type: "peer.connected", device: "wg0" },
    ]);
    expect(
      gateway.changes(2, [device(), [withHandshake(1)]], [wg1, [withHandshake(2)]]),
    ).toMatchObject([{ type: "peer.connected", device: "wg1" }]);
  });

  test("a second key at the same address and port is another peer, and is reported", () => {
    const gateway = new Gateway();
    gateway.at(0, peer(), peer({ publicKey: BOB, endpoint: null }));
    gateway.at(1, withHandshake(1), peer({ publicKey: BOB, endpoint: null }));
    expect(gateway.at(60, withHandshake(1), withHandshake(60, 180, { publicKey: BOB }))).toEqual([
      "bob (wg0) connected from 192.0.2.1:51820",
    ]);
    expect(gateway.tracker.handshakeAtMs("192.0.2.1", 51820, 51820)).toBe(60_000);
  });

  test("the listen port distinguishes two peers of two devices that have the same endpoint", () => {
    const gateway = new Gateway();
    const wg1 = device({ name: "wg1", index: 4, listenPort: 51821 });
    const handshakes = () =>
      [51820, 51821, 443].map((port) => gateway.tracker.handshakeAtMs("192.0.2.1", 51820, port));
    const bob = { publicKey: BOB };
    gateway.changes(0, [device(), [peer()]], [wg1, [peer(bob)]]);
    gateway.changes(1, [device(), [withHandshake(1)]], [wg1, [peer(bob)]]);
    // No device listens on 443, so the packets are redirected to an unknown port.
    expect(handshakes()).toEqual([1000, null, 1000]);
    gateway.changes(2, [device(), [withHandshake(1)]], [wg1, [withHandshake(2, 180, bob)]]);
    expect(handshakes()).toEqual([1000, 2000, 2000]);
    gateway.changes(3, [device(), [withHandshake(1)]], [wg1, []]);
    expect(handshakes()).toEqual([1000, null, 1000]);
  });

  test("a scope id that the kernel adds to an endpoint is not a roam, and a different one is", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1, 180, { endpoint: "[fe80::1]:5" }));
    expect(gateway.at(2, withHandshake(1, 300, { endpoint: "[fe80::1%2]:5" }))).toEqual([]);
    expect(gateway.at(3, withHandshake(1, 400, { endpoint: "[fe80::1%3]:5" }))).toEqual([
      "alice (wg0) roamed from [fe80::1%2]:5 to [fe80::1%3]:5",
    ]);
    expect(gateway.tracker.handshakeAtMs("fe80::1", 5, 51820)).toBe(1000);
  });
});

describe("a removal", () => {
  test("a removal of a peer disconnects it at once", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(5)).toEqual(["alice (wg0) disconnected after 0s, peer removed"]);
  });

  test("a peer that is removed and added is connected at its next handshake", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    gateway.at(5);
    expect(gateway.at(6, peer())).toEqual([]);
    expect(gateway.at(7, withHandshake(7))).toEqual(["alice (wg0) connected from 192.0.2.1:51820"]);
  });

  test("a removal of a device disconnects its peers, and a device that is added again is new", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.changes(5).map(textOf)).toEqual([
      "alice (wg0) disconnected after 0s, device removed",
      "wg0 removed",
    ]);
    const again = device({ index: 9 });
    expect(gateway.changes(6, [again, [peer()]]).map(textOf)).toEqual([
      "wg0 added, listening on port 51820",
    ]);
    expect(gateway.changes(7, [again, [withHandshake(7)]]).map(textOf)).toEqual([
      "alice (wg0) connected from 192.0.2.1:51820",
    ]);
  });

  test("a device that is removed and added between two scans is noticed", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.changes(5, [device({ index: 9 }), [peer()]]).map(textOf)).toEqual([
      "alice (wg0) disconnected after 0s, device removed",
      "wg0 removed",
      "wg0 added, listening on port 51820",
    ]);
  });

  test("counters that start again at zero are not a removal", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1, 50_000));
    expect(gateway.at(2, peer({ rxBytes: 0 }))).toEqual([]);
    expect(gateway.at(3, withHandshake(3, 180))).toEqual([]);
    const [change] = gateway.changes(183, [device(), [withHandshake(3, 180)]]);
    expect(change).toMatchObject({ session: { rxBytes: 50_180 }, endedAtMs: T0 + 3_000 });
  });
});

describe("hold", () => {
  test("hold hides a disconnect if the peer returns in time", () => {
    const gateway = new Gateway({ idleTimeoutMs: () => 20_000, holdMs: 30_000 });
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(45, withHandshake(1))).toEqual([]);
    expect(gateway.at(50, withHandshake(50, 400))).toEqual([]);
    expect(gateway.at(99, withHandshake(50, 400))).toEqual([]);
    expect(gateway.at(100, withHandshake(50, 400))).toEqual(["alice (wg0) disconnected after 49s"]);
  });

  test("hold hides disconnects if a device is removed and added again in time", () => {
    const gateway = new Gateway({ holdMs: 30_000 });
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.changes(5).map(textOf)).toEqual(["wg0 removed"]);
    const again = device({ index: 9 });
    expect(gateway.changes(6, [again, [peer()]]).map(textOf)).toEqual([
      "wg0 added, listening on port 51820",
    ]);
    expect(gateway.changes(7, [again, [withHandshake(7)]])).toEqual([]);
    expect(gateway.changes(60, [again, [withHandshake(7)]])).toEqual([]);
  });

  test("hold ends with a disconnect with the original reason if a removed peer does not return", () => {
    const gateway = new Gateway({ holdMs: 30_000 });
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(5)).toEqual([]);
    expect(gateway.tracker.nextDeadlineMs()).toBe(35_000);
    expect(gateway.at(35)).toEqual(["alice (wg0) disconnected after 0s, peer removed"]);
  });
});

describe("the first scans after the start", () => {
  test("after the start, peers that are already connected are reported as initial", () => {
    expect(new Gateway().changes(60, [device(), [withHandshake(1)]])).toMatchObject([
      { type: "peer.connected", initial: true, session: { startedAtMs: T0 + 1000 } },
    ]);
  });

  test("after the start, connected peers are not reported without announceExisting, but their disconnect is", () => {
    const gateway = new Gateway({ announceExisting: false });
    expect(gateway.at(60, withHandshake(1))).toEqual([]);
    expect(gateway.at(181, withHandshake(1))).toEqual(["alice (wg0) disconnected after 0s"]);
  });

  test("peers that connect after the start and peers of devices that are added later are not initial", () => {
    const gateway = new Gateway();
    gateway.changes(0, [device(), [peer()]]);
    const wg1 = device({ name: "wg1", index: 4 });
    expect(
      gateway.changes(1, [device(), [withHandshake(1)]], [wg1, [withHandshake(1)]]),
    ).toMatchObject([
      { type: "peer.connected", device: "wg0", initial: false },
      { type: "device.added", device: "wg1" },
      { type: "peer.connected", device: "wg1", initial: false },
    ]);
  });

  test("changed options apply at once", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    gateway.tracker.setOptions({ idleTimeoutMs: () => 10_000, holdMs: 0, announceExisting: true });
    expect(gateway.at(11, withHandshake(1))).toEqual(["alice (wg0) disconnected after 0s"]);
  });
});

describe("the idle timeout", () => {
  const wg1 = device({ name: "wg1", index: 4 });

  test("the idle timeout is not applied to peers whose device was not scanned", () => {
    const gateway = new Gateway();
    gateway.changes(0, [device(), [peer()]], [wg1, [peer()]]);
    gateway.changes(1, [device(), [withHandshake(1)]], [wg1, [withHandshake(1)]]);
    // As after hours without a possible scan; the packet that caused this scan was for wg0.
    const one = { device: device(), changed: [], removed: [] };
    const changes = gateway.tracker.observe(
      { devices: [one], removed: [], present: null },
      gateway.instant(9000),
    );
    expect(changes).toMatchObject([{ type: "peer.disconnected", device: "wg0" }]);
    // Another scan is overdue; if it fails, there is no deadline before the next tick.
    expect(gateway.tracker.nextDeadlineMs()).toBe(181_000);
    expect(gateway.tracker.nextDeadlineMs(9_000_000)).toBeNull();
    const alive = [wg1, [withHandshake(8990, 9000)]] as const;
    expect(gateway.changes(9001, [device(), [withHandshake(1)]], alive)).toEqual([]);
    expect(gateway.tracker.connected).toBe(1);
  });

  test("the idle timeout is irrelevant to peers whose device was removed", () => {
    const gateway = new Gateway();
    gateway.changes(0, [device(), [peer()]], [wg1, [peer()]]);
    gateway.changes(1, [device(), [withHandshake(1)]], [wg1, [withHandshake(1)]]);
    const changes = gateway.tracker.observe(
      { devices: [], removed: [wg1], present: null },
      gateway.instant(9000),
    );
    expect(changes.map(({ type, device: name }) => `${name} ${type}`)).toEqual([
      "wg1 peer.disconnected",
      "wg1 device.removed",
    ]);
  });
});

// The idle timeout is measured with CLOCK_MONOTONIC, which stops while the machine is suspended.
describe("a suspend of eight hours", () => {
  const HOURS_MS = 8 * 3_600_000;

  test("after a suspend of eight hours, each peer has the rest of its idle timeout to return", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(100, withHandshake(1, 9000))).toEqual([]);
    gateway.jumpedMs = HOURS_MS;
    // Its keys have expired, because the kernel includes the suspend, so the peer makes a new handshake.
    expect(gateway.at(101, withHandshake(1, 9000))).toEqual([]);
    expect(gateway.at(110, withHandshake(110 + HOURS_MS / 1000, 9180))).toEqual([]);
    expect(gateway.tracker.connected).toBe(1);
  });

  test("after a suspend of eight hours, a peer that does not return is disconnected, with its last activity before the suspend", () => {
    const gateway = new Gateway();
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1));
    expect(gateway.at(100, withHandshake(1, 9000))).toEqual([]);
    gateway.jumpedMs = HOURS_MS;
    expect(gateway.at(279, withHandshake(1, 9000))).toEqual([]);
    expect(gateway.changes(280, [device(), [withHandshake(1, 9000)]])).toMatchObject([
      { type: "peer.disconnected", endedAtMs: T0 + 100_000, durationMs: 99_000 },
    ]);
  });
});

describe("a step of the wall clock", () => {
  for (const jump of [-86_400_000, 86_400_000]) {
    test(`a step of the wall clock by ${jump / 3_600_000} hours causes no connect and no disconnect`, () => {
      const gateway = new Gateway();
      gateway.at(0, peer());
      gateway.at(1, withHandshake(1));
      gateway.jumpedMs = jump;
      expect(gateway.at(100, withHandshake(1, 1000))).toEqual([]);
      // The next handshake has the new time.
      expect(gateway.at(121, withHandshake(121 + jump / 1000, 2000))).toEqual([]);
      expect(gateway.at(300, withHandshake(121 + jump / 1000, 2000))).toEqual([]);
      // From 1 s to 121 s, whatever the wall clock shows.
      const end = gateway.changes(301, [device(), [withHandshake(121 + jump / 1000, 2000)]]);
      expect(end).toMatchObject([{ endedAtMs: T0 + 121_000 + jump, durationMs: 120_000 }]);
    });

    test(`a step of the wall clock by ${jump / 3_600_000} hours does not hide a connect`, () => {
      const gateway = new Gateway();
      gateway.at(0, withHandshake(-1000));
      gateway.jumpedMs = jump;
      expect(gateway.at(5, withHandshake(5 + jump / 1000))).toHaveLength(1);
    });
  }
});

// gotatun reports "now minus age", and boringtun's ages are converted to that; wireguard-go and the kernel
// report the time that the clock showed.
describe.each(["now minus age", "the time itself"] as const)(
  "a program that reports %s",
  (kind) => {
    /** The reported time of a handshake that was made at `seconds`, before the clock was set. */
    const reported = (gateway: Gateway, seconds: number, jitterMs = 0): number =>
      T0 + seconds * 1000 + (kind === "now minus age" ? gateway.jumpedMs + jitterMs : 0);
    const found = (gateway: Gateway, seconds: number, rxBytes: number, jitterMs = 0): Peer =>
      peer({ lastHandshakeMs: reported(gateway, seconds, jitterMs), rxBytes });

    test(`a peer of a program that reports ${kind} has no new handshake if its time differs by less than a second`, () => {
      const gateway = new Gateway();
      gateway.at(0, peer());
      expect(gateway.at(5, found(gateway, 5, 500))).toHaveLength(1);
      for (let seconds = 10; seconds < 185; seconds += 5) {
        expect(gateway.at(seconds, found(gateway, 5, 500, (seconds % 20) - 9.5))).toEqual([]);
      }
      expect(gateway.at(185, found(gateway, 5, 500))).toEqual([
        "alice (wg0) disconnected after 0s",
      ]);
    });

    test.each([-86_400_000, -30_000, 30_000, 86_400_000])(
      `a peer of a program that reports ${kind} is neither connected nor disconnected when the clock is set by %i ms`,
      (jump) => {
        const gateway = new Gateway({ idleTimeoutMs: () => 60_000 });
        const [silent, removedPeer] = [BOB, "gone" as PublicKey].map((publicKey) => ({
          publicKey,
        }));
        const at = (seconds: number, rxBytes: number) =>
          gateway.at(
            seconds,
            found(gateway, 5, rxBytes, seconds % 7),
            { ...found(gateway, 5, 180, seconds % 5), ...silent },
            { ...found(gateway, -500, 180, seconds % 3), ...removedPeer },
          );
        gateway.at(0, peer(), peer(silent), { ...found(gateway, -500, 180), ...removedPeer });
        expect(at(5, 180)).toHaveLength(2);
        expect(at(40, 5000)).toEqual([]);
        expect(at(65, 6000)).toEqual(["bob (wg0) disconnected after 0s"]);
        gateway.jumpedMs = jump;
        for (const seconds of [70, 80, 90, 100]) expect(at(seconds, seconds * 100)).toEqual([]);
        // A return under keys that are still valid is reported, too.
        const back = { ...found(gateway, 5, 276), ...silent };
        expect(gateway.at(105, found(gateway, 5, 10_500), back)).toEqual([
          "bob (wg0) connected from 192.0.2.1:51820",
        ]);
        expect(gateway.at(110, found(gateway, 5, 10_500), back)).toEqual([]);
        expect(gateway.at(165, found(gateway, 5, 10_500), back)).toEqual([
          expect.stringContaining("alice (wg0) disconnected after"),
          expect.stringContaining("bob (wg0) disconnected after"),
        ]);
      },
    );

    test(`a peer of a program that reports ${kind} has exactly its real handshakes, with any jitter and any steps of the clock`, () => {
      const step = fc.record({
        seconds: fc.double({ min: 0.001, max: 400, noNaN: true }),
        handshake: fc.boolean(),
        jitterMs: fc.double({ min: 0, max: 499, noNaN: true }),
        jumpMs: fc.constantFrom(0, 0, 0, 3_600_000, 86_400_000, -20_000_000),
      });
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
          const gateway = new Gateway({ idleTimeoutMs: () => 1e9 });
          let seconds = 0;
          /** The time of the last handshake, and by how much the clock had been set then. */
          let last: { seconds: number; jumpedMs: number } | null = null;
          gateway.at(0, peer());
          for (const next of steps) {
            seconds += next.seconds;
            gateway.jumpedMs += next.jumpMs;
            // Handshakes are at least REKEY_TIMEOUT apart, but scans can be closer.
            const isNew = next.handshake && (last === null || seconds - last.seconds >= 5);
            if (isNew) last = { seconds, jumpedMs: gateway.jumpedMs };
            const lastHandshakeMs =
              last === null
                ? null
                : reported(gateway, last.seconds, next.jitterMs) +
                  (kind === "now minus age" ? 0 : last.jumpedMs);
            const before = gateway.tracker.session("wg0", ALICE)?.handshakeAt ?? null;
            const texts = gateway.at(seconds, peer({ lastHandshakeMs }));
            const after = gateway.tracker.session("wg0", ALICE)?.handshakeAt ?? null;
            expect(texts).toHaveLength(isNew && before === null ? 1 : 0);
            expect(after !== before).toBe(isNew);
          }
        }),
        { numRuns: 500 },
      );
    });
  },
);

test("for any scans, connects and disconnects of a peer alternate, and there is no session without a handshake", () => {
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
      const gateway = new Gateway({ holdMs });
      let seconds = 0;
      let now = peer();
      let isConnected = false;
      let handshakes = 0;
      gateway.at(0, now);
      for (const next of steps) {
        seconds += next.waitSeconds + 1;
        gateway.jumpedMs += next.jumpMs;
        if (next.handshake) handshakes++;
        now = peer({
          endpoint: `192.0.2.1:${next.port}`,
          lastHandshakeMs: next.handshake ? gateway.instant(seconds).wallMs : now.lastHandshakeMs,
          rxBytes: now.rxBytes + next.rxBytes,
          txBytes: now.txBytes + next.txBytes,
        });
        const found = [device({ index: next.deviceIndex }), next.present ? [now] : []] as const;
        for (const change of gateway.changes(seconds, found)) {
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
        expect([...gateway.tracker.sessions].length).toBe(isConnected ? 1 : 0);
      }
      // The idle timeout ends all sessions.
      seconds += 100_000;
      gateway.changes(seconds, [device(), []]);
      gateway.changes(seconds + 100_000, [device(), []]);
      expect(gateway.tracker.connected).toBe(0);
      expect(gateway.tracker.nextDeadlineMs()).toBeNull();
    }),
    { numRuns: 500 },
  );
});

describe("the counters of a session", () => {
  test("the counters of a session begin at the scan before it, and so include the response", () => {
    const gateway = new Gateway();
    gateway.at(0, peer({ rxBytes: 10_000, txBytes: 5_000 }));
    expect(
      gateway.changes(5, [device(), [withHandshake(5, 10_180, { txBytes: 5_092 })]]),
    ).toMatchObject([{ type: "peer.connected", session: { rxBytes: 180, txBytes: 92 } }]);
  });

  test("the counters of a session begin at the first scan for a peer that is already connected", () => {
    const gateway = new Gateway();
    expect(
      gateway.changes(5, [device(), [withHandshake(1, 10_180, { txBytes: 5_092 })]]),
    ).toMatchObject([{ type: "peer.connected", session: { rxBytes: 0, txBytes: 0 } }]);
  });

  test("the counters of a session also begin at the scan before it for a peer that returns without a handshake", () => {
    const gateway = new Gateway({ idleTimeoutMs: () => 20_000 });
    gateway.at(0, peer());
    gateway.at(1, withHandshake(1, 180, { txBytes: 92 }));
    expect(gateway.at(21, withHandshake(1, 180, { txBytes: 124 }))).toHaveLength(1);
    const heard = withHandshake(1, 180 + 96, { txBytes: 156 });
    expect(gateway.changes(60, [device(), [heard]])).toMatchObject([
      { type: "peer.connected", session: { rxBytes: 96, txBytes: 32 } },
    ]);
  });

  test("the counters of a session have the whole value of a counter that was reset to zero", () => {
    const gateway = new Gateway();
    gateway.at(0, peer({ rxBytes: 10_000, txBytes: 5_000 }));
    expect(gateway.changes(5, [device(), [withHandshake(5, 180, { txBytes: 92 })]])).toMatchObject([
      { type: "peer.connected", session: { rxBytes: 180, txBytes: 92 } },
    ]);
  });

  test("the counters of a session have the whole values of a peer that was added and connected between two scans", () => {
    const gateway = new Gateway();
    const known = peer({ publicKey: BOB, endpoint: null });
    const added = withHandshake(7, 276, { txBytes: 124 });
    gateway.at(0, known);
    expect(gateway.changes(10, [device(), [known, added]])).toEqual([
      {
        type: "peer.connected",
        atMs: T0 + 7_000,
        device: "wg0",
        peer: added,
        session: { startedAtMs: T0 + 7_000, rxBytes: 276, txBytes: 124, roams: 0 },
        initial: false,
      },
    ]);
    expect(gateway.at(11, known, added)).toEqual([]);
    // The idle timeout begins at the handshake and not at the scan.
    expect(gateway.tracker.nextDeadlineMs()).toBe(187_000);
    const later = withHandshake(7, 376, { txBytes: 200 });
    expect(gateway.at(20, known, later)).toEqual([]);
    expect(gateway.changes(200, [device(), [known, later]])).toMatchObject([
      {
        type: "peer.disconnected",
        endedAtMs: T0 + 20_000,
        session: { startedAtMs: T0 + 7_000, rxBytes: 376, txBytes: 200 },
      },
    ]);
  });
});
