/** What the hub knows of the gateways' peers: complete lists, changes, clocks that differ, and what is not known. */

import { describe, expect, test } from "bun:test";

import type { StateMessage } from "../../src/fleet/messages.ts";
import { FleetState } from "../../src/hub/fleet-state.ts";
import { HandClock } from "../support/clock.ts";
import { aliceReport, TestGateway } from "../support/fleet.ts";
import { ALICE, BOB } from "../support/peers.ts";

function setUp() {
  const clock = new HandClock();
  const state = new FleetState();
  state.add("berlin", null, clock.now());
  const berlin = new TestGateway("berlin", clock);
  const report = (fields: Partial<StateMessage> = {}) =>
    state.applyState("berlin", berlin.state(fields), clock.now());
  return { clock, state, berlin, report };
}

const bob = () => aliceReport({ publicKey: BOB, name: "bob", tags: [] });
const keys = (state: FleetState) => state.peers("berlin/wg0").map(({ publicKey }) => publicKey);

describe("the peers of a gateway", () => {
  test("a complete list replaces what was known, and changes are added to it", () => {
    const { state, report } = setUp();
    expect(report({ peers: [aliceReport()] })).toMatchObject({
      wantsAllPeers: false,
      isListed: true,
    });
    expect(keys(state)).toEqual([ALICE]);
    report({ peers: [bob()] });
    expect(keys(state)).toEqual([ALICE, BOB]);
    report({ peers: [], removed: [{ device: "wg0", publicKey: ALICE }] });
    expect(keys(state)).toEqual([BOB]);
    expect(state.naming(BOB, "berlin/wg0")).toEqual({ name: "bob", tags: [] });
    expect(state.counts("berlin/wg0")).toEqual({ peers: 1, connected: 0 });
  });

  test("a hub that was restarted asks for all peers until it has them", () => {
    const { state, berlin, report } = setUp();
    berlin.order = 40;
    expect(report({ peers: [aliceReport()] })).toMatchObject({
      wantsAllPeers: true,
      isListed: false,
    });
    // The gateway has begun its list before the hub asked: it may be the second part.
    expect(report({ peers: [bob()] })).toMatchObject({ wantsAllPeers: true });
    expect(report({ isComplete: true, peers: [bob()] })).toMatchObject({
      wantsAllPeers: false,
      isListed: true,
    });
    expect(keys(state)).toEqual([BOB]);
  });

  test("a complete list of several messages removes peers only with its last message", () => {
    const { state, report } = setUp();
    report({ peers: [aliceReport(), bob()] });
    report({ isComplete: true, hasMore: true, peers: [aliceReport()] });
    expect(keys(state)).toEqual([ALICE, BOB]);
  });

  test("a message that is older than the last one changes nothing", () => {
    const { state, berlin, report } = setUp();
    report({ peers: [aliceReport()] });
    const late = berlin.state({ peers: [bob()] });
    report({});
    expect(state.applyState("berlin", late, { wallMs: 0, monotonicMs: 0 }).scan).toBeNull();
    expect(keys(state)).toEqual([ALICE]);
  });

  test("a gateway that numbers its messages from the beginning again is asked for all peers, and is then believed", () => {
    const { state, berlin, report } = setUp();
    berlin.order = 7;
    report({ isComplete: true, peers: [aliceReport()] });
    report({ isComplete: true, peers: [aliceReport()] });
    berlin.order = 0;
    expect(report({ isComplete: true, peers: [bob()] })).toMatchObject({ wantsAllPeers: true });
    expect(report({ isComplete: true, peers: [bob()] })).toMatchObject({
      wantsAllPeers: false,
      isListed: true,
    });
    expect(keys(state)).toEqual([BOB]);
    report({ peers: [aliceReport()] });
    expect(keys(state)).toEqual([BOB, ALICE]);
  });

  test("a device that the gateway does not have any more is removed with its peers and sessions", () => {
    const { state, clock, report } = setUp();
    const now = clock.now().wallMs;
    const session = { startedAtMs: now, lastActivityMs: now, rxBytes: 1, txBytes: 2, roams: 0 };
    report({ peers: [aliceReport({ session })] });
    const { scan, ended, haveDevicesChanged } = report({ devices: [] });
    expect(scan?.removed).toMatchObject([{ name: "berlin/wg0" }]);
    expect(haveDevicesChanged).toBe(true);
    expect(ended).toMatchObject([{ device: "berlin/wg0", startedAtMs: now }]);
    expect(state.devices()).toEqual([]);
    expect([...state.sessions]).toEqual([]);
  });

  test("a device that could not be read is failed in the scan, and keeps its peers", () => {
    const { state, report } = setUp();
    report({ peers: [aliceReport()] });
    const devices = [{ name: "wg0", listenPort: 51820, publicKey: null, problem: "EIO" }];
    expect(report({ devices }).scan).toMatchObject({ devices: [], failed: ["berlin/wg0"] });
    expect(state.problem("berlin/wg0")).toBe("EIO");
    expect(keys(state)).toEqual([ALICE]);
  });
});

describe("sessions", () => {
  test("an event opens and ends a session before the next report, and an older report does not reopen it", () => {
    const { state, clock, berlin, report } = setUp();
    report({ peers: [aliceReport()] });
    clock.advance(100);
    const startedAtMs = berlin.nowMs;
    state.applyEvent("berlin", berlin.connect(), clock.now());
    expect(state.session("berlin/wg0", ALICE)).toMatchObject({ startedAtMs });
    expect(state.gateway("berlin")).toMatchObject({ peers: 1, connected: 1 });
    const session = { startedAtMs, lastActivityMs: startedAtMs, rxBytes: 1, txBytes: 2, roams: 0 };
    const older = berlin.state({ peers: [aliceReport({ session })] });
    clock.advance(100);
    state.applyEvent("berlin", berlin.disconnect({ startedAtMs }), clock.now());
    expect(state.session("berlin/wg0", ALICE)).toBeNull();
    state.applyState("berlin", older, clock.now());
    expect(state.session("berlin/wg0", ALICE)).toBeNull();
    expect(state.gateway("berlin")).toMatchObject({ peers: 1, connected: 0 });
  });

  test("a session that ended does not hide the next one, also if the gateway's clock was set back in between", () => {
    const { state, clock, berlin, report } = setUp();
    report({ peers: [aliceReport()] });
    clock.advance(100);
    const startedAtMs = berlin.nowMs;
    state.applyEvent("berlin", berlin.connect(), clock.now());
    clock.advance(100);
    state.applyEvent("berlin", berlin.disconnect({ startedAtMs }), clock.now());
    berlin.offsetMs = -86_400_000;
    clock.advance(15_000);
    const at = berlin.nowMs;
    const session = { startedAtMs: at, lastActivityMs: at, rxBytes: 1, txBytes: 2, roams: 0 };
    report({ peers: [aliceReport({ session })] });
    expect(state.session("berlin/wg0", ALICE)).not.toBeNull();
  });

  test("an event of the past does not open a session", () => {
    const { state, clock, berlin, report } = setUp();
    const event = berlin.connect();
    clock.advance(1000);
    report({ peers: [aliceReport()] });
    state.applyEvent("berlin", event, clock.now());
    expect(state.session("berlin/wg0", ALICE)).toBeNull();
  });
});

describe("clocks that differ", () => {
  test.each([86_400_000, -86_400_000])(
    "times of a gateway whose clock is %d ms ahead are converted to the hub's clock, and back for the store",
    (offsetMs) => {
      const { state, clock, berlin, report } = setUp();
      berlin.offsetMs = offsetMs;
      berlin.startedAtMs = berlin.nowMs;
      const at = berlin.nowMs - 5000;
      const session = { startedAtMs: at, lastActivityMs: at, rxBytes: 1, txBytes: 2, roams: 0 };
      report({ peers: [aliceReport({ session, lastHandshakeMs: at })] });
      const hubMs = clock.now().wallMs - 5000;
      expect(state.session("berlin/wg0", ALICE)).toMatchObject({
        startedAtMs: hubMs,
        peer: { lastHandshakeMs: hubMs },
      });
      expect([...state.storedSessions()]).toMatchObject([{ startedAtMs: at }]);
      expect(state.gateway("berlin")).toMatchObject({ clockOffsetMs: offsetMs });
    },
  );

  test("a difference below two seconds is shown, and times stay as the gateway reports them", () => {
    const { state, berlin, report } = setUp();
    berlin.offsetMs = -1500;
    const at = berlin.nowMs;
    const session = { startedAtMs: at, lastActivityMs: at, rxBytes: 1, txBytes: 2, roams: 0 };
    report({ peers: [aliceReport({ session })] });
    expect(state.session("berlin/wg0", ALICE)).toMatchObject({ startedAtMs: at });
    expect(state.gateway("berlin")).toMatchObject({ clockOffsetMs: -1500 });
  });

  test("a gateway whose clock is set while it runs keeps its sessions at the same time", () => {
    const { state, clock, berlin, report } = setUp();
    const at = berlin.nowMs;
    const session = { startedAtMs: at, lastActivityMs: at, rxBytes: 1, txBytes: 2, roams: 0 };
    report({ peers: [aliceReport({ session })] });
    clock.advance(15_000);
    berlin.offsetMs = 3_600_000;
    const moved = { ...session, startedAtMs: at + 3_600_000, lastActivityMs: at + 3_600_000 };
    report({ peers: [aliceReport({ session: moved })] });
    expect(state.session("berlin/wg0", ALICE)).toMatchObject({ startedAtMs: at });
    expect([...state.storedSessions()]).toMatchObject([{ startedAtMs: at + 3_600_000 }]);
  });

  test("a step of the hub's clock moves what it shows, and not what the store has", () => {
    const { state, clock, berlin, report } = setUp();
    const at = berlin.nowMs;
    const session = { startedAtMs: at, lastActivityMs: at, rxBytes: 1, txBytes: 2, roams: 0 };
    report({ peers: [aliceReport({ session })] });
    const step = { ms: 60_000, fromMs: 0, toMs: clock.now().wallMs, unsureFromMs: null };
    state.clockSet(step);
    expect(state.session("berlin/wg0", ALICE)).toMatchObject({ startedAtMs: at + 60_000 });
    expect([...state.storedSessions()]).toMatchObject([{ startedAtMs: at }]);
  });
});
