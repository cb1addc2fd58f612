/** Rules, traffic and rates on a hub: over the peers of all gateways, and unknown while a gateway is lost. */

import { expect, test } from "bun:test";

import type { PeerReport } from "../../src/fleet/messages.ts";
import { HandClock } from "../support/clock.ts";
import { aliceReport, startHub, TestGateway } from "../support/fleet.ts";
import { ALICE } from "../support/peers.ts";
import { parse } from "../support/settings.ts";
import { useStoreFolders } from "../support/store-folders.ts";

const { folder } = useStoreFolders();

function settingsOf(toml = "") {
  const command = parse(["hub", "--host", "hub1"], { files: { "/etc/wgmon/hub.toml": toml } });
  if (command.type !== "hub") throw new Error();
  return command.settings;
}

const RULE = `
[[alert]]
name = "offices"
kind = "down"
peers = ["alice"]
for = "2m"
`;

type Running = Awaited<ReturnType<typeof startHub>>;

function alertsOf({ store }: Running): string[] {
  const query = { order: "oldest", from: null, limit: 1000, type: null } as const;
  return store.events
    .query({ ...query, publicKey: null, sinceMs: null })
    .flatMap(({ event }) => ("alerts" in event.data ? `${event.type} ${event.data.device}` : []));
}

/** Reports every 15 s; the peer is connected since `startedAtMs`, and receives 1500 bytes in that time. */
function run(gateway: TestGateway, running: Running, seconds: number, startedAtMs: number | null) {
  for (let n = 0; n < seconds; n += 15) {
    gateway.peers = [peerAt(gateway, startedAtMs)];
    const answer = gateway.report(running);
    if (answer.wantsAllPeers) gateway.report(running, { isComplete: true });
    running.clock.advance(15_000);
  }
}

function peerAt(gateway: TestGateway, startedAtMs: number | null): PeerReport {
  if (startedAtMs === null) return aliceReport({ rxBytes: 1, txBytes: 1 });
  const rxBytes = 148 + Math.round((gateway.nowMs - startedAtMs) / 10);
  const session = { startedAtMs, lastActivityMs: gateway.nowMs, rxBytes, txBytes: 92, roams: 0 };
  return aliceReport({ lastHandshakeMs: startedAtMs, rxBytes, txBytes: 92, session });
}

test("a rule fires for a peer of a gateway under the hub's name of its device, and is resolved when it is back", async () => {
  const running = await startHub({ settings: settingsOf(RULE) });
  running.hub.enroll("berlin");
  const berlin = new TestGateway("berlin", running.clock);
  run(berlin, running, 60, null);
  const startedAtMs = berlin.nowMs;
  berlin.connect();
  berlin.sendAll(running);
  run(berlin, running, 300, startedAtMs);
  expect(alertsOf(running)).toEqual([]);
  berlin.disconnect({ startedAtMs });
  berlin.sendAll(running);
  run(berlin, running, 300, null);
  expect(alertsOf(running)).toEqual(["alert.firing berlin/wg0"]);
  const backMs = berlin.nowMs;
  berlin.connect();
  berlin.sendAll(running);
  run(berlin, running, 300, backMs);
  expect(alertsOf(running)).toEqual(["alert.firing berlin/wg0", "alert.resolved berlin/wg0"]);
  await running.hub.stop();
});

test("while a gateway is lost, no rule fires for its peers; what happened meanwhile is judged when it is back", async () => {
  const running = await startHub({ settings: settingsOf(RULE) });
  running.hub.enroll("berlin");
  const berlin = new TestGateway("berlin", running.clock);
  run(berlin, running, 60, null);
  const startedAtMs = berlin.nowMs;
  berlin.connect();
  berlin.sendAll(running);
  run(berlin, running, 300, startedAtMs);
  running.clock.advance(3 * 3_600_000);
  expect(alertsOf(running)).toEqual([]);
  // The peer was disconnected long before the gateway was back.
  berlin.disconnect({ startedAtMs, atMs: berlin.nowMs - 2 * 3_600_000 });
  berlin.sendAll(running);
  run(berlin, running, 300, null);
  expect(alertsOf(running)).toEqual(["alert.firing berlin/wg0"]);
  await running.hub.stop();
});

test("the alerts about a gateway that is forgotten end", async () => {
  const running = await startHub({ settings: settingsOf(RULE) });
  running.hub.enroll("berlin");
  const berlin = new TestGateway("berlin", running.clock);
  run(berlin, running, 60, null);
  const startedAtMs = berlin.nowMs;
  berlin.connect();
  berlin.sendAll(running);
  run(berlin, running, 300, startedAtMs);
  berlin.disconnect({ startedAtMs });
  berlin.sendAll(running);
  run(berlin, running, 300, null);
  running.hub.forget("berlin");
  running.clock.advance(60_000);
  expect(alertsOf(running)).toEqual(["alert.firing berlin/wg0", "alert.resolved berlin/wg0"]);
  await running.hub.stop();
});

test("a rule with everywhere = true fires only if the peer is connected to none of its gateways, and not while one is lost", async () => {
  const running = await startHub({ settings: settingsOf(`${RULE}everywhere = true\n`) });
  const { clock, hub } = running;
  const [berlin, lyon] = [new TestGateway("berlin", clock), new TestGateway("lyon", clock)];
  hub.enroll("berlin");
  hub.enroll("lyon");
  const bothRun = (seconds: number, sessions: readonly [number | null, number | null]) => {
    for (let n = 0; n < seconds; n += 15) {
      for (const [index, gateway] of [berlin, lyon].entries()) {
        gateway.peers = [peerAt(gateway, sessions[index]!)];
        const answer = gateway.report(running);
        if (answer.wantsAllPeers) gateway.report(running, { isComplete: true });
      }
      clock.advance(15_000);
    }
  };
  bothRun(60, [null, null]);
  const startedAtMs = berlin.nowMs;
  for (const gateway of [berlin, lyon]) gateway.connect();
  for (const gateway of [berlin, lyon]) gateway.sendAll(running);
  bothRun(300, [startedAtMs, startedAtMs]);
  berlin.disconnect({ startedAtMs });
  berlin.sendAll(running);
  bothRun(600, [null, startedAtMs]);
  // Only berlin reports; lyon is lost.
  run(berlin, running, 3600, null);
  expect(alertsOf(running)).toEqual([]);
  lyon.disconnect({ startedAtMs });
  lyon.sendAll(running);
  bothRun(600, [null, null]);
  expect(alertsOf(running)).toEqual(["alert.firing lyon/wg0"]);
  const backMs = berlin.nowMs;
  berlin.connect();
  berlin.sendAll(running);
  bothRun(60, [backMs, null]);
  expect(alertsOf(running)).toEqual(["alert.firing lyon/wg0", "alert.resolved lyon/wg0"]);
  await hub.stop();
});

test("the traffic of sessions that are history is recorded for the time when they ended, and not as present", async () => {
  const running = await startHub({ settings: settingsOf() });
  const { clock, store, hub } = running;
  hub.enroll("berlin");
  const berlin = new TestGateway("berlin", clock);
  const dayMs = 86_400_000;
  const startedAtMs = berlin.nowMs - 3 * dayMs;
  berlin.connect({ atMs: startedAtMs });
  berlin.disconnect({ startedAtMs, atMs: startedAtMs + 60_000, rxBytes: 70_000 });
  berlin.sendAll(running);
  clock.advance(70_000);
  const sum = (values: readonly (number | null)[]) =>
    values.reduce<number>((total, bytes) => total + (bytes ?? 0), 0);
  const chart = (range: "1h" | "7d") =>
    store.traffic.range("berlin/wg0", ALICE, range, clock.now().wallMs);
  expect(sum(chart("1h").rxBytes)).toBe(0);
  expect(sum(chart("7d").rxBytes)).toBe(70_000);
  await hub.stop();
});

test("the traffic of peers is recorded once, also if the hub is restarted during a session", async () => {
  const clock = new HandClock();
  const directory = folder();
  let running = await startHub({ settings: settingsOf(), clock, directory });
  running.hub.enroll("berlin");
  const berlin = new TestGateway("berlin", clock);
  run(berlin, running, 15, null);
  const startedAtMs = berlin.nowMs;
  berlin.connect();
  berlin.sendAll(running);
  run(berlin, running, 300, startedAtMs);
  const rates = running.hub.stages.rates.of("berlin/wg0", ALICE, clock.now().monotonicMs);
  expect(rates).toEqual({ rxBytesPerSecond: 100, txBytesPerSecond: 0 });
  await running.hub.stop();
  running = await startHub({ settings: settingsOf(), clock, directory });
  // Longer than the interval in which traffic is written, before the gateway is heard.
  clock.advance(80_000);
  run(berlin, running, 300, startedAtMs);
  const endMs = berlin.nowMs;
  expect(endMs - startedAtMs).toBe(680_000);
  berlin.disconnect({ startedAtMs, rxBytes: 70_000 });
  berlin.sendAll(running);
  clock.advance(70_000);
  const { rxBytes } = running.store.totals.range("1h", clock.now().wallMs);
  expect(rxBytes.reduce((total, bytes) => (total ?? 0) + (bytes ?? 0), 0)).toBe(70_000);
  await running.hub.stop();
});
