/** `wgmon hub doctor`: what it says about the gateways. */

import { expect, test } from "bun:test";

import { judgeGateways, judgeListen } from "../../../src/cli/doctor/hub.ts";
import type { GatewayView } from "../../../src/hub/fleet-state.ts";

const NOW_MS = 1_000_000_000;
const MINUTE_MS = 60_000;
const berlin: GatewayView = {
  name: "berlin",
  host: "berlin",
  program: "1.4.2",
  condition: "up",
  sinceMs: NOW_MS - 5 * MINUTE_MS,
  seenMs: NOW_MS - 1000,
  startedAtMs: 0,
  clockOffsetMs: 100,
  epoch: "01234567",
  lastSeq: 10,
  confirmedSeq: 7,
  behindSinceMs: null,
  devices: 1,
  peers: 3,
  connected: 2,
};

function lines(...gateways: readonly Partial<GatewayView>[]): string[] {
  const all = gateways.map((fields) => ({ ...berlin, ...fields }));
  return judgeGateways(all, { version: "1.4.0", nowMs: NOW_MS }).map(
    ({ verdict, found }) => `${verdict}: ${found}`,
  );
}

test("gateways that report in time are one finding", () => {
  const stopped = { name: "lyon", condition: "stopped" } as const;
  expect(lines({}, stopped)).toEqual(["ok: 1 of 2 gateways up"]);
  expect(lines()).toEqual(["warning: no gateway is enrolled"]);
});

test.each<[Partial<GatewayView>, string]>([
  [{ condition: "lost" }, "warning: berlin has not reported for 5m"],
  [{ condition: "waiting" }, "warning: berlin has not reported since the hub started"],
  [{ condition: "waiting", seenMs: null }, "warning: berlin has never reported"],
  [{ clockOffsetMs: -2500 }, "warning: this clock and that of berlin are 3s apart"],
  [{ clockOffsetMs: 86_400_000 }, "problem: this clock and that of berlin are 1d apart"],
  [
    { behindSinceMs: NOW_MS - 61 * MINUTE_MS },
    "warning: 3 events of berlin are missing here, for 1h 1m",
  ],
  [
    { program: "1.1.9" },
    "warning: berlin runs wgmon 1.1.9, more than 2 versions older than this hub, 1.4.0",
  ],
  [
    { program: "0.9.0" },
    "warning: berlin runs wgmon 0.9.0, more than 2 versions older than this hub, 1.4.0",
  ],
  [{ program: "1.5.0" }, "warning: berlin runs wgmon 1.5.0, which is newer than this hub, 1.4.0"],
])("a gateway with %j is reported", (fields, line) => {
  expect(lines(fields)).toEqual([line]);
});

test.each<Partial<GatewayView>>([
  { program: "1.2.0" },
  { program: "1.4.9" },
  { program: "unknown" },
  { clockOffsetMs: 1999 },
  { behindSinceMs: NOW_MS - 59 * MINUTE_MS },
])("a gateway with %j is in order", (fields) => {
  expect(lines(fields)).toEqual(["ok: 1 of 1 gateway up"]);
});

test("a hub that no gateway can reach is a problem", () => {
  const nats = { servers: ["nats.example.net:4222"] } as never;
  const listen = { address: "0.0.0.0", port: 9587 };
  const verdicts = [
    judgeListen({ listen, nats: null }),
    judgeListen({ listen: null, nats }),
    judgeListen({ listen: null, nats: null }),
  ].map(([finding]) => finding!.verdict);
  expect(verdicts).toEqual(["ok", "ok", "problem"]);
});
