/** What systemd is told, at a real socket: by the seam alone, then by the built program. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Log } from "../../src/platform/log.ts";
import { Notifier } from "../../src/platform/systemd-notify.ts";
import { HandClock } from "../support/clock.ts";
import { NotifySocket } from "../support/notify-socket.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS, until } from "../support/until.ts";
import { startWgmon } from "../support/wgmon.ts";

const addresses = {
  "a path": () => join(newStateFolder(), "notify"),
  "an abstract name": () => `@wgmon-test-${crypto.randomUUID()}`,
};

for (const [kind, address] of Object.entries(addresses)) {
  test(`ready, the condition when it changes, and the end, by ${kind}`, () => {
    using socket = new NotifySocket(address());
    const { notifier, warnings } = setUp({ NOTIFY_SOCKET: socket.address });
    notifier.ready();
    notifier.publishStatus({ devices: ["wg0", "wg1"], connected: 0 });
    notifier.publishStatus({ devices: ["wg0", "wg1"], connected: 0 });
    notifier.publishStatus({ devices: ["wg0"], connected: 1 });
    notifier.publishStatus({ devices: [], connected: 0 });
    notifier.stopping();
    expect(socket.take()).toEqual([
      "READY=1",
      "STATUS=watching wg0, wg1; 0 peers connected",
      "STATUS=watching wg0; 1 peer connected",
      "STATUS=waiting for a WireGuard device",
      "STOPPING=1",
    ]);
    expect(warnings).toEqual([]);
  });
}

test("a device's name cannot say anything else than itself", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier } = setUp({ NOTIFY_SOCKET: socket.address });
  notifier.publishStatus({ devices: ["wg0\nMAINPID=1", "\u001b[31m"], connected: 0 });
  expect(socket.take()).toEqual(["STATUS=watching wg0 MAINPID=1, [31m; 0 peers connected"]);
  const many = Array.from({ length: 10 }, (_, index) => `wg${index}`);
  notifier.publishStatus({ devices: many, connected: 2 });
  expect(socket.take()).toEqual([
    "STATUS=watching wg0, wg1, wg2, wg3, wg4, wg5, wg6, wg7, 2 more; 2 peers connected",
  ]);
});

test("a reload is told with the time at which it began", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier } = setUp({ NOTIFY_SOCKET: socket.address });
  notifier.reloading();
  const [, us] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(socket.take().join("|")) ?? [];
  // It may have slept, which this clock counts and the other does not.
  const uptimeSeconds = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  expect(Number(us) / 1e6).toBeGreaterThan(0);
  expect(Number(us) / 1e6).toBeLessThan(uptimeSeconds + 1);
});

test("the watchdog hears of it twice in its time, and nothing after the end", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier, clock } = setUp({
    NOTIFY_SOCKET: socket.address,
    WATCHDOG_USEC: "60000000",
    WATCHDOG_PID: String(process.pid),
  });
  expect(socket.take()).toEqual(["WATCHDOG=1"]);
  clock.advance(29_999);
  expect(socket.take()).toEqual([]);
  clock.advance(30_001);
  expect(socket.take()).toEqual(["WATCHDOG=1", "WATCHDOG=1"]);
  notifier.stopping();
  expect(socket.take()).toEqual(["STOPPING=1"]);
  expect(clock.waiting).toBe(0);
});

for (const [title, env] of Object.entries({
  "for another process": { WATCHDOG_USEC: "60000000", WATCHDOG_PID: "1" },
  "of no time": { WATCHDOG_USEC: "0" },
  "of no number": { WATCHDOG_USEC: "1 minute" },
  "that is not there": {},
})) {
  test(`a watchdog ${title} hears nothing`, () => {
    using socket = new NotifySocket(addresses["a path"]());
    const { clock } = setUp({ NOTIFY_SOCKET: socket.address, ...env });
    clock.advance(600_000);
    expect(socket.take()).toEqual([]);
  });
}

for (const [address, complaint] of [
  ["/nowhere/notify", "notify systemd: ENOENT"],
  [
    `/${"x".repeat(107)}`,
    "notify systemd: EINVAL (NOTIFY_SOCKET is neither a path nor an abstract name)",
  ],
  ["vsock:2:1234", "notify systemd: EINVAL (NOTIFY_SOCKET is neither a path nor an abstract name)"],
] as const) {
  test(`that nobody listens at ${address.slice(0, 20)} is a warning and no more`, () => {
    const { notifier, warnings } = setUp({ NOTIFY_SOCKET: address });
    notifier.ready();
    expect(warnings).toEqual([complaint]);
  });
}

test("one that reads nothing keeps nobody waiting", () => {
  using socket = new NotifySocket(addresses["a path"]());
  const { notifier, warnings } = setUp({ NOTIFY_SOCKET: socket.address });
  // net.unix.max_dgram_qlen is 10 to 512.
  while (warnings.length === 0) notifier.ready();
  expect(warnings[0]).toStartWith("notify systemd: EAGAIN");
  expect(socket.take().length).toBeGreaterThan(5);
});

test(
  "the program says that it is ready, what it watches, that it lives, reloads and ends",
  async () => {
    using socket = new NotifySocket(addresses["a path"]());
    const environment = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "200000" };
    await using wgmon = startWgmon(["--monitor", "poll"], { environment });
    const told: string[] = [];
    const tells = async (text: string | RegExp, times = 1) => {
      const isIt = (line: string) => (typeof text === "string" ? line === text : text.test(line));
      await until(`${text}, ${times} times`, () => {
        told.push(...socket.take());
        return told.filter(isIt).length >= times;
      });
    };
    await tells("READY=1");
    await tells(/^STATUS=(watching|waiting for) /);
    await tells("WATCHDOG=1", 3);
    wgmon.signal("SIGHUP");
    await tells(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    await tells("READY=1", 2);
    expect(await wgmon.stop()).toBe(0);
    await tells("STOPPING=1");
    const order = told.filter((line) => line !== "WATCHDOG=1").map((line) => line.split("=")[0]);
    expect(order).toEqual(["READY", "STATUS", "RELOADING", "READY", "STOPPING"]);
    expect(wgmon.log.filter(({ level }) => level === "error")).toEqual([]);
  },
  TEST_MS,
);

function setUp(env: Readonly<Record<string, string>>) {
  const clock = new HandClock();
  const warnings: string[] = [];
  const log = { warn: (message: string) => void warnings.push(message) } as unknown as Log;
  return { notifier: new Notifier({ env, clock, log }), clock, warnings };
}
